"""Digest a checkpoint in one pass over its bytes, as they come."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3
from msgspec import Struct

from git_theta.errors import ChangedWhileReadingError
from git_theta.layout import Layout
from git_theta.sources import Source, blocks


class Digests(Struct, frozen=True):
    """What identifies a checkpoint of a known layout: its skeleton and the digest of each group, in file order."""

    skeleton: bytes
    groups: tuple[str, ...]


class Digester:
    """Takes the bytes of a file from first to last, in pieces of any size."""

    def __init__(self, layout: Layout) -> None:
        self._pieces = _pieces(layout)
        self._skeleton = bytearray()
        self._groups: list[str] = []
        self._hasher = blake3()
        self._left, self._is_group = next(self._pieces)
        self._settle()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view and self._left:
            taken = view[: self._left]
            if self._is_group:
                self._hasher.update(taken)
            else:
                self._skeleton += taken
            self._left -= len(taken)
            view = view[len(taken) :]
            self._settle()
        if view:
            raise ChangedWhileReadingError("the file has grown while it was read")

    def state(self) -> tuple[bytes, tuple[str, ...], str]:
        """What identifies all the bytes taken so far."""
        return bytes(self._skeleton), tuple(self._groups), self._hasher.hexdigest()

    def finish(self) -> Digests:
        """The digests of the whole file.

        Raises:
            ChangedWhileReadingError: bytes are missing.
        """
        if self._left:
            raise ChangedWhileReadingError("the file has shrunk while it was read")
        return Digests(bytes(self._skeleton), tuple(self._groups))

    def _settle(self) -> None:
        """Close every piece that has all its bytes, empty ones included."""
        while not self._left:
            if self._is_group:
                self._groups.append(self._hasher.hexdigest())
                self._hasher = blake3()
            following = next(self._pieces, None)
            if following is None:
                self._is_group = False
                return
            self._left, self._is_group = following


def digest_again(source: Source, layout: Layout) -> Digests:
    """The digests of a source that can be read at leisure."""
    digester = Digester(layout)
    for block in blocks(source, 0, source.size):
        digester.feed(block)
    return digester.finish()


def _pieces(layout: Layout) -> Iterator[tuple[int, bool]]:
    """Length of each piece of the file in order, and whether it is a group; a literal piece first and last."""
    position = 0
    for span in layout.spans:
        yield span.start - position, False
        yield span.nbytes, True
        position = span.stop
    yield layout.size - position, False
