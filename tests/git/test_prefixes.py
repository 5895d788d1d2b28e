"""The prefixes of paths in the head of a diff."""

from __future__ import annotations

import pytest

from git_theta.git.prefixes import USUAL, from_comparison, from_options, from_settings


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
        ({"diff.mnemonicprefix": "true", "diff.dstprefix": "new/"}, ("c/", "w/")),
        ({"diff.mnemonicprefix": "true", "diff.noprefix": "true"}, ("", "")),
        ({"diff.mnemonicprefix": "no"}, ("a/", "b/")),
    ],
)
def test_settings_say_what_stands_before_paths(configured: dict[str, str | None], wanted: tuple[str, str]) -> None:
    assert from_settings(configured, lambda: ("c/", "w/")) == wanted


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


@pytest.mark.parametrize(
    ("words", "revisions", "wanted"),
    [
        ("diff", 0, ("i/", "w/")),
        ("diff HEAD", 1, ("c/", "w/")),
        ("diff --cached", 0, ("c/", "i/")),
        ("diff --staged HEAD~1", 1, ("c/", "i/")),
        ("diff -- --cached", 0, ("i/", "w/")),
        ("diff main..work", 2, ("a/", "b/")),
        ("diff --no-index one two", 0, ("1/", "2/")),
        ("show --cached", 0, ("a/", "b/")),
        ("", 0, ("a/", "b/")),
    ],
)
def test_what_is_compared_has_prefixes_of_its_own(words: str, revisions: int, wanted: tuple[str, str]) -> None:
    assert from_comparison(words.split(), revisions) == wanted
