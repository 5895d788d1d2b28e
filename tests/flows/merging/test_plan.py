"""The decision table of a merge: what one side changed is taken, what several changed differently is a conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.flows.merging.bundles import bundles
from git_theta.flows.merging.plan import Step, Versions, plan_groups, unmarked
from git_theta.flows.merging.settling import undecided
from git_theta.merges.decisions import Clash, Conflict
from git_theta.metadata import Entry, Metadata
from git_theta.metadata_file import parse, serialize
from tests.flows.merging.scene import checkpoint, digest, entry, model
from tests.growth import grows_linearly

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = model(a="1", b="1", c="1")


def plan(ancestor: Metadata | None, *sides: Metadata) -> dict[str, Step]:
    steps = plan_groups(Versions(ancestor, sides))
    assert len({step.name for step in steps}) == len(steps)
    return {step.name: step for step in steps}


def values_of(steps: dict[str, Step]) -> dict[str, str | None]:
    """The digest of what is taken; None for a conflict."""
    return {
        name: step.entry.digest if step.entry else None for name, step in steps.items() if step.entry or step.conflict
    }


TABLE = {
    # ancestor, ours, theirs, taken (None: a conflict), side, changed
    "nobody changed it": ("1", "1", "1", "1", 0, ()),
    "we changed it": ("1", "2", "1", "2", 0, (0,)),
    "they changed it": ("1", "1", "2", "2", 1, (1,)),
    "both changed it alike": ("1", "2", "2", "2", 0, (0, 1)),
    "both changed it differently": ("1", "2", "3", None, None, (0, 1)),
}


@pytest.mark.parametrize(("old", "mine", "yours", "value", "side", "changed"), TABLE.values(), ids=TABLE.keys())
def test_decision_for_a_group(
    old: str, mine: str, yours: str, value: str | None, side: int | None, changed: tuple[int, ...]
) -> None:
    ours, theirs = model(a="1", b=mine), model(a="1", b=yours)
    found = plan(model(a="1", b=old), ours, theirs)["b"]
    if value is None:
        sides = ours.by_name()["b"], theirs.by_name()["b"]
        conflict = Conflict("b", Clash.VALUES, entry("b", old), sides)
        assert found == Step("b", changed, None, None, conflict)
    else:
        assert found == Step("b", changed, side, entry("b", value))


def test_all_groups_are_decided_each_by_itself_in_file_order() -> None:
    found = plan(BASE, model(a="2", b="1", c="4"), model(a="3", b="3", c="5"))
    assert list(found) == ["a", "b", "c"]
    assert values_of(found) == {"a": None, "b": digest("3"), "c": None}


def numbers(**values: str) -> Metadata:
    """A checkpoint of groups of integers."""
    return checkpoint(*(entry(name, value, dtype="int32") for name, value in values.items()))


SPARSE = {"s/indices": "1", "s/values": "1"}
MIXTURES = {
    # what ours and theirs changed, and what of it is taken (None: a conflict)
    "each another part": ({"s/values": "2"}, {"s/indices": "3"}, {"s/indices": None, "s/values": None}),
    "one part by both": (
        {"s/values": "2"},
        {"s/indices": "3", "s/values": "3"},
        {"s/indices": None, "s/values": None},
    ),
    "the same part differently": ({"s/values": "2"}, {"s/values": "3"}, {"s/indices": "1", "s/values": None}),
    "all by one": ({}, {"s/indices": "3", "s/values": "3"}, {"s/indices": "3", "s/values": "3"}),
    "one part alike, another by one": (
        {"s/values": "2"},
        {"s/indices": "3", "s/values": "2"},
        {"s/indices": "3", "s/values": "2"},
    ),
    "one part each, another tensor besides": (
        {"s/values": "2", "w": "2"},
        {"s/indices": "3"},
        {"s/indices": None, "s/values": None, "w": "2"},
    ),
}


@pytest.mark.parametrize(("mine", "yours", "taken"), MIXTURES.values(), ids=MIXTURES.keys())
def test_parts_of_one_tensor_are_not_mixed(
    mine: dict[str, str], yours: dict[str, str], taken: dict[str, str | None]
) -> None:
    """The values of one side at the indices of another are a tensor that nobody had."""
    base = {**SPARSE, "w": "1"}
    found = plan(numbers(**base), numbers(**{**base, **mine}), numbers(**{**base, **yours}))
    expected = {"w": "1", **taken}
    assert values_of(found) == {name: value and digest(value) for name, value in expected.items()}


@pytest.mark.parametrize(
    ("mine", "yours", "clashes"),
    [
        ({"w.qweight": "2"}, {"w.scales": "2"}, {"w.qweight": Clash.PARTS, "w.scales": Clash.PARTS}),
        (
            {"w.qweight": "2", "w.scales": "2"},
            {"w.qweight": "3", "w.scales": "3"},
            {"w.qweight": Clash.PARTS, "w.scales": Clash.PARTS},
        ),
        ({"w.scales": "2"}, {"w.scales": "3"}, {"w.scales": Clash.VALUES}),
        (
            {"w.qweight": "2", "w.scales": "2"},
            {"w.qweight": "2", "w.g_idx": "3"},
            {"w.scales": Clash.PARTS, "w.g_idx": Clash.PARTS},
        ),
    ],
)
def test_parts_of_one_tensor_of_which_several_are_in_conflict_are_no_values_to_merge(
    mine: dict[str, str], yours: dict[str, str], clashes: dict[str, Clash]
) -> None:
    """The mean of two scales is that of none of the numbers that they are for, unless these are the same."""
    base = dict.fromkeys(("w.qweight", "w.scales", "w.g_idx"), "1")
    found = plan(numbers(**base), numbers(**{**base, **mine}), numbers(**{**base, **yours}))
    assert {name: step.conflict.clash for name, step in found.items() if step.conflict} == clashes


def test_part_that_is_called_by_another_of_its_places_is_not_mixed_with_others() -> None:
    base = {"i": "1", "s/values": "1"}
    versions = Versions(numbers(**base), (numbers(**{**base, "i": "2"}), numbers(**{**base, "s/values": "2"})))
    steps = plan_groups(versions, places=lambda: {"s/indices": "i"})
    assert {step.name for step in steps if step.conflict} == {"i", "s/values"}


def test_tensor_that_one_side_added_or_removed_is_taken_whole() -> None:
    assert set(values_of(plan(numbers(w="1"), numbers(w="2"), numbers(w="1", **SPARSE)))) == {"w", *SPARSE}
    assert set(values_of(plan(numbers(w="1", **SPARSE), numbers(w="2", **SPARSE), numbers(w="1")))) == {"w"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("a/indices a/values b/values", ["a/indices a/values"]),
        ("indices values", ["indices values"]),
        ("a/crow_indices a/col_indices a/values", ["a/crow_indices a/col_indices a/values"]),
        ("q q/scales q/zero_points p/scales p/zero_points", ["q q/scales q/zero_points"]),
        ("n/buffer n/sizes n/strides n/storage_offsets", ["n/buffer n/sizes n/strides n/storage_offsets"]),
        ("q/scale q/qdata q/zero_point q/act/scale p/scale", ["q/scale q/qdata q/zero_point"]),
        ("o/exp_avg/codes o/exp_avg/scale o/exp_avg/qmap o/step", ["o/exp_avg/codes o/exp_avg/scale o/exp_avg/qmap"]),
        ("indices a/values a.indices a.values", []),
        ("w/codes w/x qdata scale q.qdata q.scale", []),
        ("w.g_idx w.qweight w.qzeros w.scales v.scales", ["w.g_idx w.qweight w.qzeros w.scales"]),
        ("qweight qzeros scales", ["qweight qzeros scales"]),
        ("m/h.0.q/qweight m/h.0.q/scales", ["m/h.0.q/qweight m/h.0.q/scales"]),
        (
            "w w.absmax w.quant_map w.nested_absmax w.nested_quant_map w.quant_state.bitsandbytes__nf4 w.bias",
            ["w w.absmax w.nested_absmax w.nested_quant_map w.quant_map w.quant_state.bitsandbytes__nf4"],
        ),
        ("q.weight q.SCB q.weight_format q.bias", ["q.SCB q.weight q.weight_format"]),
        (
            "q.weight_packed q.weight_scale q.weight_zero_point q.weight_shape q.input_scale",
            ["q.weight_packed q.weight_scale q.weight_shape q.weight_zero_point"],
        ),
        ("q.weight q.weight_scale q.input_scale q.bias", ["q.weight q.weight_scale"]),
        ("q.weight q.weight_scale_inv p.weight", ["q.weight q.weight_scale_inv"]),
        ("e.up_proj_blocks e.up_proj_scales e.up_proj_bias", ["e.up_proj_blocks e.up_proj_scales"]),
        ("q.weight q.scales q.biases", ["q.biases q.scales q.weight"]),
        ("logit_scale text.weight text_scale norm.scale norm.bias", []),
    ],
)
def test_groups_that_are_parts_of_one_tensor_are_known_by_their_names(names: str, found: list[str]) -> None:
    assert [" ".join(sorted(bundle)) for bundle in bundles(dict.fromkeys(names.split()))] == [
        " ".join(sorted(bundle.split())) for bundle in found
    ]


def test_floats_that_are_called_like_parts_of_one_tensor_are_none() -> None:
    base = {"norm.weight": "1", "norm.scale": "1"}
    found = plan(model(**base), model(**{**base, "norm.weight": "2"}), model(**{**base, "norm.scale": "3"}))
    assert values_of(found) == {"norm.weight": digest("2"), "norm.scale": digest("3")}


values = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(old=values, sides=st.lists(values, min_size=1, max_size=4))
def test_groups_are_merged_as_the_rule_says_whatever_the_order_of_sides(
    old: dict[str, str], sides: list[dict[str, str]]
) -> None:
    metadata = [model(**side) for side in sides]
    found = plan(model(**old), *metadata)
    for name in {*old, *(name for side in sides for name in side)}:
        news = {side.get(name) for side in sides if side.get(name) != old.get(name)}
        step = found[name]
        assert (step.conflict is not None) == (len(news) > 1)
        if len(news) <= 1:
            wanted = news.pop() if news else old.get(name)
            assert (step.entry.digest if step.entry else None) == (digest(wanted) if wanted else None)
            assert step.entry == (metadata[step.side or 0].by_name().get(name))
    assert values_of(plan(model(**old), *metadata[::-1])) == values_of(found)


def test_of_equal_values_ours_are_taken_however_others_keep_them() -> None:
    packed = checkpoint(*(entry(item.name, "2", oid="pack") for item in BASE.entries))
    found = plan(BASE, model(a="2", b="2", c="2"), packed)
    assert [step.entry for step in found.values()] == list(model(a="2", b="2", c="2").entries)
    assert [step.entry for step in plan(packed, BASE, packed).values()] == list(BASE.entries)


# --- several sides --------------------------------------------------------------------------------------------------


def test_of_many_sides_the_one_that_changed_a_group_is_taken() -> None:
    sides = [BASE, model(a="2", b="1", c="1"), model(a="1", b="3", c="1"), model(a="1", b="3", c="1")]
    found = plan(BASE, *sides)
    assert [(step.side, step.changed) for step in found.values()] == [(1, (1,)), (2, (2, 3)), (0, ())]


def test_conflict_has_the_group_of_every_side() -> None:
    sides = [BASE, model(a="2", b="1", c="1"), model(a="3", b="1", c="1")]
    found = plan(BASE, *sides)["a"].conflict
    assert found is not None
    assert [side.digest if side else None for side in found.sides] == [digest("1"), digest("2"), digest("3")]
    assert found.ancestor == entry("a", "1")


# --- without an ancestor --------------------------------------------------------------------------------------------


def test_without_ancestor_equal_groups_are_taken_and_others_are_conflicts() -> None:
    found = plan(None, BASE, model(a="1", b="2", c="3"))
    assert values_of(found) == {"a": digest("1"), "b": None, "c": None}
    conflict = found["b"].conflict
    assert conflict is not None
    assert (conflict.clash, conflict.ancestor) == (Clash.VALUES, None)


def test_without_ancestor_groups_of_one_side_are_taken() -> None:
    assert values_of(plan(None, model(a="1"), model(a="1", b="2"))) == {"a": digest("1"), "b": digest("2")}


# --- added and removed groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 3])
def test_group_added_on_one_side_stands_where_it_stands_there(place: int) -> None:
    entries = [*BASE.entries[:place], entry("new", "9"), *BASE.entries[place:]]
    added = checkpoint(*entries)
    for sides in ((added, BASE), (BASE, added)):
        found = plan(BASE, *sides)
        assert list(found) == [item.name for item in entries]
        assert found["new"].entry == entry("new", "9")
        assert found["new"].conflict is None


def test_groups_that_both_added_stand_behind_what_they_follow() -> None:
    found = plan(BASE, model(a="1", x="1", b="1", c="1"), model(a="1", b="1", y="2", z="3", c="1"))
    assert list(found) == ["a", "x", "b", "y", "z", "c"]


def test_same_group_added_on_both_sides_is_taken_and_another_one_is_a_conflict() -> None:
    ours = model(a="1", b="1", c="1", d="9")
    assert plan(BASE, ours, ours)["d"].entry == entry("d", "9")
    conflict = plan(BASE, ours, model(a="1", b="1", c="1", d="8"))["d"].conflict
    assert conflict == Conflict("d", Clash.VALUES, None, (entry("d", "9"), entry("d", "8")))


def test_group_removed_on_one_side_and_unchanged_on_the_other_is_removed() -> None:
    for sides in ((model(a="1", c="1"), BASE), (BASE, model(a="1", c="1"))):
        step = plan(BASE, *sides)["b"]
        assert (step.entry, step.conflict) == (None, None)


def test_group_removed_on_one_side_and_changed_on_the_other_is_a_conflict() -> None:
    removed, changed = model(a="1", c="1"), model(a="1", b="2", c="1")
    assert plan(BASE, removed, changed)["b"].conflict == Conflict(
        "b", Clash.REMOVED, entry("b", "1"), (None, entry("b", "2"))
    )
    assert plan(BASE, changed, removed)["b"].conflict == Conflict(
        "b", Clash.REMOVED, entry("b", "1"), (entry("b", "2"), None)
    )


def test_group_removed_on_all_sides_is_removed() -> None:
    found = plan(BASE, model(a="2", c="1"), model(a="1", c="3"))
    assert values_of(found) == {"a": digest("2"), "c": digest("3")}
    assert found["b"] == Step("b", (0, 1), 0, None)


def test_renamed_group_is_a_removed_and_an_added_one() -> None:
    renamed, changed = model(a="1", z="1", c="1"), model(a="1", b="2", c="1")
    conflict = plan(BASE, renamed, changed)["b"].conflict
    assert conflict is not None
    assert conflict.clash == Clash.REMOVED
    assert values_of(plan(BASE, renamed, model(a="2", b="1", c="1"))) == {
        "a": digest("2"),
        "z": digest("1"),
        "c": digest("1"),
    }


def test_empty_checkpoints_merge() -> None:
    assert plan(checkpoint(), checkpoint(), checkpoint()) == {}
    assert values_of(plan(BASE, checkpoint(), BASE)) == {}
    assert values_of(plan(checkpoint(), checkpoint(), BASE)) == {item.name: item.digest for item in BASE.entries}


# --- dtypes and shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "clash"),
    [
        (entry("b", "7", dtype="int32"), Clash.DTYPE),
        (entry("b", "7", shape=(4, 3)), Clash.SHAPE),
        (entry("b", "7", shape=(3,), dtype="float64"), Clash.DTYPE),
    ],
)
def test_retyped_or_reshaped_group_is_taken_alone_and_a_conflict_with_a_change(other: Entry, clash: Clash) -> None:
    changed = model(a="1", b="2", c="1")
    reframed = checkpoint(entry("a", "1"), other, entry("c", "1"))
    assert plan(BASE, BASE, reframed)["b"].entry == other
    for sides in ((reframed, changed), (changed, reframed)):
        conflict = plan(BASE, *sides)["b"].conflict
        assert conflict is not None
        assert conflict.clash == clash
        assert set(conflict.sides) == {other, entry("b", "2")}


TOLD: Final = {"a": "in another order"}


def test_group_of_which_one_side_says_something_else_is_taken_from_there() -> None:
    versions = Versions(model(a="1"), (model(a="1"), model(a="1")))
    for labels, side in (([{}, TOLD, {}], 1), ([TOLD, {}, TOLD], 1), ([TOLD, {}, {}], 0), ([TOLD, TOLD, {}], 0)):
        assert plan_groups(versions, labels)[0].side == side


@pytest.mark.parametrize("labels", [[{}, TOLD, {}], [TOLD, {}, TOLD], [TOLD, TOLD, {}]])
def test_values_that_mean_something_else_on_the_other_side_are_a_conflict(labels: list[dict[str, str]]) -> None:
    values = ["2", "1"] if labels[0] != labels[1] else ["2", "3"]
    versions = Versions(model(a="1"), (model(a=values[0]), model(a=values[1])))
    conflict = plan_groups(versions, labels)[0].conflict
    assert conflict is not None
    assert (conflict.clash, conflict.ancestor) == (Clash.DTYPE, entry("a", "1"))


def test_group_that_both_sides_reshaped_alike_is_a_conflict_of_values() -> None:
    grown = [checkpoint(entry("a", value, shape=(4, 3))) for value in "23"]
    conflict = plan(model(a="1"), *grown)["a"].conflict
    assert conflict is not None
    assert conflict.clash == Clash.VALUES


# --- sides that do not all come from the same ------------------------------------------------------------------------


PAIRS = {
    # in the ancestor of all, in what the first two come from, on three sides: what is taken
    "neither of the two changed it": ("0", "1", ("1", "1", "0"), "1"),
    "one of the two went on": ("0", "1", ("2", "1", "0"), "2"),
    "one of the two took it back": ("0", "1", ("1", "0", "0"), "0"),
    "the other one took it back": ("0", "1", ("0", "1", "0"), "0"),
    "both of the two took it back": ("0", "1", ("0", "0", "2"), "2"),
    "it was taken back, and changed elsewhere": ("0", "1", ("1", "0", "2"), None),
    "the two went on in two ways": ("0", "1", ("2", "3", "0"), None),
    "the third changed it, too": ("0", "1", ("1", "1", "2"), None),
    "all are alike": ("0", "1", ("2", "2", "2"), "2"),
    "the two had added it": ("", "1", ("2", "1", ""), "2"),
    "the two had added it, and one removed it": ("", "1", ("", "1", ""), ""),
    "the two had removed it, and one put it back": ("0", "", ("", "0", "0"), "0"),
}


def of(value: str) -> Metadata:
    return model(a=value, b="1") if value else model(b="1")


@pytest.mark.parametrize(("old", "shared", "sides", "value"), PAIRS.values(), ids=PAIRS.keys())
def test_decision_where_two_of_three_sides_share_a_later_version(
    old: str, shared: str, sides: tuple[str, ...], value: str | None
) -> None:
    versions = Versions(of(old), tuple(of(side) for side in sides), {(0, 1): of(shared)})
    step = {found.name: found for found in plan_groups(versions)}["a"]
    assert (step.conflict is not None) == (value is None)
    assert (None if step.entry is None else step.entry.digest) == (digest(value) if value else None)
    if value is not None:
        assert step.side is not None
        assert sides[step.side] == value


@pytest.mark.parametrize(("sides", "ancestor"), [(("1", "0", "2"), None), (("1", "2", "3"), entry("a", "0"))])
def test_side_that_took_a_group_back_is_not_one_that_left_it_alone(
    sides: tuple[str, ...], ancestor: Entry | None
) -> None:
    """By the ancestor of all, a method would think so."""
    versions = Versions(of("0"), tuple(of(side) for side in sides), {(0, 1): of("3")})
    conflict = plan_groups(versions)[0].conflict
    assert conflict is not None
    assert conflict.ancestor == ancestor


def test_group_that_two_sides_share_and_one_removed_and_one_changed_is_a_conflict() -> None:
    versions = Versions(of(""), (of(""), of("2"), of("")), {(0, 1): of("1")})
    found = {step.name: step for step in plan_groups(versions)}["a"]
    assert found.conflict is not None
    assert found.conflict.clash is Clash.REMOVED


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(["", "0", "1", "2"]), min_size=1, max_size=4), st.sampled_from(["", "0", "1"]))
def test_pairs_that_share_what_all_share_change_nothing(sides: list[str], old: str) -> None:
    pairs = {(one, two): of(old) for two in range(len(sides)) for one in range(two)}
    found = tuple(of(side) for side in sides)
    assert plan_groups(Versions(of(old), found, pairs)) == plan_groups(Versions(of(old), found))


# --- size -----------------------------------------------------------------------------------------------------------


def test_planning_takes_time_that_grows_with_the_number_of_groups() -> None:
    def plan_all(size: int) -> Callable[[], object]:
        names = [f"layer/{number}" for number in range(size)]
        old = checkpoint(*(entry(name, "1") for name in names))
        ours = checkpoint(*(entry(name, "2") for name in names), *(entry(f"ours/{name}", "1") for name in names))
        theirs = checkpoint(*(entry(f"theirs/{name}", "1") for name in names), *(entry(name, "3") for name in names))
        versions = Versions(old, (ours, theirs))
        steps = plan_groups(versions)
        assert len(steps) == 3 * size
        assert sum(step.conflict is not None for step in steps) == size
        return lambda: plan_groups(versions)

    assert grows_linearly(plan_all, 2000)


def test_group_in_conflict_between_ancestors_is_changed_on_every_side() -> None:
    """Even on a side that decided for the very value that the ancestor of the ancestors has."""
    inner = Versions(model(a="0", b="0"), (model(a="1", b="1"), model(a="2", b="0")))
    conflicts = [step.conflict for step in plan_groups(inner) if step.conflict is not None]
    ancestor = undecided(model(a="0", b="1"), conflicts)
    assert not ancestor.is_decided
    assert unmarked(ancestor) == model(a="0", b="1")
    assert parse(serialize(ancestor)) == ancestor
    for mine, yours in (("0", "1"), ("1", "0"), ("1", "2"), ("0", "3")):
        steps = plan(ancestor, model(a=mine, b="1"), model(a=yours, b="4"))
        assert values_of(steps) == {"a": None, "b": digest("4")}
        conflict = steps["a"].conflict
        assert conflict is not None
        # No method may take a side that decided for the old value for one that changed nothing.
        assert conflict.ancestor == (None if "0" in (mine, yours) else model(a="0").by_name()["a"])
    for both in ("0", "1", "3"):
        assert values_of(plan(ancestor, model(a=both, b="1"), model(a=both, b="1")))["a"] == digest(both)
    removed = plan(ancestor, model(b="1"), model(a="0", b="1"))["a"].conflict
    assert removed is not None
    assert removed.clash is Clash.REMOVED


def test_group_added_differently_in_both_ancestors_has_none_before() -> None:
    inner = Versions(model(b="0"), (model(a="1", b="0"), model(a="2", b="0")))
    conflicts = [step.conflict for step in plan_groups(inner) if step.conflict is not None]
    ancestor = undecided(model(a="1", b="0"), conflicts)
    conflict = plan(ancestor, model(a="1", b="0"), model(a="2", b="0"))["a"].conflict
    assert conflict is not None
    assert conflict.ancestor is None
    assert plan(ancestor, model(b="0"), model(a="1", b="0"))["a"].conflict is not None


def test_group_that_nobody_decided_about_on_a_side_is_like_no_other() -> None:
    """Such a side is itself an ancestor that was merged from two, and is merged with a third one."""
    first = undecided(model(a="0", b="0"), [Conflict("a", Clash.VALUES, entry("a", "0"), ())])
    for third in "05":
        for sides in ((first, model(a=third, b="1")), (model(a=third, b="1"), first)):
            found = plan(model(a="0", b="0"), *sides)
            assert found["b"].conflict is None
            assert (found["a"].conflict is None) == (third == "0")
            assert third == "5" or found["a"].entry == first.by_name()["a"]
