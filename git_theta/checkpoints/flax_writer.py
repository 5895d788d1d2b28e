"""Writes Flax's msgpack streams: a tree of maps, lists, leaves and arrays, kept from an old file where there is one."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgpack

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.flax_mixing import mix
from git_theta.checkpoints.flax_reader import MAX_DEPTH, RAW, UNPACKED, Array
from git_theta.checkpoints.flax_tree import CHUNKS, MARK, SHAPE, Node, tree
from git_theta.errors import PluginError

MAX_CHUNK_SIZE: Final = 1 << 30
"""Arrays of more bytes are written in chunks, as Flax does: msgpack has no larger leaves than 4 GiB."""


def write(groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
    """The bytes of a new file; see `checkpoints.Format`."""
    top = Node("map") if skeleton is None else tree(skeleton)
    whole = Node("list", children={"": top})
    for name, values in groups.items():
        _put(whole, name, values)
    return _emitted(whole.children[""])


def write_grafted(
    groups: Mapping[str, Values], skeleton: bytes, donors: Mapping[str, bytes], homes: Mapping[str, bytes]
) -> Iterator[bytes]:
    """The bytes of a new file, of which all that is no group is told; see `checkpoints.Grafting`."""
    whole = Node("list", children={"": tree(skeleton)})
    mix(whole.children[""], donors, homes)
    for name, values in groups.items():
        _put(whole, name, values, is_strict=True)
    return _emitted(whole.children[""])


def _emitted(whole: Node) -> Iterator[bytes]:
    if whole.kind == "array" and whole.data is None:
        raise PluginError("the one array that a flax file consists of cannot be taken out")
    return _emit(whole)


def _put(top: Node, name: str, values: Values, *, is_strict: bool = False) -> None:
    """Put a group into the tree, in the place of whatever of the old file stands there; an array, if that is strict."""
    path = () if top.children[""].kind == "array" and not name else tensors.split_name(name)
    if len(path) > MAX_DEPTH:
        raise PluginError(f"{name[:80]!r} has a longer path than the flax format takes")
    node = top.children[""]
    found = node.at(path)
    if is_strict and (found is None or found.kind != "array"):
        raise PluginError(f"there is no place in the flax file for {name[:80]!r}")
    for step in path:
        if node.data is not None:
            raise PluginError(f"{name[:80]!r} would lie inside of another group")
        if node.kind not in ("map", "list"):
            node.kind = "map"
        node = node.children.setdefault(step, Node("map"))
    if node.has_values():
        raise PluginError(f"another group would lie inside of {name[:80]!r}")
    flax_name, shape = _ungroup(node.old, values)
    node.children = {}
    if len(values.data) <= MAX_CHUNK_SIZE:
        _fill(node, flax_name, shape, values.data)
        return
    size = len(values.data) // math.prod(shape)
    step_bytes = max(1, MAX_CHUNK_SIZE // size) * size
    extents = {str(number): Node("leaf", msgpack.packb(extent)) for number, extent in enumerate(shape)}
    chunks = {}
    for number, start in enumerate(range(0, len(values.data), step_bytes)):
        chunk = values.data[start : start + step_bytes]
        chunks[str(number)] = Node("array")
        _fill(chunks[str(number)], flax_name, (len(chunk) // size,), chunk)
    mark = Node("leaf", msgpack.packb(True))
    node.kind = "map"
    node.children = {MARK: mark, SHAPE: Node("map", children=extents), CHUNKS: Node("map", children=chunks)}


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


def _fill(node: Node, flax_name: str, shape: tuple[int, ...], data: bytes | memoryview) -> None:
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


def _emit(node: Node) -> Iterator[bytes]:
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


def _check_chunks(wanted: dict[str, Node]) -> None:
    """Refuse an array whose chunks are not what its shape says, as Flax could not load it."""
    extents = wanted[SHAPE].children.values() if SHAPE in wanted else ()
    chunks = wanted[CHUNKS].children if CHUNKS in wanted else {}
    present = {key: chunk.elements for key, chunk in chunks.items() if chunk.data is not None}
    shape: list[Any] = [msgpack.unpackb(extent.raw) if extent.kind == "leaf" else None for extent in extents]
    is_whole = all(type(extent) is int for extent in shape) and math.prod(shape) == sum(present.values())
    if not is_whole or list(present) != [str(number) for number in range(len(present))]:
        raise PluginError("the chunks of an array are not what its shape says")
