"""The parameter groups of a torch file: a group is a storage, named and shaped after the tensor that fills it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct, field

from git_theta import tensors
from git_theta.checkpoints.pickle_objects import Persistent
from git_theta.checkpoints.texts import MAX_TEXT
from git_theta.checkpoints.torch_tree import Path, StorageId, View, storage_id, view, walk
from git_theta.errors import NotThisFormatError
from git_theta.layout import Layout, Span

_MAX_NAME: Final = 1024
_MAX_ALL_NAMES: Final = 1 << 24
_MAX_SKELETON: Final = 100_000_000
_SHOWN: Final = 120
_ROOT: Final = "tensor"
"""Name of the group of a file that is one tensor and nothing else."""

STORAGE_TYPES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt32Storage": "qint32",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}
"""The dtype of torch that each class of storage has. Newer dtypes have none, and are saved as an UntypedStorage."""

_DTYPES: Final[dict[str, tuple[str, int]]] = {
    **{name: (name, 1) for name in ("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool")},
    **{name: (name, 1) for name in ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")},
    **{name: (name, 1) for name in ("float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz")},
    "float8_e8m0fnu": ("float8_e8m0fnu", 1),
    "float4_e2m1fn_x2": ("float4_e2m1fn", 2),
    "complex32": ("float16", 2),
    "qint32": ("int32", 1),
    "qint8": ("int8", 1),
    "quint8": ("uint8", 1),
    "bits8": ("uint8", 1),
    "bits16": ("uint16", 1),
}
"""Our dtype for torch's, and how many of our elements one of torch's is. A pair of four-bit numbers doubles the last
extent (as safetensors has it), a complex number of two halves adds one. Those that are missing have bits of any meaning
packed into bytes, and are kept as bytes."""


class Use(Struct):
    """What a pickle says of a storage: how it is named at its first mention, and which tensors use it.

    Attributes:
        id: its first mention.
        label: what tells it apart if no tensor names it, if not its key.
        name: of the first tensor that uses it.
        views: the tensors that use it.
        places: every place of each of them, with its path; without one, it is all that the file holds.
    """

    id: StorageId
    label: str | None = None
    name: str | None = None
    views: set[View] = field(default_factory=set)
    places: list[tuple[Path | None, View]] = field(default_factory=list)

    @property
    def dtype(self) -> str | None:
        """The dtype of torch that the storage has by its class, or that all of its tensors have; None without one."""
        own = STORAGE_TYPES.get(self.id.kind)
        if own or len({view.dtype for view in self.views}) != 1:
            return own
        return next(iter(self.views)).dtype


class Names:
    """Names that are told apart and have bounded lengths."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._length = 0

    def new(self, keys: list[str]) -> str | None:
        """A name for the tensor at a path, if it can have one that is not too long.

        Raises:
            NotThisFormatError: all the names together are too long.
        """
        if sum(map(len, keys)) + len(keys) > _MAX_NAME:
            return None
        name = tensors.join_name(keys)
        self._length += len(name)
        if self._length > _MAX_ALL_NAMES:
            raise NotThisFormatError("its names are too long")
        # Two keys of a dictionary may look the same, such as 1 and "1".
        while name in self._taken:
            self._taken[name] += 1
            name = f"{name}#{self._taken[name]}"
        self._taken[name] = 1
        return name


class Storages:
    """What a pickle says of its storages.

    Attributes:
        uses: by the key of the storage.
    """

    def __init__(
        self,
        root: object,
        persistents: Iterable[Persistent],
        names: Names,
        *,
        prefix: tuple[str, ...] = (),
        are_counted: bool = False,
    ) -> None:
        """Look at every tensor of a pickle.

        Args:
            root: what the pickle holds.
            persistents: all of its persistent objects.
            names: those that are taken, and will be.
            prefix: stands before the path of every tensor.
            are_counted: whether storages without a tensor are named by their turn, as their keys are addresses of
                memory, which are others in the next file.

        Raises:
            NotThisFormatError: the pickle contradicts itself.
        """
        self.uses: dict[str, Use] = {}
        self._names = names
        self._prefix = prefix
        for persistent in persistents:
            storage = storage_id(persistent)
            if storage is not None:
                self.uses.setdefault(storage.key, Use(storage, str(len(self.uses)) if are_counted else None))
        for path, value in walk(root):
            tensor = view(value)
            if tensor is None:
                continue
            use = self.uses[tensor.storage.key]
            if use.name is None:
                use.name = names.new([*prefix, *(path.keys() if path else [_ROOT])])
            use.places.append((path, tensor))
            use.views.add(tensor)

    def ties(self) -> dict[str, str]:
        """Where tensors stand that are the same as the first of their storage, and the name of that."""
        return {
            place: use.name
            for use in self.uses.values()
            if len(use.places) > 1 and len(use.views) == 1 and use.name is not None
            for place in self._names_of(use)
            if place != use.name
        }

    def labels(self, spans: Mapping[str, Span], *, is_raw: bool = False) -> dict[str, str]:
        """How the values of groups are read, where that is not all of them in C order; see `checkpoints.Labelled`.

        Args:
            spans: the groups, by the keys of their storages.
            is_raw: as for `span`.
        """
        found: dict[str, str] = {}
        for key, span in spans.items():
            use = self.uses.get(key)
            if use is None or not use.views or (not is_raw and _is_plain(use, span)):
                continue
            text = _bounded(f"{'big-endian ' if is_raw else ''}{self._told(use)}")
            is_one = len(use.views) == 1
            found |= dict.fromkeys(self._names_of(use) if is_one else (), text)
            found[span.name] = text
        return found

    def _told(self, use: Use) -> str:
        """The tensor that a storage holds, or those that do not hold the same of it, by their places."""
        told = [_shown(view, use.dtype) for _, view in use.places]
        if len(set(told)) == 1:
            return told[0]
        return ", ".join(sorted(f"{place}: {text}" for place, text in zip(self._names_of(use), told, strict=True)))

    def _names_of(self, use: Use) -> list[str]:
        """The places of the tensors of a storage, as names that groups there would have."""
        return [tensors.join_name([*self._prefix, *(path.keys() if path else [_ROOT])]) for path, _ in use.places]

    def span(self, key: str, start: int, nbytes: int, *, is_raw: bool = False) -> Span:
        """The group of a storage.

        Args:
            key: of the storage.
            start: offset of its bytes.
            nbytes: how many there are.
            is_raw: whether the values are big-endian; these have no dtype here, so the group is one of plain bytes.

        Raises:
            NotThisFormatError: it can have no name, or has not the size that the pickle says.
        """
        use = self.uses.get(key) or Use(StorageId(key, "UntypedStorage", nbytes))
        declared = _declared_nbytes(use.id)
        if declared not in (None, nbytes):
            raise NotThisFormatError(f"storage {key[:80]!r} has {nbytes} bytes, but its pickle says {declared}")
        name = use.name
        if name is None:  # not `or`: a tensor may have the empty name
            name = self._names.new([*self._prefix, "storage", use.label or key])
        if name is None:
            raise NotThisFormatError("the key of a storage is too long")
        for dtype, shape in [] if is_raw else _shapes(use, nbytes):
            if _nbytes(dtype, shape) == nbytes:
                return Span(name, dtype, shape, start)
        return Span(name, "uint8", (nbytes,), start)


def layout_of(name: str, size: int, spans: Iterable[Span]) -> Layout:
    """The layout of a file.

    Args:
        name: of the format.
        size: bytes of the file.
        spans: its groups, in any order.

    Raises:
        NotThisFormatError: there is so much beside the groups that one could not hold it in memory with ease.
    """
    ordered = tuple(sorted(spans, key=lambda span: (span.start, span.stop)))
    rest = size - sum(span.nbytes for span in ordered)
    if rest > _MAX_SKELETON:
        raise NotThisFormatError(
            f"it has {rest} bytes beside its tensors, and {_MAX_SKELETON} at most are looked after"
        )
    return Layout(name, size, ordered)


def _shapes(use: Use, nbytes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The dtypes and shapes that the group may have, the best first."""
    known = _DTYPES.get(use.dtype or "")
    if known is None:
        return
    dtype, each = known
    if len({(view.offset, view.shape, view.strides) for view in use.views}) == 1:
        tensor = next(iter(use.views))
        if tensor.offset == 0 and _is_contiguous(tensor):
            yield dtype, _scaled(tensor.shape, use.dtype)
    # Not `nbytes // size`: elements of less than a byte.
    elements, size = tensors.BLOCKS[dtype]
    yield dtype, _scaled((nbytes * elements // size // each,), use.dtype)


def _is_plain(use: Use, span: Span) -> bool:
    """Whether the values of a group are those of its tensor, one by one and in order, and its dtype is torch's."""
    tensor = next(iter(use.views))
    if len({(view.offset, view.shape, view.strides, view.meaning) for view in use.views}) > 1 or tensor.meaning:
        return False
    is_own = use.dtype in (span.dtype, "float4_e2m1fn_x2")
    is_all = tensor.offset == 0 and _is_contiguous(tensor) and span.shape == _scaled(tensor.shape, use.dtype)
    return is_own and is_all


def _shown(view: View, dtype: str | None) -> str:
    """How a tensor is read from its storage."""
    # A step that is never taken may have any length.
    strides = tuple(stride if extent > 1 else 0 for extent, stride in zip(view.shape, view.strides, strict=True))
    kind = dtype or view.dtype or view.storage.kind
    text = f"{kind} {list(view.shape)}, strides {list(strides)}, offset {view.offset}"
    return f"{text}, {view.meaning}" if view.meaning else text


def _bounded(text: str) -> str:
    """The text; of a long one the beginning, and a digest that tells it from all others."""
    return text if len(text) <= MAX_TEXT else f"{text[:_SHOWN]}... ({tensors.digest(text.encode())})"


def _scaled(shape: tuple[int, ...], dtype: str | None) -> tuple[int, ...]:
    if dtype == "float4_e2m1fn_x2" and shape:
        return (*shape[:-1], shape[-1] * 2)
    return (*shape, 2) if dtype == "complex32" else shape


def _is_contiguous(tensor: View) -> bool:
    if 0 in tensor.shape:
        return True
    expected = 1
    for extent, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    try:
        return tensors.nbytes(dtype, shape)
    except ValueError:
        return None


def _declared_nbytes(storage: StorageId) -> int | None:
    """The bytes that the pickle says a storage has; None if its class is not known here."""
    size = item_size(storage.kind)
    return None if size is None else storage.numel * size


def item_size(kind: str) -> int | None:
    """Bytes of the elements of a class of storage; None if it is not known here."""
    if kind not in STORAGE_TYPES:
        return 1 if kind == "UntypedStorage" else None
    name, each = _DTYPES.get(STORAGE_TYPES[kind], ("uint8", 1))
    elements, size = tensors.BLOCKS[name]
    return size * each // elements
