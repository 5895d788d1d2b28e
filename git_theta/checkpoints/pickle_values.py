"""The plain values in a walked pickle, as short texts by path, for people who compare two files."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from git_theta import tensors
from git_theta.checkpoints.pickle_objects import Bag, Dict, Global, Record, Unread
from git_theta.checkpoints.texts import MAX_VALUES, cut
from git_theta.checkpoints.torch_tree import SET_MAKERS, Path, below, maker_of, view
from git_theta.sources import blocks

_MAX_VISITS: Final = 100_000
_MAX_DEPTH: Final = 128
_MAX_NAME: Final = 1024
_MAX_TEXT: Final = 1 << 20
_MAX_LOOKED_AT: Final = 1 << 27
_MAX_KIND: Final = 16
_SCALARS: Final = {"f4": "<f", "f8": "<d", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b", "b1": "<?"}
_SCALAR_MAKERS: Final = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_ARRAY_MAKERS: Final = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")


def plain_values(root: object) -> dict[str, str]:
    """The values beside the tensors, by path (`tensors.join_name`), at most 10,000; long ones are cut.

    A value that several paths lead to is there several times, so that nothing seems to vanish when the file changes.
    That may be without end (a graph of references can have more paths than there are atoms), so it is broken off.
    """
    return shown_values(root)[0]


def shown_values(root: object) -> tuple[dict[str, str], bool]:
    """The same, and whether these are all: values beyond what is looked at, or that have no text, are not there."""
    found: dict[str, str] = {}
    texts = _Texts()
    visits, are_all = 0, True
    waiting: list[tuple[object, Iterator[tuple[Path | None, object]]]] = [(None, iter([(None, root)]))]
    while waiting and len(found) < MAX_VALUES and visits < _MAX_VISITS and texts.looked_at < _MAX_LOOKED_AT:
        path, value = next(waiting[-1][1], (None, waiting))
        if value is waiting:
            waiting.pop()
            continue
        visits += 1
        text = texts.of(value)
        if text is not None:
            keys = path.keys() if path else ["value"]
            if sum(map(len, keys)) < _MAX_NAME:
                are_all &= found.setdefault(tensors.join_name(keys), text) == text
            else:
                are_all = False
        elif isinstance(_encoded(value), Unread) or len(waiting) >= _MAX_DEPTH:
            are_all = False
        elif all(value is not above for above, _ in waiting):
            waiting.append((value, below(path, value)))
    return found, are_all and not waiting


class _Texts:
    """Makes texts of values.

    Attributes:
        looked_at: how much of the file went into them, and into the digests.
    """

    def __init__(self) -> None:
        self.looked_at = 0

    def of(self, value: object) -> str | None:
        """The text of a value; None for one that its parts tell more of, and for tensors, which have none."""
        match value:
            case list() | tuple():
                text = self._flat(value)
            case Dict(entries=[]):
                text = "{}"
            case Bag(elements=[]) | Record(args=([],)) if isinstance(value, Bag) or maker_of(value) in SET_MAKERS:
                text = "set()"
            case Record() if view(value) is None:
                text = self._record(value)
            case _:
                text = self._simple(value)
        return None if text is None else cut(text)

    def _simple(self, value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value) if value.bit_length() <= 256 else hex(value)
        if value is None or isinstance(value, bool | float | str | bytes):
            text = repr(value)
            self.looked_at += len(text)
            return text
        if isinstance(value, Global):
            return value.path
        match data := _encoded(value):
            case bytes():
                return self._simple(data)
            case Unread():
                return self._unread(data, is_encoded=data is not value)
            case _:
                return None

    def _unread(self, value: Unread, *, is_encoded: bool = False) -> str | None:
        """The size and the digest of what a long string says, the same for the same bytes in every protocol."""
        self.looked_at += value.stop - value.start
        if self.looked_at > _MAX_LOOKED_AT:
            return None
        size, digest = 0, blake3()
        decoder = codecs.getincrementaldecoder("utf-8")()
        for block in blocks(value.source, value.start, value.stop):
            try:
                data = decoder.decode(block).encode("latin-1") if is_encoded else block
            except UnicodeError:
                return None
            size += len(data)
            digest.update(data)
        return f"<{size} bytes> ({digest.hexdigest()[:8]})"

    def _flat(self, value: list[object] | tuple[object, ...]) -> str | None:
        """The text of a list or tuple of simple values."""
        texts = []
        length = 0
        for part in value:
            text = self._simple(part)
            if text is None or length > _MAX_TEXT:
                return None
            texts.append(text)
            length += len(text) + 2
        if isinstance(value, list):
            return f"[{', '.join(texts)}]"
        return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"

    def _array(self, state: object) -> str | None:
        match state:
            case (_, tuple() as shape, kind, _, data) if (name := _dtype(kind)) and (extents := self._flat(shape)):
                content = _encoded(data)
                if isinstance(content, bytes):
                    self.looked_at += len(content)
                    return f"<array {name} {extents}> ({blake3(content).hexdigest()[:8]})"
                text = self._unread(content, is_encoded=content is not data) if content else None
                return text and f"<array {name} {extents}>{text[text.index('>') + 1 :]}"
            case _:
                return None

    def _record(self, record: Record) -> str | None:
        """The text of an array of NumPy, or of an object that is made of plain arguments alone."""
        if maker_of(record) in _ARRAY_MAKERS:
            return self._array(record.state)
        if record.elements or record.entries or record.state is not None:
            return None
        name = maker_of(record)
        if name in _SCALAR_MAKERS and (number := _scalar(record)) is not None:
            return number
        data = self._simple(record)
        if data is not None:
            return data
        args = [self._flat(part) if isinstance(part, tuple) else self._simple(part) for part in record.args]
        if not name or any(part is None for part in args):
            return None
        return f"{name}({', '.join(map(str, args))})"


def _dtype(value: object) -> str | None:
    """NumPy's short name of a dtype, such as "f8"; None for one of fields or objects."""
    match value:
        case Record(args=(str(kind), *_)) if len(kind) < _MAX_KIND and kind[:1] not in "VO":
            return kind
        case _:
            return None


def _encoded(value: object) -> bytes | Unread | None:
    """Bytes, which protocol 2 writes as a text to be encoded in Latin 1; a long text as it is."""
    if isinstance(value, bytes | Unread):
        return value
    if isinstance(value, Record) and maker_of(value) == "_codecs.encode" and value.args[1:] == ("latin1",):
        text = value.args[0]
        if isinstance(text, Unread):
            return text
        if isinstance(text, str) and all(ord(character) < 256 for character in text):
            return text.encode("latin-1")
    return None


def _scalar(record: Record) -> str | None:
    """A number of NumPy, read from its dtype and its bytes."""
    match record.args:
        case (Record(args=(str(kind), *_)), data) if kind in _SCALARS:
            content = _encoded(data)
            form = struct.Struct(_SCALARS[kind])
            if isinstance(content, bytes) and len(content) == form.size:
                return repr(form.unpack(content)[0])
    return None
