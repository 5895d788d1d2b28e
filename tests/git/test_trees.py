"""Trees that are made and merged beside the index and the worktree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.repository import FileEntry, Repository
from git_theta.git.trees import Trees

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo


@pytest.fixture
def two(repo: Repo) -> Repo:
    """On "main"; "left" and "right" changed other lines of "text", and each added a file."""
    repo.write("text", "one\ntwo\nthree\n")
    repo.write("folder/model", "model")
    repo.commit("base")
    for branch, text in (("left", "ONE\ntwo\nthree\n"), ("right", "one\ntwo\nTHREE\n")):
        repo.git("checkout", "-q", "-b", branch, "main")
        repo.write("text", text)
        repo.write("folder/model", branch)
        repo.write(branch, branch)
        repo.commit(branch)
    repo.git("checkout", "-q", "main")
    return repo


def files(repo: Repo, tree: str) -> dict[str, str]:
    names = repo.git("ls-tree", "-r", "--name-only", "-z", tree).stdout.split("\0")[:-1]
    return {name: repo.git("cat-file", "blob", f"{tree}:{name}").stdout for name in names}


def everything(repo: Repo) -> tuple[str, str, bytes]:
    return repo.git("status", "--porcelain").stdout, repo.git("for-each-ref").stdout, repo.read(".git/index")


def test_entries_are_added_replaced_and_removed_also_from_a_subdirectory(two: Repo, tmp_path: Path) -> None:
    here = Repository.discover(two.path / "folder")
    before = everything(two)
    blob = here.tree_entries("left")["left"].oid
    with Trees.beside(here, tmp_path, keep=True) as trees:
        changes = {"text": None, "folder": FileEntry("100755", blob), "folder/model": None}
        tree = trees.with_entries(two.rev("main"), changes)
    assert two.git("ls-tree", tree).stdout == f"100755 blob {blob}\tfolder\n"
    assert everything(two) == before
    assert list(tmp_path.glob("index*")) == []


def test_file_where_another_path_has_a_folder_is_refused(two: Repo, tmp_path: Path) -> None:
    here = Repository.discover(two.path)
    entry = here.tree_entries("left")["left"]
    refused = pytest.raises(GitError, match="folder/model cannot be beside a file or folder")
    with Trees.beside(here, tmp_path, keep=False) as trees, refused:
        trees.with_entries(two.rev("main"), {"folder": entry})


def test_commits_are_merged_without_the_paths_that_are_left_out(two: Repo, tmp_path: Path) -> None:
    before = everything(two)
    with Trees.beside(Repository.discover(two.path), tmp_path, keep=True) as trees:
        commits = [trees.without(two.rev(name), ["folder/model", "not there"]) for name in ("left", "right", "main")]
        tree, conflicts = trees.merge(commits)
    assert conflicts == ()
    assert files(two, tree) == {"text": "ONE\ntwo\nTHREE\n", "left": "left", "right": "right"}
    assert everything(two) == before


def test_paths_that_cannot_be_merged_are_named(two: Repo, tmp_path: Path) -> None:
    with Trees.beside(Repository.discover(two.path), tmp_path, keep=False) as trees:
        assert trees.merge([two.rev("left"), two.rev("right")])[1] == ("folder/model",)


def test_what_is_not_to_be_kept_leaves_no_object(two: Repo, tmp_path: Path) -> None:
    before = two.git("count-objects", "-v").stdout
    with Trees.beside(Repository.discover(two.path), tmp_path, keep=False) as trees:
        commits = [trees.without(two.rev(name), ["folder/model"]) for name in ("left", "right")]
        tree, _ = trees.merge(commits)
    assert two.git("count-objects", "-v").stdout == before
    assert two.git("cat-file", "-e", tree, check=False).returncode != 0


def test_merging_needs_no_name_of_a_user(two: Repo, tmp_path: Path, global_config: Path) -> None:
    global_config.write_text("[user]\n\tuseConfigOnly = true\n")
    with Trees.beside(Repository.discover(two.path), tmp_path, keep=False) as trees:
        assert trees.without(two.rev("left"), ["text"])


def test_names_are_as_long_as_the_repository_has_them(tmp_path: Path) -> None:
    from tests.helpers import Repo

    repo = Repo.init(tmp_path / "sha256", "--object-format=sha256")
    repo.write("a", "a")
    repo.write("b", "b")
    repo.commit("base")
    with Trees.beside(Repository.discover(repo.path), tmp_path, keep=True) as trees:
        tree = trees.with_entries(repo.rev("main"), {"a": None})
    assert files(repo, tree) == {"b": "b"}
