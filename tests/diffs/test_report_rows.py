"""The data of the report."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from git_theta.diffs.changes import CheckpointDiff, Statistics, ValueChange
from git_theta.diffs.compare import compare
from git_theta.diffs.report_rows import most_changed, pack
from git_theta.diffs.statistics import Histogram
from tests.diffs.samples import checkpoint, entry, model

HISTOGRAM = Histogram((0.0, 1 / 3, 2 / 3), (1, 2), (3, 0))


def test_rows_are_in_file_order_with_what_did_not_change_and_what_was_removed_between_them() -> None:
    old = model(a="1", b="2", gone="3", c="4", was="5")
    new = model(first="0", a="1", b="9", c="4", now="5")
    rows = pack(compare(old, new, "m", "m"), {})["groups"]
    assert [(row[0], row[3]) for row in rows] == [
        ("first", "added"),
        ("a", "unchanged"),
        ("b", "modified"),
        ("gone", "removed"),
        ("c", "unchanged"),
        ("now", "renamed"),
    ]


def test_sides_are_told_once_where_they_are_alike() -> None:
    old = checkpoint(entry("same", "1"), entry("type", "2"), entry("gone", "3"), entry("was", "4"))
    new = checkpoint(entry("same", "9"), entry("type", "2", dtype="int32"), entry("now", "4"), entry("new", "5"))
    sides = {row[0]: row[4:6] for row in pack(compare(old, new, "m", "m"), {})["groups"]}
    assert sides == {
        "same": [["float32", [2, 3], 24], 0],
        "type": [["float32", [2, 3], 24], ["int32", [2, 3], 24]],
        "gone": [["float32", [2, 3], 24], None],
        "now": [["float32", [2, 3], 24, "was"], ["float32", [2, 3], 24]],
        "new": [None, ["float32", [2, 3], 24]],
    }


def test_figures_are_rounded_and_what_is_not_finite_is_a_word() -> None:
    statistics = Statistics(float("inf"), float("nan"), 1 / 3, 1 - 1e-10, is_exact=False)
    diff = compare(model(a="1"), model(a="2"), "m", "m")
    diff = replace(diff, changes=(replace(diff.changes[0], statistics=statistics),))
    (row,) = pack(diff, {})["groups"]
    assert row[6:] == ["inf", "nan", 0.333333, 0.9999999999, False, "dense", 100]


def test_histograms_have_the_sides_that_there_are() -> None:
    diff = compare(model(a="1", b="2", c="3", d="4"), model(b="5", c="3", e="6"), "m", "m")
    packed = pack(diff, dict.fromkeys("abce", HISTOGRAM))
    assert {packed["groups"][int(index)][0]: found for index, found in packed["histograms"].items()} == {
        "a": [[0.0, 0.33333333, 0.66666667], [1, 2], 0],
        "b": [[0.0, 0.33333333, 0.66666667], [1, 2], [3, 0]],
        "e": [[0.0, 0.33333333, 0.66666667], 0, [3, 0]],
    }


@pytest.mark.parametrize("sides", [(None, model(a="1")), (model(a="1"), None), (None, None), (model(), model())])
def test_checkpoint_that_is_new_or_gone_or_empty_can_be_packed(sides: tuple[None, None]) -> None:
    packed = pack(compare(*sides, "old", "new"), {})
    assert [packed["old"] is None, packed["new"] is None] == [side is None for side in sides]
    assert json.loads(json.dumps(packed, allow_nan=False)) == packed


def test_values_come_along() -> None:
    diff = replace(compare(model(), model(), "a", "b"), values=(ValueChange("epoch", "3", None),))
    assert pack(diff, {})["values"] == [{"name": "epoch", "old": "3", "new": None}]


def test_most_changed_come_from_all_diffs_and_are_not_more_than_wanted() -> None:
    def moved(path: str, **relative: float | None) -> CheckpointDiff:
        diff = compare(model(**dict.fromkeys(relative, "1")), model(**dict.fromkeys(relative, "2")), path, path)
        told = {name: value and Statistics(value, None, None, None, is_exact=True) for name, value in relative.items()}
        return replace(diff, changes=tuple(replace(item, statistics=told[item.name]) for item in diff.changes))

    diffs = [moved("m", a=0.1, b=float("nan"), c=None), moved("n", a=0.3, b=0.2)]
    chosen = [[[item.name for item in group] for group in most_changed(diffs, limit)] for limit in (1, 3, 9)]
    assert chosen == [[["b"], []], [["b"], ["a", "b"]], [["b", "a", "c"], ["a", "b"]]]


def test_most_changed_have_what_was_added_last_and_what_was_renamed_not_at_all() -> None:
    small, large = entry("small", "1"), entry("large", "2", (9, 9))
    diff = compare(model(a="3", was="4"), checkpoint(small, large, entry("a", "5"), entry("now", "4")), "m", "m")
    assert [item.name for item in most_changed([diff], 9)[0]] == ["a", "large", "small"]


def test_most_changed_are_no_more_than_can_be_read() -> None:
    sides = [checkpoint(entry("large", side, (9, 9)), entry("b", side), entry("c", side)) for side in "12"]
    diff = compare(*sides, "m", "m")
    assert [item.name for item in most_changed([diff], nbytes=100)[0]] == ["b", "c"]
    assert [item.name for item in most_changed([diff], nbytes=1000)[0]] == ["large", "b", "c"]
