"""Lines typed at the prompt: short cuts, beginnings, parameters and scopes; and what Tab makes of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.cli.prompt.commands import Again, Command, Explain, Take, Verb, complete, parse
from git_theta.errors import UsageError
from git_theta.merges import merge_methods
from git_theta.merges.session import Reach, Scope

KNOWN = ("rows", *merge_methods().names())
FITS = tuple(name for name in KNOWN if name not in ("rows", "passthrough"))
SIDES = ("ours", "theirs", "ancestor")
PARAMETERS = {name: merge_methods().get(name).parameters for name in FITS}
ALL = Scope(Reach.ALL)
KIND = Scope(Reach.KIND)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", Verb.NOTHING),
        ("   ", Verb.NOTHING),
        ("o", Take("ours")),
        ("t", Take("theirs")),
        ("n", Take("ancestor")),
        ("a", Take("average")),
        (" average ", Take("average")),
        ("av", Take("average")),
        ("ties", Take("ties")),
        ("slerp t=0.5", Take("slerp", (("t", "0.5"),), is_complete=True)),
        ("ties . *", Take("ties", (), ALL, is_complete=True)),
        (
            "ties density=0.2,0.3 weight=1 *",
            Take("ties", (("density", "0.2,0.3"), ("weight", "1")), ALL, is_complete=True),
        ),
        ("a *", Take("average", (), ALL)),
        ("a*", Take("average", (), ALL)),
        ("a all", Take("average", (), ALL)),
        ("a =", Take("average", (), KIND)),
        ("a=", Take("average", (), KIND)),
        ("ties=", Take("ties", (), KIND)),
        ("a kind", Take("average", (), KIND)),
        ("a h.*.bias", Take("average", (), Scope(Reach.PATTERN, "h.*.bias"))),
        ("a 'a name'", Take("average", (), Scope(Reach.PATTERN, "a name"))),
        ("*", Again(ALL)),
        ("=", Again(KIND)),
        ("h.*", Again(Scope(Reach.PATTERN, "h.*"))),
        ("s", Verb.STATISTICS),
        ("stat", Verb.STATISTICS),
        ("u", Verb.UNDO),
        ("l", Verb.LIST),
        ("m", Verb.METHODS),
        ("?", Verb.HELP),
        ("help", Verb.HELP),
        ("q", Verb.QUIT),
        ("exit", Verb.QUIT),
        ("? ties", Explain("ties")),
        ("help passthrough", Explain("passthrough")),
    ],
)
def test_a_line_means(line: str, wanted: Command) -> None:
    assert parse(line, FITS, KNOWN) == wanted


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("dare", "'dare' may be dare_linear, dare_ties"),
        ("foo", "there is no action 'foo'; ? shows what there is"),
        ("r", "rows does not fit here: ours, theirs, ancestor, average ... do"),
        ("passthrough", "passthrough does not fit here"),
        ("a * =", "give one pattern"),
        ("u u", "'undo' takes nothing after it"),
        ("? foo", "there is no method 'foo'"),
        ("a 'b", "no closing quotation"),
    ],
)
def test_what_means_nothing_is_refused_with_a_hint(line: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line, FITS, KNOWN)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("line", ["a", "average", "ties", "t=0.5"])
def test_where_one_side_is_taken_no_method_is(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line, SIDES, KNOWN)


def test_letters_mean_the_same_wherever_they_fit() -> None:
    assert parse("t", SIDES, KNOWN) == Take("theirs")
    assert parse("r", (*SIDES, "rows"), KNOWN) == Take("rows")


@settings(deadline=None)
@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_command_or_refused(line: str) -> None:
    with contextlib.suppress(UsageError):
        found = parse(line, FITS, KNOWN)
        assert not isinstance(found, Take) or found.method in FITS


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("ti", ["ties"]),
        ("dare", ["dare_linear", "dare_ties"]),
        ("st", ["statistics"]),
        ("slerp ", ["t=", "*", "=", "h.*.bias", "h.0.bias"]),
        ("ties el", ["election="]),
        ("ties election=", ["election=weighted", "election=unweighted", "election=count"]),
        ("ties normalize=t", ["normalize=true"]),
        ("ties density=", []),
        ("a h", ["h.*.bias", "h.0.bias"]),
        ("? mag", ["magmax"]),
        ("u ", []),
        ("nonsense ", []),
    ],
)
def test_tab_completes(line: str, wanted: list[str]) -> None:
    assert complete(line, FITS, PARAMETERS, ["h.*.bias", "h.0.bias"]) == wanted


def test_tab_at_the_start_lists_all_actions() -> None:
    found = complete("", SIDES, PARAMETERS, [])
    assert found == [*SIDES, "methods", "statistics", "undo", "list", "help", "quit"]
