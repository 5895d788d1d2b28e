"""The Flax format, held against the real library."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import flax.linen
import flax.serialization
import jax
import ml_dtypes
import msgpack
import numpy as np
import optax  # type: ignore[import-untyped]
import pytest
import safetensors.numpy
from flax.training.train_state import TrainState

from git_theta import tensors
from git_theta.checkpoints import Values, flax_msgpack, flax_reader, flax_writer
from git_theta.checkpoints import scan as scanning
from git_theta.checkpoints.flax_msgpack import FlaxMsgpack
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.registry import Family
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from git_theta.layout import Layout

NUMPY_DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
NUMPY_DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
BEYOND_NUMPY = ["bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"]
BEYOND_NUMPY += ["float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
UNPACKED = ["int2", "uint2", "int4", "uint4", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"]
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 5), (4, 0, 2), (0,), (1,) * 20]


class HeadersOnly(BytesSource):
    """Bytes of which those of the groups must not be read."""

    def __init__(self, data: bytes, layout: Layout) -> None:
        super().__init__(data)
        self._spans = layout.spans

    def read(self, start: int, stop: int) -> bytes:
        assert not [span for span in self._spans if start < span.stop and span.start < stop]
        return super().read(start, stop)


def scan(data: bytes) -> Layout:
    """The layout, which depends on the skeleton alone, and with which the same bytes are put together again."""
    source = BytesSource(data)
    layout = FlaxMsgpack().scan(source)
    skeleton = layout.read_skeleton(source)
    assert FlaxMsgpack().scan(layout.hollow(skeleton)) == layout
    assert FlaxMsgpack().scan(HeadersOnly(data, layout)) == layout
    filled = b""
    position = 0
    for span, lead in zip(layout.spans, layout.leads(), strict=True):
        filled += skeleton[position : position + lead] + data[span.start : span.stop]
        position += lead
    assert filled + skeleton[position:] == data
    return layout


def groups(data: bytes) -> dict[str, Values]:
    return {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in scan(data).spans}


def skeleton(data: bytes) -> bytes:
    return scan(data).read_skeleton(BytesSource(data))


def save(tree: object) -> bytes:
    data: bytes = flax.serialization.msgpack_serialize(tree)
    return data


def restore(data: bytes) -> Any:
    return flax.serialization.msgpack_restore(data)


def write(values: dict[str, Values], old: bytes | None = None) -> bytes:
    return b"".join(FlaxMsgpack().write(values, None if old is None else skeleton(old)))


def array(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    """Any bits, but for booleans."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    count = int(np.prod(shape, dtype=int))
    data = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 256, count * kind.itemsize, np.uint8)
    return data.view(kind).reshape(shape)


def same(first: object, second: object) -> bool:
    """Whether two trees are equal, arrays to the last bit."""
    if isinstance(first, dict):
        return (
            isinstance(second, dict) and list(first) == list(second) and all(same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list):
        return isinstance(second, list) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, np.ndarray | np.generic):
        assert isinstance(second, np.ndarray | np.generic)
        return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())
    return type(first) is type(second) and first == second


TREE = {
    "empty": {},
    "epoch": 3,
    "list": [1, np.zeros(2), None, np.ones(3, np.int8)],
    "lr": 1e-3,
    "name": "modèl\n",
    "params": {"dense": {"bias": np.zeros(4, np.float16), "kernel": np.ones((3, 4), np.float32)}, "e/~": np.ones(1)},
    "scalar": np.float32(3),
    "z": 1 + 2j,
}


# --- files of the real library --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMPY_DTYPES + BEYOND_NUMPY)
def test_arrays_of_every_dtype_and_shape_are_found(dtype: str) -> None:
    arrays = {str(number): array(dtype, shape) for number, shape in enumerate(SHAPES)}
    found = groups(save(arrays))
    assert found == {name: Values(dtype, value.shape, value.tobytes()) for name, value in arrays.items()}
    assert same(restore(save(arrays)), arrays)


@pytest.mark.parametrize("dtype", UNPACKED)
def test_elements_that_could_be_packed_are_bytes(dtype: str) -> None:
    data = save({"a": array(dtype, (3,))})
    assert groups(data) == {"a": Values("uint8", (3,), array(dtype, (3,)).tobytes())}
    assert write(groups(data), data) == data


@pytest.mark.parametrize(
    "value", [np.zeros(3, np.longdouble), np.arange(3).astype("M8[ns]"), np.ones(2, np.clongdouble)]
)
def test_elements_without_a_name_are_raw_bytes(value: np.ndarray[Any, Any]) -> None:
    data = save({"a": value})
    assert groups(data)["a"] == Values("uint8", (*value.shape, value.itemsize), value.tobytes())
    assert write(groups(data), data) == data


def test_groups_are_named_by_their_path_in_file_order() -> None:
    layout = scan(save(TREE))
    assert [span.name for span in layout.spans] == [
        *("list/1", "list/3", "params/dense/bias", "params/dense/kernel", "params/e~1~0", "scalar"),
    ]
    assert layout.format == "flax"


def test_other_leaves_can_be_shown() -> None:
    assert FlaxMsgpack().values(BytesSource(save(TREE))) == {
        "epoch": "3",
        "list/0": "1",
        "list/2": "None",
        "lr": "0.001",
        "name": "'modèl\\n'",
        "z": "(1+2j)",
    }


def test_leaves_of_all_kinds_are_shown_shortly() -> None:
    tree = {
        "b": b"12345",
        "e": msgpack.ExtType(7, b"abc"),
        "n": -7,
        "u": 2**64 - 1,
        "t": True,
        "s": "é" * 5000,
        "x": "a" * 200,
    }
    tree |= {"c": msgpack.ExtType(2, b"12"), "a": np.ones(1)}
    shown = FlaxMsgpack().values(BytesSource(msgpack.packb(tree, default=flax.serialization._msgpack_ext_pack)))
    expected = {"b": "5 bytes", "e": "3 bytes", "n": "-7", "u": str(2**64 - 1), "t": "True", "c": "2 bytes"}
    assert {key: shown[key].partition(" (")[0] for key in expected} == expected
    assert len(shown["s"]) <= 200
    assert "..." in shown["s"]
    many = FlaxMsgpack().values(BytesSource(save({"a": np.ones(1), "v": dict.fromkeys(map(str, range(20_000)), 1)})))
    assert len(many) == 10_000


@pytest.mark.parametrize(
    ("old", "new"),
    [("x" * 300 + "a" + "x" * 300, "x" * 300 + "b" + "x" * 300), (b"a", b"b"), (b"a" * 5000, b"a" * 4999 + b"b")],
    ids=["text", "bytes", "many bytes"],
)
def test_change_in_what_is_not_shown_of_a_leaf_shows(old: object, new: object) -> None:
    old_text, new_text = (
        FlaxMsgpack().values(BytesSource(save({"a": np.ones(1), "leaf": leaf})))["leaf"] for leaf in (old, new)
    )
    assert old_text != new_text
    assert len(old_text) <= 200


def test_training_state_with_an_optimizer_is_read() -> None:
    model = flax.linen.Dense(3)
    params = model.init(jax.random.key(0), np.ones((1, 4)))
    state = TrainState.create(  # type: ignore[no-untyped-call]
        apply_fn=model.apply, params=params, tx=optax.adam(1e-3)
    )
    data = flax.serialization.to_bytes(state)
    names = [span.name for span in scan(data).spans]
    assert "params/params/kernel" in names
    assert "opt_state/0/mu/params/bias" in names
    assert FlaxMsgpack().values(BytesSource(data)) == {"step": "0"}
    assert write(groups(data), data) == data
    restored = flax.serialization.from_bytes(state, data)
    assert same(restored.params["params"]["kernel"], np.asarray(params["params"]["kernel"]))


def test_chunks_of_a_large_array_are_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 100)
    tree = {"params": {"b": array("float32", (3,)), "w": array("float32", (9, 7))}}
    data = save(tree)
    found = groups(data)
    assert [name for name in found if "w" in name] == [f"params/w/chunks/{number}" for number in range(3)]
    assert b"".join(value.data for name, value in found.items() if "w" in name) == tree["params"]["w"].tobytes()
    assert write(found, data) == data
    assert same(restore(data), tree)


def test_an_array_alone_is_a_group_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(array("float32", (3, 4)))
    assert groups(data) == {"": Values("float32", (3, 4), array("float32", (3, 4)).tobytes())}
    assert write(groups(data), data) == data
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)
    assert list(groups(save(array("float32", (3, 4))))) == ["chunks/0", "chunks/1", "chunks/2"]


def test_same_values_have_the_same_digests_as_in_safetensors() -> None:
    arrays = {dtype: array(dtype, (3, 4)) for dtype in NUMPY_DTYPES if dtype != "complex128"}
    theirs = safetensors.numpy.save(arrays)
    digests = {
        span.name: (span.dtype, span.shape, tensors.digest(theirs[span.start : span.stop]))
        for span in Safetensors().scan(BytesSource(theirs)).spans
    }
    ours = {
        name: (value.dtype, value.shape, tensors.digest(value.data)) for name, value in groups(save(arrays)).items()
    }
    assert ours == digests


@pytest.mark.parametrize("path", ["checkpoint_123", "flax_model.msgpack", "anything"])
def test_files_are_known_by_their_content(path: str) -> None:
    family: Family[Any] = Family(
        "checkpoint format",
        "none",
        {
            "safetensors": "git_theta.checkpoints.safetensors:Safetensors",
            "flax": "git_theta.checkpoints.flax_msgpack:FlaxMsgpack",
        },
    )
    found = scanning.scan(BytesSource(save(TREE)), path, family)
    assert (found.layout.format, found.why_opaque) == ("flax", None)


def test_groups_of_files_with_many_lengths_are_found() -> None:
    """Every width of lengths that msgpack has: fixed, 8, 16 and 32 bits."""
    for count in (1, 2, 6, 15, 200, 300, 66_000):
        tree = {"a": array("uint8", (count,)), "l": [0] * count, "s": "x" * count}
        tree["m"] = {str(number): number for number in range(count)}
        data = save(tree)
        found = groups(data)
        assert found["a"].data == array("uint8", (count,)).tobytes()
        assert write(found, data) == data


# --- writing --------------------------------------------------------------------------------------------------------


def test_writing_all_groups_again_gives_the_same_file() -> None:
    assert write(groups(save(TREE)), save(TREE)) == save(TREE)


@pytest.mark.parametrize("dtype", NUMPY_DTYPES + BEYOND_NUMPY)
def test_a_new_file_is_loaded_by_the_library(dtype: str) -> None:
    arrays = {f"{number}": {"a/~": array(dtype, shape)} for number, shape in enumerate(SHAPES)}
    values = {
        tensors.join_name([number, "a/~"]): Values(dtype, value["a/~"].shape, memoryview(value["a/~"].tobytes()))
        for number, value in arrays.items()
    }
    assert same(restore(write(values)), arrays)


def test_what_is_no_array_is_kept_and_what_is_gone_leaves_no_empty_maps() -> None:
    kept = groups(save(TREE))
    del kept["params/dense/bias"], kept["params/dense/kernel"], kept["scalar"]
    kept["params/new/w"] = Values("bfloat16", (2,), b"1234")
    kept["epoch"] = Values("int64", (), bytes(8))
    found = restore(write(kept, save(TREE)))
    expected = {**TREE, "params": {"e/~": np.ones(1), "new": {"w": np.frombuffer(b"1234", ml_dtypes.bfloat16)}}}
    expected["epoch"] = np.zeros((), np.int64)
    del expected["scalar"]
    assert same(found, expected)


def test_large_groups_are_written_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax_writer, "MAX_CHUNK_SIZE", 50)
    value = array("float32", (9, 7))
    data = write({"a/w": Values("float32", value.shape, value.tobytes()), "b": Values("int8", (2,), b"12")})
    assert [span.name for span in scan(data).spans] == [*(f"a/w/chunks/{number}" for number in range(6)), "b"]
    assert same(restore(data), {"a": {"w": value}, "b": np.frombuffer(b"12", np.int8)})


def test_no_groups_make_an_empty_map() -> None:
    assert restore(write({})) == {}


def test_chunked_array_that_is_gone_is_gone_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)
    data = save({"w": array("float32", (3, 4)), "b": array("int8", (2,))})
    assert list(restore(write({"b": groups(data)["b"]}, data))) == ["b"]
    whole = {"w": Values("float32", (3, 4), array("float32", (3, 4)).tobytes())}
    assert same(restore(write(whole, data)), {"w": array("float32", (3, 4))})


ONE = Values("int8", (1,), b"1")


def test_groups_that_cannot_be_written_are_an_error_for_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="flax has no dtype q4_0"):
        write({"a": Values("q4_0", (32,), bytes(18))})
    with pytest.raises(PluginError, match="flax has no dtype float4"):
        write({"a": Values("float4_e2m1fn", (2,), b"1")})
    for order in (("a", "a/b"), ("a/b", "a")):
        with pytest.raises(PluginError, match="inside of"):
            write(dict.fromkeys(order, ONE))
    with pytest.raises(PluginError, match="longer path"):
        write({"/".join("a" * 200): ONE})
    data = save({"l": [array("int8", (2,)), array("int8", (2,))]})
    with pytest.raises(PluginError, match="gaps"):
        write({"l/1": ONE}, data)
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)
    data = save({"w": array("float32", (3, 4))})
    some = groups(data)
    del some["w/chunks/1"]
    with pytest.raises(PluginError, match="chunks"):
        write(some, data)


# --- files that are refused -----------------------------------------------------------------------------------------


def packed(shape: object = (2,), dtype: object = "int8", data: object = b"12", *more: object, code: int = 1) -> bytes:
    """A file with one array, made by hand."""
    found: bytes = msgpack.packb({"a": msgpack.ExtType(code, msgpack.packb([shape, dtype, data, *more]))})
    return found


EXT = msgpack.packb(msgpack.ExtType(1, msgpack.packb([[2], "int8", b"12"])))
REFUSED = {
    "nothing": b"",
    "a number": b"\x01",
    "a text": b"abc",
    "no arrays": msgpack.packb({"a": 1}),
    "an empty map": b"\x80",
    "a string": msgpack.packb("x" * 100),
    "something behind": packed() + b"\0",
    "two objects": packed() * 2,
    "an unused byte": b"\x81\xa1a\xc1",
    "a key that is a number": b"\x81\x01" + EXT,
    "a key that is bytes": b"\x81\xc4\x01a" + EXT,
    "a key that is a map": b"\x81\x80" + EXT,
    "a key that is not UTF-8": b"\x81\xa1\xff" + EXT,
    "a key given twice": b"\x82\xa1a" + EXT + b"\xa1a" + EXT,
    "a key given twice with other things": b"\x82\xa1a\x01\xa1a" + EXT,
    "a key that is long": b"\x81" + msgpack.packb("a" * 3000) + EXT,
    "a dtype that is unknown": packed(dtype="float33"),
    "a dtype of objects": packed(dtype="object"),
    "a dtype of text": packed(dtype="str32"),
    "a dtype of blocks": packed([32], "q4_0", bytes(18)),
    "a dtype of bytes": packed(dtype=b"int8"),
    "a dtype missing": msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[2], b"12"]))}),
    "one more": packed([2], "int8", b"12", 1),
    "too few values": packed([3]),
    "too many values": packed([1]),
    "values as text": packed(data="12"),
    "values as a list": packed(data=[1, 2]),
    "a shape of text": packed(["2"]),
    "a shape of floats": packed([2.0]),
    "a shape of truth": packed([True], data=b"1"),
    "a shape of lists": packed([[2]]),
    "a shape below zero": packed([-1, -2]),
    "a shape that is a number": packed(2),
    "a shape that is a map": packed({"a": 2}),
    "a shape of billions": packed([10**9, 10**9]),
    "a shape of billions and none": packed([2**63, 0], data=b""),
    "a shape that overflows": packed([2**32, 2**32, 2]),
    "a shape of many extents": packed([1] * 65, data=b"1"),
    "a shape of very many extents": b"\x81\xa1a\xc7\x20\x01\x93\xdd\xff\xff\xff\xff" + bytes(26),
    "values beyond the extension": b"\x81\xa1a\xc7\x09\x01\x93\x91\x05\xa4int8\xc4\x05" + bytes(10),
    "an extension beyond the values": b"\x81\xa1a\xc7\x20\x01\x93\x91\x02\xa4int8\xc4\x02" + bytes(22),
    "an empty extension": b"\x81\xa1a\xc7\x00\x01",
    "a map of billions": b"\xdf\xff\xff\xff\xff",
    "a list of billions": b"\xdd\xff\xff\xff\xff" + b"\0" * 100,
    "a string of billions": b"\x81\xdb\xff\xff\xff\xffabc",
    "a leaf of billions": b"\x81\xa1a\xc6\xff\xff\xff\xffabc",
    "array of billions": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01\x93\x91\xce\xff\xff\xff\x00\xa4int8\xc6\xff\xff\xff\x00",
    "maps in maps": b"\x81\xa1a" * 100_000,
    "lists in lists": b"\x91" * 1_000_000,
    "lists in lists that end": b"\x91" * 500 + EXT,
    "maps with long keys": (b"\x81" + msgpack.packb("k" * 1000)) * 100 + EXT,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_files_are_refused(data: bytes) -> None:
    with pytest.raises(NotThisFormatError) as caught:
        FlaxMsgpack().scan(BytesSource(data))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_malformed_skeletons_are_refused() -> None:
    with pytest.raises(NotThisFormatError):
        b"".join(FlaxMsgpack().write({}, REFUSED["maps in maps"]))
    with pytest.raises(NotThisFormatError):
        FlaxMsgpack().values(BytesSource(REFUSED["maps in maps"]))


class Endless:
    """A file of any size that repeats some bytes."""

    def __init__(self, head: bytes, body: bytes, size: int) -> None:
        self.size = size
        self._head = head
        self._body = body

    def read(self, start: int, stop: int) -> bytes:
        first = (start - len(self._head)) // len(self._body) if start > len(self._head) else 0
        begin = len(self._head) + first * len(self._body)
        if start < len(self._head):
            data = self._head + self._body * ((stop - len(self._head)) // len(self._body) + 1)
            return data[start:stop]
        return (self._body * ((stop - begin) // len(self._body) + 1))[start - begin : stop - begin]


HOSTILE = {
    "a list of numbers": Endless(b"\xdd\x7f\xff\xff\xff", b"\0", 1 << 31),
    "a list of arrays": Endless(b"\xdd\x7f\xff\xff\xff", EXT, 1 << 31),
    "a list of empty maps": Endless(b"\xdd\x7f\xff\xff\xff", b"\x80", 1 << 31),
    "a list of long strings": Endless(b"\xdd\x7f\xff\xff\xff", msgpack.packb("x" * 60_000), 1 << 31),
    "arrays below a long path": Endless(msgpack.packb({"k" * 2000: 0})[:-1] + b"\xdd\x7f\xff\xff\xff", EXT, 1 << 31),
    "one key that does not end": Endless(b"\x81\xdb\x7f\xff\xff\xff", b"k", 1 << 32),
    "one string that is all": Endless(b"\x81\xa1k\xdb\x7f\xff\xff\xff", b"k", (1 << 31) + 7),
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_take_little_memory_and_time(source: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = time.thread_time()
    with pytest.raises(NotThisFormatError):
        FlaxMsgpack().scan(source)
    assert time.thread_time() - begin < 30
    # Tracing memory is slow, so it is done with a tenth of what is allowed.
    limits = {flax_reader: ("_MAX_ITEMS", "_MAX_NAMES"), flax_msgpack: ("_MAX_GROUPS", "_MAX_NAMES")}
    for module, names in limits.items():
        for limit in names:
            monkeypatch.setattr(module, limit, getattr(module, limit) // 10)
    tracemalloc.start()
    try:
        with pytest.raises(NotThisFormatError):
            FlaxMsgpack().scan(source)
        assert tracemalloc.get_traced_memory()[1] < 15_000_000
    finally:
        tracemalloc.stop()


def test_keys_that_are_all_different_take_little_memory() -> None:
    keys = b"".join(msgpack.packb(f"{number:06}" + "k" * 500) + b"\0" for number in range(60_000))
    with pytest.raises(NotThisFormatError, match="too much"):
        FlaxMsgpack().scan(BytesSource(b"\xdf" + struct.pack(">I", 60_000) + keys))


def test_truncated_file_is_refused_everywhere() -> None:
    data = save(TREE)
    generator = random.Random(0)
    for length in [*range(20), *(generator.randrange(len(data)) for _ in range(200))]:
        with pytest.raises(NotThisFormatError):
            FlaxMsgpack().scan(BytesSource(data[:length]))


def test_changing_any_byte_gives_a_layout_or_a_refusal() -> None:
    original = save(TREE)
    generator = random.Random(0)
    taken = 0
    for number in range(2000):
        data = bytearray(original)
        for _ in range(1 + number % 3):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            found = groups(bytes(data))
        except NotThisFormatError:
            continue
        taken += 1
        assert len(FlaxMsgpack().values(BytesSource(bytes(data)))) <= 10
        assert write(found, bytes(data))
    assert 0 < taken < 2000
