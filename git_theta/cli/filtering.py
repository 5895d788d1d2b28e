"""Clean and smudge one file, for the long-running filter and the one-shot filters alike."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Final

from msgspec import Struct

from git_theta.cli.boundary import silence
from git_theta.cli.workspace import Workspace
from git_theta.errors import MetadataError, StoreError
from git_theta.metadata import Metadata
from git_theta.metadata_file import MAX_BYTES, is_metadata, parse

_PIECE: Final = 1 << 20
_IN_MEMORY: Final = 1 << 24


def cleaned(content: Iterator[bytes], path: str, workspace: Workspace) -> Iterator[bytes]:
    """The metadata file for a checkpoint."""
    yield workspace.cleaner.clean(content, path)


class MetadataFile(Struct, frozen=True):
    """A checkpoint as git has it.

    Attributes:
        data: the bytes.
        metadata: what it says.
    """

    data: bytes
    metadata: Metadata


def asked_for(
    content: Iterator[bytes], path: str, workspace: Workspace, *, skip: bool
) -> MetadataFile | Iterator[bytes]:
    """What git wants a checkpoint for; or the bytes that it wants, if they are not a checkpoint's.

    Those are of any other file, and of the metadata file itself if skip is set or our own diff driver is to get it,
    which needs no more: no diff rebuilds a checkpoint.
    """
    first = next(content, b"")
    if not is_metadata(first):
        return _as_it_came(first, content, workspace)
    data = bytearray(first)
    for piece in content:
        data += piece
        if len(data) > MAX_BYTES:
            raise MetadataError("the metadata file is absurdly large")
    if skip or workspace.settings.skip_smudge or workspace.reads_only_metadata(path):
        return iter((bytes(data),))
    # Where the path is text for git (no -text, and core.autocrlf or eol=crlf), git ends its lines so before it asks.
    ended = bytes(data).replace(b"\r\n", b"\n")
    return MetadataFile(ended, parse(ended))


def smudged(wanted: MetadataFile | Iterator[bytes], path: str, workspace: Workspace) -> Iterator[bytes | memoryview]:
    """The bytes for the worktree of what was asked for."""
    if isinstance(wanted, MetadataFile):
        return workspace.smudger.smudge(wanted.metadata, wanted.data, path)
    return wanted


def output_to_git() -> int:
    """Standard output for what git is told alone, as a file descriptor.

    What a plug-in or a library prints goes to standard error from now on, in every thread and also past Python. Among
    what git reads it would be part of a checkpoint, or end the conversation.
    """
    sys.stdout.flush()
    descriptor = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # There is no standard error.
        silence()
    return descriptor


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a stream."""
    while piece := stream.read(_PIECE):
        yield piece


def _as_it_came(first: bytes, content: Iterator[bytes], workspace: Workspace) -> Iterator[bytes]:
    """Git sends everything before it takes anything, so what is large waits in a temporary file."""
    try:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(workspace.store.temporary_directory())) as file:
            file.write(first)
            for piece in content:
                file.write(piece)
            file.seek(0)
            yield from pieces(file)
    except OSError as error:
        raise StoreError(f"no temporary file can be written: {error.strerror}") from error
