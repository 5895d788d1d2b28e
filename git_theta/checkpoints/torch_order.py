"""Give the dictionaries in a pickle the order that they have in another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from git_theta.checkpoints.texts import ordered_like
from git_theta.checkpoints.torch_spans import Names, Storages
from git_theta.checkpoints.torch_tree import dictionaries, key_text, members
from git_theta.checkpoints.torch_writer import Old


def arranged(old: Old, models: Iterable[object]) -> Old:
    """An old file with its dictionaries in the order of others.

    Args:
        old: whose pickle is changed.
        models: what the pickles of the others hold, one after the other: the last counts most.
    """
    for model in models:
        arrange(old.root, model)
    # A tied group is called by the first of its places, which may be another one now.
    uses = Storages(old.root, old.persistents, Names()).uses
    names = {key: use.name for key, use in uses.items()}
    storages = {key: replace(span, name=names.get(key) or span.name) for key, span in old.storages.items()}
    return replace(old, storages=storages)


def arrange(root: object, like: object) -> None:
    """Order the keys of every dictionary as those of the one at the same place elsewhere.

    Args:
        root: what a pickle holds; it is changed.
        like: what another one holds. Keys that it does not have stay behind those that they are behind.
    """
    waiting = [(root, like)]
    seen: dict[int, object] = {}
    while waiting:
        node, other = waiting.pop()
        if id(node) in seen:
            continue
        seen[id(node)] = node  # kept, so that no other value is given its id
        for entries, wanted in zip(dictionaries(node), dictionaries(other), strict=False):
            _order(entries, wanted)
        parts = dict(_numbered(other))
        waiting += [(part, parts[place]) for place, part in _numbered(node) if place in parts]


def _numbered(node: object) -> Iterator[tuple[tuple[str | None, int], object]]:
    """What a value consists of, by key and turn: parts without a key have their turn alone."""
    turns: Counter[str | None] = Counter()
    for key, part in members(node):
        yield (key, turns[key]), part
        turns[key] += 1


def _order(entries: list[object], wanted: list[object]) -> None:
    keys = [key_text(key) for key in entries[::2]]
    places = dict.fromkeys(key_text(key) for key in wanted[::2])
    if len(set(keys)) < len(keys) or len(places) < len(wanted) // 2:
        return  # Keys that look the same, such as 1 and "1".
    turns = {key: turn for turn, key in enumerate(keys)}
    order = (turns[key] for key in ordered_like(keys, list(places)))
    entries[:] = [part for turn in order for part in entries[2 * turn : 2 * turn + 2]]
