"""A change applied to old values gives what NumPy computes, rounded once; what it does not touch keeps its bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.errors import UsageError
from git_theta.updates.sidedata.apply import apply, apply_all
from git_theta.updates.sidedata.changes import Dense, LowRank, Scale, SparseChange
from tests.updates.sidedata.data import BFLOAT16, DTYPES

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def random(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def sparse(group: str, data: Array, indices: list[int], size: int) -> SparseChange:
    return SparseChange(group, data, np.array(indices, np.int64), (1, size))


def same_bits(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(6, 8), (6, 2, 4), (3, 2, 8)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_low_rank_adds_the_product_in_the_wide_type(dtype: str, shape: tuple[int, ...]) -> None:
    old = random(shape, DTYPES[dtype])
    wide = np.float64 if dtype == "float64" else np.float32
    r, c = random((6, 2), wide, 1), random((2, 8), wide, 2)
    new = apply(LowRank("g", r, c), old, dtype, shape)
    same_bits(new, (old.astype(wide) + (r @ c).reshape(shape)).astype(DTYPES[dtype]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vector", [(8,), (6, 1), (1, 8), (), (6, 8)])
def test_a_scale_is_broadcast(dtype: str, vector: tuple[int, ...]) -> None:
    old, scale = random((6, 8), DTYPES[dtype]), random(vector, np.float32, 1)
    wide = np.float64 if dtype == "float64" else np.float32
    new = apply(Scale("g", scale), old, dtype, (6, 8))
    same_bits(new, (old.astype(wide) * scale.astype(wide)).astype(DTYPES[dtype]))


@pytest.mark.parametrize("shape", [(3, 300_000), (300_000, 3), (900_000,)])
def test_groups_of_many_blocks_are_whole(shape: tuple[int, ...]) -> None:
    old, scale = random(shape, BFLOAT16), random(shape[-1:], np.float32, 1)
    new = apply(Scale("g", scale), old, "bfloat16", shape)
    same_bits(new, (old.astype(np.float32) * scale).astype(BFLOAT16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_adds_at_its_positions_and_leaves_all_other_bits(dtype: str) -> None:
    old = random((4, 5), DTYPES[dtype])
    # A signalling NaN and a negative zero: any arithmetic would change their bits.
    old.reshape(-1).view(np.uint16 if old.itemsize == 2 else np.uint32)[[2, 3]] = (0x7C01, 0x8000)
    before = old.copy()
    data = random((2,), np.float32, 1)
    new = apply(sparse("g", data, [7, 19], 20), old, dtype, (4, 5))
    expected = old.copy()
    wide = np.float64 if dtype == "float64" else np.float32
    expected.reshape(-1)[[7, 19]] = (old.reshape(-1)[[7, 19]].astype(wide) + data).astype(DTYPES[dtype])
    same_bits(new, expected)
    same_bits(old, before)


def test_integers_take_a_sparse_difference_that_wraps_around_as_it_was_computed() -> None:
    old, wanted = np.array([[250, 3], [0, 9]], np.uint8), np.array([[4, 3], [255, 9]], np.uint8)
    difference = (wanted - old).reshape(-1)
    new = apply(sparse("g", difference[[0, 2]], [0, 2], 4), old, "uint8", (2, 2))
    same_bits(new, wanted)
    large = apply(sparse("g", np.array([2**62 + 1]), [0], 1), np.array([2]), "int64", (1,))
    same_bits(large, np.array([2**62 + 3]))


def test_no_numbers_warn() -> None:
    old = np.array([[np.nan, np.inf, 6e4, -0.0]], np.float16)
    low_rank = LowRank("g", np.array([[np.inf, 1]], np.float32), np.array([[0, 1, 3e38, 0]] * 2, np.float32))
    new = apply(low_rank, old, "float16", (1, 4)).view(np.float16)
    assert np.isnan(new[0, [0, 3]]).all()
    assert new[0, [1, 2]].tolist() == [np.inf, np.inf]
    scaled = apply(Scale("g", np.array(1e9, np.float32)), old, "float16", (1, 4)).view(np.float16)
    np.testing.assert_array_equal(scaled, [[np.nan, np.inf, np.inf, -0.0]])
    summed = apply(sparse("g", np.array([np.nan], np.float32), [3], 4), old, "float16", (1, 4)).view(np.float16)
    np.testing.assert_array_equal(summed, [[np.nan, np.inf, 6e4, np.nan]])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0,)])
def test_empty_groups_stay_empty(shape: tuple[int, ...]) -> None:
    old = np.zeros(shape, np.float32)
    assert apply(Scale("g", np.ones((), np.float32)), old, "float32", shape).shape == shape
    assert apply(sparse("g", np.zeros(0, np.float32), [], 0), old, "float32", shape).shape == shape
    if len(shape) == 2:
        factors = LowRank("g", np.ones((shape[0], 1), np.float32), np.ones((1, shape[1]), np.float32))
        assert apply(factors, old, "float32", shape).shape == shape


def test_scalars_are_groups() -> None:
    old = np.array(3, np.float32)
    same_bits(apply(Scale("g", np.array(2, np.float32)), old, "float32", ()), np.array(6, np.float32))
    same_bits(apply(sparse("g", np.ones(1, np.float32), [0], 1), old, "float32", ()), np.array(4, np.float32))


def test_only_the_bytes_of_the_old_values_count() -> None:
    old = random((2, 3), BFLOAT16)
    scale = Scale("g", random((3,)))
    rows = np.frombuffer(old.tobytes(), np.uint8).reshape(-1, 2)
    same_bits(apply(scale, rows, "bfloat16", (2, 3)), apply(scale, old, "bfloat16", (2, 3)))
    with pytest.raises(UsageError, match="'g' have 24 bytes, which is not its size"):
        apply(scale, random((2, 3)), "bfloat16", (2, 3))


def test_dense_is_what_it_says() -> None:
    wanted = random((2, 3))
    same_bits(apply(Dense("g", wanted), np.zeros(0), "float32", (2, 3)), wanted)


def test_several_changes_are_applied_one_after_the_other() -> None:
    dense, scale = Dense("g", np.full(2, 3, "<f4")), Scale("g", np.array([2, 5], np.float32))
    same_bits(apply_all([dense, scale], np.ones(2, "<f4"), "float32", (2,)), np.array([6, 15], "<f4"))


def test_a_change_that_does_not_fit_is_not_applied() -> None:
    with pytest.raises(UsageError, match="does not fit the group 'g'"):
        apply(Scale("g", np.ones(3, np.float32)), np.ones(2, np.float32), "float32", (2,))
