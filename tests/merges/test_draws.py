"""Random masks: the same everywhere, apart for groups, inputs and seeds, and as probable as they should be."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from git_theta import merge_arrays
from git_theta.merges.draws import seeded


def chances(share: float, count: int = 100_001) -> Any:
    return np.broadcast_to(np.float64(share), (count,))


def test_masks_are_the_same_on_every_machine_and_for_ever() -> None:
    mask = seeded(42, "h.0.attn.weight", 1)(chances(0.3))
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
    assert digest == "ac8048e29c60d76c734c38fc0119b74bdc8d73412b05aa48c303b86eee2e4529"


def test_merged_values_are_the_same_on_every_machine_and_for_ever() -> None:
    change = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    params = {"density": 0.5, "seed": 3, "key": "layer", "rescale": False}
    made = [merge_arrays(method, [change, -2 * change], 0 * change, **params) for method in ("dare_linear", "della")]
    assert [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in made] == [
        "698377caf35f43a4",
        "e1384e79402c13f1",
    ]


def test_one_chance_for_all_and_the_same_chance_for_each_give_one_mask() -> None:
    draw = seeded(1, "a", 0)
    one = draw(chances(0.7))
    assert draw(np.full(one.shape, 0.7)).tolist() == one.tolist()
    assert draw(np.full((99, 3), 0.7)).ravel().tolist() == one[:297].tolist()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_the_share_that_is_kept_is_the_probability(share: float) -> None:
    assert abs(seeded(0, "", 0)(chances(share, 400_000)).mean() - share) < 0.003


def test_chances_of_0_and_1_are_certain() -> None:
    assert not seeded(0, "", 0)(chances(0.0)).any()
    assert seeded(0, "", 0)(chances(1.0)).all()


def test_another_seed_group_or_input_has_another_mask() -> None:
    masks = [seeded(*which)(chances(0.5, 4096)) for which in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert 0.45 < (one == other).mean() < 0.55


def test_each_element_has_its_own_chance() -> None:
    mixed = np.where(np.arange(10_000) % 2, np.float32(1), np.float32(0))
    assert seeded(0, "", 0)(mixed).tolist() == mixed.astype(bool).tolist()


def test_a_mask_does_not_depend_on_the_other_inputs() -> None:
    zero, change = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    alone = merge_arrays("dare_linear", [zero, change], zero, density=[1.0, 0.5], seed=5, key="g")
    both = merge_arrays("dare_linear", [zero, change], zero, density=[0.5, 0.5], seed=5, key="g")
    assert alone.tobytes() == both.tobytes()
    assert alone.tobytes() != merge_arrays("dare_linear", [zero, change], zero, density=0.5, seed=6, key="g").tobytes()
