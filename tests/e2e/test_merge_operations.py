"""`git merge` in all its ways: what each leaves in the worktree, in the index and in a clone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.forks import FILE, groups, loaded, saved

if TYPE_CHECKING:
    from tests.e2e.forks import Fork


def test_branches_that_change_different_groups(fork: Fork) -> None:
    """However the merge is made, it is the same tree, and nobody but git decides what becomes of it."""
    fork.at("attn")
    fork.git("merge", "-q", "--no-edit", "mlp")
    fork.settled(a=1, m=1)
    tree = fork.repo.rev("HEAD^{tree}")
    assert fork.git("merge-tree", "--write-tree", "attn", "mlp").done.stdout == f"{tree}\n"
    fork.at("mlp")
    fork.git("merge", "--squash", "attn")
    assert fork.repo.status() == f"M  {FILE}\n"
    fork.has(a=1, m=1)
    fork.git("commit", "-qm", "squashed")
    assert fork.repo.rev("HEAD^{tree}") == tree
    fork.git("reset", "-q", "--hard", "attn")
    fork.git("merge", "--no-commit", "--no-ff", "mlp")
    fork.has(a=1, m=1)
    assert fork.repo.status() == f"M  {FILE}\n"
    fork.git("merge", "--abort")
    fork.settled(a=1)
    fork.git("merge", "-q", "--no-edit", "--no-ff", "mlp", "-s", "subtree")
    assert fork.repo.rev("HEAD^{tree}") == tree
    fork.published()


def test_fast_forward_and_no_fast_forward(fork: Fork) -> None:
    fork.git("merge", "-q", "--ff-only", "attn")
    fork.settled(a=1)
    assert fork.repo.rev("main") == fork.repo.rev("attn")
    fork.git("reset", "-q", "--hard", "base")
    fork.git("merge", "-q", "--no-ff", "--no-edit", "attn")
    fork.settled(a=1)
    assert fork.repo.rev("main^2") == fork.repo.rev("attn")
    fork.finish()


def test_group_that_both_changed(fork: Fork) -> None:
    """A conflict, however the merge is made: git does not tell a driver of -X. Abort restores; a side can be taken."""
    fork.at("attn")
    for options in ((), ("--no-commit", "--no-ff"), ("-X", "ours"), ("-X", "theirs")):
        fork.conflict(said=fork.git("merge", *options, "clash", check=False), a=1)
        fork.git("merge", "--abort")
    fork.settled(a=1)
    said = fork.git("merge", "--squash", "clash", check=False)
    fork.conflict(said=said, a=1)
    fork.take("theirs")
    fork.git("commit", "-qm", "squashed")
    fork.settled(a=2)
    fork.finish()


def test_both_changed_alike_is_no_conflict(fork: Fork) -> None:
    fork.branch("same", a=1, m=1)
    fork.at("attn")
    fork.git("merge", "-q", "--no-ff", "--no-edit", "same")
    fork.settled(a=1, m=1)
    assert fork.repo.status() == ""


def test_group_that_one_side_put_back_stays_put_back(fork: Fork) -> None:
    fork.branch("back", start="attn", m=1)
    fork.branch("on", start="attn", a=1, h=1)
    fork.at("on")
    fork.git("merge", "-q", "--no-edit", "back")
    fork.settled(m=1, h=1)
    fork.at("on")
    fork.git("merge", "-q", "--no-edit", "-s", "ours", "back")
    fork.settled(a=1, h=1)
    fork.finish()


@pytest.mark.parametrize("strategy", ["octopus", "resolve"])
def test_strategies_without_drivers_merge_the_text(fork: Fork, strategy: str) -> None:
    """Git asks no driver here: it merges the lines, and leaves the metadata file in the worktree until it is filled."""
    fork.at("attn")
    others = ["head", "mlp"] if strategy == "octopus" else ["mlp"]
    fork.git("merge", "--no-edit", "-s", strategy, *others)
    assert fork.repo.read(FILE) == fork.repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    assert fork.repo.status() == ""
    fork.repo.theta("pull")
    fork.settled(a=1, m=1, h=len(others) - 1)
    fork.at("attn")
    said = fork.git("merge", "--no-edit", "-s", strategy, *others[1:], "clash", check=False)
    assert said.code != 0
    added = fork.repo.git("add", FILE, check=False)
    assert added.returncode != 0
    assert "conflict marker" in added.stderr
    fork.git("merge", "--abort")
    fork.settled(a=1)
    fork.finish()


def test_octopus_of_neighbouring_groups_is_refused_by_git(fork: Fork) -> None:
    """Their lines touch, and git's octopus gives up. Everything is as before."""
    fork.at("head")
    said = fork.git("merge", "--no-edit", "key", "mlp", check=False)
    assert said.code == 2
    fork.settled(h=1)
    assert fork.repo.status() == ""


@pytest.mark.parametrize("renamed", ["ours", "theirs"])
def test_file_renamed_on_one_side_and_changed_on_the_other(fork: Fork, renamed: str) -> None:
    new = "models/best model.safetensors"
    fork.git("checkout", "-q", "-b", "moved", "attn")
    (fork.repo.path / "models").mkdir()
    fork.git("mv", FILE, new)
    fork.git("commit", "-qm", "moved")
    first, second = ("moved", "mlp") if renamed == "ours" else ("mlp", "moved")
    fork.at(first)
    fork.git("merge", "-q", "--no-edit", second)
    fork.settled(new, a=1, m=1)
    assert not (fork.repo.path / FILE).exists()
    if renamed == "ours":
        fork.conflict(new, said=fork.git("merge", "--no-edit", "clash", check=False), a=1, m=1)
        fork.take("theirs", new)
        fork.git("commit", "-qm", "settled")
        fork.settled(new, a=2)
    fork.published()


def test_file_added_on_both_sides(fork: Fork) -> None:
    """Without an ancestor: equal files are one, and groups that differ are conflicts."""
    new = "second.safetensors"
    fork.branch("one", new, a=3, m=3)
    fork.branch("same", new, FILE, a=3, m=3)
    fork.branch("other", new, a=3, m=4)
    fork.at("one")
    fork.git("merge", "-q", "--no-edit", "same")
    fork.settled(new, FILE, a=3, m=3)
    said = fork.git("merge", "--no-edit", "other", check=False)
    assert said.code == 1
    assert fork.repo.status() == f"AA {new}\n"
    assert "mlp.weight" in said.text
    assert "attn.weight" not in said.text
    fork.take("theirs", new)
    fork.git("commit", "-qm", "settled")
    fork.settled(new, a=3, m=4)
    fork.finish()


@pytest.mark.parametrize("deleted", ["ours", "theirs"])
def test_file_deleted_on_one_side_and_changed_on_the_other(fork: Fork, deleted: str) -> None:
    """Git asks no driver here. It keeps the changed file in the worktree; both ways out are whole."""
    fork.git("checkout", "-q", "-b", "gone", "base")
    fork.git("rm", "-q", FILE)
    fork.git("commit", "-qm", "gone")
    fork.at("gone" if deleted == "ours" else "attn")
    said = fork.git("merge", "--no-edit", "attn" if deleted == "ours" else "gone", check=False)
    assert said.code == 1
    assert "modify/delete" in said.text
    assert fork.repo.read(FILE) == saved(FILE, a=1)
    fork.git("add", FILE)
    fork.git("commit", "-qm", "kept")
    fork.settled(a=1)
    fork.git("reset", "-q", "--hard", "HEAD~1")
    fork.git("merge", "--no-edit", "attn" if deleted == "ours" else "gone", check=False)
    fork.git("rm", "-q", FILE)
    fork.git("commit", "-qm", "deleted")
    assert fork.repo.status() == ""
    fork.finish()


def test_file_deleted_on_one_side_and_unchanged_on_the_other_is_gone(fork: Fork) -> None:
    fork.git("checkout", "-q", "-b", "gone", "base")
    fork.git("rm", "-q", FILE)
    fork.git("commit", "-qm", "gone")
    fork.branch("other", "other.safetensors", k=1)
    fork.git("merge", "-q", "--no-edit", "other")
    assert not (fork.repo.path / FILE).exists()
    fork.settled("other.safetensors", k=1)
    fork.finish()


def test_unrelated_histories(fork: Fork) -> None:
    """Without a common ancestor, what is equal is one, and what differs is a conflict."""
    fork.git("checkout", "-q", "--orphan", "island")
    fork.put(a=1)
    fork.repo.commit("island")
    fork.git("merge", "-q", "--no-edit", "--allow-unrelated-histories", "attn")
    fork.settled(a=1)
    said = fork.git("merge", "--no-edit", "--allow-unrelated-histories", "clash", check=False)
    assert said.code == 1
    assert loaded(FILE, fork.repo.read(FILE))["attn.weight"].tobytes() == groups(a=1)["attn.weight"].tobytes()
    fork.git("merge", "--abort")
    fork.settled(a=1)
    fork.finish()


def test_rerere_remembers_nothing_of_models(fork: Fork) -> None:
    """So it is with all binary files: the second conflict is like the first."""
    fork.git("config", "rerere.enabled", "true")
    fork.at("attn")
    for number in range(2):
        fork.conflict(said=fork.git("merge", "--no-edit", "clash", check=False), a=1)
        fork.take("theirs")
        fork.git("commit", "-qm", "settled")
        fork.settled(a=2)
        if not number:
            fork.git("reset", "-q", "--hard", "HEAD~1")
    fork.finish()


@pytest.mark.parametrize(
    "settings",
    [
        ("core.autocrlf=true", "merge.conflictStyle=diff3", "merge.renames=false"),
        ("core.autocrlf=input", "core.eol=crlf", "merge.renormalize=true", "merge.conflictStyle=zdiff3"),
    ],
)
def test_settings_of_text_files_change_nothing(fork: Fork, settings: tuple[str, ...]) -> None:
    for setting in settings:
        fork.git("config", *setting.split("="))
    fork.at("attn")
    fork.git("merge", "-q", "--no-edit", "mlp")
    fork.settled(a=1, m=1)
    fork.conflict(said=fork.git("merge", "--no-edit", "clash", check=False), a=1, m=1)
    fork.take("theirs")
    fork.git("commit", "-qm", "settled")
    fork.settled(a=2)
    fork.finish()


@pytest.mark.parametrize("clash", [False, True])
def test_file_renamed_to_two_names(fork: Fork, clash: bool) -> None:
    """Git merges the contents first, with longer conflict markers, which must not be taken for those of ancestors."""
    names = ["one.safetensors", "two.safetensors"]
    for name, branch in zip(names, ("attn", "clash" if clash else "mlp"), strict=True):
        fork.git("checkout", "-q", "-b", name, branch)
        fork.git("mv", FILE, name)
        fork.git("commit", "-qm", f"renamed to {name}")
    fork.on(names[0])
    said = fork.git("merge", "--no-edit", names[1], check=False)
    assert said.code == 1
    assert said.text.count("git-theta:") == clash
    if clash:
        # Git has what the driver left of a conflict on both sides then, which is ours; theirs is in their commit.
        fork.git("checkout", "--ours", "--", names[0])
        fork.git("checkout", "MERGE_HEAD", "--", names[1])
    wanted = [{"a": 1}, {"a": 2}] if clash else [{"a": 1, "m": 1}] * 2
    for name, variants in zip(names, wanted, strict=True):
        assert fork.repo.read(name) == saved(name, **variants)
