"""Sessions: whatever is decided and undone, in bulk or singly, nothing is decided twice and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.session import Reach, Scope, Session, fold
from git_theta.metadata import Entry, Update

NAMES = ("wte.weight", "h.0.attn.weight", "h.0.bias", "h.1.attn.weight", "h.1.bias", "h.10.attn.weight", "epoch")
FLOATS = ("ours", "theirs", "average", "ties")
ALL = Scope(Reach.ALL)
ONE = Scope()
KIND = Scope(Reach.KIND)


def conflict(name: str) -> Conflict:
    return Conflict(name, Clash.VALUES, None, (None, None))


def session(*names: str) -> Session:
    return Session.begin(
        [conflict(name) for name in names or NAMES],
        lambda found: FLOATS if found.name != "epoch" else ("ours", "theirs"),
    )


def glob(pattern: str) -> Scope:
    return Scope(Reach.PATTERN, pattern)


def left(state: Session) -> list[str]:
    return [found.name for found in state.remaining]


scopes = st.one_of(
    st.sampled_from([ALL, ONE, KIND]), st.sampled_from(["h.*", "*.bias", "h.1*", "nothing", "epoch"]).map(glob)
)
moves = st.one_of(st.none(), st.tuples(st.sampled_from(FLOATS).map(Decision), scopes))


@settings(deadline=None)
@given(st.lists(moves, max_size=12))
def test_whatever_is_done_every_conflict_is_decided_once_or_remains(done: list[tuple[Decision, Scope] | None]) -> None:
    state = session()
    for move in done:
        state = state.undo() if move is None else state.decide(*move)
        settled = [name for step in state.standing for name in step.names]
        assert len(set(settled)) == len(settled)
        assert set(settled) == {name for step in state.steps for name in step.names}
        assert sorted([*settled, *left(state)]) == sorted(NAMES)
        assert list(state.decisions) == [name for name in NAMES if name in settled]
        assert left(state) == [name for name in NAMES if name not in settled]
        assert all(decision.method in state.fits[name] for name, decision in state.decisions.items())
        assert state.current is (state.remaining[0] if state.remaining else None)


@settings(deadline=None)
@given(st.lists(moves, max_size=8), st.tuples(st.sampled_from(FLOATS).map(Decision), scopes))
def test_undo_takes_back_exactly_the_last_step(
    before: list[tuple[Decision, Scope] | None], move: tuple[Decision, Scope]
) -> None:
    state = session()
    for earlier in before:
        state = state.undo() if earlier is None else state.decide(*earlier)
    after = state.decide(*move)
    assert after is state or after.undo() == state


@settings(deadline=None)
@given(st.lists(moves, max_size=8), st.sampled_from(FLOATS), scopes)
def test_a_decision_settles_what_is_reached_and_fits(
    before: list[tuple[Decision, Scope] | None], method: str, scope: Scope
) -> None:
    state = session()
    for earlier in before:
        state = state.undo() if earlier is None else state.decide(*earlier)
    taken, passed = state.split(Decision(method), scope)
    assert sorted([*taken, *passed]) == sorted(found.name for found in state.reached(scope))
    after = state.decide(Decision(method), scope)
    assert {name for name, decision in after.decisions.items() if decision == Decision(method)} >= set(taken)
    assert {name: after.decisions[name] for name in state.decisions if name not in taken} == {
        name: decision for name, decision in state.decisions.items() if name not in taken
    }
    assert set(after.decisions) == {*state.decisions, *taken}


def test_one_decides_the_first_that_remains() -> None:
    state = session().decide(Decision("ours"), ONE)
    assert state.decisions == {"wte.weight": Decision("ours")}
    assert state.current is not None
    assert state.current.name == "h.0.attn.weight"
    assert state.last == Decision("ours")


def test_a_kind_is_the_same_layer_at_every_depth() -> None:
    state = session().decide(Decision("ours"), ONE).decide(Decision("average"), KIND)
    assert state.steps[-1].names == ("h.0.attn.weight", "h.1.attn.weight", "h.10.attn.weight")


def test_a_pattern_crosses_dots_and_leaves_the_current_one_where_it_is() -> None:
    state = session().decide(Decision("theirs"), glob("h.*.bias"))
    assert state.steps[-1].names == ("h.0.bias", "h.1.bias")
    assert state.current is not None
    assert state.current.name == "wte.weight"


def test_all_leaves_out_what_the_method_does_not_fit() -> None:
    state = session()
    assert state.split(Decision("ties"), ALL) == (NAMES[:-1], ("epoch",))
    assert left(state.decide(Decision("ties"), ALL)) == ["epoch"]


def test_a_list_of_values_settles_only_what_has_as_many_inputs() -> None:
    entries = [Entry("a", "float32", (1,), digest, 0, Update("dense", None)) for digest in "0123"]
    three = Conflict("three", Clash.VALUES, entries[0], tuple(entries[1:]))
    two = Conflict("two", Clash.VALUES, entries[0], (entries[1], entries[0], entries[2]))
    state = Session.begin([three, two], lambda _: FLOATS)
    decision = Decision("ties", (("weight", (1.0, 2.0)),))
    assert state.split(decision, ALL) == (("two",), ("three",))
    assert state.split(Decision("ties", (("weight", 2.0),)), ALL) == (("three", "two"), ())


def test_what_reaches_nothing_is_no_step() -> None:
    state = session().decide(Decision("ours"), ONE)
    assert state.decide(Decision("ours"), glob("nothing")) is state
    assert session("epoch").decide(Decision("ties"), ALL).steps == ()


def test_a_pattern_decides_anew_only_what_is_all_decided() -> None:
    state = session().decide(Decision("ours"), glob("h.0.*")).decide(Decision("theirs"), glob("h.*.bias"))
    assert state.steps[-1].names == ("h.1.bias",)
    again = state.decide(Decision("average"), glob("h.*.bias"))
    assert again.decisions["h.0.bias"] == again.decisions["h.1.bias"] == Decision("average")
    assert [step.names for step in again.standing] == [("h.0.attn.weight",), ("h.0.bias", "h.1.bias")]
    assert again.undo() == state


def test_when_all_is_decided_nothing_is_reached_and_undo_goes_back() -> None:
    done = session().decide(Decision("ours"), ALL)
    assert done.current is None
    assert done.reached(ALL) == done.reached(ONE) == done.reached(KIND) == ()
    assert left(done.undo()) == list(NAMES)
    assert session().undo().steps == ()
    assert session().last is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("h.0.attn.c_attn.weight", "h.*.attn.c_attn.weight"),
        ("optimizer/state/12/exp_avg", "optimizer/state/*/exp_avg"),
        ("layer1.0.conv2.weight", "layer1.*.conv2.weight"),
        ("weight", "weight"),
        ("3", "*"),
        ("layers_0/mlp/wi_0/kernel", "layers_*/mlp/wi_0/kernel"),
        ("h.0.ln_1.weight", "h.*.ln_1.weight"),
        ("Dense_12", "Dense_*"),
        ("h.0x.weight", "h.0x.weight"),
        ("a..b/", "a..b/"),
        ("net~1h_10~1mlp/w", "net~1h_*~1mlp/w"),
        ("net~11~12/w~01", "net~1*~1*/w~01"),
    ],
)
def test_a_kind_has_a_star_for_each_number(name: str, kind: str) -> None:
    assert fold(name) == kind


def test_a_name_with_brackets_is_a_pattern_for_itself() -> None:
    state = session("list[0]", "list0", "x")
    assert [found.name for found in state.reached(glob("list[0]"))] == ["list[0]", "list0"]


def test_methods_that_fit_only_what_is_decided_are_there_to_decide_it_anew() -> None:
    state = session("epoch", "h.0.bias").decide(Decision("average"), glob("h.0.bias"))
    assert left(state) == ["epoch"]
    assert state.useful == FLOATS
    again = state.decide(Decision("ties"), glob("h.0.bias"))
    assert again.decisions["h.0.bias"] == Decision("ties")
