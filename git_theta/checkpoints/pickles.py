"""An inert walk over a pickle: nothing is imported, nothing is called, no class of the file comes to life.

The opcodes are those of the module `pickletools` of the standard library, protocols 0 to 5. Plain values (None,
numbers, short strings, lists, tuples) become themselves; everything else becomes a stand-in (`pickle_objects`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import ClassVar, Final

from git_theta.checkpoints.pickle_objects import Bag, Dict, Escaped, Global, Persistent, Record, Unread
from git_theta.checkpoints.pickle_reader import Fuel, PickleReader, visible
from git_theta.errors import NotThisFormatError
from git_theta.sources import Source

_MAX_STRING: Final = 1 << 15
"""Longer strings (arrays of NumPy, mostly) are passed over and not read."""

_MAX_DIGITS: Final = 512
_STEP: Final = 64
_OBJECT: Final = 96
_SLOT: Final = 8
_WIDE: Final = 3
_ESCAPED: Final = 16


class Walker(PickleReader):
    """Walks one pickle that lies at a place of a source; `position` is its end then.

    Attributes:
        persistents: the persistent objects, in the order in which they were met.
        protocol: the one that the pickle says it has.
    """

    def __init__(self, source: Source, start: int, stop: int, fuel: Fuel) -> None:
        super().__init__(source, start, stop, fuel)
        self.persistents: list[Persistent] = []
        self.protocol = 0
        self._stack: list[object] = []
        self._marks: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def walk(self) -> object:
        """Walk to the end of the pickle.

        Returns:
            What it holds, with stand-ins.

        Raises:
            NotThisFormatError: it is malformed, or too large.
        """
        burn, handlers = self._fuel.burn, self._HANDLERS
        try:
            while True:
                # `_take(1)` without the call: most of the time goes by here.
                at = self._at
                if at == len(self._buffer):
                    self._refill(1)
                    at = 0
                opcode = self._buffer[at : at + 1]
                self._at = at + 1
                if opcode == b".":
                    return self._stack.pop()
                burn(_STEP)
                handlers[opcode](self, opcode)
        except (LookupError, ValueError) as error:
            raise NotThisFormatError(f"its pickle is malformed before byte {self.position}") from error

    # --- the stack ---

    def _push_new(self, value: object) -> None:
        self._fuel.burn(_OBJECT)
        self._stack.append(value)

    def _pop_tuple(self) -> tuple[object, ...]:
        value = self._stack.pop()
        if type(value) is not tuple:
            raise ValueError("arguments that are no tuple")
        return value

    def _pop_mark(self) -> list[object]:
        items, self._stack = self._stack, self._marks.pop()
        self._fuel.burn(_SLOT * len(items))
        return items

    # --- the opcodes ---

    def _proto(self, _: bytes) -> None:
        self.protocol = self._number(1)
        if self.protocol > 5:
            raise ValueError("an unknown protocol")

    def _frame(self, _: bytes) -> None:
        self._take(8)

    def _constant(self, opcode: bytes) -> None:
        self._stack.append(_CONSTANTS[opcode])

    def _fixed(self, opcode: bytes) -> None:
        kind = _FIXED[opcode]
        self._stack.append(kind.unpack(self._take(kind.size))[0])

    def _string(self, opcode: bytes) -> None:
        size, is_text = _STRINGS[opcode]
        length = self._number(size)
        if length > _MAX_STRING:
            self._push_new(Unread(self._source, self.position, self.position + length, is_text is not False))
            self._skip(length)
            return
        data = self._take(length)
        self._fuel.burn(_OBJECT + length)
        self._stack.append(data if is_text is False else self._decoded(data, is_text is True))

    def _decoded(self, data: bytes, is_text: bool) -> str | bytes:
        """The text that the data are; of Python 2's str, which may be none, the data themselves."""
        if not data.isascii():
            self._fuel.burn(_WIDE * len(data))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            if not is_text:
                return data
        self._fuel.burn(_ESCAPED * len(data))
        text = Escaped(visible(data))
        text.data = data
        return text

    def _byte_array(self, _: bytes) -> None:
        self._string(b"\x8e")
        self._push_new(Record(Global("builtins", "bytearray"), (self._stack.pop(),), b"R"))

    def _long(self, opcode: bytes) -> None:
        length = self._number(1 if opcode == b"\x8a" else 4)
        if length > _MAX_DIGITS:
            raise ValueError("a number is too large")
        self._push_new(int.from_bytes(self._take(length), "little", signed=True))

    def _written_number(self, opcode: bytes) -> None:
        text = self._line()
        if len(text) > _MAX_DIGITS:
            raise ValueError("a number is too large")
        if opcode == b"F":
            self._push_new(float(text))
        elif opcode == b"I" and text in ("00", "01"):
            self._push_new(text == "01")
        else:
            self._push_new(int(text.removesuffix("L")))

    def _written_string(self, _: bytes) -> None:
        # Escapes stay as they are: these strings are of protocol 0, which cannot hold a tensor.
        self._push_new(self._line())

    def _mark(self, _: bytes) -> None:
        self._marks.append(self._stack)
        self._fuel.burn(_OBJECT)
        self._stack = []

    def _pop(self, _: bytes) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _pop_to_mark(self, _: bytes) -> None:
        self._pop_mark()

    def _duplicate(self, _: bytes) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, opcode: bytes) -> None:
        self._fuel.burn(_OBJECT)
        index = len(self._memo) if opcode == b"\x94" else self._index(opcode)
        self._memo[index] = self._stack[-1]

    def _get(self, opcode: bytes) -> None:
        self._stack.append(self._memo[self._index(opcode)])

    def _index(self, opcode: bytes) -> int:
        size = _INDICES[opcode]
        if size:
            return self._number(size)
        text = self._line()
        if len(text) > 20:
            raise ValueError("an index is too large")
        return int(text)

    def _empty(self, opcode: bytes) -> None:
        made: object = [] if opcode == b"]" else Dict() if opcode == b"}" else Bag([], frozen=False)
        self._push_new(made)

    def _collect(self, opcode: bytes) -> None:
        items = self._pop_mark()
        if opcode == b"t":
            self._push_new(tuple(items))
        elif opcode == b"l":
            self._push_new(items)
        elif opcode == b"d":
            self._push_new(Dict())
            self._set(items)
        else:
            self._push_new(Bag(items, frozen=True))

    def _short_tuple(self, opcode: bytes) -> None:
        count = opcode[0] - 0x84
        if len(self._stack) < count:
            raise ValueError("the stack is too short")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push_new(items)

    def _append(self, opcode: bytes) -> None:
        items = [self._stack.pop()] if opcode == b"a" else self._pop_mark()
        target = self._stack[-1]
        self._fuel.burn(_SLOT * len(items))
        if type(target) is list:
            target += items
        elif isinstance(target, Bag):
            target.elements += items
        elif isinstance(target, Record):
            target.elements = target.elements or []
            target.elements += items
        else:
            raise ValueError("cannot be appended to")

    def _set_items(self, opcode: bytes) -> None:
        if opcode == b"u":
            self._set(self._pop_mark())
        else:
            value, key = self._stack.pop(), self._stack.pop()
            self._set([key, value])

    def _set(self, items: list[object]) -> None:
        target = self._stack[-1]
        if len(items) % 2 or not isinstance(target, Dict | Record):
            raise ValueError("cannot be set")
        self._fuel.burn(_OBJECT + _SLOT * len(items))
        target.entries = target.entries or []
        target.entries += items

    def _import(self, opcode: bytes) -> None:
        if opcode == b"c":
            module, name = self._line(), self._line()
            self._push_new(Global(module, name))
            return
        found, module_name = self._stack.pop(), self._stack.pop()
        if not isinstance(found, str) or not isinstance(module_name, str):
            raise ValueError("a name that is no string")
        self._push_new(Global(module_name, found))

    def _call(self, opcode: bytes) -> None:
        if opcode == b"\x92":
            keywords, args = self._stack.pop(), self._pop_tuple()
            self._push_call(self._stack.pop(), (args, keywords), opcode)
        else:
            args = self._pop_tuple()
            self._push_call(self._stack.pop(), args, opcode)

    def _instance(self, opcode: bytes) -> None:
        if opcode == b"i":
            module, name = self._line(), self._line()
            self._push_call(Global(module, name), tuple(self._pop_mark()), b"R")
        else:
            maker, *args = self._pop_mark()
            self._push_call(maker, tuple(args), b"R")

    def _push_call(self, maker: object, args: tuple[object, ...], how: bytes) -> None:
        self._fuel.burn(_OBJECT)
        self._push_new(Record(maker, args, how))

    def _build(self, _: bytes) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if not isinstance(target, Record):
            raise ValueError("has no attributes")
        target.state = state

    def _persist(self, opcode: bytes) -> None:
        found = Persistent(self._stack.pop() if opcode == b"Q" else self._line())
        self.persistents.append(found)
        self._push_new(found)

    _HANDLERS: ClassVar[dict[bytes, Callable[[Walker, bytes], None]]] = {
        **dict.fromkeys((b"N", b"\x88", b"\x89", b")"), _constant),
        **dict.fromkeys((b"J", b"K", b"M", b"G"), _fixed),
        **dict.fromkeys((b"X", b"\x8c", b"\x8d", b"B", b"C", b"\x8e", b"T", b"U"), _string),
        **dict.fromkeys((b"I", b"L", b"F"), _written_number),
        **dict.fromkeys((b"S", b"V"), _written_string),
        **dict.fromkeys((b"\x8a", b"\x8b"), _long),
        **dict.fromkeys((b"p", b"q", b"r", b"\x94"), _put),
        **dict.fromkeys((b"g", b"h", b"j"), _get),
        **dict.fromkeys((b"]", b"}", b"\x8f"), _empty),
        **dict.fromkeys((b"t", b"l", b"d", b"\x91"), _collect),
        **dict.fromkeys((b"\x85", b"\x86", b"\x87"), _short_tuple),
        **dict.fromkeys((b"a", b"e", b"\x90"), _append),
        **dict.fromkeys((b"s", b"u"), _set_items),
        **dict.fromkeys((b"c", b"\x93"), _import),
        **dict.fromkeys((b"R", b"\x81", b"\x92"), _call),
        **dict.fromkeys((b"i", b"o"), _instance),
        **dict.fromkeys((b"P", b"Q"), _persist),
        b"\x80": _proto,
        b"\x95": _frame,
        b"\x96": _byte_array,
        b"(": _mark,
        b"0": _pop,
        b"1": _pop_to_mark,
        b"2": _duplicate,
        b"b": _build,
    }
    """Without the extension registry and out-of-band buffers, which torch has no use for."""


_CONSTANTS: Final[dict[bytes, object]] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_FIXED: Final = {
    b"J": struct.Struct("<i"),
    b"K": struct.Struct("<B"),
    b"M": struct.Struct("<H"),
    b"G": struct.Struct(">d"),
}
_STRINGS: Final = {
    b"X": (4, True),
    b"\x8c": (1, True),
    b"\x8d": (8, True),
    b"B": (4, False),
    b"C": (1, False),
    b"\x8e": (8, False),
    b"T": (4, None),
    b"U": (1, None),
}
"""Bytes of the length, and whether it is text; None for Python 2's str, which may be either."""

_INDICES: Final = {b"p": 0, b"q": 1, b"r": 4, b"g": 0, b"h": 1, b"j": 4}
"""Bytes of a memo index; 0 for one that is written in digits."""
