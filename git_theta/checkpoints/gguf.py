"""The GGUF format, versions 2 and 3, little-endian: key-value pairs, a list of tensors, then their aligned values.

Written after docs/gguf.md of ggml-org/ggml and checked against the gguf package, release 0.19. Quantized tensors are
groups of GGML's blocks, bytes and all, under the type's own name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.texts import (
    MAX_PAIRS,
    MAX_TEXT,
    SHOWN_BYTES,
    digest_of,
    ordered_like,
    place_like,
    quoted_beginning,
    with_digest,
)
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, Source

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT_KEY: Final = "general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_UINT32: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    _UINT32: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
"""The types of values that have one size, as NumPy calls them."""

_TYPES: Final = {
    0: "float32",
    1: "float16",
    2: "q4_0",
    3: "q4_1",
    6: "q5_0",
    7: "q5_1",
    8: "q8_0",
    9: "q8_1",
    10: "q2_k",
    11: "q3_k",
    12: "q4_k",
    13: "q5_k",
    14: "q6_k",
    15: "q8_k",
    16: "iq2_xxs",
    17: "iq2_xs",
    18: "iq3_xxs",
    19: "iq1_s",
    20: "iq4_nl",
    21: "iq3_s",
    22: "iq2_s",
    23: "iq4_xs",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    29: "iq1_m",
    30: "bfloat16",
    34: "tq1_0",
    35: "tq2_0",
    39: "mxfp4",
    40: "nvfp4",
    41: "q1_0",
}
_NUMBERS: Final = {ours: theirs for theirs, ours in _TYPES.items()}

_MAX_SKELETON: Final = 100_000_000
"""As the header of safetensors; vocabularies take a few megabytes."""

_MAX_TENSORS: Final = 100_000
_MAX_NAME: Final = 65_535
_MAX_NAMES: Final = 16_000_000
_MAX_RANK: Final = 8
_MAX_DEPTH: Final = 8
_MAX_STRINGS: Final = 4_000_000
_MAX_ARRAYS: Final = 10_000
"""In arrays. Nobody is known to nest them at all."""

_WINDOW: Final = 1 << 16
_SHOWN_ITEMS: Final = 8


class Gguf:
    """The GGUF format."""

    name = "gguf"
    extensions = (".gguf",)

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`."""
        cursor = _Cursor(source)
        head = _Head(cursor)
        spans = list(_tensors(cursor, head))
        begin = cursor.position + -cursor.position % head.alignment
        placed = [Span(span.name, span.dtype, span.shape, begin + span.start) for span in spans]
        placed.sort(key=lambda span: (span.start, span.stop))
        try:
            layout = Layout(self.name, source.size, tuple(placed))
        except ValueError as error:
            raise NotThisFormatError(str(error)[:200]) from None
        if source.size - sum(span.nbytes for span in placed) > _MAX_SKELETON:
            raise NotThisFormatError("too much lies outside of the tensors")
        return layout

    def values(self, source: Source) -> Mapping[str, str]:
        """The key-value pairs, as short text.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        head = _Head(_Cursor(source))
        shown = dict(head.pairs)
        for key in shown.keys() & head.cut:
            shown[key] = with_digest(shown[key], digest_of(source, *head.places[key]))
        return {tensors.join_name([key]): text for key, text in shown.items()}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the key-value pairs of the old one. See `checkpoints.Format`.

        Raises:
            PluginError: a group cannot be written, or the old file has bytes around its tensors that say something.
        """
        if skeleton is None:
            return _written(groups, _VERSIONS[-1], _DEFAULT_ALIGNMENT, [])
        head = _head_of(skeleton)
        pairs = [skeleton[start:stop] for start, stop in head.places.values()]
        return _written(groups, head.version, head.alignment, pairs)

    def write_mixed(
        self, groups: Mapping[str, Values], skeleton: bytes, donors: Mapping[str, bytes]
    ) -> Iterator[bytes]:
        """The bytes of a new file with key-value pairs from several old ones; see `checkpoints.Mixing`."""
        head = _head_of(skeleton)
        alignment = head.alignment
        heads = {donor: _Head(_Cursor(BytesSource(donor))) for donor in set(donors.values())}
        pairs = {tensors.join_name([key]): skeleton[start:stop] for key, (start, stop) in head.places.items()}
        for name, donor in donors.items():
            (key,) = tensors.split_name(name)
            if key == _ALIGNMENT_KEY:
                alignment = heads[donor].alignment
            place = heads[donor].places.get(key)
            if place is None:
                pairs.pop(name, None)
            elif name in pairs:
                pairs[name] = donor[slice(*place)]
            else:
                items = list(pairs.items())
                donor_names = [tensors.join_name([other]) for other in heads[donor].places]
                items.insert(place_like(name, list(pairs), donor_names), (name, donor[slice(*place)]))
                pairs = dict(items)
        return _written(groups, head.version, alignment, list(pairs.values()))

    def write_ordered(self, groups: Mapping[str, Values], skeleton: bytes, models: Sequence[bytes]) -> Iterator[bytes]:
        """The bytes of a new file with its keys in the order of others; see `checkpoints.Ordered`."""
        head = _head_of(skeleton)
        keys = list(head.places)
        for model in models:
            keys = ordered_like(keys, list(_Head(_Cursor(BytesSource(model))).places))
        pairs = [skeleton[slice(*head.places[key])] for key in keys]
        return _written(groups, head.version, head.alignment, pairs)


def _written(groups: Mapping[str, Values], version: int, alignment: int, pairs: Sequence[bytes]) -> Iterator[bytes]:
    """The bytes of a file with these key-value pairs."""
    infos = b""
    position = 0
    for key, values in _by_key(groups).items():
        infos += _tensor_info(key, values, position)
        position += len(values.data) + -len(values.data) % alignment
    header = struct.pack("<4sIQQ", _MAGIC, version, len(groups), len(pairs)) + b"".join(pairs) + infos
    yield header + bytes(-len(header) % alignment)
    for values in groups.values():
        yield bytes(values.data)
        yield bytes(-len(values.data) % alignment)


class _Cursor:
    """Reads the front part of a file from first to last, through a window: it consists of very many small pieces."""

    def __init__(self, source: Source) -> None:
        self.position = 0
        self._source = source
        self._start = 0
        self._window = b""

    def take(self, count: int) -> bytes:
        """The next bytes; not many."""
        begin = self.position - self._start
        if begin + count > len(self._window):
            self._check(count)
            self._start = self.position
            stop = min(self._source.size, self._start + max(count, _WINDOW))
            self._window = self._source.read(self._start, stop)
            begin = 0
        self.position += count
        return self._window[begin : begin + count]

    def skip(self, count: int) -> None:
        """Pass over bytes, however many."""
        self._check(count)
        self.position += count

    def u32(self) -> int:
        """The next 4 bytes as a number."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """The next 8 bytes as a number."""
        return int.from_bytes(self.take(8), "little")

    def name(self) -> str:
        """The next string, which is a key or a tensor's name."""
        length = self.u64()
        if length > _MAX_NAME:
            raise NotThisFormatError("a name is too long")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise NotThisFormatError("a name is not UTF-8") from None

    def _check(self, count: int) -> None:
        if self.position + count > self._source.size:
            raise NotThisFormatError("the header reaches past the end of the file")


class _Head:
    """The front of a file up to the list of tensors, where the cursor is left.

    Attributes:
        version: of the format.
        count: number of tensors.
        pairs: text to show for each key.
        cut: keys of which the text does not say all.
        places: start and stop of each pair in the file, by key.
        alignment: of the tensors' values.
    """

    def __init__(self, cursor: _Cursor) -> None:
        if cursor.take(4) != _MAGIC:
            raise NotThisFormatError("it does not begin with GGUF")
        self.version = cursor.u32()
        if self.version not in _VERSIONS:
            raise NotThisFormatError("the version is not 2 or 3 in little-endian")
        self.count = cursor.u64()
        count = cursor.u64()
        if self.count > _MAX_TENSORS or count > MAX_PAIRS:
            raise NotThisFormatError("there would be too many tensors or keys")
        self.places: dict[str, tuple[int, int]] = {}
        self.alignment = _DEFAULT_ALIGNMENT
        self.pairs: dict[str, str] = {}
        self.cut: set[str] = set()
        self._is_cut = False
        self._left = {_STRING: _MAX_STRINGS, _ARRAY: _MAX_ARRAYS}
        self._names = 0
        for _ in range(count):
            self._pair(cursor)

    def _pair(self, cursor: _Cursor) -> None:
        start = cursor.position
        key = cursor.name()
        self.charge(key)
        if key in self.pairs:
            raise NotThisFormatError(f"the key {key[:80]!r} is given twice")
        kind = cursor.u32()
        self._is_cut = False
        value = self.pairs[key] = self._value(cursor, kind, 0)
        if self._is_cut:
            self.cut.add(key)
        self.places[key] = start, cursor.position
        if key == _ALIGNMENT_KEY:
            self.alignment = int(value) if kind == _UINT32 else 0
            if self.alignment.bit_count() != 1:
                raise NotThisFormatError("the alignment is no power of two")

    def charge(self, name: str) -> None:
        """Count the length of a name; all of them are kept in memory."""
        self._names += len(name)
        if self._names > _MAX_NAMES:
            raise NotThisFormatError("the names are too long")

    def _value(self, cursor: _Cursor, kind: int, depth: int) -> str:
        """Pass over a value, and tell what to show of it."""
        if kind in _SCALARS:
            return _shown(cursor.take(_size_of(kind)), kind)
        if kind == _STRING:
            length = cursor.u64()
            shown, is_whole = quoted_beginning(cursor.take(min(length, SHOWN_BYTES)), length)
            cursor.skip(max(0, length - SHOWN_BYTES))
            self._is_cut |= not is_whole
            return shown
        if kind == _ARRAY and depth < _MAX_DEPTH:
            return self._array(cursor, depth)
        raise NotThisFormatError("a value has a type that is not known or is nested too deeply")

    def _array(self, cursor: _Cursor, depth: int) -> str:
        kind = cursor.u32()
        count = cursor.u64()
        if kind in self._left:
            self._left[kind] -= count
            if self._left[kind] < 0:
                raise NotThisFormatError("there would be too many strings or nested arrays")
        shown = [self._value(cursor, kind, depth + 1) for _ in range(min(count, _SHOWN_ITEMS))]
        rest = count - len(shown)
        if kind in _SCALARS:
            cursor.skip(rest * _size_of(kind))
        elif kind == _STRING:
            for _ in range(rest):
                cursor.skip(cursor.u64())
        else:
            for _ in range(rest):
                self._value(cursor, kind, depth + 1)
        text = f"{count} items: [{', '.join(shown)}, …]" if rest else f"[{', '.join(shown)}]"
        self._is_cut |= bool(rest) or len(text) > MAX_TEXT
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _head_of(skeleton: bytes) -> _Head:
    """The front of a file that a new one is made like.

    Raises:
        PluginError: it has bytes around its tensors that are not 0: a new one has no place for them.
    """
    cursor = _Cursor(BytesSource(skeleton))
    head = _Head(cursor)
    for _ in _tensors(cursor, head):
        pass  # They are passed over.
    if skeleton[cursor.position :].strip(b"\0"):
        raise PluginError("a gguf file with bytes around its tensors cannot be written with other groups or keys")
    return head


def _size_of(kind: int) -> int:
    """Bytes of a value of a type that has one size."""
    return int(_SCALARS[kind].lstrip("<")[1:] or 1)


def _shown(data: bytes, kind: int) -> str:
    """A value of such a type, as it is shown."""
    import numpy as np  # Only this needs it, and it is slow to import.

    return str(np.frombuffer(data, _SCALARS[kind])[0])


def _tensors(cursor: _Cursor, head: _Head) -> Iterator[Span]:
    """The tensors in the order of the header, each with its offset from where the values begin."""
    for _ in range(head.count):
        name = cursor.name()
        head.charge(name)
        rank = cursor.u32()
        if rank > _MAX_RANK:
            raise NotThisFormatError(f"{name[:80]!r} has too many dimensions")
        # GGML counts from the innermost dimension.
        shape = tuple(cursor.u64() for _ in range(rank))[::-1]
        dtype = _TYPES.get(cursor.u32())
        offset = cursor.u64()
        if dtype is None:
            raise NotThisFormatError(f"{name[:80]!r} has a type that is not known")
        try:
            tensors.nbytes(dtype, shape)
        except ValueError as error:
            raise NotThisFormatError(f"{name[:80]!r} is malformed: {error}") from None
        if not _fills_rows(dtype, shape):
            raise NotThisFormatError(f"the rows of {name[:80]!r} are no whole blocks")
        if offset % head.alignment or offset > tensors.MAX_BYTES:
            raise NotThisFormatError(f"{name[:80]!r} lies in an impossible place")
        yield Span(tensors.join_name([name]), dtype, shape, offset)


def _fills_rows(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether no block goes over the end of a row."""
    return not shape or shape[-1] % tensors.BLOCKS[dtype][0] == 0


def _by_key(groups: Mapping[str, Values]) -> dict[str, Values]:
    """The groups by the names they get in the file, in which a path is one key."""
    found = {"/".join(tensors.split_name(name)): values for name, values in groups.items()}
    if len(found) != len(groups):
        raise PluginError("two groups would have the same name in a GGUF file")
    return found


def _tensor_info(key: str, values: Values, position: int) -> bytes:
    if values.dtype not in _NUMBERS:
        raise PluginError(f"gguf has no dtype {values.dtype}")
    if not _fills_rows(values.dtype, values.shape) or len(values.shape) > _MAX_RANK:
        raise PluginError(f"gguf has no tensors of dtype {values.dtype} and shape {list(values.shape)}")
    name = key.encode("utf-8")
    rank = len(values.shape)
    dims = struct.pack(f"<I{rank}Q", rank, *values.shape[::-1])
    return struct.pack("<Q", len(name)) + name + dims + struct.pack("<IQ", _NUMBERS[values.dtype], position)
