"""Which arrays make a difference to a merge, told without their values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from git_theta.errors import PluginError
from git_theta.merges import Method, merge_methods
from git_theta.merges.parameters import Params, resolve
from git_theta.merges.terms import reads_base, weights

READING: list[tuple[str, dict[str, Any], int, bool]] = [
    ("passthrough", {}, 1, False),
    ("slerp", {"t": 0.5}, 2, False),
    ("slerp", {"t": 0.5}, 1, True),
    ("nearswap", {"t": 0.5}, 2, False),
    ("arcee_fusion", {}, 2, False),
    ("karcher", {}, 2, False),
    ("karcher", {"with_base": True}, 2, True),
    ("nuslerp", {}, 2, True),
    ("nuslerp", {"with_base": False}, 2, False),
    ("multislerp", {}, 2, True),
    ("multislerp", {}, 1, False),
    ("multislerp", {"with_base": False}, 2, False),
    ("average", {}, 2, False),
    ("average", {"with_base": True}, 2, True),
    ("linear", {}, 2, False),
    ("linear", {"base_weight": 0.5}, 2, True),
    ("task_arithmetic", {}, 2, True),
    ("task_arithmetic", {"weight": [0.25, 0.75]}, 2, False),
    ("ties", {}, 2, True),
]


@pytest.mark.parametrize(("name", "given", "count", "wanted"), READING)
def test_base_is_read_as_the_parameters_and_the_inputs_say(
    name: str, given: dict[str, Any], count: int, wanted: bool
) -> None:
    method = merge_methods().get(name)
    assert reads_base(method, resolve(name, method.parameters, given, count), count) is wanted


def test_plug_in_that_says_nothing_of_it_reads_the_base_as_it_uses_it() -> None:
    for uses in (True, False):
        assert reads_base(SimpleNamespace(name="mine", uses_base=uses), Params({}), 2) is uses  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [lambda *_: None, lambda *_: 1 / 0])
def test_plug_in_that_says_nonsense_is_an_error(answer: Any) -> None:
    method = Method("mine", lambda inputs, *_: inputs[0], reads_base=answer)
    with pytest.raises(PluginError, match="the merge method mine "):
        reads_base(method, Params({}), 2)


def test_weights_are_none_for_what_is_no_sum() -> None:
    assert weights(merge_methods().get("ties"), Params({}), 2, has_base=True) is None
