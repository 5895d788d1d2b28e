"""Paths in conflict, and how they are settled in index and worktree."""

from __future__ import annotations

import pytest

from git_theta.errors import GitError
from git_theta.git.repository import FileEntry, Repository
from git_theta.git.stages import ANCESTOR, OURS, THEIRS, Index
from tests.helpers import Repo

ODD = "sub dir/[a]*\xe9"


@pytest.fixture
def stopped(repo: Repo) -> Repo:
    """In a merge in which two files are in conflict."""
    repo.write("text", "base")
    repo.write(ODD, "base")
    repo.commit("base")
    for branch in ("theirs", "ours"):
        repo.git("checkout", "-q", "-b", branch, "main")
        repo.write("text", branch)
        repo.write(ODD, branch)
        repo.commit(branch)
    assert repo.git("merge", "-q", "theirs", check=False).returncode == 1
    return repo


def index(repo: Repo, folder: str = "") -> Index:
    return Index(Repository.discover(repo.path / folder))


def test_stages_are_found_by_path_and_by_folder(stopped: Repo) -> None:
    found = index(stopped, "sub dir").unmerged(["."])
    assert found.keys() == {"text", ODD}
    contents = {stage: stopped.git("cat-file", "blob", entry.oid).stdout for stage, entry in found[ODD].items()}
    assert contents == {ANCESTOR: "base", OURS: "ours", THEIRS: "theirs"}
    assert index(stopped).unmerged([ODD]).keys() == {ODD}
    assert index(stopped).unmerged(["sub dir"]).keys() == {ODD}
    assert index(stopped).unmerged(["nowhere"]) == {}


def test_settled_paths_are_in_index_and_worktree(stopped: Repo) -> None:
    stages = index(stopped).unmerged(["."])
    index(stopped, "sub dir").settle({"text": None, ODD: FileEntry("100755", stages[ODD][THEIRS].oid)})
    assert not (stopped.path / "text").exists()
    assert stopped.read(ODD) == b"theirs"
    assert (stopped.path / ODD).stat().st_mode & 0o100
    assert index(stopped).unmerged(["."]) == {}
    assert stopped.git("ls-files").stdout.count("\n") == 1
    assert stopped.git("diff", "--quiet").returncode == 0


def test_worktree_that_cannot_be_written_leaves_all_in_conflict(stopped: Repo) -> None:
    before = stopped.git("ls-files", "--stage").stdout
    stages = index(stopped).unmerged(["."])
    stopped.git("config", "filter.broken.smudge", "false")
    stopped.git("config", "filter.broken.required", "true")
    stopped.write(".git/info/attributes", "text filter=broken\n")
    with pytest.raises(GitError, match="the worktree could not be written"):
        index(stopped).settle({path: entries[THEIRS] for path, entries in stages.items()})
    assert stopped.git("ls-files", "--stage").stdout == before


def test_worktree_file_is_known_by_what_git_would_make_of_it(stopped: Repo) -> None:
    stages = index(stopped).unmerged(["."])
    stopped.write("text", "theirs")
    assert index(stopped, "sub dir").cleaned("text") == stages["text"][THEIRS].oid
    (stopped.path / "text").unlink()
    assert index(stopped).cleaned("text") is None
