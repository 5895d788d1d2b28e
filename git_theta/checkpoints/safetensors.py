"""The safetensors format: eight bytes of header length, a JSON header, then the values without gaps.

Written after the specification in the README of huggingface/safetensors and checked against the library, release 0.8.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.texts import MAX_PAIRS, quoted
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import Source

_LENGTH: Final = 8
_MAX_HEADER: Final = 100_000_000
_ALIGNMENT: Final = 8
_MAX_DEPTH: Final = 127
"""What the library's JSON parser (serde_json) takes."""

_BRACKET: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]')
_METADATA: Final = "__metadata__"
_EMPTY: Final = "{}"
_KNOWN: Final = ("dtype", "shape", "data_offsets")
_DTYPES: Final = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
_NAMES: Final = {ours: theirs for theirs, ours in _DTYPES.items()}


class Safetensors:
    """The safetensors format."""

    name = "safetensors"
    extensions = (".safetensors",)

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`."""
        begin = _LENGTH + _header_length(source)
        header = _parse_header(source.read(_LENGTH, begin))
        spans = [_span(name, info, begin) for name, info in header.items() if name != _METADATA]
        spans.sort(key=lambda span: (span.start, span.stop))
        position = begin
        for span in spans:
            if span.start != position:
                raise NotThisFormatError(f"there is a gap or an overlap before {span.name!r}")
            position = span.stop
        if position != source.size:
            raise NotThisFormatError(f"{source.size} bytes, but its header describes {position}")
        return Layout(self.name, source.size, tuple(spans))

    def values(self, source: Source) -> Mapping[str, str]:
        """What is in the `__metadata__`, and whether there is an empty one; see `checkpoints.Format`."""
        header = _parse_header(source.read(_LENGTH, _LENGTH + _header_length(source)))
        pairs = itertools.islice(header.get(_METADATA, {}).items(), MAX_PAIRS)
        if header.get(_METADATA) == {}:
            return {_METADATA: _EMPTY}
        return {tensors.join_name([_METADATA, key]): quoted(text) for key, text in pairs}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the `__metadata__` of the old one. See `checkpoints.Format`.

        Raises:
            PluginError: the format has no such dtype, or the old header says more of a tensor than the format knows.
        """
        return self._write(groups, None if skeleton is None else _comments(skeleton))

    def write_mixed(
        self, groups: Mapping[str, Values], skeleton: bytes, donors: Mapping[str, bytes]
    ) -> Iterator[bytes]:
        """The bytes of a new file with a `__metadata__` from several old ones; see `checkpoints.Mixing`."""
        others = {donor: _comments(donor) for donor in {skeleton, *donors.values()}}
        comments = dict(others[skeleton] or {})
        is_there = others[donors.get(_METADATA, skeleton)] == {}
        for name, donor in donors.items():
            _, *keys = tensors.split_name(name)
            for key in keys:
                found = (others[donor] or {}).get(key)
                if found is None:
                    comments.pop(key, None)
                else:
                    comments[key] = found
        return self._write(groups, comments if comments or is_there else None)

    def _write(self, groups: Mapping[str, Values], comments: Mapping[str, str] | None) -> Iterator[bytes]:
        # The library writes them in any order.
        header: dict[str, object] = {} if comments is None else {_METADATA: dict(sorted(comments.items()))}
        # As the library lays them out: the largest elements first, so that all of them are aligned.
        for values in groups.values():
            if values.dtype not in _NAMES:
                raise PluginError(f"safetensors has no dtype {values.dtype}")
        ordered = sorted(groups.items(), key=lambda item: -_element_bytes(item[1].dtype))
        position = 0
        for name, values in ordered:
            stop = position + len(values.data)
            header["/".join(tensors.split_name(name))] = {
                "dtype": _NAMES[values.dtype],
                "shape": list(values.shape),
                "data_offsets": [position, stop],
            }
            position = stop
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        yield len(text).to_bytes(_LENGTH, "little") + text
        for _, values in ordered:
            yield bytes(values.data)


def _comments(skeleton: bytes) -> dict[str, str] | None:
    """The `__metadata__` of a file, if it has one.

    Raises:
        PluginError: its header says more besides, which would be lost.
    """
    header = _parse_header(skeleton[_LENGTH:])
    found: dict[str, str] | None = header.pop(_METADATA, None)
    for name, info in header.items():
        more = next((key for key in info if key not in _KNOWN), None) if isinstance(info, dict) else None
        if more is not None:
            raise PluginError(f"a header that says {more[:80]!r} of {name[:80]!r} cannot be written anew")
    return found


def _element_bytes(dtype: str) -> float:
    """Bytes of one element, of which less than one is a fraction."""
    elements, size = tensors.BLOCKS[dtype]
    return size / elements


def _header_length(source: Source) -> int:
    if source.size < _LENGTH:
        raise NotThisFormatError("shorter than a header")
    length = int.from_bytes(source.read(0, _LENGTH), "little")
    if length > _MAX_HEADER:
        raise NotThisFormatError("the header would be larger than the format allows")
    if length > source.size - _LENGTH:
        raise NotThisFormatError("the header reaches past the end of the file")
    if not length or source.read(_LENGTH, _LENGTH + 1) != b"{":
        raise NotThisFormatError("the header is not a JSON object")
    return length


def _parse_header(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
        header = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse,
            parse_int=_integer,
            parse_float=_real,
        )
        if "\\u" in text:
            json.dumps(header, ensure_ascii=False).encode("utf-8")
        if _depth(text) > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
    except UnicodeError:
        raise NotThisFormatError("the header is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise NotThisFormatError(f"the header is malformed: {error}") from None
    if not isinstance(header, dict):
        raise NotThisFormatError("the header is not a JSON object")
    comments = header.get(_METADATA, {})
    if not isinstance(comments, dict) or not all(isinstance(value, str) for value in comments.values()):
        raise NotThisFormatError("__metadata__ is not a map of strings")
    return header


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _integer(digits: str) -> int | float:
    return int(digits) if digits != "-0" else -0.0


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _depth(text: str) -> int:
    """How deep the brackets are nested, those in strings passed over."""
    depth = deepest = 0
    for found in _BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "]}":
            depth -= 1
    return deepest


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _span(name: str, info: object, begin: int) -> Span:
    match info:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop]} if dtype in _DTYPES:
            pass
        case _:
            raise NotThisFormatError(f"the header describes {name[:80]!r} in a way that is not known")
    if any(type(number) is not int or not 0 <= number < 2**63 for number in (start, stop, *shape)):
        raise NotThisFormatError(f"{name[:80]!r} has a number that is out of range")
    try:
        name.encode("utf-8")
        nbytes = tensors.nbytes(_DTYPES[dtype], tuple(shape))
    except ValueError as error:
        raise NotThisFormatError(f"{name[:80]!r} is malformed: {error}") from None
    if math.prod(filter(None, shape)) >= 2**64:
        raise NotThisFormatError(f"{name[:80]!r} has an impossible shape")
    if stop - start != nbytes:
        raise NotThisFormatError(f"{name[:80]!r} has {stop - start} bytes, but its shape needs {nbytes}")
    return Span(tensors.join_name([name]), _DTYPES[dtype], tuple(shape), begin + start)
