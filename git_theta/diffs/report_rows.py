"""The data of the HTML report: what a diff says, packed into rows so that 20,000 groups make a small page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from git_theta.diffs import compare
from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind, Statistics
from git_theta.diffs.places import places
from git_theta.diffs.statistics import Histogram
from git_theta.metadata import Entry, Metadata

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

_DIGITS: Final = 6
_DIGITS_OF_EDGES: Final = 8


def pack(diff: CheckpointDiff, histograms: Mapping[str, Histogram]) -> dict[str, Json]:
    """All that the page shows of one checkpoint.

    Args:
        diff: what changed.
        histograms: those that are at hand, by the names of the changes.

    Returns:
        A JSON object. Its "groups" are rows, in file order and those that did not change included:
        [name, index in "patterns", layer or null, kind, old side, new side, relative, largest, changed, cosine, exact,
        update, bytes kept]; what would be null at the end is left out. A side is [dtype, shape, nbytes], followed by
        the name if that differs; null if there is none, and 0 for a new side like the old one.
        Its "histograms" are [edges, old counts, new counts] by index of the group; 0 for a side that has no values.
    """
    patterns: dict[str, int] = {}
    kept = compare.kept_bytes(diff)
    rows: list[Json] = []
    packed: dict[str, Json] = {}
    items = _in_file_order(diff)
    found = places(name for name, _ in items)
    for name, item in items:
        if isinstance(item, GroupChange):
            histogram = histograms.get(name)
            if histogram is not None:
                packed[str(len(rows))] = _histogram(histogram, item)
            tail = _change(item, kept.get(name))
        else:
            tail = ["unchanged", _side(item, name), 0]
        pattern, layer = found[name]
        rows.append([name, patterns.setdefault(pattern, len(patterns)), layer, *tail])
    return {
        "old_path": diff.old_path,
        "new_path": diff.new_path,
        "old": _file(diff.old),
        "new": _file(diff.new),
        "summary": _summary(compare.summary(diff)),
        "patterns": list(patterns),
        "groups": rows,
        "values": [{"name": value.name, "old": value.old, "new": value.new} for value in diff.values],
        "histograms": packed,
    }


def most_changed(diffs: Sequence[CheckpointDiff], limit: int) -> list[list[GroupChange]]:
    """The groups whose histograms are worth their place in the page, of each diff.

    Those that were modified come first, the most changed ones before; then those that were added or removed, the
    largest first. What was only renamed has no need of one.
    """
    found = [(_weight(change), index, change) for index, diff in enumerate(diffs) for change in diff.changes]
    found.sort(key=lambda item: item[0], reverse=True)
    chosen = [(index, change) for _, index, change in found if change.kind is not Kind.RENAMED][:limit]
    return [[change for at, change in chosen if at == index] for index in range(len(diffs))]


def _weight(change: GroupChange) -> tuple[bool, float, int]:
    relative = None if change.statistics is None else change.statistics.relative
    has_both = change.old is not None and change.new is not None
    return has_both, -1.0 if relative is None else math.inf if math.isnan(relative) else relative, change.entry.nbytes


def _in_file_order(diff: CheckpointDiff) -> list[tuple[str, GroupChange | Entry]]:
    """The changes, and the groups that did not change between them where they stand."""
    entries = () if diff.new is None else diff.new.entries
    places = {entry.name: index for index, entry in enumerate(entries)}
    found: list[tuple[int, str, GroupChange | Entry]] = []
    last = -1
    for change in diff.changes:
        last = last if change.new is None else places[change.new.name]
        found.append((last, change.name, change))
    found += [(places[entry.name], entry.name, entry) for entry in compare.unchanged(diff)]
    found.sort(key=lambda item: item[0])
    return [(name, item) for _, name, item in found]


def _change(change: GroupChange, kept: int | None) -> list[Json]:
    old = None if change.old is None else _side(change.old, change.name)
    new = None if change.new is None else _side(change.new, change.name)
    update = None if change.new is None else compare.update_text(change.new.update)
    row: list[Json] = [change.kind.value, old, 0 if old == new else new, *_statistics(change.statistics), update, kept]
    while row[-1] is None:
        row.pop()
    return row


def _side(entry: Entry, name: str) -> list[Json]:
    side: list[Json] = [entry.dtype, list(entry.shape), entry.nbytes]
    return side if entry.name == name else [*side, entry.name]


def _statistics(statistics: Statistics | None) -> list[Json]:
    if statistics is None:
        return [None] * 5
    numbers = (statistics.relative, statistics.largest, statistics.changed)
    # Of a cosine, what is missing to 1 counts.
    return [*(_number(value, _DIGITS) for value in numbers), _number(statistics.cosine, 12), statistics.is_exact]


def _number(value: float | None, digits: int) -> Json:
    """A number with as many digits; JSON has none that are not finite, so they are strings."""
    if value is None:
        return None
    return float(f"{value:.{digits}g}") if math.isfinite(value) else str(value)


def _histogram(histogram: Histogram, change: GroupChange) -> list[Json]:
    edges = [_number(edge, _DIGITS_OF_EDGES) for edge in histogram.edges]
    old: Json = 0 if change.old is None else list(histogram.old)
    new: Json = 0 if change.new is None else list(histogram.new)
    return [edges, old, new]


def _file(metadata: Metadata | None) -> Json:
    if metadata is None:
        return None
    return {"format": metadata.format, "size": metadata.size, "groups": len(metadata.entries)}


def _summary(summary: compare.Summary) -> Json:
    return {
        "groups_changed": summary.groups_changed,
        "groups": summary.groups,
        "bytes_changed": summary.bytes_changed,
        "bytes": summary.bytes,
        "kept_bytes": summary.kept_bytes,
    }
