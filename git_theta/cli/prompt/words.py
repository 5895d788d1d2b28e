"""What the prompt of a merge says about conflicts and decisions. Pure: from values to text of a given width."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from git_theta import printing
from git_theta.cli.prompt.commands import SHORT_CUTS
from git_theta.cli.prompt.text import Text, cut, line, lines, pad, wrapped
from git_theta.diffs.changes import Statistics
from git_theta.git.sides import Sides
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.session import Reach, Scope, Session, fold
from git_theta.metadata import Entry

Estimate = Callable[[Entry, Entry], Statistics | None]
"""What can be told at once of how far a group moved; None if nothing can."""

_COLUMN: Final = 9
_NAME: Final = 24
_LABELS: Final = ("ours", "theirs")
_SHOWN_KINDS: Final = 4
_REMOVED: Final = "Removed on one side, changed on the other."


def opening(path: str, count: int, sides: Sides, width: int) -> Text:
    """What is merged: the checkpoint, and both sides with their last commits."""
    what = "conflict" if count == 1 else "conflicts"
    note = wrapped(sides.note, width, style="dim") if sides.note else ()
    return lines(
        line(("title", cut(path, width - 24)), f": {count} {what} to settle"),
        *_parties(sides, width),
        *note,
    )


def shown(session: Session, sides: Sides, estimate: Estimate, width: int) -> Text:
    """The current conflict: what it is, what happened on each side, and what can be done."""
    conflict = session.current
    assert conflict is not None
    return lines(
        line(""),
        *_title(session, conflict, width),
        *_history(conflict, sides, estimate, width),
        *_actions(session, conflict, width),
    )


def finished(session: Session, width: int) -> Text:
    """That nothing is left, and what comes now."""
    counts = Counter(spelled(decision) for decision in session.decisions.values())
    settled = ", ".join(f"{count} by {name}" for name, count in counts.most_common())
    count = len(session.conflicts)
    text = f"All {count} are settled: {settled}." if count > 1 else f"Settled: {settled.removeprefix('1 ')}."
    return lines(
        line(""),
        *wrapped(text, width, indent=""),
        *_key_lines([("Enter", "merges so"), ("u", "undo"), ("l", "list"), ("q", "quit, leaving a conflict")], width),
    )


def settled(decision: Decision, taken: Sequence[str], passed: Sequence[str], width: int) -> Text:
    """What a decision did: the conflicts that it settled, and those that it did not fit."""
    what = cut(taken[0], width - 30) if len(taken) == 1 else f"{len(taken)} conflicts ({kinds(taken)})"
    left = f"; left, since it does not fit: {kinds(passed)}" if passed else ""
    return lines(*wrapped(f"{what}: {spelled(decision)}{left}", width, indent=""))


def undone(decision: Decision, names: Sequence[str], width: int) -> Text:
    """What was taken back."""
    what = cut(names[0], width - 40) if len(names) == 1 else f"{len(names)} conflicts"
    return lines(*wrapped(f"taken back: {spelled(decision)} for {what}", width, indent=""))


def decided(session: Session, width: int) -> Text:
    """All decisions so far, and what is left."""
    steps = [
        part
        for step in session.standing
        for part in wrapped(f"{spelled(step.decision)}: {kinds(step.names, limit=None)}", width)
    ]
    left = [conflict.name for conflict in session.remaining]
    rest = wrapped(f"still to settle: {kinds(left, limit=None)}", width) if left else ()
    return lines(*(steps or [line("  nothing is settled yet")]), *rest)


def kinds(names: Iterable[str], limit: int | None = _SHOWN_KINDS) -> str:
    """Names, those of one kind of layer together: "12 of h.*.attn.weight, wte.weight"."""
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(fold(name), []).append(name)
    texts = [
        cut(found[0], 200) if len(found) == 1 else f"{len(found)} of {cut(kind, 200)}" for kind, found in folded.items()
    ]
    more = f" and {len(texts) - limit} more kinds" if limit is not None and len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def spelled(decision: Decision) -> str:
    """A decision as it is typed."""
    return " ".join([decision.method, *(f"{name}={value_text(value)}" for name, value in decision.parameters)])


def value_text(value: object) -> str:
    """The value of a parameter as it is typed; "none" where there is none."""
    if isinstance(value, tuple):
        return ",".join(value_text(part) for part in value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def labels(count: int) -> tuple[str, ...]:
    """What the sides are called."""
    return _LABELS if count == 2 else ("ours", *(f"side {number}" for number in range(2, count + 1)))


def percent(relative: float | None, *, is_exact: bool) -> str:
    """A relative change in words."""
    if relative is None:
        return "?"
    about = "" if is_exact else "≈ "
    if math.isnan(relative):
        return "not a number"
    if math.isinf(relative):
        return "from zeros"
    share = 100 * relative
    return f"{about}{share:.0f} %" if share >= 99.5 else f"{about}{share:.2g} %"


def _parties(sides: Sides, width: int) -> Iterator[Text]:
    """The sides, each with its last commit."""
    names = [cut(side.name, max(width - 40, _NAME)) for side in sides.all]
    room = max(map(printing.width, names)) + 2
    for label, name, side in zip(labels(len(names)), names, sides.all, strict=True):
        tip = side.tip
        who = f"{tip.oid[:7]} {tip.author}, {tip.date}: {tip.subject}" if tip else ""
        yield line("  ", _label(label), ("title", pad(name, room)), cut(who, width - _COLUMN - room))


def _label(label: str) -> tuple[str, str]:
    return "ours" if label == "ours" else "theirs", pad(label, _COLUMN - 2)


def _title(session: Session, conflict: Conflict, width: int) -> Iterator[Text]:
    left, count = len(session.remaining), len(session.conflicts)
    place = session.conflicts.index(conflict) + 1
    number = f"{place} of {count}" + (f" ({left} left)" if left < count else "")
    name, form = cut(conflict.name, 400), _form(conflict)
    if sum(map(printing.width, (number, name, form))) + 4 <= width:
        yield line(f"{number}  ", ("title", name), f"  {form}".rstrip())
    else:
        yield line(number)
        yield line("  ", ("title", name))
        yield from wrapped(form, width)
    if conflict.clash is not Clash.VALUES:
        why = _REMOVED if conflict.clash is Clash.REMOVED else f"{conflict.clash}."
        yield from wrapped(why.capitalize(), width, style="dim")


def _form(conflict: Conflict) -> str:
    entry = next((entry for entry in (conflict.ancestor, *conflict.sides) if entry is not None), None)
    if entry is None or conflict.clash in (Clash.DTYPE, Clash.SHAPE):
        return ""
    return f"{entry.dtype} {list(entry.shape)}"


def _history(conflict: Conflict, sides: Sides, estimate: Estimate, width: int) -> Iterator[Text]:
    """What the ancestor was where that says something, and what each side did."""
    count = len(conflict.texts) - 1 if conflict.texts else len(conflict.sides)
    names = tuple(side.name for side in sides.all) if len(sides.all) == count else ("",) * count
    names = tuple(cut(name, min(_NAME, width // 4)) for name in names)
    room = max(map(printing.width, names))
    before = _before(conflict)
    if before:
        yield line("  ", pad("was", _COLUMN - 2), pad("", room), f"  {cut(before, width - _COLUMN - room - 2)}")
    for number, (label, name) in enumerate(zip(labels(count), names, strict=True)):
        what = cut(_event(conflict, number, estimate), width - _COLUMN - room - 2)
        yield line("  ", _label(label), pad(name, room), f"  {what}")
    apart = _apart(conflict, estimate)
    if apart:
        yield line(("dim", f"  {pad('apart', _COLUMN - 2)}{pad('', room)}  {cut(apart, width - _COLUMN - room - 2)}"))


def _before(conflict: Conflict) -> str:
    match conflict.clash:
        case Clash.TEXT:
            return "not there" if conflict.texts[0] is None else conflict.texts[0]
        case Clash.DTYPE | Clash.SHAPE:
            return "not there" if conflict.ancestor is None else _type(conflict.ancestor)
        case _:
            return ""


def _event(conflict: Conflict, number: int, estimate: Estimate) -> str:
    """What a side did."""
    if conflict.clash is Clash.TEXT:
        text = conflict.texts[number + 1]
        return "removed it" if text is None else text
    if conflict.clash is Clash.STRUCTURE:
        return "changed it"
    old, new = conflict.ancestor, conflict.sides[number]
    if new is None:
        return "does not have it" if old is None else "removed it"
    if old is None:
        return f"added it as {_type(new)}" if conflict.clash is not Clash.VALUES else "added it"
    if old.identity == new.identity:
        return "left its values as they were" if conflict.clash is Clash.DTYPE else "left it as it was"
    retyped = f"made it {_type(new)}" if (old.dtype, old.shape) != (new.dtype, new.shape) else ""
    return ", ".join(part for part in (retyped, _moved(estimate(old, new))) if part) or "changed it"


def _moved(found: Statistics | None) -> str:
    return f"moved {percent(found.relative, is_exact=found.is_exact)}" if found is not None else ""


def _apart(conflict: Conflict, estimate: Estimate) -> str:
    """How far two sides are from each other, as a part of what theirs would have to move from ours."""
    if conflict.clash is not Clash.VALUES or len(conflict.sides) != 2:
        return ""
    ours, theirs = conflict.sides
    found = estimate(ours, theirs) if ours is not None and theirs is not None else None
    return f"{percent(found.relative, is_exact=found.is_exact)} from each other" if found is not None else ""


def _type(entry: Entry) -> str:
    return f"{entry.dtype} {list(entry.shape)}"


def _actions(session: Session, conflict: Conflict, width: int) -> Iterator[Text]:
    fits = session.fits[conflict.name]
    quick = [(key, name) for key, name in SHORT_CUTS.items() if name in fits]
    more = len(fits) - len(quick)
    others = [("m", f"{more} more methods")] if more else []
    yield from _key_lines([*quick, *others, ("s", "statistics")], width)
    if len(session.remaining) > 1:
        yield from _key_lines(_bulk(session, "average" if "average" in session.useful else "ours"), width)
    yield from _key_lines([("u", "undo"), ("l", "list"), ("?", "help"), ("q", "quit")], width)


def _bulk(session: Session, method: str) -> list[tuple[str, str]]:
    """How several conflicts are settled at once, shown by an example."""
    left, alike = len(session.remaining), len(session.reached(Scope(Reach.KIND)))
    suited = sum(method in session.fits[conflict.name] for conflict in session.remaining)
    every = f"all {left} left" if suited == left else f"{suited} of {left} left"
    kind = [(f"{method[0]} =", f"the {alike} of {cut(fold(session.remaining[0].name), 200)}")] if alike > 1 else []
    return [(f"{method[0]} *", every), *kind, (f"{method[0]} PATTERN", "by name")]


def _key_lines(keys: Iterable[tuple[str, str]], width: int) -> Iterator[Text]:
    """Keys and what they do, as many to a line as fit."""
    row: list[tuple[str, str]] = []
    for key in keys:
        if row and sum(len(one) + len(what) + 4 for one, what in [*row, key]) > width:
            yield _keys(*row)
            row = []
        row.append(key)
    if row:
        yield _keys(*row)


def _keys(*keys: tuple[str, str]) -> Text:
    parts = [line("   " if number else "  ", ("key", key), f" {what}") for number, (key, what) in enumerate(keys)]
    return tuple(piece for part in parts for piece in part)
