"""The merge methods give what mergekit gives, but where mergekit goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from git_theta import merge_arrays
from git_theta.errors import MergeError

if TYPE_CHECKING:
    from git_theta.merges import Array

DATA = Path(__file__).parents[1] / "data/merges"
ARRAYS: dict[str, Array] = load_file(DATA / "merge-cases.safetensors")
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads((DATA / "merge-cases.json").read_text())["cases"]
}

TOLERANCE = {np.dtype(np.float32): 3e-5, np.dtype(np.float16): 2e-3, np.dtype(ml_dtypes.bfloat16): 1.6e-2}
"""Of the largest value. Mergekit computes nearly everything in the inputs' dtype, half types are off by bits."""

DIFFERENT = {
    "della_linear/masked/e_col": "mergekit divides 0 by 0 for a row of one element, and fails; ours has the density",
    "model_stock/one/t4x8x3": "both refuse a single input",
    "breadcrumbs_ties/g10_20/bf16_m32x16": "bfloat16 deltas are equal more often: another element is dropped",
    "nuslerp/base_rows/e_opposite_delta": "opposite changes: mergekit's result depends on rounding; ours is linear",
    "arcee_fusion/ours/e_tiny_delta": "importances below float32 rounding: mergekit's choice is noise",
}


class Draws:
    """Gives the masks that mergekit drew, and compares the probabilities that it drew them from."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.left = list(case.get("draws", ()))

    def __call__(self, probabilities: Array) -> Any:
        drawn = self.left.pop(0)
        theirs = ARRAYS[drawn["prob"]].reshape(probabilities.shape)
        tolerance = 1e-6 if theirs.dtype == np.float32 else 6e-3
        np.testing.assert_allclose(probabilities.astype(float), theirs.astype(float), rtol=0, atol=tolerance)
        return ARRAYS[drawn["mask"]]


def ours(case: dict[str, Any]) -> Array:
    group, base = case["group"], case["base"]
    inputs = [ARRAYS[f"in/{group}/{name}"] for name in case["inputs"] if name != base]
    draws = Draws(case)
    below = None if base is None else ARRAYS[f"in/{group}/{base}"]
    merged = merge_arrays(case["method"], inputs, below, draw=draws, **case["params"])
    assert draws.left == []
    return merged


def distance(one: Array, other: Array) -> Array:
    """Of each element, in units of the largest."""
    gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return np.asarray(gap / max(np.abs(other.astype(np.float64)).max(), 1e-30))


def of(name: str) -> tuple[dict[str, Any], dict[str, Array]]:
    case = CASES[name]
    names = ("base", "ours", "theirs")
    return case, {name: ARRAYS[f"in/{case['group']}/{name}"].astype(np.float64) for name in names}


def test_there_are_140_cases_of_19_methods() -> None:
    assert len(CASES) == 140
    assert len({case["method"] for case in CASES.values()}) == 19
    assert CASES.keys() >= DIFFERENT.keys()


@pytest.mark.parametrize("name", sorted(CASES.keys() - DIFFERENT.keys()))
def test_result_is_that_of_mergekit(name: str) -> None:
    case = CASES[name]
    merged, theirs = ours(case), ARRAYS[case["out"]]
    assert merged.shape == theirs.shape
    assert merged.dtype == theirs.dtype
    assert distance(merged, theirs).max() <= TOLERANCE[theirs.dtype]


def test_rank_of_a_single_element_is_no_rank_so_the_density_holds() -> None:
    case, arrays = of("della_linear/masked/e_col")
    seen = []

    def draw(probabilities: Array) -> Any:
        seen.append(probabilities.copy())
        return np.ones(probabilities.shape, bool)

    sides = [ARRAYS["in/e_col/ours"], ARRAYS["in/e_col/theirs"]]
    merged = merge_arrays(case["method"], sides, ARRAYS["in/e_col/base"], draw=draw, **case["params"])
    assert [set(one.ravel().tolist()) for one in seen] == [{np.float32(0.5)}, {np.float32(0.7)}]
    wanted = arrays["base"] + 0.8 * (arrays["ours"] - arrays["base"]) + (arrays["theirs"] - arrays["base"])
    np.testing.assert_allclose(merged, wanted, rtol=1e-6)


def test_model_stock_of_a_single_input_is_refused() -> None:
    with pytest.raises(MergeError, match="takes 2 or more inputs"):
        ours(CASES["model_stock/one/t4x8x3"])


def test_equal_magnitudes_in_bfloat16_differ_in_one_element() -> None:
    case = CASES["breadcrumbs_ties/g10_20/bf16_m32x16"]
    apart = distance(ours(case), ARRAYS[case["out"]])
    assert np.count_nonzero(apart > TOLERANCE[np.dtype(ml_dtypes.bfloat16)]) == 1


def test_opposite_changes_are_interpolated_linearly() -> None:
    case, arrays = of("nuslerp/base_rows/e_opposite_delta")
    wanted = arrays["base"] + 0.7 * (arrays["ours"] - arrays["base"]) + 0.3 * (arrays["theirs"] - arrays["base"])
    np.testing.assert_allclose(ours(case), wanted, rtol=1e-6)


def test_each_element_of_a_noisy_fusion_is_of_one_side() -> None:
    case, arrays = of("arcee_fusion/ours/e_tiny_delta")
    merged = ours(case).astype(np.float64)
    assert np.all((merged == arrays["base"]) | (merged == arrays["ours"]))
    assert 0 < np.count_nonzero(merged == arrays["ours"]) < merged.size
