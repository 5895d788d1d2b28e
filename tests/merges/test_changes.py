"""The methods that choose among changes, or add them up; and the averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import merge_arrays
from git_theta.errors import MergeError

if TYPE_CHECKING:
    from git_theta.merges import Array


def values(count: int, shape: tuple[int, ...] = (6, 5)) -> list[Array]:
    random = np.random.default_rng(23)
    return [random.normal(size=shape) for _ in range(count)]


def merge(method: str, *inputs: list[float], base: list[float] | None = None, **params: Any) -> list[float]:
    below = np.zeros(len(inputs[0])) if base is None else np.array(base)
    found = merge_arrays(method, [np.array(one) for one in inputs], below, **params)
    return [round(float(value), 9) for value in found]


def test_linear_weighs_and_normalizes() -> None:
    assert merge("linear", [1.0, 2.0], [5.0, 4.0], weight=[3, 1]) == [2, 2.5]
    assert merge("linear", [1.0, 2.0], [5.0, 4.0], weight=[3, 1], normalize=False) == [8, 10]
    assert merge("linear", [1.0, 2.0], [5.0, 4.0], weight=[1.5, -0.5]) == [-1, 1]


def test_the_base_is_averaged_only_on_demand() -> None:
    one, two, base = [3.0], [9.0], [0.0]
    assert merge("average", one, two, base=base) == [6]
    assert merge("average", one, two, base=base, with_base=True) == [4]
    assert merge("linear", one, two, base=base, base_weight=2.0) == [3]
    for method, params in (("average", {"with_base": True}), ("linear", {"base_weight": 1.0})):
        with pytest.raises(MergeError, match="there is no base"):
            merge_arrays(method, [np.ones(1), np.ones(1)], **params)


def test_weights_that_sum_to_0_are_refused() -> None:
    with pytest.raises(MergeError, match=r"the weights sum to 0.* set normalize to false"):
        merge("linear", [1.0], [2.0], weight=[1, -1])
    assert merge("linear", [1.0], [2.0], weight=[1, -1], normalize=False) == [-1]
    assert merge("linear", [1.0], [2.0], weight=0, normalize=False) == [0]


def test_sce_weighs_by_energy_and_erases_the_minority() -> None:
    # Mean squares 4.5 and 0.5: weights 0.9 and 0.1.
    assert merge("sce", [3.0, 0.0], [1.0, 0.0]) == [2.8, 0]
    assert merge("sce", [3.0, 0.0], [-1.0, 0.0]) == [3, 0]
    assert merge("sce", [3e-4, 0.0], [1e-4, 0.0]) == [2e-4, 0]
    assert merge("sce", [3e-4, 0.0], [1e-4, 0.0], eps=0) == [2.8e-4, 0]


def test_sce_selects_where_inputs_differ() -> None:
    one, two = [4.0, 1.0, 0.0, 5.0], [0.0, 1.0, 1.0, 2.0]
    assert merge("sce", one, two, select_topk=0.67)[1:3] == [0, 0]
    assert merge("sce", one, two, select_topk=0.34) == [4, 0, 0, 0]
    assert merge("sce", one, two, select_topk=0) == [0, 0, 0, 0]
    assert merge("sce", one, one, select_topk=0.5) == [0, 0, 0, 0]


def test_nearswap_moves_at_most_t() -> None:
    assert merge_arrays("nearswap", [[1.0, 1.0, 1.0], [1.25, 3.0, -2.0]], t=0.5).tolist() == [1.25, 1.5, 0.5]
    assert merge_arrays("nearswap", [[1.0, 1.0], [1.25, 3.0]], t=0).tolist() == [1, 1]
    assert merge_arrays("nearswap", [[1.0, 1.0], [1.25, 3.0]], t=-1).tolist() == [1, 1]


def test_arcee_fusion_takes_only_what_stands_out() -> None:
    start, change = values(2, (20, 10))
    other = start + 1e-4 * change
    other[3, 4] += 3.0
    merged = merge_arrays("arcee_fusion", [start, other])
    assert merged[3, 4] == other[3, 4]
    assert np.all((merged == start) | (merged == other))
    assert np.count_nonzero(merged != start) < start.size / 3


def test_arcee_fusion_is_the_same_each_time_on_a_large_group() -> None:
    start = np.random.default_rng(1).normal(size=(1100, 1000)).astype(np.float32)
    other = start + np.random.default_rng(2).normal(size=start.shape).astype(np.float32) ** 3
    first = merge_arrays("arcee_fusion", [start, other])
    assert merge_arrays("arcee_fusion", [start, other]).tobytes() == first.tobytes()
    assert first.dtype == np.float32


def test_ram_keeps_unshared_changes_and_averages_shared_ones() -> None:
    assert merge("ram", [1.0, 2.0, 0.0, 1e-6], [0.0, 4.0, 3.0, 0.0]) == [1, 3, 3, 0]
    assert merge("ram", [1.0, 0.5], [0.0, 0.0], epsilon=0.7) == [1, 0]


def test_ramplus_strengthens_unshared_changes_by_what_is_shared() -> None:
    one, two = [1.0, 1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0, 0.0]
    # Ratios 1/2 and 1/1, clamped to 0.2 and to 0.6.
    assert merge("ramplus_tl", one, two) == [1.02, 1.02, 2, 1.02, 0]
    assert merge("ramplus_tl", one, two, alpha=0.6) == [1.05, 1.05, 2, 1.06, 0]
    assert merge("ramplus_tl", one, one) == one


def test_magmax_takes_the_largest_change() -> None:
    assert merge("magmax", [1.0, -5.0, 2.0], [-3.0, 4.0, -2.0], scaling_factor=1) == [-3, -5, -2]
    assert merge("magmax", [1.0, -5.0], [-3.0, 4.0]) == [-1.5, -2.5]
    assert merge("magmax", [1.0, 2.0], base=[1.0, 4.0]) == [1, 3]


def test_emr_takes_the_largest_change_of_the_elected_sign() -> None:
    assert merge("emr", [1.0, -5.0, 2.0, 0.0], [3.0, 4.0, -2.0, 0.0]) == [3, -5, -2, 0]


def test_tsv_m_of_one_input_is_that_input() -> None:
    base, side = values(2)
    np.testing.assert_allclose(merge_arrays("tsv_m", [side], base), side, rtol=1e-9, atol=1e-12)
    halfway = base + 0.5 * (side - base)
    np.testing.assert_allclose(merge_arrays("tsv_m", [side], base, alpha=0.5), halfway, rtol=1e-9, atol=1e-12)


def test_tsv_m_keeps_changes_in_different_directions_whole() -> None:
    base = np.zeros((4, 4))
    one, two = base.copy(), base.copy()
    one[0, 0], one[1, 1], two[2, 2], two[3, 3] = 4, 3, 2, 1
    np.testing.assert_allclose(merge_arrays("tsv_m", [one, two], base), one + two, atol=1e-12)


@pytest.mark.parametrize("method", ["tsv_m", "iso_c"])
def test_changes_that_are_too_large_to_be_decomposed_are_refused(method: str) -> None:
    base = np.full((3, 3), -3e38, np.float32)
    with pytest.raises(MergeError, match="too large for a singular value decomposition: take one side"):
        merge_arrays(method, [-base, -base], base)


def test_iso_c_makes_singular_values_equal() -> None:
    base, one, two = values(3, (5, 7))
    change = merge_arrays("iso_c", [one, two], base, scaling_factor=2) - base
    wanted = 2 * np.linalg.svd(one + two - 2 * base, compute_uv=False).mean()
    np.testing.assert_allclose(np.linalg.svd(change, compute_uv=False), wanted, rtol=1e-9)


def test_iso_c_adds_no_direction_that_is_only_rounding() -> None:
    base = values(1, (8, 6))[0].astype(np.float32)
    one = base + np.outer(np.arange(8), np.arange(6)).astype(np.float32)
    change = merge_arrays("iso_c", [one, one], base) - base
    assert np.linalg.matrix_rank(change, tol=1e-3) == 1


@pytest.mark.parametrize("method", ["tsv_m", "iso_c"])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (1, 5), (5, 1)])
def test_groups_that_are_no_matrices_get_the_mean_change(method: str, shape: tuple[int, ...]) -> None:
    base, one, two = values(3, shape)
    np.testing.assert_allclose(merge_arrays(method, [one, two], base), (one + two) / 2, rtol=1e-9, atol=1e-12)


def test_expo_goes_past_the_mean_of_the_inputs() -> None:
    assert merge("expo", [3.0], base=[1.0], extrapolation_factor=0.5) == [4]
    assert merge("expo", [3.0], [5.0], base=[1.0], extrapolation_factor=0.5) == [5.5]


def test_passthrough_scales_if_it_is_told_to() -> None:
    side = np.array([1.0, 3.0], np.float32)
    assert merge_arrays("passthrough", [side]).tobytes() == side.tobytes()
    assert merge_arrays("passthrough", [side], scale=[0.5]).tolist() == [0.5, 1.5]
    assert merge_arrays("passthrough", [side], scale=0).tolist() == [0, 0]


def test_sce_does_not_take_rounding_for_variance() -> None:
    # The mean of three times 0.1 is not 0.1 in floating point, but these inputs are equal.
    same = [0.1, 0.1, 0.1]
    assert merge("sce", [*same, 1.0], [*same, 2.0], [*same, 3.0], select_topk=0.5) == [0, 0, 0, 0]
    assert merge("sce", [*same, 1.0], [*same, 1.0], [*same, 2.0], select_topk=0.99, eps=10)[:3] == [0, 0, 0]


def test_arcee_fusion_knows_probabilities_that_are_0() -> None:
    assert merge_arrays("arcee_fusion", [np.zeros(2), np.array([-2000.0, 0.0])]).tolist() == [-2000, 0]


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_sce_selects_whatever_the_scale(scale: float) -> None:
    one, two = np.array([1.0, 5.0, 2.0, 0.0], np.float32) * np.float32(scale), np.zeros(4, np.float32)
    merged = merge_arrays("sce", [one, two], two, select_topk=0.34)
    assert np.flatnonzero(merged).tolist() == [1]
