"""Groups that differ in their number of rows, merged row by row."""

from __future__ import annotations

import numpy as np
import pytest

from git_theta.errors import MergeError
from git_theta.flows.merging.rows import check_rows, merge_rows, row_nbytes


def rows(*values: int) -> np.ndarray:
    """Rows of three bytes each."""
    return np.repeat(np.array(values, np.uint8)[:, None], 3, axis=1)


TABLE = {
    # ancestor, sides, merged
    "theirs grew": ((1, 2), [(1, 2), (1, 2, 9)], (1, 2, 9)),
    "ours grew": ((1, 2), [(1, 2, 9), (1, 2)], (1, 2, 9)),
    "one side changed a row, the other grew": ((1, 2), [(5, 2), (1, 2, 9)], (5, 2, 9)),
    "the side that grew changed rows, too": ((1, 2), [(1, 2), (1, 6, 9)], (1, 6, 9)),
    "both changed other rows": ((1, 2, 3), [(5, 2, 3), (1, 2, 6, 9)], (5, 2, 6, 9)),
    "both changed one row": ((1, 2), [(5, 2), (6, 2, 9)], (5, 2, 9)),
    "both changed one row alike": ((1, 2), [(5, 2), (5, 2, 9)], (5, 2, 9)),
    "one side shrank": ((1, 2, 3), [(1, 2), (1, 5, 3)], (1, 5)),
    "both shrank": ((1, 2, 3), [(1, 2), (1,)], (1,)),
    "one side grew more than the other": ((1,), [(1, 8), (2, 8, 9)], (2, 8, 9)),
    "three sides": ((1, 2, 3), [(1, 2, 3), (1, 5, 3, 9), (7, 6, 3)], (7, 5, 3, 9)),
    "no ancestor": (None, [(1, 2), (5, 6, 9)], (1, 2, 9)),
    "empty before": ((), [(), (8, 9)], (8, 9)),
}


@pytest.mark.parametrize(("ancestor", "sides", "merged"), TABLE.values(), ids=TABLE.keys())
def test_rows_are_merged_by_position(
    ancestor: tuple[int, ...] | None, sides: list[tuple[int, ...]], merged: tuple[int, ...]
) -> None:
    found = merge_rows(None if ancestor is None else rows(*ancestor), [rows(*side) for side in sides])
    assert found.tolist() == rows(*merged).tolist()


def test_a_row_counts_as_changed_if_any_of_its_bytes_did() -> None:
    old = rows(1, 2)
    ours, theirs = old.copy(), np.concatenate([old, rows(9)])
    ours[0, 2], theirs[1, 0] = 7, 8
    assert merge_rows(old, [ours, theirs]).tolist() == [[1, 1, 7], [8, 2, 2], [9, 9, 9]]


def test_many_rows_are_merged_in_pieces() -> None:
    old = np.zeros((3000, 5000), np.uint8)
    ours, theirs = old.copy(), np.zeros((3001, 5000), np.uint8)
    ours[::2], theirs[1::2] = 1, 2
    merged = merge_rows(old, [ours, theirs])
    assert (merged[:3000:2] == 1).all()
    assert (merged[1:3000:2] == 2).all()
    assert merged.shape == (3001, 5000)


def test_different_rows_in_one_place_are_refused() -> None:
    with pytest.raises(MergeError, match="several sides added different rows"):
        merge_rows(rows(1), [rows(1, 8), rows(1, 9)])
    with pytest.raises(MergeError, match="removed on one side and added on another"):
        merge_rows(rows(1, 2), [rows(1), rows(1, 2, 9)])
    with pytest.raises(MergeError, match="removed on one side and changed on another"):
        merge_rows(rows(1, 2), [rows(1), rows(1, 5)])


def test_only_rows_may_differ() -> None:
    check_rows([(3, 4), (5, 4)])
    check_rows([(3,), (5,)])
    for shapes in ([(3, 4), (3, 5)], [(3, 4), (3,)], [(), (3,)]):
        with pytest.raises(MergeError, match="differ in more than their rows"):
            check_rows(shapes)


def test_rows_that_share_bytes_are_refused() -> None:
    assert row_nbytes("float32", (7, 5)) == 20
    assert row_nbytes("q8_0", (7, 64)) == 68
    with pytest.raises(MergeError, match="share bytes"):
        row_nbytes("float4_e2m1fn", (4, 3))
