"""Checksums in the skeleton of a zip file whose members have other contents now, of the sizes they had."""

from __future__ import annotations

import bisect
import struct
import zlib
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

from git_theta.checkpoints import Values
from git_theta.checkpoints.zips import SIZES_LATER, STORED, Member, read_directory, read_end, read_entries
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout
from git_theta.sources import HollowSource, Source

_LOCAL_CRC: Final = 14
_ENTRY_CRC: Final = 16
_ENTRY_LENGTHS: Final = 28
_ENTRY: Final = 46
_DESCRIPTOR: Final = b"PK\7\x08"


def refit(layout: Layout, skeleton: bytes, changed: Mapping[str, Values]) -> bytes:
    """The skeleton for other values.

    Args:
        layout: of a zip file in which every group is the whole content of a member.
        skeleton: of the same file.
        changed: the groups that get other values, of the dtype and the shape that they have.

    Raises:
        NotThisFormatError: the skeleton is not one of this layout.
        PluginError: a group that is changed is not in the layout, or gets another dtype or shape.
    """
    by_name = {span.name: span for span in layout.spans}
    for name, values in changed.items():
        span = by_name.get(name)
        if span is None or (span.dtype, span.shape) != (values.dtype, values.shape):
            raise PluginError(f"the group {name!r} does not fit into the file as it is")
    if layout.size != len(skeleton) + sum(span.nbytes for span in layout.spans):
        raise NotThisFormatError("the skeleton of another file")
    source = HollowSource(skeleton, [(span.start, span.nbytes) for span in layout.spans])
    wanted = {by_name[name].start: values for name, values in changed.items() if by_name[name].nbytes}
    starts = [span.start for span in layout.spans]
    sums = list(accumulate((span.nbytes for span in layout.spans), initial=0))
    patched = bytearray(skeleton)
    central = _central(source)
    for member, start in read_directory(source):
        if start in wanted and member.method == STORED and member.size == len(wanted[start].data):
            crc = zlib.crc32(wanted.pop(start).data)
            for place in (central[member.name], *_near(source, member, start)):
                at = place - sums[bisect.bisect_left(starts, place)]
                struct.pack_into("<I", patched, at, crc)
    if wanted:
        raise NotThisFormatError("a group is not the content of a member of the zip file")
    return bytes(patched)


def _central(source: Source) -> dict[str, int]:
    """Where the central directory has the checksum of each member, by name."""
    end = read_end(source)
    at = end.found
    places = {}
    for member in read_entries(source, end):
        places[member.name] = at + _ENTRY_CRC
        lengths = struct.unpack("<3H", source.read(at + _ENTRY_LENGTHS, at + _ENTRY_LENGTHS + 6))
        at += _ENTRY + sum(lengths)
    return places


def _near(source: Source, member: Member, start: int) -> Iterator[int]:
    """Where the checksum is in the header of a member, and behind its content."""
    known = struct.pack("<I", member.crc)
    place = member.header + _LOCAL_CRC
    if not member.flags & SIZES_LATER or source.read(place, place + 4) == known != bytes(4):
        yield place
    if member.flags & SIZES_LATER:
        # With a signature in front, or without: there have always been both.
        stop = start + member.size
        behind = source.read(stop, stop + 8)
        place = stop + 4 if behind[:4] == _DESCRIPTOR else stop
        if source.read(place, place + 4) != known:
            raise NotThisFormatError("a checksum of the zip file is not where it should be")
        yield place
