"""Small real checkpoints of every format, made and read by the real libraries, for the contract that all formats keep.

A format that has no kit here makes the contract test fail: nobody can add one without samples.
"""

from __future__ import annotations

import functools
import io
import tempfile
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.serialization
import gguf
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
import torch
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.checkpoints import Values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("complex64", "complex128", *_ML_DTYPES),
)
KEYS = st.one_of(
    st.sampled_from(["weight", "bias", "layers", "0", "1", "a/b", "~", "~1", "/", "..", "größe", "重み", "w\n", "#2"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
)


@dataclass(frozen=True)
class Sample:
    """A checkpoint.

    Attributes:
        data: the file.
        is_loaded: whether the kit's `load` knows all that is in it.
        is_closed: whether no group can be added.
        is_whole: whether taking a group out may be refused.
    """

    data: bytes
    is_loaded: bool = True
    is_closed: bool = False
    is_whole: bool = False


@dataclass(frozen=True)
class Kit:
    """What the contract needs to know of a format.

    Attributes:
        samples: by what is special about them.
        load: what the real library finds in a file, by the name that the group should have.
        files: random valid files.
    """

    samples: Callable[[], Mapping[str, Sample]]
    load: Callable[[bytes], dict[str, Values]]
    files: st.SearchStrategy[bytes]


def values_of(array: Array) -> Values:
    """An array as a group."""
    return Values(array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes())


def array(dtype: str, *shape: int, seed: int = 0) -> Array:
    """Some numbers."""
    numbers = np.random.default_rng(seed).integers(0, 100, shape)
    return np.asarray(numbers).astype(getattr(ml_dtypes, dtype) if dtype in _ML_DTYPES else dtype)


@st.composite
def arrays(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES, max_rank: int = 3) -> Array:
    """Arrays of any dtype and shape, scalars and empty ones among them."""
    shape = draw(st.lists(st.integers(0, 3), max_size=max_rank))
    return array(draw(st.sampled_from(dtypes)), *shape, seed=draw(st.integers(0, 9)))


def trees(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any] = KEYS) -> st.SearchStrategy[dict[Any, Any]]:
    """Nested dictionaries."""
    inner = st.recursive(leaves, lambda below: st.dictionaries(keys, below, min_size=1, max_size=3), max_leaves=6)
    return st.dictionaries(keys, inner, min_size=1, max_size=4)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The leaves of nested dictionaries, lists and tuples, by path, in order."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {key: leaf for name, below in items for key, leaf in leaves(below, (*path, str(name))).items()}
    return {path: tree}


# --- safetensors ---


def _safetensors_samples() -> dict[str, Sample]:
    every = {name: array(name, 2, 3) for name in DTYPES if name != "complex128"}
    odd = {"a/b": array("float32", 2), "~": array("int8"), "größe": array("float16", 0, 4), "": array("bool", 3)}
    return {
        "dtypes": Sample(safetensors.numpy.save(every)),
        "odd names": Sample(safetensors.numpy.save(odd, metadata={"format": "pt", "note": 'a "quote"'})),
        "empty": Sample(safetensors.numpy.save({})),
    }


_SAFETENSORS_NAMES = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "BF16": "bfloat16", "BOOL": "bool"}
_KINDS = {"F": "float", "I": "int", "U": "uint", "C": "complex"}


def _load_safetensors(data: bytes) -> dict[str, Values]:
    found = {}
    for name, info in safetensors.deserialize(data):
        kind = info["dtype"]
        dtype = _SAFETENSORS_NAMES.get(kind) or f"{_KINDS[kind[0]]}{kind[1:]}"
        found[tensors.join_name([name])] = Values(dtype, tuple(info["shape"]), bytes(info["data"]))
    return found


_SAFETENSORS_FILES = st.builds(
    lambda tree, notes: bytes(safetensors.numpy.save(tree, metadata=notes)),
    st.dictionaries(
        KEYS.filter(lambda key: key != "__metadata__"),
        arrays(tuple(dtype for dtype in DTYPES if dtype != "complex128")),
        max_size=5,
    ),
    # Release 0.8 of the library writes an empty file with empty metadata that it cannot load itself.
    st.one_of(st.none(), st.dictionaries(KEYS, KEYS, min_size=1, max_size=2)),
)

# --- torch ---

_LEGACY = tuple(dtype for dtype in DTYPES if not dtype.startswith("float8"))
"""What torch can load from its old format."""


class Config:
    """A class that only its own program knows."""

    def __init__(self) -> None:
        self.hidden, self.dropout, self.names = 8, 0.1, ["a", "b"]


def torch_save(value: object, *, is_zip: bool, protocol: int = 2) -> bytes:
    """What torch.save makes of a value."""
    file = io.BytesIO()
    torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


def _tensor(dtype: str, *shape: int, seed: int = 0) -> torch.Tensor:
    numbers = torch.from_numpy(array("float32", *shape, seed=seed))
    return numbers.to(getattr(torch, dtype))


def _training() -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": 0.25}
    return {**state, "config": Config(), "history": [1.5, None, ("a", b"b", {1, 2})]}


def _torch_samples(*, is_zip: bool) -> dict[str, Sample]:
    shared = torch.arange(12.0).reshape(3, 4)
    views = {"whole": shared, "row": shared[1], "column": shared[:, 2], "transposed": shared.t()}
    tied = {"embed": _tensor("bfloat16", 4, 2), "body": [_tensor("float32", 3), (_tensor("int64", 2),)]}
    tied["head"] = tied["embed"]
    odd = OrderedDict([("a/b", {"~": _tensor("int8")}), ("größe", _tensor("half", 0, 4)), ("", _tensor("bool", 3))])
    lone = _tensor("float32", 2, 2)
    values = torch.tensor([1.0, 2.0])
    with warnings.catch_warnings(action="ignore"):
        exotic = {
            "sparse": torch.sparse_coo_tensor([[0, 1], [1, 0]], values, (2, 2)),
            "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "parameter": torch.nn.Parameter(torch.ones(2)),
        }
        return {
            "dtypes": Sample(
                torch_save({name: _tensor(name, 2, 3) for name in (DTYPES if is_zip else _LEGACY)}, is_zip=is_zip)
            ),
            "tied": Sample(torch_save(tied, is_zip=is_zip)),
            "views": Sample(torch_save(views, is_zip=is_zip)),
            "odd names": Sample(torch_save(odd, is_zip=is_zip, protocol=4)),
            "integer keys": Sample(torch_save({0: {1: _tensor("float32", 2)}, 7: _tensor("int32")}, is_zip=is_zip)),
            "training": Sample(torch_save(_training(), is_zip=is_zip), is_loaded=False),
            "exotic": Sample(torch_save(exotic, is_zip=is_zip), is_loaded=False, is_whole=True),
            "lone": Sample(torch_save(lone, is_zip=is_zip), is_loaded=False, is_closed=True, is_whole=True),
            "empty": Sample(torch_save({}, is_zip=is_zip)),
        }


def _load_torch(data: bytes) -> dict[str, Values]:
    # The careful loader knows protocol 2 alone. What it refuses is loaded only because these tests have made it.
    is_new = any(b"\x80" + bytes([protocol]) in data for protocol in (3, 4, 5))
    tree = torch.load(io.BytesIO(data), weights_only=not is_new)
    by_storage: dict[int, tuple[str, list[torch.Tensor]]] = {}
    for path, leaf in leaves(tree).items():
        if isinstance(leaf, torch.Tensor):
            key = leaf.untyped_storage()._cdata
            by_storage.setdefault(key, (tensors.join_name(path), []))[1].append(leaf)
    found: dict[str, Values] = {}
    for name, views in by_storage.values():
        storage = views[0].untyped_storage()
        raw = bytes(torch.tensor([], dtype=torch.uint8).set_(storage).numpy())
        shape = tuple(views[0].shape)
        places = {(view.storage_offset(), tuple(view.shape), view.stride()) for view in views}
        if len(places) > 1 or views[0].storage_offset() or not views[0].is_contiguous():
            shape = (len(raw) // views[0].element_size(),)
        found[name] = Values(str(views[0].dtype).removeprefix("torch."), shape, raw)
    return found


@st.composite
def _torch_trees(draw: st.DrawFn, dtypes: tuple[str, ...]) -> dict[Any, Any]:
    shapes = st.lists(st.integers(0, 3), max_size=3)
    some = st.builds(
        lambda dtype, shape, seed: _tensor(dtype, *shape, seed=seed), st.sampled_from(dtypes), shapes, st.integers(0, 9)
    )
    others = st.sampled_from([3, 0.5, "text", None, True])
    tree = draw(trees(st.one_of(some, others, st.lists(some, max_size=2)), st.one_of(KEYS, st.integers(100, 105))))
    found = [leaf for leaf in leaves(tree).values() if isinstance(leaf, torch.Tensor)]
    if found and draw(st.booleans()):
        tree["tied"] = draw(st.sampled_from(found))
    return tree


# --- flax ---


def _flax_samples() -> dict[str, Sample]:
    every = {name: array(name, 2, 3) for name in DTYPES}
    odd = {"a/b": {"~": array("int8")}, "größe": array("float16", 0, 4), "": {"0": array("bool", 3)}}
    state = {"params": odd, "step": 3, "rate": 0.5, "name": "Adam", "nothing": None, "complex": 1 + 2j}
    chunk = flax.serialization.MAX_CHUNK_SIZE
    try:
        flax.serialization.MAX_CHUNK_SIZE = 64
        chunked = flax.serialization.msgpack_serialize({"large": array("float32", 10, 5), "small": array("int8", 2)})
    finally:
        flax.serialization.MAX_CHUNK_SIZE = chunk
    return {
        "dtypes": Sample(flax.serialization.msgpack_serialize(every)),
        "state": Sample(flax.serialization.msgpack_serialize(state)),
        "scalars": Sample(flax.serialization.to_bytes({"x": np.float32(1.5), "y": {"z": np.int64(4)}})),
        "list": Sample(flax.serialization.to_bytes({"layers": [array("float32", 2), array("float32", 3)]})),
        "chunked": Sample(chunked, is_loaded=False, is_whole=True),
        "lone": Sample(
            flax.serialization.msgpack_serialize(array("float32", 2)), is_loaded=False, is_closed=True, is_whole=True
        ),
    }


def _load_flax(data: bytes) -> dict[str, Values]:
    found = leaves(flax.serialization.msgpack_restore(data))
    return {
        tensors.join_name(path): values_of(np.asarray(leaf))
        for path, leaf in found.items()
        if isinstance(leaf, np.ndarray | np.generic)
    }


_FLAX_LEAVES = st.one_of(arrays(), st.builds(np.float32, st.integers(0, 5)), st.sampled_from([3, 0.5, "text", None]))
_FLAX_FILES = st.builds(
    lambda tree, more: bytes(flax.serialization.msgpack_serialize({**tree, "one more": more})),
    trees(_FLAX_LEAVES),
    arrays(),
)

# --- NumPy ---

_NATIVE = tuple(dtype for dtype in DTYPES if dtype not in _ML_DTYPES)


def npy(value: Array, version: tuple[int, int] | None = None) -> bytes:
    """What numpy.save makes of an array."""
    file = io.BytesIO()
    np.lib.format.write_array(file, value, version)
    return file.getvalue()


def npz(values: Mapping[str, Array]) -> bytes:
    """What numpy.savez makes of arrays."""
    file = io.BytesIO()
    np.savez(file, **values)  # type: ignore[arg-type]
    return file.getvalue()


def _npy_samples() -> dict[str, Sample]:
    made = {name: Sample(npy(array(name, 2, 3)), is_closed=True, is_whole=True) for name in _NATIVE}
    made |= {
        "scalar": Sample(npy(array("float32")), is_closed=True, is_whole=True),
        "empty": Sample(npy(array("float32", 0, 2)), is_closed=True, is_whole=True),
        "Fortran": Sample(npy(np.asfortranarray(array("float64", 2, 3))), is_closed=True, is_whole=True),
        "big-endian": Sample(npy(array("float32", 3).astype(">f4")), is_loaded=False, is_closed=True, is_whole=True),
        "version 3": Sample(npy(array("int32", 4), (3, 0)), is_closed=True, is_whole=True),
        "text": Sample(npy(np.array(["ab", "c"])), is_loaded=False, is_closed=True, is_whole=True),
    }
    return made


def _group(value: Array) -> Values:
    return values_of(value.T if value.flags.f_contiguous and not value.flags.c_contiguous else value)


def _load_npy(data: bytes) -> dict[str, Values]:
    return {"array": _group(np.load(io.BytesIO(data), allow_pickle=False))}


def _npz_samples() -> dict[str, Sample]:
    odd = {"a/b": array("float32", 2), "~": array("int8"), "größe": array("float16", 0, 4), "x.npy": array("bool", 3)}
    return {
        "dtypes": Sample(npz({name: array(name, 2, 3) for name in _NATIVE})),
        "odd names": Sample(npz(odd)),
        "Fortran": Sample(npz({"f": np.asfortranarray(array("float64", 2, 3)), "c": array("int8", 2)})),
        "objects": Sample(
            npz({"o": np.array([{"a": 1}, None], object), "w": array("int8", 2), "x": array("int8")}), is_loaded=False
        ),
    }


def _load_npz(data: bytes) -> dict[str, Values]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        # The members' own names: the archive takes one .npy off, and so do we, but its mapping may hide a name.
        return {tensors.join_name([name]): _group(archive[name]) for name in archive.files}


_NPZ_KEYS = st.one_of(
    st.sampled_from(["weight", "a/b", "~", "größe", "..", "重み", "x y"]),
    st.text("abcXYZ019/~_-. é", min_size=1, max_size=8),
).filter(lambda key: key != "file")

# --- GGUF ---


def gguf_bytes(arrays_of: Mapping[str, Array | tuple[Array, gguf.GGMLQuantizationType]], **pairs: Any) -> bytes:
    """What the gguf package makes of arrays (blocks with their quantized type) and key-value pairs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for key, value in pairs.items():
            add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}
            add.get(type(value), writer.add_array)(f"x.{key}", value)
        for name, value in arrays_of.items():
            if isinstance(value, tuple):
                writer.add_tensor(name, value[0], raw_dtype=value[1])
            else:
                writer.add_tensor(name, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


_GGUF_DTYPES = ("int8", "int16", "int32", "int64", "float16", "float32", "float64")
_QUANTIZED = (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.BF16)


def _blocks(kind: gguf.GGMLQuantizationType, rows: int) -> tuple[Array, gguf.GGMLQuantizationType]:
    _, size = gguf.GGML_QUANT_SIZES[kind]
    return np.arange(rows * 2 * size, dtype=np.uint8).reshape(rows, 2 * size), kind


def _gguf_samples() -> dict[str, Sample]:
    every: dict[str, Any] = {name: array(name, 2, 3) for name in _GGUF_DTYPES}
    every |= {kind.name: _blocks(kind, 2) for kind in _QUANTIZED}
    return {
        "dtypes": Sample(gguf_bytes(every)),
        "pairs": Sample(
            gguf_bytes(
                {"blk.0/attn~q": array("float32", 4), "größe": array("float16", 2, 2)},
                name="llama",
                count=7,
                rate=0.5,
                flag=True,
                tokens=["a", "b", "ü"],
                scores=[0.5, 1.5],
            )
        ),
    }


def _load_gguf(data: bytes) -> dict[str, Values]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(data)
        reader = gguf.GGUFReader(path)
        found = {}
        for tensor in reader.tensors:
            kind = tensor.tensor_type.name
            own = {"F": "float", "I": "int"}
            is_plain = kind[0] in own and kind[1:].isdecimal()
            dtype = own[kind[0]] + kind[1:] if is_plain else {"BF16": "bfloat16"}.get(kind, kind.lower())
            shape = tuple(int(extent) for extent in reversed(tensor.shape))
            found[tensors.join_name([tensor.name])] = Values(dtype, shape, tensor.data.tobytes())
        return found


_GGUF_FILES = st.builds(
    lambda named, kinds, name: gguf_bytes({**named, **{kind.name: _blocks(kind, 1) for kind in kinds}}, name=name),
    st.dictionaries(
        st.one_of(KEYS, st.just("blk.0.attn_q.weight")).filter(lambda key: 0 < len(key.encode()) < 64),
        arrays(_GGUF_DTYPES).filter(lambda value: value.size and value.ndim),
        min_size=1,
        max_size=4,
    ),
    st.sets(st.sampled_from(_QUANTIZED)),
    KEYS.filter(bool),
)

KITS: dict[str, Kit] = {
    "safetensors": Kit(functools.cache(_safetensors_samples), _load_safetensors, _SAFETENSORS_FILES),
    "torch": Kit(
        functools.cache(lambda: _torch_samples(is_zip=True)),
        _load_torch,
        st.builds(functools.partial(torch_save, is_zip=True), _torch_trees(DTYPES), protocol=st.integers(2, 5)),
    ),
    "torch-legacy": Kit(
        functools.cache(lambda: _torch_samples(is_zip=False)),
        _load_torch,
        st.builds(functools.partial(torch_save, is_zip=False), _torch_trees(_LEGACY), protocol=st.integers(2, 5)),
    ),
    "flax": Kit(functools.cache(_flax_samples), _load_flax, _FLAX_FILES),
    "npy": Kit(
        functools.cache(_npy_samples),
        _load_npy,
        st.builds(
            lambda value, is_fortran: npy(np.asfortranarray(value) if is_fortran else value),
            arrays(_NATIVE),
            st.booleans(),
        ),
    ),
    "npz": Kit(
        functools.cache(_npz_samples),
        _load_npz,
        st.builds(npz, st.dictionaries(_NPZ_KEYS, arrays(_NATIVE), min_size=1, max_size=4)),
    ),
    "gguf": Kit(functools.cache(_gguf_samples), _load_gguf, _GGUF_FILES),
}
