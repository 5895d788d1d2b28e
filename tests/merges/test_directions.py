"""The methods that merge directions: slerp, nuslerp, multislerp, karcher, model_stock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import merge_arrays
from git_theta.errors import MergeError

if TYPE_CHECKING:
    from git_theta.merges import Array

X, Y = np.array([2.0, 0.0]), np.array([0.0, 2.0])
HALF = math.sqrt(0.5)


def values(count: int, shape: tuple[int, ...] = (6, 5)) -> list[Array]:
    random = np.random.default_rng(11)
    return [random.normal(size=shape) for _ in range(count)]


def close(merged: Array, wanted: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(merged, wanted, rtol=0, atol=tolerance)


def test_slerp_follows_the_circle() -> None:
    close(merge_arrays("slerp", [X, Y], t=0.5), [2 * HALF, 2 * HALF])
    close(merge_arrays("slerp", [X, Y], t=1 / 3), [2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)])
    close(merge_arrays("slerp", [X, Y], t=2.0), [-2, 0])


def test_slerp_ends_are_exactly_the_sides() -> None:
    one, two = (array.astype(np.float32) for array in values(2))
    assert merge_arrays("slerp", [one, two], t=0).tobytes() == one.tobytes()
    assert merge_arrays("slerp", [one, two], t=1).tobytes() == two.tobytes()


def test_slerp_and_its_like_start_from_the_base_if_there_is_one_input() -> None:
    base, one, two = values(3)
    for method, params in (("slerp", {"t": 0.3}), ("nearswap", {"t": 0.3}), ("arcee_fusion", {})):
        from_base = merge_arrays(method, [two], one, **params)
        assert merge_arrays(method, [one, two], base, **params).tobytes() == from_base.tobytes()
        with pytest.raises(MergeError, match="needs two inputs, or one and a base"):
            merge_arrays(method, [two], **params)


def test_slerp_of_a_zero_tensor_is_that_of_a_right_angle() -> None:
    close(merge_arrays("slerp", [X, 0 * X], t=0.5), [2 * HALF, 0])


@pytest.mark.parametrize("method", ["slerp", "nuslerp", "multislerp", "karcher"])
def test_opposite_sides_are_refused_but_for_single_numbers(method: str) -> None:
    params = {"t": 0.5} if method == "slerp" else {}
    with pytest.raises(MergeError, match="take one side"):
        merge_arrays(method, [X, -X], **params)
    close(merge_arrays(method, [X[:1], -X[:1]], **params), [0])


def test_nuslerp_goes_as_far_as_the_weights_say() -> None:
    wanted = merge_arrays("slerp", [X, Y], t=0.25)
    close(merge_arrays("nuslerp", [X, Y], weight=[3, 1]), wanted)
    close(merge_arrays("nuslerp", [X + 5, Y + 5], 0 * X + 5, weight=[3, 1]), wanted + 5)
    close(merge_arrays("nuslerp", [X, Y], 0 * X + 5, weight=[3, 1], with_base=False), wanted)
    close(merge_arrays("nuslerp", [X, Y], weight=[1, -1]), [2 * HALF, 2 * HALF])


def test_nuslerp_lines_are_interpolated_one_by_one() -> None:
    one, two = values(2, (3, 4))
    rows = [merge_arrays("nuslerp", [one[i], two[i]]) for i in range(3)]
    columns = [merge_arrays("nuslerp", [one[:, i], two[:, i]]) for i in range(4)]
    close(merge_arrays("nuslerp", [one, two], nuslerp_flatten=False), np.stack(rows))
    turned = merge_arrays("nuslerp", [one, two], nuslerp_flatten=False, nuslerp_row_wise=True)
    close(turned, np.stack(columns, axis=1))


def test_nuslerp_opposite_changes_cancel() -> None:
    base = values(1)[0]
    close(merge_arrays("nuslerp", [base + 1, base - 1], base, weight=[3, 1]), base + 0.5)


def test_nuslerp_nearly_opposite_changes_are_not_left_to_rounding() -> None:
    base = np.zeros(2)
    close(merge_arrays("nuslerp", [X, -X + np.array([0, 1e-4])], base), [0, 5e-5])


@pytest.mark.parametrize("scale", [1e-9, 1e-30])
def test_short_vectors_have_angles_too(scale: float) -> None:
    for method, params in (("slerp", {"t": 0.25}), ("nuslerp", {"weight": [3, 1]})):
        close(merge_arrays(method, [scale * X, scale * Y], **params) / scale, merge_arrays(method, [X, Y], **params))
        close(merge_arrays(method, [scale * X, scale * X], **params) / scale, X)


def test_multislerp_of_a_large_eps_is_shorter() -> None:
    close(merge_arrays("multislerp", [X, Y], eps=0.5), [2 * HALF * math.cos(0.5)] * 2)


def test_multislerp_has_the_mean_length_and_the_middle_direction() -> None:
    close(merge_arrays("multislerp", [X, 2 * Y]), [3 * HALF, 3 * HALF], 1e-7)
    close(merge_arrays("multislerp", [X, Y], weight=[1, 1], normalize_weights=False), [4 * HALF, 4 * HALF], 1e-7)


def test_multislerp_of_what_nobody_changed_is_the_base() -> None:
    base = values(1)[0]
    close(merge_arrays("multislerp", [base] * 3, base), base)


def test_multislerp_changes_that_cancel_leave_the_base() -> None:
    base, change = values(2)
    close(merge_arrays("multislerp", [base + change, base - change], base), base)
    turns = [base.copy() for _ in range(3)]
    for number, turned in enumerate(turns):
        turned[0, :2] += [math.cos(2 * math.pi * number / 3), math.sin(2 * math.pi * number / 3)]
    close(merge_arrays("multislerp", turns, base), base)
    with pytest.raises(MergeError, match="cancel out"):
        merge_arrays("multislerp", [turned - base for turned in turns])


def test_multislerp_of_inputs_that_equal_the_base_keeps_all_digits() -> None:
    base, change = (100 * array for array in values(2))
    close(merge_arrays("multislerp", [base + change, base, base, base], base), base + change / 4)


def test_multislerp_weights_that_sum_to_0_are_refused() -> None:
    with pytest.raises(MergeError, match="set normalize_weights to false"):
        merge_arrays("multislerp", [X, Y], weight=[1, -1])


def test_karcher_of_two_is_the_middle_of_the_arc() -> None:
    close(merge_arrays("karcher", [X, Y]), [2 * HALF, 2 * HALF])


def test_karcher_mean_is_as_near_to_all_as_can_be() -> None:
    sides = [side / np.linalg.norm(side) for side in values(4)]
    sides = [sides[0] + 0.3 * side for side in sides]
    mean = merge_arrays("karcher", sides, tol=1e-12, max_iter=200).ravel()

    def cost(point: Array) -> float:
        point = point / np.linalg.norm(point)
        return sum(math.acos(float(point @ side.ravel()) / float(np.linalg.norm(side))) ** 2 for side in sides)

    random = np.random.default_rng(3)
    assert all(cost(mean) < cost(mean + 1e-3 * random.normal(size=mean.size)) for _ in range(50))


def test_karcher_leaves_zeros_out_of_the_direction_but_not_of_the_length() -> None:
    close(merge_arrays("karcher", [X, 0 * X]), [1, 0])


def test_karcher_of_one_input_is_that_however_short_it_is() -> None:
    close(merge_arrays("karcher", [1e-6 * X]), 1e-6 * X)


def test_karcher_without_tolerance_ends() -> None:
    for tol in (0, 1e-300):
        close(merge_arrays("karcher", [X, Y], tol=tol), [2 * HALF, 2 * HALF])
        close(merge_arrays("karcher", [X, X], tol=tol), X)


def test_karcher_takes_the_base_in_only_on_demand() -> None:
    close(merge_arrays("karcher", [X], Y), X)
    close(merge_arrays("karcher", [X], Y, with_base=True), [2 * HALF, 2 * HALF])


def test_karcher_of_one_side_against_two_is_refused() -> None:
    with pytest.raises(MergeError, match="cancel out"):
        merge_arrays("karcher", [X, X, -X])


def test_model_stock_goes_to_the_mean_as_far_as_the_changes_agree() -> None:
    base = np.ones(2)
    close(merge_arrays("model_stock", [base + X, base + X], base), base + X)
    close(merge_arrays("model_stock", [base + X, base + Y], base), base)
    sixty = np.array([math.cos(math.pi / 3), math.sin(math.pi / 3)]) * 2
    close(merge_arrays("model_stock", [base + X, base + sixty], base), base + 2 / 3 * (X + sixty) / 2)


def test_model_stock_goes_the_wrong_way_unless_clamped() -> None:
    base = np.ones(2)
    wide = np.array([math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)]) * 2
    close(merge_arrays("model_stock", [base + X, base + wide], base), base - (X + wide))
    close(merge_arrays("model_stock", [base + X, base + wide], base, clamp=True), base)
    close(merge_arrays("model_stock", [base + X, base - X], base), base)


def test_model_stock_does_not_throw_away_what_one_side_changed() -> None:
    base = np.ones((2, 2))
    one = base + np.array([[1, 2], [0, 0]])
    two = base + np.array([[1, 2], [3, 4]])
    close(merge_arrays("model_stock", [one, base], base), one)
    close(merge_arrays("model_stock", [one, two], base, filter_wise=True), two)


def test_model_stock_small_changes_are_as_good_as_large_ones() -> None:
    base, one, two = values(3)
    large = merge_arrays("model_stock", [base + one, base + one + two], base) - base
    small = merge_arrays("model_stock", [base + 1e-7 * one, base + 1e-7 * (one + two)], base) - base
    np.testing.assert_allclose(small * 1e7, large, rtol=1e-6, atol=1e-6)


def test_lines_are_the_same_in_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    base, one, two = (array.astype(np.float32) for array in values(3, (7, 3, 5)))
    found = merge_arrays("model_stock", [one, two], base, filter_wise=True)
    monkeypatch.setattr("git_theta.merges.lines._CHUNK", 11)
    assert merge_arrays("model_stock", [one, two], base, filter_wise=True).tobytes() == found.tobytes()
