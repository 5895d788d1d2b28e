"""New torch files: from names and values alone, or in the structure of an old file, whose other content is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from blake3 import blake3
from msgspec import Struct

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.pickle_objects import Dict, Global, Persistent, Record
from git_theta.checkpoints.pickle_writer import PickleWriter
from git_theta.checkpoints.torch_spans import STORAGE_TYPES
from git_theta.checkpoints.torch_tree import inner, key_text, maker_of, members, place_of, storage_id, view, walk
from git_theta.checkpoints.zips import write_stored
from git_theta.errors import PluginError
from git_theta.layout import Span

_TOP: Final = "archive"
_ALIGNMENT: Final = 64
_MAX_WRAPPED: Final = 8
_DROPPED: Final = "dropped "
"""Before the key of a storage that is taken out, which is like no new key then."""
_MAX_DIGITS: Final = 19
_CLASSES: Final = {dtype: name for name, dtype in STORAGE_TYPES.items()}
_UNTYPED: Final = {
    **{name: name for name in ("uint16", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz")},
    **{name: name for name in ("float8_e4m3fnuz", "float8_e8m0fnu")},
    "float4_e2m1fn": "float4_e2m1fn_x2",
}
"""Torch's names of the dtypes that have no class of storage."""

_DICTIONARIES: Final = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict")


class Old(Struct, frozen=True):
    """A torch file that was read, and whose structure a new one shall have.

    Attributes:
        root: what its pickle holds; changed by writing.
        persistents: all of the pickle's.
        storages: its groups in file order, by the keys of their storages. Where parts of other files were put in, one
            group may have several.
        protocol: of its pickle.
        others: members of a zip file that torch has no use for, and their contents.
        emptied: dictionaries that are taken out if they hold nothing.
    """

    root: object
    persistents: Sequence[Persistent]
    storages: Mapping[str, Span]
    protocol: int
    others: Sequence[tuple[str, bytes]] = ()
    emptied: Sequence[object] = ()


class Pickled(Struct, frozen=True):
    """The structure of a new file.

    Attributes:
        data: the pickle.
        keys: of the storage for each group, by its name.
        persistents: those in the pickle.
    """

    data: bytes
    keys: Mapping[str, str]
    persistents: Sequence[Persistent]


def write_archive(groups: Mapping[str, Values], old: Old | None) -> Iterator[bytes]:
    """The bytes of a new file with these groups, in their order.

    Args:
        groups: by name.
        old: whose structure is kept: groups that it has not are added where their names say, those that it has
            beyond these are taken out.

    Raises:
        PluginError: torch has no such dtype, or the structure has no room for a group, or cannot lose one.
    """
    made = pickled(groups, old)
    members: list[tuple[str, bytes | memoryview]] = [("data.pkl", made.data), ("byteorder", b"little")]
    members += ((f"data/{made.keys[name]}", values.data) for name, values in groups.items())
    # Torch tells files apart by it, and takes any forty digits.
    identity = int(blake3(made.data).hexdigest(), 16) % 10**40
    members += old.others if old else ()
    members += [("version", b"3\n"), (".data/serialization_id", b"%040d" % identity)]
    return write_stored(((f"{_TOP}/{name}", content) for name, content in members), _ALIGNMENT)


def pickled(groups: Mapping[str, Values], old: Old | None, *, is_stream: bool = False) -> Pickled:
    """The pickle of a new file; see `write_archive`.

    Args:
        groups: by name.
        old: whose structure is kept.
        is_stream: whether the file is one of the legacy format, whose pickle has more to say of storages and modules.

    Raises:
        PluginError: as in `write_archive`.
    """
    plan = _Plan(groups, old, is_stream=is_stream)
    writer = PickleWriter(plan.replacement, old.protocol if old else 2)
    data = writer.dump(plan.root)
    plan.check(writer.persistents)
    return Pickled(data, plan.keys, writer.persistents)


class _Plan:
    """The structure to write.

    Attributes:
        root: what the pickle shall hold.
        keys: of the storage for each group.
    """

    def __init__(self, groups: Mapping[str, Values], old: Old | None, *, is_stream: bool) -> None:
        self._is_stream = is_stream
        # As torch numbers them, and not as in the old file: of two files with the same groups and values, it does not
        # show what other groups they had before.
        self.keys = {name: str(number) for number, name in enumerate(groups)}
        self._dropped: set[str] = set()
        # By id: dictionaries and lists that have lost all they held.
        self._emptied: dict[int, object] = {}
        self._used: set[str] = set()
        self._indexed: dict[int, dict[str, object]] = {}
        self._numbered: dict[int, bool] = {}
        # By dictionary: its entries, and what `_put_behind` has to know of the new ones.
        self._arrivals: dict[int, tuple[list[object], dict[str, str | None]]] = {}
        self.root: object = Record(Global("collections", "OrderedDict"), (), b"R")
        known: set[str] = set()
        in_order = old is None or _is_in_order(old)
        if old is not None:
            self.root = old.root
            known = {span.name for span in old.storages.values()}
            self._emptied |= {id(node): node for node in old.emptied}
            self._keep(groups, old)
        split = {name: tensors.split_name(name) for name in groups}
        # By path: the key that the last group so far has there; None before the first that the old file has.
        self._last: dict[tuple[str, ...], str | None] = {
            keys[:depth]: None for name, keys in split.items() if name in known for depth in range(len(keys))
        }
        for name, keys in split.items():
            if name not in known:
                self._insert(keys, _tensor(groups[name], self.keys[name], is_stream=is_stream))
            self._last |= {keys[:depth]: key for depth, key in enumerate(keys)}
        if in_order:
            for entries, behind in self._arrivals.values():
                _put_behind(entries, behind)
        self._take_emptied_out()

    def replacement(self, part: object) -> object:
        """What stands in the place of a part: nothing for a tensor that is taken out."""
        return None if self._dropped and self._is_dropped(part) else part

    def check(self, written: Sequence[Persistent]) -> None:
        """Make sure that the structure lost what was taken out, and nothing else, as of a sparse tensor's two groups.

        Args:
            written: the persistent objects of the new pickle.

        Raises:
            PluginError: it did not.
        """
        keys = {found.key for persistent in written if (found := storage_id(persistent))}
        lost = next(
            (name for name, key in self.keys.items() if self._dropped and key in self._used and key not in keys), None
        )
        if lost is not None:
            raise PluginError(f"the group {lost!r} cannot stay in the file without another that is taken out")
        if not self._dropped.isdisjoint(keys):
            raise PluginError("a group cannot be taken out of the file, whose structure needs it")

    def _keep(self, groups: Mapping[str, Values], old: Old) -> None:
        changed: dict[str, Values] = {}
        renamed: dict[str, str] = {}
        for key, span in old.storages.items():
            values = groups.get(span.name)
            if values is None:
                renamed[key] = f"{_DROPPED}{key}"
                self._dropped.add(renamed[key])
                continue
            renamed[key] = self.keys[span.name]
            if (values.dtype, values.shape) != (span.dtype, span.shape):
                changed[renamed[key]] = values
        rename(old.persistents, renamed)
        everything = [value for _, value in walk(old.root)]
        for value in everything:
            if isinstance(value, Record):
                _reshape(value, changed, is_stream=self._is_stream)
                value.maker = value.maker if self._is_stream else _class(value.maker)
        for persistent in old.persistents:
            persistent.id = _new_id(persistent, changed, is_stream=self._is_stream)
            storage = storage_id(persistent)
            if storage is not None:
                self._used.add(storage.key)
        if self._dropped:
            self._take_dropped_out(everything)

    def _take_dropped_out(self, everything: Sequence[object]) -> None:
        for value in everything:
            if isinstance(value, Dict | Record) and value.entries:
                self._take_out(value, self._is_dropped)
            elif isinstance(value, list):
                self._shorten(value)

    def _take_out(self, node: Dict | Record, is_gone: Callable[[object], bool]) -> None:
        """Take values out of a dictionary, and remember whether any is left."""
        pairs = zip(node.entries[::2], node.entries[1::2], strict=True)
        node.entries = [part for key, value in pairs if not is_gone(value) for part in (key, value)]
        if not node.entries and is_dictionary(node):
            self._emptied[id(node)] = node

    def _shorten(self, node: list[object]) -> None:
        """Take tensors from the end of a list: those behind them would else get other numbers."""
        is_one = bool(node) and self._is_dropped(node[-1])
        while node and self._is_dropped(node[-1]):
            node.pop()
        if is_one and not node:
            self._emptied[id(node)] = node

    def _take_emptied_out(self) -> None:
        """Take dictionaries that have lost all they held out of those that they are in.

        A file that lost a group is then like one that never had it. Else a new dictionary of one side's groups would be
        a change of what is outside of the groups. Objects keep their attributes, as `_parameters` of a module, empty
        or not.
        """
        if not self._emptied:
            return
        everything = [value for _, value in walk(self.root)]
        attributes = {id(part) for value in everything if isinstance(value, Record) for part in _state(value)}
        holders = [value for value in everything if is_dictionary(value) and id(value) not in attributes]
        count = 0
        while count < len(self._emptied):
            count = len(self._emptied)
            for holder in holders:
                if isinstance(holder, Dict | Record) and holder.entries:
                    self._take_out(holder, self._is_emptied)

    def _is_emptied(self, value: object) -> bool:
        if id(value) not in self._emptied:
            return False
        return not (value.entries if isinstance(value, Dict | Record) else value)

    def _is_dropped(self, value: object, depth: int = 0) -> bool:
        if isinstance(value, tuple) and value and not depth:
            return all(self._is_dropped(part, depth + 1) for part in value)
        if not isinstance(value, Record) or depth > _MAX_WRAPPED:
            return False
        tensor = view(value)
        if tensor is not None and tensor.storage.key in self._dropped:
            return True
        return any(self._is_dropped(part, depth + 1) for _, part in inner(value) or ())

    def _insert(self, keys: tuple[str, ...], tensor: Record) -> None:
        """Put a tensor where its name says, else at the top under the whole name."""
        node = self.root
        for depth, key in enumerate(keys[:-1]):
            below = self._parts(node).get(key)
            if below is None:
                below = Dict()
                if not self._put(node, keys[:depth], key, below):
                    break
            node = below
        else:
            if self._put(node, keys[:-1], keys[-1], tensor):
                return
        name = tensors.join_name(keys)
        if not self._put(self.root, (), name, tensor):
            raise PluginError(f"the file has no place for a group named {name!r}")

    def _parts(self, node: object) -> dict[str, object]:
        """What a part of the structure consists of, by key. Looked up once, or writing would take quadratic time."""
        found = self._indexed.get(id(node))
        if found is None:
            self._indexed[id(node)] = found = {}
            for name, part in members(node):
                if name is not None:
                    found.setdefault(name, part)
        return found

    def _put(self, node: object, path: tuple[str, ...], key: str, value: object) -> bool:
        """Set an entry of a dictionary at a path, or append to a list; false where neither can be."""
        parts = self._parts(node)
        if isinstance(node, list):
            if key != str(len(node)):
                return False
            node.append(value)
        elif isinstance(node, Dict | Record) and is_dictionary(node):
            node.entries = node.entries or []
            place = place_of(node.entries, key) if key in parts else None
            if place is None:
                node.entries += [self._key(node, node.entries, key), value]
                if path in self._last:
                    self._arrivals.setdefault(id(node), (node.entries, {}))[1][key] = self._last[path]
            else:
                node.entries[place + 1] = value
        else:
            return False
        parts[key] = value
        return True

    def _key(self, node: object, entries: Sequence[object], text: str) -> object:
        """The key of a new entry; a number where all the others are."""
        is_number = len(text) < _MAX_DIGITS and text.isdecimal() and str(int(text)) == text
        if id(node) not in self._numbered:
            self._numbered[id(node)] = bool(entries) and all(type(key) is int for key in entries[::2])
        self._numbered[id(node)] &= is_number
        return int(text) if self._numbered[id(node)] else text


def is_dictionary(value: object) -> bool:
    """Whether a value is a dictionary, and no object that holds one."""
    return isinstance(value, Dict) or maker_of(value) in _DICTIONARIES


def _state(record: Record) -> tuple[object, ...]:
    """The dictionaries that an object's attributes are set from: two where it has slots."""
    return record.state if isinstance(record.state, tuple) else (record.state,)


def _is_in_order(old: Old) -> bool:
    """Whether the storages are in the order in which the pickle names them.

    Older versions of torch have them in that of their numbers as texts: 1, 10, 11, 2. Then the order of the groups
    tells nothing of that of the keys.
    """
    named = dict.fromkeys(storage.key for persistent in old.persistents if (storage := storage_id(persistent)))
    return list(named) == list(old.storages)


def _put_behind(entries: list[object], behind: Mapping[str, str | None]) -> None:
    """Put new entries of a dictionary, which are at its end, where they belong.

    Args:
        entries: of the dictionary.
        behind: the keys of the new entries in turn, and those that they stand behind: None for the first place.
    """
    places: dict[str | None, tuple[int, int]] = {None: (-1, 0)}
    places |= {key_text(key): (place, 0) for place, key in enumerate(entries[::2])}
    for turn, (key, before) in enumerate(behind.items(), 1):
        places[key] = places.get(before, places[key])[0], turn
    order = sorted(range(len(entries) // 2), key=lambda place: places[key_text(entries[2 * place])])
    entries[:] = [part for place in order for part in entries[2 * place : 2 * place + 2]]


def _storage_id(values: Values, key: str, location: object = "cpu", *, is_stream: bool) -> tuple[object, ...]:
    name = _CLASSES.get(values.dtype)
    if name is not None:
        known = ("storage", Global("torch", name), key, location, math.prod(values.shape))
        return (*known, None) if is_stream else known  # None: it is not a view of another one
    if values.dtype not in _UNTYPED or is_stream:
        raise PluginError(f"torch has no dtype {values.dtype}{' in its legacy format' if is_stream else ''}")
    return ("storage", Global("torch.storage", "UntypedStorage"), key, location, len(values.data))


def _tensor(values: Values, key: str, *, is_stream: bool, has_gradient: bool = False) -> Record:
    shape = values.shape
    if values.dtype == "float4_e2m1fn":
        if not shape or shape[-1] % 2:
            raise PluginError("torch keeps four-bit numbers in pairs, and the last extent is odd")
        shape = (*shape[:-1], shape[-1] // 2)
    strides = tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
    hooks = Record(Global("collections", "OrderedDict"), (), b"R")
    args = (Persistent(_storage_id(values, key, is_stream=is_stream)), 0, shape, strides, has_gradient, hooks)
    if values.dtype in _CLASSES:
        return Record(Global("torch._utils", "_rebuild_tensor_v2"), args, b"R")
    dtype = Global("torch", _UNTYPED[values.dtype])
    return Record(Global("torch._utils", "_rebuild_tensor_v3"), (*args, dtype), b"R")


def _reshape(record: Record, changed: Mapping[str, Values], *, is_stream: bool) -> None:
    """Make a tensor whose storage has another size or dtype now a plain tensor of all of its values."""
    is_subclass = maker_of(record) == "torch._tensor._rebuild_from_type_v2" and len(record.args) == 4
    inside = (inner(record) or [(None, None)])[0][1] if is_subclass else record
    tensor = view(inside)
    if tensor is None or tensor.storage.key not in changed:
        return
    values = changed[tensor.storage.key]
    asked = isinstance(inside, Record) and len(inside.args) > 4 and inside.args[4] is True
    can_have = "float" in values.dtype or "complex" in values.dtype
    plain = _tensor(values, tensor.storage.key, is_stream=is_stream, has_gradient=asked and can_have)
    if is_subclass:
        record.args = (plain.maker, record.args[1], plain.args, record.args[3])
    else:
        record.maker, record.args, record.how, record.state = plain.maker, plain.args, plain.how, None


def _class(maker: object) -> object:
    """The class of a module, which the legacy format names together with its source."""
    match maker:
        case Persistent(id=("module", Global() as found, *_)):
            return found
        case _:
            return maker


def rename(persistents: Sequence[Persistent], keys: Mapping[str, str]) -> None:
    """Give storages other keys."""
    for persistent in {id(persistent): persistent for persistent in persistents}.values():
        storage = storage_id(persistent)
        if storage is not None and storage.key in keys and isinstance(persistent.id, tuple):
            persistent.id = (*persistent.id[:2], keys[storage.key], *persistent.id[3:])


def _new_id(persistent: Persistent, changed: Mapping[str, Values], *, is_stream: bool) -> object:
    """How the new file names what the old one named so; the legacy format has more to say of a storage."""
    storage = storage_id(persistent)
    if not isinstance(persistent.id, tuple) or storage is None:
        return persistent.id
    if storage.is_view and not is_stream:
        raise PluginError("the file has views of storages, which newer files cannot have")
    if storage.is_view and storage.key in changed:
        raise PluginError("a storage that the file has views of cannot get another size or dtype")
    if storage.key in changed:
        return _storage_id(changed[storage.key], storage.key, persistent.id[3], is_stream=is_stream)
    return persistent.id if is_stream else persistent.id[:5]
