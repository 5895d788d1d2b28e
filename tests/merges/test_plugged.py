"""Merge methods that other packages bring: what they announce is looked at before anybody uses it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from git_theta.errors import MergeError, PluginError
from git_theta.merges import Method, merge_methods
from git_theta.merges.parameters import Kind, Parameter
from git_theta.merges.plugged import checked, guarded

METHOD: dict[str, Any] = {
    "name": "mine",
    "parameters": (Parameter("weight", Kind.NUMBER, 1.0, "how much"),),
    "needs_base": False,
    "uses_base": True,
    "inputs": (1, None),
    "elementwise": False,
    "merge": lambda inputs, *_: inputs[0],
}


def test_method_that_keeps_to_the_contract_is_itself() -> None:
    for found in (SimpleNamespace(**METHOD), Method("mine", lambda inputs, *_: inputs[0])):
        assert checked("mine", found) is found


@pytest.mark.parametrize("name", merge_methods().builtins)
def test_builtins_keep_to_the_contract(name: str) -> None:
    checked(name, merge_methods().get(name))


@pytest.mark.parametrize("missing", METHOD)
def test_method_without_an_attribute_is_refused(missing: str) -> None:
    found = SimpleNamespace(**{name: value for name, value in METHOD.items() if name != missing})
    with pytest.raises(PluginError, match=f"its attribute {missing!r}"):
        checked("mine", found)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", "ours"),
        ("parameters", ["weight"]),
        ("parameters", ("weight",)),
        ("needs_base", None),
        ("inputs", 2),
        ("inputs", (1, "many")),
        ("inputs", (1, 2, 3)),
        ("copies", "two"),
        ("copies", -1),
        ("merge", None),
    ],
)
def test_method_with_a_wrong_attribute_is_refused(attribute: str, value: Any) -> None:
    with pytest.raises(PluginError, match=f"its attribute {attribute!r}"):
        checked("mine", SimpleNamespace(**{**METHOD, attribute: value}))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(0)])
def test_what_a_method_raises_names_it(error: BaseException) -> None:
    with pytest.raises(PluginError, match=f"the merge method mine failed: {type(error).__name__}"), guarded("mine"):
        raise error


@pytest.mark.parametrize("error", [MergeError("no result"), MemoryError(), KeyboardInterrupt()])
def test_what_means_something_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, guarded("mine"):
        raise error
    assert caught.value is error
