"""NumPy's files: .npy, which is one array, and .npz, which is a zip archive of them.

Written after the format's description in numpy/lib/format.py and PKWARE's APPNOTE, checked against NumPy 2 and unzip.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final, cast

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, Source

_GROUP: Final = "array"
"""The name of the one array of an .npy file."""

_MAGIC: Final = b"\x93NUMPY"
_LENGTH_BYTES: Final = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_MAX_HEADER: Final = 10_000
"""What numpy.load takes of a file that it does not trust."""

_ALIGNMENT: Final = 64
_NUMBER: Final = "(?:0|[1-9][0-9]{0,19})L?"
"""Old files of Python 2 have an L behind numbers."""

_ENTRY: Final = re.compile(
    r""" *(?P<quote>['"])(?:descr(?P=quote) *: *(?P<descr>'[^'\\\n]*+'|"[^"\\\n]*+")"""
    r"""|fortran_order(?P=quote) *: *(?P<fortran_order>True|False)"""
    rf"""|shape(?P=quote) *: *(?P<shape>\( *(?:(?:{_NUMBER} *, *)+(?:{_NUMBER} *)?)?\))) *(?:,|\Z)"""
)
"""All that a header consists of."""

_DESCR: Final = re.compile(r"([<>|])([biufcSUVMm])([0-9]{1,9})(?:(?<=[Mm]8)\[[0-9A-Za-z/]{1,20}\])?")
_DTYPES: Final = {
    kind + str(size): f"{name}{8 * size}"
    for kind, name, sizes in (
        *(("i", "int", (1, 2, 4, 8)), ("u", "uint", (1, 2, 4, 8))),
        *(("f", "float", (2, 4, 8)), ("c", "complex", (8, 16))),
    )
    for size in sizes
} | {"b1": "bool"}
_DESCRS: Final = {ours: f"{'|' if tensors.BLOCKS[ours][1] == 1 else '<'}{theirs}" for theirs, ours in _DTYPES.items()}
_RAW: Final = {"f1": 1, "f12": 12, "f16": 16, "c24": 24, "c32": 32, "M8": 8, "m8": 8}
"""Elements that are kept as raw bytes: long doubles, dates, and what ml_dtypes gives to numpy.save."""

_NPY: Final = ".npy"
_ENCODED: Final = 0x0001 | 0x0008 | 0x0020 | 0x0040 | 0x2000
"""Flags of a member that is encrypted, is a patch, or whose sizes stand behind it."""

_UTF8: Final = 0x0800
_MAX_DIRECTORY: Final = 1 << 21
"""Room for 20,000 members; zipfile takes long over larger ones that are made to annoy it."""

_MAX_NAMES: Final = 16_000_000
_ZIP64: Final = 0xFFFFFFFF
_ZIP64_ID: Final = 1
_UNICODE_PATH_ID: Final = 0x7075
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")


class Npy:
    """The .npy format: one array."""

    name = "npy"
    extensions = (".npy",)

    def scan(self, source: Source) -> Layout:
        """Find the one parameter group; see `checkpoints.Format`."""
        header = _parse(source, 0, source.size)
        span = header.span(_GROUP)
        if span.stop != source.size:
            raise NotThisFormatError("it has another number of values than its shape says")
        return Layout(self.name, source.size, (span,))

    def values(self, source: Source) -> Mapping[str, str]:
        """Nothing: there are no values but the array.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        self.scan(source)
        return {}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the order of the elements and of their bytes. See `checkpoints.Format`."""
        if len(groups) != 1:
            raise PluginError("an .npy file has exactly one array")
        old = None if skeleton is None else _parse(BytesSource(skeleton), 0, len(skeleton))
        (values,) = groups.values()
        yield _npy_header(values, old)
        yield bytes(values.data)


class Npz:
    """The .npz format: a zip archive of arrays, as numpy.savez writes it (not savez_compressed)."""

    name = "npz"
    extensions = (".npz",)
    has_checksums = True

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`."""
        spans = []
        position = names = 0
        directory, stop = _directory(source)
        for info in directory:
            # Members that lie end to end do not overlap, and nothing hides between them.
            if info.header_offset != position:
                raise NotThisFormatError("there is a gap or an overlap between its members")
            begin = _check_member(source, info)
            position = begin + info.file_size
            if position > stop:
                raise NotThisFormatError("a member reaches into the directory")
            span = _parse(source, begin, position).span(tensors.join_name([info.filename.removesuffix(_NPY)]))
            if span.stop != position:
                raise NotThisFormatError(f"{info.filename[:80]!r} has another number of values than its shape says")
            spans.append(span)
            names += len(span.name)
        if position != stop or not spans:
            raise NotThisFormatError("there is a gap before the directory, or there is no member")
        if len({span.name for span in spans}) != len(spans) or names > _MAX_NAMES:
            raise NotThisFormatError("two members have the same name, or the names are too long")
        return Layout(self.name, source.size, tuple(spans))

    def values(self, source: Source) -> Mapping[str, str]:
        """Nothing: there are no values but the arrays.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        self.scan(source)
        return {}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the order of the elements and of their bytes. See `checkpoints.Format`."""
        old = {} if skeleton is None else _old_headers(skeleton)
        named = {"/".join(tensors.split_name(name)) + _NPY: values for name, values in groups.items()}
        if len(named) != len(groups):
            raise PluginError("two groups would have the same name in an .npz file")
        central = []
        position = 0
        for name, values in named.items():
            header = _npy_header(values, old.get(name))
            size = len(header) + len(values.data)
            crc = zlib.crc32(values.data, zlib.crc32(header))
            local, entry = _member(name, size, crc, position)
            yield local + header
            yield bytes(values.data)
            central.append(entry)
            position += len(local) + size
        yield _end(b"".join(central), len(central), position)


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header of an array says, and where it stops.

    The values of a Fortran-ordered array are those of its transpose in C order, so the group is the transpose: its
    shape is reversed. A group's values are little-endian, so where they are big-endian here, or have a dtype without
    a name, the group is of raw bytes and has one extent more, the bytes of an element.
    """

    descr: str
    is_fortran: bool
    shape: tuple[int, ...]
    stop: int

    def span(self, name: str) -> Span:
        """The group."""
        shape = self.shape[::-1] if self.is_fortran else self.shape
        dtype, size = _dtype(self.descr)
        span = Span(name, dtype or "uint8", shape if dtype else (*shape, size), self.stop)
        try:
            span.nbytes  # noqa: B018 - raises if the shape is impossible
        except ValueError as error:
            raise NotThisFormatError(f"an array is malformed: {error}") from None
        return span


def _dtype(descr: str) -> tuple[str | None, int]:
    """Name of the group's dtype, if the elements have one here, and the bytes of an element."""
    found = _DESCR.fullmatch(descr)
    if found is None:
        raise NotThisFormatError(f"the dtype {descr[:40]!r} is not known")
    order, kind, digits = found[1], found[2], found[3]
    short = kind + digits
    if short in _DTYPES:
        size = int(digits)
        if order == "|" and size > 1:
            raise NotThisFormatError("a dtype says nothing about the order of bytes")
        return (_DTYPES[short] if size == 1 or order == "<" else None), size
    if kind in "SUV":
        return None, int(digits) * (4 if kind == "U" else 1)
    if short not in _RAW:
        raise NotThisFormatError(f"the dtype {descr[:40]!r} is not known")
    return None, _RAW[short]


def _parse(source: Source, start: int, stop: int) -> _Header:
    """The header of an array that lies between two places in the source."""
    begin = start + len(_MAGIC) + 2
    head = source.read(start, min(stop, begin + 4))
    length_bytes = _LENGTH_BYTES.get((head[6], head[7])) if head.startswith(_MAGIC) and len(head) == 12 else None
    if length_bytes is None:
        raise NotThisFormatError("an array does not begin as NumPy's do")
    length = int.from_bytes(head[8 : 8 + length_bytes], "little")
    begin += length_bytes
    if length > _MAX_HEADER or begin + length > stop:
        raise NotThisFormatError("the header of an array is too long")
    text = source.read(begin, begin + length).decode("utf-8" if head[6] == 3 else "latin-1", "replace")
    found = _fields(text)
    if found is not None:
        extents = tuple(int(digits) for digits in re.findall("[0-9]+", found["shape"]))
        return _Header(found["descr"][1:-1], found["fortran_order"] == "True", extents, begin + length)
    raise NotThisFormatError("an array holds objects or records, or its header is malformed")


def _fields(text: str) -> dict[str, str] | None:
    """The text of each of the three values in a header; None if it is not one that NumPy writes for plain arrays.

    A header is a literal of Python, but it is matched and never given to Python's parser, which is no match for a
    hostile one.
    """
    inner = text.removesuffix("\n").strip(" ")
    if not inner.startswith("{") or not inner.endswith("}"):
        return None
    inner = inner[1:-1].rstrip(" ")
    found: dict[str, str] = {}
    position = 0
    while (entry := _ENTRY.match(inner, position)) and entry.lastgroup not in found:
        assert entry.lastgroup is not None
        found[entry.lastgroup] = entry[entry.lastgroup]
        position = entry.end()
    return found if position == len(inner) and len(found) == 3 else None


def _npy_header(values: Values, old: _Header | None) -> bytes:
    """The header for a group, in the way of the old one if the group can have been read by it."""
    shape = values.shape
    is_fortran = False
    descr = _DESCRS.get(values.dtype)
    if old is not None:
        dtype, size = _dtype(old.descr)
        if dtype == values.dtype or (dtype is None and values.dtype == "uint8" and shape[-1:] == (size,)):
            shape = shape if dtype else shape[:-1]
            is_fortran = old.is_fortran
            descr = old.descr
    if descr is None:
        raise PluginError(f"numpy has no dtype {values.dtype}")
    text = f"{{'descr': {descr!r}, 'fortran_order': {is_fortran}, 'shape': {shape[::-1] if is_fortran else shape}, }}"
    length = len(text) + 1 + -(len(_MAGIC) + 4 + len(text) + 1) % _ALIGNMENT
    return _MAGIC + b"\1\0" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("latin-1") + b"\n"


class _File:
    """A source as a file that can be read, for zipfile. It reads no more at once than a directory may have."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        position = offset if whence == 0 else offset + (self._position if whence == 1 else self._source.size)
        if position < 0:
            raise OSError("before the beginning")
        self._position = position
        return position

    def tell(self) -> int:
        """The place."""
        return self._position

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        left = max(0, self._source.size - self._position)
        count = left if count < 0 else min(count, left)
        if count > _MAX_DIRECTORY:
            raise NotThisFormatError("the directory is too large")
        data = self._source.read(self._position, self._position + count)
        self._position += count
        return data


def _directory(source: Source) -> tuple[list[zipfile.ZipInfo], int]:
    """The entries of the central directory in file order, and where it begins."""
    end = source.read(max(0, source.size - _END.size), source.size)
    # With a comment behind, the end could be searched for in an array's values.
    if len(end) < _END.size or not end.startswith(b"PK\5\6") or end[-2:] != b"\0\0":
        raise NotThisFormatError("it does not end with the directory of a zip archive")
    try:
        archive = zipfile.ZipFile(cast(IO[bytes], _File(source)))
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OSError, EOFError, OverflowError):
        raise NotThisFormatError("the directory of the archive is malformed") from None
    return sorted(archive.infolist(), key=lambda info: info.header_offset), archive.start_dir


def _check_member(source: Source, info: zipfile.ZipInfo) -> int:
    """Make sure that a member is stored as it is, and that its own header says the same; where its content begins."""
    name = info.orig_filename
    shown = f"the member {name[:80]!r}"
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise NotThisFormatError(f"{shown} is compressed")
    if info.flag_bits & _ENCODED or stat.S_ISLNK(info.external_attr >> 16):
        raise NotThisFormatError(f"{shown} is encrypted, a link, or was written as a stream")
    if info.filename != name or not name.endswith(_NPY) or _UNICODE_PATH_ID in _extras(info.extra):
        raise NotThisFormatError(f"{shown} has a name that numpy.savez does not give")
    fixed = source.read(info.header_offset, info.header_offset + _LOCAL.size)
    if len(fixed) < _LOCAL.size:
        raise NotThisFormatError(f"{shown} lies outside of the file")
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
    begin = info.header_offset + _LOCAL.size
    stop: int = begin + name_length + extra_length
    rest = source.read(begin, stop)
    sizes = (packed, size)
    if _ZIP64 in sizes:
        sizes = _zip64_sizes(_extras(rest[name_length:]).get(_ZIP64_ID, b""))
    expected = (b"PK\3\4", info.flag_bits, info.compress_type, info.CRC, (info.file_size, info.file_size))
    encoded = name.encode("utf-8" if flags & _UTF8 else "cp437", "replace")
    if (magic, flags, method, crc, sizes) != expected or rest[:name_length] != encoded:
        raise NotThisFormatError(f"{shown} is described in two ways that differ")
    return stop


def _zip64_sizes(extra: bytes) -> tuple[int, int]:
    """Both sizes from a local header's extra field, where both must stand."""
    return struct.unpack("<QQ", extra[:16]) if len(extra) >= 16 else (-1, -1)


def _extras(data: bytes) -> dict[int, bytes]:
    """The extra fields of a member by their number."""
    found = {}
    position = 0
    while position + 4 <= len(data):
        number, length = struct.unpack_from("<HH", data, position)
        position += 4
        found[number] = data[position : position + length]
        position += length
    return found


def _old_headers(skeleton: bytes) -> dict[str, _Header]:
    """The headers of the arrays in a skeleton by the names of their members, which lie end to end."""
    found = {}
    source = BytesSource(skeleton)
    position = 0
    while skeleton.startswith(b"PK\3\4", position) and position + _LOCAL.size <= len(skeleton):
        fields = _LOCAL.unpack_from(skeleton, position)
        begin = position + _LOCAL.size
        name = skeleton[begin : begin + fields[-2]].decode("utf-8" if fields[2] & _UTF8 else "cp437", "replace")
        found[name] = _parse(source, begin + fields[-2] + fields[-1], len(skeleton))
        position = found[name].stop
    return found


def _member(name: str, size: int, crc: int, position: int) -> tuple[bytes, bytes]:
    """The local header of a member, and its entry in the central directory."""
    encoded = name.encode("utf-8")
    if len(encoded) > 0xFFFF:
        raise PluginError(f"{name[:80]!r} is too long a name for an .npz file")
    flags = 0 if name.isascii() else _UTF8
    date = 0x21  # the first of January 1980, so that the same groups give the same file
    large = size >= _ZIP64
    version = 45 if large or position >= _ZIP64 else 20
    extra = struct.pack("<HHQQ", _ZIP64_ID, 16, size, size) if large else b""
    short = _ZIP64 if large else size
    local = _LOCAL.pack(b"PK\3\4", version, flags, 0, 0, date, crc, short, short, len(encoded), len(extra))
    offset = position
    sixty_four = (size, size) if large else ()
    if position >= _ZIP64:
        offset = _ZIP64
        sixty_four = (*sixty_four, position)
    more = struct.pack(f"<HH{len(sixty_four)}Q", _ZIP64_ID, 8 * len(sixty_four), *sixty_four) if sixty_four else b""
    made_by = 3 << 8 | version
    attributes = (stat.S_IFREG | 0o644) << 16
    lengths = (len(encoded), len(more), 0, 0, 0)
    entry = _CENTRAL.pack(
        *(b"PK\1\2", made_by, version, flags, 0, 0, date, crc, short, short, *lengths, attributes, offset)
    )
    return local + encoded + extra, entry + encoded + more


def _end(central: bytes, count: int, position: int) -> bytes:
    """The central directory, and what ends the archive."""
    large = b""
    if count >= 0xFFFF or position >= _ZIP64:
        record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(central), position)
        large = record + struct.pack("<4sIQI", b"PK\6\7", 0, position + len(central), 1)
    short = min(count, 0xFFFF)
    return central + large + _END.pack(b"PK\5\6", 0, 0, short, short, len(central), min(position, _ZIP64), 0)
