"""Changes folded by layer: numbers become stars, and only what happened alike is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.diffs.compare import compare
from git_theta.diffs.folding import fold, pattern, unfolded
from git_theta.metadata import Entry
from tests.diffs.samples import checkpoint, entry
from tests.growth import grows_linearly

if TYPE_CHECKING:
    from collections.abc import Callable


def folded(old: list[Entry], new: list[Entry]) -> list[tuple[str, str, int]]:
    changes = compare(checkpoint(*old), checkpoint(*new), "a", "b").changes
    return [(item.name, str(item.kind), len(item.changes)) for item in fold(changes)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h.0.attn.c_attn.weight", "h.*.attn.c_attn.weight"),
        ("layers.11.experts.5.w1", "layers.*.experts.*.w1"),
        ("optimizer/state/0/exp_avg", "optimizer/state/*/exp_avg"),
        ("layer_3", "layer_*"),
        ("blocks[12].x", "blocks[*].x"),
        ("7", "*"),
        ("layer1.conv2d.w", "layer1.conv2d.w"),
        ("v1.5", "v1.*"),
        ("1.2.3", "*.*.*"),
        ("", ""),
    ],
)
def test_numbers_between_separators_become_stars(name: str, expected: str) -> None:
    assert pattern(name) == expected


def test_layers_that_changed_alike_are_one() -> None:
    old = [entry(f"h.{layer}.{part}", "1") for layer in range(3) for part in "ab"]
    new = [entry(f"h.{layer}.{part}", "2") for layer in range(3) for part in "ab"]
    assert folded(old, new) == [("h.*.a", "modified", 3), ("h.*.b", "modified", 3)]


def test_layer_that_is_alone_keeps_its_name() -> None:
    assert folded([entry("h.3.a", "1")], [entry("h.3.a", "2")]) == [("h.3.a", "modified", 1)]


def test_kinds_are_kept_apart() -> None:
    old = [entry("h.0.a", "1"), entry("h.1.a", "1"), entry("h.2.a", "gone")]
    new = [entry("h.0.a", "2"), entry("h.1.a", "2"), entry("h.3.a", "new")]
    assert folded(old, new) == [("h.*.a", "modified", 2), ("h.2.a", "removed", 1), ("h.3.a", "added", 1)]


def test_renamed_groups_are_put_together_if_their_old_names_are_alike() -> None:
    old = [entry("x.0", "0"), entry("x.1", "1"), entry("y.2", "2")]
    new = [entry("h.0", "0"), entry("h.1", "1"), entry("h.2", "2")]
    assert folded(old, new) == [("h.*", "renamed", 2), ("h.2", "renamed", 1)]


def test_retyped_groups_are_put_together_if_their_dtypes_are_alike() -> None:
    old = [entry(f"h.{layer}", str(layer)) for layer in range(3)]
    new = [entry(f"h.{layer}", "2", dtype="float16" if layer else "int32") for layer in range(3)]
    assert folded(old, new) == [("h.0", "retyped", 1), ("h.*", "retyped", 2)]


def test_unfolded_changes_stand_for_themselves() -> None:
    old, new = ([entry(f"h.{layer}", value) for layer in range(2)] for value in "12")
    changes = compare(checkpoint(*old), checkpoint(*new), "a", "b").changes
    assert [item.name for item in unfolded(changes)] == ["h.0", "h.1"]


def test_folding_groups_takes_time_that_grows_with_their_number() -> None:
    def fold_all(size: int) -> Callable[[], object]:
        changes = compare(None, checkpoint(*(entry(f"a.{n % 7}.b{n}", "1") for n in range(size))), "a", "b").changes
        assert len(fold(changes)) == size
        return lambda: fold(changes)

    assert grows_linearly(fold_all, 2500)
