"""The task-vector methods: pruning, election, scaling, and their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import merge_arrays
from git_theta.errors import MergeError

if TYPE_CHECKING:
    from git_theta.merges import Array

ZERO = np.zeros(4, np.float32)


def deltas(*values: list[float]) -> list[Array]:
    return [np.array(value, np.float32) for value in values]


def merge(method: str, inputs: list[Array], **params: Any) -> list[float]:
    found = merge_arrays(method, inputs, np.zeros_like(inputs[0]), **params)
    return [round(float(value), 6) for value in found.ravel()]


def keep(*masks: list[bool]) -> Any:
    left = [np.array(mask) for mask in masks]
    return lambda _: left.pop(0)


def test_task_arithmetic_adds_weighted_changes_times_lambda() -> None:
    inputs = deltas([1, 2], [10, 20])
    assert merge("task_arithmetic", inputs, weight=[0.5, 0.1], **{"lambda": 2.0}) == [3, 6]
    assert merge("task_arithmetic", inputs, weight=[1, 3], normalize=True) == [7.75, 15.5]


def test_ties_keeps_the_largest_and_averages_those_of_the_elected_sign() -> None:
    inputs = deltas([1, -2, 3, 0.1], [3, 5, -1, 0.2])
    assert merge("ties", inputs, density=0.75) == [2, 5, 3, 0]
    assert merge("ties", inputs, density=0.75, normalize=False) == [4, 5, 3, 0]


def test_of_equal_magnitudes_the_first_is_kept() -> None:
    assert merge("ties", deltas([1, -1, 1, 1, 2]), density=0.6) == [1, -1, 0, 0, 2]


def test_equal_magnitudes_are_counted_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_theta.merges.numerics.BLOCK", 2)
    assert merge("ties", deltas([1, 1, 1, 1, 1, 2, 1]), density=0.6) == [1, 1, 1, 0, 0, 2, 0]


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs"])
def test_density_0_gives_the_base_and_density_1_drops_nothing(method: str) -> None:
    inputs = deltas([1, 2, 3, 4])
    assert merge(method, inputs, density=0) == [0, 0, 0, 0]
    assert merge(method, inputs, density=1) == [1, 2, 3, 4]


@pytest.mark.parametrize("method", ["ties", "breadcrumbs"])
def test_a_small_density_keeps_at_least_one_element(method: str) -> None:
    assert merge(method, deltas([1, 4, 3, 2]), density=0.01) == [0, 4, 0, 0]
    assert merge_arrays(method, [np.float32(2)], np.float32(1), density=0.5) == 2


def test_breadcrumbs_drop_the_largest_and_the_smallest() -> None:
    inputs = deltas([1, -2, 3, 4, -5])
    assert merge("breadcrumbs", inputs, density=0.4, gamma=0.2) == [0, 0, 3, 4, 0]
    # Where both do not fit, the density is kept.
    assert merge("breadcrumbs", inputs, density=0.8, gamma=0.6) == [1, -2, 3, 4, 0]


def test_a_threshold_replaces_the_density_and_keeps_all_that_reach_it() -> None:
    inputs = deltas([1, -2, 2, 4], [1, 1, 1, 1])
    assert merge("ties", inputs, threshold=2.0, density=0.1) == [0, -2, 2, 4]
    assert merge("ties", inputs, threshold=[2.0, 1.0], normalize=False) == [1, -2, 3, 5]
    assert merge("ties", inputs, threshold=[None, 5.0], density=0.25) == [0, 0, 0, 4]


def test_elections_may_be_weighted_unweighted_or_by_count() -> None:
    inputs = deltas([2, -1], [-3, -1], [1, 5])
    weights = [2.0, 1.0, 0.1]
    assert merge("ties", inputs, weight=weights, normalize=False) == [4.1, -3]
    assert merge("ties", inputs, weight=weights, normalize=False, election="unweighted") == [4.1, 0.5]
    assert merge("ties", deltas([-3, 1], [1, 1], [1, -5]), normalize=False, election="count") == [2, 2]


def test_a_sum_of_zero_elects_plus() -> None:
    assert merge("ties", deltas([2, -2], [-2, 2])) == [2, 2]


def test_rescaling_restores_the_norm_or_the_expectation() -> None:
    inputs = deltas([1, 2, 3, 4])
    mask = [True, False, False, True]
    assert merge("dare_linear", inputs, density=0.5, draw=keep(mask)) == [2, 0, 0, 8]
    assert merge("dare_linear", inputs, density=0.8, rescale_by="density", draw=keep(mask)) == [1.25, 0, 0, 5]
    assert merge("dare_linear", inputs, density=0.5, rescale=False, draw=keep(mask)) == [1, 0, 0, 4]
    assert merge("ties", inputs, density=0.5, rescale=True) == [0, 0, round(30 / 7, 6), round(40 / 7, 6)]


def test_a_mask_that_keeps_nothing_gives_the_base() -> None:
    nothing = [False] * 4
    for rescale_by in ("norm", "density"):
        assert (
            merge("dare_ties", deltas([1, 2, 3, 4]), density=0.5, draw=keep(nothing), rescale_by=rescale_by) == [0] * 4
        )


def test_larger_elements_have_the_better_chance_in_della() -> None:
    seen: list[Array] = []

    def draw(chances: Array) -> Any:
        seen.append(chances)
        return np.ones(chances.shape, bool)

    change = np.array([[1, 3, -2], [-9, 7, 8]], np.float32)
    found = merge_arrays(
        "della_linear", [change], 0 * change, density=0.5, epsilon=0.2, rescale_by="density", draw=draw
    )
    wanted = np.array([[0.3, 0.7, 0.5], [0.7, 0.3, 0.5]])
    np.testing.assert_allclose(seen[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(found, change / wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (5, 6), (5, 6, 4), (2, 3, 4, 2)])
def test_chances_are_those_of_ranks_along_the_second_axis(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("git_theta.merges.pruning._CHUNK", 30)
    change = np.random.default_rng(4).integers(-3, 4, shape).astype(dtype)
    seen: list[Array] = []

    def draw(chances: Array) -> Any:
        seen.append(chances)
        return np.ones(chances.shape, bool)

    merge_arrays("della", [change], 0 * change, density=0.5, epsilon=0.5, draw=draw)
    axis = min(1, change.ndim - 1)
    ranks = np.argsort(np.argsort(np.abs(change), axis=axis, kind="stable"), axis=axis)
    np.testing.assert_allclose(seen[0], ranks / (shape[axis] - 1), rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 1), (5, 1, 3), (1,), ()])
def test_where_there_is_nothing_to_compare_with_the_chance_is_the_density(shape: tuple[int, ...]) -> None:
    seen: list[Array] = []

    def draw(chances: Array) -> Any:
        seen.append(chances)
        return np.ones(chances.shape, bool)

    merge_arrays("della", [np.ones(shape, np.float32)], np.zeros(shape, np.float32), density=0.5, draw=draw)
    assert seen[0].shape == shape
    assert np.unique(seen[0]) == 0.5


def test_an_epsilon_that_leaves_no_chance_is_refused() -> None:
    with pytest.raises(MergeError, match="give a smaller epsilon"):
        merge("della", deltas([1, 2, 3, 4]), density=0.9)
    assert merge("della", deltas([1, 2, 3, 4]), density=0.9, epsilon=0.1, draw=keep([True] * 4)) == [1, 2, 3, 4]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(MergeError, match="the mask that was drawn has 3 elements for 4 values"):
        merge("dare_linear", deltas([1, 2, 3, 4]), density=0.5, draw=keep([True] * 3))


def test_weights_that_sum_to_0_cannot_be_normalized() -> None:
    inputs = deltas([1, 2], [3, 5])
    with pytest.raises(MergeError, match="set normalize to false"):
        merge("task_arithmetic", inputs, weight=[1, -1], normalize=True)
    assert merge("task_arithmetic", inputs, weight=[1, -1]) == [-2, -3]
    assert merge("ties", inputs, weight=[0, 0]) == [0, 0]


def test_a_negative_weight_subtracts_only_without_normalizing() -> None:
    assert merge("ties", deltas([1, 2]), weight=-1) == [1, 2]
    assert merge("ties", deltas([1, 2]), weight=-1, normalize=False) == [-1, -2]


def test_int8_mask_has_no_effect() -> None:
    inputs = deltas([1, -2, 3, 0.1], [3, 5, -1, 0.2])
    assert merge("ties", inputs, int8_mask=True) == merge("ties", inputs)


def test_weights_of_those_that_agree_may_cancel_and_then_nothing_is_divided() -> None:
    assert merge("ties", deltas([1], [-3]), weight=[1, -1]) == [4]
