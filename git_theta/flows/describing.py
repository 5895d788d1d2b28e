"""Make the metadata file of a checkpoint that has none yet, storing what is new in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

from msgspec import Struct

from git_theta import tensors
from git_theta.checkpoints import Format, has_checksums
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.flows import known
from git_theta.flows.intake import Intake
from git_theta.flows.keeping import Keeper, Kept, Wish, skeleton_wanted, wanted
from git_theta.flows.tolerance import Tolerance, tolerate
from git_theta.git.repository import Repository
from git_theta.metadata import INLINE_BYTES, Entry, Metadata, ObjectRef, Skeleton, values_digest
from git_theta.metadata_file import serialize
from git_theta.registry import Family
from git_theta.settings import Settings
from git_theta.store.objects import ObjectStore
from git_theta.updates import update_types
from git_theta.updates.choose import AUTO, Limits
from git_theta.updates.dense import Dense
from git_theta.updates.wanted import Wanted, restore

_UPDATE_ATTRIBUTE: Final = "theta-update"
"""The attribute that asks for a type of update."""


class Describer(Struct, frozen=True, dict=True):
    """Describes the checkpoints of one repository.

    Attributes:
        warn: is told, in one line, what the user should know.
    """

    repository: Repository
    store: ObjectStore
    formats: Family[Format]
    settings: Settings
    warn: Callable[[str], None]

    @cached_property
    def _elsewhere(self) -> known.Elsewhere:
        """What the checkpoints at other paths have."""
        return known.Elsewhere(self.repository)

    def described(self, intake: Intake, path: str, before: Sequence[Metadata], wish: Wish | None = None) -> bytes:
        """A metadata file.

        Args:
            intake: the checkpoint.
            path: of the file, from the top of the worktree.
            before: earlier versions of it, whose groups may be built on.
            wish: how its groups shall be kept; None for what the attribute of the path asks for.

        Raises:
            ThetaError: the checkpoint cannot be kept, or (strict) no format claims it.
        """
        wish = Wish(self._kind(path)) if wish is None else wish
        if intake.scan.why_opaque is not None:
            if self.settings.strict:
                raise NotThisFormatError(f"{intake.scan.why_opaque} (refused because theta.strict is set)")
            self.warn(f"{path}: {intake.scan.why_opaque}; it is kept whole, not by parameter group")
        if self.settings.atol is not None:
            # HEAD comes last there, and what it has is what a change is measured against.
            intake = tolerate(intake, before[::-1], self.store, Tolerance(self.settings.atol, self.settings.rtol))
        skeleton = intake.digests.skeleton
        skeleton_digest = tensors.digest(skeleton)
        is_large = len(skeleton) > INLINE_BYTES
        keeper = Keeper(self.repository, self.store, Limits(self.settings.max_chain), self._elsewhere)
        kept = keeper.keep(intake, path, before, skeleton if is_large else None, wish)
        layout = intake.scan.layout
        kept_skeleton = Skeleton(
            size=len(skeleton),
            digest=skeleton_digest,
            inline=None if is_large else skeleton,
            update=kept[skeleton_digest].update if is_large else None,
            values=values_digest(intake.digests.groups) if has_checksums(self.formats, layout.format) else None,
        )
        return serialize(Metadata(layout.format, layout.size, kept_skeleton, _entries(intake, kept, before)))

    def restore(self, metadata: Metadata, intake: Intake, lost: Mapping[str, ObjectRef]) -> bool:
        """Make lost objects anew, now that their values are at hand; False if some could not be."""
        values: dict[str, dict[int, Wanted]] = {oid: {} for oid in lost}
        for entry, span in zip(metadata.entries, metadata.layout().spans, strict=True):
            ref = entry.update.object
            if ref is not None and ref.oid in lost and entry.update.type == Dense.name:
                values[ref.oid][ref.start] = wanted(intake.source, span, entry.digest)
        skeleton = metadata.skeleton.update
        if skeleton is not None and skeleton.object is not None and skeleton.object.oid in lost:
            values[skeleton.object.oid][skeleton.object.start] = skeleton_wanted(intake.digests.skeleton)
        restored = [oid for oid in lost if values[oid] and restore(lost[oid], values[oid], self.store)]
        return len(restored) == len(lost)

    def _kind(self, path: str) -> str:
        """The type of update that the attribute theta-update asks for.

        Raises:
            PluginError: there is no such type.
        """
        kind = self.repository.attribute(path, _UPDATE_ATTRIBUTE) or AUTO
        if kind != AUTO and kind not in update_types().names():
            known_names = ", ".join([AUTO, *update_types().names()])
            raise PluginError(f"{_UPDATE_ATTRIBUTE}={kind} names no type of update; known are: {known_names}")
        return kind


def _entries(intake: Intake, kept: Mapping[str, Kept], before: Sequence[Metadata]) -> tuple[Entry, ...]:
    """The groups of a checkpoint.

    Args:
        intake: the checkpoint.
        kept: by digest, how values are kept.
        before: the metadata files that the path has had, the most important first.
    """
    # What is kept says how to get the values of a digest; what a merge made a group with belongs to its name, too.
    merged = {
        (entry.name, *entry.identity): entry.merge
        for metadata in reversed(before)
        for entry in metadata.entries
        if entry.merge is not None
    }
    layout = intake.scan.layout
    return tuple(
        Entry(
            *(span.name, span.dtype, span.shape, digest, lead),
            *(kept[digest].update, kept[digest].signature),
            merged.get((span.name, span.dtype, span.shape, digest)),
        )
        for span, lead, digest in zip(layout.spans, layout.leads(), intake.digests.groups, strict=True)
    )
