"""The rows of the table of changes: what its cells say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from git_theta.diffs.changes import CheckpointDiff, Kind, Statistics
from git_theta.diffs.compare import kept_bytes, update_text
from git_theta.diffs.folding import Fold, pattern
from git_theta.diffs.look import Look
from git_theta.diffs.words import ARROW, capped_percent, cosine_text, group_text, number, percent, size_text, span
from git_theta.metadata import Entry, Metadata
from git_theta.printing import group_name, printable

_BAR: Final = 20
"""Cells of the bar that shows where in the checkpoint a change is."""

_LISTED: Final = 3
"""Different dtypes and shapes, or types of update, that are named one by one."""

_SLIGHT: Final = 1e-9


class Row(Struct, frozen=True):
    """A row of the table.

    Attributes:
        name: of the group or of the groups.
        word: that its colour goes by (`Look.colours`).
        cells: texts by column: "kind", "change", "values", "max", "cosine", "update", "kept", "where".
        details: dtypes and shapes where they are news, and old names.
    """

    name: str
    word: str
    cells: Mapping[str, str]
    details: str = ""


def rows(folds: Iterable[Fold], diff: CheckpointDiff, look: Look) -> Iterator[Row]:
    """A row for each fold of a diff's changes."""
    kept, old_places, new_places = kept_bytes(diff), _places(diff.old), _places(diff.new)
    for item in folds:
        places = [(old_places if change.new is None else new_places)[change.name] for change in item.changes]
        cells = {
            "kind": str(item.kind) if len(item.changes) == 1 else f"{len(item.changes)} {item.kind}",
            **_measured([change.statistics for change in item.changes if change.statistics is not None], look),
            **_kept(item, kept),
            "where": _bar(places, look),
        }
        word = {Kind.ADDED: "new", Kind.REMOVED: "old"}.get(item.kind, "changed")
        yield Row(group_name(item.name), word, cells, _details(item))


def _measured(found: Sequence[Statistics], look: Look) -> dict[str, str]:
    """The statistics of a fold: the least and the largest, or the one that says most."""
    about = "" if all(statistics.is_exact for statistics in found) else look.about
    relative = _sorted(statistics.relative for statistics in found)
    changed = _sorted(statistics.changed for statistics in found)
    largest = _sorted(statistics.largest for statistics in found)
    cosine = _sorted(statistics.cosine for statistics in found)
    cells = {}
    if relative:
        cells["change"] = about + span(percent(relative[0]), percent(relative[-1]), " %")
    if changed:
        cells["values"] = span(capped_percent(changed[0]), capped_percent(changed[-1]), " %")
    if largest:
        cells["max"] = number(largest[-1])
    if cosine:
        cells["cosine"] = about + cosine_text(cosine[0])
    return cells


def _sorted(values: Iterable[float | None]) -> list[float]:
    """The values that are known, in order; a NaN is the last, since it says most."""
    return sorted((value for value in values if value is not None), key=lambda value: (math.isnan(value), value))


def _kept(item: Fold, kept: Mapping[str, int]) -> dict[str, str]:
    """The types of update that keep the groups of a fold, and what that takes."""
    types = Counter(update_text(change.new.update) for change in item.changes if change.new and change.new.update.type)
    if item.kind is Kind.RENAMED or not types:
        return {}
    names = [printable(name) for name, _ in types.most_common(_LISTED)]
    nbytes = sum(kept[change.new.name] for change in item.changes if change.new)
    return {"update": ", ".join(names) + (", ..." if len(types) > _LISTED else ""), "kept": size_text(nbytes)}


def _details(item: Fold) -> str:
    old = [change.old for change in item.changes if change.old is not None]
    new = [change.new for change in item.changes if change.new is not None]
    match item.kind:
        case Kind.MODIFIED:
            return ""
        case Kind.RENAMED:
            return f"was {printable(old[0].name if len(old) == 1 else pattern(old[0].name))}"
    return f" {ARROW} ".join(filter(None, (_distinct(old), _distinct(new))))


def _distinct(entries: Iterable[Entry]) -> str:
    """The dtypes and shapes that groups have."""
    texts = list(dict.fromkeys(map(group_text, entries)))
    more = len(texts) - _LISTED
    return " or ".join(texts) if more <= 0 else f"{', '.join(texts[:_LISTED])} or {more} more"


def _places(metadata: Metadata | None) -> dict[str, tuple[float, float]]:
    """Where each group begins and ends, as parts of the bytes of all groups, in file order."""
    entries = () if metadata is None else metadata.entries
    total = sum(entry.nbytes for entry in entries) or 1
    found, position = {}, 0
    for entry in entries:
        found[entry.name] = position / total, (position + entry.nbytes) / total
        position += entry.nbytes
    return found


def _bar(places: Iterable[tuple[float, float]], look: Look) -> str:
    """A picture of the file from its first byte to its last: how much of each part of it is in these places."""
    cells = [0.0] * _BAR
    for start, stop in places:
        first, last = min(int(start * _BAR), _BAR - 1), min(int(stop * _BAR), _BAR - 1)
        for cell in range(first, last + 1):
            cells[cell] += max(0.0, min(stop * _BAR, cell + 1) - max(start * _BAR, cell))
        # What is too small to fill anything is there all the same.
        cells[first] += _SLIGHT
    top = len(look.blocks) - 1
    # Sums of floats may be a little off.
    return "|" + "".join(look.blocks[min(top, math.ceil(cell * top - 1e-10))] for cell in cells) + "|"
