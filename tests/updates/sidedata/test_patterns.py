"""Patterns of adapters match what `re` matches, in a time that they cannot make long."""

from __future__ import annotations

import re
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.updates.sidedata.patterns import PatternError, Patterns

ATOMS = ["a", "b", ".", r"\.", r"\d", "[ab]", "[^a.]", "[]a]", r"[\]\d-]", "^", "$", r"\b", "{", "{x}", "-", "0", "]"]
COUNTS = ["*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "*?", "??", "{0}"]

pieces = st.recursive(
    st.sampled_from(ATOMS) | st.sampled_from(ATOMS[:9]).flatmap(lambda a: st.sampled_from(COUNTS).map(lambda c: a + c)),
    lambda inner: (
        st.lists(inner, max_size=3).map("".join)
        | st.tuples(inner, inner).map("|".join)
        | st.tuples(st.sampled_from(["(", "(?:"]), inner, st.just(")"), st.sampled_from(["", *COUNTS])).map("".join)
    ),
    max_leaves=8,
)


@settings(max_examples=1000, deadline=None)
@given(pieces, st.text("ab.0-{x}", max_size=7))
def test_patterns_match_what_re_matches(pattern: str, text: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        try:
            whole, ending = re.compile(pattern), re.compile(f"(?:.*\\.)?(?:{pattern})")
        except re.error:
            with pytest.raises(PatternError):
                Patterns().match_whole(pattern, text)
            return
    assert Patterns().match_whole(pattern, text) == (whole.fullmatch(text) is not None)
    assert Patterns().match_ending(pattern, text) == (ending.fullmatch(text) is not None)


@pytest.mark.parametrize(
    ("pattern", "module"),
    [
        (r".*layers\.(1[0-9]|2[0-7])\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj", "model.layers.27.mlp.up_proj"),
        (r"layers\.\d+\.[qk]_proj", "model.layers.3.q_proj"),
        ("layers.1.q-proj", "model.layers.1.q-proj"),
        (r"^model\.decoder\.[^.]+\.attn$", "model.decoder.layer_0.attn"),
        (r"(?:h|layers)\.(?:1|11)\.\w+?", "layers.11.c_attn"),
    ],
)
def test_patterns_of_adapters_match_endings_of_names(pattern: str, module: str) -> None:
    assert Patterns().match_ending(pattern, module)
    assert not Patterns().match_ending(pattern, module + ".other")
    assert not Patterns().match_ending(pattern, "x" + module) or pattern.startswith((".*", "layers", "(?:"))


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(a?){40}a{40}b", "(((a*)*)*)*b", ".*.*.*.*.*.*.*.*b", "(?:a|aa)+$b", "(a*)*?b"],
)
def test_patterns_that_take_re_very_long_are_quick(pattern: str) -> None:
    start = time.thread_time()
    assert not Patterns().match_ending(pattern, "a." * 30 + "a" * 100)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?=a)b|a", r"has '\(\?='"),
        ("(?!a)b", r"has '\(\?!'"),
        ("(?<=a)b", r"has '\(\?<'"),
        (r"(a)\1", r"has '\\\\1'"),
        ("(?i)a", r"has '\(\?i'"),
        ("(?>a)b", r"has '\(\?>'"),
        ("a*+", r"has '\*\+'"),
        (r"\x41", r"has '\\\\x4'"),
        ("(", "is no regular expression"),
        ("x)|(y", "is no regular expression"),
        ("a{1,99999999999}", "is no regular expression"),
        ("(" * 50_000 + ")" * 50_000, "is no regular expression"),
        ("(a{1000}){1000}", "is too large"),
        ("(((){9999}){9999}){9999}", "is too large"),
    ],
)
def test_what_is_not_understood_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        Patterns().match_whole(pattern, "a")


def test_all_matches_together_take_no_more_steps_than_allowed() -> None:
    patterns = Patterns(most=500)
    assert patterns.match_whole("a*", "a" * 100)
    with pytest.raises(PatternError, match="takes too long"):
        patterns.match_whole("a*", "a" * 100)
