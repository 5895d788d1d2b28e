"""What is said about conflicts and decisions, at several widths."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from git_theta import printing
from git_theta.cli.prompt import explain, words
from git_theta.cli.prompt.text import Text, cut, for_encoding, pad, plain
from git_theta.diffs.changes import Statistics
from git_theta.diffs.statistics import estimate
from git_theta.git.sides import Side
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.fitting import fitting, usable
from git_theta.merges.session import Reach, Scope, Session
from tests.cli.prompt.stage import LAYERS, OURS, SIDES, STRUCTURE, clash, entry, exactly, text_clash

METHODS = usable(merge_methods())
CONFLICTS = (
    *LAYERS,
    Conflict("removed", Clash.REMOVED, entry(scale=100), (None, entry(digest="1", scale=110))),
    Conflict("typed", Clash.DTYPE, entry(), (entry(dtype="bfloat16", digest="1"), entry(digest="2"))),
    Conflict("shaped", Clash.SHAPE, entry(), (entry(shape=(5, 3), digest="1"), entry(shape=(6, 3), digest="2"))),
    Conflict("added", Clash.VALUES, None, (entry(digest="1"), entry(digest="2"))),
    Conflict("three", Clash.VALUES, entry(), (entry(digest="1"), entry(), entry(digest="2"))),
    text_clash("3", "5", "a long text " * 30),
    text_clash(None, "5", None),
    STRUCTURE,
)
NAMED = replace(SIDES, ours=Side("a/very/long/name/of/a/branch/that/goes/on/and/on", OURS.tip), note="A note. " * 20)


def begin(*conflicts: Conflict) -> Session:
    return Session.begin(conflicts, lambda conflict: fitting(conflict, METHODS))


def shown(conflict: Conflict, width: int = 80) -> list[str]:
    return plain(words.shown(begin(conflict), SIDES, estimate, width)).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    session = begin(*(replace(conflict, name=f"{conflict.name}{number}") for number, conflict in enumerate(CONFLICTS)))
    half = session.decide(Decision("ours"), Scope(Reach.KIND)).decide(Decision("average"), Scope(Reach.ALL))
    done = half.decide(Decision("ours"), Scope(Reach.ALL))
    texts: list[Text] = [
        words.opening("a/long/path/to/a/model.safetensors", 3, NAMED, width),
        words.finished(done, width),
        words.decided(half, width),
        words.settled(Decision("ties", (("density", 0.25),)), [c.name for c in LAYERS], ["ids"], width),
        words.undone(Decision("ours"), ["h.0.attn.c_attn.weight"], width),
        explain.help_text(width),
        explain.method_list(tuple(METHODS), width),
        *(explain.method_text(name, METHODS[name].parameters, width) for name in METHODS),
        *(explain.question(item, 2, width) for name in METHODS for item in METHODS[name].parameters),
        *(words.shown(begin(conflict), NAMED, estimate, width) for conflict in CONFLICTS),
        *(explain.statistics(conflict, exactly, width) for conflict in CONFLICTS[:1]),
    ]
    wide = [line for text in texts for line in plain(text).splitlines() if printing.width(line) > width]
    assert wide == []


def test_a_group_is_told_by_name_type_number_and_both_sides() -> None:
    assert shown(LAYERS[1])[1:5] == [
        "1 of 1  h.0.attn.c_attn.weight  float32 [768, 2304]",
        "  ours   main   moved ≈ 2 %",
        "  theirs other  moved ≈ 5 %",
        "  apart         ≈ 2.9 % from each other",
    ]


def test_what_bulk_decisions_would_settle_is_counted() -> None:
    mixed = begin(clash("ids", "int64"), *LAYERS)
    assert "  a * 7 of 8 left   a PATTERN by name" in plain(words.shown(mixed, SIDES, estimate, 80)).splitlines()
    rest = mixed.decide(Decision("ours"), Scope()).decide(Decision("ours"), Scope())
    wanted = "  a * all 6 left   a = the 3 of h.*.attn.c_attn.weight   a PATTERN by name"
    assert wanted in plain(words.shown(rest, SIDES, estimate, 80)).splitlines()
    assert "PATTERN" not in plain(words.shown(begin(LAYERS[0]), SIDES, estimate, 80))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "removed",
            [
                "  Removed on one side, changed on the other.",
                "  ours   main   removed it",
                "  theirs other  moved ≈ 10 %",
            ],
        ),
        (
            "typed",
            [
                "  was           float32 [4, 3]",
                "  ours   main   made it bfloat16 [4, 3]",
                "  theirs other  changed it",
            ],
        ),
        (
            "shaped",
            [
                "  was           float32 [4, 3]",
                "  ours   main   made it float32 [5, 3]",
                "  theirs other  made it float32 [6, 3]",
            ],
        ),
        ("added", ["  ours   main   added it", "  theirs other  added it"]),
        ("three", ["  ours     changed it", "  side 2   left it as it was", "  side 3   changed it"]),
        ("(structure)", ["  ours   main   changed it", "  theirs other  changed it"]),
    ],
)
def test_every_kind_of_conflict_says_what_each_side_did(name: str, wanted: list[str]) -> None:
    conflict = next(conflict for conflict in CONFLICTS if conflict.name == name)
    lines = [line.rstrip() for line in shown(conflict)]
    for line in wanted:
        assert line in lines


def test_texts_are_shown_and_cut_and_told_in_full_when_asked_for() -> None:
    conflict = text_clash("3", None, "long " * 100)
    lines = shown(conflict)
    assert "  was           3" in lines
    assert "  ours   main   removed it" in lines
    assert lines[5].endswith("…")
    assert plain(explain.statistics(conflict, exactly, 80)).count("long") == 100


def test_all_of_one_kind_are_counted_and_the_rest_told_in_short() -> None:
    names = [conflict.name for conflict in LAYERS]
    assert words.kinds(names) == "wte.weight, 3 of h.*.attn.c_attn.weight, 3 of h.*.attn.c_attn.bias"
    assert words.kinds(list("abcdefg")) == "a, b, c, d and 3 more kinds"
    assert words.kinds(["h.1.w"]) == "h.1.w"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-08, "1e-08"),
        (True, "true"),
        (None, "none"),
        ((0.5, 1.0), "0.5,1"),
        (3, "3"),
        (0.30000000000000004, "0.30000000000000004"),
    ],
)
def test_values_are_shown_as_they_are_typed(value: object, text: str) -> None:
    assert words.value_text(value) == text


@pytest.mark.parametrize(
    ("relative", "text"),
    [
        (0.0, "≈ 0 %"),
        (0.01234, "≈ 1.2 %"),
        (1e-7, "≈ 1e-05 %"),
        (0.999, "≈ 100 %"),
        (25.0, "≈ 2500 %"),
        (math.inf, "from zeros"),
        (math.nan, "not a number"),
        (None, "?"),
    ],
)
def test_a_relative_change_in_words(relative: float | None, text: str) -> None:
    assert words.percent(relative, is_exact=False) == text
    assert words.percent(relative, is_exact=True) == text.removeprefix("≈ ")


def test_what_has_no_cosine_has_a_dash() -> None:
    def measure(*_: object) -> Statistics:
        return Statistics(math.inf, None, 0.5, None, is_exact=True)

    assert plain(explain.statistics(LAYERS[0], measure, 80)).splitlines()[1].split() == [
        "ours",
        "from",
        "zeros",
        "?",
        "50",
        "%",
        "-",
    ]


def test_the_statistics_of_groups_of_different_shapes_leave_out_what_cannot_be_compared() -> None:
    conflict = Conflict("w", Clash.SHAPE, entry(), (entry(shape=(5, 3)), entry(digest="2")))
    assert [line.split()[0] for line in plain(explain.statistics(conflict, exactly, 80)).splitlines()[1:]] == ["theirs"]
    nothing = Conflict("w", Clash.SHAPE, None, (entry(shape=(5, 3)), entry(shape=(6, 3))))
    assert "no values to compare" in plain(explain.statistics(nothing, exactly, 80))


@pytest.mark.parametrize(
    ("text", "width", "wanted"),
    [
        ("short", 10, "short"),
        ("a longer text", 8, "a longe…"),
        ("重み重み重み", 7, "重み重…"),
        ("a\tb\x1b[1m\n", 40, "a\\tb\\x1b[1m\\n"),
        ("\u202eevil", 40, "\\u202eevil"),
        ("xy", 1, "…"),
    ],
)
def test_text_of_a_repository_is_cut_and_harmless(text: str, width: int, wanted: str) -> None:
    assert cut(text, width) == wanted


def test_padding_counts_columns() -> None:
    assert pad("重み", 6) == "重み  "
    assert pad("e\u0301", 3) == "e\u0301  "
    assert pad("long", 2) == "long"


def test_a_terminal_without_unicode_gets_plain_signs() -> None:
    assert for_encoding("≈ 1 …", "ascii") == "~ 1 ..."
    assert for_encoding("≈ 1 …", "utf-8") == "≈ 1 …"
    assert for_encoding("≈", "no such encoding") == "~"


def test_one_conflict_is_one() -> None:
    assert plain(words.opening("m", 1, SIDES, 80)).startswith("m: 1 conflict to settle\n")
    one = begin(clash("w")).decide(Decision("ours"), Scope())
    assert plain(words.finished(one, 80)).splitlines()[1] == "Settled: by ours."
