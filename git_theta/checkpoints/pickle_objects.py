"""Stand-ins for what a pickle holds, which only remember what the file says.

They are compared by identity and never hashed by content: a file may nest them until a recursive hash would crash.
"""

from __future__ import annotations

from msgspec import Struct, field

from git_theta.sources import Source


class Global(Struct, eq=False):
    """A name that a real unpickler would import."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """The dotted name."""
        return f"{self.module}.{self.name}"


class Dict(Struct, eq=False):
    """A dictionary: keys and values in turn, as the file gives them (a key may come twice)."""

    entries: list[object] = field(default_factory=list)


class Bag(Struct, eq=False):
    """A set or a frozen set."""

    elements: list[object]
    frozen: bool


class Unread(Struct, eq=False):
    """A long string that was passed over: its place in a source, and whether it is text or bytes."""

    source: Source
    start: int
    stop: int
    is_text: bool


class Escaped(str):
    """A text that is not quite UTF-8, with escapes where it is not.

    Attributes:
        data: as it stands in the file.
    """

    data: bytes


class Persistent(Struct, eq=False):
    """An object outside the pickle, and how the pickle names it."""

    id: object


class Record(Struct, eq=False):
    """What a call in the file would have made.

    Attributes:
        maker: what would be called, commonly a `Global`.
        args: with what.
        how: the opcode: REDUCE, NEWOBJ or NEWOBJ_EX (whose args are a pair of arguments and keyword arguments).
        elements: what would be appended to it.
        entries: the keys and values, in turn, that would be set on it.
        state: what its attributes would be set from.
    """

    maker: object
    args: tuple[object, ...]
    how: bytes
    elements: list[object] | tuple[()] = ()
    entries: list[object] | tuple[()] = ()
    state: object = None
