"""Drafts are found again for the same conflicts, and for nothing else; a damaged one is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from git_theta.flows.drafts import Draft, key
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.fitting import fitting, usable
from git_theta.merges.session import Reach, Scope, Session
from git_theta.metadata import Entry, Update

if TYPE_CHECKING:
    from pathlib import Path

METHODS = usable(merge_methods())


def entry(digest: str) -> Entry:
    return Entry("w", "float32", (2, 2), digest, 0, Update("dense", None))


def clash(name: str) -> Conflict:
    return Conflict(name, Clash.VALUES, entry("0"), (entry("1"), entry("2")))


TEXT = Conflict("epoch\ud800", Clash.TEXT, None, (None, None), ("1", None, "3"))
CONFLICTS = (clash("a"), clash("b"), TEXT)


def begin(*conflicts: Conflict) -> Session:
    return Session.begin(conflicts or CONFLICTS, lambda conflict: fitting(conflict, METHODS))


def settled() -> Session:
    ties = Decision("ties", (("density", 0.5), ("normalize", False), ("weight", (1.0, 2.0))))
    return begin().decide(ties, Scope()).decide(Decision("theirs"), Scope(Reach.ALL))


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return Draft.of(tmp_path / "new", "models/a.pt", METHODS)


def test_what_was_kept_is_restored_with_its_steps(draft: Draft) -> None:
    assert draft.restored(begin()) == begin()
    assert draft.keep(settled())
    assert draft.restored(begin()) == settled()
    assert draft.restored(begin()).undo() == settled().undo()
    assert [path.name for path in draft.file.parent.iterdir()] == [draft.file.name]


@pytest.mark.parametrize(
    "other",
    [
        (clash("a"), clash("b")),
        (clash("a"), clash("c"), TEXT),
        (clash("a"), replace(clash("b"), sides=(entry("1"), entry("3"))), TEXT),
        (clash("a"), replace(clash("b"), ancestor=None), TEXT),
        (clash("a"), clash("b"), replace(TEXT, texts=("1", None, "4"))),
        (clash("b"), clash("a"), TEXT),
    ],
)
def test_other_conflicts_have_another_draft(draft: Draft, other: tuple[Conflict, ...]) -> None:
    draft.keep(settled())
    assert key(other) != key(CONFLICTS)
    assert draft.restored(begin(*other)) == begin(*other)


def test_other_checkpoints_have_another_draft(draft: Draft, tmp_path: Path) -> None:
    draft.keep(settled())
    assert Draft.of(tmp_path / "new", "models/b.pt", METHODS).restored(begin()) == begin()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"conflicts": "x"},
        {"steps": None},
        {"steps": [1]},
        {"steps": [{"method": "ties", "with": {}, "names": ["epoch\ud800"]}]},
        {"steps": [{"method": "ties", "with": {}, "names": ["z"]}]},
        {"steps": [{"method": "ties", "with": {}, "names": []}]},
        {"steps": [{"method": "nothing", "with": {}, "names": ["a"]}]},
        {"steps": [{"method": "ours", "with": {"weight": 1}, "names": ["a"]}]},
        {"steps": [{"method": "ties", "with": {"density": 7}, "names": ["a"]}]},
        {"steps": [{"method": "ties", "with": {"density": "x"}, "names": ["a"]}]},
        {"steps": [{"method": "ties", "with": [], "names": ["a"]}]},
        {"steps": [{"method": "ours", "with": {}, "names": ["a", "a"]}]},
        {"steps": [{"method": "ours", "with": {}, "names": ["a"]}, {"method": "rows", "with": {}, "names": ["a"]}]},
    ],
)
def test_a_draft_that_says_what_cannot_be_is_none(draft: Draft, change: dict[str, object]) -> None:
    draft.keep(settled())
    draft.file.write_text(json.dumps({**json.loads(draft.file.read_text()), **change}))
    assert draft.restored(begin()) == begin()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_draft_is_none_or_whole(draft: Draft, data: st.DataObject) -> None:
    draft.keep(settled())
    whole = draft.file.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    draft.file.write_bytes(whole[:place] + data.draw(st.binary(max_size=3)) + whole[place + 1 :])
    found = draft.restored(begin())
    assert all(decision.method in found.fits[name] for name, decision in found.decisions.items())


def test_a_draft_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "drafts").write_text("a file")
    draft = Draft.of(tmp_path, "m", METHODS)
    assert not draft.keep(settled())
    assert draft.restored(begin()) == begin()
