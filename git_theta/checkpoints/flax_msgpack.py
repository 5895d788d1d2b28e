"""Flax's msgpack streams: nested maps with string keys, whose arrays are extension types that hold msgpack themselves.

Written after flax/serialization.py of google/flax and the specification of msgpack, and checked against Flax 0.12. An
array of more than 1 GiB lies there in chunks, in a map that says so; each chunk is a group of its own.
"""

from __future__ import annotations

import math
import reprlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, Source

MAX_CHUNK_SIZE: Final = 1 << 30
"""Arrays of more bytes are written in chunks, as Flax does: msgpack has no larger leaves than 4 GiB."""

_NDARRAY: Final = 1
_COMPLEX: Final = 2
_SCALAR: Final = 3
_MARK: Final = "__msgpack_chunked_array__"
_RAW: Final = {"complex32": 4, "bcomplex32": 4, "float128": 16, "complex256": 32, "datetime64": 8, "timedelta64": 8}
"""Bytes of elements that have no name in `tensors.BLOCKS`: groups of raw bytes, with one extent more."""

_UNPACKED: Final = (
    *("int1", "uint1", "int2", "uint2", "int4", "uint4"),
    *("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
)
"""Each element of these has a byte for itself here: groups of raw bytes."""

_MAX_SKELETON: Final = 100_000_000
_MAX_ITEMS: Final = 500_000
_MAX_GROUPS: Final = 100_000
_MAX_DEPTH: Final = 128
_MAX_PATH: Final = 2048
_MAX_NAMES: Final = 16_000_000
_MAX_VALUES: Final = 10_000
_MAX_TEXT: Final = 200

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


class FlaxMsgpack:
    """The format of `flax.serialization`. Many of its files have no extension (checkpoint_123): the content decides."""

    name = "flax"
    extensions = (".msgpack",)

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`."""
        spans = []
        names = 0
        for item in _walk(source):
            if item.array is not None:
                spans.append(Span(item.name, item.array.dtype, item.array.shape, item.array.start))
                names += len(item.name)
            if len(spans) > _MAX_GROUPS or names > _MAX_NAMES:
                raise NotThisFormatError("there are too many arrays")
        if not spans:
            raise NotThisFormatError("there is no array in it")
        return Layout(self.name, source.size, tuple(spans))

    def values(self, source: Source) -> Mapping[str, str]:
        """The leaves that are no arrays, as short text.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        shown: dict[str, str] = {}
        for item in _walk(source):
            if item.token.kind not in ("map", "list", "end") and item.array is None:
                shown[item.name] = _shown(source, item.token)
                if len(shown) == _MAX_VALUES:
                    break
        return shown

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the other leaves of the old one. See `checkpoints.Format`."""
        top = _Node("list", children={"": _Node("map")}) if skeleton is None else _tree(skeleton)
        for name, values in groups.items():
            _put(top, name, values)
        if not top.children[""].is_wanted():
            raise PluginError("the one array that the file consists of cannot be taken out")
        yield from _emit(top.children[""])


@dataclass(frozen=True, slots=True)
class _Token:
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


@dataclass(frozen=True, slots=True)
class _Array:
    """What the header of an array says: dtype and shape of the group, and how Flax calls the dtype."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int
    flax_name: str


@dataclass(frozen=True, slots=True)
class _Item:
    """An object of the stream with its place in the tree. After the content of maps and lists comes an "end"."""

    token: _Token
    path: tuple[str, ...]
    stop: int
    array: _Array | None = None

    @property
    def name(self) -> str:
        """The name of the group, if it is one."""
        return tensors.join_name(self.path)


def _token(source: Source, position: int) -> _Token:
    """The object at a place, without its content."""
    tag = _read(source, position, 1)[0]
    body = position + 1
    if tag <= 0x7F or tag >= 0xE0:
        return _Token("number", position, body, tag if tag <= 0x7F else tag - 256)
    if tag <= 0xBF:
        kind, length = ("map", tag & 15) if tag <= 0x8F else ("list", tag & 15) if tag <= 0x9F else ("str", tag & 31)
        return _Token(kind, position, body, length)
    if tag in _NUMBERS:
        layout = struct.Struct(">" + _NUMBERS[tag])
        return _Token("number", position, body + layout.size, layout.unpack(_read(source, body, layout.size))[0])
    if tag in _SIZED or 0xD4 <= tag <= 0xD8:
        kind, size = _SIZED.get(tag, ("ext", 0))
        more = _read(source, body, size + (kind == "ext"))
        length = int.from_bytes(more[:size], "big") if size else 1 << (tag - 0xD4)
        return _Token(kind, position, body + len(more), length, int.from_bytes(more[size:], "big", signed=True))
    if tag not in _CONSTANTS:
        raise NotThisFormatError("a byte stands there that msgpack does not use")
    return _Token("number", position, body, _CONSTANTS[tag])


def _read(source: Source, start: int, count: int) -> bytes:
    if start + count > source.size:
        raise NotThisFormatError("it ends too early")
    return source.read(start, start + count)


def _text(source: Source, token: _Token) -> str:
    """A key or the name of a dtype."""
    if token.kind != "str" or token.length > _MAX_PATH:
        raise NotThisFormatError("a key is no string, or is too long")
    try:
        return _read(source, token.body, token.length).decode("utf-8")
    except UnicodeDecodeError:
        raise NotThisFormatError("a key is not UTF-8") from None


@dataclass(slots=True)
class _Frame:
    """A map or list that is being walked through."""

    token: _Token
    done: int = 0
    keys: set[str] = field(default_factory=set)


def _walk(source: Source, *, hollow: bool = False) -> Iterator[_Item]:
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
            yield _Item(_Token("end", position, position), tuple(path), position)
        if not stack:
            break
        path[-1], position = _next_key(source, stack[-1], position)
        keys += len(path[-1])
        if len(stack) > _MAX_DEPTH or sum(map(len, path)) > _MAX_PATH:
            raise NotThisFormatError("it is nested too deeply, or a path of keys is too long")
    if position != source.size:
        raise NotThisFormatError("something stands behind the end")


def _next_key(source: Source, frame: _Frame, position: int) -> tuple[str, int]:
    """The key of the next element of a map or list, and where the element begins."""
    frame.done += 1
    if frame.token.kind == "list":
        return str(frame.done - 1), position
    token = _token(source, position)
    key = _text(source, token)
    if key in frame.keys:
        raise NotThisFormatError(f"the key {key[:80]!r} is given twice")
    frame.keys.add(key)
    return key, token.body + token.length


def _item(source: Source, position: int, path: tuple[str, ...], *, hollow: bool) -> _Item:
    token = _token(source, position)
    if token.kind in ("number", "map", "list"):
        return _Item(token, path, token.body)
    array = None
    stop = token.body + token.length
    if token.kind == "ext" and token.code in (_NDARRAY, _SCALAR):
        array = _array(source, token.body)
        if array.start + array.nbytes != stop:
            raise NotThisFormatError("an array has another length than its header says")
        stop -= array.nbytes if hollow else 0
    if stop > source.size:
        raise NotThisFormatError("it ends too early")
    return _Item(token, path, stop, array)


def _array(source: Source, position: int) -> _Array:
    """The header of an array: a list of the shape, the name of the dtype and the values."""
    outer = _token(source, position)
    extents = _token(source, outer.body)
    if (outer.kind, outer.value, extents.kind) != ("list", 3, "list") or extents.length > tensors.MAX_RANK:
        raise NotThisFormatError("an array has another header than Flax gives it")
    shape = []
    position = extents.body
    for _ in range(extents.length):
        extent = _token(source, position)
        if extent.kind != "number" or type(extent.value) is not int:
            raise NotThisFormatError("a shape has something else than numbers")
        shape.append(extent.value)
        position = extent.body
    name = _token(source, position)
    flax_name = _text(source, name)
    data = _token(source, name.body + name.length)
    if data.kind != "bin":
        raise NotThisFormatError("the values of an array are no bytes")
    dtype, group_shape = _group(flax_name, tuple(shape))
    try:
        nbytes = tensors.nbytes(dtype, group_shape)
    except ValueError as error:
        raise NotThisFormatError(f"an array is malformed: {error}") from None
    if nbytes != data.length:
        raise NotThisFormatError("an array has another number of values than its shape says")
    return _Array(dtype, group_shape, data.body, nbytes, flax_name)


def _group(flax_name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape of the group for an array of Flax."""
    if flax_name in _UNPACKED:
        return "uint8", shape
    if (kind := flax_name.partition("[")[0]) in _RAW:
        return "uint8", (*shape, _RAW[kind])
    if tensors.BLOCKS.get(flax_name, (0, 0))[0] != 1:
        raise NotThisFormatError(f"the dtype {flax_name[:40]!r} is not known")
    return flax_name, shape


def _shown(source: Source, token: _Token) -> str:
    """A leaf as short text."""
    if token.kind == "number":
        return str(token.value)
    # Flax writes a native complex number as a list of two doubles.
    if (token.kind, token.code, token.length) == ("ext", _COMPLEX, 19):
        real, imaginary = struct.unpack(">2xdxd", source.read(token.body, token.body + token.length))
        return str(complex(real, imaginary))
    if token.kind != "str":
        return f"{token.length} bytes"
    short = reprlib.Repr()
    short.maxstring = _MAX_TEXT
    # Some bytes more than are shown, so that it can be seen that text is left out.
    text = source.read(token.body, token.body + min(token.length, 5 * _MAX_TEXT))
    return short.repr(text.decode("utf-8", "replace"))


@dataclass(slots=True)
class _Node:
    """A part of the tree to be written: a "map", "list", "leaf" or "array".

    Raw are the bytes of a leaf, or of an array up to its values (data; elements is their number). An array of the
    skeleton (old) without values is no more wanted. The code is the extension type that an array has.
    """

    kind: str
    raw: bytes = b""
    children: dict[str, _Node] = field(default_factory=dict)
    old: _Array | None = None
    code: int = _NDARRAY
    data: bytes | memoryview | None = None
    elements: int = 0

    def is_wanted(self) -> bool:
        """Whether it belongs into the new file: maps that have lost all they held do not."""
        if self.kind == "array":
            return self.data is not None
        if _MARK in self.children and "chunks" in self.children:
            return self.children["chunks"].is_wanted()
        return not self.children or any(child.is_wanted() for child in self.children.values())

    def has_values(self) -> bool:
        """Whether a group has been put here or below."""
        return self.data is not None or any(child.has_values() for child in self.children.values())


def _tree(skeleton: bytes) -> _Node:
    """The tree of an old file, whose arrays are without values, as the only child of a node."""
    stack = [_Node("list")]
    for item in _walk(BytesSource(skeleton), hollow=True):
        token = item.token
        if token.kind == "end":
            stack.pop()
            continue
        node = _Node(token.kind if token.kind in ("map", "list") else "leaf", skeleton[token.start : item.stop])
        if item.array is not None:
            node = _Node("array", old=item.array, code=token.code)
        stack[-1].children[item.path[-1] if item.path else ""] = node
        if node.kind in ("map", "list"):
            stack.append(node)
    return stack[0]


def _put(top: _Node, name: str, values: Values) -> None:
    """Put a group into the tree, in the place of whatever of the old file stands there."""
    path = () if top.children[""].kind == "array" and not name else tensors.split_name(name)
    if len(path) > _MAX_DEPTH:
        raise PluginError(f"{name[:80]!r} has a longer path than the flax format takes")
    node = top.children[""]
    for step in path:
        if node.data is not None:
            raise PluginError(f"{name[:80]!r} would lie inside of another group")
        if node.kind not in ("map", "list"):
            node.kind = "map"
        node = node.children.setdefault(step, _Node("map"))
    if node.has_values():
        raise PluginError(f"another group would lie inside of {name[:80]!r}")
    flax_name, shape = _ungroup(node.old, values)
    node.children = {}
    if len(values.data) <= MAX_CHUNK_SIZE:
        _fill(node, flax_name, shape, values.data)
        return
    size = len(values.data) // math.prod(shape)
    step_bytes = max(1, MAX_CHUNK_SIZE // size) * size
    extents = {str(number): _Node("leaf", msgpack.packb(extent)) for number, extent in enumerate(shape)}
    chunks = {}
    for number, start in enumerate(range(0, len(values.data), step_bytes)):
        chunk = values.data[start : start + step_bytes]
        chunks[str(number)] = _Node("array")
        _fill(chunks[str(number)], flax_name, (len(chunk) // size,), chunk)
    mark = _Node("leaf", msgpack.packb(True))
    node.kind = "map"
    node.children = {_MARK: mark, "shape": _Node("map", children=extents), "chunks": _Node("map", children=chunks)}


def _ungroup(old: _Array | None, values: Values) -> tuple[str, tuple[int, ...]]:
    """Flax's dtype and shape for a group: what `_group` does, undone where the old file says that it was done."""
    if old is not None and values.dtype == "uint8":
        if old.flax_name in _UNPACKED:
            return old.flax_name, values.shape
        size = _RAW.get(old.flax_name.partition("[")[0])
        if size is not None and values.shape[-1:] == (size,):
            return old.flax_name, values.shape[:-1]
    if tensors.BLOCKS[values.dtype][0] != 1:
        raise PluginError(f"flax has no dtype {values.dtype}")
    return values.dtype, values.shape


def _fill(node: _Node, flax_name: str, shape: tuple[int, ...], data: bytes | memoryview) -> None:
    """Make the node an array; its code, which tells NumPy's scalars from its arrays, stays."""
    node.kind, node.data, node.elements = "array", data, math.prod(shape)
    payload = b"\x93" + msgpack.packb(shape) + msgpack.packb(flax_name) + _sized((0xC4, 0xC5, 0xC6), len(data))
    total = len(payload) + len(data)
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(total)
    tag = bytes([fixed]) if fixed else _sized((0xC7, 0xC8, 0xC9), total)
    node.raw = tag + bytes([node.code]) + payload


def _sized(tags: tuple[int, int, int], length: int) -> bytes:
    """The first of the tags that has room for a length, and the length."""
    size = 0 if length < 1 << 8 else 1 if length < 1 << 16 else 2
    return struct.pack(">B" + "BHI"[size], tags[size], length)


def _emit(node: _Node) -> Iterator[bytes]:
    """The bytes of a part of the tree; it is never deeper than Python can recurse."""
    if node.kind in ("leaf", "array"):
        yield node.raw
        if node.data is not None:
            yield bytes(node.data)
        return
    wanted = {key: child for key, child in node.children.items() if child.is_wanted()}
    if _MARK in wanted:
        _check_chunks(wanted)
    packer = msgpack.Packer()
    if node.kind == "list":
        if list(wanted) != [str(number) for number in range(len(wanted))]:
            raise PluginError("a list in the checkpoint would have gaps")
        yield packer.pack_array_header(len(wanted))
    else:
        yield packer.pack_map_header(len(wanted))
    for key, child in wanted.items():
        if node.kind == "map":
            yield packer.pack(key)
        yield from _emit(child)


def _check_chunks(wanted: dict[str, _Node]) -> None:
    """Refuse an array whose chunks are not what its shape says, as Flax could not load it."""
    extents = wanted["shape"].children.values() if "shape" in wanted else ()
    chunks = wanted["chunks"].children if "chunks" in wanted else {}
    present = {key: chunk.elements for key, chunk in chunks.items() if chunk.data is not None}
    shape: list[Any] = [msgpack.unpackb(extent.raw) if extent.kind == "leaf" else None for extent in extents]
    is_whole = all(type(extent) is int for extent in shape) and math.prod(shape) == sum(present.values())
    if not is_whole or list(present) != [str(number) for number in range(len(present))]:
        raise PluginError("the chunks of an array are not what its shape says")
