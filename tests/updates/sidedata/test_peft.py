"""Adapters as PEFT saves them: the changes give what PEFT's own merge gave, or an error says why not.

The files in tests/data/peft are PEFT's (scripts/make_adapters.py); the others are made here as PEFT documents them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_theta.checkpoints import Values
from git_theta.errors import UsageError
from git_theta.updates.sidedata.apply import apply_all
from git_theta.updates.sidedata.changes import Dense, Either, LowRank, Scale, SparseChange, Told, readings
from git_theta.updates.sidedata.peft import read_peft
from git_theta.updates.sidedata.peft_config import parse_config
from git_theta.updates.sidedata.values import from_bytes, widen
from tests.updates.sidedata.data import load, values

DATA = Path(__file__).parents[2] / "data" / "peft"
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
IA3: dict[str, Any] = {"peft_type": "IA3", "feedforward_modules": ["up"]}


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def lora(module: str, out: int, inputs: int, *, joint: str = ".", rank: int = 2) -> dict[str, Values]:
    """LoRA's weights of a linear module."""
    prefix = f"base_model.model.{module}"
    return {
        f"{prefix}.lora_A{joint}weight": values(random(rank, inputs, seed=1)),
        f"{prefix}.lora_B{joint}weight": values(random(out, rank, seed=2)),
    }


def f32(**shapes: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Groups of a checkpoint; "__" in a name stands for "."."""
    return {name.replace("__", "."): ("float32", shape) for name, shape in shapes.items()}


def one(changes: list[Told]) -> Told:
    (change,) = changes
    return change


@pytest.mark.parametrize("case", ["lora", "transposed", "bfloat16", "ia3"])
def test_the_changes_give_what_peft_s_merge_gave(case: str) -> None:
    before, adapter, merged = (
        load(DATA / case / f"{file}.safetensors") for file in ("base", "adapter_model", "merged")
    )
    config = parse_config((DATA / case / "adapter_config.json").read_bytes())
    changes = defaultdict(list)
    for change in read_peft(config, adapter, {name: (group.dtype, group.shape) for name, group in before.items()}):
        changes[change.group].append(change)
    differing = {name for name, group in merged.items() if group != before[name]}
    assert changes.keys() == differing
    for name in differing:
        dtype, shape = before[name].dtype, before[name].shape
        found = widen(apply_all(readings(changes[name])[0], from_bytes(name, before[name]), dtype, shape), dtype)
        expected = widen(from_bytes(name, merged[name]), dtype)
        # PEFT scales after it multiplied; and it rounds the product for an embedding to 16 bits before it adds it.
        tolerance = 2.0**-7 if dtype == "bfloat16" else 1e-6
        absolute = 2.0**-6 if dtype == "bfloat16" and name == "embed.weight" else tolerance / 10
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=absolute)


def test_the_adapter_s_own_values_come_before_what_is_added_to_them() -> None:
    adapter = lora("proj", 3, 4) | {"base_model.model.proj.base_layer.weight": values(random(3, 4))}
    changes = read_peft(LORA, adapter, f32(proj__weight=(3, 4)))
    assert [type(change) for change in changes] == [Dense, LowRank]


@pytest.mark.parametrize("joint", [".", ".default."])
@pytest.mark.parametrize("group", ["h.0.proj.weight", "model.h.0.proj.weight", "proj.weight", "model/h.0.proj.weight"])
def test_names_are_mapped_onto_the_checkpoint_s(joint: str, group: str) -> None:
    module = "model.proj" if group == "proj.weight" else "h.0.proj"
    change = one(read_peft(LORA, lora(module, 3, 4, joint=joint), {group: ("bfloat16", (3, 4))}))
    assert isinstance(change, LowRank)
    assert change.group == group
    np.testing.assert_array_equal(change.r @ change.c, random(3, 2, seed=2) * 2 @ random(2, 4, seed=1))


@pytest.mark.parametrize(
    "name",
    ["head.weight", "head.modules_to_save.weight", "head.modules_to_save.default.weight", "head.base_layer.weight"],
)
def test_saved_modules_are_found_under_the_names_of_all_versions(name: str) -> None:
    change = one(
        read_peft(LORA, {f"base_model.model.{name}": values(random(3))}, f32(head__weight=(3,), x__weight=(3,)))
    )
    assert isinstance(change, Dense)
    assert change.group == "head.weight"


def test_the_original_of_a_saved_module_is_left_out_and_values_that_are_saved_twice_count_once() -> None:
    """As PEFT 0.21 saves a classifier if it is told to train all biases."""
    names = ("head.bias", "head.modules_to_save.bias", "head.original_module.bias")
    adapter = {
        f"base_model.model.{name}": values(random(3, seed=seed)) for name, seed in zip(names, (1, 1, 2), strict=True)
    }
    change = one(read_peft(LORA, adapter, f32(head__bias=(3,))))
    assert isinstance(change, Dense)
    np.testing.assert_array_equal(change.values, random(3, seed=1))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_change_tells_the_dtype_that_the_adapter_has(dtype: str) -> None:
    names = ("lora_A.weight", "lora_B.weight", "lora_B.bias")
    shapes = ((2, 4), (3, 2), (3,))
    adapter = {f"m.{name}": values(random(*shape).astype(dtype)) for name, shape in zip(names, shapes, strict=True)}
    low_rank, bias = read_peft(LORA, adapter, f32(m__weight=(3, 4), m__bias=(3,)))
    assert isinstance(low_rank, LowRank)
    assert isinstance(bias, SparseChange)
    assert (low_rank.given, bias.given) == (dtype, dtype)


def test_a_saved_module_with_modules_of_its_own() -> None:
    name = "base_model.model.head.modules_to_save.dense.weight"
    assert one(read_peft(LORA, {name: values(random(3))}, f32(head__dense__weight=(3,)))).group == "head.dense.weight"


def test_weights_that_are_not_square_tell_how_they_are_kept() -> None:
    for flag in (False, True):
        plain = one(read_peft({**LORA, "fan_in_fan_out": flag}, lora("m", 3, 4), f32(m__weight=(3, 4))))
        turned = one(read_peft({**LORA, "fan_in_fan_out": flag}, lora("m", 3, 4), f32(m__weight=(4, 3))))
        assert isinstance(plain, LowRank)
        assert isinstance(turned, LowRank)
        np.testing.assert_allclose((turned.r @ turned.c).T, plain.r @ plain.c, rtol=1e-6)


def test_square_weights_are_kept_as_the_flag_says_with_doubt_if_it_is_seen_to_be_wrong() -> None:
    square = lora("s", 3, 3)
    for flag in (False, True):
        change = one(read_peft({**LORA, "fan_in_fan_out": flag}, square, f32(s__weight=(3, 3))))
        assert isinstance(change, Either)
        assert change.doubt == ""
        product = random(3, 2, seed=2) * 2 @ random(2, 3, seed=1)
        for reading, is_transposed in ((change.likely, flag), (change.other, not flag)):
            assert isinstance(reading, LowRank)
            np.testing.assert_allclose(reading.r @ reading.c, product.T if is_transposed else product, rtol=1e-6)
        # The other module is kept the other way round, so the flag is that of just one of them.
        groups = f32(s__weight=(3, 3), m__weight=(3, 4) if flag else (4, 3))
        assert_doubted(read_peft({**LORA, "fan_in_fan_out": flag}, square | lora("m", 3, 4), groups)[0], flag, "s")
        right = read_peft(
            {**LORA, "fan_in_fan_out": flag},
            square | lora("m", 3, 4),
            f32(s__weight=(3, 3), m__weight=(4, 3) if flag else (3, 4)),
        )
        assert len(right) == 2
        assert not any(isinstance(change, Either) and change.doubt for change in right)


def assert_doubted(change: Told, flag: bool, module: str) -> None:
    assert isinstance(change, Either)
    assert re.match(f".* fan_in_fan_out = {flag}, .*'{module}.weight' is square", change.doubt)


def test_square_weights_of_a_checkpoint_whose_biases_contradict_the_flag_are_in_doubt() -> None:
    """The adapter's flag is then that of another module, which is not square, or of none."""
    for flag in (False, True):
        config = {**LORA, "fan_in_fan_out": flag}
        for fits in (False, True):
            up = (6, 3) if flag is not fits else (3, 6)
            groups = f32(h__attn__c_proj__weight=(3, 3), h__mlp__c_proj__weight=up, h__mlp__c_proj__bias=(6,))
            change = one(read_peft(config, lora("h.attn.c_proj", 3, 3), groups))
            if fits:
                assert isinstance(change, Either)
                assert change.doubt == ""
            else:
                assert_doubted(change, flag, "h.attn.c_proj")


def test_a_scale_of_a_module_without_bias_and_with_one() -> None:
    adapter = {"base_model.model.key.ia3_l": values(random(3, 1))}
    assert len(read_peft(IA3, adapter, f32(key__weight=(3, 4)))) == 1
    weight, bias = read_peft(IA3, adapter, f32(key__weight=(3, 4), key__bias=(3,)))
    assert isinstance(weight, Scale)
    assert isinstance(bias, Scale)
    assert weight.vector.shape == (3, 1)
    np.testing.assert_array_equal(bias.vector, random(3))
    turned = read_peft(IA3, adapter, f32(key__weight=(4, 3)))[0]
    assert isinstance(turned, Scale)
    assert turned.vector.shape == (1, 3)


@pytest.mark.parametrize(("module", "groups"), [("up", ("up.weight",)), ("key", ("key.weight", "key.bias"))])
def test_a_scale_of_one_number_is_of_inputs_or_outputs_as_the_configuration_says(
    module: str, groups: tuple[str, ...]
) -> None:
    targets = {f"{module}.weight": ("float32", (1, 1)), f"{module}.bias": ("float32", (1,))}
    changes = read_peft(IA3, {f"{module}.ia3_l": values([[2.0]], "float32")}, targets)
    assert tuple(change.group for change in changes) == groups


def test_a_scale_of_the_inputs_of_a_convolution_in_groups() -> None:
    vector = random(1, 6, 1, 1)
    change = one(read_peft(IA3, {"up.ia3_l": values(vector)}, f32(up__weight=(4, 3, 2, 2), up__bias=(4,))))
    assert isinstance(change, Scale)
    expected = np.stack([vector[0, :3], vector[0, :3], vector[0, 3:], vector[0, 3:]])
    np.testing.assert_array_equal(change.vector, expected)


def test_an_added_bias_is_scaled_too() -> None:
    adapter = lora("m", 3, 4) | {"base_model.model.m.lora_B.bias": values(random(3, seed=5))}
    changes = read_peft(LORA, adapter, f32(m__weight=(3, 4), m__bias=(3,)))
    assert [change.group for change in changes] == ["m.weight", "m.bias"]
    assert isinstance(changes[1], SparseChange)
    np.testing.assert_array_equal(changes[1].data, random(3, seed=5) * 2)
    with pytest.raises(UsageError, match=r"lora_B\.bias', but the checkpoint has no group 'm\.bias'"):
        read_peft(LORA, adapter, f32(m__weight=(3, 4)))


def test_all_modules_without_a_group_are_listed_up_to_ten() -> None:
    adapter: dict[str, Values] = {}
    for layer in range(12):
        adapter |= lora(f"layers.{layer}.q", 3, 4)
    with pytest.raises(UsageError, match=r"no group for: 'layers\.0\.q', .*, 'layers\.9\.q' and 2 more; .* with PEFT"):
        read_peft(LORA, adapter, f32(q__weight=(3, 4)))


def added(name: str, *shape: int) -> dict[str, Values]:
    return lora("m", 3, 4) | {name: values(random(*shape))}


def without(adapter: dict[str, Values], end: str) -> dict[str, Values]:
    return {name: group for name, group in adapter.items() if not name.endswith(end)}


CONV = {"m.lora_A.weight": values(random(2, 4, 3, 3)), "m.lora_B.weight": values(random(3, 2, 1, 1))}
EMBEDDING = {"m.lora_embedding_A": values(random(2, 3)), "m.lora_embedding_B": values(random(4, 2))}

WRONG: dict[str, tuple[dict[str, Any], dict[str, Values], dict[str, Any], str]] = {
    "empty": (LORA, {}, f32(), "has no weights"),
    "unclear": (
        LORA,
        lora("q", 3, 4),
        f32(a__q__weight=(3, 4), b__q__weight=(3, 4)),
        r"'q' \(it may be 'a.q.weight', 'b",
    ),
    "two for one": (
        LORA,
        lora("a.q", 3, 4) | lora("b.q", 3, 4),
        f32(q__weight=(3, 4)),
        "several .* would be 'q.weight'",
    ),
    "saved twice": (
        LORA,
        {"m.weight": values(random(1)), "m.modules_to_save.weight": values(random(1, seed=1))},
        f32(m__weight=(1,)),
        "several .* would be 'm.weight'",
    ),
    "original alone": (LORA, {"m.original_module.bias": values(random(1))}, f32(m__bias=(1,)), "completely, LORA ones"),
    "two adapters": (LORA, lora("m", 3, 4) | lora("m", 3, 4, joint=".b."), f32(m__weight=(3, 4)), "twice"),
    "half": (LORA, without(lora("m", 3, 4), "B.weight"), f32(m__weight=(3, 4)), "completely, LORA ones: .*lora_A"),
    "of the other kind": (IA3, lora("m", 3, 4), f32(m__weight=(3, 4)), "completely, IA3 ones"),
    "magnitude": (LORA, added("m.lora_magnitude_vector", 3), f32(m__weight=(3, 4)), "'m.lora_magnitude_vector'"),
    "adaptive": (LORA, added("m.lora_E", 3, 1), f32(m__weight=(3, 4)), "'m.lora_E'"),
    "tokens": (LORA, added("m.token_adapter.trainable_tokens_delta", 3), f32(m__weight=(3, 4)), "token_adapter"),
    "attention": (LORA, lora("m.base_layer.out_proj", 3, 4), f32(m__out_proj__weight=(3, 4)), "within an attention"),
    "unknown values": (LORA, added("norm.weight", 3), f32(m__weight=(3, 4)), "no group for: 'norm.weight'"),
    "saved of another shape": (LORA, added("n.weight", 3), f32(m__weight=(3, 4), n__weight=(4,)), r"\[3\] for a shape"),
    "another width": (
        LORA,
        lora("m", 3, 5),
        f32(m__weight=(3, 4)),
        r"lora_A.weight \[2, 5\], lora_B.weight \[3, 2\] for",
    ),
    "a vector": (LORA, lora("m", 3, 4), f32(m__weight=(12,)), "does not fit the group 'm.weight'"),
    "a kernel for a matrix": (LORA, CONV, f32(m__weight=(3, 36)), "does not fit the group"),
    "a matrix for a kernel": (LORA, lora("m", 3, 4), f32(m__weight=(3, 4, 1, 1)), "does not fit the group"),
    "another kernel": (LORA, CONV, f32(m__weight=(3, 4, 3, 2)), "does not fit the group"),
    "a kernel in groups": (
        LORA,
        CONV | {"m.lora_B.weight": values(random(3, 1, 1, 1))},
        f32(m__weight=(3, 4, 3, 3)),
        "fit",
    ),
    "a wide second kernel": (
        LORA,
        CONV | {"m.lora_B.weight": values(random(3, 2, 3, 3))},
        f32(m__weight=(3, 4, 3, 3)),
        "does not fit the group",
    ),
    "an embedding turned": (LORA, EMBEDDING, f32(m__weight=(4, 3)), "does not fit the group"),
    "lost shards": (
        LORA,
        lora("m", 3, 4) | {"base_model.model.m.lora_B.weight": values(np.zeros(0, np.float32))},
        f32(m__weight=(3, 4)),
        "does not fit the group",
    ),
    "another rank": (
        LORA,
        lora("m", 3, 4, rank=3),
        f32(m__weight=(3, 4)),
        "of 'm' have rank 3, its configuration says 2",
    ),
    "rank 0": (LORA, lora("m", 3, 4, rank=0), f32(m__weight=(3, 4)), "have rank 0"),
    "whole numbers": (LORA, lora("m", 3, 4), {"m.weight": ("int8", (3, 4))}, "dtype int8 can be replaced"),
    "quantised": (
        LORA,
        {name: values(np.zeros(group.shape, np.int8)) for name, group in lora("m", 3, 4).items()},
        f32(m__weight=(3, 4)),
        "dtype int8; it must be",
    ),
    "a bias of whole numbers": (
        LORA,
        lora("m", 3, 4) | {"m.lora_B.bias": values(np.zeros(3, np.int8))},
        f32(m__weight=(3, 4), m__bias=(3,)),
        "dtype int8; it must be",
    ),
    "a bias of another length": (
        LORA,
        added("m.lora_B.bias", 4) | without(lora("m", 3, 4), "x"),
        f32(m__weight=(3, 4), m__bias=(3,)),
        "m.lora_B.bias|does not fit",
    ),
    "a scale of another length": (IA3, {"m.ia3_l": values(random(5, 1))}, f32(m__weight=(3, 4)), "does not fit"),
    "a scale without axes": (IA3, {"m.ia3_l": values(random(3))}, f32(m__weight=(3, 4)), "does not fit"),
    "a scale of a vector": (IA3, {"m.ia3_l": values(random(1, 3))}, f32(m__weight=(3,)), "does not fit"),
    "a scale of no kernel": (IA3, {"m.ia3_l": values(random(3, 1))}, f32(m__weight=(3, 4, 2, 2)), "does not fit"),
    "a scale of too many inputs": (IA3, {"up.ia3_l": values(random(1, 7, 1, 1))}, f32(up__weight=(4, 3, 2, 2)), "fit"),
    "inputs in more groups than outputs": (
        IA3,
        {"up.ia3_l": values(random(1, 9, 1, 1))},
        f32(up__weight=(4, 3, 2, 2)),
        "does not fit",
    ),
    "damage": (
        LORA,
        lora("m", 3, 4) | {"norm.weight": Values("float32", (3,), b"")},
        f32(m__weight=(3, 4), norm__weight=(3,)),
        "damaged",
    ),
}


@pytest.mark.parametrize(("config", "adapter", "targets", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_adapters_are_refused_in_one_line(
    config: dict[str, Any], adapter: dict[str, Values], targets: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read_peft(config, adapter, targets)
    assert "\n" not in str(error.value)
