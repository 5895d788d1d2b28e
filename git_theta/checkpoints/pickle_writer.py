"""Writes a walked pickle again: the stand-ins become what they stand for, and nothing is called.

With the opcodes of protocol 2, which torch writes. What the names mean is another matter: up to protocol 2 they are
those of Python 2, and from 4 on they may be those of classes within classes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, ClassVar, Final

from git_theta.checkpoints.pickle_objects import Bag, Dict, Escaped, Global, Persistent, Record, Unread
from git_theta.checkpoints.torch_tree import SET_MAKERS, maker_of
from git_theta.errors import PluginError

_FULL_32: Final = 1 << 32


class _Raw(bytes):
    """Bytes of the pickle itself, told apart from bytes that are a value."""


class _Memo:
    """The step that makes a value known by a number, so that it is written once."""

    def __init__(self, value: object) -> None:
        self.value = value


class PickleWriter:
    """Writes one pickle.

    Attributes:
        persistents: the persistent objects that were written.
    """

    def __init__(self, replace: Callable[[object], object], protocol: int = 2) -> None:
        """Begin.

        Args:
            replace: gives what stands in the place of a part of a value; the part itself, mostly.
            protocol: of the pickle that the names in the value are from.
        """
        self.persistents: list[Persistent] = []
        self._replace = replace
        self._memo: dict[int | str | tuple[str, str], int] = {}
        self._protocol = 2 if protocol < 3 else 4
        self._open: set[int] = set()
        self._kept: list[object] = []

    def dump(self, root: object) -> bytes:
        """The pickle of a value.

        Raises:
            PluginError: it refers to itself in a way that no pickle can.
        """
        pieces: list[bytes] = []
        waiting = [root]
        while waiting:
            # Not recursive: the file decides how deeply the values are nested.
            value = waiting.pop()
            if isinstance(value, _Raw):
                pieces.append(value)
            elif isinstance(value, _Memo):
                pieces.append(self._remember(value.value))
            else:
                waiting += reversed(self._steps(value))
        return b"\x80" + bytes([self._protocol]) + b"".join(pieces) + b"."

    def _remember(self, value: object) -> bytes:
        key = _key(value)
        self._kept.append(value)  # so that no other value is given its id
        self._open.discard(id(value))
        self._memo[key] = index = len(self._memo)
        return b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index)

    def _steps(self, value: object) -> list[object]:
        """The parts that write a value, in order."""
        index = self._memo.get(_key(value))
        if index is not None:
            return [_Raw(b"h" + bytes([index]) if index < 256 else b"j" + struct.pack("<I", index))]
        if isinstance(value, tuple | Record):
            if id(value) in self._open:
                raise PluginError("the file's structure refers to itself in a way that cannot be written")
            self._open.add(id(value))
        return self._WRITERS[type(value)](self, value)

    def _list(self, value: list[object]) -> list[object]:
        return [_Raw(b"]"), _Memo(value), *self._batch(value, b"e")]

    def _dict(self, value: Dict) -> list[object]:
        return [_Raw(b"}"), _Memo(value), *self._batch(value.entries, b"u")]

    def _bag(self, value: Bag) -> list[object]:
        kind = Global("__builtin__" if self._protocol == 2 else "builtins", "frozenset" if value.frozen else "set")
        return [kind, _in_order(value.elements), _Raw(b"\x85R"), _Memo(value)]

    def _persistent(self, value: Persistent) -> list[object]:
        self.persistents.append(value)
        return [value.id, _Raw(b"Q")]

    def _text(self, value: str) -> list[object]:
        data = value.data if isinstance(value, Escaped) else value.encode()
        return [_Raw(_text(data)), _Memo(value)]

    def _batch(self, values: list[object] | tuple[()], opcode: bytes) -> list[object]:
        return [_Raw(b"("), *map(self._replace, values), _Raw(opcode)] if values else []

    def _tuple(self, value: tuple[object, ...]) -> list[object]:
        if not value:
            return [_Raw(b")"), _Memo(value)]
        return [_Raw(b"("), *map(self._replace, value), _Raw(b"t"), _Memo(value)]

    def _record(self, record: Record) -> list[object]:
        args = record.args if record.how == b"\x92" else (record.args,)
        if maker_of(record) in SET_MAKERS and len(record.args) == 1 and isinstance(record.args[0], list):
            args = ((_in_order(record.args[0]),),)
        steps = [record.maker, *args, _Raw(record.how), _Memo(record)]
        steps += self._batch(record.elements, b"e") + self._batch(record.entries, b"u")
        return steps if record.state is None else [*steps, self._replace(record.state), _Raw(b"b")]

    def _global(self, value: Global) -> list[object]:
        if "\n" in value.path:
            return [value.module, value.name, _Raw(b"\x93"), _Memo(value)]
        return [_Raw(f"c{value.module}\n{value.name}\n".encode()), _Memo(value)]

    def _bytes(self, value: bytes | Unread) -> list[object]:
        if isinstance(value, Unread):
            data = value.source.read(value.start, value.stop)
            if value.is_text:
                return [_Raw(_text(data)), _Memo(value)]
        else:
            data = value
        # Protocol 2 has no bytes; this is how Python writes them.
        return [Global("_codecs", "encode"), (data.decode("latin-1"), "latin1"), _Raw(b"R"), _Memo(value)]

    def _scalar(self, value: object) -> list[object]:
        return [_Raw(_scalar(value))]

    _WRITERS: ClassVar[dict[type, Callable[[PickleWriter, Any], list[object]]]] = {
        list: _list,
        tuple: _tuple,
        Dict: _dict,
        Bag: _bag,
        Record: _record,
        Global: _global,
        Persistent: _persistent,
        Unread: _bytes,
        bytes: _bytes,
        **dict.fromkeys((str, Escaped), _text),
        **dict.fromkeys((type(None), bool, int, float), _scalar),
    }


def _key(value: object) -> int | str | tuple[str, str]:
    """What tells a value apart: a name and a text by what they say, anything else by which it is.

    Which equal texts are one in memory differs from run to run of the program that saved the file, and means nothing.
    """
    if isinstance(value, Global):
        return value.module, value.name
    return value if type(value) is str else id(value)


def _in_order(elements: list[object]) -> list[object]:
    """The elements of a set of texts or numbers, sorted: Python orders texts by hashes that differ from run to run."""
    texts = sorted(element for element in elements if type(element) is str)
    numbers = sorted(element for element in elements if type(element) is int)
    if len(elements) in (len(texts), len(numbers)):
        return [*texts, *numbers]
    return elements


def _scalar(value: object) -> bytes:
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value)
    return b"N" if value is None else b"\x88" if value else b"\x89"


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data)) + data


def _text(data: bytes) -> bytes:
    if len(data) < _FULL_32:
        return b"X" + struct.pack("<I", len(data)) + data
    return b"\x8d" + struct.pack("<Q", len(data)) + data
