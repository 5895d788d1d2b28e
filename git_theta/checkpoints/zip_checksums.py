"""Checksums in the skeleton of a zip file: those of the groups' values, and how to put in others."""

from __future__ import annotations

import bisect
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from git_theta.checkpoints.crc import combined, without
from git_theta.checkpoints.zips import SIZES_LATER, STORED, Member, read_directory, read_end
from git_theta.errors import NotThisFormatError
from git_theta.layout import Layout, Span

_LOCAL_CRC: Final = 14
_ENTRY_CRC: Final = 16
_DESCRIPTOR: Final = b"PK\7\x08"


def checksums(layout: Layout, skeleton: bytes) -> dict[str, int]:
    """The CRC-32 of each group's values, by name; groups without values are left out.

    Args:
        layout: of a zip file in which every group ends a member.
        skeleton: of the same file.

    Raises:
        NotThisFormatError: the skeleton is not one of this layout.
    """
    archive = _Archive(layout, skeleton)
    return {
        span.name: without(archive.front(span, start), member.crc, span.nbytes)
        for span, (member, start) in archive.owners()
    }


def with_checksums(layout: Layout, skeleton: bytes, sums: Mapping[str, int]) -> bytes:
    """The skeleton for other values.

    Args:
        layout: of a zip file in which every group ends a member.
        skeleton: of the same file.
        sums: CRC-32 of the new values of those groups that get some, by name.

    Returns:
        A skeleton of the same length and layout.

    Raises:
        NotThisFormatError: the skeleton is not one of this layout.
    """
    archive = _Archive(layout, skeleton)
    for span, (member, start) in archive.owners():
        if span.name in sums:
            archive.put(member, start, combined(archive.front(span, start), sums[span.name], span.nbytes))
    return bytes(archive.patched)


def without_checksums(layout: Layout, skeleton: bytes, is_left_out: Callable[[str], bool]) -> bytes:
    """The skeleton with 0 for what depends on values: two files that differ in nothing else have the same.

    Args:
        layout: of a zip file in which every group ends a member.
        skeleton: of the same file.
        is_left_out: whether a member's whole content depends on values; told by its name.

    Raises:
        NotThisFormatError: the skeleton is not one of this layout.
    """
    archive = _Archive(layout, skeleton)
    for _, (member, start) in archive.owners():
        archive.put(member, start, 0)
    for member, start in archive.members:
        if is_left_out(member.name):
            archive.clear(member, start)
    return bytes(archive.patched)


class _Archive:
    """A zip file without the groups' values.

    Attributes:
        members: in file order, each with the start of its content.
        patched: the skeleton, with what was changed.
    """

    def __init__(self, layout: Layout, skeleton: bytes) -> None:
        if layout.size != len(skeleton) + sum(span.nbytes for span in layout.spans):
            raise NotThisFormatError("the skeleton of another file")
        self._source = layout.hollow(skeleton)
        self._spans = layout.spans
        self._starts = [span.start for span in layout.spans]
        self._sums = list(accumulate((span.nbytes for span in layout.spans), initial=0))
        self.members = read_directory(self._source, ignore_case=False)
        self.patched = bytearray(skeleton)
        self._central = read_end(self._source).found

    def owners(self) -> Iterator[tuple[Span, tuple[Member, int]]]:
        """The groups with values, and the members that end with them."""
        ends = {start + member.size: (member, start) for member, start in self.members if member.method == STORED}
        for span in self._spans:
            if span.nbytes:
                owner = ends.get(span.stop)
                if owner is None or owner[1] > span.start:
                    raise NotThisFormatError("a group is not the content of a member of the zip file")
                yield span, owner

    def front(self, span: Span, start: int) -> int:
        """The checksum of what stands before a group in its member."""
        return zlib.crc32(self._source.read(start, span.start))

    def put(self, member: Member, start: int, crc: int) -> None:
        """Give a member another checksum, wherever the file has it."""
        for place in (self._central + member.entry + _ENTRY_CRC, *self._near(member, start)):
            struct.pack_into("<I", self.patched, self._at(place), crc)

    def clear(self, member: Member, start: int) -> None:
        """Make the content and the checksum of a member that is no group 0."""
        at = self._at(start)
        self.patched[at : at + member.packed] = bytes(member.packed)
        self.put(member, start, 0)

    def _at(self, place: int) -> int:
        """Where an offset of the file is in the skeleton."""
        return place - self._sums[bisect.bisect_left(self._starts, place)]

    def _near(self, member: Member, start: int) -> Iterator[int]:
        """Where the checksum is in the header of a member, and behind its content."""
        known = struct.pack("<I", member.crc)
        place = member.header + _LOCAL_CRC
        if not member.flags & SIZES_LATER or self._source.read(place, place + 4) == known != bytes(4):
            yield place
        if member.flags & SIZES_LATER:
            # With a signature in front, or without: there have always been both.
            stop = start + member.packed
            behind = self._source.read(stop, stop + 8)
            place = stop + 4 if behind[:4] == _DESCRIPTOR else stop
            if self._source.read(place, place + 4) != known:
                raise NotThisFormatError("a checksum of the zip file is not where it should be")
            yield place
