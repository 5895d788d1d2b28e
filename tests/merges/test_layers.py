"""Layer numbers in names, and numbers that change over the layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.merges.layers import Gradient, Layers


@pytest.mark.parametrize(
    ("stack", "rest"),
    [
        ("h.", ".attn.weight"),
        ("params/layers_", "/kernel"),
        ("blk.", ".attn_q.weight"),
        ("", ".weight"),
        ("x.h_", ""),
        ("net~1h_", "~1mlp/w"),
    ],
)
def test_depth_goes_from_the_first_layer_to_the_last(stack: str, rest: str) -> None:
    names = [f"{stack}{number}{rest}" for number in range(5)]
    layers = Layers.of([*names, "wte.weight"])
    assert [layers.depth(name) for name in names] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_group_without_a_number_is_at_the_first_layer_as_in_mergekit() -> None:
    layers = Layers.of(["h.0.x", "h.1.x", "ln_f.weight", "lm_head", "conv1.weight", "w.q4_0x", "h.1234567.x"])
    assert [layers.depth(name) for name in ("ln_f.weight", "lm_head", "conv1.weight", "h.1234567.x")] == [0.0] * 4


def test_single_layer_is_at_the_last() -> None:
    assert Layers.of(["h.0.x"]).depth("h.0.x") == 1.0


def test_first_number_counts_and_each_stack_has_its_own_layers() -> None:
    layers = Layers.of(["encoder.1.experts.7.w", "encoder.2.experts.0.w", "decoder.0.w", "decoder.4.w"])
    assert layers.depth("encoder.1.experts.7.w") == 0.5
    assert layers.depth("decoder.1.w") == 0.25


def test_group_of_unknown_layers_stays_between_the_first_and_the_last() -> None:
    assert Layers.of(["h.0.x", "h.1.x"]).depth("h.7.x") == 1.0
    assert Layers.of([]).depth("h.7.x") == 1.0


@pytest.mark.parametrize(
    ("points", "depth", "value"),
    [
        ((0.1, 0.9), 0.0, 0.1),
        ((0.1, 0.9), 1.0, 0.9),
        ((0.0, 1.0), 0.25, 0.25),
        ((0.0, 1.0, 0.0), 0.25, 0.5),
        ((0.0, 1.0, 0.0), 0.5, 1.0),
        ((0.3,), 0.7, 0.3),
    ],
)
def test_gradient_is_straight_between_its_points(points: tuple[float, ...], depth: float, value: float) -> None:
    assert Gradient(points).at(depth) == pytest.approx(value)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.floats(0, 1))
def test_gradient_never_leaves_its_points(points: list[float], depth: float) -> None:
    assert min(points) - 1e-12 <= Gradient(tuple(points)).at(depth) <= max(points) + 1e-12
