"""Commits of models made anew somewhere else: rebase, cherry-pick, revert, patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.forks import FILE, saved
from tests.helpers import Repo

if TYPE_CHECKING:
    from tests.e2e.forks import Fork, Said


def interactive(fork: Fork, todo: str, onto: str = "base", *, check: bool = True) -> Said:
    """Rebase the branch "story" interactively; the messages in the list stand for commits."""
    commits = dict(
        line.split(" ")[::-1] for line in fork.repo.git("log", "--format=%H %s", "base..story").stdout.splitlines()
    )
    lines = [" ".join(commits.get(word, word) for word in line.split()) for line in todo.splitlines()]
    file = fork.repo.path.parent / "todo"
    file.write_text("\n".join(filter(None, lines)) + "\n")
    return fork.git("rebase", "-q", "-i", onto, "story", check=check, env={"GIT_SEQUENCE_EDITOR": f"cp '{file}'"})


def messages(fork: Fork) -> list[str]:
    """The commits on top of "base", the first first."""
    return fork.repo.git("log", "--reverse", "--format=%s", "base..HEAD").stdout.split()


@pytest.mark.parametrize("options", [("--merge",), ("--apply",), ("--rebase-merges",), ("--interactive", "--force")])
def test_rebase_without_clash(fork: Fork, options: tuple[str, ...]) -> None:
    fork.branch("head", h=1, m=2, start="head")
    fork.git("rebase", "-q", *options, "attn", "head")
    fork.settled(a=1, h=1, m=2)
    fork.expects("HEAD~1", a=1, h=1)
    fork.finish()


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
def test_rebase_with_a_clash_can_be_aborted_skipped_and_continued(fork: Fork, backend: str) -> None:
    """In a rebase, "ours" is what is built on, and "theirs" the commit that is made anew."""
    fork.branch("later", a=2, m=2, start="clash")
    for how in ("abort", "skip", "continue"):
        fork.git("branch", "-f", how, "later")
        fork.on(how)
        said = fork.git("rebase", backend, "attn", check=False)
        fork.conflict(said=said, a=1)
        if how == "continue":
            fork.take("theirs")
        fork.git("rebase", f"--{how}")
        if how == "abort":
            fork.settled(a=2, m=2)
            assert fork.repo.rev("HEAD") == fork.repo.rev("later")
        elif how == "skip":
            fork.settled(a=1, m=2)
        else:
            fork.settled(a=2, m=2)
            fork.expects("HEAD~1", a=2)
            assert fork.repo.rev("HEAD~2") == fork.repo.rev("attn")
    fork.published()


def test_interactive_rebase_reorders_and_drops(fork: Fork) -> None:
    interactive(fork, "pick three\npick one\ndrop two\npick four")
    fork.settled(h=3, a=3, k=3)
    fork.expects("HEAD~1", h=3, a=3)
    fork.expects("HEAD~2", h=3)
    assert messages(fork) == ["three", "one", "four"]
    fork.published()


def test_interactive_rebase_squashes_and_fixes_up(fork: Fork) -> None:
    interactive(fork, "pick two\nsquash four\npick one\nfixup three")
    fork.settled(a=3, m=3, h=3, k=3)
    fork.expects("HEAD~1", m=3, k=3)
    fork.finish()


def test_interactive_rebase_stops_to_edit(fork: Fork) -> None:
    interactive(fork, "pick two\nedit one\npick three\npick four")
    fork.has(a=3, m=3)
    assert fork.repo.status() == ""
    fork.put(a=4, m=3)
    fork.git("commit", "-qa", "--amend", "--no-edit")
    fork.git("rebase", "--continue")
    fork.settled(a=4, m=3, h=3, k=3)
    fork.expects("HEAD~2", a=4, m=3)
    fork.expects("HEAD~3", m=3)
    fork.finish()


def test_interactive_rebase_of_commits_that_clash(fork: Fork) -> None:
    """Two commits that change one group, in the other order: each is a conflict, and what is taken is what is there."""
    fork.branch("story", message="one", a=3)
    fork.branch("story", start="story", message="two", a=4, m=4)
    fork.branch("story", start="story", message="three", a=4, m=4, h=4)
    fork.conflict(said=interactive(fork, "pick two\npick one\npick three", check=False))
    fork.take("theirs")
    fork.conflict(said=fork.git("rebase", "--continue", check=False), a=4, m=4)
    fork.git("rebase", "--skip")
    fork.settled(a=4, m=4, h=4)
    fork.expects("HEAD~1", a=4, m=4)
    assert messages(fork) == ["two", "three"]
    fork.finish()


def test_autosquash_takes_a_fix_to_its_commit(fork: Fork) -> None:
    fork.branch("story", start="story", message="fixup! two", a=3, m=4, h=3, k=3)
    fork.on("story")
    fork.git("rebase", "-q", "-i", "--autosquash", "base", env={"GIT_SEQUENCE_EDITOR": "true"})
    fork.settled(a=3, m=4, h=3, k=3)
    fork.expects("HEAD~2", a=3, m=4)
    fork.finish()


def test_cherry_pick_one_and_a_range(fork: Fork) -> None:
    fork.at("mlp")
    fork.git("cherry-pick", "-x", "story")
    fork.settled(m=1, k=3)
    assert f"cherry picked from commit {fork.repo.rev('story')}" in fork.git("log", "-1", "--format=%B").text
    fork.at("head")
    fork.git("cherry-pick", "-n", "story~3", "story~2")
    fork.has(h=1, a=3, m=3)
    assert fork.repo.status() == f"M  {FILE}\n"
    fork.git("commit", "-qm", "both")
    fork.settled(h=1, a=3, m=3)
    fork.branch("gate", g=1)
    fork.on("gate")
    fork.git("cherry-pick", "base..story")
    fork.settled(g=1, a=3, m=3, h=3, k=3)
    fork.expects("HEAD~2", g=1, a=3, m=3)
    fork.published()


def test_cherry_pick_with_a_clash(fork: Fork) -> None:
    fork.branch("more", a=2, k=2, start="clash")
    fork.at("attn")
    fork.conflict(said=fork.git("cherry-pick", "base..more", check=False), a=1)
    fork.git("cherry-pick", "--abort")
    fork.settled(a=1)
    fork.git("cherry-pick", "base..more", check=False)
    fork.git("cherry-pick", "--skip")
    fork.settled(a=1, k=2)
    fork.at("attn")
    fork.git("cherry-pick", "base..more", check=False)
    fork.take("theirs")
    fork.git("-c", "core.editor=true", "cherry-pick", "--continue")
    fork.settled(a=2, k=2)
    fork.expects("HEAD~1", a=2)
    fork.finish()


def test_revert_takes_the_effect_of_a_fine_tune_out_of_later_ones(fork: Fork) -> None:
    one, two = fork.repo.rev("story~3"), fork.repo.rev("story~2")
    fork.on("story")
    fork.git("revert", "--no-edit", two)
    fork.settled(a=3, h=3, k=3)
    fork.git("revert", "--no-edit", "HEAD")
    fork.settled(a=3, m=3, h=3, k=3)
    fork.git("revert", "-n", two, one)
    fork.has(h=3, k=3)
    fork.git("commit", "-qm", "both reverted")
    fork.settled(h=3, k=3)
    fork.published()


def test_revert_of_what_was_changed_again_is_a_conflict(fork: Fork) -> None:
    """It would take the later change with it: that is for the user to decide."""
    fork.branch("again", a=3, m=3, start="attn")
    fork.on("again")
    fork.conflict(said=fork.git("revert", "--no-edit", "attn", check=False), a=3, m=3)
    fork.git("revert", "--abort")
    fork.settled(a=3, m=3)
    fork.git("revert", "--no-edit", "attn", check=False)
    fork.take("theirs")
    fork.git("revert", "--continue")
    fork.settled()
    fork.finish()


def test_revert_of_a_merge(fork: Fork) -> None:
    fork.git("checkout", "-q", "-b", "merged", "attn")
    fork.git("merge", "-q", "--no-edit", "mlp")
    fork.branch("merged", start="merged", a=1, m=1, k=1)
    fork.git("reset", "-q", "--hard")
    fork.git("revert", "--no-edit", "-m", "1", "HEAD~1")
    fork.settled(a=1, k=1)
    fork.finish()


def test_pull_rebase(fork: Fork) -> None:
    fork.git("push", "-q", "origin", "mlp:main")
    fork.git("branch", "-q", "--set-upstream-to", "origin/main", "main")
    fork.git("reset", "-q", "--hard", "head")
    fork.put(h=1, k=2)
    fork.git("pull", "-q", "--rebase", "--autostash")
    assert fork.repo.status() == f" M {FILE}\n"
    fork.git("commit", "-qam", "key")
    fork.settled(m=1, h=1, k=2)
    fork.expects("HEAD~1", m=1, h=1)
    fork.finish()


def test_pull_brings_the_objects_that_a_merge_needs(fork: Fork) -> None:
    """A merge in a clone of a remote: what it takes from the other side is fetched when it is checked out."""
    fork.git("push", "-q", "origin", "main", "attn", "mlp")
    other = clone(fork, "other", "attn")
    other.git("merge", "-q", "--no-edit", "origin/mlp")
    there = type(fork)(other)
    there.settled(a=1, m=1)


def clone(fork: Fork, name: str, branch: str) -> Repo:
    """A clone beside the repository, in which Git-Theta is installed."""
    cloned = Repo.clone(fork.repo.path.parent / "remote.git", fork.repo.path.parent / name, "--no-checkout")
    cloned.theta("install", "--local")
    cloned.git("checkout", "-q", branch)
    return cloned


def test_patches_are_of_the_metadata_file(fork: Fork) -> None:
    """`git am` works on the text: a patch applies where the lines around it are the same, else by a three-way merge."""
    patches = fork.repo.path.parent / "patches"
    fork.git("format-patch", "-q", "-o", str(patches), "base..attn")
    (patch,) = map(str, patches.iterdir())
    fork.at("head")
    fork.git("am", "-q", patch)
    fork.settled(h=1, a=1)
    fork.at("mlp")
    fork.git("am", "-q", "-3", patch)
    fork.settled(m=1, a=1)
    fork.at("clash")
    refused = fork.git("am", patch, check=False)
    assert refused.code == 128
    assert "patch does not apply" in refused.text
    fork.git("am", "--abort")
    fork.settled(a=2)
    said = fork.git("am", "-3", patch, check=False)
    assert said.code == 128
    assert fork.repo.status() == f"UU {FILE}\n"
    assert fork.repo.read(FILE) == saved(FILE, a=2)
    fork.take("theirs")
    fork.git("am", "--continue")
    fork.settled(a=1)
    fork.published()


def test_patch_whose_objects_are_not_here_is_refused_in_one_line(fork: Fork) -> None:
    """A patch holds metadata only. Without the objects the checkpoint cannot be put together, and the file stays."""
    patches = fork.repo.path.parent / "patches"
    fork.git("format-patch", "-q", "-o", str(patches), "base..attn")
    fork.git("push", "-q", "origin", "base~0:refs/heads/main")
    other = clone(fork, "other", "main")
    before = other.read(FILE)
    said = other.git("am", *map(str, patches.iterdir()), check=False)
    assert said.returncode != 0
    assert "Traceback" not in said.stderr
    assert len([line for line in said.stderr.splitlines() if line.startswith("git-theta:")]) == 1
    other.git("am", "--abort", check=False)
    other.git("checkout", "-q", "-f", "main")
    assert other.read(FILE) == before
    assert other.status() == ""
