"""Values that a merge has just made, handed to the checkout that git begins next, which would compute them again.

That is for weighted sums, of which nothing is stored: other merged values are read from their objects as fast. They are
files in the store's temporary directory, each by the digest of its values, and are gone once they were used. They are a
convenience: nothing is lost with them, the store has all that gives the same values.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from git_theta.replacing import token
from git_theta.store.arrays import Block, Ready

MIN_BYTES: Final = 1 << 20
"""Smaller groups are computed again sooner than a file is opened."""

_MOST_BYTES: Final = 1 << 32
"""What one process hands over at the most: more would not stay in memory until it is taken."""

_FREE_BYTES: Final = 1 << 33
"""Space that must be left on the disk: what a merge has to keep goes first."""

_SECONDS: Final = 600
"""After so long nobody is coming. What is left is not used any more: the machine may have gone down meanwhile."""

_PREFIX: Final = "made-"


class HandOver:
    """Hands over the values of groups. For several threads. Whatever fails here fails silently."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        """Args: directory: gives the one for temporary files, which exists then."""
        self._directory = directory
        self._given = 0

    @contextmanager
    def giving(self, nbytes: int) -> Iterator[Gift | None]:
        """A file for the values of a group, which vanishes unless it is completed; None if it is not worth one.

        Args:
            nbytes: of all values.
        """
        gift = self._begun(nbytes)
        try:
            yield gift
        finally:
            if gift is not None:
                gift.close()

    def _begun(self, nbytes: int) -> Gift | None:
        if nbytes < MIN_BYTES or self._given + nbytes > _MOST_BYTES:
            return None
        with contextlib.suppress(OSError):
            directory = self._directory()
            if not self._given:
                _remove_leftovers(directory)
            if shutil.disk_usage(directory).free - nbytes < _FREE_BYTES:
                return None
            self._given += nbytes
            return Gift(directory)
        return None

    def take(self, digest: str, nbytes: int, size: int) -> Iterator[Block] | None:
        """The values of a group in blocks, if they were handed over. Whoever takes them verifies them.

        Args:
            digest: of the values.
            nbytes: of all of them.
            size: bytes of a block.
        """
        if nbytes < MIN_BYTES:
            return None
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        status = os.fstat(descriptor)
        if status.st_size != nbytes or not 0 <= time.time() - status.st_mtime < _SECONDS:
            os.close(descriptor)
            return None
        return _blocks(descriptor, nbytes, size)

    def discard(self, digest: str) -> None:
        """Let go of values that were taken, or that turned out to be others."""
        with contextlib.suppress(OSError):
            self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._directory() / f"{_PREFIX}{digest}"


class Gift:
    """The values of one group, being written."""

    def __init__(self, directory: Path) -> None:
        """Begin; raises OSError where no file can be made."""
        self._directory = directory
        self._temporary = directory / f"{_PREFIX}{token()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._temporary, flags, 0o600)
        self._is_whole = True

    def write(self, view: memoryview) -> None:
        """Append values."""
        try:
            while self._is_whole and view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self._is_whole = False

    def complete(self, digest: str) -> None:
        """All values are written, and have this digest."""
        if self._is_whole:
            with contextlib.suppress(OSError):
                self._temporary.replace(self._directory / f"{_PREFIX}{digest}")

    def close(self) -> None:
        """Remove what was not completed."""
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _blocks(descriptor: int, nbytes: int, size: int) -> Iterator[Block]:
    """What the file holds; less if somebody cuts it short meanwhile."""
    try:
        for position in range(0, nbytes, size):
            yield Ready(os.pread(descriptor, min(size, nbytes - position), position))
    finally:
        os.close(descriptor)


def _remove_leftovers(directory: Path) -> None:
    for leftover in directory.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _SECONDS:
                leftover.unlink()
