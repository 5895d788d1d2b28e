"""What a metadata file says, as immutable values. Its text is the business of `metadata_file`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quote

from blake3 import blake3

from git_theta import tensors
from git_theta.layout import Layout, Span


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object of the store, or the rows of one from `start` on.

    Attributes:
        oid: SHA-256 of the object's bytes, in hexadecimal.
        size: bytes of the object.
        start: the first row of the object's array that is meant.
    """

    oid: str
    size: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """How to get the values of a group: a type of update, and the object that it applies (none for an empty group)."""

    type: str
    object: ObjectRef | None


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The bytes of a checkpoint outside its groups: in the metadata file itself if small, else behind an update."""

    size: int
    digest: str
    inline: bytes | None
    update: Update | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter group.

    Attributes:
        name, dtype, shape: as in `layout.Span`.
        digest: BLAKE3 of the values (`tensors.digest`).
        lead: bytes of the skeleton that stand right before the values.
        update: how to get the values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    lead: int
    update: Update

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return tensors.nbytes(self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a metadata file says: the whole checkpoint, but for the objects' bytes."""

    format: str
    size: int
    skeleton: Skeleton
    entries: tuple[Entry, ...]

    def objects(self) -> Iterator[ObjectRef]:
        """Every object that the checkpoint is made of, each once, in file order."""
        updates = (self.skeleton.update, *(entry.update for entry in self.entries))
        refs = (update.object for update in updates if update is not None)
        return iter({ref.oid: ref for ref in refs if ref is not None}.values())

    def updates(self) -> dict[str, Update]:
        """How to get the values of each digest: of the groups, and of the skeleton if it is not inline."""
        found = {entry.digest: entry.update for entry in self.entries}
        if self.skeleton.update is not None:
            found[self.skeleton.digest] = self.skeleton.update
        return found

    def layout(self) -> Layout:
        """Where the groups lie in the checkpoint."""
        spans = []
        position = 0
        for entry in self.entries:
            start = position + entry.lead
            spans.append(Span(entry.name, entry.dtype, entry.shape, start))
            position = start + entry.nbytes
        return Layout(self.format, self.size, tuple(spans))


def content_key(layout: Layout, skeleton_digest: str, digests: tuple[str, ...]) -> str:
    """A digest that two checkpoints share if, and only if, they have the same bytes and the same layout."""
    hasher = blake3(f"{layout.format}\n{skeleton_digest}\n".encode())
    for span, lead, group_digest in zip(layout.spans, layout.leads(), digests, strict=True):
        hasher.update(f"{quote(span.name)} {span.dtype} {span.shape} {lead} {group_digest}\n".encode())
    return hasher.hexdigest()
