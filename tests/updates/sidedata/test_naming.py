"""Names of adapted modules are found in a checkpoint, or not at all."""

from __future__ import annotations

import pytest

from git_theta.updates.sidedata.naming import Modules, listed, plain


def test_names_are_read_without_escapes() -> None:
    assert plain("h.0.attn~1R") == plain("h.0.attn/R") == "h.0.attn/R"
    assert plain("a~01b") == "a~1b"


def test_many_items_are_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(13)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more"


@pytest.mark.parametrize(
    ("groups", "name", "found"),
    [
        (["a.b.weight", "x.a.b.weight"], "a.b.weight", ["a.b.weight"]),
        (["transformer.h.0.b.weight"], "h.0.b.weight", ["transformer.h.0.b.weight"]),
        (["h.0.b.weight"], "transformer.h.0.b.weight", ["h.0.b.weight"]),
        (["model/h.0.b.weight"], "h.0.b.weight", ["model/h.0.b.weight"]),
        (["model/h/0/b/weight"], "h.0.b.weight", ["model/h/0/b/weight"]),
        (["a~1b.weight"], "a.b.weight", ["a~1b.weight"]),
        (["x.b.weight", "y.b.weight"], "b.weight", ["x.b.weight", "y.b.weight"]),
        (["b.weight"], "h.0.b.weight", []),
        (["weight"], "b.weight", []),
        (["xb.weight"], "b.weight", []),
        (["b.weight"], "xb.weight", []),
        (["b.weight.x"], "b.weight", []),
    ],
)
def test_a_prefix_more_or_less_is_no_matter(groups: list[str], name: str, found: list[str]) -> None:
    assert Modules.of(groups).find(name) == found
