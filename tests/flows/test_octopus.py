"""What becomes of checkpoints when several commits are merged at once, told from their trees."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from git_theta.cli.workspace import Workspace
from git_theta.flows.octopus import Side, Survey, listed, sides_of, survey
from git_theta.git.repository import FileEntry, Repository
from tests.branches import MODEL, MODELS, copy, grow

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.metadata import Metadata
    from tests.helpers import Repo


@pytest.fixture
def repo(branches_on_main: Path, tmp_path: Path) -> Repo:
    """On "main", which is the ancestor of "b1", "b2" and "b3"."""
    return copy(branches_on_main, tmp_path / "repo")


def surveyed(repo: Repo, *names: str) -> Survey:
    here = Repository.discover(repo.path)
    with contextlib.chdir(repo.path):
        merger = Workspace.here().merger
    return survey(here, sides_of(here, [Side(name, repo.rev(name)) for name in names]), merger)


def blob(repo: Repo, name: str) -> str:
    return repo.git("cat-file", "blob", f"models:{name}.safetensors").stdout


def test_commit_in_the_history_of_another_is_no_side(repo: Repo) -> None:
    repo.git("branch", "again", "b1")
    found = surveyed(repo, "main", "b1", "again", "b2", "main")
    assert [side.name for side in found.sides] == ["b1", "b2"]
    assert found.bases == (repo.rev("main"),)


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


def test_other_name_on_one_side_and_removed_on_another_is_a_problem(repo: Repo) -> None:
    """Also where nothing of it was changed; git says so, too."""
    grow(repo, "x", "main", {MODEL: None, "x.safetensors": blob(repo, "base")})
    grow(repo, "y", "main", {MODEL: None})
    grow(repo, "z", "main", {"z.txt": "z"})
    found = surveyed(repo, "x", "y", "z")
    assert set(found.problems.values()) == {f"one side renamed {MODEL}, and another removed it"}
    assert found.problems.keys() == {MODEL, "x.safetensors"}


@pytest.mark.parametrize("order", [("back", "kept", "old"), ("old", "kept", "back")])
def test_name_that_one_of_two_sides_that_share_another_took_back_stays_taken_back(
    repo: Repo, order: tuple[str, ...]
) -> None:
    grow(repo, "x", "main", {MODEL: None, "x.safetensors": blob(repo, "base")})
    grow(repo, "back", "x", {MODEL: blob(repo, "base"), "x.safetensors": None})
    grow(repo, "kept", "x", {"x.safetensors": "attn5"})
    grow(repo, "old", "main", {"old.txt": "old"})
    found = surveyed(repo, *order)
    assert (found.meetings, found.problems) == ((), {})
    taken = found.taken[MODEL]
    assert taken is not None
    assert taken.oid == repo.rev("models:attn5.safetensors")
    assert found.taken["x.safetensors"] is None


def test_removed_by_one_of_two_sides_that_share_another_name_is_removed(repo: Repo) -> None:
    grow(repo, "x", "main", {MODEL: None, "x.safetensors": blob(repo, "base")})
    grow(repo, "gone", "x", {"x.safetensors": None})
    grow(repo, "kept", "x", {"x.txt": "x"})
    grow(repo, "old", "main", {"old.txt": "old"})
    found = surveyed(repo, "gone", "kept", "old")
    assert (found.meetings, found.problems) == ((), {})
    assert (found.taken[MODEL], found.taken["x.safetensors"]) == (None, None)


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
    assert found.bases == ()
    (meeting,) = found.meetings
    assert meeting.versions.ancestor is None


def merge(repo: Repo, branch: str, parents: tuple[str, ...], content: str | None, **more: str) -> None:
    """A branch that ends in a merge in which the model became this."""
    grow(repo, branch, parents[0], {MODEL: content, **more})
    made = repo.git(
        "commit-tree", f"{branch}^{{tree}}", *(word for one in parents for word in ("-p", one)), "-m", branch
    )
    repo.git("update-ref", f"refs/heads/{branch}", made.stdout.strip())


def undecided(metadata: Metadata | None) -> list[str]:
    assert metadata is not None
    return [entry.name for entry in metadata.entries if entry.merge is not None and entry.merge.method == "undecided"]


def test_several_equally_good_ancestors_are_merged_with_each_other(repo: Repo) -> None:
    merge(repo, "x", ("b1", "b2"), "b1")
    merge(repo, "y", ("b2", "b1"), "b2")
    found = surveyed(repo, "x", "y")
    assert sorted(found.bases) == sorted([repo.rev("b1"), repo.rev("b2")])
    (meeting,) = found.meetings
    assert undecided(meeting.versions.ancestor) == ["h.0.attn", "h.1.attn", "h.2.attn"]


def test_ancestors_that_merge_to_what_a_side_has_are_unchanged_there(repo: Repo) -> None:
    grow(repo, "other", "main", {"other.txt": "other"})
    merge(repo, "x", ("b1", "other"), "b1")
    merge(repo, "y", ("other", "b1"), None)
    found = surveyed(repo, "x", "y")
    assert len(found.bases) == 2
    assert (found.taken[MODEL], found.from_sides[MODEL], found.problems) == (None, 1, {})


@pytest.mark.parametrize("kept", ["base", "b1"])
def test_checkpoint_that_an_ancestor_removed_and_another_changed_is_decided_by_none(repo: Repo, kept: str) -> None:
    """Whatever became of it on one side, it is not for the other side to overrule."""
    grow(repo, "gone", "main", {MODEL: None})
    merge(repo, "x", ("b1", "gone"), kept)
    merge(repo, "y", ("gone", "b1"), None)
    assert surveyed(repo, "x", "y").problems == {MODEL: "one side removed it, and another changed it"}
    merge(repo, "z", ("gone", "b1"), "b2")
    assert [meeting.path for meeting in surveyed(repo, "x", "z").meetings] == [MODEL]


def test_what_two_of_three_sides_come_from_counts_between_them(repo: Repo) -> None:
    """One of the two took back what they share. It is as in the ancestor of all, and a change all the same."""
    grow(repo, "x", "b1", {"x.txt": "x"})
    grow(repo, "y", "b1", {MODEL: "base"})
    found = surveyed(repo, "x", "y", "b3")
    (meeting,) = found.meetings
    assert found.bases == (repo.rev("main"),)
    assert meeting.versions.pairs.keys() == {(0, 1)}
    grow(repo, "z", "main", {"z.txt": "z"})
    taken = surveyed(repo, "x", "y", "z")
    assert (taken.taken[MODEL], taken.from_sides[MODEL]) == (entry(repo, "main"), 1)
    grow(repo, "v", "b1", {MODEL: None})
    assert surveyed(repo, "x", "v", "b3").problems == {MODEL: "one side removed it, and another changed it"}


def entry(repo: Repo, revision: str) -> FileEntry:
    return FileEntry("100644", repo.rev(f"{revision}:{MODEL}"))


def test_few_names_are_listed_and_many_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
    assert "base" in MODELS
