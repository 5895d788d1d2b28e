"""Show: what a checkpoint is made of, in any version or in the worktree, and what one group's values are like."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3

from git_theta import tensors
from git_theta.checkpoints import Format
from git_theta.checkpoints.scan import scan
from git_theta.diffs.numbers import Rows, is_numeric
from git_theta.diffs.spread import Spread, spread
from git_theta.diffs.statistics import BINS, Histogram, Values, histogram
from git_theta.errors import CorruptObjectError, GitError, MetadataError, NotThisFormatError, ObjectError, StoreError
from git_theta.flows import by_value, known
from git_theta.flows.clean import FORMAT_ATTRIBUTE
from git_theta.flows.intake import Intake, SkeletonSource, take
from git_theta.flows.smudge import Smudger
from git_theta.git import command
from git_theta.git.repository import Repository
from git_theta.metadata import Entry, Metadata, Skeleton, Update
from git_theta.metadata_file import MAX_BYTES, is_metadata, parse
from git_theta.registry import Family
from git_theta.sources import BLOCK, blocks
from git_theta.store.arrays import Arrays
from git_theta.updates import Group, update_types
from git_theta.updates.reading import Reader, results

NOT_KEPT: Final = Update("", None)
"""Stands for how the values of a group are kept that is in no object yet."""

_HELP: Final = "'git theta fetch --verify' may help"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a checkpoint comes from.

    Attributes:
        path: for messages; its ending helps to find the format.
        file: where its bytes lie as well, if they are in a file.
        wanted: the only format that is asked (theta-format in .gitattributes).
        known: groups of other versions by digest, which tell how values are kept.
    """

    path: str
    file: Path
    wanted: str | None = None
    known: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """A checkpoint that is looked at.

    Attributes:
        path: for messages.
        metadata: what it is made of; a group that is kept nowhere has the update `NOT_KEPT`.
        texts: what it says beside its groups (`checkpoints.Format.values`).
        values: gives the bytes of a group's values, block by block.
    """

    path: str
    metadata: Metadata
    texts: Mapping[str, str]
    values: Callable[[Entry], Iterator[Rows]]


@dataclass(frozen=True, slots=True)
class Portrait:
    """What the values of a group are like.

    Attributes:
        spread: their figures; None if they are not numbers (quantized blocks).
        histogram: over the finite ones (`old` is zeros); None if there is none.
    """

    spread: Spread | None
    histogram: Histogram | None


def blob(repository: Repository, name: str) -> str | None:
    """The blob that `REV:PATH` or `:PATH` means (gitrevisions(7)); None if it means nothing.

    Raises:
        GitError: it means something that is no file.
    """
    asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", name]
    status, output, _ = command.attempt(asked, cwd=repository.cwd)
    if status:
        return None
    oid = command.lines(output)[0]
    kind = command.lines(repository.git("cat-file", "-t", oid))[0]
    if kind != "blob":
        raise GitError(f"{name!r} is a {kind} and no file: say REV:PATH")
    return oid


def of_worktree(repository: Repository, path: str, file: Path) -> Origin:
    """A file of the worktree.

    Args:
        repository: that it is in.
        path: from the top.
        file: the same, as it can be opened.
    """
    wanted = repository.attributes(path, (FORMAT_ATTRIBUTE,)).get(FORMAT_ATTRIBUTE)
    versions = [metadata for _, metadata in known.at_path(repository, path)]
    entries = (entry for metadata in reversed(versions) for entry in metadata.entries)
    return Origin(path, file, wanted, {entry.digest: entry for entry in entries})


@contextmanager
def opened(content: Iterator[bytes], origin: Origin, smudger: Smudger, scratch: Path) -> Iterator[Shown]:
    """The checkpoint of these bytes, which are those of a metadata file or its own.

    Args:
        content: the bytes in pieces, the first of at least a hundred bytes if there are as many.
        origin: where they come from.
        smudger: has the objects, and the formats.
        scratch: a directory for temporary files.

    Raises:
        ThetaError: they cannot be read.
    """
    first = next(content, b"")
    if is_metadata(first):
        yield of_metadata(_whole(first, content), origin.path, smudger)
        return
    scanner = partial(scan, path=origin.path, formats=smudger.formats, wanted=origin.wanted)
    with take(itertools.chain([first], content), origin.file, scanner, lambda: scratch) as found:
        is_by_value = found.scan.by_value is not None
        whole = by_value.loaded(found, origin.path, smudger.formats, lambda: scratch) if is_by_value else found
        yield of_intake(whole, origin, smudger.formats)


def of_metadata(data: bytes, path: str, smudger: Smudger) -> Shown:
    """The checkpoint that a metadata file stands for.

    Raises:
        MetadataError: it cannot be read.
    """
    try:
        metadata = parse(data)
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error
    skeleton = _skeleton(metadata, smudger)
    texts = {} if skeleton is None else _texts(metadata, skeleton, smudger.formats)
    return Shown(path, metadata, texts, partial(_stored, smudger, metadata, path))


def of_intake(intake: Intake, origin: Origin, formats: Family[Format]) -> Shown:
    """A checkpoint itself.

    Args:
        intake: the file, which stays open as long as this is used.
        origin: where it comes from.
        formats: which find what is beside the groups.
    """
    layout, digests = intake.scan.layout, intake.digests
    entries = []
    for span, lead, digest in zip(layout.spans, layout.leads(), digests.groups, strict=True):
        entry = Entry(span.name, span.dtype, span.shape, digest, lead, NOT_KEPT)
        kept = origin.known.get(digest)
        same = kept is not None and (kept.dtype, kept.shape) == (span.dtype, span.shape)
        entries.append(replace(entry, update=kept.update, signature=kept.signature) if kept and same else entry)
    skeleton = Skeleton(len(digests.skeleton), tensors.digest(digests.skeleton), digests.skeleton, None)
    metadata = Metadata(layout.format, layout.size, skeleton, tuple(entries))
    starts = {span.name: span for span in layout.spans}

    def values(entry: Entry) -> Iterator[Rows]:
        span = starts[entry.name]
        for piece in blocks(intake.source, span.start, span.stop, BLOCK):
            yield np.frombuffer(piece, np.uint8)

    return Shown(origin.path, metadata, _texts(metadata, digests.skeleton, formats), values)


def portrait(shown: Shown, entry: Entry, bins: int = BINS) -> Portrait:
    """What the values of a group are like. They are read three times, block by block.

    Raises:
        ObjectError: an object is missing or damaged; names path, group and object.
    """
    if not is_numeric(entry.dtype):
        return Portrait(None, None)
    figures = spread(shown.values(entry), entry.dtype)
    return Portrait(figures, histogram(None, Values(entry.dtype, partial(shown.values, entry)), bins))


def _stored(smudger: Smudger, metadata: Metadata, path: str, entry: Entry) -> Iterator[Rows]:
    """The values of a group from the store, where what is missing is fetched first; they are right if this ends."""
    smudger.provide(_alone(metadata, entry), path)
    hasher = blake3()
    with Reader(Arrays(smudger.store), update_types()).reading() as reader:
        try:
            for rows in results(reader.values(entry.update, Group(entry.dtype, entry.shape))):
                hasher.update(rows.data)
                yield rows
        except ObjectError as error:
            raise type(error)(f"{path}: group {entry.name!r}: {error}; {_HELP}") from error
    if hasher.hexdigest() != entry.digest:
        raise CorruptObjectError(f"{path}: group {entry.name!r}: its objects hold other values than promised; {_HELP}")


def _whole(first: bytes, content: Iterator[bytes]) -> bytes:
    data = bytearray(first)
    for piece in content:
        data += piece
        if len(data) > MAX_BYTES:
            raise MetadataError("the metadata file is absurdly large")
    return bytes(data)


def _alone(metadata: Metadata, entry: Entry) -> Metadata:
    """A checkpoint of this one group, for whoever wants to know what objects it needs."""
    return replace(metadata, skeleton=Skeleton(0, tensors.digest(b""), b"", None), entries=(entry,))


def _skeleton(metadata: Metadata, smudger: Smudger) -> bytes | None:
    """The skeleton, if it is here: what is beside the groups is not worth asking a server."""
    kept = metadata.skeleton
    if kept.inline is not None:
        return kept.inline
    assert kept.update is not None
    if not all(smudger.store.has(ref) for ref in kept.update.objects()):
        return None
    try:
        with Reader(Arrays(smudger.store), update_types()).reading() as reader:
            return b"".join(
                rows.tobytes() for rows in results(reader.values(kept.update, Group("uint8", (kept.size,))))
            )
    except StoreError:
        return None


def _texts(metadata: Metadata, skeleton: bytes, formats: Family[Format]) -> Mapping[str, str]:
    """What a checkpoint says beside its groups; nothing if no format here can tell."""
    if metadata.format not in formats.builtins:
        return {}
    try:
        return formats.get(metadata.format).values(SkeletonSource(metadata.layout(), skeleton))
    except NotThisFormatError:
        return {}
