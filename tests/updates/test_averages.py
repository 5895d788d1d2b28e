"""What was merged by averaging is found to be a weighted sum of the versions, and costs next to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.updates.scene import LARGE, Scene, Values, cost, normal, parameters, types


def tuned(old: Any, seed: int) -> Any:
    step = normal(old.shape, "float64", seed) * 0.05
    return (old.astype(np.float64) + step).astype(old.dtype)


def average(one: Any, two: Any, weight: float) -> Any:
    first, second = one.astype(np.float64) * weight, two.astype(np.float64) * (1 - weight)
    with np.errstate(all="ignore"):
        return (first + second).astype(one.dtype)


def kept(scene: Scene, one: Any, two: Any, new: Any) -> Any:
    update, data = scene.keep(new, scene.base(one), scene.base(two))
    assert data == Values.of(new).data
    return update


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("weight", [0.5, 0.3, 0.25, 2 / 3, -0.5, 0.125])
def test_average_of_two_versions_is_linear_and_comes_back(scene: Scene, dtype: str, weight: float) -> None:
    old = normal((100, 120), dtype)
    one, two = tuned(old, 1), tuned(old, 2)
    update = kept(scene, one, two, average(one, two, weight))
    assert types(update)[-3:] == ["linear", "dense", "dense"]
    assert cost(update) < 0.03 * old.nbytes


@pytest.mark.parametrize("shape", [(12_000,), (10, 30, 40), (1, 12_000), (12_000, 1), (8, 15, 10, 10)], ids=str)
def test_average_of_any_shape_is_linear(scene: Scene, shape: tuple[int, ...]) -> None:
    old = normal(shape)
    update = kept(scene, tuned(old, 1), tuned(old, 2), average(tuned(old, 1), tuned(old, 2), 0.5))
    assert types(update) == ["linear", "dense", "dense"]
    assert parameters(update) == {"weights": (0.5, 0.5)}
    assert cost(update) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_average_of_several_blocks_is_linear(scene: Scene, dtype: str) -> None:
    old = normal((LARGE // 100, 100), dtype)
    one, two = tuned(old, 1), tuned(old, 2)
    update = kept(scene, one, two, average(one, two, 0.5))
    assert types(update) == ["linear", "dense", "dense"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_average_of_a_few_edits_more_is_corrected(scene: Scene, dtype: str) -> None:
    old = normal((100, 120), dtype)
    one, two = tuned(old, 1), tuned(old, 2)
    new = average(one, two, 0.5)
    new[3, 7] = 5
    update = kept(scene, one, two, new)
    assert types(update) == ["sparse", "linear", "dense", "dense"]
    assert parameters(update) == {"count": 1}


def test_average_with_a_third_version_at_hand_is_found(scene: Scene) -> None:
    old = normal((100, 120))
    one, two = tuned(old, 1), tuned(old, 2)
    new = average(one, two, 0.5)
    for bases in ([old, one, two], [one, old, two], [one, two, old]):
        update, data = scene.keep(new, *map(scene.base, bases))
        assert (types(update), data) == (["linear", "dense", "dense"], new.tobytes())


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, -0.0])
def test_odd_floats_are_exact(scene: Scene, odd: float) -> None:
    for dtype in ("float32", "bfloat16"):
        one, two = normal((100, 120), dtype, 1), normal((100, 120), dtype, 2)
        one[90, :3] = odd
        two[90, 2:5] = odd
        assert "linear" in types(kept(scene, one, two, average(one, two, 0.5)))
        one[0, :3] = odd
        kept(scene, one, two, average(one, two, 0.5))


def test_versions_that_are_alike_at_the_start_are_exact(scene: Scene) -> None:
    one = normal((300, 200))
    two = one.copy()
    two[200:] = normal((100, 200), seed=1)
    kept(scene, one, two, average(one, two, 0.5))


def test_sum_of_integers_is_not_linear(scene: Scene) -> None:
    one, two = (np.random.default_rng(seed).integers(0, 100, (100, 120), np.int32) * 2 for seed in range(2))
    assert "linear" not in types(kept(scene, one, two, (one + two) // 2))


def test_values_of_neither_version_are_not_linear(scene: Scene) -> None:
    one, two = normal((100, 120), seed=1), normal((100, 120), seed=2)
    assert "linear" not in types(kept(scene, one, two, normal((100, 120), seed=3)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_average_of_two_fine_tunes_costs_nothing_though_each_has_a_chain(scene: Scene, dtype: str) -> None:
    old = normal((200, 300), dtype)
    base = scene.base(old)
    news = [(old.astype(np.float64) + normal(old.shape, "float64", seed) * 0.01).astype(old.dtype) for seed in (1, 2)]
    bases = [scene.base(new, scene.keep(new, base)[0]) for new in news]
    assert [types(found.update) for found in bases] == [["delta", "dense"]] * 2
    mean = ((news[0].astype(np.float64) + news[1].astype(np.float64)) / 2).astype(old.dtype)
    update, data = scene.keep(mean, *bases)
    assert data == Values.of(mean).data
    assert types(update) == ["linear", "delta", "dense", "delta", "dense"]
    assert update.object is None
