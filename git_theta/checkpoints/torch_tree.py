"""What torch would make of a pickle: its tensors, their storages, and the paths that lead to them.

Works on the stand-ins of `pickles`; the functions that torch saves tensors with are known by their names alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from git_theta.checkpoints.pickle_objects import Bag, Dict, Global, Persistent, Record
from git_theta.errors import NotThisFormatError

_MAX_DEPTH: Final = 512
_MAX_KEY: Final = 256
_MAX_WRAPPED: Final = 8
_MAX_NUMBER: Final = 2**62
_MAX_DIMENSIONS: Final = 64
_CONTAINERS: Final = (Dict, Record, list, tuple, Bag)
_REBUILDS: Final = frozenset(
    {
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_qtensor",
    }
)
_FROM_PAIRS: Final = frozenset({"collections.OrderedDict", "builtins.dict", "__builtin__.dict", "collections.Counter"})
SET_MAKERS: Final = frozenset({"builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset"})
"""What makes a set from a list."""

_RECONSTRUCTORS: Final = ("copyreg._reconstructor", "copy_reg._reconstructor")
_SPARSE_PARTS: Final = {
    "torch.sparse_coo": ("indices", "values", "size"),
    "torch.sparse_csr": ("crow_indices", "col_indices", "values", "size"),
    "torch.sparse_bsr": ("crow_indices", "col_indices", "values", "size"),
    "torch.sparse_csc": ("ccol_indices", "row_indices", "values", "size"),
    "torch.sparse_bsc": ("ccol_indices", "row_indices", "values", "size"),
}


class Path:
    """The keys from the root to a value, of which each knows the one before: as cheap as an edge."""

    __slots__ = ("before", "depth", "key")

    def __init__(self, before: Path | None, key: str) -> None:
        self.before = before
        self.key = key
        self.depth: int = before.depth + 1 if before else 1

    def keys(self) -> list[str]:
        """The keys, the root's first."""
        found: list[str] = []
        step: Path | None = self
        while step is not None:
            found.append(step.key)
            step = step.before
        return found[::-1]


class StorageId(Struct, frozen=True):
    """How a pickle names a storage.

    Attributes:
        key: which one.
        kind: the class, such as "FloatStorage".
        numel: elements.
        offset: of a view of another storage (before torch 0.4), in elements.
        is_view: whether it is such a view.
    """

    key: str
    kind: str
    numel: int
    offset: int = 0
    is_view: bool = False


class View(Struct, frozen=True):
    """A tensor: some elements of a storage.

    Attributes:
        storage: that it is a view of.
        dtype: None if it is the storage's.
        offset: of its first element.
        shape: its extents.
        strides: from element to element, by dimension.
        meaning: what makes its values of the elements, such as the scale of a quantized tensor, and whether they are
            conjugated or negated; empty if they are the elements.
    """

    storage: StorageId
    dtype: str | None
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    meaning: str = ""


def maker_of(value: object) -> str:
    """The dotted name of what a record is made by; empty for anything else."""
    return value.maker.path if isinstance(value, Record) and isinstance(value.maker, Global) else ""


def storage_id(value: object) -> StorageId | None:
    """How a persistent object names a storage; None if it is no storage.

    Raises:
        NotThisFormatError: it is one, but malformed.
    """
    if not isinstance(value, Persistent) or not isinstance(value.id, tuple) or value.id[:1] != ("storage",):
        return None
    match value.id:
        case (_, Global(name=str(kind)), str() | int() as key, _, int(numel), *views):
            pass
        case _:
            raise NotThisFormatError("its pickle names a storage in a way that is not known")
    if not 0 <= numel < _MAX_NUMBER or len(key_text(key)) > _MAX_KEY:
        raise NotThisFormatError("its pickle names an impossible storage")
    match views:
        case [] | [None]:
            return StorageId(key_text(key), kind, numel)
        case [(_, int(offset), int())]:
            return StorageId(key_text(key), kind, numel, offset, is_view=True)
        case _:
            raise NotThisFormatError("its pickle names a storage in a way that is not known")


def view(value: object) -> View | None:
    """The tensor that a record makes; None if it makes none that has a storage."""
    name = maker_of(value)
    if not isinstance(value, Record):
        return None
    if name in _REBUILDS:
        args: object = value.args
    elif name.startswith(("torch.", "torch.cuda.")) and name.endswith("Tensor"):
        args = value.state  # before torch 0.2, the class itself
    else:
        return None
    if not isinstance(args, tuple) or len(args) < 4:
        return None
    found = storage_id(args[0])
    offset, shape, strides = args[1], _extents(args[2]), _extents(args[3])
    if found is None or type(offset) is not int or shape is None or strides is None or len(shape) != len(strides):
        return None
    dtype = args[6] if name.endswith("_v3") and len(args) > 6 else None
    kind = dtype.name if isinstance(dtype, Global) else None
    return View(found, kind, offset + found.offset, shape, strides, _meaning(name, args))


def _meaning(name: str, args: tuple[object, ...]) -> str:
    """What a tensor says of its elements besides their dtype, of what it is made by and from; see `View`."""
    if name.endswith("_rebuild_qtensor") and len(args) > 4 and isinstance(args[4], tuple):
        return " ".join(map(key_text, args[4]))
    flags = args[7 if name.endswith("_v3") else 6 :][:1] if name in _REBUILDS else ()
    if flags and isinstance(flags[0], Dict):
        entries = flags[0].entries
        pairs = zip(entries[::2], entries[1::2], strict=True)
        return " ".join(sorted(key_text(key) for key, is_so in pairs if is_so))
    return ""


def _extents(value: object) -> tuple[int, ...] | None:
    if maker_of(value) == "torch.Size" and isinstance(value, Record) and len(value.args) == 1:
        value = value.args[0]
    if not isinstance(value, tuple | list) or len(value) > _MAX_DIMENSIONS:
        return None
    if any(type(number) is not int or not 0 <= number < _MAX_NUMBER for number in value):
        return None
    return tuple(value)


def inner(record: Record) -> list[tuple[str | None, object]] | None:
    """What torch's own records are made of, by key; no key where the part is what the path already names.

    Returns:
        None if the record is not torch's.
    """
    args, name = record.args, maker_of(record)
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_device_tensor_from_cpu_tensor"):
        return [(None, args[0])] if args else []
    if name == "torch._utils._rebuild_parameter_with_state" and len(args) == 4:
        return [(None, args[0]), *_attributes(args[3])]
    if name == "torch._tensor._rebuild_from_type_v2" and len(args) == 4 and isinstance(args[2], tuple):
        return [(None, Record(args[0], args[2], b"R")), *_attributes(args[3])]
    if name == "torch._utils._rebuild_qtensor" and len(args) > 4 and isinstance(args[4], tuple) and len(args[4]) == 4:
        return [("scales", args[4][1]), ("zero_points", args[4][2])]
    if name == "torch._utils._rebuild_sparse_tensor" and len(args) == 2 and isinstance(args[1], tuple):
        layout = args[0].args[:1] if isinstance(args[0], Record) else ()
        keys = _SPARSE_PARTS.get(layout[0] if layout and isinstance(layout[0], str) else "", ())
        return [(keys[i] if i < len(keys) else str(i), part) for i, part in enumerate(args[1])]
    if name == "torch._utils._rebuild_nested_tensor":
        return list(zip(("buffer", "sizes", "strides", "storage_offsets"), args, strict=False))
    return [] if name in _REBUILDS else None


def members(value: object) -> Iterator[tuple[str | None, object]]:
    """What a value consists of: by key, index or attribute; no key where the part is what the path already names."""
    if isinstance(value, list | tuple):
        yield from ((str(index), element) for index, element in enumerate(value))
    elif isinstance(value, Dict):
        yield from _items(value.entries)
    elif isinstance(value, Bag):
        yield from members(value.elements)
    elif isinstance(value, Record):
        known = inner(value)
        if known is not None:
            yield from known
        elif maker_of(value) in _FROM_PAIRS and len(value.args) == 1:
            yield from _pairs(value.args[0])
        elif maker_of(value) in _RECONSTRUCTORS and len(value.args) == 3:
            # Protocols 0 and 1: a class, its base, and what the base is made from.
            yield from [] if value.args[2] is None else _parts(value.args[2])
        elif maker_of(value) in SET_MAKERS and len(value.args) == 1:
            yield from _parts(value.args[0])
        else:
            yield from members(value.args)
        yield from members(value.elements)
        yield from _items(value.entries)
        if value.state is not None and view(value) is None:
            yield from _attributes(value.state)


def dictionaries(node: object) -> Iterator[list[object]]:
    """The entries of a dictionary, or of those in an object: keys and values in turn. A change of them changes it."""
    if isinstance(node, Dict):
        yield node.entries
    elif isinstance(node, Record):
        if isinstance(node.entries, list):
            yield node.entries
        parts = node.state if isinstance(node.state, tuple) else (node.state,)
        yield from (part.entries for part in parts if isinstance(part, Dict))


def _items(entries: list[object] | tuple[()]) -> Iterator[tuple[str | None, object]]:
    return ((key_text(entries[index]), entries[index + 1]) for index in range(0, len(entries), 2))


def _pairs(value: object) -> Iterator[tuple[str | None, object]]:
    """The items of a dictionary that is made from a list of pairs, as Python 2 saves an OrderedDict."""
    if isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        return ((key_text(pair[0]), pair[1]) for pair in value)
    return _parts(value)


def _parts(value: object) -> Iterator[tuple[str | None, object]]:
    """What a value without a key of its own consists of. An object is its own part: it may be nested without end."""
    return iter([(None, value)]) if isinstance(value, Record) else members(value)


def _attributes(state: object) -> Iterator[tuple[str | None, object]]:
    if isinstance(state, tuple) and len(state) == 2 and all(part is None or isinstance(part, Dict) for part in state):
        # What copyreg makes of a class with __slots__: its __dict__, and the slots.
        for part in state:
            yield from members(part)
    else:
        yield from _parts(state)


def place_of(entries: Sequence[object], text: str) -> int | None:
    """Where a key is among the entries of a dictionary, which are keys and values in turn; None if it is not there."""
    return next((index for index in range(0, len(entries), 2) if key_text(entries[index]) == text), None)


def key_text(key: object) -> str:
    """A key of a dictionary as a part of a name."""
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key) if -_MAX_NUMBER < key < _MAX_NUMBER else hex(key)[:_MAX_KEY]
    if key is None or isinstance(key, bool | float):
        return repr(key)
    if isinstance(key, Global):
        return key.path
    if isinstance(key, tuple):
        return f"({', '.join(key_text(part) for part in key[:16] if not isinstance(part, tuple))})"[:_MAX_KEY]
    return f"({type(key).__name__.lower()})"


def walk(root: object) -> Iterator[tuple[Path | None, object]]:
    """Every value that can be reached, by the first path to it, in the order of the file; a tensor by each path."""
    seen: dict[int, object] = {}
    waiting: list[Iterator[tuple[Path | None, object]]] = [iter([(None, root)])]
    while waiting:
        path, value = next(waiting[-1], (None, waiting))
        if value is waiting:
            waiting.pop()
            continue
        if isinstance(value, _CONTAINERS):
            if id(value) in seen:
                tensor = _tensor_in(value)
                if tensor is not None:
                    yield path, tensor
                continue
            seen[id(value)] = value  # kept, so that no other value is given its id
            if len(waiting) < _MAX_DEPTH:
                waiting.append(below(path, value))
        yield path, value


def _tensor_in(value: object) -> Record | None:
    """A tensor, or the one in a parameter."""
    for _ in range(_MAX_WRAPPED):
        if not isinstance(value, Record):
            break
        if view(value) is not None:
            return value
        parts = inner(value) or [(None, None)]
        value = parts[0][1] if len(parts) == 1 else None
    return None


def below(path: Path | None, value: object) -> Iterator[tuple[Path | None, object]]:
    """The parts of a value at a path, with their own; parts without a key are at the path of the whole."""
    return ((path if key is None else Path(path, key), part) for key, part in members(value))
