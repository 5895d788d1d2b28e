"""What the prompt of a merge says when it is asked: help, methods and their parameters, and statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from git_theta.cli.prompt.methods import about
from git_theta.cli.prompt.text import Text, cut, line, lines, pad, wrapped
from git_theta.cli.prompt.words import labels, percent, value_text
from git_theta.diffs.changes import Statistics
from git_theta.diffs.statistics import are_comparable
from git_theta.merges.decisions import Clash, Conflict
from git_theta.merges.parameters import Parameter
from git_theta.metadata import Entry

Measure = Callable[[Entry, Entry], Statistics]
"""Reads the values of two versions of a group and compares them; raises a ThetaError if they cannot be had."""

_HELP: Final = (
    ("o, t, n, a", "settle this conflict: ours, theirs, the ancestor, the average; or type any method's name"),
    ("a *", "the same for all that remain, as far as it fits them"),
    ("a =", "the same for all of this kind: layers whose names differ in numbers only"),
    ("a h.*.bias", "the same for all whose names match; * also stands for dots and slashes"),
    ("t wte.weight", "a name, or a pattern, of which all is settled already: settles it anew"),
    ("*  =  PATTERN", "alone: for those as the last one was settled"),
    ("ties", "asks for the method's parameters one by one"),
    ("ties density=0.2", "takes the others as they are by default; 0.2,0.3 gives each side its own"),
    ("ties .", "takes all as they are by default"),
    ("m", "the methods that fit, and what they do;  ? ties  explains one"),
    ("s", "read the values and measure how far each side moved"),
    ("u", "take back the last step, also one for many"),
    ("l", "what is settled, and what is left"),
    ("q, Ctrl-C, Ctrl-D", "leave it as a conflict, with nothing changed"),
    ("Tab", "completes what you type"),
)
_FIGURES: Final[Mapping[str, int]] = {"relative": 14, "largest": 12, "changed": 9, "cosine": 12}
"""The columns of a table of statistics."""
_HELP_COLUMN: Final = 21
_METHOD_COLUMN: Final = 18


def help_text(width: int) -> Text:
    """What can be typed."""
    return lines(*(row for key, what in _HELP for row in _row(key, what, _HELP_COLUMN, width)))


def method_list(names: Sequence[str], width: int) -> Text:
    """Methods, and what each does."""
    return lines(*(row for name in names for row in _row(name, about(name), _METHOD_COLUMN, width)))


def method_text(name: str, parameters: Sequence[Parameter], width: int) -> Text:
    """What a method does, and what may be set."""
    rows = [row for parameter in parameters for row in _row(parameter.name, _setting(parameter), 2 + 16, width)]
    title = wrapped(f"{name}: {about(name)}", width, indent="", style="title")
    return lines(*title, *(rows or wrapped("It has no parameters.", width)))


def question(parameter: Parameter, inputs: int, width: int) -> Text:
    """What is asked about a parameter."""
    each = (
        f"; for each side its own: {','.join(['0.5'] * inputs)}"
        if parameter.per_input and _is_number(parameter)
        else ""
    )
    return lines(*wrapped(f"{parameter.name}: {parameter.about} ({parameter.wanted()}{each})", width))


def default_text(parameter: Parameter) -> str:
    """The value that Enter gives; "" if there is none."""
    return "" if parameter.required else value_text(parameter.default)


def statistics(conflict: Conflict, measure: Measure, width: int) -> Text:
    """How far each side moved from the ancestor, and both from each other; texts in full for what is no group.

    Raises:
        ThetaError: values cannot be had.
    """
    if conflict.clash is Clash.TEXT:
        return _texts(conflict, width)
    pairs = _pairs(conflict)
    if not pairs:
        return lines(*wrapped("There are no values to compare.", width))
    found = [(label, _figures(measure(old, new))) for label, old, new in pairs]
    room = max(len(label) for label, _ in found) + 4
    if room + sum(_FIGURES.values()) > width:
        return lines(*(row for label, figures in found for row in _row(label, _sentence(figures), room, width)))
    head = "".join(f"{title:>{column}}" for title, column in _FIGURES.items())
    rows = (
        line("  ", pad(label, room - 2), "".join(f"{figures[title]:>{_FIGURES[title]}}" for title in _FIGURES))
        for label, figures in found
    )
    return lines(line(("dim", pad("", room) + head)), *rows)


def _pairs(conflict: Conflict) -> list[tuple[str, Entry, Entry]]:
    """What is compared with what."""
    names = labels(len(conflict.sides))
    sides = [(label, entry) for label, entry in zip(names, conflict.sides, strict=True) if entry is not None]
    base = conflict.ancestor
    moved = [(label, base, entry) for label, entry in sides if base is not None]
    apart = [(f"{sides[0][0]} to {label}", sides[0][1], entry) for label, entry in sides[1:] if sides[0][0] == names[0]]
    return [(label, old, new) for label, old, new in (*moved, *apart) if are_comparable(old, new)]


def _figures(found: Statistics) -> dict[str, str]:
    """What was measured, by title."""
    return {
        "relative": percent(found.relative, is_exact=found.is_exact),
        "largest": "?" if found.largest is None else f"{found.largest:.3g}",
        "changed": percent(found.changed, is_exact=True),
        "cosine": "-" if found.cosine is None else f"{found.cosine:.6f}",
    }


def _sentence(figures: Mapping[str, str]) -> str:
    return ", ".join(f"{title} {figure}" for title, figure in figures.items())


def _texts(conflict: Conflict, width: int) -> Text:
    names = ("ancestor", *labels(len(conflict.texts) - 1))
    rows = [
        row
        for name, text in zip(names, conflict.texts, strict=True)
        for row in _row(name, "not there" if text is None else cut(text, 4000), 10, width)
    ]
    return lines(*rows)


def _setting(parameter: Parameter) -> str:
    default = "must be given" if parameter.required else f"default {value_text(parameter.default)}"
    return f"{parameter.about} ({parameter.wanted()}; {default})"


def _is_number(parameter: Parameter) -> bool:
    return not parameter.choices and not isinstance(parameter.default, bool)


def _row(key: str, what: str, column: int, width: int) -> tuple[Text, ...]:
    """A key and its meaning, which goes on below itself."""
    first, *rest = wrapped(what, width - column, indent="") or (line(""),)
    lead = line("  ", ("key", pad(key, column - 2)))
    indent = line(" " * column)
    return ((*lead, *first), *((*indent, *more) for more in rest))
