"""Low-rank factors are found from the weights alone, and only where there are some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from git_theta.updates import factors
from tests.updates.scene import LARGE, Scene, Values, cost, normal, parameters, types


def product(shape: tuple[int, ...], rank: int, size: float = 0.02, seed: int = 7) -> Any:
    """A change of low rank, whose values are about so large."""
    generator = np.random.default_rng(seed)
    left = generator.standard_normal((shape[0], rank))
    right = generator.standard_normal((rank, int(np.prod(shape[1:]))))
    return (left @ right * size / np.sqrt(rank)).reshape(shape)


def merged(old: Any, rank: int, size: float = 0.02) -> Any:
    return (old.astype(np.float64) + product(old.shape, rank, size)).astype(old.dtype)


SHARES = {"float16": 0.35, "bfloat16": 0.35, "float32": 0.35, "float64": 0.35}
"""Of the bytes of a 256 x 320 group, what a change of rank 3 may take at the most, corrections included."""


@pytest.mark.parametrize("dtype", SHARES)
@pytest.mark.parametrize("shape", [(256, 320), (32, 40, 8, 8)], ids=str)
def test_change_of_rank_3_is_low_rank_and_comes_back(scene: Scene, dtype: str, shape: tuple[int, ...]) -> None:
    old = normal(shape, dtype)
    update = scene.change(old, merged(old, 3))
    assert types(update)[-2:] == ["low-rank", "dense"]
    below = update if update.type == "low-rank" else update.bases[0]
    assert parameters(below)["rank"] == 3
    assert cost(update) < SHARES[dtype] * old.nbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_change_of_low_rank_of_several_blocks_comes_back(scene: Scene, dtype: str) -> None:
    old = normal((LARGE // 600, 600), dtype)
    update = scene.change(old, merged(old, 8))
    assert "low-rank" in types(update)
    assert cost(update) < 0.2 * old.nbytes


@pytest.mark.parametrize("columns", [1 << 19, (1 << 19) + 1])
def test_matrix_whose_rows_are_as_long_as_a_block_comes_back(scene: Scene, columns: int) -> None:
    old = normal((5, columns), "bfloat16")
    scene.change(old, merged(old, 1))


@pytest.mark.parametrize("rank", [1, 16])
def test_rank_is_found(scene: Scene, rank: int) -> None:
    old = normal((200, 300), "bfloat16")
    update = scene.change(old, merged(old, rank, 0.1))
    found = [parameters(part)["rank"] for part in update.nested() if part.type == "low-rank"]
    assert found == [rank]


def test_factors_of_16_bits_are_taken_where_they_cost_less_in_all(scene: Scene) -> None:
    old = normal((256, 320), "bfloat16")
    update = scene.change(old, merged(old, 8, 1e-3))
    kept = {parameters(part)["dtype"] for part in update.nested() if part.type == "low-rank"}
    assert kept == {"bfloat16"}


@pytest.mark.parametrize("shape", [(90_000,), (30, 50, 60), (3, 30_000), (30_000, 3)], ids=str)
def test_groups_that_are_no_matrix_worth_it_are_not_low_rank(scene: Scene, shape: tuple[int, ...]) -> None:
    old = normal(shape)
    assert "low-rank" not in types(scene.change(old, merged(old.reshape(300, -1), 1).reshape(shape)))


def test_change_without_low_rank_is_not_low_rank(scene: Scene) -> None:
    old = normal((256, 320), "bfloat16")
    assert types(scene.change(old, merged(old, 256))) in (["delta", "dense"], ["dense"])


def test_part_of_low_rank_alone_is_still_exact(scene: Scene) -> None:
    """The sample sees a low rank, and behind it are rows of noise."""
    old = normal((2000, 300), "bfloat16")
    new = merged(old, 2)
    new[1990:] = normal((10, 300), "bfloat16", 5)
    scene.change(old, new)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 59_999])
@pytest.mark.parametrize("where", ["old", "both"])
def test_values_that_are_no_numbers_are_exact(scene: Scene, odd: float, place: int, where: str) -> None:
    old = normal((300, 200), "bfloat16")
    new = merged(old, 2)
    if where != "new":
        old.reshape(-1)[place] = odd
    if where != "old":
        new.reshape(-1)[place] = odd
    scene.change(old, new)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300, 1e307])
def test_huge_and_tiny_values_are_exact(scene: Scene, size: float) -> None:
    old = normal((60, 70), "float64") * size
    scene.change(old, old + product((60, 70), 2, 0.1) * size)
    scene.change(old, normal((60, 70), "float64", 3) * size)


def test_subnormal_values_are_exact(scene: Scene) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        old = np.zeros((60, 70), normal(1, dtype).dtype)
        tiny = (np.outer(np.arange(60), np.arange(70)) % 900).astype(f"<u{old.itemsize}").view(old.dtype)
        scene.change(old, tiny)
        scene.change(tiny, old)


def test_values_that_are_all_alike_are_exact(scene: Scene) -> None:
    zeros, ones = np.zeros((100, 100), np.float32), np.ones((100, 100), np.float32)
    scene.change(zeros, ones)
    scene.change(ones, zeros)
    scene.change(ones, ones + np.float32(np.nan))


def test_what_is_found_is_the_same_each_time(scene: Scene) -> None:
    old = normal((256, 320), "bfloat16")
    new = Values.of(merged(old, 3))
    assert scene.keep(new, scene.base(old)) == scene.keep(new, scene.base(old))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_groups_too_large_to_be_held_have_the_same_factors(
    dtype: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = normal((LARGE // 600, 600), dtype)
    new = merged(old, 3)
    held = scene.change(old, new)
    monkeypatch.setattr(factors, "_HELD_ELEMENTS", 0)
    assert scene.change(old, new) == held
    assert "low-rank" in types(held)
