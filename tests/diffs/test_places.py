"""Where in a model groups stand."""

from __future__ import annotations

import pytest

from git_theta.diffs.places import places


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("h.3.attn.c_attn.weight", "h.*.attn.c_attn.weight", 3),
        ("model.layers.10.ln_1.bias", "model.layers.*.ln_1.bias", 10),
        ("encoder/layers_7/mlp/wi_0/kernel", "encoder/layers_*/mlp/wi_0/kernel", 7),
        ("optimizer/state/0/exp_avg", "optimizer/state/*/exp_avg", 0),
        ("layer1.0.conv1.weight", "layer1.*.conv1.weight", 0),
        ("blocks.2.attn_1.w", "blocks.*.attn_1.w", 2),
        ("stack[5].w", "stack[*].w", 5),
        ("h.007.w", "h.*.w", 7),
        ("12", "*", 12),
        ("conv2d.weight", "conv2d.weight", None),
        ("wte.weight", "wte.weight", None),
        ("", "", None),
        ("h." + "9" * 5000, "h." + "9" * 5000, None),
        ("h.٣.w", "h.٣.w", None),
    ],
)
def test_name_tells_kind_and_layer(name: str, kind: str, layer: int | None) -> None:
    assert places([name]) == {name: (kind, layer)}


def test_few_groups_that_differ_in_a_later_number_are_kinds_of_their_own() -> None:
    names = [f"h.{layer}.mlp.{part}.weight" for layer in range(3) for part in (0, 2)]
    assert {kind for kind, _ in places(names).values()} == {"h.*.mlp.0.weight", "h.*.mlp.2.weight"}


def test_many_groups_that_differ_in_a_later_number_are_one_kind() -> None:
    names = [f"h.{layer}.experts.{expert}.w" for layer in range(3) for expert in range(5)]
    assert set(places(names).values()) == {("h.*.experts.*.w", layer) for layer in range(3)}
