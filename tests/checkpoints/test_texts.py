"""Short texts: never long, never with what a terminal would obey, and different where the values differ."""

from __future__ import annotations

import pytest

from git_theta.checkpoints.texts import MAX_TEXT, quoted


@pytest.mark.parametrize(("text", "expected"), [("", "''"), ("a'b", '"a\'b"'), ("\x1b[31m\n", "'\\x1b[31m\\n'")])
def test_short_text_is_quoted_and_escaped(text: str, expected: str) -> None:
    assert quoted(text) == expected


def test_text_that_just_fits_with_its_quotes_is_whole() -> None:
    assert quoted("a" * (MAX_TEXT - 2)) == repr("a" * (MAX_TEXT - 2))


@pytest.mark.parametrize("text", ["a" * 199, "\0" * 60, "a" * 100_000, "\ud800" * 300])
def test_long_text_is_cut_and_a_change_at_its_end_still_shows(text: str) -> None:
    assert len(quoted(text)) <= MAX_TEXT
    assert quoted(text) != quoted(text[:-1] + "b")
