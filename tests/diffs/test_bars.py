"""Histograms drawn with characters."""

from __future__ import annotations

import pytest

from git_theta.diffs.bars import bars, number
from git_theta.diffs.look import Look

UNICODE = Look().blocks
ASCII = Look(is_unicode=False).blocks


def test_the_highest_column_is_full_and_others_are_in_proportion() -> None:
    assert bars([0, 16, 8, 4], [0.0, 1.0, 2.0, 3.0, 4.0], UNICODE, height=2) == [
        "16 values at the peak",
        " █",
        " ██▄",
        "────",
        "0 2 4",
    ]


def test_one_value_among_very_many_is_seen() -> None:
    lines = bars([10**12, 0, 1], [-1.5, 0.5, 2.5, 4.5], UNICODE, height=3)
    assert lines[1:4] == ["█", "█", "█ ▁"]


def test_ascii_is_ascii() -> None:
    lines = bars([3, 0, 1, 2], [0.0, 1.0, 2.0, 3.0, 4.0], ASCII)
    assert all(line.isascii() for line in lines)
    assert lines[1].startswith("#")


def test_nothing_at_all_is_drawn_empty() -> None:
    assert bars([0, 0], [0.0, 1.0, 2.0], UNICODE, height=1)[1] == ""


@pytest.mark.parametrize(("bins", "low", "high"), [(64, -1e-300, 1.7e308), (1, 0.0, 1.0), (64, -3.25, 4.5)])
def test_limits_stand_below_their_columns(bins: int, low: float, high: float) -> None:
    edges = [low + (high - low) * place / bins for place in range(bins)] + [high]
    last = bars([1] * bins, edges, UNICODE)[-1]
    assert last.startswith(number(low))
    assert last.endswith(number(high))
    assert len(last) == bins or bins < 20


@pytest.mark.parametrize(
    ("value", "text"), [(2**63, "9223372036854775808"), (0.1234567, "0.1235"), (-0.0, "0"), (1e-9, "1e-09"), (12, "12")]
)
def test_numbers_are_short_but_whole_ones_are_exact(value: float, text: str) -> None:
    assert number(value) == text
