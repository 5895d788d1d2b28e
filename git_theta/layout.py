"""A checkpoint file as literal bytes with holes: where each parameter group's values lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from git_theta import tensors
from git_theta.sources import BLOCK, HollowSource, Source, blocks

MAX_SKELETON: Final = 1 << 28
"""Bytes that may lie outside of the groups. They are in memory at once, and an object of a megabyte can claim to hold
many gigabytes of zeros. Our own formats keep a file whole that has more than a third of this."""


class Span(Struct, frozen=True):
    """The place of one parameter group in a file.

    Attributes:
        name: path of keys (`tensors.join_name`), unique in the file.
        dtype: a name of `tensors.BLOCKS`.
        shape: extents, outermost first; () for a scalar.
        start: offset in bytes of the first value, which lie little-endian in C order up to `stop`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return tensors.nbytes(self.dtype, self.shape)

    @property
    def stop(self) -> int:
        """Offset in bytes of the end of the values."""
        return self.start + self.nbytes


class Layout(Struct, frozen=True):
    """Where the parameter groups lie in a file; all other bytes are the skeleton.

    Attributes:
        format: name of the checkpoint format that found the spans.
        size: bytes of the whole file.
        spans: in file order, without overlap.
    """

    format: str
    size: int
    spans: tuple[Span, ...]

    def __post_init__(self) -> None:
        """Check that the spans are in order, inside the file, and named apart.

        Raises:
            ValueError: they are not.
        """
        position = 0
        for span in self.spans:
            if span.start < position:
                raise ValueError(f"group {span.name!r} overlaps the one before it")
            position = span.stop
        if position > self.size:
            raise ValueError(f"group {self.spans[-1].name!r} reaches past the end of the file")
        if len({span.name for span in self.spans}) != len(self.spans):
            raise ValueError("two groups have the same name")

    @property
    def skeleton_nbytes(self) -> int:
        """Bytes outside of the groups."""
        return self.size - sum(span.nbytes for span in self.spans)

    def leads(self) -> Iterator[int]:
        """For each span, the number of skeleton bytes that stand right before it."""
        position = 0
        for span in self.spans:
            yield span.start - position
            position = span.stop

    def literals(self) -> Iterator[tuple[int, int]]:
        """Start and stop of each piece of the skeleton, in file order, empty ones left out."""
        position = 0
        for span in self.spans:
            if span.start > position:
                yield position, span.start
            position = span.stop
        if self.size > position:
            yield position, self.size

    def read_skeleton(self, source: Source) -> bytes:
        """The bytes of the file outside all spans, joined."""
        return b"".join(piece for start, stop in self.literals() for piece in blocks(source, start, stop, BLOCK))

    def hollow(self, skeleton: bytes) -> HollowSource:
        """The file of which only the skeleton is known, with zeros for the values of its groups."""
        return HollowSource(skeleton, ((span.start, span.nbytes) for span in self.spans))
