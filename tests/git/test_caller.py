"""The git command above us, told from the process tree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from git_theta.git import caller

if TYPE_CHECKING:
    from tests.helpers import Repo

TELL = "import sys; from git_theta.git import caller; print(caller.arguments({'known': 'log -1'}.get))"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["merge", "other"], ("merge", "other")),
        (["-c", "a.b=c", "-C", "/tmp", "--no-pager", "revert", "-n", "HEAD"], ("revert", "-n", "HEAD")),
        (["--git-dir", "x", "--work-tree=y", "stash"], ("stash",)),
        (["--attr-source", "HEAD", "merge", "other"], ("merge", "other")),
        (["--version"], ()),
        ([], ()),
    ],
)
def test_options_of_git_itself_are_left_out(words: list[str], wanted: tuple[str, ...]) -> None:
    assert caller.without_options(words) == wanted


@pytest.mark.parametrize(
    ("alias", "wanted"),
    [
        ("-c core.abbrev=9 cherry-pick -x", ("cherry-pick", "-x", "--one two")),
        ("!git cherry-pick", ("tell", "--one two")),
        ("cherry-pick 'open", ("tell", "--one two")),
        (None, ("tell", "--one two")),
    ],
)
def test_an_alias_is_what_it_stands_for(
    monkeypatch: pytest.MonkeyPatch, alias: str | None, wanted: tuple[str, ...]
) -> None:
    monkeypatch.setattr(caller, "_ancestors", lambda _pid: iter([("sh", "-c", "x"), ("/a/git", "tell", "--one two")]))
    assert caller.arguments({"tell": alias}.get) == wanted


def test_git_above_us_is_found_past_a_shell(repo: Repo) -> None:
    command = f"! sh -c '{sys.executable} -c \"$0\"; true'"
    done = repo.git("-c", f'alias.tell={command} "$1"; :', "tell", TELL)
    assert done.stdout == f"('tell', {TELL!r})\n"


def test_where_the_system_tells_nothing_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "look", lambda _pid: None)
    assert caller.arguments({}.get) == ()


def test_without_git_above_us_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "_ancestors", lambda _pid: iter([("sh", "-c", "git merge"), ("gitk",), ("",), ()]))
    assert caller.arguments({}.get) == ()
