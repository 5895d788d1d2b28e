"""A version of a checkpoint to compare with another one: what it is made of, and where its values can be read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3
from msgspec import Struct
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints import Format
from git_theta.checkpoints.by_value import plugin_of
from git_theta.checkpoints.digests import Digests, digest_again
from git_theta.checkpoints.scan import Scan, scan
from git_theta.errors import ChangedWhileReadingError, MetadataError, NotThisFormatError, StoreError
from git_theta.flows import by_value
from git_theta.flows.intake import Intake
from git_theta.flows.texts import labels_of, texts
from git_theta.layout import Span
from git_theta.metadata import Entry, Metadata, Skeleton, Update, content_key
from git_theta.metadata_file import MAX_BYTES, is_in_conflict, is_metadata, parse
from git_theta.registry import Family
from git_theta.sources import FileSource, Source, blocks
from git_theta.store.cache import MetadataCache
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.rows import Rows
from git_theta.updates import Group
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Base, Stored
from git_theta.updates.reading import Readers

NOT_KEPT: Final = Update("", None)
"""Stands for how the values of a group are kept that is in no object yet."""

_HEAD_BYTES: Final = 1 << 12
_POINTER: Final = b"version https://git-lfs.github.com/spec/"


class Version(Struct, frozen=True, dict=True):
    """One version of a checkpoint.

    Attributes:
        metadata: what it is made of; None if there is no checkpoint.
        source: the checkpoint itself, if it is at hand; else its values are in the store.
        data: the metadata file, if there is one.
    """

    metadata: Metadata | None
    source: Source | None = None
    data: bytes | None = None

    def rows(self, entry: Entry, readers: Readers | None) -> Generator[Rows]:
        """The values of a group in blocks of BLOCK_ROWS elements, each gone when the next comes.

        They are right if this ends without an error.

        Args:
            entry: one of the metadata.
            readers: of the store; None if there is none.

        Raises:
            UnusableBaseError: the values are not in the store, or not the ones that the metadata file promises.
            ChangedWhileReadingError: the file has changed.
        """
        if self.source is not None:
            yield from _read(self.source, self._spans[entry.name], entry.digest)
        elif readers is not None:
            yield from Stored(Group(entry.dtype, entry.shape), Base(entry.update, entry.digest)).rows(readers.mine())

    @cached_property
    def _spans(self) -> Mapping[str, Span]:
        return {} if self.metadata is None else {span.name: span for span in self.metadata.layout().spans}

    def texts(self, formats: Family[Format], readers: Readers | None) -> Mapping[str, str] | None:
        """What it says beside its groups; None if that is not known here."""
        skeleton = self._skeleton(readers)
        return None if self.metadata is None or skeleton is None else texts(self.metadata, skeleton, formats)

    def labels(self, formats: Family[Format], readers: Readers | None) -> Mapping[str, str]:
        """What it says more about its groups, by name (`checkpoints.Labelled`), as far as that is known here."""
        skeleton = self._skeleton(readers)
        return {} if self.metadata is None or skeleton is None else labels_of(self.metadata, skeleton, formats)

    def _skeleton(self, readers: Readers | None) -> bytes | None:
        """Its bytes outside of the groups; None if they are not here."""
        if self.metadata is None:
            return None
        kept = self.metadata.skeleton
        return _stored_skeleton(kept, readers) if kept.inline is None and readers is not None else kept.inline


ABSENT: Final = Version(None)
"""There is no checkpoint."""


class Opener(Struct, frozen=True):
    """Opens versions of checkpoints, whatever form they have. What it opened stays open as long as its stack.

    Attributes:
        formats: that are known.
        stack: closes the files.
        cache: knows how checkpoints are kept that were seen here; None outside of a repository.
        scratch: gives a directory for temporary files.
    """

    formats: Family[Format]
    stack: ExitStack
    cache: MetadataCache | None = None
    scratch: Callable[[], Path] = lambda: Path(tempfile.gettempdir())

    def metadata_file(self, data: bytes) -> Version:
        """The version that a metadata file stands for.

        Raises:
            MetadataError: it cannot be read.
        """
        return Version(parse(data), None, data)

    def known_file(self, file: Path, data: bytes) -> Version:
        """The version that a metadata file stands for, whose checkpoint lies in a file, so that it need not be read.

        The file is believed only as far as the digests of the groups that are read bear it out.

        Raises:
            MetadataError: the metadata file cannot be read.
            StoreError: the file cannot be opened.
        """
        version = self.metadata_file(data)
        metadata = version.metadata
        assert metadata is not None
        source = self._open(file)
        has_bytes = source.size == metadata.size and plugin_of(metadata.format) is None
        return replace(version, source=source) if has_bytes else version

    def file(self, file: Path, path: str, wanted: str | None = None, *, is_any: bool = False) -> Version:
        """The version in a file, which is a metadata file or the checkpoint itself.

        Args:
            file: to open.
            path: where it belongs; its ending helps to find the format.
            wanted: the only format that is asked (theta-format in .gitattributes).
            is_any: take a file that no format claims for one opaque group, as it is kept.

        Raises:
            NotThisFormatError: it is neither.
            MetadataError: it is a metadata file that cannot be read.
            StoreError: it cannot be opened.
            PluginError: the plug-in that it needs is missing, or fails.
        """
        return self.source(self._open(file), path, wanted, is_any=is_any)

    def source(self, source: Source, path: str, wanted: str | None = None, *, is_any: bool = False) -> Version:
        """The version that some bytes are; see `file`."""
        head = source.read(0, min(source.size, _HEAD_BYTES))
        if is_metadata(head):
            return self.metadata_file(source.read(0, min(source.size, MAX_BYTES + 1)))
        if head.startswith(_POINTER):
            raise NotThisFormatError("it is a pointer of Git LFS")
        if is_in_conflict(head):
            raise NotThisFormatError("it holds conflict markers")
        found = scan(source, path, self.formats, wanted)
        if found.why_opaque is not None and not is_any:
            raise NotThisFormatError(found.why_opaque)
        return self._checkpoint(source, path, found)

    def _open(self, file: Path) -> FileSource:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{file} cannot be opened: {error.strerror}") from error
        self.stack.callback(os.close, descriptor)
        return FileSource(descriptor, os.fstat(descriptor).st_size)

    def _checkpoint(self, source: Source, path: str, found: Scan) -> Version:
        if found.by_value is None:
            intake = Intake(source, found, digest_again(source, found.layout))
        else:
            intake = by_value.loaded(Intake(source, found, Digests(b"", ())), path, self.formats, self.scratch)
        layout, digests = intake.scan.layout, intake.digests
        key = content_key(layout, tensors.digest(digests.skeleton), digests.groups)
        kept, data = self._kept(key)
        entries = []
        for span, lead, digest in zip(layout.spans, layout.leads(), digests.groups, strict=True):
            known = kept.get(digest)
            is_same = known is not None and (known.dtype, known.shape) == (span.dtype, span.shape)
            if known is None or not is_same:
                known = Entry(span.name, span.dtype, span.shape, digest, lead, NOT_KEPT)
            entries.append(replace(known, name=span.name, lead=lead))
        skeleton = Skeleton(len(digests.skeleton), tensors.digest(digests.skeleton), digests.skeleton, None)
        return Version(Metadata(layout.format, layout.size, skeleton, tuple(entries)), intake.source, data)

    def _kept(self, key: str) -> tuple[Mapping[str, Entry], bytes | None]:
        """How the groups of a checkpoint are kept, by digest, and its metadata file, if it was seen here before."""
        data = None if self.cache is None else self.cache.get(key)
        if data is None:
            return {}, None
        try:
            return {entry.digest: entry for entry in parse(data).entries}, data
        except MetadataError:
            return {}, None


def _read(source: Source, span: Span, digest: str) -> Iterator[Rows]:
    hasher = blake3()
    for block in blocks(source, span.start, span.stop, BLOCK_ROWS * tensors.itemsize(span.dtype)):
        hasher.update(block)
        yield np.frombuffer(block, np.uint8)
    if hasher.hexdigest() != digest:
        raise ChangedWhileReadingError("the file changed while it was read")


def _stored_skeleton(skeleton: Skeleton, readers: Readers) -> bytes | None:
    """A skeleton that is kept in an object, if it is here and whole."""
    if skeleton.update is None:
        return None
    stored = Stored(Group("uint8", (skeleton.size,)), Base(skeleton.update, skeleton.digest))
    try:
        return b"".join(rows.tobytes() for rows in stored.rows(readers.mine()))
    except UnusableBaseError:
        return None
