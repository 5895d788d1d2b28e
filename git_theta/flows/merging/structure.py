"""All of a checkpoint but its groups' values: which version's it is, and where the groups lie in the merged file.

If only one side changed it, that side's is taken as it is. Else what is outside of the groups is compared by itself, as
the format would write it around the groups that all versions have; then value by value, as far as the format shows
and can mix them. A new file is laid out by the format; no values are read for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Final

from msgspec import Struct

from git_theta import tensors
from git_theta.checkpoints import Checksummed, Format, Grafting, Mixing, Nested, Tied, has_checksums, opaque, plugins
from git_theta.checkpoints.by_value import plugin_of
from git_theta.checkpoints.hollow import Shapes, write_hollow
from git_theta.errors import MergeError, NotThisFormatError, PluginError
from git_theta.flows.merging import stand_ins
from git_theta.flows.merging.bundles import Places
from git_theta.flows.merging.labels import Labelled, Origins
from git_theta.flows.merging.outside import Outside
from git_theta.flows.merging.parts import Parts, lost, merge_parts, with_all_below
from git_theta.flows.merging.plan import OURS, STRUCTURE, Step, Versions, identity, plan_groups
from git_theta.flows.merging.texts import MergedTexts, Texts, merge_texts
from git_theta.flows.merging.ties import Ties
from git_theta.layout import Layout
from git_theta.merges.decisions import Clash, Conflict
from git_theta.metadata import Entry, Metadata
from git_theta.registry import Family
from git_theta.sources import HollowSource

Checksum = Callable[[Entry], int]
"""The CRC-32 of a group's values."""

_FAILURES: Final = (PluginError, NotThisFormatError)


class Placed(Struct, frozen=True):
    """Where the groups of a merged checkpoint lie.

    Attributes:
        layout: of the file.
        like: the version whose skeleton it is; None if it is a new one.
        skeleton: its bytes; None where it is another version's as it is.
    """

    layout: Layout
    like: Metadata | None
    skeleton: bytes | None


class Structure:
    """What the versions of a merge are outside of their groups' values.

    Attributes:
        ties: their tied groups.
    """

    def __init__(self, versions: Versions, formats: Family[Format], skeleton_of: Callable[[Metadata], bytes]) -> None:
        """Args: versions: to merge; formats: that there are; skeleton_of: reads the skeleton of a version."""
        self._versions = versions
        self._all = versions.all()
        self._formats = formats
        self._skeleton_of = skeleton_of
        self._contents: dict[tuple[int, ...], Hashable] = {}
        self._comparables: dict[tuple[str, str], str] = {}
        self.ties = Ties(versions, self._places_of)
        self._told = Labelled(versions, formats, skeleton_of, self._places_of, self._comparable)

    def plan(self) -> Outside:
        """What becomes of all that is no group."""
        names = {metadata.format for metadata in self._all}
        if len(names) > 1 and not all(name in self._formats.names() for name in names):
            # What nobody decided about is like nothing else: its number stands for it.
            found = [_whole(metadata) if metadata.is_decided else at for at, metadata in enumerate(self._all)]
            version = self._choose(found)
            return Outside(version, conflicts=() if version is not None else (self._conflict(),), is_whole=True)
        version = self._choose(self._frames())
        if version is not None:
            return Outside(version)
        if plugin_of(self._all[OURS].format) is not None:
            return Outside(OURS)
        if self._parts is not None:
            return self._by_parts(self._parts)
        texts = self._texts()
        if len(names) > 1:
            return self._converted(texts)
        version = self._choose([self._content(number) for number in range(len(self._all))])
        if version is not None:
            return Outside(version)
        if texts is not None and self._can_mix() and self._can_write(texts):
            return Outside(OURS, texts.sides, texts.conflicts, names=texts.names)
        ancestor = () if self._versions.lineage.ancestor is None else (self._versions.lineage.ancestor,)
        version = self._choose([self._content(number, *ancestor, OURS) for number in range(len(self._all))])
        return self._open() if version is None else Outside(version)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What becomes of every group."""
        return plan_groups(self.ties.untied(), self._told.labels, self.ties.places)

    def place(self, outside: Outside, entries: Sequence[Entry], origins: Origins, checksum: Checksum) -> Placed:
        """Find the groups of the merged checkpoint their places.

        Args:
            outside: what was decided.
            entries: the groups, in the order wanted.
            origins: of each of them.
            checksum: gives that of a group's values where no version has it.

        Raises:
            MergeError: the format cannot write such a file.
            PluginError: the format is a plug-in that is not installed, or broken.
        """
        assert outside.version is not None
        followed = self._all[outside.version]
        like = None if outside.texts else self._like(outside.version, entries, origins)
        if like is not None:
            layout, skeleton = like.layout(), None
        elif plugin_of(followed.format) is not None:
            layout, skeleton = stand_ins.laid_out(self._versions, entries, self._skeleton_of)
        else:
            layout, skeleton = self._written(outside, entries, origins)
        known = {} if like is None else {entry.name: entry.digest for entry in like.entries}
        changed = [entry for entry in entries if entry.nbytes and known.get(entry.name) != entry.digest]
        skeleton = self._fitted(followed.format, layout, like, skeleton, changed, checksum)
        return Placed(layout, like, skeleton)

    def has_checksums(self, outside: Outside) -> bool:
        """Whether the merged file holds checksums of its groups' values."""
        name = self._all[OURS if outside.version is None else outside.version].format
        return has_checksums(self._formats, name)

    def _places_of(self, metadata: Metadata) -> Places:
        """The other places of a version's tied groups."""
        member = self._installed(metadata.format)
        if not isinstance(member, Tied):
            return {}
        try:
            with self._guarded(metadata.format, "read the ties of"):
                return member.ties(self._source_of(metadata))
        except _FAILURES:
            return {}

    def _choose(self, found: Sequence[Hashable]) -> int | None:
        """The side that is taken, of what the versions are."""
        seen = [at if self._all[at].skeleton.undecided else what for at, what in enumerate(found)]
        return self._versions.lineage.choose(seen)

    def _conflict(self) -> Conflict:
        return Conflict(STRUCTURE, Clash.STRUCTURE, None, (None,) * len(self._versions.sides))

    def _open(self) -> Outside:
        return Outside(None, conflicts=(self._conflict(),))

    @cached_property
    def _parts(self) -> list[Parts] | None:
        """What all versions consist of; None if their format is not of maps within maps."""
        name = self._all[OURS].format
        member = self._installed(name)
        if not isinstance(member, Nested) or any(metadata.format != name for metadata in self._all):
            return None
        try:
            with self._guarded(name, "read the parts of"):
                return [Parts(member.parts(self._skeleton_of(each)), each.by_name()) for each in self._all]
        except _FAILURES:
            return None

    def _by_parts(self, parts: Sequence[Parts]) -> Outside:
        """Follow ours, with the parts that others changed."""
        merged = merge_parts(self._versions, parts, self.steps)
        outside = Outside(OURS, merged.sides, merged.conflicts, wholes=merged.wholes)
        found = [step.first for step in self.steps if step.first is not None]
        try:
            if not merged.wholes:  # What is below of them is not known yet.
                self._written(outside, [entry for entry, _ in found], {entry.name: number for entry, number in found})
        except MergeError:
            return self._open()
        return outside

    def _converted(self, texts: MergedTexts | None) -> Outside:
        """Follow the side that made it a file of another format.

        What others changed besides the groups has no place there.

        Args:
            texts: the values that are no groups, merged; None if a format cannot tell them.
        """
        version = self._choose([metadata.format for metadata in self._all])
        contents = {(metadata.format, self._content(number)) for number, metadata in enumerate(self._all)}
        is_same = len(contents) == len({metadata.format for metadata in self._all})
        if version is None or texts is None or texts.conflicts or not is_same:
            return self._open()
        if any(self._told.is_told_elsewhere(step, version) for step in self.steps):
            return self._open()
        known = [self._texts_of(metadata) or {} for metadata in self._all]
        names = {name for found in known for name in found}
        is_said = all(known[texts.sides.get(name, OURS)].get(name) == known[version].get(name) for name in names)
        return Outside(version) if is_said else self._open()

    def _frames(self) -> list[Hashable]:
        """All of each version but its values."""
        alike = len({metadata.skeleton.digest for metadata in self._all}) == 1
        return [
            (
                metadata.format,
                metadata.skeleton.digest if alike else self._comparable(metadata),
                tuple((*_shape(entry), entry.lead) for entry in metadata.entries),
            )
            for metadata in self._all
        ]

    def _comparable(self, metadata: Metadata) -> str:
        """The digest of a skeleton, without the checksums in it."""
        key = metadata.format, metadata.skeleton.digest
        self._comparables[key] = self._comparables.get(key) or self._compared(metadata)
        return self._comparables[key]

    def _compared(self, metadata: Metadata) -> str:
        member = self._installed(metadata.format)
        if isinstance(member, Checksummed):
            try:
                skeleton = self._skeleton_of(metadata)
                with self._guarded(metadata.format, "read the checksums of"):
                    return tensors.digest(member.without_checksums(metadata.layout(), skeleton))
            except _FAILURES:
                pass  # It is compared as it is.
        return metadata.skeleton.digest

    def _content(self, number: int, *models: int) -> Hashable:
        """What is outside of the groups, as the format writes it around those that all versions have.

        Args:
            number: of the version.
            models: versions whose order its keys are given, one after the other; none to see what order they have.
        """
        if (number, *models) not in self._contents:
            metadata = self._all[number]
            shapes = self._common(models[-1] if models else number)
            skeletons = [self._skeleton_of(self._all[model]) for model in models]
            try:
                layout, skeleton = self._hollow(metadata.format, shapes, self._skeleton_of(metadata), models=skeletons)
                self._contents[number, *models] = layout, tensors.digest(skeleton)
            except _FAILURES:
                self._contents[number, *models] = self._comparable(metadata)
        return self._contents[number, *models]

    def _common(self, number: int) -> Shapes:
        """The groups that all versions have, with one dtype and shape, by the names that one has for them."""
        alike = self.ties.alike
        shared = set.intersection(*({_shape(entry) for entry in metadata.entries} for metadata in alike))
        entries = self.ties.named(number, [entry for entry in alike[OURS].entries if _shape(entry) in shared])
        return {entry.name: (entry.dtype, entry.shape) for entry in entries}

    def _texts(self) -> MergedTexts | None:
        """The values that are no groups, merged; None if a format cannot tell them."""
        found = []
        for metadata in self._all:
            texts = self._texts_of(metadata)
            if texts is None:
                return None
            found.append(texts)
        undecided = [metadata.skeleton.undecided for metadata in self._all]
        groups = {entry.name for metadata in self._all for entry in metadata.entries}
        return merge_texts(found, self._versions.lineage, undecided, groups)

    def _texts_of(self, metadata: Metadata) -> Texts | None:
        try:
            with self._guarded(metadata.format, "read the values of"):
                return self._formats.get(metadata.format).values(self._source_of(metadata))
        except _FAILURES:
            return None

    def _source_of(self, metadata: Metadata) -> HollowSource:
        """A version's file, with zeros for its groups' values."""
        return metadata.layout().hollow(self._skeleton_of(metadata))

    def _can_mix(self) -> bool:
        """Whether values by name and the order of keys are all that differs, and the format can take such values."""
        name, ours, common = self._all[OURS].format, self._texts_of(self._all[OURS]), self._common(OURS)
        if not isinstance(self._installed(name), Mixing | Grafting) or ours is None:
            return False
        for number, metadata in enumerate(self._all):
            theirs, skeleton = self._texts_of(metadata), self._skeleton_of(metadata)
            names = [name for name in {**ours, **(theirs or {})} if ours.get(name) != (theirs or {}).get(name)]
            try:
                donors = dict.fromkeys(names, skeleton)
                layout, mixed = self._hollow(name, common, self._skeleton_of(self._all[OURS]), donors)
            except _FAILURES:
                return False
            if (layout, tensors.digest(mixed)) != self._content(number, OURS):
                return False
        return True

    def _can_write(self, texts: MergedTexts) -> bool:
        """Whether the values that need no decision can all be in one file."""
        ours = self._all[OURS]
        donors = {name: self._skeleton_of(self._all[number]) for name, number in texts.sides.items()}
        try:
            self._hollow(ours.format, self._common(OURS), self._skeleton_of(ours), donors)
        except _FAILURES:
            return False
        return True

    def _like(self, version: int, entries: Sequence[Entry], origins: Origins) -> Metadata | None:
        """A version whose file has room for just these groups, and the same content besides."""
        shapes = {_shape(entry) for entry in entries}
        for number in sorted(range(len(self._all)), key=lambda number: number != version):
            metadata = self._all[number]
            if (
                metadata.format == self._all[version].format
                and {_shape(entry) for entry in metadata.entries} == shapes
                and self._told.fits(number, entries, origins)
                and (number == version or self._content(number) == self._content(version))
            ):
                return metadata
        return None

    def _written(self, outside: Outside, entries: Sequence[Entry], origins: Origins) -> tuple[Layout, bytes]:
        assert outside.version is not None
        followed, parts = self._all[outside.version], self._parts
        taken = outside.texts if parts is None else with_all_below(outside.texts, outside.wholes, parts)
        donors = {name: self._skeleton_of(self._all[number]) for name, number in taken.items()}
        shapes = {entry.name: (entry.dtype, entry.shape) for entry in entries}
        try:
            sources = self._told.sources(outside.version, entries, origins)
            places = {place: self._skeleton_of(source) for place, source in sources.items()}
            layout, skeleton = self._hollow(followed.format, shapes, self._skeleton_of(followed), donors, places=places)
            if parts is not None:
                self._check(outside, taken, parts, layout, skeleton)
            self._told.check(entries, origins, layout.format, skeleton)
        except _FAILURES as error:
            raise MergeError(f"the groups do not fit into one file ({error}): take all of it from one side") from error
        return layout, skeleton

    def _check(
        self, outside: Outside, taken: Mapping[str, int], parts: Sequence[Parts], layout: Layout, skeleton: bytes
    ) -> None:
        """Make sure that a file has all the parts that it should have.

        Raises:
            PluginError: it has not.
        """
        member = self._formats.get(layout.format)
        assert isinstance(member, Nested)
        assert outside.version is not None
        found = Parts(member.parts(skeleton), dict.fromkeys(span.name for span in layout.spans))
        wrong = lost(parts, taken, outside.version, found)
        if wrong:
            raise PluginError(f"{wrong[0][:80]!r} cannot be kept beside them")

    def _fitted(
        self,
        name: str,
        layout: Layout,
        like: Metadata | None,
        skeleton: bytes | None,
        changed: Sequence[Entry],
        checksum: Checksum,
    ) -> bytes | None:
        """The skeleton with the checksums of other values, where the format has any."""
        alike = len({metadata.skeleton.digest for metadata in self._all}) == 1
        is_free = plugin_of(name) is not None or name == opaque.NAME
        if not changed or is_free or (like is not None and alike):
            return skeleton
        member = self._formats.get(name)
        if not getattr(member, "has_checksums", False):
            return skeleton
        if not isinstance(member, Checksummed):
            raise PluginError(f"files of the format {name} have checksums, and it cannot tell where: take one side")
        if skeleton is None:
            assert like is not None
            skeleton = self._skeleton_of(like)
        known = self._known_checksums({entry.digest for entry in changed})
        sums = {entry.name: known[entry.digest] if entry.digest in known else checksum(entry) for entry in changed}
        with self._guarded(name, "put checksums into"):
            return member.with_checksums(layout, skeleton, sums)

    def _known_checksums(self, wanted: set[str]) -> dict[str, int]:
        """The checksums that the versions have, by the digest of the values; those that are wanted, and others."""
        found: dict[str, int] = {}
        for metadata in self._all:
            member = self._installed(metadata.format)
            left = {entry.digest for entry in metadata.entries if entry.digest in wanted} - found.keys()
            if left and isinstance(member, Checksummed):
                with self._guarded(metadata.format, "read the checksums of"):
                    sums = member.checksums(metadata.layout(), self._skeleton_of(metadata))
                found |= {entry.digest: sums[entry.name] for entry in metadata.entries if entry.name in sums}
        return found

    def _installed(self, name: str) -> object:
        """The format of a name, if it is one that is here, else None."""
        return self._formats.get(name) if name in self._formats.names() else None

    def _hollow(
        self,
        name: str,
        shapes: Shapes,
        skeleton: bytes,
        donors: Mapping[str, bytes] | None = None,
        models: Sequence[bytes] = (),
        places: Mapping[str, bytes] | None = None,
    ) -> tuple[Layout, bytes]:
        """What a format writes; see `hollow.write_hollow`."""
        with self._guarded(name, "write"):
            return write_hollow(self._formats.get(name), shapes, skeleton, donors, models, places)

    def _guarded(self, name: str, action: str) -> AbstractContextManager[None]:
        """Turns what a plug-in raises into our errors."""
        return plugins.guarded_unless_builtin(self._formats, name, action)


def _shape(entry: Entry) -> tuple[str, str, tuple[int, ...]]:
    return entry.name, entry.dtype, entry.shape


def _whole(metadata: Metadata) -> Hashable:
    """What tells a checkpoint from others."""
    return (
        metadata.format,
        metadata.skeleton.digest,
        tuple((entry.name, entry.lead, identity(entry)) for entry in metadata.entries),
    )
