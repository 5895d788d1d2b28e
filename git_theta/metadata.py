"""What a metadata file says, as immutable values. Its text is the business of `metadata_file`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Final

from blake3 import blake3
from msgspec import Struct

from git_theta import tensors
from git_theta.layout import Layout, Span

if TYPE_CHECKING:
    from git_theta.signatures import Signature


class ObjectRef(Struct, frozen=True):
    """An object of the store, or the rows of one from `start` on.

    Attributes:
        oid: SHA-256 of the object's bytes, in hexadecimal.
        size: bytes of the object.
        start: the first row of the object's array that is meant.
    """

    oid: str
    size: int
    start: int = 0


Parameter = int | float | str | bool | None | tuple["Parameter", ...]
"""A setting of an update, as JSON has it; lists are tuples."""

CORRECTING: Final = ("delta", "sparse")
"""Types of update that say which words differ, and by how much."""

PREDICTING: Final = ("low-rank", "ia3", "linear")
"""Types of update whose result may be off by a last bit here and there; a correction on top makes it exact."""


class Update(Struct, frozen=True):
    """How to get the values of a group. No update refers to a commit: what it builds on is nested in it.

    Attributes:
        type: of update (`updates.update_types`).
        object: what it applies, if anything.
        bases: how to get the values that it changes: none for dense, several for linear.
        parameters: its settings by name, sorted by name.
    """

    type: str
    object: ObjectRef | None
    bases: tuple[Update, ...] = ()
    parameters: tuple[tuple[str, Parameter], ...] = ()

    def parameter(self, name: str) -> Parameter:
        """The value of a setting; None if it is not set."""
        return dict(self.parameters).get(name)

    @property
    def is_correction(self) -> bool:
        """Whether it makes what its base predicts exact: the two are one change, of the base's type."""
        return self.type in CORRECTING and bool(self.bases) and self.bases[0].type in PREDICTING

    def nested(self) -> Iterator[Update]:
        """This update and all that it builds on, from the outside inwards."""
        yield self
        for base in self.bases:
            yield from base.nested()

    def objects(self) -> Iterator[ObjectRef]:
        """The objects that are needed to get the values; one may come twice."""
        return (update.object for update in self.nested() if update.object is not None)


INLINE_BYTES: Final = 1 << 16
"""A skeleton of more bytes is kept in an object, not in the metadata file."""


class Skeleton(Struct, frozen=True):
    """The bytes of a checkpoint outside its groups: in the metadata file itself if small, else behind an update.

    Attributes:
        size: bytes of them.
        digest: BLAKE3 of them.
        inline: themselves; None if they are behind an update.
        update: how to get them; None if they are inline.
        values: the `values_digest` of the groups whose checksums are among them; None if they have no checksums.
        undecided: the names of what is in them and nobody chose; see `UNDECIDED_METHOD`.
    """

    size: int
    digest: str
    inline: bytes | None
    update: Update | None
    values: str | None = None
    undecided: tuple[str, ...] = ()


UNDECIDED_METHOD: Final = "undecided"
"""Stands where a merge method is named, of groups whose values nobody chose: only in ancestors that were themselves
merged from several, never in a commit."""


class MergeRecord(Struct, frozen=True):
    """What a merge made a group's values with, for people to read; the values do not depend on it.

    Attributes:
        method: of merging.
        parameters: those that were not the defaults, and the seed of random methods; sorted by name. Where each input
            had a value of its own, they are a tuple.
    """

    method: str
    parameters: tuple[tuple[str, Parameter], ...] = ()


class Entry(Struct, frozen=True):
    """One parameter group.

    Attributes:
        name, dtype, shape: as in `layout.Span`.
        digest: BLAKE3 of the values (`tensors.digest`).
        lead: bytes of the skeleton that stand right before the values.
        update: how to get the values.
        signature: what the distance to another version is estimated from (`signatures`); None if it has none.
        merge: what a merge made the values with; None if none did.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    lead: int
    update: Update
    signature: Signature | None = None
    merge: MergeRecord | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return tensors.nbytes(self.dtype, self.shape)

    @property
    def identity(self) -> tuple[str, tuple[int, ...], str]:
        """Dtype, shape and digest: what two groups share if, and only if, they have the same values."""
        return self.dtype, self.shape, self.digest


class Metadata(Struct, frozen=True):
    """What a metadata file says: the whole checkpoint, but for the objects' bytes."""

    format: str
    size: int
    skeleton: Skeleton
    entries: tuple[Entry, ...]

    def objects(self) -> Iterator[ObjectRef]:
        """Every object that the checkpoint is made of, each once, in file order."""
        updates = (self.skeleton.update, *(entry.update for entry in self.entries))
        refs = (ref for update in updates if update is not None for ref in update.objects())
        return iter({ref.oid: ref for ref in refs}.values())

    def by_name(self) -> dict[str, Entry]:
        """The groups by name."""
        return {entry.name: entry for entry in self.entries}

    @property
    def is_decided(self) -> bool:
        """Whether somebody chose all that is in it; see `UNDECIDED_METHOD`."""
        groups = (entry.merge for entry in self.entries)
        return not self.skeleton.undecided and all(
            merge is None or merge.method != UNDECIDED_METHOD for merge in groups
        )

    def layout(self) -> Layout:
        """Where the groups lie in the checkpoint."""
        spans = []
        position = 0
        for entry in self.entries:
            start = position + entry.lead
            spans.append(Span(entry.name, entry.dtype, entry.shape, start))
            position = start + entry.nbytes
        return Layout(self.format, self.size, tuple(spans))

    def layout_digest(self) -> str:
        """What tells for which groups a skeleton is made: the format, and the groups in order, but for their values."""
        lines = (
            f'[{quote(entry.name)},"{entry.dtype}",[{",".join(map(str, entry.shape))}],{entry.lead}]\n'
            for entry in self.entries
        )
        return blake3("".join([f"{self.format}\n", *lines]).encode("ascii")).hexdigest()

    @property
    def is_fitted(self) -> bool:
        """Whether the checksums in the skeleton, if there are any, are those of the groups' values."""
        return self.skeleton.values in (None, values_digest(entry.digest for entry in self.entries))


def values_digest(digests: Iterable[str]) -> str:
    """What tells for which values a skeleton has the checksums, by the digests of the groups in file order."""
    return blake3("".join(f"{group_digest}\n" for group_digest in digests).encode("ascii")).hexdigest()


def content_key(layout: Layout, skeleton_digest: str, digests: tuple[str, ...]) -> str:
    """A digest that two checkpoints share if, and only if, they have the same bytes and the same layout."""
    hasher = blake3(f"{layout.format}\n{skeleton_digest}\n".encode())
    for span, lead, group_digest in zip(layout.spans, layout.leads(), digests, strict=True):
        hasher.update(f"{quote(span.name)} {span.dtype} {span.shape} {lead} {group_digest}\n".encode())
    return hasher.hexdigest()
