"""Strategies: who decides about which conflict, and why there is no decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from git_theta.errors import MergeError, PluginError
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.strategies import Strategy
from git_theta.merges.strategy_text import compose, parse_strategy
from git_theta.metadata import Entry, Update

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = merge_methods()
NAMES = ["wte", "h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp", "h.2.attn", "h.2.mlp", "step", "head"]


def entry(name: str, digest: str, dtype: str = "float32", shape: tuple[int, ...] = (4, 3)) -> Entry:
    return Entry(name, dtype, shape, digest, 0, Update("dense", None))


def clash(name: str, *sides: str, old: str = "0", why: Clash = Clash.VALUES, dtype: str = "float32") -> Conflict:
    """A conflict of groups whose values are named; "" where there is none."""
    entries = tuple(entry(name, side, dtype) if side else None for side in sides or ("1", "2"))
    return Conflict(name, why, entry(name, old, dtype) if old else None, entries)


def text(name: str, *values: str | None) -> Conflict:
    return Conflict(name, Clash.TEXT, None, (None, None), values)


STRUCTURE = Conflict("(structure)", Clash.STRUCTURE, None, (None, None))
REMOVED = clash("wte", "", "2", why=Clash.REMOVED)
DTYPE = clash("h.0.mlp", why=Clash.DTYPE)
SHAPE = Conflict("head", Clash.SHAPE, entry("head", "0"), (entry("head", "1"), entry("head", "2", shape=(6, 3))))
EPOCH = text("epoch", "2", "3", "4")
EVERYTHING = [clash("h.0.attn"), clash("step", dtype="int64"), REMOVED, DTYPE, SHAPE, EPOCH, STRUCTURE]


def of(line: str, recipe: str = "") -> Strategy:
    return parse_strategy(line, METHODS, lambda _: recipe.encode())


def decided(line: str, *conflicts: Conflict, recipe: str = "") -> Mapping[str, Decision]:
    return of(line, recipe).settle(conflicts, NAMES).decisions


def why_not(line: str, conflict: Conflict, recipe: str = "") -> str:
    answer = of(line, recipe).settle([conflict], NAMES)
    assert not answer.decisions
    return answer.reasons[conflict.name]


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_side_settles_everything(side: str) -> None:
    found = decided(side, *EVERYTHING)
    assert found == {conflict.name: Decision(side) for conflict in EVERYTHING}


def test_ancestor_settles_everything_that_it_has() -> None:
    new = clash("h.1.mlp", old="")
    found = of("ancestor").settle([*EVERYTHING, new, text("lr", None, "1", "2")], NAMES)
    assert set(found.decisions) == {conflict.name for conflict in EVERYTHING}
    assert set(found.reasons.values()) == {"the common ancestor does not have it"}


def test_method_settles_values_and_says_of_all_else_why_it_does_not() -> None:
    answer = of("ties density=0.2 weight=0.5,0.7").settle(EVERYTHING, NAMES)
    assert answer.decisions == {"h.0.attn": Decision("ties", (("density", 0.2), ("weight", (0.5, 0.7))))}
    assert answer.reasons.keys() == {conflict.name for conflict in EVERYTHING[1:]}
    assert answer.reasons["step"] == "ties cannot merge int64 values: say whether to take ours or theirs"
    assert answer.reasons["epoch"] == "ties merges nothing but values: say whether to take ours or theirs"


def test_what_is_said_besides_settles_the_rest() -> None:
    found = decided("average texts=theirs shapes=rows removed=ancestor otherwise=ours", *EVERYTHING)
    assert {name: decision.method for name, decision in found.items()} == {
        "h.0.attn": "average",
        "step": "ours",
        "wte": "ancestor",
        "h.0.mlp": "ours",
        "head": "rows",
        "epoch": "theirs",
        "(structure)": "ours",
    }


def test_what_is_said_of_one_kind_goes_before_the_method_and_what_is_said_of_the_rest() -> None:
    assert decided("ours texts=theirs", EPOCH)["epoch"].method == "theirs"
    assert decided("average texts=theirs otherwise=ours", EPOCH)["epoch"].method == "theirs"
    assert not decided("average texts=conflict otherwise=ours", EPOCH)


def test_conflict_is_a_strategy_that_leaves_all_to_the_user() -> None:
    assert not decided("conflict", *EVERYTHING)
    assert decided("conflict texts=ours", *EVERYTHING) == {"epoch": Decision("ours")}
    assert len(decided("conflict otherwise=ours", *EVERYTHING)) == len(EVERYTHING)


def test_method_that_needs_an_ancestor_is_not_used_where_there_is_none() -> None:
    assert why_not("ties", clash("h.0.attn", old="")).startswith("ties needs a common ancestor")
    assert decided("average", clash("h.0.attn", old=""))


def test_list_has_a_value_for_each_side() -> None:
    assert why_not("linear weight=1,2,3", clash("h.0.attn")) == (
        "the parameter weight has 3 values for 2 inputs: give one each"
    )


def test_side_that_left_a_group_alone_is_no_input_and_its_value_is_left_out() -> None:
    three = clash("h.0.attn", "1", "0", "2")
    assert decided("linear weight=1,2,3", three)["h.0.attn"].parameters == (("weight", (1.0, 3.0)),)
    assert why_not("linear weight=1,2", three) == "the parameter weight has 2 values for 3 inputs: give one each"
    assert decided("slerp t=0.5", three)
    assert why_not("theirs", three) == "theirs is one of two sides, and there are 3"
    assert why_not("slerp t=0.5", clash("h.0.attn", "1", "2", "3")) == "slerp takes 1 to 2 inputs, not 3"


def test_strategy_for_some_of_the_sides_has_the_values_of_those() -> None:
    strategy = of("linear weight=1,2,3").of_sides([0, 2], 3)
    found = strategy.settle([clash("h.0.attn")], NAMES).decisions
    assert found["h.0.attn"].parameters == (("weight", (1.0, 3.0)),)


def test_seed_is_for_methods_that_choose_at_random() -> None:
    assert decided("dare_ties seed=7", clash("head"))["head"].parameters == (("seed", 7),)
    assert decided("average seed=7", clash("head"))["head"] == Decision("average")
    recipe = '[default]\nmethod = "dare_ties"\n[[rules]]\nmatch = "h*"\nmethod = "della"\nwith = { seed = 1 }\n'
    found = decided("seed=7 recipe:x", clash("wte"), clash("head"), recipe=recipe)
    assert [decision.parameters for decision in found.values()] == [(("seed", 7),), (("seed", 1),)]


@pytest.mark.parametrize("line", ["recipe:r.toml", "r.toml", " r.toml "])
def test_recipe_is_named_by_its_path(line: str) -> None:
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return b'[default]\nmethod = "average"\n'

    assert parse_strategy(line, METHODS, read).default is not None
    assert asked == ["r.toml"]


def test_path_of_a_recipe_may_have_spaces_after_recipe() -> None:
    line = compose(None, [("texts", "ours")], "/a b/my; recipe.txt", seed=3)
    assert line == "texts=ours seed=3 recipe:/a b/my; recipe.txt"
    asked: list[str] = []
    found = parse_strategy(line, METHODS, lambda path: asked.append(path) or b"")
    assert asked == ["/a b/my; recipe.txt"]
    assert found.otherwise == {Clash.TEXT: "ours"}


def test_semicolons_serve_as_spaces() -> None:
    assert of("ties;density=0.2;texts=ours") == of(" ties  density=0.2 texts=ours")


def test_composed_text_is_read_as_what_it_was_made_from() -> None:
    line = compose("ties", [("density", "0.2"), ("texts", "ours")], None, seed=4)
    assert line == "ties density=0.2 texts=ours seed=4"
    assert of(line) == of("ties density=0.2 texts=ours")
    assert compose(None, [("texts", "ours")], None) == "conflict texts=ours"


WRONG: dict[str, tuple[str, str]] = {
    "nothing": ("  ", "the strategy is empty"),
    "unknown method": ("tise", "unknown merge method 'tise'; known are: ours, theirs"),
    "unknown parameter": ("ties desnity=1", "has no parameter 'desnity'; it knows weight, density"),
    "out of range": ("ties density=2", "density must be a number from 0 to 1, not 2"),
    "out of range in a list": ("ties density=0.5,-1", "density must be a number from 0 to 1"),
    "no number": ("ties density=much", "density must be a number from 0 to 1, not 'much'"),
    "missing": ("slerp", "slerp needs the parameter t"),
    "list for all": ("slerp t=0.1,0.2", "the parameter t must be a number"),
    "no pair": ("ties 0.2", "'0.2' is no parameter: write NAME=VALUE"),
    "empty value": ("ties density=", "'density=' is no parameter"),
    "twice": ("ties density=0.1 density=0.2", "density is given twice"),
    "seed that is none": ("average seed=-1", "seed must be a whole number"),
    "word for the rest": (
        "average otherwise=average",
        "otherwise must be one of ours, theirs, ancestor, conflict, not",
    ),
    "rows of texts": ("average texts=rows", "texts must be one of ours, theirs, ancestor, conflict, not 'rows'"),
    "parameter of a recipe": ("density=1 recipe:x", "density cannot be said besides a recipe; seed, otherwise"),
    "recipe without a path": ("recipe:", "is no strategy: write recipe:PATH"),
    "recipe after a method": ("ties recipe:x", "is no strategy: write recipe:PATH"),
    "conflict with parameters": ("conflict density=1", "has no parameter 'density'; it has none"),
    "number without an end": (f"linear weight={'9' * 400}", "weight must be a number, not"),
}


@pytest.mark.parametrize(("line", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_one_line(line: str, message: str) -> None:
    with pytest.raises((MergeError, PluginError)) as caught:
        of(line)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [10**400, -(10**400)])
def test_number_that_no_float_holds_is_refused(given: Any) -> None:
    method = merge_methods().get("linear")
    with pytest.raises(MergeError, match="weight must be a number"):
        method.parameters[0].check(given)
