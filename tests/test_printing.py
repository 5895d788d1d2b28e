"""Text for a terminal: controls escaped, columns counted, the middle cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.printing import listed, printable, shortened, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("h.0.attn", "h.0.attn"),
        ("größe 重み é", "größe 重み é"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\r\x00\x7f\x9b", "a\\nb\\tc\\r\\x00\\x7f\\x9b"),
        ("right\u202eleft\u200b", "right\\u202eleft\\u200b"),
        ("byte \udcff", "byte \\udcff"),
    ],
)
def test_what_controls_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_text_is_printable_and_stays_so(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("größe", 5), ("重み", 4), ("e\u0301", 1), ("\uff57", 2)]
)
def test_columns_of_wide_characters_and_marks(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 4, "ab…f"),
        ("abcdef", 1, "…"),
        ("重重重重", 7, "重重…重"),
        ("重重重重", 8, "重重重重"),
    ],
)
def test_what_is_too_long_loses_its_middle(text: str, columns: int, short: str) -> None:
    assert shortened(text, columns) == short


@given(st.text(), st.integers(1, 30))
def test_shortened_text_fits(text: str, columns: int) -> None:
    assert width(shortened(text, columns)) <= columns


def test_of_a_long_list_the_beginning_is_shown() -> None:
    assert listed([]) == ""
    assert listed(["a", "b"], most=2) == "a, b"
    assert listed(["a", "b", "c", "d"], most=2) == "a, b and 2 more"
