"""The conversation, on a screen that answers from a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import MissingObjectError
from git_theta.flows.drafts import Draft
from git_theta.merges import Method, merge_methods
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.fitting import usable
from git_theta.merges.parameters import Kind, Parameter
from git_theta.registry import Family
from tests.cli.prompt.stage import (
    LAYERS,
    SIDES,
    STRUCTURE,
    FakeScreen,
    clash,
    dialogue,
    entry,
    settle,
    text_clash,
)

if TYPE_CHECKING:
    from pathlib import Path

AVERAGE = Decision("average")
NAMES = [conflict.name for conflict in LAYERS]
ONE = (clash("weight"),)


def test_two_answers_settle_all() -> None:
    decisions, text = settle(LAYERS, "a", "*", "")
    assert decisions == dict.fromkeys(NAMES, AVERAGE)
    assert "All 7 are settled: 7 by average." in text


def test_one_answer_settles_all_as_well() -> None:
    assert settle(LAYERS, "a *", "")[0] == dict.fromkeys(NAMES, AVERAGE)


def test_nothing_is_merged_before_the_user_agrees() -> None:
    decisions, text = settle(LAYERS, "a *")
    assert decisions == {}
    assert "Left as a conflict: nothing is merged" in text


@pytest.mark.parametrize("leave", ["q", "quit", "exit"])
def test_quitting_settles_nothing_whatever_was_decided(leave: str) -> None:
    decisions, text = settle(LAYERS, "a", "o", leave, "a *", "")
    assert decisions == {}
    assert "Left as a conflict" in text


def test_a_kind_and_a_pattern_and_one() -> None:
    decisions, text = settle(LAYERS, "o", "a =", "t *.bias", "")
    kinds = {"w": "ours", "h.0.attn.c_attn.weight": "average", "h.2.attn.c_attn.bias": "theirs"}
    assert {name: decisions[name].method for name in kinds if name in decisions} | {"w": "ours"} == kinds
    assert decisions["wte.weight"] == Decision("ours")
    assert "3 conflicts (3 of h.*.attn.c_attn.bias): theirs" in text


def test_undo_takes_back_one_step_however_large_and_at_the_end_as_well() -> None:
    decisions, text = settle(LAYERS, "o", "a *", "u", "t *", "")
    assert set(decisions) == set(NAMES)
    assert decisions["wte.weight"] == Decision("ours")
    assert decisions["h.0.attn.c_attn.weight"] == Decision("theirs")
    assert "taken back: average for 6 conflicts" in text


def test_undo_of_everything_starts_again() -> None:
    _, text = settle(LAYERS, "o", "u", "u")
    assert "taken back: ours for wte.weight" in text
    assert "there is nothing to take back" in text
    assert text.count("1 of 7  wte.weight") == 2


def test_what_a_bulk_decision_does_not_fit_is_left_and_said() -> None:
    decisions, text = settle((*ONE, clash("ids", "int64"), text_clash("1", "2", "3")), "a *", "o", "n", "")
    assert decisions == {"weight": AVERAGE, "ids": Decision("ours"), "epoch": Decision("ancestor")}
    assert "left, since it does not fit: ids, epoch" in text.replace("\n", " ")


def test_a_decision_that_fits_nothing_that_is_meant_says_why() -> None:
    _, text = settle((*ONE, clash("ids", "int64")), "a ids", "a nothing.*", "*")
    assert "average cannot merge int64 values: say whether to take ours or theirs" in text
    assert "no conflict matches 'nothing.*'" in text
    assert "nothing is settled yet that could be repeated" in text


def test_what_fits_most_can_be_said_where_it_does_not_fit_first() -> None:
    decisions, text = settle((clash("ids", "int64"), *LAYERS), "a", "a ids", "a *", "o", "")
    assert decisions == {"ids": Decision("ours"), **dict.fromkeys(NAMES, AVERAGE)}
    assert text.count("average cannot merge int64 values: say whether to take ours or theirs") == 2


def test_a_pattern_alone_repeats_the_last_decision() -> None:
    decisions, _ = settle(LAYERS, "ties density=0.5", "h.*.weight", "o *", "")
    assert decisions["h.2.attn.c_attn.weight"] == Decision("ties", (("density", 0.5),))
    assert decisions["h.2.attn.c_attn.bias"] == Decision("ours")


def test_parameters_are_asked_for_one_by_one_and_wrong_ones_again() -> None:
    decisions, text = settle(ONE, "ties", "1,2,3", "0.5,0.7", "2", "0.2", "", "false", "", "count", "", "")
    assert decisions == {
        "weight": Decision(
            "ties", (("density", 0.2), ("election", "count"), ("normalize", False), ("weight", (0.5, 0.7)))
        )
    }
    assert "the parameter weight has 3 values for 2 inputs: give one each" in text
    assert "the parameter density must be a number from 0 to 1, not 2.0" in text
    assert "density [1]> 0.2" in text
    assert "int8_mask" not in text


def test_a_point_takes_the_defaults_of_all_that_follow() -> None:
    assert settle(ONE, "ties", "2", ".", "")[0] == {"weight": Decision("ties", (("weight", 2.0),))}
    assert settle(ONE, "ties .", "")[0] == {"weight": Decision("ties")}


def test_a_default_that_is_typed_is_not_kept() -> None:
    assert settle(ONE, "ties density=1 lambda=2", "")[0] == {"weight": Decision("ties", (("lambda", 2.0),))}


def test_what_must_be_given_is_asked_for_until_it_is() -> None:
    decisions, text = settle(ONE, "slerp .", "", ".", "x", "0.3", "")
    assert decisions == {"weight": Decision("slerp", (("t", 0.3),))}
    assert text.count("t> ") == 4


def test_going_back_from_a_parameter_settles_nothing() -> None:
    decisions, text = settle(ONE, "ties", "2", "u", "o", "")
    assert decisions == {"weight": Decision("ours")}
    assert text.count("1 of 1") == 1


def test_leaving_in_the_middle_of_the_parameters_is_leaving() -> None:
    decisions, text = settle(ONE, "ties", "2")
    assert decisions == {}
    assert "Left as a conflict" in text


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("ties density=2", "the parameter density must be a number from 0 to 1, not 2.0"),
        ("ties densty=1", "the merge method ties has no parameter 'densty'"),
        ("o weight=1", "the merge method ours has no parameter 'weight'"),
        ("ties weight=1,2,3", "the parameter weight has 3 values for 2 inputs"),
        ("foo", "there is no action 'foo'"),
        ("ties 'x", "no closing quotation"),
    ],
)
def test_a_wrong_line_is_refused_and_asked_again_without_repeating_all(typed: str, complaint: str) -> None:
    decisions, text = settle(ONE, typed, "o", "")
    assert complaint in text
    assert decisions == {"weight": Decision("ours")}
    assert text.count("1 of 1") == 1


def test_enter_alone_decides_nothing() -> None:
    decisions, text = settle(ONE, "", "", "o", "")
    assert decisions == {"weight": Decision("ours")}
    assert text.count("1 of 1") == 1


def test_statistics_are_measured_only_when_asked_for() -> None:
    measured = []
    screen = FakeScreen(["s", "q"])
    found = dialogue(screen)
    talk = type(found)(
        screen,
        "m",
        SIDES,
        found.methods,
        found.estimate,
        lambda old, new: measured.append(old) or found.measure(old, new),
    )
    talk.settle(ONE)
    assert len(measured) == 3
    assert "ours to theirs" in screen.text


def test_values_that_cannot_be_read_are_said_and_all_goes_on() -> None:
    def missing(*_: object) -> None:
        raise MissingObjectError("the object abc is not here")

    screen = FakeScreen(["s", "o", ""])
    found = dialogue(screen)
    talk = type(found)(screen, "m", SIDES, found.methods, found.estimate, missing)
    assert talk.settle(ONE) == {"weight": Decision("ours")}
    assert "the object abc is not here" in screen.text


def test_help_methods_and_lists_change_nothing() -> None:
    decisions, text = settle(LAYERS, "l", "?", "m", "? ties", "? average", "o", "l", "t *", "m", "s", "l", "")
    assert set(decisions.values()) == {Decision("ours"), Decision("theirs")}
    assert "nothing is settled yet" in text
    assert "q, Ctrl-C, Ctrl-D" in text
    assert "model_stock" in text
    assert "density" in text
    assert "ours: wte.weight" in text
    assert "still to settle: 3 of h.*.attn.c_attn.weight, 3 of h.*.attn.c_attn.bias" in text
    assert "all is settled: Enter merges so" in text


def test_at_the_end_a_new_decision_needs_an_undo_first() -> None:
    decisions, text = settle(ONE, "o", "t", "*", "u", "t", "")
    assert decisions == {"weight": Decision("theirs")}
    assert "all is settled: Enter merges so, undo takes the last step back" in text


def test_one_that_is_settled_can_be_settled_anew_by_its_name() -> None:
    decisions, text = settle(LAYERS, "a *", "t wte.weight", "s", "l", "u", "o wte.weight", "")
    assert decisions == {**dict.fromkeys(NAMES, AVERAGE), "wte.weight": Decision("ours")}
    assert "theirs: wte.weight" in text
    assert "taken back: theirs for wte.weight" in text


@pytest.mark.parametrize(
    "conflict",
    [
        Conflict("w", Clash.REMOVED, entry(), (None, entry(digest="1"))),
        Conflict("w", Clash.DTYPE, entry(), (entry(), entry(dtype="float16"))),
        Conflict("w", Clash.SHAPE, entry(), (entry(shape=(5, 3)), entry(shape=(6, 3)))),
        Conflict("w", Clash.VALUES, None, (entry(digest="1"), entry(digest="2"))),
        text_clash("1", "2", None),
        text_clash(None, "2", "3"),
        STRUCTURE,
    ],
)
def test_every_kind_of_conflict_can_be_settled_and_looked_at(conflict: Conflict) -> None:
    decisions, _ = settle([conflict], "s", "m", "l", "t", "")
    assert decisions == {conflict.name: Decision("theirs")}


def test_rows_settle_groups_of_different_lengths() -> None:
    conflict = Conflict("w", Clash.SHAPE, entry(), (entry(shape=(5, 3)), entry(shape=(6, 3))))
    assert settle([conflict], "r", "")[0] == {"w": Decision("rows")}


def test_a_plug_in_is_offered_with_its_parameters() -> None:
    mine = Method(
        "mine", lambda inputs, *_: inputs[0], (Parameter("p", Kind.CHOICE, "a", "letter", choices=("a", "b")),)
    )
    methods = Family("merge method", "tests.none", {"mine": "gone:gone", "broken": "gone:gone"}, {"mine": mine})
    screen = FakeScreen(
        ["m", "broken", "? broken", "mine", "c", "b", ""], try_to_complete=("", "mine ", "b", "mine p=")
    )
    decisions = dialogue(screen, methods=methods).settle(ONE)
    assert decisions == {"weight": Decision("mine", (("p", "b"),))}
    assert "a method of a plug-in" in screen.text
    assert "broken does not fit here" in screen.text
    assert "the merge method 'broken' (gone:gone) cannot be loaded" in screen.text
    assert screen.completions["mine p="] == ["p=a", "p=b"]
    assert "mine" in screen.completions[""]


def test_tab_knows_patterns_of_what_is_left() -> None:
    screen = FakeScreen(["o", "a =", "q"], try_to_complete=("a ", "a w"))
    dialogue(screen).settle(LAYERS)
    assert "h.*.attn.c_attn.weight" in screen.completions["a "]
    assert screen.completions["a w"] == ["with_base=", "wte.weight"]


def test_three_sides_have_numbers() -> None:
    three = Conflict("w", Clash.VALUES, entry(), tuple(entry(digest=digest) for digest in "123"))
    decisions, text = settle([three], "t", "slerp t=0.5", "ties weight=1,2,3", "")
    assert decisions == {"w": Decision("ties", (("weight", (1.0, 2.0, 3.0)),))}
    assert "side 2" in text
    assert "side 3" in text
    assert "theirs does not fit here: ours, ancestor" in text


def test_an_interrupt_from_outside_is_leaving() -> None:
    class Interrupted(FakeScreen):
        def ask(self, *_: object) -> str:
            raise KeyboardInterrupt

    screen = Interrupted([])
    assert dialogue(screen).settle(ONE) == {}
    assert "Left as a conflict" in screen.text


def test_names_are_never_shown_raw() -> None:
    evil = "w\x1b[2J\x07.\u202e0.weight"
    screen = FakeScreen(["a nothing", "ties .", "l", "u", "o", "l", ""])
    found = dialogue(screen, path="m\x1b]0;x\x07.safetensors")
    assert found.settle([clash(evil), text_clash("\x1b[1m", "\r\n", "\x9b31m")]) == {}
    assert not [char for char in screen.text if not char.isprintable() and char != "\n"]


def test_many_conflicts_need_no_more_words_than_few() -> None:
    many = [clash(f"h.{layer}.mlp.{kind}") for layer in range(74) for kind in ("weight", "bias")]
    decisions, text = settle(many, "a", "*", "l", "")
    assert len(decisions) == 148
    assert len(text.splitlines()) < 40
    assert set(merge_methods().names()) >= {decision.method for decision in decisions.values()}


def test_what_was_settled_before_leaving_is_there_when_the_same_is_asked_again(tmp_path: Path) -> None:
    methods = usable(merge_methods())
    first = FakeScreen(["o", "ties density=0.5 weight=1,2 ="])
    assert dialogue(first, draft=Draft.of(tmp_path, "m", methods)).settle(LAYERS) == {}
    assert "What is settled so far is kept" in first.text
    other = FakeScreen(["q"])
    dialogue(other, draft=Draft.of(tmp_path, "other", methods)).settle(LAYERS)
    assert "Settled already" not in other.text
    again = FakeScreen(["l", "u", "a =", "t *", ""])
    decisions = dialogue(again, draft=Draft.of(tmp_path, "m", methods)).settle(LAYERS)
    assert "Settled already, the last time: 4 of 7." in again.text
    assert "ties density=0.5 weight=1,2: 3 of h.*.attn.c_attn.weight" in again.text
    assert [decisions[name].method for name in NAMES[:3]] == ["ours", "average", "theirs"]


def test_after_all_was_settled_enter_settles_it_again(tmp_path: Path) -> None:
    draft = Draft.of(tmp_path, "m", usable(merge_methods()))
    first = dialogue(FakeScreen(["a *", ""]), draft=draft).settle(LAYERS)
    assert dialogue(FakeScreen([""]), draft=draft).settle(LAYERS) == first


def test_without_a_draft_nothing_is_said_to_be_kept() -> None:
    assert "kept for the next time" not in settle(LAYERS, "o")[1]
