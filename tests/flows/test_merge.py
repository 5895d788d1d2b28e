"""The decision table of a merge: what one side changed is taken, what both changed differently is a conflict."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.flows.merge import STRUCTURE, Merged, merge
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update
from git_theta.metadata_file import parse, serialize


def digest(text: str) -> str:
    return tensors.digest(text.encode())


def entry(
    name: str, values: str, *, shape: tuple[int, ...] = (2, 3), dtype: str = "float32", lead: int = 0, oid: str = ""
) -> Entry:
    """A group; its values are named, and kept in an object of their own unless told."""
    kept = ObjectRef(digest(f"object {oid or values}"), 100)
    return Entry(name, dtype, shape, digest(values), lead, Update("dense", kept))


def checkpoint(*entries: Entry, comment: str = "", format_name: str = "safetensors") -> Metadata:
    """A checkpoint whose skeleton says, as a header does, which groups there are."""
    text = repr([(item.name, item.dtype, item.shape) for item in entries]) + comment
    text = text.ljust(max(500, len(text)))
    skeleton = Skeleton(len(text), digest(text), text.encode(), None)
    return Metadata(format_name, len(text) + sum(item.nbytes for item in entries), skeleton, entries)


def model(**values: str) -> Metadata:
    return checkpoint(*(entry(name, value) for name, value in values.items()))


def values_of(merged: Merged) -> dict[str, str]:
    return {item.name: item.digest for item in merged.metadata.entries}


def assert_merges_to(merged: Merged, expected: Metadata) -> None:
    assert merged.conflicts == ()
    assert merged.metadata == expected
    assert parse(serialize(merged.metadata)) == expected


BASE = model(a="1", b="1", c="1")

TABLE = {
    # ancestor, ours, theirs, merged (None: a conflict)
    "nobody changed it": ("1", "1", "1", "1"),
    "we changed it": ("1", "2", "1", "2"),
    "they changed it": ("1", "1", "2", "2"),
    "both changed it alike": ("1", "2", "2", "2"),
    "both changed it differently": ("1", "2", "3", None),
}


@pytest.mark.parametrize(("old", "mine", "yours", "expected"), TABLE.values(), ids=TABLE.keys())
def test_decision_for_a_group(old: str, mine: str, yours: str, expected: str | None) -> None:
    merged = merge(model(a="1", b=old), model(a="1", b=mine), model(a="1", b=yours))
    if expected is None:
        assert merged == Merged(model(a="1", b=mine), ("b",))
    else:
        assert_merges_to(merged, model(a="1", b=expected))


def test_each_group_is_decided_by_itself() -> None:
    merged = merge(BASE, model(a="2", b="1", c="4"), model(a="1", b="3", c="4"))
    assert_merges_to(merged, model(a="2", b="3", c="4"))


def test_all_groups_in_conflict_are_named_in_file_order_and_ours_is_kept() -> None:
    ours = model(a="2", b="2", c="2")
    assert merge(BASE, ours, model(a="3", b="1", c="3")) == Merged(ours, ("a", "c"))


values = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), min_size=6)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(old=values, mine=values, yours=values)
def test_groups_are_merged_as_the_rule_says_and_the_same_from_both_sides(
    old: dict[str, str], mine: dict[str, str], yours: dict[str, str]
) -> None:
    old, mine, yours = (dict(sorted(item.items())) for item in (old, mine, yours))
    conflicts = tuple(name for name in old if len({old[name], mine[name], yours[name]}) == 3)
    here, there = merge(model(**old), model(**mine), model(**yours)), merge(model(**old), model(**yours), model(**mine))
    assert here.conflicts == there.conflicts == conflicts
    if conflicts:
        assert (here.metadata, there.metadata) == (model(**mine), model(**yours))
    else:
        expected = {name: yours[name] if mine[name] == old[name] else mine[name] for name in old}
        assert here.metadata == there.metadata == model(**expected)


# --- without an ancestor --------------------------------------------------------------------------------------------


def test_without_ancestor_equal_sides_are_taken() -> None:
    assert_merges_to(merge(None, BASE, BASE), BASE)


def test_without_ancestor_different_values_are_conflicts() -> None:
    assert merge(None, BASE, model(a="1", b="2", c="3")) == Merged(BASE, ("b", "c"))


def test_without_ancestor_different_groups_are_a_conflict_of_the_structure() -> None:
    assert merge(None, BASE, model(a="1", b="1")) == Merged(BASE, (STRUCTURE,))


# --- added and removed groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 3])
def test_group_added_on_one_side_is_taken_with_the_changes_of_the_other(place: int) -> None:
    def added(metadata: Metadata) -> Metadata:
        entries = [*metadata.entries[:place], entry("new", "9"), *metadata.entries[place:]]
        return checkpoint(*entries)

    changed = model(a="1", b="2", c="1")
    assert_merges_to(merge(BASE, added(BASE), changed), added(changed))
    assert_merges_to(merge(BASE, changed, added(BASE)), added(changed))


def test_side_that_added_a_group_may_have_changed_others() -> None:
    added = model(a="5", b="1", c="1", d="9")
    assert_merges_to(merge(BASE, added, model(a="1", b="2", c="1")), model(a="5", b="2", c="1", d="9"))
    assert merge(BASE, added, model(a="6", b="1", c="1")) == Merged(added, ("a",))


def test_same_group_added_on_both_sides_is_taken() -> None:
    ours, theirs = model(a="2", b="1", c="1", d="9"), model(a="1", b="3", c="1", d="9")
    assert_merges_to(merge(BASE, ours, theirs), model(a="2", b="3", c="1", d="9"))


def test_group_added_on_both_sides_with_different_values_is_a_conflict() -> None:
    ours = model(a="1", b="1", c="1", d="8")
    assert merge(BASE, ours, model(a="1", b="1", c="1", d="9")) == Merged(ours, ("d",))


def test_different_groups_added_on_both_sides_are_a_conflict_of_the_structure() -> None:
    ours = model(a="1", b="1", c="1", d="8")
    assert merge(BASE, ours, model(a="1", b="1", c="1", e="9")) == Merged(ours, (STRUCTURE,))


def test_group_removed_on_one_side_and_unchanged_on_the_other_is_removed() -> None:
    removed = model(a="1", c="1")
    assert_merges_to(merge(BASE, removed, model(a="2", b="1", c="1")), model(a="2", c="1"))
    assert_merges_to(merge(BASE, model(a="2", b="1", c="1"), removed), model(a="2", c="1"))


def test_group_removed_on_one_side_and_changed_on_the_other_is_a_conflict() -> None:
    removed, changed = model(a="1", c="1"), model(a="1", b="2", c="1")
    assert merge(BASE, removed, changed) == Merged(removed, ("b",))
    assert merge(BASE, changed, removed) == Merged(changed, ("b",))


def test_group_removed_and_changed_is_named_beside_other_conflicts() -> None:
    merged = merge(BASE, model(a="2", c="1"), model(a="3", b="2", c="1"))
    assert sorted(merged.conflicts) == ["a", "b"]


def test_group_removed_on_both_sides_is_removed() -> None:
    assert_merges_to(merge(BASE, model(a="2", c="1"), model(a="1", c="3")), model(a="2", c="3"))


def test_group_renamed_on_one_side_and_changed_on_the_other_is_a_conflict() -> None:
    renamed, changed = model(a="1", z="1", c="1"), model(a="1", b="2", c="1")
    assert merge(BASE, renamed, changed).conflicts == ("b",)
    assert_merges_to(merge(BASE, renamed, model(a="2", b="1", c="1")), model(a="2", z="1", c="1"))


def test_all_groups_removed_on_one_side_are_removed() -> None:
    assert_merges_to(merge(BASE, checkpoint(), BASE), checkpoint())


# --- shapes, dtypes and the skeleton --------------------------------------------------------------------------------

RESHAPED = checkpoint(entry("a", "1"), entry("b", "1", shape=(6,)), entry("c", "1"))
RETYPED = checkpoint(entry("a", "1"), entry("b", "1", dtype="int32"), entry("c", "1"))
GROWN = checkpoint(entry("a", "1"), entry("b", "2", shape=(4, 3)), entry("c", "1"))
COMMENTED = checkpoint(*BASE.entries, comment="a comment")
REORDERED = model(c="1", a="1", b="1")
CONVERTED = checkpoint(*BASE.entries, format_name="torch")
REFRAMED = {
    "reshaped": RESHAPED,
    "of another dtype": RETYPED,
    "grown": GROWN,
    "commented": COMMENTED,
    "reordered": REORDERED,
    "converted": CONVERTED,
}
every_frame = pytest.mark.parametrize("frame", REFRAMED.values(), ids=REFRAMED.keys())


def with_values(metadata: Metadata, **values: str) -> Metadata:
    entries = [
        replace(item, digest=digest(values[item.name]), update=entry(item.name, values[item.name]).update)
        if item.name in values
        else item
        for item in metadata.entries
    ]
    return replace(metadata, entries=tuple(entries))


@every_frame
def test_structure_changed_on_one_side_is_taken_with_the_values_of_the_other(frame: Metadata) -> None:
    changed = model(a="7", b="1", c="1")
    assert_merges_to(merge(BASE, frame, changed), with_values(frame, a="7"))
    assert_merges_to(merge(BASE, changed, frame), with_values(frame, a="7"))


@every_frame
def test_structure_changed_alike_on_both_sides_is_taken(frame: Metadata) -> None:
    merged = merge(BASE, with_values(frame, a="2"), with_values(frame, c="3"))
    assert_merges_to(merged, with_values(frame, a="2", c="3"))


@every_frame
def test_structure_changed_in_different_ways_is_a_conflict_of_the_structure(frame: Metadata) -> None:
    other = checkpoint(*BASE.entries, comment="another comment")
    assert merge(BASE, frame, other) == Merged(frame, (STRUCTURE,))
    assert merge(BASE, other, frame) == Merged(other, (STRUCTURE,))


@pytest.mark.parametrize("frame", [RESHAPED, RETYPED, GROWN], ids=["reshaped", "of another dtype", "grown"])
def test_group_reshaped_on_one_side_and_changed_on_the_other_is_a_conflict(frame: Metadata) -> None:
    changed = model(a="1", b="7", c="1")
    assert merge(BASE, frame, changed) == Merged(frame, ("b",))
    assert merge(BASE, changed, frame) == Merged(changed, ("b",))


def test_group_that_moved_in_the_file_keeps_the_lead_of_its_new_place() -> None:
    def padded(value: str, lead: int) -> Metadata:
        return checkpoint(entry("a", value), entry("b", "1", lead=lead))

    ours, theirs = padded("1", 16), checkpoint(entry("a", "1"), entry("b", "2", lead=8))
    merged = merge(padded("1", 8), ours, theirs)
    assert merged.conflicts == ()
    assert [item.lead for item in merged.metadata.entries] == [0, 16]
    assert values_of(merged)["b"] == digest("2")
    assert merged.metadata.skeleton == ours.skeleton


# --- how values are kept --------------------------------------------------------------------------------------------


def test_equal_values_kept_in_other_objects_are_no_change() -> None:
    packed = checkpoint(*(replace(item, update=entry(item.name, "", oid="pack").update) for item in BASE.entries))
    assert_merges_to(merge(BASE, packed, model(a="1", b="2", c="1")), with_values(packed, b="2"))
    assert merge(BASE, BASE, packed).conflicts == ()
    assert merge(packed, BASE, packed) == Merged(BASE, ())


def test_each_group_comes_with_the_object_of_its_side() -> None:
    merged = merge(BASE, model(a="2", b="1", c="1"), model(a="1", b="3", c="1"))
    oids = [item.update.object.oid for item in merged.metadata.entries if item.update.object]
    assert oids == [digest("object 2"), digest("object 3"), digest("object 1")]


def test_merging_needs_the_objects_of_both_sides_where_they_made_groups_equal() -> None:
    ours = checkpoint(entry("a", "9", oid="ours"), entry("b", "1"))
    theirs = checkpoint(entry("a", "1"), entry("b", "9", oid="theirs"))
    merged = merge(model(a="1", b="1"), ours, theirs)
    assert merged.conflicts == ()
    assert {ref.oid for ref in merged.metadata.objects()} == {digest("object ours"), digest("object theirs")}
