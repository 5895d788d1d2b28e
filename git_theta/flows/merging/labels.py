"""What the files of a merge say more about their groups than dtype, shape and values (`checkpoints.Labelled`).

Each group keeps what is said of it where it is taken from, whichever file the merged one follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from git_theta.checkpoints import Format
from git_theta.checkpoints.labels import has_labels, labels
from git_theta.errors import PluginError
from git_theta.flows.merging.bundles import Places
from git_theta.flows.merging.plan import Labels, Step, Versions
from git_theta.metadata import Entry, Metadata
from git_theta.registry import Family

Origins = Mapping[str, int]
"""For each merged group, the version that it is of, or is read like, by its number in `Versions.all`."""


class Labelled:
    """The versions of a merge, and what they say of their groups."""

    def __init__(
        self,
        versions: Versions,
        formats: Family[Format],
        skeleton_of: Callable[[Metadata], bytes],
        places_of: Callable[[Metadata], Places],
        comparable: Callable[[Metadata], str],
    ) -> None:
        """See `Structure`.

        Args:
            versions: to merge.
            formats: that there are.
            skeleton_of: reads the skeleton of a version.
            places_of: reads the other places of a version's tied groups.
            comparable: gives the digest of a version's skeleton, without the checksums in it.
        """
        self._all = versions.all()
        self._count = len(versions.sides)
        self._formats = formats
        self._skeleton_of = skeleton_of
        self._places_of = places_of
        self._comparable = comparable

    @cached_property
    def labels(self) -> list[Labels]:
        """What each version says more about its groups."""
        kinds = [(metadata.format, self._comparable(metadata)) for metadata in self._all]
        if len(set(kinds)) == 1:
            return [{}] * len(self._all)  # All say the same, and no file is written anew.
        found: dict[tuple[str, str], Labels] = {}
        for kind, metadata in zip(kinds, self._all, strict=True):
            if kind not in found:
                found[kind] = self._read(metadata)
        return [found[kind] for kind in kinds]

    def fits(self, version: int, entries: Sequence[Entry], origins: Origins) -> bool:
        """Whether a version says the same of all groups as those that they are of."""
        return all(self.labels[version].get(entry.name) == self._label(entry, origins) for entry in entries)

    def is_told_elsewhere(self, step: Step, version: int) -> bool:
        """Whether a file of another format says more about a group, that may be taken from it, than a version does."""
        sides = range(self._count) if step.side is None else (step.side,)
        return any(
            self._all[side].format != self._all[version].format
            and self.labels[side].get(step.name) not in (None, self.labels[version].get(step.name))
            for side in sides
        )

    def sources(self, version: int, entries: Sequence[Entry], origins: Origins) -> dict[str, Metadata]:
        """The versions that groups are of which a version has not, or has otherwise, by the places of the groups."""
        followed, known = self._all[version], [metadata.by_name() for metadata in self._all]
        wanted: dict[int, set[str]] = {}
        for entry in entries:
            number = origins[entry.name]
            mine, found = known[version].get(entry.name), known[number].get(entry.name)
            is_there = found is not None and (mine is None or _type(found) == _type(entry))
            is_same = mine is not None and _type(mine) == _type(entry) and self.fits(version, [entry], origins)
            if is_there and not is_same and self._all[number].format == followed.format:
                wanted.setdefault(number, set()).add(entry.name)
        sources: dict[str, Metadata] = {}
        for number, names in wanted.items():
            tied = {place for place, name in self._places_of(self._all[number]).items() if name in names}
            sources |= dict.fromkeys(sorted(names | tied), self._all[number])
        return sources

    def check(self, entries: Sequence[Entry], origins: Origins, name: str, skeleton: bytes) -> None:
        """Make sure that a file of a format says of its groups what the versions say that they are of.

        Raises:
            PluginError: it does not.
        """
        found = labels(self._formats, name, skeleton)
        for entry in entries:
            told = self._label(entry, origins)
            if told != found.get(entry.name):
                raise PluginError(f"{entry.name[:80]!r} would no longer be {told or 'a plain array'} there")

    def _read(self, metadata: Metadata) -> Labels:
        if not has_labels(self._formats, metadata.format):
            return {}
        return labels(self._formats, metadata.format, self._skeleton_of(metadata))

    def _label(self, entry: Entry, origins: Origins) -> str | None:
        return self.labels[origins[entry.name]].get(entry.name)


def _type(entry: Entry) -> tuple[str, tuple[int, ...]]:
    return entry.dtype, entry.shape
