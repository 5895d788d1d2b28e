"""Reads Flax's msgpack streams: every object of one in file order, and of arrays only their headers.

Written after the specification of msgpack and flax/serialization.py of google/flax.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from git_theta import tensors
from git_theta.errors import NotThisFormatError
from git_theta.sources import Source

NDARRAY: Final = 1
COMPLEX: Final = 2
_SCALAR: Final = 3
RAW: Final = {"complex32": 4, "bcomplex32": 4, "float128": 16, "complex256": 32, "datetime64": 8, "timedelta64": 8}
"""Bytes of elements that have no name in `tensors.BLOCKS`: groups of raw bytes, with one extent more."""

UNPACKED: Final = (
    *("int1", "uint1", "int2", "uint2", "int4", "uint4"),
    *("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
)
"""Each element of these has a byte to itself here: groups of raw bytes."""

_MAX_SKELETON: Final = 100_000_000
_MAX_ITEMS: Final = 500_000
MAX_DEPTH: Final = 128
_MAX_PATH: Final = 2048
_MAX_NAMES: Final = 16_000_000

_NUMBERS: Final = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq", strict=True))
_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_SIZED: Final = {
    first + step: (kind, size)
    for kind, first, sizes in (
        *(("bin", 0xC4, (1, 2, 4)), ("ext", 0xC7, (1, 2, 4)), ("str", 0xD9, (1, 2, 4))),
        *(("list", 0xDC, (2, 4)), ("map", 0xDE, (2, 4))),
    )
    for step, size in enumerate(sizes)
}
"""Tags that a length follows: of what, and in how many bytes."""


class Token(Struct, frozen=True):
    """One object of the stream: where it begins, where its content begins, and its value or the length of that."""

    kind: str
    start: int
    body: int
    value: int | float | bool | None = None
    code: int = 0

    @property
    def length(self) -> int:
        """Bytes of the content, or number of the elements."""
        assert isinstance(self.value, int)
        return self.value


class Array(Struct, frozen=True):
    """What the header of an array says: dtype and shape of the group, and how Flax calls the dtype."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int
    flax_name: str


class Item(Struct, frozen=True):
    """An object of the stream with its place in the tree. After the content of maps and lists comes an "end"."""

    token: Token
    path: tuple[str, ...]
    stop: int
    array: Array | None = None

    @property
    def name(self) -> str:
        """The name of the group, if it is one."""
        return tensors.join_name(self.path)


def token_at(source: Source, position: int) -> Token:
    """The object at a place, without its content.

    Raises:
        NotThisFormatError: there is none.
    """
    tag = _read(source, position, 1)[0]
    body = position + 1
    if tag <= 0x7F or tag >= 0xE0:
        return Token("number", position, body, tag if tag <= 0x7F else tag - 256)
    if tag <= 0xBF:
        kind, length = ("map", tag & 15) if tag <= 0x8F else ("list", tag & 15) if tag <= 0x9F else ("str", tag & 31)
        return Token(kind, position, body, length)
    if tag in _NUMBERS:
        layout = struct.Struct(">" + _NUMBERS[tag])
        return Token("number", position, body + layout.size, layout.unpack(_read(source, body, layout.size))[0])
    if tag in _SIZED or 0xD4 <= tag <= 0xD8:
        kind, size = _SIZED.get(tag, ("ext", 0))
        more = _read(source, body, size + (kind == "ext"))
        length = int.from_bytes(more[:size], "big") if size else 1 << (tag - 0xD4)
        return Token(kind, position, body + len(more), length, int.from_bytes(more[size:], "big", signed=True))
    if tag not in _CONSTANTS:
        raise NotThisFormatError("a byte stands there that msgpack does not use")
    return Token("number", position, body, _CONSTANTS[tag])


def _read(source: Source, start: int, count: int) -> bytes:
    if start + count > source.size:
        raise NotThisFormatError("it ends too early")
    return source.read(start, start + count)


def _text(source: Source, token: Token) -> str:
    """A key or the name of a dtype."""
    if token.kind != "str" or token.length > _MAX_PATH:
        raise NotThisFormatError("a key is no string, or is too long")
    try:
        return _read(source, token.body, token.length).decode("utf-8")
    except UnicodeDecodeError:
        raise NotThisFormatError("a key is not UTF-8") from None


class _Frame(Struct):
    """A map or list that is being walked through."""

    token: Token
    done: int = 0
    keys: set[str] = field(default_factory=set)


def walk(source: Source, *, hollow: bool = False) -> Iterator[Item]:
    """All objects in file order; of arrays, only the headers are read. A hollow source is a skeleton alone."""
    stack: list[_Frame] = []
    path: list[str] = []
    position = items = keys = values = 0
    while True:
        item = _item(source, position, tuple(path), hollow=hollow)
        yield item
        position = item.stop
        items += 1
        values += item.array.nbytes if item.array and not hollow else 0
        if items > _MAX_ITEMS or keys > _MAX_NAMES or position - values > _MAX_SKELETON:
            raise NotThisFormatError("there is too much outside of the arrays")
        if item.token.kind in ("map", "list"):
            stack.append(_Frame(item.token))
            path.append("")
        while stack and stack[-1].done == stack[-1].token.length:
            path.pop()
            stack.pop()
            yield Item(Token("end", position, position), tuple(path), position)
        if not stack:
            break
        path[-1], position = _next_key(source, stack[-1], position)
        keys += len(path[-1])
        if len(stack) > MAX_DEPTH or sum(map(len, path)) > _MAX_PATH:
            raise NotThisFormatError("it is nested too deeply, or a path of keys is too long")
    if position != source.size:
        raise NotThisFormatError("something stands behind the end")


def _next_key(source: Source, frame: _Frame, position: int) -> tuple[str, int]:
    """The key of the next element of a map or list, and where the element begins."""
    frame.done += 1
    if frame.token.kind == "list":
        return str(frame.done - 1), position
    token = token_at(source, position)
    key = _text(source, token)
    if key in frame.keys:
        raise NotThisFormatError(f"the key {key[:80]!r} is given twice")
    frame.keys.add(key)
    return key, token.body + token.length


def _item(source: Source, position: int, path: tuple[str, ...], *, hollow: bool) -> Item:
    token = token_at(source, position)
    if token.kind in ("number", "map", "list"):
        return Item(token, path, token.body)
    array = None
    stop = token.body + token.length
    if token.kind == "ext" and token.code in (NDARRAY, _SCALAR):
        array = _array(source, token.body)
        if array.start + array.nbytes != stop:
            raise NotThisFormatError("an array has another length than its header says")
        stop -= array.nbytes if hollow else 0
    if stop > source.size:
        raise NotThisFormatError("it ends too early")
    return Item(token, path, stop, array)


def _array(source: Source, position: int) -> Array:
    """The header of an array: a list of the shape, the name of the dtype and the values."""
    outer = token_at(source, position)
    extents = token_at(source, outer.body)
    if (outer.kind, outer.value, extents.kind) != ("list", 3, "list") or extents.length > tensors.MAX_RANK:
        raise NotThisFormatError("an array has another header than Flax gives it")
    shape = []
    position = extents.body
    for _ in range(extents.length):
        extent = token_at(source, position)
        if extent.kind != "number" or type(extent.value) is not int:
            raise NotThisFormatError("a shape has something else than numbers")
        shape.append(extent.value)
        position = extent.body
    name = token_at(source, position)
    flax_name = _text(source, name)
    data = token_at(source, name.body + name.length)
    if data.kind != "bin":
        raise NotThisFormatError("the values of an array are no bytes")
    dtype, group_shape = _group(flax_name, tuple(shape))
    try:
        nbytes = tensors.nbytes(dtype, group_shape)
    except ValueError as error:
        raise NotThisFormatError(f"an array is malformed: {error}") from None
    if nbytes != data.length:
        raise NotThisFormatError("an array has another number of values than its shape says")
    return Array(dtype, group_shape, data.body, nbytes, flax_name)


def _group(flax_name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape of the group for an array of Flax."""
    if flax_name in UNPACKED:
        return "uint8", shape
    if (kind := flax_name.partition("[")[0]) in RAW:
        return "uint8", (*shape, RAW[kind])
    if tensors.BLOCKS.get(flax_name, (0, 0))[0] != 1:
        raise NotThisFormatError(f"the dtype {flax_name[:40]!r} is not known")
    return flax_name, shape
