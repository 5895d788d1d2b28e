"""NumPy's .npy files, which are one array.

Written after the format's description in numpy/lib/format.py, checked against NumPy 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

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


class Npy:
    """The .npy format: one array."""

    name = "npy"
    extensions = (".npy",)

    def scan(self, source: Source) -> Layout:
        """Find the one parameter group; see `checkpoints.Format`."""
        header = parse(source, 0, source.size)
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

    def labels(self, skeleton: bytes) -> Mapping[str, str]:
        """What the header says more about the array; see `checkpoints.Labelled`."""
        return labels({_GROUP: parse(BytesSource(skeleton), 0, len(skeleton))})

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file, with the array as it is in another one; see `checkpoints.Grafting`."""
        if donors:
            raise PluginError(f"there is no value {next(iter(donors))[:80]!r} in an .npy file")
        return self.write(groups, places.get(_GROUP, skeleton))

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the order of the elements and of their bytes. See `checkpoints.Format`."""
        if len(groups) != 1:
            raise PluginError("an .npy file has exactly one array")
        old = None if skeleton is None else parse(BytesSource(skeleton), 0, len(skeleton))
        (values,) = groups.values()
        yield npy_header(values, old)
        yield bytes(values.data)


class Header(Struct, frozen=True):
    """What the header of an array says, and where it stops.

    The values of a Fortran-ordered array are those of its transpose in C order, so the group is the transpose: its
    shape is reversed. A group's values are little-endian, so where they are big-endian here, or have a dtype without
    a name, the group is of raw bytes and has one extent more, the bytes of an element.
    """

    descr: str
    is_fortran: bool
    shape: tuple[int, ...]
    stop: int

    @property
    def label(self) -> str:
        """What dtype and shape of the group do not tell; nothing of an array that is as its group is."""
        is_told = _dtype(self.descr)[0] is not None
        order = " in Fortran order" if self.is_fortran and len(self.shape) > 1 else ""
        return f"an array{'' if is_told else f' of {self.descr}'}{order}" if order or not is_told else ""

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


def labels(headers: Mapping[str, Header]) -> dict[str, str]:
    """What headers say more about their groups, by name."""
    return {name: header.label for name, header in headers.items() if header.label}


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


def parse(source: Source, start: int, stop: int) -> Header:
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
        return Header(found["descr"][1:-1], found["fortran_order"] == "True", extents, begin + length)
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


def npy_header(values: Values, old: Header | None) -> bytes:
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
