"""Writes Flax's msgpack streams: a tree of maps, lists, leaves and arrays, kept from an old file where there is one."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.flax_reader import MAX_DEPTH, NDARRAY, RAW, UNPACKED, Array, walk
from git_theta.checkpoints.texts import place_like
from git_theta.errors import PluginError
from git_theta.sources import BytesSource

MAX_CHUNK_SIZE: Final = 1 << 30
"""Arrays of more bytes are written in chunks, as Flax does: msgpack has no larger leaves than 4 GiB."""

MARK: Final = "__msgpack_chunked_array__"


def write(
    groups: Mapping[str, Values], skeleton: bytes | None, donors: Mapping[str, bytes] | None = None
) -> Iterator[bytes]:
    """The bytes of a new file; see `checkpoints.Format`, and `checkpoints.Mixing` for the donors."""
    top = _Node("list", children={"": _Node("map")}) if skeleton is None else _tree(skeleton)
    _mix(top.children[""], donors or {})
    for name, values in groups.items():
        _put(top, name, values)
    whole = top.children[""]
    if whole.kind == "array" and whole.data is None:
        raise PluginError("the one array that a flax file consists of cannot be taken out")
    yield from _emit(whole)


@dataclass(slots=True)
class _Node:
    """A part of the tree to be written: a "map", "list", "leaf" or "array".

    Raw are the bytes of a leaf, or of an array up to its values (data; elements is their number). An array of the
    skeleton (old) without values is no more wanted. The code is the extension type that an array has.
    """

    kind: str
    raw: bytes = b""
    children: dict[str, _Node] = field(default_factory=dict)
    old: Array | None = None
    code: int = NDARRAY
    data: bytes | memoryview | None = None
    elements: int = 0

    def is_wanted(self) -> bool:
        """Whether it belongs into the new file: maps that have lost all they held do not."""
        if self.kind == "array":
            return self.data is not None
        if MARK in self.children and "chunks" in self.children:
            return self.children["chunks"].is_wanted()
        return not self.children or any(child.is_wanted() for child in self.children.values())

    def has_values(self) -> bool:
        """Whether a group has been put here or below."""
        return self.data is not None or any(child.has_values() for child in self.children.values())


def _tree(skeleton: bytes) -> _Node:
    """The tree of an old file, whose arrays are without values, as the only child of a node."""
    stack = [_Node("list")]
    for item in walk(BytesSource(skeleton), hollow=True):
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


def _mix(top: _Node, donors: Mapping[str, bytes]) -> None:
    """Take leaves from other files."""
    trees = {donor: _tree(donor).children[""] for donor in set(donors.values())}
    for name, donor in donors.items():
        *path, key = tensors.split_name(name)
        place, found = _at(top, path), _at(trees[donor], [*path, key])
        is_leaf = found is None or found.kind == "leaf"
        if place is None or not is_leaf or (place.kind != "map" and (found is None or key not in place.children)):
            raise PluginError(f"there is no place in the flax file for {name[:80]!r} alone")
        if found is None:
            place.children.pop(key, None)
        elif key in place.children:
            place.children[key] = found
        else:
            children = list(place.children.items())
            donor_keys = list((_at(trees[donor], path) or place).children)
            children.insert(place_like(key, list(place.children), donor_keys), (key, found))
            place.children = dict(children)


def _at(top: _Node, path: Sequence[str]) -> _Node | None:
    node: _Node | None = top
    for step in path:
        node = None if node is None else node.children.get(step)
    return node


def _put(top: _Node, name: str, values: Values) -> None:
    """Put a group into the tree, in the place of whatever of the old file stands there."""
    path = () if top.children[""].kind == "array" and not name else tensors.split_name(name)
    if len(path) > MAX_DEPTH:
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
    node.children = {MARK: mark, "shape": _Node("map", children=extents), "chunks": _Node("map", children=chunks)}


def _ungroup(old: Array | None, values: Values) -> tuple[str, tuple[int, ...]]:
    """Flax's dtype and shape for a group: what `_group` does, undone where the old file says that it was done."""
    if old is not None and values.dtype == "uint8":
        if old.flax_name in UNPACKED:
            return old.flax_name, values.shape
        size = RAW.get(old.flax_name.partition("[")[0])
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
    if MARK in wanted:
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
