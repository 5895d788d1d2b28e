"""A git that runs beside us."""

from __future__ import annotations

import gc
import os
import signal
import warnings
from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.companion import Companion

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo

CHECK = ("cat-file", "--batch-check")


def test_answers_one_question_after_the_other(repo: Repo) -> None:
    git = Companion(CHECK, repo.path)
    for name in (b"one", b"two"):
        git.ask(name + b"\n")
        assert git.line() == name + b" missing"


def test_fields_end_with_a_zero_byte_and_may_be_empty(repo: Repo) -> None:
    git = Companion(["check-attr", "--stdin", "-z", "filter"], repo.path)
    git.ask(b"a\nb\0")
    assert [git.field() for _ in range(3)] == [b"a\nb", b"filter", b"unspecified"]


def test_git_that_has_ended_is_an_error_each_time(repo: Repo) -> None:
    git = Companion(CHECK, repo.path)
    git._process.kill()
    git._process.wait(10)
    for _ in range(2):
        with pytest.raises(GitError, match="git cat-file has ended"):
            git.ask(b"one\n") or git.read(1)


def test_why_git_has_ended_is_told(tmp_path: Path) -> None:
    git = Companion(CHECK, tmp_path)
    with pytest.raises(GitError, match="not a git repository"):
        git.ask(b"one\n") or git.read(1)


def test_interruption_of_git_is_one_of_ours(repo: Repo) -> None:
    git = Companion(CHECK, repo.path)
    git._process.send_signal(signal.SIGINT)
    git._process.wait(10)
    with pytest.raises(KeyboardInterrupt):
        git.ask(b"one\n") or git.read(1)


def test_git_ends_when_nobody_asks_any_more(repo: Repo) -> None:
    git = Companion(CHECK, repo.path)
    git.ask(b"one\n")
    number = git._process.pid
    with warnings.catch_warnings(action="error"):
        del git
        gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
