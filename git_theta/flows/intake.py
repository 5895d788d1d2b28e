"""Take in the bytes that git pipes, digesting them as they pass.

Git's bytes are what counts. They are nearly always the same as the worktree file's, so they are compared with it and
not stored: what is needed of them later is read from the file, against the digest. Only where they differ are they
spooled to a temporary file.
"""

from __future__ import annotations

import itertools
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from git_theta.checkpoints.digests import Digester, Digests, digest_again
from git_theta.checkpoints.scan import Scan
from git_theta.errors import ChangedWhileReadingError, StoreError
from git_theta.layout import Layout
from git_theta.sources import FileSource, Source, blocks

Scanner = Callable[[Source], Scan]


class Intake(Struct, frozen=True):
    """A checkpoint that has been read once: where its bytes can be read again, its layout and its digests."""

    source: Source
    scan: Scan
    digests: Digests


@contextmanager
def take(content: Iterator[bytes], file: Path, scan: Scanner, scratch: Callable[[], Path]) -> Iterator[Intake]:
    """Take in all the content; the source that is returned can be read until the context ends.

    Args:
        content: the bytes, in pieces.
        file: the worktree file that they probably come from.
        scan: finds the layout.
        scratch: gives a directory for a temporary file.

    Raises:
        ChangedWhileReadingError: the worktree file changed in a way that left no single state of it to keep.
        StoreError: there is no room for the temporary file.
    """
    with ExitStack() as stack:
        source = _open(file, stack)
        if source is None:
            yield _spool(content, scan, scratch(), stack)
            return
        scanned = scan(source)
        digester = Digester(scanned.layout)
        position = 0
        odd = b""
        for piece in content:
            if os.pread(source.descriptor, len(piece), position) != piece:
                odd = piece
                break
            digester.feed(piece)
            position += len(piece)
        if position == source.size and not odd:
            digests = digester.finish()
            _check_layout(source, scanned, digests, scan)
            yield Intake(source, scanned, digests)
        else:
            prefix = _again(source, position, digester, scanned.layout)
            yield _spool(itertools.chain(prefix, [odd], content), scan, scratch(), stack)


@contextmanager
def take_file(file: Path, scan: Scanner) -> Iterator[Intake]:
    """Take in a file as it is; the source that is returned can be read until the context ends.

    Args:
        file: a regular file.
        scan: finds the layout.

    Raises:
        ChangedWhileReadingError: the file changed while it was read.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        source = FileSource(stream.fileno(), os.fstat(stream.fileno()).st_size)
        scanned = scan(source)
        digests = digest_again(source, scanned.layout)
        _check_layout(source, scanned, digests, scan)
        yield Intake(source, scanned, digests)


def _open(file: Path, stack: ExitStack) -> FileSource | None:
    """The worktree file, unless it is something that git would not have piped (a link, a device)."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    status = os.fstat(descriptor)
    return FileSource(descriptor, status.st_size) if stat.S_ISREG(status.st_mode) and status.st_size else None


def _check_layout(source: Source, scanned: Scan, digests: Digests, scan: Scanner) -> None:
    """Make sure that the layout, which was read from the worktree file, is that of the bytes which git piped."""
    layout = scanned.layout
    known = source if scanned.is_whole else layout.hollow(digests.skeleton)
    if scan(known).layout != layout:
        raise ChangedWhileReadingError("the file changed while it was added: try again when nothing writes to it")


def _again(source: Source, stop: int, digester: Digester, layout: Layout) -> Iterator[bytes]:
    """The bytes up to stop, which were compared and let go, from the file once more."""
    check = Digester(layout)
    for block in blocks(source, 0, stop):
        check.feed(block)
        yield block
    if check.state() != digester.state():
        raise ChangedWhileReadingError("the file changed while it was added: try again when nothing writes to it")


def _spool(content: Iterator[bytes], scan: Scanner, directory: Path, stack: ExitStack) -> Intake:
    try:
        file = stack.enter_context(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115 - the stack closes it
        for piece in content:
            file.write(piece)
        file.flush()
    except OSError as error:
        raise StoreError(f"no temporary file can be written to {directory}: {error.strerror}") from error
    source = FileSource(file.fileno(), file.tell())
    scanned = scan(source)
    return Intake(source, scanned, digest_again(source, scanned.layout))
