"""The prefixes of paths in the head of a diff."""

from __future__ import annotations

import pytest

from git_theta.git.prefixes import USUAL, from_options, from_settings


@pytest.mark.parametrize(
    ("configured", "wanted"),
    [
        ({}, ("a/", "b/")),
        ({"diff.noprefix": "true"}, ("", "")),
        ({"diff.noprefix": None}, ("", "")),
        ({"diff.noprefix": "false"}, ("a/", "b/")),
        ({"diff.noprefix": ""}, ("a/", "b/")),
        ({"diff.srcprefix": "old/"}, ("old/", "b/")),
        ({"diff.srcprefix": "", "diff.dstprefix": "new/"}, ("", "new/")),
        ({"diff.noprefix": "1", "diff.dstprefix": "new/"}, ("", "")),
    ],
)
def test_settings_say_what_stands_before_paths(configured: dict[str, str | None], wanted: tuple[str, str]) -> None:
    assert from_settings(configured) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("diff", ("a/", "b/")),
        ("diff --no-prefix HEAD~1", ("", "")),
        ("diff --no-prefix --default-prefix", ("a/", "b/")),
        ("diff --src-prefix=x/", ("x/", "b/")),
        ("diff --dst-prefix y/ HEAD", ("a/", "y/")),
        ("diff --dst-prefix", ("a/", "b/")),
        ("diff -R", ("b/", "a/")),
        ("diff -- --no-prefix", ("a/", "b/")),
    ],
)
def test_options_say_what_stands_before_paths(words: str, wanted: tuple[str, str]) -> None:
    assert from_options(words.split(), USUAL) == wanted
