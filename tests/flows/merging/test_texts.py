"""Values that are no groups are merged one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.flows.merging.plan import Lineage
from git_theta.flows.merging.texts import MergedTexts, Texts, merge_texts
from git_theta.merges.decisions import Clash, Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence


def merged_texts(old: Texts | None, sides: Sequence[Texts], undecided: Sequence[str] = ()) -> MergedTexts:
    count = len(sides)
    if old is None:
        return merge_texts(sides, Lineage(count, None), [()] * count)
    return merge_texts([*sides, old], Lineage(count, count), [*[()] * count, undecided])


def conflict(name: str, *texts: str | None) -> Conflict:
    return Conflict(name, Clash.TEXT, None, (None,) * (len(texts) - 1), texts)


def test_what_one_side_changed_added_or_removed_is_taken_from_it() -> None:
    old = {"a": "1", "b": "1", "c": "1", "d": "1"}
    ours = {"a": "2", "b": "1", "c": "1", "d": "1", "mine": "1"}
    theirs = {"a": "1", "b": "2", "d": "1", "new": "1"}
    assert merged_texts(old, [ours, theirs]) == MergedTexts({"b": 1, "c": 1, "new": 1}, ())


def test_what_both_changed_alike_stays_as_ours() -> None:
    assert merged_texts({"a": "1"}, [{"a": "2"}, {"a": "2"}]) == MergedTexts({}, ())
    assert merged_texts({"a": "1"}, [{}, {}]) == MergedTexts({}, ())


def test_what_both_changed_differently_is_a_conflict_with_all_texts() -> None:
    old = {"epoch": "3", "step": "1"}
    merged = merged_texts(old, [{"epoch": "4", "step": "1"}, {"epoch": "5", "step": "1"}])
    assert merged == MergedTexts({}, (conflict("epoch", "3", "4", "5"),))
    assert merged_texts(old, [{"step": "1"}, {"epoch": "5", "step": "1"}]).conflicts == (
        conflict("epoch", "3", None, "5"),
    )


def test_without_ancestor_everything_was_added() -> None:
    assert merged_texts(None, [{"a": "1", "b": "1"}, {"b": "2", "c": "1"}]) == MergedTexts(
        {"c": 1}, (conflict("b", None, "1", "2"),)
    )


@pytest.mark.parametrize("undecided", [("epoch",), ("(structure)",), ("epoch", "step")])
def test_text_that_nobody_decided_about_is_changed_on_every_side(undecided: tuple[str, ...]) -> None:
    old = {"epoch": "3"}
    for ours, theirs in (("3", "4"), ("4", "3"), ("4", "5")):
        merged = merged_texts(old, [{"epoch": ours}, {"epoch": theirs}], undecided)
        assert merged.conflicts == (conflict("epoch", "3", ours, theirs),)
    assert merged_texts(old, [{"epoch": "4"}, {}], undecided).conflicts == (conflict("epoch", "3", "4", None),)
    for both in "34":
        assert merged_texts(old, [{"epoch": both}, {"epoch": both}], undecided) == MergedTexts({}, ())
    assert merged_texts(old, [{"epoch": "3"}, {"epoch": "4"}], ("other",)) == MergedTexts({"epoch": 1}, ())


def test_text_that_one_of_two_sides_took_back_is_a_change() -> None:
    """The two share a later version than all three do."""
    versions = [{"epoch": text} for text in ("4", "3", "3", "3", "4")]
    found = merge_texts(versions, Lineage(3, 3, {(0, 1): 4}), [()] * 5)
    assert found == MergedTexts({"epoch": 1}, ())
    assert merge_texts(versions, Lineage(3, 3), [()] * 5) == MergedTexts({}, ())


def test_of_many_sides_the_one_that_changed_it_is_taken() -> None:
    sides = [{"a": "1"}, {"a": "1"}, {"a": "2"}]
    assert merged_texts({"a": "1"}, sides) == MergedTexts({"a": 2}, ())
