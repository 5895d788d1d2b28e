"""The settings of an adapter are those that PEFT would use; what it would merge in another way is refused."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.errors import UsageError
from git_theta.updates.sidedata.peft_config import Settings, parse_config

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 6}


def lora(**changes: Any) -> Settings:
    return Settings.of({**LORA, **changes})


def test_a_configuration_is_a_json_object() -> None:
    assert parse_config(b'{"r": 8}') == {"r": 8}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"3", b"{", b'{"a": \xff}', b"[" * 100_000, b"1" * 5000, b'{"r": 8}\n\n{'],
    ids=lambda data: data[:8],
)
def test_anything_else_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"adapter_config\.json is not") as error:
        parse_config(data)
    assert "\n" not in str(error.value)


def test_the_scale_is_alpha_by_rank_or_by_its_root() -> None:
    assert lora().scaling("m", 4) == 1.5
    assert lora(use_rslora=True).scaling("m", 4) == 3
    assert lora(lora_alpha=0.1, r=3).scaling("m", 3) == 0.1 / 3
    assert Settings.of({"peft_type": "LORA"}).scaling("m", 8) == 1


def test_patterns_match_whole_endings_of_names_and_the_first_counts() -> None:
    found = lora(rank_pattern={"q": 2, r"layers\.[0-3]\.k": 3, "layers.1.k": 5}, alpha_pattern={"^model.v": 9, "q": 8})
    assert found.scaling("model.q", 2) == 4
    assert found.scaling("layers.1.k", 3) == 2
    assert found.scaling("x.layers.11.k", 4) == 1.5
    assert found.scaling("xq", 4) == 1.5
    assert found.scaling("model.v", 4) == 9 / 4
    assert found.scaling("x.model.v", 4) == 1.5
    assert lora(alpha_pattern={"q|k": 8}).scaling("model.k", 4) == 2
    assert lora(alpha_pattern={"[[q]": 8}).scaling("model.q", 4) == 2


def test_weights_of_another_rank_than_the_configuration_says_are_refused() -> None:
    with pytest.raises(UsageError, match="weights of 'm' have rank 3, its configuration says 4"):
        lora().scaling("m", 3)


def test_feedforward_modules_are_endings_or_one_pattern() -> None:
    ia3 = {"peft_type": "IA3"}
    assert Settings.of({**ia3, "feedforward_modules": ["up"]}).scales_input("layers.0.up")
    assert not Settings.of({**ia3, "feedforward_modules": ["up"]}).scales_input("layers.0.up.key")
    assert Settings.of({**ia3, "feedforward_modules": r".*\.up"}).scales_input("layers.0.up")
    assert not Settings.of({**ia3, "feedforward_modules": "up"}).scales_input("layers.0.up")
    assert not Settings.of(ia3).scales_input("up")


@pytest.mark.parametrize("start", [None, True, False, "gaussian", "orthogonal", "eva"])
def test_plain_starts_of_training_are_fine(start: object) -> None:
    assert (
        lora(init_lora_weights=start, loftq_config={"loftq_bits": 4}, eva_config={"rho": 2}, use_dora=False).rank == 4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "ADALORA"}, "peft_type 'ADALORA'; only LORA and IA3.* merge it with PEFT.* add the merged"),
        ({"peft_type": None}, "peft_type None"),
        ({"peft_type": ["LORA"]}, "peft_type"),
        *(
            ({"init_lora_weights": start}, "init_lora_weights")
            for start in ("pissa", "olora", "loftq", 1.5, [], "mica")
        ),
        ({"use_dora": True}, "the adapter uses 'use_dora', so it is more than"),
        ({"use_qalora": True}, "use_qalora"),
        ({"use_something_new": True}, "use_something_new"),
        ({"kasa_config": {"a": 1}}, "kasa_config"),
        ({"layer_replication": [[0, 4]]}, "layer_replication"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"r": 0}, "r = 0; it must be"),
        ({"r": 2.5}, "r = 2.5; it must be"),
        ({"r": True}, "'r' = True"),
        ({"r": 10**400}, "'r' = 1000"),
        ({"lora_alpha": "8"}, "'lora_alpha' = '8'"),
        ({"lora_alpha": math.nan}, "'lora_alpha' = nan"),
        ({"lora_alpha": math.inf}, "'lora_alpha' = inf"),
        ({"rank_pattern": [1]}, "'rank_pattern' that is no object"),
        ({"alpha_pattern": {"q": None}}, "'alpha_pattern/q' = None"),
        ({"feedforward_modules": [1]}, "'feedforward_modules'"),
        ({"feedforward_modules": 1}, "'feedforward_modules'"),
    ],
)
def test_what_cannot_be_merged_as_low_rank_or_scale_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lora(**changes)


@pytest.mark.parametrize("pattern", ["(", "*", "a{1,99999999999}", "(?P<a", "x)|(y"])
def test_bad_patterns_are_refused(pattern: str) -> None:
    for reading in (
        lambda: lora(rank_pattern={pattern: 2}).scaling("m", 2),
        lambda: lora(alpha_pattern={pattern: 2}).scaling("m", 4),
        lambda: lora(feedforward_modules=pattern).scales_input("m"),
    ):
        with pytest.raises(UsageError, match=r"has a pattern in .* that is no regular expression: "):
            reading()


def test_a_pattern_that_would_take_re_for_ever_is_quick() -> None:
    """Adapters are files of others."""
    module = "model." + "a" * 60
    assert lora(alpha_pattern={"(a+)+b": 9, "(a|a)+": 8}).scaling(module, 4) == 2
    assert not Settings.of({"peft_type": "IA3", "feedforward_modules": r"model\.(a+)+b"}).scales_input(module)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KNOWN = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "feedforward_modules")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(KNOWN), JSON, max_size=4), st.sampled_from(["LORA", "IA3"]))
def test_nothing_but_a_usage_error_comes_of_nonsense(config: dict[str, Any], kind: str) -> None:
    with contextlib.suppress(UsageError):
        found = Settings.of(parse_config(json.dumps({**config, "peft_type": kind}).encode()))
        found.scales_input("model.m")
        assert math.isfinite(found.scaling("model.m", found.rank))
