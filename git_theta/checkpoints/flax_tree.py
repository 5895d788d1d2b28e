"""The tree of maps, lists, leaves and arrays that a Flax file consists of, without its groups' values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from git_theta.checkpoints.flax_reader import NDARRAY, Array, walk
from git_theta.sources import BytesSource

MARK: Final = "__msgpack_chunked_array__"
SHAPE: Final = "shape"
CHUNKS: Final = "chunks"


class Node(Struct):
    """A part of the tree: a "map", "list", "leaf" or "array".

    Attributes:
        kind: of the part.
        raw: the bytes of a leaf, or of an array up to its values.
        children: of a map or a list, by key; those of a list by their number.
        old: what the file says of an array that was in it.
        code: the extension type that an array has.
        data: the values of an array; None if it gets none, and so belongs into no new file.
        elements: their number.
        is_kept: whether a map or a list stays if nothing in it does.
    """

    kind: str
    raw: bytes = b""
    children: dict[str, Node] = field(default_factory=dict)
    old: Array | None = None
    code: int = NDARRAY
    data: bytes | memoryview | None = None
    elements: int = 0
    is_kept: bool = False

    @property
    def is_chunked(self) -> bool:
        """Whether it is the map that stands for an array in chunks."""
        return self.kind == "map" and MARK in self.children and CHUNKS in self.children

    def is_wanted(self) -> bool:
        """Whether it belongs into the new file: maps that have lost all they held do not, unless they are kept."""
        if self.kind in ("array", "leaf"):
            return self.kind == "leaf" or self.data is not None
        if self.is_chunked:
            return self.children[CHUNKS].is_wanted()
        return self.is_kept or any(child.is_wanted() for child in self.children.values())

    def has_values(self) -> bool:
        """Whether a group has been put here or below."""
        return self.data is not None or any(child.has_values() for child in self.children.values())

    def at(self, path: Sequence[str]) -> Node | None:
        """The part at a path below; None if there is none."""
        node: Node | None = self
        for step in path:
            node = None if node is None else node.children.get(step)
        return node


def tree(skeleton: bytes) -> Node:
    """The tree of a file; maps and lists that hold nothing are kept.

    Args:
        skeleton: of the file.

    Raises:
        NotThisFormatError: it is malformed.
    """
    stack = [Node("list")]
    for item in walk(BytesSource(skeleton), hollow=True):
        token = item.token
        if token.kind == "end":
            stack.pop()
            continue
        node = Node(token.kind if token.kind in ("map", "list") else "leaf", skeleton[token.start : item.stop])
        if item.array is not None:
            node = Node("array", old=item.array, code=token.code)
        stack[-1].children[item.path[-1] if item.path else ""] = node
        if node.kind in ("map", "list"):
            node.is_kept = not token.length
            stack.append(node)
    return stack[0].children[""]
