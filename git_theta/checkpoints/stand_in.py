"""The stand-in for a file that is kept by value: its groups laid end to end, then what else makes the nested dict.

The groups are in the order of their paths, so that the same values always have the same stand-in. Arrays whose dtype
has no name in `tensors.BLOCKS`, or another size there, are groups of raw bytes with one extent more. Their dtypes and
the dicts that hold nothing are the skeleton, as JSON; it has no bytes where there are neither.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.checkpoints.by_value import MARK
from git_theta.errors import PluginError
from git_theta.layout import Layout, Span

_MAX_DEPTH: Final = 64
_UNPACKED: Final = ("int2", "uint2", "int4", "uint4", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")
"""Dtypes of ml_dtypes in which each element has a byte to itself."""

_RAW: Final = re.compile(r"[<|](?:[SUV][1-9][0-9]{0,8}|[Mm]8(?:\[[0-9]{0,9}[A-Za-z]{1,2}\])?)", re.ASCII)
_SHOWN: Final = 80

Path = tuple[str, ...]
Array = npt.NDArray[Any]


class StandIn:
    """The stand-in of a checkpoint, as a source.

    Attributes:
        layout: where the groups lie in it.
        size: number of bytes.
    """

    def __init__(self, plugin: str, checkpoint: object) -> None:
        """Lay out the groups of a nested dict.

        Raises:
            PluginError: it is something else than nested dicts with string keys and arrays.
        """
        spans, dtypes, empty, self._parts = [], {}, [], list[memoryview]()
        position = 0
        for path, value in sorted(_leaves(checkpoint), key=lambda leaf: leaf[0]):
            name = tensors.join_name(path)
            if value is None:
                empty.append(name)
                continue
            span, data, raw = _group(name, value, position)
            if raw:
                dtypes[name] = raw
            spans.append(span)
            self._parts.append(data)
            position = span.stop
        if not spans:
            raise PluginError("there is no array in the checkpoint")
        self._parts.append(memoryview(make_skeleton(dtypes, empty)))
        self._starts = [*(span.start for span in spans), position]
        self.size = position + len(self._parts[-1])
        self.layout = Layout(MARK + plugin, self.size, tuple(spans))

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to stop."""
        found = []
        index = max(0, bisect.bisect_right(self._starts, start) - 1)
        while index < len(self._parts) and self._starts[index] < stop:
            begin = self._starts[index]
            found.append(self._parts[index][max(0, start - begin) : stop - begin])
            index += 1
        return b"".join(found)


def nested(spans: Sequence[Span], values: Sequence[bytearray], skeleton: bytes) -> dict[str, Any]:
    """The nested dict that a stand-in was made from.

    Args:
        spans: of the layout.
        values: the bytes of each; the arrays use them.
        skeleton: of the stand-in.

    Raises:
        PluginError: no nested dict has such groups.
    """
    dtypes, empty = parse_skeleton(skeleton)
    top: dict[str, Any] = {}
    for span, data in zip(spans, values, strict=True):
        _put(top, span.name, _array(span, data, dtypes.get(span.name)))
    for name in empty:
        _put(top, name, {})
    return top


def _leaves(checkpoint: object) -> Iterator[tuple[Path, Array | None]]:
    """The arrays by path; None for a dict that holds nothing."""
    waiting: list[tuple[Path, object]] = [((), checkpoint)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            if path and not value:
                yield path, None
            if len(path) >= _MAX_DEPTH:
                raise PluginError("the checkpoint is nested too deeply")
            waiting += (((*path, _key(key)), member) for key, member in value.items())
        elif path and (type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic)):
            yield path, np.asarray(value, order="C")
        else:
            place = f"{tensors.join_name(path)[:_SHOWN]!r} in the checkpoint" if path else "the checkpoint"
            raise PluginError(f"{place} is a {type(value).__name__}, and not a dict or a NumPy array")


def _key(key: object) -> str:
    if not isinstance(key, str) or key != key.encode("utf-8", "replace").decode():
        raise PluginError(f"the checkpoint has the key {repr(key)[:_SHOWN]}, which is no text")
    return str(key)


def _group(name: str, value: Array, position: int) -> tuple[Span, memoryview, str | None]:
    """The group of an array, its bytes, and (where the group is of raw bytes) what the dtype is really."""
    array = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
    dtype, shape, raw = array.dtype.name, array.shape, None
    if tensors.BLOCKS.get(dtype) != (1, array.dtype.itemsize):
        raw = dtype if dtype in _UNPACKED else array.dtype.str
        if dtype not in _UNPACKED and (array.dtype.fields or array.dtype.subdtype or not _RAW.fullmatch(raw)):
            raise PluginError(f"the array {name[:_SHOWN]!r} has the dtype {dtype[:_SHOWN]}, which cannot be kept")
        dtype, shape = "uint8", (*shape, array.dtype.itemsize)
    return Span(name, dtype, shape, position), array.reshape(-1).view(np.uint8).data, raw


def _array(span: Span, data: bytearray, raw: str | None) -> Array:
    # Imported for its effect: NumPy knows the dtypes by name from then on.
    import ml_dtypes

    shape = span.shape
    dtype = np.dtype(getattr(ml_dtypes, span.dtype, span.dtype) if tensors.BLOCKS[span.dtype][0] == 1 else "V0")
    if raw is not None:
        dtype, shape = np.dtype(getattr(ml_dtypes, raw, raw)), span.shape[:-1]
        if span.dtype != "uint8" or span.shape[-1:] != (dtype.itemsize,):
            raise PluginError(f"the group {span.name[:_SHOWN]!r} is not one of {raw}")
    if not dtype.itemsize:
        raise PluginError(f"NumPy has no dtype {span.dtype}")
    return np.frombuffer(data, dtype).reshape(shape)


def _put(top: dict[str, Any], name: str, value: Array | dict[str, Any]) -> None:
    *path, last = tensors.split_name(name)
    place = top
    for key in path:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise PluginError(f"the group {name[:_SHOWN]!r} would lie inside of another one")
    if isinstance(value, dict) and isinstance(place.get(last), dict):
        return  # A merge gave it a content.
    if last in place:
        raise PluginError(f"another group would lie inside of {name[:_SHOWN]!r}")
    place[last] = value


def make_skeleton(dtypes: Mapping[str, str], empty: Sequence[str]) -> bytes:
    """The skeleton of a stand-in.

    Args:
        dtypes: what groups of raw bytes are really, by name.
        empty: names of the dicts that hold nothing.
    """
    if not dtypes and not empty:
        return b""
    return json.dumps({"dtypes": dtypes, "empty": empty}, separators=(",", ":")).encode("ascii")


def parse_skeleton(data: bytes) -> tuple[Mapping[str, str], Sequence[str]]:
    """What `make_skeleton` made it from.

    Raises:
        PluginError: it is malformed.
    """
    if not data:
        return {}, ()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    match found:
        case {"dtypes": dict(dtypes), "empty": list(empty)}:
            if all(isinstance(name, str) for name in empty) and all(map(_is_raw, dtypes.values())):
                return dtypes, empty
    raise PluginError("the skeleton of the stand-in is malformed")


def _is_raw(label: object) -> bool:
    return isinstance(label, str) and (label in _UNPACKED or _RAW.fullmatch(label) is not None)
