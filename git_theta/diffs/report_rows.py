"""The data of the HTML report: what the JSON of a diff says, packed so that 20,000 groups make a small page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from git_theta.diffs import as_json
from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind
from git_theta.diffs.places import places
from git_theta.diffs.statistics import Histogram

HISTOGRAMS: Final = 512
"""Groups whose histograms a page has: half a megabyte of it."""

HISTOGRAM_BYTES: Final = 1 << 30
"""Bytes of values, old and new ones together, that are read for them: some seconds' worth."""

_DIGITS: Final = 6
_DIGITS_OF_EDGES: Final = 8
_DIGITS_OF_COSINES: Final = 12
"""Of a cosine, what is missing to 1 counts."""


def pack(diff: CheckpointDiff, histograms: Mapping[str, Histogram]) -> dict[str, Any]:
    """All that the page shows of one checkpoint.

    Args:
        diff: what changed.
        histograms: those that are at hand, by the names of the changes.

    Returns:
        A JSON object: "old_path", "new_path", "old", "new", "summary" and "values" as in `as_json`, and
        "groups": rows, in file order and those that did not change included:
            [name, index in "patterns", layer or null, kind, old side, new side, relative, largest, changed, cosine,
            exact, update, bytes kept]; what would be null at the end is left out. A side is [dtype, shape, nbytes],
            followed by the name if that differs; null if there is none, and 0 for a new side that is like the old one.
        "patterns": the kinds of group (`places`).
        "histograms": [edges, old counts, new counts] by index of the row; 0 for a side that has no values.
    """
    document = as_json.checkpoint(diff)
    rows = _in_file_order(diff, document)
    found = places(row[0] for row in rows)
    patterns: dict[str, int] = {}
    groups, packed = [], {}
    for index, (name, *row) in enumerate(rows):
        pattern, layer = found[name]
        groups.append([name, patterns.setdefault(pattern, len(patterns)), layer, *row])
        if name in histograms and row[0] != "unchanged":
            packed[str(index)] = _histogram(histograms[name], row[1] is not None, row[2] is not None)
    copied = {key: document[key] for key in ("old_path", "new_path", "old", "new", "summary", "values")}
    return {**copied, "patterns": list(patterns), "groups": groups, "histograms": packed}


def most_changed(
    diffs: Sequence[CheckpointDiff], limit: int = HISTOGRAMS, nbytes: int = HISTOGRAM_BYTES
) -> list[list[GroupChange]]:
    """The groups whose histograms are worth their place in the page, of each diff.

    Those that are on both sides come first, the most changed ones before; then those that were added or removed, the
    largest first. What was only renamed needs none.

    Args:
        diffs: with statistics where they are known.
        limit: groups that are wanted of all diffs together.
        nbytes: of their values, old and new; groups that would make more are left out.
    """
    found = [(_weight(change), index, change) for index, diff in enumerate(diffs) for change in diff.changes]
    found = [item for item in found if item[2].kind is not Kind.RENAMED]
    found.sort(key=lambda item: item[0], reverse=True)
    chosen: list[list[GroupChange]] = [[] for _ in diffs]
    for _, index, change in found:
        cost = sum(entry.nbytes for entry in (change.old, change.new) if entry is not None)
        if limit > 0 and cost <= nbytes:
            chosen[index].append(change)
            limit, nbytes = limit - 1, nbytes - cost
    return chosen


def _weight(change: GroupChange) -> tuple[bool, float, int]:
    relative = None if change.statistics is None else change.statistics.relative
    has_both = change.old is not None and change.new is not None
    return has_both, -1.0 if relative is None else math.inf if math.isnan(relative) else relative, change.entry.nbytes


def _in_file_order(diff: CheckpointDiff, document: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of the changes and, between them, those of the groups that did not change."""
    places_in_file = {entry.name: index for index, entry in enumerate(() if diff.new is None else diff.new.entries)}
    found = []
    last = -1
    for change in document["changes"]:
        # What was removed comes after the change before it; it has no place of its own in the new version.
        last = last if change["new"] is None else places_in_file[change["new"]["name"]]
        found.append((last, _changed(change)))
    unchanged = ((group, group["group"]) for group in document["unchanged"])
    found += [(places_in_file[name], [name, "unchanged", _side(group, name), 0]) for group, name in unchanged]
    found.sort(key=lambda item: item[0])
    return [row for _, row in found]


def _changed(change: Mapping[str, Any]) -> list[Any]:
    name = change["group"]
    old, new = (_side(change[side], name) for side in ("old", "new"))
    figures = [_rounded(change[key], _DIGITS) for key in ("relative", "largest", "changed")]
    cosine = _rounded(change["cosine"], _DIGITS_OF_COSINES)
    told = (change["exact"], change["update"], change["kept_bytes"])
    row = [name, change["kind"], old, 0 if old is not None and old == new else new, *figures, cosine, *told]
    while len(row) > 4 and row[-1] is None:
        row.pop()
    return row


def _side(group: Mapping[str, Any] | None, name: str) -> list[Any] | None:
    if group is None:
        return None
    side = [group["dtype"], group["shape"], group["nbytes"]]
    return side if group.get("name", name) == name else [*side, group["name"]]


def _histogram(histogram: Histogram, has_old: bool, has_new: bool) -> list[Any]:
    edges = [_rounded(edge, _DIGITS_OF_EDGES) for edge in histogram.edges]
    return [edges, list(histogram.old) if has_old else 0, list(histogram.new) if has_new else 0]


def _rounded(value: float | str | None, digits: int) -> float | str | None:
    """A number with as many digits; what is no number stays."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
