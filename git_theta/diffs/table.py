"""What changed in a checkpoint as lines of text, for a terminal or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from git_theta.diffs.changes import CheckpointDiff, Kind, ValueChange
from git_theta.diffs.compare import summary
from git_theta.diffs.folding import fold, unfolded
from git_theta.diffs.heads import FileSide, differ_line, head_lines
from git_theta.diffs.look import Look
from git_theta.diffs.rows import Row, rows
from git_theta.diffs.words import ARROW, size_text
from git_theta.printing import printable, shortened, width

_MEASURED: Final = ("change", "values", "max", "cosine")
_KEPT: Final = ("update", "kept", "where")
_TITLES: Final = {
    "kind": "",
    "change": "change",
    "values": "values",
    "max": "max",
    "cosine": "cosine",
    "update": "update",
    "kept": "kept",
    "where": "where",
}
_LEFT: Final = ("kind", "update", "where")
"""Columns whose texts stand on the left."""

_LEFT_OUT: Final = ("where", "cosine", "max", "kept", "update", "values")
"""Columns that are left out where the width does not suffice, in this order."""

_NARROW: Final = 24
"""Columns of the terminal that names have at the least before a column of the table is left out for them."""

_MAX_VALUES: Final = 50
"""Values that are no groups are shown up to this number."""

_INDENT: Final = "  "
_GAP: Final = "  "


def lines(diff: CheckpointDiff, look: Look) -> Iterator[str]:
    """The table of a diff, then values that are no groups, and a line that sums up; without line breaks."""
    folds = fold(diff.changes) if look.fold else unfolded(diff.changes)
    yield from _table(list(rows(folds, diff, look)), look)
    for line in _others(diff):
        yield _fitted(_INDENT + line, look)
    yield look.coloured(summary_line(diff), "head")


def patch(
    old: FileSide, new: FileSide, more: Iterable[str] | None, diff: CheckpointDiff | None, look: Look
) -> Iterator[str]:
    """All that `git diff` shows of a checkpoint; without line breaks.

    Args:
        old: the file before.
        new: the file after.
        more: see `heads.head_lines`.
        diff: what changed; None if the files cannot be compared.
        look: how it shall look.
    """
    head = head_lines(old, new, more, look.prefixes, look.digits)
    yield from (look.coloured(printable(line), "head") for line in head)
    if old.oid != new.oid or not old.is_named:
        yield differ_line(old, new, look.prefixes)
        if diff is not None:
            yield from lines(diff, look)


def summary_line(diff: CheckpointDiff) -> str:
    """The diff in one line: "12 of 148 groups modified, 28.3 MB of 497.8 MB"."""
    counted = summary(diff)
    kinds = Counter(change.kind for change in diff.changes)
    groups = "group" if counted.groups == 1 else "groups"
    if not kinds:
        return f"none of {counted.groups} {groups} changed"
    total = size_text(counted.bytes)
    what = str(diff.changes[0].kind)
    if counted.groups_changed == counted.groups and (diff.old is None or diff.new is None):
        return f"{counted.groups} {groups} {what}, {total}"
    if len(kinds) > 1:
        what = f"changed ({', '.join(f'{kinds[kind]} {kind}' for kind in Kind if kinds[kind])})"
    changed = size_text(counted.bytes_changed)
    return f"{counted.groups_changed} of {counted.groups} {groups} {what}, {changed} of {total}"


def _others(diff: CheckpointDiff) -> Iterator[str]:
    """What changed beside the groups; where nothing is known to have changed, what that means."""
    old, new = diff.old, diff.new
    if old is not None and new is not None and old.format != new.format:
        yield f"format: {printable(old.format)} {ARROW} {printable(new.format)}"
    yield from (_value(change) for change in diff.values[:_MAX_VALUES])
    if len(diff.values) > _MAX_VALUES:
        yield f"... and {len(diff.values) - _MAX_VALUES} more values"
    if old is not None and new is not None and not diff.changes and not diff.values:
        if old.skeleton.digest != new.skeleton.digest:
            yield "only bytes outside of the groups changed"
        elif all(entry.update.type for entry in (*old.entries, *new.entries)):
            yield "the same values, kept in another way"


def _value(change: ValueChange) -> str:
    old, new = (printable(text) if text is not None else "(none)" for text in (change.old, change.new))
    return f"{printable(change.name)}: {old} {ARROW} {new}"


def _table(found: Sequence[Row], look: Look) -> Iterator[str]:
    if not found:
        return
    table = _Table.of(found, look)
    titles = {column: title for column, title in _TITLES.items() if column in table.widths}
    yield look.coloured(_fitted(table.line(Row("group", "title", titles)), look), "title")
    for row in found:
        yield _painted(_fitted(table.line(row), look), row, look)
        if row.details and _has_numbers(row):
            yield _fitted(_INDENT * 2 + row.details, look)


class _Table(Struct, frozen=True):
    """The columns of a table.

    Attributes:
        names: the width of the names.
        widths: of the other columns, by name, from left to right.
        middle: the width of the numbers, in whose place details may stand, with the gaps between them.
    """

    names: int
    widths: Mapping[str, int]
    middle: int

    @classmethod
    def of(cls, found: Sequence[Row], look: Look) -> _Table:
        """The columns that rows need, as far as they fit."""
        needed = max(len("group"), *(width(row.name) for row in found))
        details = max(0 if _has_numbers(row) else width(row.details) for row in found)
        widths = {}
        for column, title in _TITLES.items():
            cells = [row.cells[column] for row in found if row.cells.get(column)]
            if cells:
                widths[column] = max(len(title), *map(width, cells))
        for leaving in (*_LEFT_OUT, None):
            numbers = [size for name, size in widths.items() if name in _MEASURED]
            middle = max(details, sum(numbers) + len(_GAP) * (len(numbers) - 1))
            others = [size for name, size in widths.items() if name not in _MEASURED]
            rest = len(_INDENT) + sum(len(_GAP) + size for size in others) + (len(_GAP) + middle if middle > 0 else 0)
            room = needed if look.width is None else look.width - rest
            if leaving is None or room >= min(needed, _NARROW):
                break
            widths.pop(leaving, None)
        return cls(max(len("group"), min(needed, room)), widths, middle)

    def line(self, row: Row) -> str:
        """A row as text."""
        text = _INDENT + _padded(shortened(row.name, self.names), self.names) + self._cells(row, ("kind",))
        if self.middle > 0:
            is_told = row.details and not _has_numbers(row)
            middle = row.details if is_told else self._cells(row, _MEASURED).removeprefix(_GAP)
            text += _GAP + _padded(middle, self.middle)
        return (text + self._cells(row, _KEPT)).rstrip()

    def _cells(self, row: Row, columns: Sequence[str]) -> str:
        sizes = ((column, self.widths[column]) for column in columns if column in self.widths)
        return "".join(_GAP + _padded(row.cells.get(column, ""), size, left=column in _LEFT) for column, size in sizes)


def _has_numbers(row: Row) -> bool:
    return any(column in row.cells for column in _MEASURED)


def _padded(text: str, size: int, *, left: bool = True) -> str:
    blank = " " * (size - width(text))
    return text + blank if left else blank + text


def _fitted(text: str, look: Look) -> str:
    return text if look.width is None else shortened(text, look.width)


def _painted(text: str, row: Row, look: Look) -> str:
    """The line with what happened, and where, in the colour of the row."""
    start = look.colours.get(row.word)
    if not start:
        return text
    for column in ("kind", "where"):
        cell = row.cells[column]
        place = text.rfind(_GAP + cell)
        if place >= 0:
            place += len(_GAP)
            text = text[:place] + look.coloured(cell, row.word) + text[place + len(cell) :]
    return text
