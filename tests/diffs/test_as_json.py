"""The JSON that programs read: every field, and what it is when nothing is known."""

from __future__ import annotations

import json
import math

import pytest
from msgspec.structs import replace

from git_theta.diffs.as_json import number, report, text
from git_theta.diffs.changes import Statistics, ValueChange
from git_theta.diffs.compare import compare
from git_theta.metadata import Update
from tests.diffs.samples import checkpoint, digest, entry, model


def side(name: str, values: str) -> dict[str, object]:
    return {"name": name, "dtype": "float32", "shape": [2, 3], "nbytes": 24, "digest": digest(values)}


def test_every_field_of_a_change() -> None:
    diff = compare(model(a="1", b="2", c="3"), model(a="1", b="4", d="3"), "old.pt", "new.pt")
    moved = Statistics(0.5, math.inf, 0.25, None, is_exact=True)
    changes = (replace(diff.changes[0], statistics=moved), *diff.changes[1:])
    diff = replace(diff, changes=changes, values=(ValueChange("epoch", "3", None),))
    assert report([diff]) == {
        "version": 1,
        "checkpoints": [
            {
                "old_path": "old.pt",
                "new_path": "new.pt",
                "old": {"format": "safetensors", "size": 78, "groups": 3},
                "new": {"format": "safetensors", "size": 78, "groups": 3},
                "changes": [
                    {
                        "group": "b",
                        "kind": "modified",
                        "old": side("b", "2"),
                        "new": side("b", "4"),
                        "relative": 0.5,
                        "largest": "inf",
                        "changed": 0.25,
                        "cosine": None,
                        "exact": True,
                        "update": "dense",
                        "kept_bytes": 100,
                    },
                    {
                        "group": "d",
                        "kind": "renamed",
                        "old": side("c", "3"),
                        "new": side("d", "3"),
                        "relative": None,
                        "largest": None,
                        "changed": None,
                        "cosine": None,
                        "exact": None,
                        "update": None,
                        "kept_bytes": None,
                    },
                ],
                "values": [{"name": "epoch", "old": "3", "new": None}],
                "unchanged": [{"group": "a", "dtype": "float32", "shape": [2, 3], "nbytes": 24}],
                "summary": {
                    "groups_changed": 2,
                    "groups": 3,
                    "bytes_changed": 24,
                    "bytes": 72,
                    "kept_bytes": 100,
                },
            }
        ],
    }


def test_a_side_that_is_not_there_is_null() -> None:
    (added,) = report([compare(None, model(a="1"), "a", "a")])["checkpoints"]
    assert added["old"] is None
    assert (added["changes"][0]["old"], added["changes"][0]["kind"]) == (None, "added")
    (removed,) = report([compare(model(a="1"), None, "a", "a")])["checkpoints"]
    assert removed["new"] is None
    assert (removed["changes"][0]["update"], removed["changes"][0]["kept_bytes"]) == (None, None)


def test_a_group_that_is_kept_nowhere_has_no_update() -> None:
    diff = compare(model(a="1"), checkpoint(entry("a", "2", update=Update("", None))), "a", "a")
    (change,) = report([diff])["checkpoints"][0]["changes"]
    assert (change["update"], change["kept_bytes"]) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (1.5, 1.5), (math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")]
)
def test_numbers_that_json_cannot_have_are_words(value: float | None, expected: object) -> None:
    assert number(value) == expected


def test_text_is_json_whatever_the_names_are() -> None:
    name = 'a\x1b\udcff\u202e"\\'
    read = json.loads(text([compare(None, checkpoint(entry(name, "1")), name, name)]))
    assert read["checkpoints"][0]["changes"][0]["group"] == name
    assert text([compare(None, checkpoint(entry(name, "1")), name, name)]).isascii()
