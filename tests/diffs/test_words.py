"""Numbers as people read them: never rounded to a value that says something else."""

from __future__ import annotations

import math

import pytest

from git_theta.diffs.words import capped_percent, cosine_text, group_text, number, percent, size_text, span
from tests.diffs.samples import entry


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (28_351_488, "28.4 MB"),
        (497_759_232, "497.8 MB"),
        (999_949_999, "999.9 MB"),
        (999_950_000, "1.0 GB"),
        (2**62, "4.6 EB"),
        (2**70, "1180.6 EB"),
    ],
)
def test_sizes(nbytes: int, text: str) -> None:
    assert size_text(nbytes) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0"),
        (0.013, "1.3"),
        (0.00832, "0.83"),
        (0.12, "12"),
        (0.9949, "99"),
        (0.996, "100"),
        (1.4213, "142"),
        (12345.6, "1.2e+06"),
        (2e-8, "2e-06"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_shares_in_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100"), (0.99999, "99.9"), (0.5, "50"), (0.123, "12.3"), (0.0099, "0.99"), (1e-9, "1e-07"), (0.0, "0")],
)
def test_shares_of_a_whole_are_all_or_nothing_only_if_they_are(share: float, text: str) -> None:
    assert capped_percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.0000"), (0.99999, "0.9999"), (-0.99999, "-0.9999"), (-1.0, "-1.0000"), (0.0, "0.0000")]
)
def test_cosines_are_cut(value: float, text: str) -> None:
    assert cosine_text(value) == text


def test_spans_numbers_and_groups() -> None:
    assert span("0.8", "1.3", " %") == "0.8-1.3 %"
    assert span("1", "1", " %") == "1 %"
    assert span("2e-06", "1.3", " %") == "2e-06 to 1.3 %"
    assert number(0.0123456) == "0.0123"
    assert group_text(entry("a", "1", (2, 3))) == "float32 [2, 3]"
    assert group_text(entry("a", "1", ())) == "float32 []"
