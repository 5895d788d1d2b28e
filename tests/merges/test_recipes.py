"""Recipes: what they say, and that a broken one is an error with line and column, never anything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from git_theta.errors import MergeError
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Clash, Decision
from git_theta.merges.recipes import MAX_BYTES, parse_recipe
from git_theta.merges.strategies import LEAVE
from tests.merges.test_strategies import EPOCH, EVERYTHING, NAMES, SHAPE, STRUCTURE, clash, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from git_theta.merges.decisions import Conflict
    from git_theta.merges.strategies import Strategy

METHODS = merge_methods()

RECIPE = """\
seed = 7

[default]
method = "ties"
with = { density = 0.2, weight = [0.5, 0.7] }

[[rules]]
match = ["h.*.attn", "wte"]
method = "slerp"
with = { t = { gradient = [0.1, 0.9] } }

[[rules]]
match = "h.1.*"
method = "dare_linear"

[[rules]]
match = "head"
method = "theirs"

[texts]
default = "ours"
[[texts.rules]]
match = "optimizer/*"
take = "theirs"
[[texts.rules]]
match = ["epoch"]
take = "conflict"

[otherwise]
shapes = "rows"
default = "ancestor"
"""


def read(recipe: str) -> Strategy:
    return parse_recipe(recipe.encode(), "merge.toml", METHODS)


def decided(recipe: str, *conflicts: Conflict) -> Mapping[str, Decision]:
    return read(recipe).settle(conflicts, NAMES).decisions


def test_first_rule_that_matches_decides_and_the_default_where_none_does() -> None:
    found = decided(RECIPE, *(clash(name) for name in ("h.1.attn", "h.1.mlp", "h.2.mlp", "head")))
    assert found == {
        "h.1.attn": Decision("slerp", (("t", 0.5),)),
        "h.1.mlp": Decision("dare_linear", (("seed", 7),)),
        "h.2.mlp": Decision("ties", (("density", 0.2), ("weight", (0.5, 0.7)))),
        "head": Decision("theirs"),
    }


def test_gradient_goes_from_the_first_layer_to_the_last_also_if_few_are_in_conflict() -> None:
    found = decided(RECIPE, *(clash(name) for name in ("wte", "h.0.attn", "h.2.attn")))
    assert [dict(decision.parameters)["t"] for decision in found.values()] == [0.1, 0.1, 0.9]


def test_each_input_may_have_a_gradient_of_its_own() -> None:
    recipe = (
        "[default]\nmethod = 'linear'\n[default.with]\nweight = [{ gradient = [1, 0] }, { gradient = [0, 1, 4] }]\n"
    )
    found = decided(recipe, *(clash(name) for name in ("h.0.mlp", "h.1.mlp", "h.2.mlp")))
    assert [dict(decision.parameters)["weight"] for decision in found.values()] == [(1.0, 0.0), (0.5, 1.0), (0.0, 4.0)]


def test_list_is_for_the_inputs_and_never_a_gradient() -> None:
    found = decided("[default]\nmethod = 'linear'\nwith.weight = [1, 0]\n", clash("h.0.mlp"), clash("h.2.mlp"))
    assert {dict(decision.parameters)["weight"] for decision in found.values()} == {(1.0, 0.0)}


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[0.5, 0.7]", "[0.5, 0.7, 1]", "line 5, column 25"),
        ('method = "dare_linear"', 'method = "dare_linear"\n[rules.with]\nweight = [1]', "line 16, column 1"),
    ],
)
def test_list_of_another_length_than_there_are_inputs_is_a_reason_that_says_where(
    old: str, new: str, place: str
) -> None:
    """How many inputs there are shows only in the merge. What is said of methods that do not fit is not asked."""
    answer = read(RECIPE.replace(old, new)).settle([clash("h.1.mlp"), clash("h.2.mlp")], NAMES)
    (why,) = answer.reasons.values()
    assert re.fullmatch(rf"merge\.toml, {place}: the parameter weight has [13] values for 2 inputs: give one each", why)


def test_rule_that_takes_a_side_decides_also_about_shapes_and_removed_groups() -> None:
    assert decided(RECIPE, SHAPE) == {"head": Decision("theirs")}


def test_texts_have_rules_of_their_own() -> None:
    answer = read(RECIPE).settle([text("optimizer/lr", "1", "2", "3"), text("lr", "1", "2", "3"), EPOCH], NAMES)
    assert answer.decisions == {"optimizer/lr": Decision("theirs"), "lr": Decision("ours")}
    assert answer.reasons == {"epoch": "left to be settled by hand"}


def test_rest_is_settled_by_kind_and_then_by_default() -> None:
    head = "[[rules]]\nmatch = 'head'\nmethod = 'theirs'\n"
    recipe = RECIPE.replace(head.replace("'", '"'), "")
    found = decided(recipe, *EVERYTHING)
    assert {name: decision.method for name, decision in found.items()} == {
        "h.0.attn": "slerp",
        "step": "ancestor",
        "wte": "ancestor",
        "h.0.mlp": "ancestor",
        "head": "rows",
        "(structure)": "ancestor",
    }


def test_otherwise_may_be_one_word() -> None:
    assert decided("otherwise = 'ours'\n", STRUCTURE) == {"(structure)": Decision("ours")}
    assert read("otherwise = 'ours'\n").otherwise == {None: "ours"}


def test_rule_may_leave_groups_to_the_user() -> None:
    recipe = f"otherwise = 'ours'\n[[rules]]\nmatch = 'h*'\nmethod = '{LEAVE}'\n"
    assert decided(recipe, clash("head"), clash("wte")).keys() == {"wte"}


def test_recipe_of_the_manual_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "merging.md").read_text()
    (recipe,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    strategy = read(recipe)
    assert len(strategy.rules) == 4
    assert strategy.otherwise == {Clash.SHAPE: "rows", None: "ours"}


def test_empty_recipe_decides_nothing() -> None:
    answer = read("# nothing\n").settle([clash("wte")], NAMES)
    assert answer.reasons == {"wte": "no rule is for it"}


def test_pattern_that_matches_no_group_is_an_error_where_it_stands() -> None:
    strategy = read(RECIPE.replace('"wte"', '"wtf"'))
    with pytest.raises(MergeError) as caught:
        strategy.settle([clash("h.0.mlp")], NAMES)
    assert str(caught.value) == "merge.toml, line 8, column 22: no group of the checkpoint matches 'wtf'"


def test_case_counts_in_patterns() -> None:
    with pytest.raises(MergeError, match="no group of the checkpoint matches 'WTE'"):
        read(RECIPE.replace('"wte"', '"WTE"')).settle([], NAMES)


def test_pattern_for_groups_that_are_not_in_conflict_is_no_error() -> None:
    assert decided(RECIPE, clash("head")) == {"head": Decision("theirs")}


BROKEN: dict[str, tuple[str, str, str]] = {
    "syntax": ("seed = 7", "seed = ", "line 1, column 8: Invalid value"),
    "syntax at the end": ('default = "ancestor"\n', "default = [1", "line 31, column 13: Unclosed array"),
    "key": ("[default]", "[defualt]", "line 3, column 2: unknown key 'defualt'; known are seed, default, rules"),
    "key in a rule": ('method = "dare', 'metod = "dare', "line 14, column 1: unknown key 'metod'"),
    "key in with": ("density =", "desnity =", "line 5, column 10: the merge method ties has no parameter 'desnity'"),
    "method": ('"slerp"', '"slurp"', "line 9, column 1: unknown merge method 'slurp'; known are: ours"),
    "no method": ('method = "slerp"\n', "", "line 7, column 3: say which method"),
    "method of no text": ('"slerp"', "3", "line 9, column 1: say which method"),
    "no parameter": (
        "with = { t = { gradient = [0.1, 0.9] } }\n",
        "",
        "line 9, column 1: the merge method slerp needs",
    ),
    "value": ("density = 0.2", "density = 2", "line 5, column 10: the parameter density must be a number from 0 to 1"),
    "value in a list": ("[0.5, 0.7]", "[0.5, 'x']", "line 5, column 25: the parameter weight must be a number"),
    "empty list": ("[0.5, 0.7]", "[]", "line 5, column 25: the parameter weight has an empty list"),
    "list for all": ("{ gradient = [0.1, 0.9] }", "[0.1, 0.9]", "line 10, column 10: the parameter t has one value"),
    "gradient": ("gradient =", "gradeint =", "line 10, column 16: unknown key 'gradeint'; known are gradient"),
    "empty gradient": ("[0.1, 0.9]", "[]", "line 10, column 16: a gradient is a list of numbers"),
    "gradient of words": ("[0.1, 0.9]", "[0.1, true]", "line 10, column 33: a gradient is a list of numbers: True"),
    "gradient out of range": ("0.2,", "{ gradient = [0, 3] },", "line 5, column 10: the parameter density must be"),
    "endless gradient": ("[0.1, 0.9]", "[inf]", "line 10, column 10: the parameter t must be a number, not inf"),
    "gradient of a flag": ("density = 0.2", "rescale = { gradient = [1] }", "line 5, column 10: the parameter rescale"),
    "match": ('match = "head"\n', "", "line 16, column 3: the rule has no match"),
    "pattern": ('"wte"', '""', "line 8, column 22: match must be a pattern"),
    "no pattern": ('["h.*.attn", "wte"]', "[]", "line 8, column 1: match must be a pattern"),
    "rules as a table": ("[[rules]]\nmatch = [", "[rules]\nmatch = [", "line 12, column"),
    "with": ("{ density = 0.2, weight = [0.5, 0.7] }", "3", "line 5, column 1: with must be a table of parameters"),
    "take": ('take = "theirs"\n', "", "line 22, column 9: the rule has no take: one of ours, theirs"),
    "taken": ('take = "theirs"', 'take = "average"', "line 24, column 1: texts must be one of ours, theirs"),
    "default of texts": ('default = "ours"', "default = 1", "line 21, column 1: texts must be one of ours"),
    "otherwise": (
        '"rows"',
        '"columns"',
        "line 30, column 1: shapes must be one of ours, theirs, ancestor, conflict, rows",
    ),
    "kind of conflict": ("shapes =", "shape =", "line 30, column 1: unknown key 'shape'; known are removed, dtypes"),
    "seed": ("seed = 7", "seed = -7", "line 1, column 1: the parameter seed must be a whole number"),
    "seed of no number": ("seed = 7", "seed = 'x'", "line 1, column 1: the parameter seed must be a whole number"),
    "default as a text": ("[default]\n", "default = 'ties'\n[other]\n", "line 4, column 2: unknown key 'other'"),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_recipe_says_line_and_column(old: str, new: str, message: str) -> None:
    assert old in RECIPE
    with pytest.raises(MergeError) as caught:
        read(RECIPE.replace(old, new, 1))
    assert str(caught.value).startswith(f"merge.toml, {message}")
    assert "\n" not in str(caught.value)


def test_mark_that_some_editors_begin_a_file_with_is_no_part_of_a_recipe() -> None:
    assert read("\ufeff[default]\nmethod = 'average'\n") == read("[default]\nmethod = 'average'\n")
    with pytest.raises(MergeError, match=r"merge\.toml, line 1, column 1: unknown key 'a'"):
        read("\ufeffa = 1\n")


def test_recipe_that_is_not_utf8_says_where() -> None:
    with pytest.raises(MergeError, match=r"merge\.toml, line 2, column 4: this is not UTF-8"):
        parse_recipe(b"# a\n# b\xff\n", "merge.toml", METHODS)


@pytest.mark.parametrize(
    ("recipe", "place"),
    [
        ("# deep\na = " + "[" * 5000, "line 2, column 5004"),
        ("a = " + "1" * 5000, "line 1, column 5005"),
        ("a = " + "{a = " * 3000, "line 1, column 15000"),
        ("#" * MAX_BYTES + "\n", f"line 1, column {MAX_BYTES + 1}"),
    ],
    ids=["lists", "number", "tables", "size"],
)
def test_absurd_recipe_is_an_error_of_one_line_that_says_where(recipe: str, place: str) -> None:
    with pytest.raises(MergeError) as caught:
        read(recipe)
    assert re.fullmatch(rf"merge\.toml, {place}: .+", str(caught.value))


PIECES = st.sampled_from(
    [
        *("seed", "default", "rules", "texts", "otherwise", "method", "with", "match", "take", "gradient", "density"),
        *('"ties"', '"ours"', '"rows"', "'*'", "0.5", "-1", "true", "1979-05-27", "nan", "weight"),
        *("[", "]", "[[", "]]", "{", "}", "=", ",", ".", "\n", " ", '"', "'", '"""', "#", "\\", "\x00", "\ud7ff"),
    ]
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=25).map("".join))
@example("a.b = 1\n[a]\n")
@example("[texts]\nrules = [1]\n")
@example("rules = [[]]")
@example("[default]\nmethod = 'ties'\n[default.with]\ndensity = {}\n")
def test_any_text_is_a_recipe_or_an_error_of_ours(recipe: str) -> None:
    expect_recipe_or_error(recipe)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_recipe_is_a_recipe_or_an_error_of_ours(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(RECIPE)))
    stop = data.draw(st.integers(start, min(len(RECIPE), start + 20)))
    expect_recipe_or_error(RECIPE[:start] + data.draw(PIECES) + RECIPE[stop:])


def expect_recipe_or_error(recipe: str) -> None:
    said = ""
    try:
        strategy = read(recipe)
        answer = strategy.settle(EVERYTHING, NAMES)
    except MergeError as error:
        said = str(error)
    if said:
        assert re.match(r"merge\.toml(, line \d+, column \d+:| is)", said)
        return
    assert answer.decisions.keys() | answer.reasons.keys() == {conflict.name for conflict in EVERYTHING}
    assert all(kind is None or isinstance(kind, Clash) for kind in strategy.otherwise)
