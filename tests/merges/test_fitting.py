"""What can settle a conflict is told from the metadata, and agrees with what the methods themselves accept."""

from __future__ import annotations

import numpy as np
import pytest

from git_theta.errors import MergeError
from git_theta.merges import MergeMethod, Method, merge_methods
from git_theta.merges.arrays import merge_with
from git_theta.merges.decisions import Clash, Conflict
from git_theta.merges.fitting import fitting, inputs, misfit, usable
from git_theta.metadata import Entry, Update
from git_theta.registry import Family

METHODS = usable(merge_methods())


def entry(dtype: str = "float32", shape: tuple[int, ...] = (4, 3), digest: str = "0") -> Entry:
    return Entry("weight", dtype, shape, digest, 0, Update("dense", None))


def conflict(clash: Clash, ancestor: Entry | None, *sides: Entry | None) -> Conflict:
    return Conflict("weight", clash, ancestor, sides)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("with_ancestor", [True, False])
def test_of_floats_changed_differently_exactly_the_methods_that_accept_them_fit(
    count: int, with_ancestor: bool
) -> None:
    methods = merge_methods()
    values = [np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32) for seed in range(count + 1)]
    accepted = set()
    for method in methods.builtin_members():
        given = {parameter.name: 0.5 for parameter in method.parameters if parameter.required}
        try:
            merge_with(method, values[1:], values[0] if with_ancestor else None, given)
        except MergeError:
            continue
        accepted.add(method.name)
    sides = [entry(digest=str(number + 1)) for number in range(count)]
    found = fitting(conflict(Clash.VALUES, entry() if with_ancestor else None, *sides), METHODS)
    assert set(found) == accepted
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float8_e4m3fn", "q4_0", "complex64"])
def test_of_other_values_one_side_is_taken(dtype: str) -> None:
    shape = (2, 32)
    versions = [entry(dtype, shape, digest) for digest in "012"]
    found = fitting(conflict(Clash.VALUES, *versions), METHODS)
    assert found == ("ours", "theirs", "ancestor")


@pytest.mark.parametrize(
    ("sides", "more"),
    [
        ([(4, 3), (5, 3), (6, 3)], ("rows",)),
        ([(4,), (5,), (6,)], ("rows",)),
        ([(4, 3), (5, 2), (6, 3)], ()),
        ([(4, 3), (5,), (6, 3)], ()),
        ([(4, 3), (5, 2), (6, 2)], ("rows",)),
        ([(), (), (3,)], ()),
    ],
)
def test_rows_fit_groups_that_differ_in_nothing_but_their_number(
    sides: list[tuple[int, ...]], more: tuple[str, ...]
) -> None:
    found = fitting(conflict(Clash.SHAPE, *[entry(shape=shape) for shape in sides]), METHODS)
    assert found == ("ours", "theirs", "ancestor", *more)


def test_rows_do_not_fit_groups_of_different_dtypes() -> None:
    found = fitting(conflict(Clash.SHAPE, entry(), entry(shape=(5, 3)), entry("float16", (6, 3))), METHODS)
    assert "rows" not in found


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (conflict(Clash.REMOVED, entry(), None, entry()), ("ours", "theirs", "ancestor")),
        (conflict(Clash.DTYPE, entry(), entry(), entry("float16")), ("ours", "theirs", "ancestor")),
        (conflict(Clash.PARTS, entry(), entry(), entry(digest="1")), ("ours", "theirs", "ancestor")),
        (conflict(Clash.DTYPE, None, entry(), entry("float16")), ("ours", "theirs")),
        (Conflict("epoch", Clash.TEXT, None, (), ("1", "2", "3")), ("ours", "theirs", "ancestor")),
        (Conflict("epoch", Clash.TEXT, None, (), (None, "2", "3")), ("ours", "theirs")),
        (Conflict("epoch", Clash.TEXT, None, (), ("1", "2", None)), ("ours", "theirs", "ancestor")),
        (Conflict("epoch", Clash.TEXT, None, (), ("1", "2", "3", "4")), ("ours", "ancestor")),
        (Conflict("(structure)", Clash.STRUCTURE, None, (None, None)), ("ours", "theirs", "ancestor")),
    ],
)
def test_what_has_no_values_in_common_is_settled_by_taking_one(found: Conflict, wanted: tuple[str, ...]) -> None:
    assert fitting(found, METHODS) == wanted


def test_without_an_ancestor_of_the_same_shape_methods_that_need_one_do_not_fit() -> None:
    sides = entry(shape=(4, 9), digest="1"), entry(shape=(4, 9), digest="2")
    found = fitting(conflict(Clash.VALUES, entry(), *sides), METHODS)
    assert "ancestor" in found
    assert "average" in found
    assert "ties" not in found


def test_of_three_sides_those_that_changed_nothing_are_no_inputs() -> None:
    found = conflict(Clash.VALUES, entry(), entry(digest="1"), entry(), entry(digest="2"))
    assert inputs(found) == (0, 2)
    assert "slerp" in fitting(found, METHODS)
    assert "theirs" not in fitting(found, METHODS)


def test_a_misfit_says_why() -> None:
    methods = merge_methods()
    floats = conflict(Clash.VALUES, None, entry(digest="1"), entry(digest="2"))
    whole = conflict(Clash.VALUES, None, entry("int64", digest="1"), entry("int64", digest="2"))
    assert misfit("ties", methods.get("ties"), floats).startswith("ties needs a common ancestor")
    assert misfit("passthrough", methods.get("passthrough"), floats) == "passthrough takes 1 input, not 2"
    assert misfit("average", methods.get("average"), whole).startswith("average cannot merge int64 values")
    assert misfit("average", None, conflict(Clash.REMOVED, entry(), None, entry())).startswith("average merges nothing")
    parts = conflict(Clash.PARTS, entry(), entry(digest="1"), entry(digest="2"))
    assert misfit("average", methods.get("average"), parts).startswith("average merges no parts of a tensor")
    assert misfit("ancestor", None, floats) == "the common ancestor does not have it"
    assert misfit("rows", None, floats).startswith("only groups that differ in the number of rows")
    assert misfit("average", methods.get("average"), floats) == ""


def test_a_plug_in_fits_like_a_built_in_and_a_broken_one_not_at_all() -> None:
    mine = Method("mine", lambda inputs, _base, _params, _draw: inputs[0])
    methods: Family[MergeMethod] = Family(
        "merge method", "tests.none", {"mine": "missing:gone", "broken": "missing:gone"}, {"mine": mine}
    )
    assert fitting(conflict(Clash.VALUES, None, entry(), entry(digest="1")), usable(methods)) == (
        "ours",
        "theirs",
        "mine",
    )
