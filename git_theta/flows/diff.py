"""Diff: what changed between two versions of a checkpoint, and how far the values of what changed moved.

Metadata tells what changed. Values are read of changed groups only, block by block, and only if their objects are here:
a diff never fetches. Where they are not, or where there are too many bytes to read, signatures give estimates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from enum import StrEnum
from functools import cache, partial
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from git_theta.checkpoints import Format
from git_theta.diffs.changes import CheckpointDiff, GroupChange, Statistics, ValueChange
from git_theta.diffs.compare import changed_values, compare, part
from git_theta.diffs.numbers import is_numeric
from git_theta.diffs.statistics import Histogram, Values, are_comparable, estimate, histogram, measure
from git_theta.errors import ChangedWhileReadingError
from git_theta.flows.versions import Version
from git_theta.metadata import Entry
from git_theta.registry import Family
from git_theta.store.objects import ObjectStore
from git_theta.updates import update_types
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.reading import Readers

AUTO_BYTES: Final = 1 << 28
"""Bytes of values, old and new ones together, that are read without being asked for: about a second's worth."""

THOROUGH_BYTES: Final = 1 << 31
"""The same for a report, for which one waits a little."""

_THREADS: Final = 4
_PLAIN: Final = "a plain array"

T = TypeVar("T")
R = TypeVar("R")


class How(StrEnum):
    """How the statistics are had (theta.diff.stats)."""

    AUTO = "auto"
    EXACT = "exact"
    ESTIMATE = "estimate"
    NONE = "none"


Selection = Callable[[str], bool]
"""Whether a group of this name is looked at."""


class Differ(Struct, frozen=True):
    """Compares versions of checkpoints.

    Attributes:
        formats: which find the values that are no groups.
        store: has the values of what is kept; None outside of a repository.
        how: the statistics are had.
        warn: is told, in one line, what the user should know.
        affordable: bytes of values, old and new ones together, that are read without being asked for.
    """

    formats: Family[Format]
    store: ObjectStore | None
    how: How
    warn: Callable[[str], None]
    affordable: int = AUTO_BYTES

    def quick(self) -> Differ:
        """One that tells no statistics, and so reads no values."""
        return replace(self, how=How.NONE)

    def thorough(self) -> Differ:
        """One for whom it takes more to be too much to read."""
        return replace(self, affordable=THOROUGH_BYTES)

    def diff(
        self, old: Version, new: Version, old_path: str, new_path: str, only: Selection | None = None
    ) -> CheckpointDiff:
        """What changed from one version to another.

        Args:
            old: the version before.
            new: the version after.
            old_path: where the checkpoint was.
            new_path: where it is.
            only: leaves out groups, and with them the values that are no groups.
        """
        readers = self._readers()
        found = compare(old.metadata, new.metadata, old_path, new_path)
        found = found if only is None else part(found, only)
        changes = self._measured(found.changes, old, new, readers, new_path)
        values = self._values(old, new, readers) if only is None else ()
        if only is None and not (changes or values):
            values = self._labels(old, new, readers)
        return replace(found, changes=changes, values=values)

    def histograms(self, changes: Iterable[GroupChange], old: Version, new: Version) -> dict[str, Histogram]:
        """Histograms of the values of changed groups, by their names, as far as the values are here and are numbers.

        Args:
            changes: from a diff of these versions; each takes two readings of its values.
            old: the version before.
            new: the version after.
        """
        readers = self._readers()
        presence = _Presence(self.store)

        def look(change: GroupChange) -> Histogram | None:
            sides = [(old, change.old), (new, change.new)]
            if not all(
                entry is None or (is_numeric(entry.dtype) and presence.of(side, entry)) for side, entry in sides
            ):
                return None
            values = [
                None if entry is None else Values(entry.dtype, partial(side.rows, entry, readers))
                for side, entry in sides
            ]
            try:
                return histogram(values[0], values[1])
            except (UnusableBaseError, ChangedWhileReadingError):
                return None

        listed = list(changes)
        found = zip(listed, _mapped(look, listed, len(listed)), strict=True)
        return {change.name: made for change, made in found if made is not None}

    def _readers(self) -> Readers | None:
        return None if self.store is None else Readers(self.store, update_types())

    def _values(self, old: Version, new: Version, readers: Readers | None) -> tuple[ValueChange, ...]:
        """What changed beside the groups; it need not be looked for where the skeletons are the same."""
        if old.metadata is None or new.metadata is None or old.metadata.skeleton.digest == new.metadata.skeleton.digest:
            return ()
        before, after = (version.texts(self.formats, readers) for version in (old, new))
        return () if before is None or after is None else changed_values(before, after)

    def _labels(self, old: Version, new: Version, readers: Readers | None) -> tuple[ValueChange, ...]:
        """How groups are read otherwise than before: in another order, as another kind of elements."""
        if old.metadata is None or new.metadata is None or old.metadata.skeleton.digest == new.metadata.skeleton.digest:
            return ()
        before, after = (version.labels(self.formats, readers) for version in (old, new))
        names = [entry.name for entry in new.metadata.entries if before.get(entry.name) != after.get(entry.name)]
        return tuple(ValueChange(name, before.get(name, _PLAIN), after.get(name, _PLAIN)) for name in names)

    def _measured(
        self, changes: Sequence[GroupChange], old: Version, new: Version, readers: Readers | None, path: str
    ) -> tuple[GroupChange, ...]:
        """The changes with statistics: exact ones of those whose values are read, estimates of others."""
        if self.how is How.NONE:
            return tuple(changes)
        pairs = [_comparable(change) for change in changes]
        chosen = self._chosen(pairs, old, new)
        failures: list[tuple[str, str]] = []

        def look(number: int) -> Statistics | None:
            pair = pairs[number]
            if pair is None or number not in chosen:
                return None if pair is None else estimate(*pair)
            rows = [side.rows(entry, readers) for side, entry in zip((old, new), pair, strict=True)]
            try:
                with closing(rows[0]), closing(rows[1]):
                    return measure(rows[0], rows[1], pair[0].dtype, pair[1].dtype)
            except (UnusableBaseError, ChangedWhileReadingError) as error:
                failures.append((pair[1].name, str(error)))
                return estimate(*pair)

        found = _mapped(look, range(len(changes)), len(chosen))
        measured = tuple(
            replace(change, statistics=statistics) for change, statistics in zip(changes, found, strict=True)
        )
        self._report(failures, path)
        return measured

    def _chosen(self, pairs: Sequence[tuple[Entry, Entry] | None], old: Version, new: Version) -> set[int]:
        """The pairs whose values are read: those that are here, in file order, as far as they are affordable."""
        if self.how is How.ESTIMATE:
            return set()
        presence = _Presence(self.store)
        left = math.inf if self.how is How.EXACT else self.affordable
        chosen = set()
        for number, pair in enumerate(pairs):
            cost = sum(entry.nbytes for entry in pair or ())
            if pair and cost <= left and presence.of(old, pair[0]) and presence.of(new, pair[1]):
                chosen.add(number)
                left -= cost
        return chosen

    def _report(self, failures: Sequence[tuple[str, str]], path: str) -> None:
        if failures:
            name, reason = min(failures)
            more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
            self.warn(
                f"{path}: the values of group {name!r}{more} cannot be read: {reason}; "
                "'git theta fetch --verify' may bring them"
            )


class _Presence:
    """Knows which values can be read without fetching. The store is asked for each object once."""

    def __init__(self, store: ObjectStore | None) -> None:
        self._has = cache(lambda ref: store is not None and store.has(ref))

    def of(self, version: Version, entry: Entry) -> bool:
        """Whether the values of a group of a version are here."""
        if version.source is not None:
            return True
        return all(self._has(replace(ref, start=0)) for ref in entry.update.objects())


def _mapped(look: Callable[[T], R], items: Sequence[T], large: int) -> list[R]:
    """What a function says of items, in their order; several threads work if several of the items are large."""
    threads = min(_THREADS, os.cpu_count() or 1, large)
    if threads < 2:
        return [look(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(look, items))


def _comparable(change: GroupChange) -> tuple[Entry, Entry] | None:
    """Both sides of a change, if there is a distance between them."""
    old, new = change.old, change.new
    if old is None or new is None or (old.dtype, old.digest) == (new.dtype, new.digest):
        return None
    return (old, new) if are_comparable(old, new) else None
