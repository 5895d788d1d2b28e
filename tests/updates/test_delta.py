"""The delta update: what changed by a little everywhere is kept as small differences, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.store.description import BLOCK_ROWS
from git_theta.updates import Group
from tests.updates.scene import LARGE, Scene, Values, bits, cost, normal, types, update

FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
SHARES = {"float16": 0.75, "bfloat16": 0.6, "float32": 0.85, "float64": 0.92, "complex64": 0.85, "complex128": 0.92}
"""Of the bytes of the group: what a change by 0.5 % of the deviation may take at the most."""


def nudged(values: Any, dtype: str, seed: int = 9) -> Any:
    """All values by a little, in no pattern."""
    step = normal(values.shape, "complex128" if dtype.startswith("complex") else "float64", seed)
    return (values.astype(step.dtype) + step * 0.005).astype(values.dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(9000,), (100, 90), (10, 30, 30), (16, 8, 9, 8), (1, 9000), (9000, 1)], ids=str)
def test_small_fine_tune_is_a_delta_and_comes_back(scene: Scene, dtype: str, shape: tuple[int, ...]) -> None:
    old = normal(shape, dtype)
    update = scene.change(old, nudged(old, dtype))
    assert types(update) == ["delta", "dense"]
    assert cost(update) < SHARES[dtype] * old.nbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "complex128"])
def test_groups_of_several_blocks_come_back(scene: Scene, dtype: str) -> None:
    old = normal((LARGE // 100, 100), dtype)
    update = scene.change(old, nudged(old, dtype))
    assert types(update) == ["delta", "dense"]
    assert cost(update) < SHARES[dtype] * old.nbytes


@pytest.mark.parametrize("dtype", tensors.BLOCKS)
def test_small_changes_of_bytes_of_any_dtype_come_back(scene: Scene, dtype: str) -> None:
    old = bits(dtype, (4, 64 * 256))
    numbers = np.frombuffer(old.data, np.uint8) ^ (np.arange(len(old.data)) % 3 == 0)
    new = Values(old.group, numbers.astype(np.uint8).tobytes())
    update, data = scene.keep(new, scene.base(old))
    assert data == new.data
    assert cost(update) < len(old.data)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint64"])
def test_integers_that_move_by_a_little_are_a_delta(scene: Scene, dtype: str) -> None:
    generator = np.random.default_rng(0)
    old = np.frombuffer(generator.bytes(40_000), dtype).reshape(-1, 50)
    new = old + generator.integers(-1, 2, old.shape).astype(dtype)
    update = scene.change(old, new)
    assert types(update) == ["delta", "dense"]
    assert cost(update) < 0.5 * old.nbytes


SPECIAL = {
    "float16": [0x7E00, 0x7C01, 0xFE55, 0x7C00, 0xFC00, 0x8000, 0x0001, 0x8001, 0x03FF],
    "bfloat16": [0x7FC0, 0x7F81, 0xFFD5, 0x7F80, 0xFF80, 0x8000, 0x0001, 0x8001, 0x007F],
    "float32": [0x7FC00000, 0x7F800001, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x80000001, 0x7FFFFF],
    "float64": [
        0x7FF8 << 48,
        (0x7FF0 << 48) + 1,
        (0xFFF8 << 48) + 77,
        0x7FF0 << 48,
        0xFFF0 << 48,
        1 << 63,
        1,
        2**52 - 1,
    ],
}


@pytest.mark.parametrize("dtype", SPECIAL)
@pytest.mark.parametrize("where", ["old", "new", "both"])
def test_odd_floats_come_back_to_the_bit(scene: Scene, dtype: str, where: str) -> None:
    """NaNs of several payloads, infinities, a negative zero, subnormals: on either side of a change."""
    old = normal((90, 100), dtype)
    new = nudged(old, dtype)
    odd = np.array(SPECIAL[dtype], f"<u{old.itemsize}").view(old.dtype)
    if where in ("old", "both"):
        old.reshape(-1)[5 : 5 + 10 * len(odd) : 10] = odd
    if where in ("new", "both"):
        new.reshape(-1)[25 : 25 + 10 * len(odd) : 10] = odd
    assert types(scene.change(old, new)) == ["delta", "dense"]


def test_values_that_have_nothing_to_do_with_the_base_are_kept_whole(scene: Scene) -> None:
    for dtype in ("float32", "bfloat16", "int16", "uint8"):
        old = bits(dtype, (100, 100), 1)
        new = bits(dtype, (100, 100), 2)
        update, data = scene.keep(new, scene.base(old))
        assert (types(update), data) == (["dense"], new.data)


def test_object_holds_the_codes_that_are_documented(scene: Scene) -> None:
    old = np.arange(600, dtype=np.int32)
    base = scene.base(old)
    codes = np.arange(600, dtype=np.int32)
    by_hand = update("delta", scene.put(codes.view(np.uint8).reshape(-1, 4)), base.update)
    steps = np.where(codes % 2, -(codes + 1) // 2, codes // 2)
    assert scene.read(by_hand, Group("int32", (600,))) == (old + steps).astype(np.int32).tobytes()


def test_base_of_another_itemsize_and_a_delta_from_the_middle_of_an_object_are_read(scene: Scene) -> None:
    old, steps = normal(BLOCK_ROWS + 11, "float32"), np.zeros((BLOCK_ROWS + 16, 4), np.uint8)
    steps[5:, 0] = 2
    ref = scene.put(steps)
    whole = scene.put(np.ascontiguousarray(old).view(np.uint8).reshape(-1, 2))
    by_hand = update("delta", type(ref)(ref.oid, ref.size, 5), update("dense", whole))
    assert (
        scene.read(by_hand, Group("float32", old.shape))
        == (old.view("<i4") + np.where(old < 0, -1, 1)).astype("<i4").tobytes()
    )


@pytest.mark.parametrize("count", [0, 2])
def test_delta_of_another_number_of_bases_than_one_is_refused(scene: Scene, count: int) -> None:
    old = normal((30, 30))
    base = scene.base(old).update
    by_hand = update("delta", base.object, *[base] * count)
    with pytest.raises(CorruptObjectError, match=f"{count} bases instead of one"):
        scene.read(by_hand, Group("float32", old.shape))


def test_delta_without_an_object_or_with_a_short_one_is_refused(scene: Scene) -> None:
    old = normal((30, 30))
    base, group = scene.base(old).update, Group("float32", old.shape)
    with pytest.raises(CorruptObjectError, match="names no object"):
        scene.read(update("delta", None, base), group)
    short = scene.put(np.zeros((899, 4), np.uint8))
    with pytest.raises(CorruptObjectError):
        scene.read(update("delta", short, base), group)
