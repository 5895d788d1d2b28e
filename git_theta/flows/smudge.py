"""Smudge: from a metadata file to the checkpoint's bytes (`git checkout`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from blake3 import blake3
from msgspec import Struct, field

from git_theta import tensors
from git_theta.checkpoints import Format, formats
from git_theta.checkpoints.by_value import plugin_of
from git_theta.errors import CorruptObjectError, StoreError, UnreadableObjectError
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update, content_key
from git_theta.registry import Family
from git_theta.store.arrays import AHEAD, Arrays, Block
from git_theta.store.cache import MetadataCache
from git_theta.store.handover import HandOver
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, UpdateType
from git_theta.updates.reading import Reader, Readers, ahead, block_nbytes

SKELETON: Final = "(skeleton)"

_THREADS: Final = min(AHEAD, os.cpu_count() or 1)
"""Git takes a processor to write the file, but waits for us as often: on two, two threads took up to 14 % less."""

_WORTH_A_THREAD: Final = 1 << 16
"""Bytes of a block that take longer to make than to hand to another thread."""

Fetch = Callable[[Iterable[ObjectRef]], None]


class _Part(Struct, frozen=True):
    """A block of a group's values, or their end and what read them, or (without a group) bytes of the skeleton."""

    entry: Entry | None
    block: Future[memoryview] | Block | None
    literal: bytes = b""
    reader: Reader | None = None
    is_handed_over: bool = False


class Smudger(Struct, frozen=True):
    """Puts the checkpoints of one repository together.

    Attributes:
        fetch: brings objects that are not in the local store, as far as it can.
        formats: where the plug-ins for files that are kept by value are found.
        handover: has the values that a merge made just before.
    """

    store: ObjectStore
    cache: MetadataCache
    update_types: Family[UpdateType]
    fetch: Fetch
    formats: Family[Format] = field(default_factory=formats)
    handover: HandOver | None = None

    def smudge(self, metadata: Metadata, data: bytes, path: str) -> Iterator[bytes | memoryview]:
        """The checkpoint's bytes, in order. They are right only if the iterator ends without an error.

        Args:
            metadata: what the metadata file says.
            data: the metadata file.
            path: for messages.

        Raises:
            ThetaError: an object is missing or damaged; names path, group and object.
        """
        content = self._content(metadata, data, path)
        if plugin_of(metadata.format) is not None:
            # Hardly ever needed, and slow to import.
            from git_theta.flows import by_value

            content = by_value.saved(metadata.layout(), content, self.formats, path, self.store.temporary_directory)
        yield from content

    def _content(self, metadata: Metadata, data: bytes, path: str) -> Iterator[bytes | memoryview]:
        """The bytes that the metadata file describes: the checkpoint's, or its stand-in's."""
        self.provide(metadata, path)
        reader = Reader(Arrays(self.store), self.update_types)
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from self._verified(ahead(self._parts(metadata, reader, pool, path)), path)
        if metadata.is_fitted:
            digests = tuple(entry.digest for entry in metadata.entries)
            self.cache.put(content_key(metadata.layout(), metadata.skeleton.digest, digests), data)

    def _verified(self, parts: Iterator[_Part], path: str) -> Iterator[bytes | memoryview]:
        """The bytes of the parts. The last block of a group comes only if all of them are right."""
        hasher, done = blake3(), 0
        for part in parts:
            entry = part.entry
            if entry is None:
                yield part.literal
                continue
            with naming(path, entry.name, entry.update, self.store):
                block = part.block.result() if part.block is not None else memoryview(b"")
                hasher.update(block)
                done += len(block)
                if done >= entry.nbytes or part.block is None:
                    self._check(entry, hasher.hexdigest(), is_handed_over=part.is_handed_over)
            yield block
            if part.reader is not None:
                part.reader.end()
                hasher, done = blake3(), 0

    def _check(self, entry: Entry, found: str, *, is_handed_over: bool) -> None:
        if is_handed_over:
            assert self.handover is not None
            self.handover.discard(entry.digest)
            if found != entry.digest:
                raise CorruptObjectError("what a merge had left for it is damaged, and now removed: try again")
        _check(self.store, entry.update, entry.digest, found)

    def provide(self, metadata: Metadata, path: str) -> None:
        """Make sure that all objects are here, fetching what is missing.

        Raises:
            ObjectError: an object cannot be had; names path, group and object.
        """
        provide(named_updates(metadata), self.store, self.fetch, path)

    def _parts(self, metadata: Metadata, reader: Reader, pool: ThreadPoolExecutor, path: str) -> Iterator[_Part]:
        """The pieces of the file in order, the blocks begun by the pool."""
        skeleton = read_skeleton(metadata.skeleton, reader, self.store, path)
        if not metadata.is_fitted:
            # Hardly ever needed, and slow to import.
            from git_theta.flows.checksums import refitted
            from git_theta.flows.merging.values import Inputs

            inputs = Inputs(path, Readers(self.store, self.update_types))
            skeleton = refitted(metadata, skeleton, inputs, self.formats)
        position = 0
        for entry in metadata.entries:
            if entry.lead:
                yield _Part(None, None, skeleton[position : position + entry.lead])
                position += entry.lead
            mine, group = reader.begin(), Group(entry.dtype, entry.shape)
            given = self._handed_over(entry, group)
            with naming(path, entry.name, entry.update, self.store):
                for block in mine.values(entry.update, group) if given is None else given:
                    is_large = block.nbytes >= _WORTH_A_THREAD and given is None
                    made = pool.submit(block.result) if is_large else block
                    yield _Part(entry, made, is_handed_over=given is not None)
            yield _Part(entry, None, reader=mine, is_handed_over=given is not None)
        yield _Part(None, None, skeleton[position:])

    def _handed_over(self, entry: Entry, group: Group) -> Iterator[Block] | None:
        """The values, if a merge has made them just before, and they would have to be computed."""
        if self.handover is None or not entry.update.bases:
            return None
        return self.handover.take(entry.digest, entry.nbytes, block_nbytes(group))


def read_skeleton(kept: Skeleton, reader: Reader, store: ObjectStore, path: str) -> bytes:
    """The bytes of a checkpoint outside of its groups. Their object must be here.

    Args:
        kept: what the metadata file says of it.
        reader: gives values.
        store: where its object is.
        path: for messages.

    Raises:
        StoreError: the object is missing or damaged.
    """
    if kept.inline is not None:
        return kept.inline
    assert kept.update is not None
    with naming(path, SKELETON, kept.update, store):
        with reader.reading() as mine:
            blocks = mine.values(kept.update, Group("uint8", (kept.size,)))
            skeleton = b"".join(bytes(block.result()) for block in blocks)
        _check(store, kept.update, kept.digest, tensors.digest(skeleton))
    return skeleton


def _check(store: ObjectStore, update: Update, wanted: str, found: str) -> None:
    """Values are verified by their digest, end to end. Only when it is wrong does the object's name matter."""
    if found == wanted:
        return
    for ref in update.objects():
        store.verify(ref)
    raise CorruptObjectError("it does not hold the values that the metadata file promises")


def provide(updates: Iterable[tuple[str, Update]], store: ObjectStore, fetch: Fetch, path: str) -> None:
    """Make sure that the objects of updates are here, fetching what is missing.

    Args:
        updates: and the names of their groups, for messages.
        store: where the objects belong.
        fetch: brings objects, as far as it can.
        path: for messages.

    Raises:
        ObjectError: an object cannot be had; names path, group and object.
    """
    named = list(updates)
    lost = store.missing(ref for _, update in named for ref in update.objects())
    if not lost:
        return
    fetch(lost)
    for name, update in named:
        for part in update.nested():
            if part.object is not None:
                with naming(path, name, part, store), store.open(part.object):
                    pass


def named_updates(metadata: Metadata) -> Iterator[tuple[str, Update]]:
    """How to get all that a checkpoint is made of, each with the name that messages have for it."""
    if metadata.skeleton.update is not None:
        yield SKELETON, metadata.skeleton.update
    yield from ((entry.name, entry.update) for entry in metadata.entries)


@contextmanager
def naming(path: str, name: str, update: Update, store: ObjectStore) -> Iterator[None]:
    """Say of what is wrong with an object where it was needed, and what may help.

    Args:
        path: of the checkpoint.
        name: of the group.
        update: whose object is read, or one of those that it builds on.
        store: where they are.

    Raises:
        StoreError: the same, with the place.
    """
    try:
        yield
    except StoreError as error:
        ref = store.suspect(update.objects())
        oid = ref.oid if ref else "(none)"
        hint = "" if isinstance(error, UnreadableObjectError) else "; 'git theta fetch --verify' may bring it"
        raise type(error)(f"{path}: group {name!r}: object {oid} cannot be used: {error}{hint}") from error
