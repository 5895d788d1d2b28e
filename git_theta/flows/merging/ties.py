"""Tied groups of the versions of a merge: a group that stands at several places of a file, and is called by the first.

What is first in one version need not be so in another one, where the same group then has another name; and where a side
gives a place values of its own, there is a group that the others seem not to have. Neither adds or removes a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from git_theta.flows.merging.bundles import Places
from git_theta.flows.merging.plan import Versions
from git_theta.metadata import Entry, Metadata


class Ties:
    """The versions of a merge, with the same names for the same groups."""

    def __init__(self, versions: Versions, places_of: Callable[[Metadata], Places]) -> None:
        """Args: versions: to merge; places_of: reads the other places of a version's groups."""
        self._versions = versions
        self._all = versions.all()
        self._places_of = places_of

    def untied(self) -> Versions:
        """The versions to merge by groups.

        The same groups have the same names. Where the ancestor has a tied group, and a side has groups of its own at
        its places, there is one at each place in all versions: so what others did to the tied group, they did to each.
        """
        ancestor = self._versions.lineage.ancestor
        if ancestor is None:
            return self._changed(self.alike)
        known = self.alike[ancestor].by_name().keys()
        names = {entry.name for side in self.alike[: len(self._versions.sides)] for entry in side.entries} - known
        wanted = names & self._places(ancestor).keys() if names else set[str]()
        return self._changed([self._with(number, wanted) for number in range(len(self._all))] if wanted else self.alike)

    def places(self) -> Places:
        """The other places of all versions' groups, by the common names of these."""
        return {place: name for number in range(len(self._all)) for place, name in self._places(number).items()}

    def named(self, number: int, entries: Sequence[Entry]) -> list[Entry]:
        """Groups of `untied`, called as in the file of a version.

        A group that another one has the name of keeps its own: these are no longer tied.
        """
        taken = {entry.name for entry in entries}
        own = {common: name for name, common in self._names[number].items() if name not in taken}
        return [replace(entry, name=own.get(entry.name, entry.name)) for entry in entries]

    @cached_property
    def _names(self) -> list[dict[str, str]]:
        """For each version, the common names of those of its groups that it calls otherwise."""
        first = self._versions.lineage.ancestor or 0
        found: dict[int, dict[str, str]] = {}
        known: list[set[str]] = []
        for number in sorted(range(len(self._all)), key=lambda number: number != first):
            own = self._all[number].by_name().keys()
            found[number] = self._common(number, known) if any(names - own and own - names for names in known) else {}
            known.append({found[number].get(name, name) for name in own})
        return [found[number] for number in range(len(self._all))]

    def _common(self, number: int, known: Sequence[set[str]]) -> dict[str, str]:
        own = self._all[number].by_name().keys()
        others: dict[str, list[str]] = {}
        for place, name in self._places_of(self._all[number]).items():
            others.setdefault(name, []).append(place)
        found = {}
        for name, places in others.items():
            # The first version that has the group, by whatever name, gives it.
            names = next((names for names in known if not names.isdisjoint((name, *places))), set[str]())
            common = next((place for place in places if place in names and place not in own), None)
            if name not in names and common is not None:
                found[name] = common
        return found

    @cached_property
    def alike(self) -> list[Metadata]:
        """All versions, with common names for the same groups: the ancestor's, or else those of the first side."""
        return [self._renamed(metadata, names) for metadata, names in zip(self._all, self._names, strict=True)]

    def _renamed(self, metadata: Metadata, names: Mapping[str, str]) -> Metadata:
        if not names:
            return metadata
        entries = (replace(entry, name=names.get(entry.name, entry.name)) for entry in metadata.entries)
        return replace(metadata, entries=tuple(entries))

    def _places(self, number: int) -> Places:
        """The other places of a version's groups, by the common names of these."""
        names = self._names[number]
        places = {place: names.get(name, name) for place, name in self._places_of(self._all[number]).items()}
        return {place: name for place, name in {**places, **names}.items() if place != name}

    def _with(self, number: int, names: set[str]) -> Metadata:
        """A version with groups of their own at some places of tied ones."""
        metadata = self.alike[number]
        known, places = metadata.by_name(), self._places(number)
        missing = [name for name in sorted(names) if name not in known and places.get(name) in known]
        more = (replace(known[places[name]], name=name) for name in missing)
        return replace(metadata, entries=(*metadata.entries, *more))

    def _changed(self, versions: Sequence[Metadata]) -> Versions:
        """The versions of the merge, with others in their places."""
        rest = iter(versions)
        sides = tuple(next(rest) for _ in self._versions.sides)
        ancestor = None if self._versions.ancestor is None else next(rest)
        pairs = {pair: None if old is None else next(rest) for pair, old in self._versions.pairs.items()}
        return Versions(ancestor, sides, pairs)
