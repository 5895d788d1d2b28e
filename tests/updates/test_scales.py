"""The vector that a group was multiplied with is found from the weights alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from git_theta.store.arrays import Arrays
from git_theta.updates.plans import Change
from git_theta.updates.reading import Reader
from git_theta.updates.scales import predictions
from git_theta.updates.versions import Version, Versions
from tests.updates.scene import LARGE, Scene, Values, cost, normal, parameters, types

SHARES = {"float16": 0.04, "bfloat16": 0.04, "float32": 0.12, "float64": 0.12}


def scaled(old: Any, axis: int, seed: int = 4) -> Any:
    """Each line along an axis times a number of its own, computed as the dtype is computed with."""
    extents = [1] * old.ndim
    extents[axis] = old.shape[axis]
    vector = np.random.default_rng(seed).uniform(0.5, 1.5, extents)
    working = np.float64 if old.dtype == np.float64 else np.float32
    return (old.astype(working) * vector.astype(working)).astype(old.dtype)


@pytest.mark.parametrize("dtype", SHARES)
@pytest.mark.parametrize("axis", [0, 1])
def test_scaled_rows_or_columns_are_ia3_and_come_back(scene: Scene, dtype: str, axis: int) -> None:
    old = normal((200, 300), dtype)
    update = scene.change(old, scaled(old, axis))
    assert types(update)[-2:] == ["ia3", "dense"]
    below = update if update.type == "ia3" else update.bases[0]
    assert parameters(below)["shape"] == ((200, 1) if axis == 0 else (1, 300))
    assert cost(update) < SHARES[dtype] * old.nbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scaled_channels_of_a_convolution_are_ia3(scene: Scene, dtype: str) -> None:
    old = normal((64, 16, 5, 5), dtype)
    update = scene.change(old, scaled(old, 0))
    assert types(update)[-2:] == ["ia3", "dense"]
    assert cost(update) < 0.1 * old.nbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scaled_columns_of_several_blocks_are_ia3(scene: Scene, dtype: str) -> None:
    old = normal((LARGE // 600, 600), dtype)
    update = scene.change(old, scaled(old, 1))
    assert types(update)[-2:] == ["ia3", "dense"]
    assert cost(update) < 0.07 * old.nbytes


@pytest.mark.parametrize("odd", [np.nan, np.inf, 0.0, -0.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_odd_lines_are_exact(scene: Scene, odd: float, axis: int) -> None:
    for dtype in ("float32", "bfloat16"):
        old = normal((100, 120), dtype)
        old[3] = odd
        old[:, 5] = odd
        update = scene.change(old, scaled(old, axis))
        assert "ia3" in types(update)


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (5000,), (10, 20, 30)], ids=str)
def test_groups_of_any_shape_are_exact(scene: Scene, shape: tuple[int, ...]) -> None:
    old = normal(shape, "bfloat16")
    scene.change(old, scaled(old, 0))
    scene.change(old, scaled(old, -1))


@pytest.mark.parametrize("size", [1e-36, 3e-38, 1e38])
def test_huge_and_tiny_values_are_exact(scene: Scene, size: float) -> None:
    for dtype in ("float32", "bfloat16"):
        old = (normal((100, 100), "float64") * size).astype(normal(1, dtype).dtype)
        scene.change(old, scaled(old, 1))


def guesses(scene: Scene, old: Any, new: Any) -> int:
    """How many scalings may explain a change."""
    values = Values.of(new)
    reader = Reader(Arrays(scene.store), scene.types)
    versions = Versions(values.group, [scene.base(old)], reader)
    return len(list(predictions(Change(values.group, values.wanted()), Version(versions, 0))))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_factors_near_one_are_found(scene: Scene, dtype: str) -> None:
    old = normal((200, 300), dtype)
    vector = np.random.default_rng(4).uniform(0.993, 1.007, (1, 300)).astype(np.float32)
    new = (old.astype(np.float32) * vector).astype(old.dtype)
    assert guesses(scene, old, new) == 1
    assert "ia3" in types(scene.change(old, new))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_small_steps_everywhere_are_no_scaling(scene: Scene, dtype: str) -> None:
    old = normal((200, 300), dtype)
    steps = 0.004 * np.random.default_rng(3).standard_normal((200, 300), np.float32)
    new = (old.astype(np.float32) * (1 + steps)).astype(old.dtype)
    assert guesses(scene, old, new) == 0


def test_change_that_is_no_scaling_is_not_ia3(scene: Scene) -> None:
    old = normal((200, 300))
    assert "ia3" not in types(scene.change(old, old * normal((200, 300), seed=3)))


def test_second_guess_does_not_look_at_a_block_that_is_lost(scene: Scene) -> None:
    """Both axes may explain most of the values. The first guess is tried out before the second is asked for."""
    old = normal((100, 120))
    vector = np.full((100, 1), 2.0, np.float32)
    vector[::3] = 1.5
    new = Values.of(old * vector)
    reader = Reader(Arrays(scene.store), scene.types)
    versions = Versions(new.group, [scene.base(old)], reader)
    found = predictions(Change(new.group, new.wanted()), Version(versions, 0))
    assert next(found).vector.shape == (1, 120)
    versions.heads()[0][:] = 0
    assert np.array_equal(next(found).vector, vector)
