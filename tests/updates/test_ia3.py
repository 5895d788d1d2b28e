"""The ia3 update: a group times a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.tensors import WORKING
from git_theta.updates import Group, ia3
from git_theta.updates.floats import narrow, widen
from git_theta.updates.ia3 import Scaling, is_broadcastable
from tests.updates.scene import LARGE, Scene, Values, normal, update


def rows_of(array: Any) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)


def documented(base: Any, vector: Any, dtype: str) -> bytes:
    values = widen(rows_of(base), dtype).reshape(base.shape)
    with np.errstate(all="ignore"):
        scaled = np.ascontiguousarray(values * vector.astype(WORKING[dtype])).reshape(-1)
    out = np.empty((scaled.size, tensors.itemsize(dtype)), np.uint8)
    narrow(scaled, dtype, out)
    return out.tobytes()


def stored(scene: Scene, base: Any, vector: Any) -> Any:
    ref = scene.put(rows_of(vector))
    return update("ia3", ref, scene.base(base).update, dtype=vector.dtype.name, shape=vector.shape)


PAIRS = [
    ((40, 50), (50,)),
    ((40, 50), (1, 50)),
    ((40, 50), (40, 1)),
    ((40, 50), (40, 50)),
    ((40, 50), ()),
    ((8, 4, 3, 3), (8, 1, 1, 1)),
    ((8, 4, 3, 3), (4, 1, 3)),
    ((50,), (50,)),
    ((50,), (1,)),
    ((), ()),
    ((1, 50), (1, 1)),
]


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("kept", WORKING)
@pytest.mark.parametrize(("shape", "extents"), PAIRS, ids=str)
def test_stored_update_gives_the_product(
    scene: Scene, dtype: str, kept: str, shape: tuple[int, ...], extents: tuple[int, ...]
) -> None:
    base, vector = normal(shape, dtype), np.asarray(normal(extents, kept, 1))
    found = scene.read(stored(scene, np.asarray(base), vector), Group(dtype, shape))
    assert found == documented(np.asarray(base), vector, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("extents", [(1000,), (LARGE // 1000, 1)], ids=str)
def test_product_of_several_blocks(scene: Scene, dtype: str, extents: tuple[int, ...]) -> None:
    base, vector = normal((LARGE // 1000, 1000), dtype), normal(extents, seed=1)
    assert scene.read(stored(scene, base, vector), Group(dtype, base.shape)) == documented(base, vector, dtype)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_product_is_the_same_however_it_is_split(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ia3, "_STEP", step)
    base, vector = normal((20, 31), "bfloat16"), normal((31,), seed=1)
    scaling = Scaling.of(vector, Group("bfloat16", base.shape))
    found = b""
    for start in range(0, base.size, 97):
        rows = rows_of(base)[start : start + 97]
        out = np.empty_like(rows)
        scaling.multiply(rows, start, out)
        found += out.tobytes()
    assert found == documented(base, vector, "bfloat16")


@pytest.mark.parametrize("dtype", WORKING)
def test_odd_floats_give_the_same_bits(scene: Scene, dtype: str) -> None:
    base, vector = normal((20, 6), dtype), np.array([np.inf, np.nan, 0, -0.0, 3e38, 1e-40], np.float32)
    base[0] = [np.nan, np.inf, -np.inf, -0.0, 1e-7, 1]
    assert scene.read(stored(scene, base, vector), Group(dtype, (20, 6))) == documented(base, vector, dtype)


@pytest.mark.parametrize(
    "shape", [None, 50, "50", (40,), (2, 50), (1, 40, 50), (0,), (-1,), (50.0,), (True,), ("50",), ((50,),), (10**30,)]
)
def test_vector_that_does_not_fit_is_refused(scene: Scene, shape: Any) -> None:
    base = normal((40, 50))
    made = stored(scene, base, normal(50))
    wrong = update("ia3", made.object, *made.bases, dtype="float32", shape=shape)
    with pytest.raises(CorruptObjectError, match="does not fit the group"):
        scene.read(wrong, Group("float32", (40, 50)))


@pytest.mark.parametrize("kept", [None, "int32", "", 4, ("float32",)])
def test_impossible_dtype_of_the_vector_is_refused(scene: Scene, kept: Any) -> None:
    made = stored(scene, normal((40, 50)), normal(50))
    wrong = update("ia3", made.object, *made.bases, dtype=kept, shape=(50,))
    with pytest.raises(CorruptObjectError, match="ia3 update cannot give values"):
        scene.read(wrong, Group("float32", (40, 50)))


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_values_that_cannot_be_computed_with_are_refused(scene: Scene, dtype: str) -> None:
    group = Group(dtype, (40, 50))
    base = scene.base(Values(group, bytes(group.nbytes))).update
    with pytest.raises(CorruptObjectError, match=f"values of dtype {dtype}"):
        scene.read(update("ia3", base.object, base, dtype="float32", shape=(50,)), group)


def test_object_that_is_too_short_or_missing_is_refused(scene: Scene) -> None:
    made, group = stored(scene, normal((40, 50)), normal(49)), Group("float32", (40, 50))
    with pytest.raises(CorruptObjectError):
        scene.read(update("ia3", made.object, *made.bases, dtype="float32", shape=(50,)), group)
    with pytest.raises(CorruptObjectError, match="names no object"):
        scene.read(update("ia3", None, *made.bases, dtype="float32", shape=(50,)), group)


@pytest.mark.parametrize("count", [0, 2])
def test_ia3_of_another_number_of_bases_than_one_is_refused(scene: Scene, count: int) -> None:
    made = stored(scene, normal((40, 50)), normal(50))
    wrong = update("ia3", made.object, *made.bases * count, dtype="float32", shape=(50,))
    with pytest.raises(CorruptObjectError, match=f"{count} bases instead of one"):
        scene.read(wrong, Group("float32", (40, 50)))


@pytest.mark.parametrize("shape", [(), (5,), (1,), (4, 5), (4, 1), (3, 1, 5), (2, 5), (5, 4), (1, 1, 1, 5)], ids=str)
@pytest.mark.parametrize("target", [(), (5,), (4, 5), (3, 4, 5), (1, 1)], ids=str)
def test_what_can_be_broadcast_is_what_numpy_broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    try:
        np.broadcast_to(np.zeros(shape), target)
        expected = True
    except ValueError:
        expected = False
    assert is_broadcastable(shape, target) == expected


@pytest.mark.parametrize(
    "vector", [(1, 5, 7), (3, 1, 1), (3, 5, 1), (1, 1, 7), (7,), (), (3, 5, 7), (1, 1, 1)], ids=str
)
@pytest.mark.parametrize("step", [4, 30, 1000])
def test_any_part_of_a_broadcast_array_is_that_of_all_of_it(
    vector: tuple[int, ...], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ia3, "_STEP", step)
    factors = np.broadcast_to(np.random.default_rng(0).random(vector, np.float32), (3, 5, 7))
    whole = factors.copy().reshape(-1)
    for start in range(0, 105, 8):
        for stop in range(start + 1, 106, 9):
            assert np.array_equal(ia3._between(factors, start, stop), whole[start:stop])
