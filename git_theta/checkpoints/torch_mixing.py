"""Put plain values of one pickle into another, such as the `epoch` of a training checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from git_theta import tensors
from git_theta.checkpoints.texts import place_like
from git_theta.checkpoints.torch_tree import dictionaries, key_text, members, place_of
from git_theta.errors import PluginError


def mix(root: object, donors: Mapping[str, object]) -> None:
    """Give a pickle some values of others.

    Args:
        root: what the pickle holds; it is changed.
        donors: for each value, by its path (`pickle_values.plain_values`), what the pickle holds that it is taken from;
            a value that is not there is taken out.

    Raises:
        PluginError: a value is not one of a dictionary, or there is no dictionary in the pickle to put it into.
    """
    for name, donor in donors.items():
        *path, key = tensors.split_name(name)
        found, target = _entries(donor, path, key), _entries(root, path, key)
        place = None if target is None else place_of(target, key)
        if found is not None and (source := place_of(found, key)) is not None:
            if target is None:
                raise PluginError(f"there is no dictionary that {name[:80]!r} could be put into")
            if place is None:
                start = 2 * place_like(key, _keys(target), _keys(found))
                target[start:start] = found[source : source + 2]
            else:
                target[place : place + 2] = found[source : source + 2]
        elif target is not None and place is not None:
            del target[place : place + 2]
        else:
            raise PluginError(f"{name[:80]!r} is no value of a dictionary")


def _entries(root: object, path: list[str], key: str) -> list[object] | None:
    """The entries of the dictionary at a path that have a key, else those of the first dictionary there."""
    first = None
    for node in _nodes(root, path):
        for entries in dictionaries(node):
            if place_of(entries, key) is not None:
                return entries
            first = entries if first is None else first
    return first


def _nodes(root: object, path: list[str]) -> Iterator[object]:
    """Whatever is at a path; parts without a key of their own lie at the path of what they are parts of."""
    waiting: list[tuple[object, int]] = [(root, 0)]
    seen: dict[tuple[int, int], object] = {}
    while waiting:
        node, depth = waiting.pop()
        if (id(node), depth) in seen:
            continue
        seen[id(node), depth] = node  # kept, so that no other value is given its id
        if depth == len(path):
            yield node
        below = list(members(node))
        waiting += [(part, depth) for name, part in reversed(below) if name is None]
        if depth < len(path):
            waiting += [(part, depth + 1) for name, part in reversed(below) if name == path[depth]]


def _keys(entries: list[object]) -> list[str]:
    return [key_text(key) for key in entries[::2]]
