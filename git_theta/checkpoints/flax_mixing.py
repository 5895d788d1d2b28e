"""Put parts of some Flax files into another: leaves, lists, maps, and the places of new arrays.

Of a map, it is only taken whether there is one; what is in it are parts of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints.flax_texts import is_chunked_array
from git_theta.checkpoints.flax_tree import MARK, SHAPE, Node, tree
from git_theta.errors import PluginError


def mix(top: Node, donors: Mapping[str, bytes], homes: Mapping[str, bytes]) -> None:
    """Take parts from other files; all other maps stay, whatever becomes of what they hold.

    Args:
        top: the tree of a file; it is changed.
        donors: for each part (`flax_texts.parts`) that is taken, by its name, the skeleton of the file that it is
            taken from; one that is not there is taken out.
        homes: for each array that is new, or is not what it was, by its name, the skeleton of a file that has it.

    Raises:
        PluginError: what is taken would lie in something that is no map.
    """
    _keep_maps(top)
    others = {other: tree(other) for other in dict.fromkeys((*donors.values(), *homes.values()))}
    mixing = _Mixing(top)
    for path, donor in _in_order(donors):
        mixing.take(path, others[donor])
    for path, home in _in_order(homes):
        mixing.settle(path, others[home])
    mixing.order()


def _keep_maps(top: Node) -> None:
    waiting = [top]
    while waiting:
        node = waiting.pop()
        node.is_kept = node.kind in ("map", "list")
        waiting += node.children.values()


def _in_order(skeletons: Mapping[str, bytes]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Paths and skeletons, what holds others before what it holds."""
    paths = ((tensors.split_name(name), skeleton) for name, skeleton in skeletons.items())
    return iter(sorted(paths, key=lambda pair: len(pair[0])))


class _Mixing:
    """A tree that is being mixed from others."""

    def __init__(self, top: Node) -> None:
        self._top = top
        self._arrivals: dict[tuple[int, int], tuple[Node, Node, set[str]]] = {}

    def take(self, path: Sequence[str], donor: Node) -> None:
        """Take one part from another tree."""
        found, node = donor.at(path), self._top.at(path)
        if found is None:
            self._take_out(path, node)
        elif found.kind == "map" and not is_chunked_array(found):
            if node is None or node.kind != "map":
                self._put(path, Node("map"), donor)
            self._at(path).is_kept = True
        elif node is not None and found.is_chunked and node.is_chunked:
            node.children[MARK], node.children[SHAPE] = found.children[MARK], found.children[SHAPE]
        else:
            self._put(path, _copied(found), donor)

    def settle(self, path: Sequence[str], home: Node) -> None:
        """Make a place for an array, as it has one in another tree."""
        found = home.at(path)
        if found is None or found.kind != "array":
            return
        self._put(path, _copied(found), home)
        whole, owner = home.at(path[:-2]), self._top.at(path[:-2])
        if whole is not None and owner is not None and is_chunked_array(whole) and MARK not in owner.children:
            owner.children = {MARK: whole.children[MARK], SHAPE: whole.children[SHAPE], **owner.children}

    def order(self) -> None:
        """Move what has come to a map behind what it follows where it comes from."""
        for place, origin, keys in self._arrivals.values():
            place.children = _ordered(place.children, keys & place.children.keys(), list(origin.children))

    def _take_out(self, path: Sequence[str], node: Node | None) -> None:
        if node is None or node.kind == "array" or is_chunked_array(node):
            return  # What becomes of arrays is told by the groups.
        if node.kind == "map":
            node.is_kept = False
        else:
            self._at(path[:-1]).children.pop(path[-1], None)

    def _put(self, path: Sequence[str], new: Node, origin: Node) -> None:
        """Put something into the map that it lies in; where there is none, into a new one that stays only for it."""
        place: Node | None = self._top
        source: Node | None = origin
        for depth, key in enumerate(path):
            if place is None or place.kind != "map":
                name = tensors.join_name(path)
                raise PluginError(f"there is no place in the flax file for {name[:80]!r}")
            if key not in place.children and source is not None:
                number = id(place), id(source)
                self._arrivals.setdefault(number, (place, source, set()))[2].add(key)
            if depth + 1 == len(path):
                place.children[key] = new
            else:
                place = place.children.setdefault(key, Node("map"))
                source = None if source is None else source.children.get(key)

    def _at(self, path: Sequence[str]) -> Node:
        node = self._top.at(path)
        assert node is not None
        return node


def _copied(node: Node) -> Node:
    """The same with all that is in it; what lies in a list, or in an array in chunks, is no part of its own."""
    children = {key: _copied(child) for key, child in node.children.items()}
    return replace(node, children=children, is_kept=node.kind in ("map", "list"))


def _ordered(children: Mapping[str, Node], new: set[str], elsewhere: Sequence[str]) -> dict[str, Node]:
    """Children, the new ones each behind the one that it follows elsewhere."""
    behind: dict[str | None, list[str]] = {}
    last: str | None = None
    for key in elsewhere:
        if key in new:
            behind.setdefault(last, []).append(key)
        elif key in children:
            last = key
    keys = behind.pop(None, [])
    for key in children:
        keys += [] if key in new else [key, *behind.get(key, ())]
    return {key: children[key] for key in keys}
