"""Options of git that turn colours on and off."""

from __future__ import annotations

import pytest

from git_theta.git.colours import asked


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        (["diff", "HEAD"], None),
        (["diff", "--color", "HEAD"], "always"),
        (["diff", "--color=never"], "never"),
        (["diff", "--color=always", "--no-color"], "never"),
        (["log", "-p", "--no-color", "--color=auto"], "auto"),
        (["diff", "--color-words", "--color-moved=zebra"], None),
        (["diff", "--", "--color"], None),
    ],
)
def test_last_option_before_the_paths_counts(words: list[str], expected: str | None) -> None:
    assert asked(words) == expected
