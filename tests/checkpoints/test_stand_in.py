"""Stand-ins: any nested dict of arrays comes back as it was, equal values give equal bytes, nonsense is refused."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from git_theta.checkpoints.by_value import plugin_of
from git_theta.checkpoints.digests import digest_again
from git_theta.checkpoints.stand_in import StandIn, nested
from git_theta.errors import PluginError
from git_theta.sources import blocks

DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *("bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
    *("int2", "uint2", "int4", "uint4", "<M8[ns]", "<m8[D]", "<U3", "S5", "V7"),
]


def dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def there_and_back(checkpoint: Any) -> dict[str, Any]:
    source = StandIn("test", checkpoint)
    spans = source.layout.spans
    values = [bytearray(source.read(span.start, span.stop)) for span in spans]
    return nested(spans, values, source.layout.read_skeleton(source))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (3, 2), (0, 4)])
def test_every_dtype_comes_back(name: str, shape: tuple[int, ...]) -> None:
    kind = dtype(name)
    count = int(np.prod(shape))
    raw = bytes(range(1, 1 + count * kind.itemsize)) if kind.kind not in "bU" else bytes(count * kind.itemsize)
    array = np.frombuffer(raw, kind).reshape(shape) if count else np.zeros(shape, kind)
    back = there_and_back({"a": array})["a"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert back.flags.writeable


def test_nested_dicts_come_back_and_dicts_that_hold_nothing_do_too() -> None:
    checkpoint = {"b": {"x/y": np.ones(2), "": {"~": np.float32(3)}}, "a": {}, "c": {"d": {}}, "é": np.arange(3)}
    back = there_and_back(checkpoint)
    assert back["a"] == {}
    assert back["c"] == {"d": {}}
    assert back["b"][""]["~"].dtype == np.float32
    assert back["b"]["x/y"].tolist() == [1, 1]
    assert back["é"].tolist() == [0, 1, 2]
    assert set(back) == set(checkpoint)


def test_the_same_values_have_the_same_stand_in() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    one = StandIn("test", {"a": array, "b": {"c": np.ones(2)}})
    other = StandIn("test", {"b": {"c": np.ones(2, ">f8")}, "a": np.asfortranarray(array)})
    assert one.layout == other.layout
    assert digest_again(one, one.layout) == digest_again(other, other.layout)


def test_any_part_of_it_can_be_read() -> None:
    source = StandIn("test", {"a": np.arange(5, dtype=np.uint8), "b": np.zeros(0), "c": np.ones(3, np.uint8), "d": {}})
    whole = source.read(0, source.size)
    assert len(whole) == source.size
    for start in range(source.size):
        for stop in range(start, source.size + 1):
            assert source.read(start, stop) == whole[start:stop]
    assert b"".join(blocks(source, 0, source.size, 3)) == whole


LOOP: dict[str, Any] = {"a": np.ones(1)}
LOOP["loop"] = LOOP


@pytest.mark.parametrize(
    ("checkpoint", "reason"),
    [
        (None, "the checkpoint is a NoneType"),
        (np.ones(2), "the checkpoint is a ndarray"),
        ({}, "no array"),
        ({"a": {}}, "no array"),
        ({"a": [1, 2]}, "'a' in the checkpoint is a list"),
        ({"a": {"b": 1.5}}, "'a/b' in the checkpoint is a float"),
        ({1: np.ones(2)}, "the key 1,"),
        ({"\udc80": np.ones(2)}, "which is no text"),
        ({"a": np.ma.array([1, 2], mask=[0, 1])}, "MaskedArray"),
        ({"a": np.array([object()])}, "cannot be kept"),
        ({"a": np.zeros(2, [("x", "f4")])}, "cannot be kept"),
        ({"a": np.zeros(2, np.longdouble)}, "cannot be kept"),
        ({"a": np.ndarray((2,), "V0")}, "cannot be kept"),
        (LOOP, "nested too deeply"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoint: Any, reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        StandIn("test", checkpoint)


@pytest.mark.parametrize(
    "skeleton",
    [
        b"x",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"dtypes":{},"empty":[1]}',
        b'{"dtypes":{"a":1},"empty":[]}',
        b'{"dtypes":{"a":"O"},"empty":[]}',
        b'{"dtypes":{"a":"<U9"},"empty":[]}',
        b'{"dtypes":{"a":"S0"},"empty":[]}',
        b'{"dtypes":{},"empty":["a/b"]}',
        b'{"dtypes":{},"empty":["a"]}',
    ],
)
def test_a_skeleton_that_does_not_fit_is_refused(skeleton: bytes) -> None:
    source = StandIn("test", {"a": np.arange(4, dtype=np.uint8)})
    with pytest.raises(PluginError):
        nested(source.layout.spans, [bytearray(4)], skeleton)


def test_groups_that_no_dict_can_have_are_refused() -> None:
    one = StandIn("test", {"a": np.arange(4, dtype=np.uint8), "b": {"c": np.zeros(4, np.uint8)}}).layout.spans
    other = StandIn("test", {"b": np.arange(4, dtype=np.uint8)}).layout.spans
    for spans in ([*one, *other], [*other, *one]):
        with pytest.raises(PluginError, match="another"):
            nested(spans, [bytearray(4)] * 3, b"")


def test_quantized_groups_have_no_dtype_in_numpy() -> None:
    skeleton = json.dumps({"dtypes": {}, "empty": []}).encode()
    spans = [span.__class__("a", "q8_0", (32,), 0) for span in StandIn("t", {"a": np.ones(1)}).layout.spans]
    with pytest.raises(PluginError, match="NumPy has no dtype q8_0"):
        nested(spans, [bytearray(34)], skeleton)


@pytest.mark.parametrize(("name", "plugin"), [("torch", None), ("by-value:x", "x"), ("opaque", None)])
def test_the_format_says_whether_a_plugin_is_needed(name: str, plugin: str | None) -> None:
    assert plugin_of(name) == plugin
