"""Zip files: their members, as the central directory and the local headers agree that they are; and plain new ones.

Stricter than the readers of this world, which each believe another part of a file that contradicts itself: no bytes
before the first member or after the directory, no overlap, no name twice. After APPNOTE.TXT 6.3.10 of PKWARE.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from git_theta.errors import NotThisFormatError
from git_theta.sources import Source

_END: Final = struct.Struct("<4s4H2IH")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64: Final = struct.Struct("<4sIQI")
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_FULL_16: Final = 0xFFFF
_FULL_32: Final = 0xFFFFFFFF
_ZIP64: Final = 1
_MAX_MEMBERS: Final = 1 << 17
_MAX_DIRECTORY: Final = 3 << 23
_ENCRYPTED: Final = 1 | 1 << 6 | 1 << 13
SIZES_LATER: Final = 1 << 3
"""The flag of a member whose checksum and sizes stand behind its content, too or only."""

_UTF8: Final = 1 << 11
_VERSION: Final = 45
"""Of PKWARE's specification, with zip64."""

_MADE_BY: Final = 3 << 8 | _VERSION
"""On Unix: unzip takes the names of others for DOS's, whatever their flag says."""

_ATTRIBUTES: Final = (stat.S_IFREG | 0o644) << 16
_DAY_ONE: Final = 0x21
"""The first of January 1980, the oldest date there is: files of the same values are the same."""

STORED: Final = 0


class Member(Struct, frozen=True):
    """One member.

    Attributes:
        name: its path, with "/".
        flags: the general purpose bits.
        method: of compression; 0 is none.
        crc: CRC-32 of the content.
        packed: bytes that it occupies in the file.
        size: bytes of the content.
        header: offset of the local header.
        entry: offset of what the directory says of it, from the beginning of the directory.
    """

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    entry: int


class End(Struct, frozen=True):
    """What the end of the file says of the central directory: its place, its size and its entries.

    Attributes:
        place: the offset at which it is said to lie.
        found: the offset at which it does lie, right before the records that end the file.
        size: its bytes.
        entries: their number.
    """

    place: int
    found: int
    size: int
    entries: int


def read_directory(source: Source, *, ignore_case: bool = True) -> list[tuple[Member, int]]:
    """The members in file order, each with the offset at which its content starts; see `read_entries`.

    Raises:
        NotThisFormatError: this is no zip file, or one that contradicts itself.
    """
    end = read_end(source)
    if end.place != end.found:
        raise NotThisFormatError("the zip directory is not where the end of the file says")
    position = 0
    placed = []
    for member in sorted(read_entries(source, end, ignore_case=ignore_case), key=lambda member: member.header):
        if member.header < position or (not position and member.header):
            raise NotThisFormatError("two members of the zip file overlap, or there is something before the first")
        start = content_start(source, member, end.place)
        placed.append((member, start))
        position = start + member.packed
    if position > end.place:
        raise NotThisFormatError("a member of the zip file reaches into the directory")
    return placed


def read_end(source: Source) -> End:
    """Find the central directory.

    Raises:
        NotThisFormatError: there is none.
    """
    at = source.size - _END.size
    if at < 0 or source.read(0, 4) != b"PK\x03\x04":
        raise NotThisFormatError("not a zip file")
    signature, disk, first_disk, here, entries, size, place, comment = _END.unpack(source.read(at, source.size))
    if signature != b"PK\x05\x06" or comment or disk or first_disk or here != entries:
        raise NotThisFormatError("the zip file does not end as it should")
    locator = at - _LOCATOR_64.size
    if locator >= 0:
        signature, disk, _, disks = _LOCATOR_64.unpack(source.read(locator, at))
        if signature == b"PK\x06\x07":
            if disk or disks > 1:
                raise NotThisFormatError("the zip file is one of several")
            return _read_end_64(source, locator, (entries, size, place))
    if size > at:
        raise NotThisFormatError("the zip directory is larger than the file")
    return End(place, at - size, size, entries)


def _read_end_64(source: Source, stop: int, short: tuple[int, int, int]) -> End:
    # The locator's own offset is not used: it would be wrong in a skeleton, where no values stand before.
    at = stop - _END_64.size
    if at < 0:
        raise NotThisFormatError("the zip file does not end as it should")
    found = _END_64.unpack(source.read(at, stop))
    signature, length, _, _, disk, first_disk, here, entries, size, place = found
    if signature != b"PK\x06\x06" or length != _END_64.size - 12 or disk or first_disk or here != entries or size > at:
        raise NotThisFormatError("the zip file does not end as it should")
    long = (entries, size, place)
    limits = (_FULL_16, _FULL_32, _FULL_32)
    if any(mine not in (theirs, limit) for mine, theirs, limit in zip(short, long, limits, strict=True)):
        raise NotThisFormatError("the zip file ends in two ways that disagree")
    return End(place, at - size, size, entries)


def read_entries(source: Source, end: End, *, ignore_case: bool = True) -> list[Member]:
    """The entries of the central directory, in its order.

    Args:
        source: the file.
        end: what `read_end` says of it.
        ignore_case: whether names that differ in case alone are the same, as torch's reader takes them.

    Raises:
        NotThisFormatError: it is malformed.
    """
    if end.entries > _MAX_MEMBERS or end.size > _MAX_DIRECTORY:
        raise NotThisFormatError("the zip file has too many members")
    data = source.read(end.found, end.found + end.size)
    members = []
    at = 0
    try:
        for _ in range(end.entries):
            member, at = _entry(data, at)
            members.append(member)
    except (struct.error, UnicodeDecodeError):
        raise NotThisFormatError("the zip directory is malformed") from None
    if at != len(data):
        raise NotThisFormatError("the zip directory is not as long as it says")
    if len({member.name.casefold() if ignore_case else member.name for member in members}) != len(members):
        raise NotThisFormatError("two members of the zip file have the same name")
    return members


def _entry(data: bytes, at: int) -> tuple[Member, int]:
    fields = _ENTRY.unpack_from(data, at)
    signature, _, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, attributes, header = fields
    name_length, extra_length, comment_length = lengths
    begin = at
    at += _ENTRY.size
    name = data[at : at + name_length]
    at += name_length
    extra = data[at : at + extra_length]
    at += extra_length + comment_length
    if signature != b"PK\x01\x02" or at > len(data) or disk:
        raise NotThisFormatError("the zip directory is malformed")
    size, packed, header = _widened(extra, (size, packed, header))
    if flags & _ENCRYPTED:
        raise NotThisFormatError("a member of the zip file is encrypted")
    if stat.S_ISLNK(attributes >> 16):
        raise NotThisFormatError("a member of the zip file is a symbolic link")
    if method == STORED and packed != size:
        raise NotThisFormatError("a member of the zip file has two sizes")
    text = name.decode("utf-8")
    if "\0" in text or not text:
        raise NotThisFormatError("a member of the zip file has an impossible name")
    return Member(text, flags, method, crc, packed, size, header, begin), at


def _widened(extra: bytes, short: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers; those that are too large for their fields are in the zip64 extra field, in this order."""
    if _FULL_32 not in short:
        return short
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == _ZIP64:
            numbers = iter(struct.unpack_from(f"<{min(length, 24) // 8}Q", extra, at))
            return tuple(next(numbers, -1) if number == _FULL_32 else number for number in short)
        at += length
    return short


def content_start(source: Source, member: Member, limit: int) -> int:
    """The offset at which a member's content starts, after its local header.

    Raises:
        NotThisFormatError: the header and the directory disagree, or it reaches past the limit.
    """
    at = member.header + _LOCAL.size
    if not 0 <= member.header <= at <= limit or member.packed < 0 or member.size < 0:
        raise NotThisFormatError("a member of the zip file lies outside of it")
    fields = _LOCAL.unpack(source.read(member.header, at))
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    stop = at + int(name_length) + int(extra_length)
    if signature != b"PK\x03\x04" or stop + member.packed > limit:
        raise NotThisFormatError("a member of the zip file is not where the directory says")
    text = source.read(at, stop)
    try:
        size, packed = _widened(text[name_length:], (size, packed))
    except struct.error:
        raise NotThisFormatError("the header of a member of the zip file is malformed") from None
    sizes = (crc, packed, size)
    known = (member.crc, member.packed, member.size)
    # Sizes may follow the content, and then are not known here.
    later = flags & SIZES_LATER and not any(sizes)
    if text[:name_length] != member.name.encode() or method != member.method or (sizes != known and not later):
        raise NotThisFormatError("a member of the zip file is not what the directory says")
    if flags & _ENCRYPTED:
        raise NotThisFormatError("a member of the zip file is encrypted")
    return stop


def local_header_size(source: Source, at: int) -> int:
    """Bytes of the local header at an offset.

    Raises:
        NotThisFormatError: there is none.
    """
    if at < 0 or at + _LOCAL.size > source.size:
        raise NotThisFormatError("a member of the zip file lies outside of it")
    name_length, extra_length = struct.unpack_from("<2H", source.read(at, at + _LOCAL.size), _LOCAL.size - 4)
    return _LOCAL.size + int(name_length) + int(extra_length)


def write_stored(members: Iterable[tuple[str, bytes | memoryview]], alignment: int) -> Iterator[bytes]:
    """The bytes of a zip file of these members, not compressed; all contents start at multiples of the alignment."""
    directory = []
    position = 0
    for name, data in members:
        crc, size = zlib.crc32(data), memoryview(data).nbytes
        header = _written_header(name.encode(), crc, size, position, alignment)
        directory.append(_written_entry(name.encode(), crc, size, position))
        yield header
        yield bytes(data)
        position += len(header) + size
    yield from directory
    yield _written_end(len(directory), sum(map(len, directory)), position)


def _written_header(name: bytes, crc: int, size: int, position: int, alignment: int) -> bytes:
    extra = struct.pack("<2H2Q", _ZIP64, 16, size, size) if size >= _FULL_32 else b""
    # A field that no reader knows pads the header; torch gives it the same two letters.
    padding = -(position + _LOCAL.size + len(name) + len(extra) + 4) % alignment
    extra += struct.pack("<2sH", b"FB", padding) + bytes(padding)
    short = min(size, _FULL_32)
    fields = (_VERSION, _UTF8, STORED, 0, _DAY_ONE, crc, short, short, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name + extra


def _written_entry(name: bytes, crc: int, size: int, header: int) -> bytes:
    wide = [number for number in (size, size, header) if number >= _FULL_32]
    extra = struct.pack(f"<2H{len(wide)}Q", _ZIP64, 8 * len(wide), *wide) if wide else b""
    short = min(size, _FULL_32)
    fields = (crc, short, short, len(name), len(extra), 0, 0, 0, _ATTRIBUTES, min(header, _FULL_32))
    return _ENTRY.pack(b"PK\x01\x02", _MADE_BY, _VERSION, _UTF8, STORED, 0, _DAY_ONE, *fields) + name + extra


def _written_end(entries: int, size: int, place: int) -> bytes:
    short = (min(entries, _FULL_16), min(size, _FULL_32), min(place, _FULL_32))
    wide = b""
    if entries >= _FULL_16 or size >= _FULL_32 or place >= _FULL_32:
        fields = (_END_64.size - 12, _VERSION, _VERSION, 0, 0, entries, entries, size, place)
        wide = _END_64.pack(b"PK\x06\x06", *fields) + _LOCATOR_64.pack(b"PK\x06\x07", 0, place + size, 1)
    return wide + _END.pack(b"PK\x05\x06", 0, 0, short[0], *short, 0)
