"""Factors that are fitted to rounded values leave fewer of them to correct, and never make anything worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.updates import refine
from tests.updates.scene import NUMPY, Scene, cost, normal, types

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = (256, 400)


def tuned(dtype: str, rank: int, scale: float = 0.05) -> tuple[Any, Any, Any]:
    """Old values, new ones, and the product that made these."""
    generator = np.random.default_rng(rank)
    old = normal(SHAPE, dtype)
    product = generator.standard_normal((SHAPE[0], rank)) @ generator.standard_normal((rank, SHAPE[1])) * scale / rank
    return old, (old.astype(np.float64) + product).astype(NUMPY.get(dtype, dtype)), product


def decomposed(old: Any, new: Any, rank: int) -> tuple[Any, Any]:
    left, values, right = np.linalg.svd(new.astype(np.float64) - old.astype(np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    return left[:, :rank] * root, root[:, None] * right[:rank]


def chunks(old: Any, new: Any) -> Any:
    def give() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(old), 100):
            yield new[start : start + 100].astype(np.float32), old[start : start + 100].astype(np.float32)

    return give


def missed(old: Any, new: Any, factors: tuple[Any, Any]) -> float:
    made = (old.astype(np.float64) + factors[0] @ factors[1]).astype(new.dtype)
    return float(np.count_nonzero(made != new) / new.size)


@pytest.mark.parametrize("dtype", refine.DTYPES)
@pytest.mark.parametrize("rank", [1, 2, 8])
def test_refined_factors_leave_fewer_values_to_correct(dtype: str, rank: int) -> None:
    old, new, _ = tuned(dtype, rank)
    given = decomposed(old, new, rank)
    found = refine.refined(*given, chunks(old, new))
    assert missed(old, new, found) < 0.85 * missed(old, new, given)


def test_values_that_are_zero_do_no_harm() -> None:
    old, new, _ = tuned("bfloat16", 4)
    old[:50] = new[:50] = 0
    new[:, 7] = old[:, 7] = 0
    given = decomposed(old, new, 4)
    found = refine.refined(*given, chunks(old, new))
    assert all(np.isfinite(factor).all() for factor in found)
    assert missed(old, new, found) < missed(old, new, given)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_values_that_cannot_be_fitted_leave_the_factors_as_they_are(value: float) -> None:
    old, new, _ = tuned("bfloat16", 2)
    given = decomposed(old, new, 2)
    new[3, 5] = value
    found = refine.refined(*given, chunks(old, new))
    assert all(np.isfinite(factor).all() for factor in found)


def test_product_merged_into_bfloat16_is_low_rank_with_few_corrections(scene: Scene) -> None:
    old, new, _ = tuned("bfloat16", 4)
    update = scene.change(old, new)
    assert types(update) == ["sparse", "low-rank", "dense"]
    assert cost(update) < 0.12 * old.nbytes


def test_rank_that_would_take_long_to_fit_is_found_all_the_same(scene: Scene) -> None:
    rank = refine.MAX_RANK + 4
    old, new, _ = tuned("bfloat16", rank, 1.0)
    assert "low-rank" in types(scene.change(old, new))
