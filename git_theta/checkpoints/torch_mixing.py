"""Put parts of one pickle into another: plain values, such as the `epoch` of a training checkpoint, and new tensors.

A part comes with the dictionaries that it lies in, of the kind and with the keys that they have in the file that it is
from. Dictionaries, and lists of one length, are gone into; anything else that differs is taken as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest

from msgspec import Struct, field
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints.pickle_objects import Dict, Record
from git_theta.checkpoints.pickle_values import plain_values, shown_values
from git_theta.checkpoints.torch_tree import dictionaries, key_text, maker_of, members, storage_id, view, walk
from git_theta.checkpoints.torch_writer import Old, is_dictionary, rename
from git_theta.errors import PluginError
from git_theta.layout import Span

_Pair = tuple[object, object]
"""A key and a value."""

Entries = dict[str, _Pair]
"""The keys and values of a dictionary, by the text of the key."""


class _Wanted(Struct):
    """What is to be done at a path, and below it.

    Attributes:
        below: the same for what lies there, by key.
        text: of the plain value that is taken from there; None if none is, or one is taken out.
        is_place: whether a tensor is taken from there.
    """

    below: dict[str, _Wanted] = field(default_factory=dict)
    text: str | None = None
    is_place: bool = False

    def at(self, name: str) -> _Wanted:
        """The same for a path below, by the name of what lies there."""
        node = self
        for key in tensors.split_name(name):
            node = node.below.setdefault(key, _Wanted())
        return node


def mixed(
    read: Callable[[bytes], Old], skeleton: bytes, donors: Mapping[str, bytes], homes: Mapping[str, bytes]
) -> Old:
    """A file with parts of others.

    Args:
        read: a file's skeleton.
        skeleton: of the file.
        donors: for each plain value, by its path (`pickle_values.plain_values`), the skeleton of the file that it is
            taken from; one that is not there is taken out.
        homes: for each place of a tensor that is new, by its path, the skeleton of the file that has it.

    Raises:
        PluginError: a part cannot be taken out, or put in, without another one.
    """
    old = read(skeleton)
    others = {other: read(other) for other in dict.fromkeys((*donors.values(), *homes.values()))}
    shown, are_known = shown_values(old.root)
    expected = {name: text for name, text in shown.items() if name not in donors}
    wanted: dict[bytes, _Wanted] = {}
    for other, file in others.items():
        texts, are_all = shown_values(file.root)
        taken = {name: texts.get(name) for name, donor in donors.items() if donor == other}
        expected |= {name: text for name, text in taken.items() if text is not None}
        are_known &= are_all
        wanted[other] = _wanted(taken, _all_places(file.root, {name for name, home in homes.items() if home == other}))
    storages, persistents = dict(old.storages), list(old.persistents)
    emptied: list[object] = []
    for number, (other, file) in enumerate(others.items()):
        keys = {key: f"{number} {key}" for key in file.storages}
        rename(file.persistents, keys)
        storages |= {keys[key]: span for key, span in file.storages.items()}
        persistents += file.persistents
        emptied += _put(old.root, file.root, wanted[other], are_known=are_known)
    if are_known:
        _check(expected, plain_values(old.root), _texts(emptied), are_alone=not homes)
    gone = _replaced(old.root, storages)
    kept = [persistent for persistent in persistents if _key_of(persistent) not in gone]
    storages = {key: span for key, span in storages.items() if key not in gone}
    return replace(old, storages=storages, persistents=kept, emptied=emptied)


def _all_places(root: object, names: set[str]) -> list[str]:
    """The places of all tensors that share a storage with one at these places, and the places themselves.

    Others may see another part of the storage, which is one group with that of the first.
    """
    found: dict[str, list[str]] = {}
    for path, value in walk(root) if names else ():
        tensor = view(value)
        if tensor is not None and path is not None:
            found.setdefault(tensor.storage.key, []).append(tensors.join_name(path.keys()))
    shared = (place for places in found.values() if not names.isdisjoint(places) for place in places)
    return sorted({*names, *shared})


def _replaced(root: object, storages: Mapping[str, Span]) -> set[str]:
    """The storages that nothing uses any more, of groups that have another one: dtype and shape are those of that."""
    used = set()
    for _, value in walk(root):
        tensor = view(value)
        used.add(tensor.storage.key if tensor is not None else _key_of(value))
    names = {span.name for key, span in storages.items() if key in used}
    return {key for key, span in storages.items() if key not in used and span.name in names}


def _key_of(value: object) -> str | None:
    """The key of a storage; None for anything else."""
    storage = storage_id(value)
    return None if storage is None else storage.key


def _wanted(values: Mapping[str, str | None], places: Sequence[str]) -> _Wanted:
    """What is taken from one file: the texts of plain values, and the places of tensors."""
    root = _Wanted()
    for name, text in values.items():
        root.at(name).text = text
    for name in places:
        root.at(name).is_place = True
    return root


def _texts(nodes: Sequence[object]) -> set[str]:
    """What is shown of values that have no parts."""
    return {text for node in nodes for text in plain_values(node).values()}


def _check(expected: Mapping[str, str], found: Mapping[str, str], emptied: set[str], *, are_alone: bool) -> None:
    """Make sure that nothing was lost, or taken along, with a part that had to be taken as a whole.

    Args:
        expected: the values that shall be there.
        found: those that are.
        emptied: what is shown of dictionaries that hold nothing, which are taken out when the file is written.
        are_alone: whether no tensors came; they bring what they lie in.
    """
    wrong = [name for name, text in expected.items() if found.get(name) != text]
    if are_alone:
        wrong += [name for name, text in found.items() if name not in expected and text not in emptied]
    if wrong:
        raise PluginError(f"{wrong[0][:80]!r} cannot be kept apart from what changes beside it")


def _put(root: object, donor: object, wanted: _Wanted, *, are_known: bool) -> list[object]:
    """Carry out what is wanted; returns the dictionaries that hold nothing now.

    Args:
        root: what a file holds; it is changed.
        donor: what the other holds.
        wanted: of the other.
        are_known: whether all values of the files are shown, so that one that is lost with others would be missed.
    """
    found: list[object] = []
    settle = partial(_settled, are_known=are_known)
    waiting = [(root, donor, wanted)]
    while waiting:
        # Not recursive: the file decides how deeply the values are nested.
        node, other, below = waiting.pop()
        go_into = _in_list if isinstance(node, list) else _in_dictionaries
        descents = go_into(node, other, below, settle)
        found += [part for part, *_ in descents]
        waiting += descents
    return [node for node in found if isinstance(node, Dict | Record) and not node.entries and is_dictionary(node)]


_Descent = tuple[object, object, _Wanted]
"""A part that is gone into, the one at the same path in the other file, and what is wanted there."""

_Settle = Callable[[_Pair | None, _Pair | None, _Wanted], tuple[_Pair | None, list[_Descent]]]
"""`_settled`."""


def _in_list(node: object, other: object, wanted: _Wanted, settle: _Settle) -> list[_Descent]:
    assert isinstance(node, list)
    assert isinstance(other, list)
    descents = []
    for key, below in wanted.below.items():
        index = int(key) if key.isdecimal() else len(node)
        if index >= len(node):
            raise PluginError(f"{key[:80]!r} is no place in a list")
        part, more = settle(("", node[index]), ("", other[index]), below)
        if part is None:
            raise PluginError("a value cannot be taken out of a list")
        node[index] = part[1]
        descents += more
    return descents


def _in_dictionaries(node: object, other: object, wanted: _Wanted, settle: _Settle) -> list[_Descent]:
    """Go into a dictionary, or into those of an object."""
    if isinstance(node, Record) and is_dictionary(node):
        node.entries = node.entries or []
    pairs = [(mine, _entries(mine), _entries(yours)) for mine, yours in zip_longest(dictionaries(node), _of(other))]
    arrivals: list[Entries] = [{} for _ in pairs]
    descents = []
    for key, below in wanted.below.items():
        turn = next((turn for turn, (_, *both) in enumerate(pairs) if any(key in each for each in both)), None)
        if turn is None:
            raise PluginError(f"{key[:80]!r} is no value of a dictionary")
        _, mine, yours = pairs[turn]
        part, more = settle(mine.get(key), yours.get(key), below)
        descents += more
        if part is None:
            mine.pop(key, None)
        elif key in mine:
            mine[key] = part
        else:
            arrivals[turn][key] = part
    for (entries, mine, yours), new in zip(pairs, arrivals, strict=True):
        if entries is None and new:
            raise PluginError(f"there is no dictionary that {next(iter(new))[:80]!r} could be put into")
        if entries is not None:
            entries[:] = [part for pair in _in_order(mine, new, list(yours)) for part in pair]
    return descents


def _of(node: object) -> list[list[object]]:
    return list(dictionaries(node))


def _entries(entries: list[object] | None) -> Entries:
    """What is in a dictionary.

    Raises:
        PluginError: keys look the same, such as 1 and "1".
    """
    found: Entries = {}
    for key, value in zip((entries or [])[::2], (entries or [])[1::2], strict=True):
        found[key_text(key)] = key, value
    if len(found) < len(entries or []) // 2:
        raise PluginError("a dictionary has keys that look the same")
    return found


def _in_order(mine: Entries, new: Entries, elsewhere: Sequence[str]) -> list[_Pair]:
    """The entries of a dictionary, the new ones each behind the one that it follows elsewhere (`texts.place_like`)."""
    behind: dict[str | None, list[_Pair]] = {}
    last: str | None = None
    for key in elsewhere:
        if key in new:
            behind.setdefault(last, []).append(new[key])
        elif key in mine:
            last = key
    pairs = behind.get(None, [])
    for key, pair in mine.items():
        pairs += [pair, *behind.get(key, [])]
    return pairs


def _settled(
    mine: _Pair | None, yours: _Pair | None, wanted: _Wanted, *, are_known: bool
) -> tuple[_Pair | None, list[_Descent]]:
    """What becomes of the key and the value at one place, and what is gone into for it; None for nothing there.

    Args:
        mine: the key and the value there, if any.
        yours: those in the other file.
        wanted: what is wanted there.
        are_known: as in `_put`.
    """
    if wanted.is_place or wanted.text is not None:
        # A value of another kind gives way, and so does what lay in it: its tensors are in no new file, or missed.
        return yours, []
    if yours is None:
        is_left = mine is not None and wanted.below and _is_plain_dictionary(mine[1])
        return (mine, [(mine[1], None, wanted)]) if mine is not None and is_left else (None, [])
    if not wanted.below:
        return None, []
    if mine is not None and _are_alike(mine[1], yours[1], wanted):
        return mine, [(mine[1], yours[1], wanted)]
    is_room = mine is None or next(iter(members(mine[1])), None) is None
    if is_room and _is_plain_dictionary(yours[1]):
        hollow = _hollow(yours[1])
        return (yours[0], hollow), [(hollow, yours[1], wanted)]
    if not are_known:
        raise PluginError("a value lies in what is taken as a whole, and not all values are known")
    return yours, []


def _are_alike(mine: object, yours: object, wanted: _Wanted) -> bool:
    """Whether two values can be mixed part by part."""
    if isinstance(mine, list) and isinstance(yours, list):
        return len(mine) == len(yours)
    if type(mine) is not type(yours) or maker_of(mine) != maker_of(yours):
        return False
    known = {key_text(key) for node in (mine, yours) for entries in dictionaries(node) for key in entries[::2]}
    return known >= wanted.below.keys()


def _is_plain_dictionary(value: object) -> bool:
    """Whether a value is a dictionary that is made of nothing but its entries and attributes; a defaultdict is not."""
    return is_dictionary(value) and not (isinstance(value, Record) and value.args)


def _hollow(value: object) -> Dict | Record:
    """A dictionary of the same kind, without entries."""
    return replace(value, entries=[]) if isinstance(value, Record) else Dict()
