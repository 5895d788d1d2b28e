"""The executable by which git calls us to merge several branches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git import strategy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo


def test_git_finds_the_strategy_in_the_folder(repo: Repo, tmp_path: Path) -> None:
    folder = strategy.install(tmp_path / "theta")
    repo.write("a", "a")
    repo.commit("base")
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    known = repo.git("merge", "-s", "theta", "HEAD", env={"PATH": path})
    assert known.stdout == "Already up to date.\n"
    unknown = repo.git("merge", "-s", "theta", "HEAD", check=False)
    assert "Could not find merge strategy 'theta'" in unknown.stderr


def test_any_failure_tells_git_that_nothing_was_merged(repo: Repo, tmp_path: Path) -> None:
    program = strategy.install(tmp_path / "theta") / "git-merge-theta"
    for env in ({}, {"PATH": "/usr/bin:/bin"}):
        assert repo.run(str(program), "nonsense", cwd=repo.path, check=False, env=env).returncode == 2


def test_what_is_there_is_left_or_mended(tmp_path: Path) -> None:
    program = strategy.install(tmp_path) / "git-merge-theta"
    before = program.stat()
    strategy.install(tmp_path)
    assert program.stat().st_ino == before.st_ino
    program.write_text("something else")
    program.chmod(0o644)
    strategy.install(tmp_path)
    assert program.read_text().startswith("#!/bin/sh")
    assert os.access(program, os.X_OK)
    assert [file.name for file in program.parent.iterdir()] == [program.name]


def test_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "bin").write_text("")
    with pytest.raises(GitError, match="git-merge-theta cannot be written"):
        strategy.install(tmp_path)
