"""The git command above us, told from the process tree."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from git_theta.git import caller

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo

TELL = "import sys; from git_theta.git import caller; print(caller.arguments({'known': 'log -1'}.get))"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["merge", "other"], ("merge", "other")),
        (["-c", "a.b=c", "-C", "/tmp", "--no-pager", "revert", "-n", "HEAD"], ("revert", "-n", "HEAD")),
        (["--git-dir", "x", "--work-tree=y", "stash"], ("stash",)),
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


def test_without_proc_ps_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ps = tmp_path / "ps"
    ps.write_text("#!/bin/sh\necho ' 1 git merge other'\n")
    ps.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(caller, "_from_proc", caller._from_ps)
    assert caller.arguments({}.get) == ("merge", "other")


def test_where_the_system_tells_nothing_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_pid: int) -> tuple[int, tuple[str, ...]]:
        raise PermissionError

    monkeypatch.setattr(caller, "_from_proc", fail)
    monkeypatch.setattr(caller, "_from_ps", fail)
    assert caller.arguments({}.get) == ()


def test_without_git_above_us_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "_ancestors", lambda _pid: iter([("sh", "-c", "git merge"), ("gitk",), ("",), ()]))
    assert caller.arguments({}.get) == ()
