"""What becomes of checkpoints when several commits are merged at once, told from their trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.flows.octopus import Side, Survey, listed, sides_of, survey
from git_theta.git.repository import Repository
from tests.branches import MODEL, MODELS, copy, grow

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo


@pytest.fixture
def repo(branches_on_main: Path, tmp_path: Path) -> Repo:
    """On "main", which is the ancestor of "b1", "b2" and "b3"."""
    return copy(branches_on_main, tmp_path / "repo")


def surveyed(repo: Repo, *names: str) -> Survey:
    here = Repository.discover(repo.path)
    return survey(here, sides_of(here, [Side(name, repo.rev(name)) for name in names]))


def blob(repo: Repo, name: str) -> str:
    return repo.git("cat-file", "blob", f"models:{name}.safetensors").stdout


def test_commit_in_the_history_of_another_is_no_side(repo: Repo) -> None:
    repo.git("branch", "again", "b1")
    found = surveyed(repo, "main", "b1", "again", "b2", "main")
    assert [side.name for side in found.sides] == ["b1", "b2"]
    assert found.base == repo.rev("main")
    assert not found.more_bases


def test_single_commit_is_its_own_survey(repo: Repo) -> None:
    found = surveyed(repo, "main", "b1")
    assert ([side.name for side in found.sides], found.meetings, found.problems) == (["b1"], (), {})


def test_what_several_changed_meets_and_what_one_changed_is_taken(repo: Repo) -> None:
    grow(repo, "b1", "b1", {"one.safetensors": "head7"})
    grow(repo, "b2", "b2", {"both.safetensors": "head7"})
    grow(repo, "b3", "b3", {"both.safetensors": "head7"})
    found = surveyed(repo, "b1", "b2", "b3")
    (meeting,) = found.meetings
    assert (meeting.path, meeting.mode, meeting.present) == (MODEL, "100644", (0, 1, 2))
    assert meeting.versions.ancestor is not None
    assert dict(found.from_sides) == {"both.safetensors": 1, "one.safetensors": 0}
    assert found.paths == ("both.safetensors", MODEL, "one.safetensors")


def test_removed_on_one_side_alone_is_removed_and_changed_on_another_is_a_problem(repo: Repo) -> None:
    grow(repo, "x", "main", {MODEL: None})
    grow(repo, "y", "main", {"other.txt": "y"})
    found = surveyed(repo, "x", "y")
    assert (found.taken[MODEL], found.from_sides[MODEL]) == (None, 0)
    assert surveyed(repo, "x", "b1").problems == {MODEL: "one side removed it, and another changed it"}


def test_mode_is_merged_beside_the_content(repo: Repo) -> None:
    grow(repo, "x", "b1", {})
    env = {"GIT_INDEX_FILE": str(repo.path / ".git/x")}
    repo.git("read-tree", "b1", env=env)
    repo.git("update-index", "--chmod=+x", MODEL, env=env)
    tree = repo.git("write-tree", env=env).stdout.strip()
    repo.git("update-ref", "refs/heads/x", repo.git("commit-tree", tree, "-p", "b1", "-m", "x").stdout.strip())
    (meeting,) = surveyed(repo, "b2", "x").meetings
    assert meeting.mode == "100755"


@pytest.mark.parametrize("both", [False, True])
def test_renamed_checkpoint_is_one_checkpoint_under_its_new_name(repo: Repo, both: bool) -> None:
    new = {MODEL: None, "new.safetensors": blob(repo, "base")}
    grow(repo, "x", "main", new)
    grow(repo, "y", "main", {**new, "y.txt": "y"} if both else {MODEL: "attn5"})
    found = surveyed(repo, "x", "y")
    assert (found.meetings, found.problems) == ((), {})
    assert found.taken[MODEL] is None
    taken = found.taken["new.safetensors"]
    assert taken is not None
    assert taken.oid == repo.rev("models:base.safetensors" if both else "models:attn5.safetensors")


def test_other_names_on_other_sides_are_a_problem(repo: Repo) -> None:
    for branch in ("x", "y"):
        grow(repo, branch, "main", {MODEL: None, f"{branch}.safetensors": blob(repo, "base")})
    found = surveyed(repo, "x", "y")
    assert found.problems[MODEL] == "it has other names on several sides: x.safetensors and y.safetensors"
    assert found.problems.keys() == {MODEL, "x.safetensors", "y.safetensors"}


def test_one_name_for_two_checkpoints_is_a_problem(repo: Repo) -> None:
    grow(repo, "old", "main", {"b.safetensors": "head7"})
    grow(repo, "x", "old", {MODEL: None, "c.safetensors": blob(repo, "base")})
    grow(repo, "y", "old", {"b.safetensors": None, "c.safetensors": "head7"})
    found = surveyed(repo, "x", "y")
    assert set(found.problems.values()) == {"several checkpoints are now called c.safetensors"}
    assert found.problems.keys() == {MODEL, "b.safetensors", "c.safetensors"}


def test_path_that_is_something_else_on_a_side_is_left_to_git(repo: Repo) -> None:
    grow(repo, "x", "main", {MODEL: "not a model"})
    found = surveyed(repo, "x", "b1")
    assert (found.paths, found.meetings, dict(found.taken)) == ((), (), {})


def test_without_a_common_ancestor_all_is_added(repo: Repo) -> None:
    grow(repo, "x", "main", {MODEL: "attn5"}, orphan=True)
    found = surveyed(repo, "x", "b1")
    assert found.base is None
    (meeting,) = found.meetings
    assert meeting.versions.ancestor is None


def test_several_equally_good_ancestors_are_told_of(repo: Repo) -> None:
    for branch, other in (("x", "b2"), ("y", "b1")):
        tree, start = repo.rev("b1^{tree}"), {"x": "b1", "y": "b2"}[branch]
        made = repo.git("commit-tree", tree, "-p", start, "-p", other, "-m", branch).stdout.strip()
        repo.git("update-ref", f"refs/heads/{branch}", made)
    assert surveyed(repo, "x", "y").more_bases


def test_few_names_are_listed_and_many_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
    assert "base" in MODELS
