"""Staging what a worktree file is when it is cleaned, without having it cleaned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from git_theta.git.repository import Repository
from git_theta.git.staging import stage_as_cleaned
from git_theta.sources import FileState

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo

PATH = "models/it's a model [1].bin"


@pytest.fixture
def repository(repo: Repo) -> Repository:
    """One whose filter fails, with a file in the worktree."""
    repo.write(".gitattributes", "*.bin filter=theta\n")
    repo.git("config", "filter.theta.process", "false")
    repo.git("config", "filter.theta.required", "true")
    repo.write(PATH, b"large")
    os.utime(repo.path / PATH, (1_000_000_000, 1_000_000_000))
    return Repository.discover(repo.path / "models")


def state(repository: Repository) -> FileState:
    return FileState.of((repository.worktree / PATH).stat())


def test_index_has_the_content_and_the_times(repo: Repo, repository: Repository, tmp_path: Path) -> None:
    repository.stage(PATH, b"small\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    stage_as_cleaned(repository, PATH, b"small\n", state(repository), scratch)
    assert repo.git("show", f":{PATH}").stdout == "small\n"
    assert repo.git("diff-files", "--name-only").stdout == ""
    assert list(scratch.iterdir()) == []


def test_path_is_no_pattern_for_others(repo: Repo, repository: Repository, tmp_path: Path) -> None:
    repo.write(PATH.replace("[1]", "1"), b"other")
    repository.stage(PATH, b"small\n")
    stage_as_cleaned(repository, PATH, b"small\n", state(repository), tmp_path)
    assert repo.git("ls-files", "-z", "models").stdout == f"{PATH}\0"


def test_file_that_is_another_one_by_now_is_looked_at_by_git(
    repo: Repo, repository: Repository, tmp_path: Path
) -> None:
    repository.stage(PATH, b"small\n")
    seen = state(repository)
    os.utime(repo.path / PATH, (1, 1))
    stage_as_cleaned(repository, PATH, b"small\n", seen, tmp_path)
    assert repo.git("show", f":{PATH}").stdout == "small\n"
    assert repo.git("diff-files", "--name-only", check=False).stdout != ""


@pytest.mark.parametrize("is_there", [True, False])
def test_without_room_or_file_git_looks_later(
    repo: Repo, repository: Repository, tmp_path: Path, is_there: bool
) -> None:
    repository.stage(PATH, b"small\n")
    seen = state(repository)
    if not is_there:
        (repo.path / PATH).unlink()
    stage_as_cleaned(repository, PATH, b"small\n", seen, tmp_path / "none" if is_there else tmp_path)
    assert repo.git("show", f":{PATH}").stdout == "small\n"
    assert repo.git("diff-files", "--name-only", check=False).stdout != ""
