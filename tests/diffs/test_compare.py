"""What changed between two versions of a checkpoint, told from metadata alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from git_theta.diffs.changes import Kind, ValueChange
from git_theta.diffs.compare import changed_values, compare, kept_bytes, part, summary, unchanged, update_text
from git_theta.metadata import ObjectRef, Update
from tests.diffs.samples import checkpoint, dense, digest, entry, model
from tests.growth import grows_linearly

if TYPE_CHECKING:
    from collections.abc import Callable

    from git_theta.metadata import Metadata

names = st.sampled_from([*"abcdefgh"])
models = st.dictionaries(names, st.sampled_from([*"123"]), max_size=8).map(lambda values: model(**values))


def found(old: Metadata | None, new: Metadata | None) -> list[tuple[str, str | None, str | None]]:
    """Kind, old name and new name of each change."""
    changes = compare(old, new, "a", "b").changes
    return [
        (change.kind.value, change.old and change.old.name, change.new and change.new.name)  # type: ignore[misc]
        for change in changes
    ]


def test_nothing_changed_there_is_nothing() -> None:
    assert found(model(a="1", b="2"), model(a="1", b="2")) == []
    assert found(None, None) == []


def test_each_kind_of_change_is_told_apart() -> None:
    old = checkpoint(*(entry(name, name) for name in ("same", "gone", "was", "type", "shape", "both", "values")))
    new = checkpoint(
        entry("same", "same"),
        entry("is", "was"),
        entry("type", "type", dtype="int32"),
        entry("shape", "shape", (3, 2)),
        entry("both", "x", (3, 4), "float16"),
        entry("values", "x"),
        entry("new", "y"),
    )
    assert found(old, new) == [
        ("removed", "gone", None),
        ("renamed", "was", "is"),
        ("retyped", "type", "type"),
        ("reshaped", "shape", "shape"),
        ("retyped", "both", "both"),
        ("modified", "values", "values"),
        ("added", None, "new"),
    ]


def test_checkpoint_that_is_new_or_gone_has_only_groups_of_that_kind() -> None:
    assert found(None, model(a="1", b="2")) == [("added", None, "a"), ("added", None, "b")]
    assert found(model(a="1", b="2"), None) == [("removed", "a", None), ("removed", "b", None)]


@pytest.mark.parametrize("changed", [{"shape": (3, 2)}, {"dtype": "int32"}])
def test_same_digest_with_another_shape_or_dtype_is_no_rename(changed: dict[str, object]) -> None:
    old, new = entry("a", "1"), replace(entry("b", "1"), **changed)  # type: ignore[arg-type]
    assert found(checkpoint(old), checkpoint(new)) == [("removed", "a", None), ("added", None, "b")]


def test_groups_that_are_alike_are_paired_in_file_order() -> None:
    old = model(a="1", b="1", c="1")
    assert found(old, model(x="1", y="1")) == [("renamed", "a", "x"), ("renamed", "b", "y"), ("removed", "c", None)]
    assert found(old, model(b="1", z="1")) == [("removed", "c", None), ("renamed", "a", "z")]
    assert found(model(a="1"), model(x="1", y="1")) == [("renamed", "a", "x"), ("added", None, "y")]


def test_values_that_swap_names_are_two_modified_groups() -> None:
    assert found(model(a="1", b="2"), model(a="2", b="1")) == [("modified", "a", "a"), ("modified", "b", "b")]


def test_removed_groups_stand_where_they_stood() -> None:
    old, new = model(first="1", a="2", second="3", third="4", b="5", last="6"), model(b="5", a="2", new="7")
    assert found(old, new) == [
        ("removed", "first", None),
        ("removed", "last", None),
        ("removed", "second", None),
        ("removed", "third", None),
        ("added", None, "new"),
    ]


def test_groups_in_another_order_are_no_change() -> None:
    assert found(model(a="1", b="2"), model(b="2", a="1")) == []


@settings(max_examples=200, deadline=None)
@given(models, models)
def test_changes_applied_to_the_old_version_give_the_new_one(old: Metadata, new: Metadata) -> None:
    groups = {item.name: item for item in old.entries}
    diff = compare(old, new, "a", "b")
    for change in diff.changes:
        if change.old is not None:
            assert groups.pop(change.old.name) == change.old
    for change in diff.changes:
        if change.new is not None:
            assert change.new.name not in groups
            groups[change.new.name] = change.new
    assert groups == new.by_name()
    assert {item.name for item in unchanged(diff)} == {
        item.name for item in new.entries if old.by_name().get(item.name) == item
    }


def test_comparing_groups_takes_time_that_grows_with_their_number() -> None:
    def compare_all(size: int) -> Callable[[], object]:
        old = checkpoint(*(entry(f"a.{number}", str(number % 7)) for number in range(size)))
        new = checkpoint(*(entry(f"b.{number}", str(number % 7)) for number in range(size)))
        assert {change.kind for change in compare(old, new, "a", "b").changes} == {Kind.RENAMED}
        return lambda: compare(old, new, "a", "b")

    assert grows_linearly(compare_all, 2500)


def test_summary_counts_groups_and_bytes() -> None:
    old = checkpoint(entry("a", "1"), entry("b", "2"), entry("c", "3"), entry("d", "4"))
    new = checkpoint(entry("a", "1"), entry("b", "5", update=dense("5", 30)), entry("e", "4"), entry("f", "6", (1,)))
    diff = compare(old, new, "a", "b")
    counted = summary(diff)
    assert (counted.groups_changed, counted.groups) == (4, 5)
    assert (counted.bytes_changed, counted.bytes) == (24 + 24 + 4, 24 * 4 + 4)
    assert counted.kept_bytes == 30 + 100
    assert [item.name for item in unchanged(diff)] == ["a"]


def test_summary_of_a_new_checkpoint_counts_all_of_it() -> None:
    diff = compare(None, model(a="1", b="2"), "a", "b")
    assert summary(diff).groups_changed == summary(diff).groups == 2
    assert list(unchanged(diff)) == []


def test_kept_bytes_are_those_of_objects_that_are_new() -> None:
    base = dense("base", 1000)
    changed = Update("delta", ObjectRef(digest("delta"), 40), (base,))
    average = Update("linear", None, (base, changed))
    old = checkpoint(entry("a", "1", update=base), entry("b", "2", update=base))
    new = checkpoint(entry("a", "3", update=changed), entry("b", "2", update=base), entry("c", "4", update=average))
    assert kept_bytes(compare(old, old, "a", "b")) == {}
    assert kept_bytes(compare(old, new, "a", "b")) == {"a": 20, "c": 20}
    assert summary(compare(old, new, "a", "b")).kept_bytes == 40


def test_objects_that_groups_share_are_shared_out_by_their_bytes() -> None:
    shared = Update("dense", ObjectRef(digest("shared"), 90))
    new = checkpoint(entry("a", "1", (1,), update=shared), entry("b", "2", (2,), update=shared))
    assert kept_bytes(compare(None, new, "a", "b")) == {"a": 30, "b": 60}


def test_part_of_a_diff_says_of_its_groups_what_the_whole_says() -> None:
    shared = Update("dense", ObjectRef(digest("shared"), 90))
    old = checkpoint(entry("a", "1"), entry("b", "2"), entry("was", "3"), entry("gone", "4"), entry("same", "5"))
    new = checkpoint(
        entry("a", "6", (1,), update=shared), entry("b", "7", (2,), update=shared), entry("is", "3"), entry("same", "5")
    )
    whole = compare(old, new, "a", "b")
    for name in ("a", "b", "gone"):
        found = part(whole, lambda other, name=name: other == name)  # type: ignore[misc]
        assert found.changes == tuple(change for change in whole.changes if change.name == name)
        assert (found.old, found.new) == (old, new)
        assert kept_bytes(found).items() <= kept_bytes(whole).items()
        assert summary(found).kept_bytes == kept_bytes(whole).get(name, 0)
        assert list(unchanged(found)) == []
    assert [item.name for item in unchanged(part(whole, lambda name: "a" in name))] == ["same"]


@pytest.mark.parametrize("name", ["was", "is"])
def test_renamed_group_is_found_by_either_name(name: str) -> None:
    diff = part(compare(model(was="1", a="2"), model(a="3", **{"is": "1"}), "a", "b"), lambda other: other == name)
    assert [(change.kind, change.name) for change in diff.changes] == [(Kind.RENAMED, "is")]
    assert diff.left_out == {"a"}


def test_update_is_named_with_what_it_corrects() -> None:
    base = dense("1")
    low_rank = Update("low-rank", ObjectRef(digest("factors"), 10), (base,))
    assert update_text(base) == "dense"
    assert update_text(Update("delta", None, (base,))) == "delta"
    assert update_text(Update("delta", None, (low_rank,))) == "low-rank + delta"
    assert update_text(Update("linear", None, (low_rank, base))) == "linear"


def test_changed_values_keep_the_order_of_the_old_version() -> None:
    old, new = {"b": "1", "a": "2", "c": "3"}, {"d": "4", "c": "3", "a": "5"}
    assert changed_values(old, new) == (
        ValueChange("b", "1", None),
        ValueChange("a", "2", "5"),
        ValueChange("d", None, "4"),
    )
