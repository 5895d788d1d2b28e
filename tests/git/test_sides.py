"""Who ours and theirs are, asked by a merge driver while real git runs it, and after git has stopped."""

from __future__ import annotations

import ast
import os
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from git_theta.git.repository import Repository
from git_theta.git.sides import Operation, Sides, several, sides
from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = """
import os, sys
from msgspec.structs import astuple
from pathlib import Path
from git_theta.git import caller
from git_theta.git.repository import Repository
from git_theta.git.sides import sides

aliases = {"pick": "-c core.abbrev=9 cherry-pick", "through-shell": "!git cherry-pick"}
found = sides(Repository.discover(Path.cwd()), os.environ, caller.arguments(aliases.get))
with open(sys.argv[1], "a") as log:
    print(repr((found.operation.value, found.ours.name, found.ours.tip and found.ours.tip.subject,
        found.theirs.name, found.theirs.tip and found.theirs.tip.subject, bool(found.note))), file=log)
sys.exit(1)
"""


@dataclass(frozen=True)
class Story:
    """A repository whose branches clash in "model", and a driver that writes down who it takes the sides for."""

    repo: Repo
    log: Path

    def told(self) -> list[tuple[object, ...]]:
        return [ast.literal_eval(line) for line in self.log.read_text().splitlines()]

    def change(self, branch: str, subject: str) -> str:
        self.repo.git("checkout", "-q", branch)
        self.repo.write("model", subject)
        return self.repo.commit(subject)

    def stops(self, *arguments: str) -> Sides:
        """Run what ends in a conflict; returns the sides as they are found after that."""
        assert self.repo.git(*arguments, check=False).returncode != 0
        return sides(Repository.discover(self.repo.path), os.environ)


@pytest.fixture
def story(repo: Repo, tmp_path: Path) -> Story:
    driver, log = tmp_path / "driver.py", tmp_path / "log"
    driver.write_text(DRIVER)
    repo.git("config", "merge.told.driver", shlex.join([sys.executable, str(driver), str(log)]))
    repo.git("config", "merge.told.name", "told")
    repo.git("config", "alias.pick", "cherry-pick")
    repo.git("config", "alias.through-shell", "!git cherry-pick")
    repo.write(".gitattributes", "model merge=told\n")
    repo.write("model", "base")
    repo.commit("base")
    repo.git("branch", "other")
    told = Story(repo, log)
    told.change("other", "other 1")
    told.change("other", "other 2")
    told.change("main", "main 1")
    return told


def seen(found: Sides) -> tuple[object, ...]:
    ours, theirs = found.ours, found.theirs
    subjects = [side.tip and side.tip.subject for side in (ours, theirs)]
    return found.operation.value, ours.name, subjects[0], theirs.name, subjects[1], bool(found.note)


def test_a_merge_has_the_names_of_its_branches(story: Story) -> None:
    stopped = story.stops("merge", "other")
    wanted = ("merge", "main", "main 1", "other", "other 2", False)
    assert story.told() == [wanted]
    assert seen(stopped) == wanted
    assert stopped.theirs.tip is not None
    assert (stopped.theirs.tip.author, stopped.theirs.tip.oid) == ("Ada", story.repo.rev("other"))
    assert len(stopped.theirs.tip.date) == len("2026-01-31")


def test_a_commit_that_no_branch_names_has_a_short_name(story: Story) -> None:
    oid = story.repo.rev("other~1")
    story.repo.git("checkout", "-q", "--detach")
    stopped = story.stops("merge", oid)
    here = f"commit {story.repo.rev('HEAD')[:7]}"
    assert story.told() == [("merge", here, "main 1", f"commit {oid[:7]}", "other 1", False)]
    assert seen(stopped) == story.told()[0]


def test_a_squash_is_a_merge(story: Story) -> None:
    story.stops("merge", "--squash", "other")
    assert story.told() == [("merge", "main", "main 1", "other", "other 2", False)]


def test_a_pull_says_what_was_fetched(story: Story, tmp_path: Path) -> None:
    author = Repo.clone(story.repo.path, tmp_path / "author")
    author.git("checkout", "-q", "other")
    author.write("model", "other 3")
    author.commit("other 3")
    story.stops("pull", "--no-rebase", str(author.path), "other")
    operation, _, _, name, subject, _ = story.told()[0]
    assert (operation, subject) == ("merge", "other 3")
    assert str(name).startswith("branch 'other' of ")


def test_a_rebase_says_that_the_sides_are_swapped(story: Story) -> None:
    stopped = story.stops("rebase", "other")
    wanted = ("rebase", "other, with your commits moved so far", "other 2", "your commit from main", "main 1", True)
    assert story.told() == [wanted]
    assert seen(stopped) == wanted


def test_a_rebase_by_patches_learns_the_names_only_when_it_has_stopped(story: Story) -> None:
    stopped = story.stops("rebase", "--apply", "other")
    wanted = ("rebase", "other, with your commits moved so far", "other 2", "your commit from main", "main 1", True)
    early = "the new base, with your commits moved so far"
    assert story.told() == [("rebase", early, "other 2", "your commit", "main 1", True)]
    assert seen(stopped) == wanted


def test_the_second_commit_of_a_rebase_is_told_from_the_first(story: Story) -> None:
    story.change("main", "main 2")
    story.stops("rebase", "other")
    story.repo.write("model", "settled")
    story.repo.git("add", "model")
    stopped = story.stops("rebase", "--continue")
    assert [told[4] for told in story.told()] == ["main 1", "main 2"]
    assert seen(stopped)[4] == "main 2"


def test_a_rebase_of_a_detached_head_needs_no_branch(story: Story) -> None:
    story.repo.git("checkout", "-q", "--detach")
    story.stops("rebase", "other")
    assert story.told()[0][3] == "your commit"


@pytest.mark.parametrize("verb", [("cherry-pick",), ("cherry-pick", "-x"), ("pick",), ("through-shell",)])
def test_a_cherry_pick_names_the_commit(story: Story, verb: tuple[str, ...]) -> None:
    stopped = story.stops(*verb, "other")
    name = f"commit {story.repo.rev('other')[:7]}"
    assert story.told() == [("cherry-pick", "main", "main 1", name, "other 2", False)]
    assert seen(stopped) == story.told()[0]


def test_of_several_picked_commits_it_is_the_one_that_is_picked_now(story: Story) -> None:
    story.stops("cherry-pick", "other~1", "other")
    story.repo.write("model", "settled")
    story.repo.git("add", "model")
    stopped = story.stops("cherry-pick", "--continue")
    assert [told[4] for told in story.told()] == ["other 1", "other 2"]
    assert seen(stopped)[4] == "other 2"


def test_a_revert_says_that_theirs_is_what_was_before(story: Story) -> None:
    story.change("main", "main 2")
    stopped = story.stops("revert", "--no-edit", "HEAD~1")
    name = f"before commit {story.repo.rev('HEAD~1')[:7]}"
    assert story.told() == [("revert", "main", "main 2", name, "main 1", True)]
    assert seen(stopped) == story.told()[0]


@pytest.mark.parametrize(("arguments", "name"), [(("pop",), "stash@{0}"), (("apply", "0"), "stash@{0}")])
def test_a_stash_is_named(story: Story, arguments: tuple[str, ...], name: str) -> None:
    story.repo.write("model", "stashed")
    story.repo.git("stash", "push", "-q", "-m", "half done")
    story.change("main", "main 2")
    story.stops("stash", *arguments)
    assert story.told() == [("stash", "main", "main 2", name, "On main: half done", False)]


def test_a_checkout_that_merges_says_which_side_is_new(story: Story) -> None:
    story.repo.write("model", "uncommitted")
    story.repo.git("checkout", "-q", "-m", "other", check=False)
    assert story.told() == [("checkout", "other", "other 2", "your uncommitted changes", None, True)]


def test_a_patch_is_a_patch(story: Story) -> None:
    patch = story.repo.git("format-patch", "-1", "other", "--stdout", "--full-index").stdout
    assert story.repo.git("am", "-q", "-3", stdin=patch, check=False).returncode != 0
    assert story.told() == [("am", "main", "main 1", "the patch", None, False)]


def test_a_pick_in_the_middle_of_a_rebase_is_a_pick(story: Story) -> None:
    story.repo.git("checkout", "-q", "-b", "third", "main~1")
    story.repo.write("note", "x")
    story.repo.commit("note")
    story.repo.git("rebase", "-q", "-i", "main", env={"GIT_SEQUENCE_EDITOR": "sed -i s/^pick/edit/"})
    story.stops("cherry-pick", "other")
    assert story.told()[0][0] == "cherry-pick"


def test_where_nothing_is_known_the_other_side_is_called_so(story: Story) -> None:
    found = sides(Repository.discover(story.repo.path), {})
    assert seen(found) == ("", "main", "main 1", "the other side", None, False)
    assert found.operation is Operation.OTHER


def test_several_commits_are_named_as_the_user_calls_them(story: Story) -> None:
    repository = Repository.discover(story.repo.path)
    named = [
        ("HEAD", story.repo.rev("main")),
        ("other", story.repo.rev("other")),
        ("an old one", story.repo.rev("other~1")),
    ]
    wanted = [("main", "main 1"), ("other", "other 2"), ("an old one", "other 1")]
    for first in (0, 1):
        found = several(repository, named[first:])
        assert [(side.name, side.tip and side.tip.subject) for side in found.all] == wanted[first:]


def test_a_repository_without_a_commit_has_a_branch(repo: Repo) -> None:
    found = sides(Repository.discover(repo.path), {"GITHEAD_x": "y", "GITHEAD_": ""})
    assert seen(found) == ("", "main", None, "the other side", None, False)
