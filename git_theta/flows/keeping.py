"""Keep what a checkpoint has that is not kept yet: decide for each group, from which version and how, and store it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field

from git_theta import lsh, tensors
from git_theta.flows import known
from git_theta.flows.intake import Intake
from git_theta.git.repository import Repository
from git_theta.layout import Span
from git_theta.metadata import INLINE_BYTES, Entry, Metadata, Skeleton, Update
from git_theta.signatures import Signature
from git_theta.sources import BytesSource, Source
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, choose, update_types
from git_theta.updates.choose import Limits
from git_theta.updates.dense import Dense
from git_theta.updates.plans import Base, Change, Prediction
from git_theta.updates.reading import Readers
from git_theta.updates.wanted import Wanted, keep


class Kept(Struct, frozen=True):
    """How the values of a digest are kept, and their signature if they have one."""

    update: Update
    signature: Signature | None = None


class Wish(Struct, frozen=True):
    """What the user wants of the way in which a checkpoint's groups are kept.

    Attributes:
        kind: of update that is asked for where it fits; `choose.AUTO` for the cheapest.
        predictions: by the name of a group, what its new values are told to come from (side-loaded updates).
        anew: decide anew about groups whose values are kept already, but in another way than the one wished for.
    """

    kind: str = choose.AUTO
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    anew: bool = False


class Keeper(Struct, frozen=True):
    """Keeps groups in the store of one repository.

    Attributes:
        limits: of chains of updates.
        elsewhere: what other files have.
    """

    repository: Repository
    store: ObjectStore
    limits: Limits
    elsewhere: known.Elsewhere

    def keep(
        self, intake: Intake, path: str, before: Sequence[Metadata], large_skeleton: bytes | None, wish: Wish
    ) -> Mapping[str, Kept]:
        """How each digest of a checkpoint is kept: as it is already, or newly stored.

        Args:
            intake: the checkpoint.
            path: of the file, from the top.
            before: the metadata files that the path has had, the most important first.
            large_skeleton: the skeleton, if it is to be kept in an object.
            wish: what the user wants.

        Raises:
            ChangedWhileReadingError: the file changes meanwhile.
            StoreError: the store cannot be written.
        """
        groups = _groups(zip(intake.scan.layout.spans, intake.digests.groups, strict=True))
        if large_skeleton is not None:
            groups[tensors.digest(large_skeleton)] = None
        found = self._known(groups, before, _changed(intake, before) if wish.anew else frozenset())
        if wish.anew and wish.kind == Dense.name:
            found = {digest: kept for digest, kept in found.items() if kept.update.type == Dense.name}
        missing = {digest: group for digest, group in groups.items() if digest not in found}
        if not missing:
            return found
        signatures: dict[str, Signature | None] = {}
        versions = [metadata.by_name() for metadata in (*known.heads(self.repository, path), *before)]
        changes = []
        if large_skeleton is not None and tensors.digest(large_skeleton) in missing:
            changes.append(_skeleton_change(large_skeleton))
        for span, digest in zip(intake.scan.layout.spans, intake.digests.groups, strict=True):
            if digest in missing:
                group = missing.pop(digest)
                bases = self._bases(span, digest, versions) if group is not None else ()
                sign = span.dtype if group is not None and lsh.supports(span.dtype) else None
                values = wanted(intake.source, span, digest, sign, signatures)
                changes.append(Change(Group(span.dtype, span.shape), values, bases, wish.predictions.get(span.name)))
        updates = choose.keep(changes, self.store, Readers(self.store, update_types()), self.limits, wish.kind)
        return {**found, **{digest: Kept(update, signatures.get(digest)) for digest, update in updates.items()}}

    def _known(
        self, groups: Mapping[str, Group | None], before: Sequence[Metadata], only_before: Collection[str]
    ) -> dict[str, Kept]:
        """What earlier versions and other files have of these digests, as far as its objects are here.

        Args:
            groups: by digest.
            before: the earlier versions.
            only_before: digests that other files, and the index, are not asked for.
        """
        found: dict[str, Kept] = {}
        for metadata in before:
            found = self._of_entries(groups, metadata.entries) | found
            skeleton = metadata.skeleton
            if skeleton.update is not None and skeleton.digest in groups and self._is_here(skeleton.update):
                found.setdefault(skeleton.digest, Kept(skeleton.update))
        missing = groups.keys() - found.keys() - set(only_before)
        if missing:
            elsewhere = self.elsewhere.entries(missing)
            found = self._of_entries({digest: groups[digest] for digest in missing}, elsewhere) | found
        return found

    def _of_entries(self, groups: Mapping[str, Group | None], entries: Iterable[Entry]) -> dict[str, Kept]:
        found: dict[str, Kept] = {}
        for entry in entries:
            is_new = entry.digest in groups and entry.digest not in found
            if is_new and _fits(entry, groups[entry.digest]) and self._is_here(entry.update):
                found[entry.digest] = Kept(entry.update, _signature(entry, groups[entry.digest]))
        return found

    def _bases(self, span: Span, digest: str, versions: Iterable[Mapping[str, Entry]]) -> tuple[Base, ...]:
        """Earlier versions of a group that a change of it may build on."""
        found: dict[str, Base] = {}
        for version in versions:
            entry = version.get(span.name)
            if entry is None or (entry.dtype, entry.shape) != (span.dtype, span.shape) or entry.digest in found:
                continue
            if span.nbytes and entry.digest != digest and self._is_here(entry.update):
                found[entry.digest] = Base(entry.update, entry.digest, entry.signature)
        return tuple(found.values())

    def _is_here(self, update: Update) -> bool:
        return all(self.store.has(ref) for ref in update.objects())


def wanted(
    source: Source,
    span: Span,
    digest: str,
    sign: str | None = None,
    signatures: dict[str, Signature | None] | None = None,
) -> Wanted:
    """A group of a file as values to keep; see `wanted.Wanted`."""
    return Wanted(
        source,
        span.start,
        span.nbytes,
        tensors.itemsize(span.dtype),
        digest,
        sign,
        {} if signatures is None else signatures,
    )


def skeleton_wanted(skeleton: bytes) -> Wanted:
    """A skeleton as values to keep."""
    return Wanted(BytesSource(skeleton), 0, len(skeleton), 1, tensors.digest(skeleton))


def keep_skeleton(skeleton: bytes, store: ObjectStore) -> Skeleton:
    """Keep a skeleton: in the metadata file itself if it is small, else in an object.

    Raises:
        StoreError: the store cannot be written.
    """
    digest = tensors.digest(skeleton)
    if len(skeleton) <= INLINE_BYTES:
        return Skeleton(len(skeleton), digest, skeleton, None)
    return Skeleton(len(skeleton), digest, None, keep([skeleton_wanted(skeleton)], store)[digest])


def _skeleton_change(skeleton: bytes) -> Change:
    return Change(Group("uint8", (len(skeleton),)), skeleton_wanted(skeleton))


def _changed(intake: Intake, before: Iterable[Metadata]) -> frozenset[str]:
    """The digests of groups that earlier versions have with other values."""
    versions = [metadata.by_name() for metadata in before]
    return frozenset(
        digest
        for span, digest in zip(intake.scan.layout.spans, intake.digests.groups, strict=True)
        if any(span.name in version and version[span.name].digest != digest for version in versions)
    )


def _groups(spans: Iterable[tuple[Span, str]]) -> dict[str, Group | None]:
    """Dtype and shape for each digest; None where the same values come with several."""
    found: dict[str, Group | None] = {}
    for span, digest in spans:
        group = Group(span.dtype, span.shape)
        found[digest] = group if found.get(digest, group) == group else None
    return found


def _signature(entry: Entry, group: Group | None) -> Signature | None:
    """An entry's signature, if it is a group's, too: the same bytes have another one as values of another dtype."""
    return entry.signature if group is not None and group.dtype == entry.dtype else None


def _fits(entry: Entry, group: Group | None) -> bool:
    """Whether an entry's update gives the same values for a group: one with a base depends on dtype and shape."""
    return entry.update.type == Dense.name or group == Group(entry.dtype, entry.shape)
