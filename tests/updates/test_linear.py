"""The linear update: a weighted sum of stored groups, which costs no bytes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.tensors import WORKING
from git_theta.updates import Group, sums
from git_theta.updates.floats import narrow, widen
from git_theta.updates.linear import weighted_sum
from tests.updates.scene import LARGE, Scene, Values, normal, update


def rows_of(array: Any) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)


def documented(parts: list[Any], weights: list[float], dtype: str) -> bytes:
    with np.errstate(all="ignore"):
        total = widen(rows_of(parts[0]), dtype).astype(np.float64) * weights[0]
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            total = total + widen(rows_of(part), dtype).astype(np.float64) * weight
    out = np.empty((total.size, tensors.itemsize(dtype)), np.uint8)
    narrow(total, dtype, out)
    return out.tobytes()


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize(
    "weights", [[0.5, 0.5], [1.0], [0.25, -1.5, 1 / 3], [1, 0], [1e30, 1e-30], [1e300, 1]], ids=str
)
@pytest.mark.parametrize("shape", [(40, 50), (), (1, 7), (3, 4, 5)], ids=str)
def test_stored_update_gives_the_sum(scene: Scene, dtype: str, weights: list[float], shape: tuple[int, ...]) -> None:
    parts = [np.asarray(normal(shape, dtype, seed)) for seed in range(len(weights))]
    made = update("linear", None, *[scene.base(part).update for part in parts], weights=tuple(weights))
    assert scene.read(made, Group(dtype, shape)) == documented(parts, weights, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sum_of_several_blocks(scene: Scene, dtype: str) -> None:
    parts = [normal((LARGE // 100, 100), dtype, seed) for seed in range(3)]
    weights = [0.2, 0.3, 0.5]
    made = update("linear", None, *[scene.base(part).update for part in parts], weights=tuple(weights))
    assert scene.read(made, Group(dtype, parts[0].shape)) == documented(parts, weights, dtype)


def test_sum_is_rounded_once(scene: Scene) -> None:
    parts = [normal(5000, "bfloat16", seed) for seed in range(2)]
    made = update("linear", None, *[scene.base(part).update for part in parts], weights=(0.5, 0.5))
    found = np.frombuffer(scene.read(made, Group("bfloat16", (5000,))), parts[0].dtype)
    exact = [(Fraction(float(one)) + Fraction(float(two))) / 2 for one, two in zip(*parts, strict=True)]
    assert [float(value) for value in found] == [
        float(np.float32(float(value)).astype(parts[0].dtype)) for value in exact
    ]


def awkward(dtype: str) -> Any:
    """Numbers of every size, sums of which lie between two numbers, and the limits of the dtype."""
    generator = np.random.default_rng(7)
    bits = generator.integers(0, 256, (4000, tensors.itemsize(dtype)), np.uint8)
    limits = [0.0, -0.0, 1e-45, -1e-45, 2e-38, 1.1754944e-38, 6e-8, 6.1e-5, 65504, 3.3895314e38, 3.4028235e38, 1.0]
    small = np.array([-(2.0**-k) for k in range(160)])
    with np.errstate(all="ignore"):
        wanted = np.concatenate([limits, small, 1 + 2.0 ** -np.arange(60)]).astype(np.float64)
    rows = np.empty((len(wanted), tensors.itemsize(dtype)), np.uint8)
    narrow(wanted, dtype, rows)
    return np.concatenate([bits, rows])


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0**-16, 2.0**-17, 0.75], ids=str)
@pytest.mark.parametrize("is_finite", [True, False])
def test_mean_of_two_is_rounded_once_as_any_sum_is(dtype: str, weight: float, is_finite: bool) -> None:
    one = awkward(dtype)
    two = one[np.random.default_rng(8).permutation(len(one))]
    if is_finite:
        kept = np.ones(len(one), bool)
        for rows in (one, two):
            with np.errstate(all="ignore"):
                sizes = np.abs(widen(rows, dtype).astype(np.float64))
            kept &= (sizes < 1e37) & ((sizes == 0) | (sizes > 1e-20))
        one, two = one[kept], two[kept]
    out = np.empty_like(one)
    weighted_sum([one, two], [weight, weight], dtype, out)
    flat = [np.ascontiguousarray(rows).reshape(-1) for rows in (one, two)]
    with np.errstate(all="ignore"):
        total = widen(flat[0], dtype).astype(np.float64) * weight + widen(flat[1], dtype).astype(np.float64) * weight
    wanted = np.empty_like(one)
    narrow(total, dtype, wanted)
    assert (out == wanted).all()


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_sum_is_the_same_however_it_is_split(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "_STEP", step)
    parts = [normal((20, 31), "float16", seed) for seed in range(3)]
    out = np.empty((620, 2), np.uint8)
    weighted_sum([rows_of(part) for part in parts], [0.2, 0.3, 0.5], "float16", out)
    assert out.tobytes() == documented(parts, [0.2, 0.3, 0.5], "float16")


@pytest.mark.parametrize("dtype", WORKING)
def test_odd_floats_give_the_same_bits(scene: Scene, dtype: str) -> None:
    parts = [normal((20, 6), dtype, seed) for seed in range(2)]
    parts[0][0] = [np.nan, np.inf, -np.inf, -0.0, 1e-7, 1]
    parts[1][0] = [1, -np.inf, np.nan, -0.0, -1e-7, np.inf]
    made = update("linear", None, *[scene.base(part).update for part in parts], weights=(0.5, 0.5))
    assert scene.read(made, Group(dtype, (20, 6))) == documented(parts, [0.5, 0.5], dtype)


@pytest.mark.parametrize(
    "weights", [None, 0.5, "0.5", (), (0.5,), (0.5, 0.5, 0), ("a", "b"), (0.5, None), (0.5, (0.5,)), (10**400, 1)]
)
def test_weights_that_are_no_numbers_or_not_one_for_each_base_are_refused(scene: Scene, weights: Any) -> None:
    base = scene.base(normal((40, 50))).update
    with pytest.raises(CorruptObjectError, match="weight"):
        scene.read(update("linear", None, base, base, weights=weights), Group("float32", (40, 50)))


def test_sum_of_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(CorruptObjectError, match="weight"):
        scene.read(update("linear", None, weights=()), Group("float32", (40, 50)))


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_values_that_cannot_be_computed_with_are_refused(scene: Scene, dtype: str) -> None:
    group = Group(dtype, (40, 50))
    base = scene.base(Values(group, bytes(group.nbytes))).update
    with pytest.raises(CorruptObjectError, match=f"values of dtype {dtype}"):
        scene.read(update("linear", None, base, base, weights=(0.5, 0.5)), group)


def test_base_that_is_too_short_is_refused(scene: Scene) -> None:
    long, short = scene.base(normal((40, 50))).update, scene.base(normal((39, 50))).update
    for bases in ((long, short), (short, long)):
        with pytest.raises(CorruptObjectError):
            scene.read(update("linear", None, *bases, weights=(0.5, 0.5)), Group("float32", (40, 50)))


def test_weights_as_large_as_a_double_are_taken_as_numpy_takes_them(scene: Scene) -> None:
    base = scene.base(np.ones((4, 5), np.float32)).update
    made = update("linear", None, base, weights=(1e308,))
    values = np.frombuffer(scene.read(made, Group("float32", (4, 5))), np.float32)
    assert all(math.isinf(value) for value in values)
