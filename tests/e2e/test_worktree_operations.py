"""Changes that are carried along: stash, checkout -m, autostash; and merges in other places than a whole worktree."""

from __future__ import annotations

import pytest

from tests.e2e.forks import FILE, Fork, saved
from tests.helpers import Repo


def test_stash_carries_a_change_to_another_branch(fork: Fork) -> None:
    fork.put(m=5)
    fork.git("stash", "push", "-q")
    fork.settled()
    fork.at("attn")
    fork.git("stash", "apply", "-q")
    assert fork.repo.read(FILE) == saved(FILE, a=1, m=5)
    assert fork.repo.status() == f" M {FILE}\n"
    fork.git("commit", "-qam", "applied")
    fork.settled(a=1, m=5)
    fork.at("head")
    fork.git("stash", "pop", "-q")
    fork.git("commit", "-qam", "popped")
    fork.settled(h=1, m=5)
    assert fork.git("stash", "list").text == ""
    fork.published()


def test_stash_that_clashes_is_kept(fork: Fork) -> None:
    fork.put(a=5, m=5)
    fork.git("stash", "push", "-q")
    fork.at("attn")
    fork.conflict(said=fork.git("stash", "pop", check=False), a=1)
    assert fork.git("stash", "list").text.count("\n") == 1
    fork.at("attn")
    fork.settled(a=1)
    fork.git("stash", "pop", "-q", check=False)
    fork.take("theirs")
    fork.git("commit", "-qm", "settled")
    fork.settled(a=5, m=5)
    fork.at("base")
    fork.git("stash", "pop", "-q")
    assert fork.repo.read(FILE) == saved(FILE, a=5, m=5)


def test_stash_of_index_and_worktree(fork: Fork) -> None:
    fork.put(a=5)
    fork.git("add", FILE)
    fork.put(a=5, m=5)
    fork.git("stash", "push", "-q")
    fork.git("stash", "pop", "-q", "--index")
    assert fork.repo.status() == f"MM {FILE}\n"
    fork.git("commit", "-qm", "index")
    fork.expects("HEAD", a=5)
    assert fork.repo.read(FILE) == saved(FILE, a=5, m=5)
    fork.git("stash", "push", "-q", "--keep-index")
    fork.git("stash", "branch", "from-stash")
    assert fork.repo.read(FILE) == saved(FILE, a=5, m=5)
    fork.git("commit", "-qam", "worktree")
    fork.settled(a=5, m=5)
    fork.finish()


def test_stash_of_an_untracked_checkpoint(fork: Fork) -> None:
    new = "new.safetensors"
    fork.put(new, a=6)
    fork.git("stash", "push", "-q", "--include-untracked")
    assert not (fork.repo.path / new).exists()
    fork.at("attn")
    fork.git("stash", "pop", "-q")
    assert fork.repo.read(new) == saved(new, a=6)
    fork.repo.commit("new")
    fork.settled(new, a=6)
    fork.finish()


def test_uncommitted_change_goes_along_to_another_branch(fork: Fork) -> None:
    fork.put(m=5)
    fork.git("checkout", "-q", "-m", "attn")
    assert fork.repo.read(FILE) == saved(FILE, a=1, m=5)
    assert fork.repo.status() == f" M {FILE}\n"
    fork.git("commit", "-qam", "carried")
    fork.settled(a=1, m=5)
    fork.finish()


def test_uncommitted_change_that_clashes_can_be_had_back(fork: Fork) -> None:
    """Ours is the other branch here; what was in the worktree is theirs, whole."""
    fork.put(a=5, m=5)
    said = fork.git("switch", "-m", "attn", check=False)
    assert said.text.count("git-theta:") == 1
    assert fork.repo.status() == f"UU {FILE}\n"
    fork.git("checkout", "--theirs", FILE)
    assert fork.repo.read(FILE) == saved(FILE, a=5, m=5)
    fork.git("checkout", "--ours", FILE)
    assert fork.repo.read(FILE) == saved(FILE, a=1)
    fork.take("theirs")
    fork.git("commit", "-qm", "mine")
    fork.settled(a=5, m=5)
    fork.finish()


def test_checkout_merge_makes_a_conflict_anew(fork: Fork) -> None:
    """`git checkout -m PATH` asks the driver once more, for a file of which one side was taken already."""
    fork.at("attn")
    fork.git("merge", "-q", "clash", check=False)
    fork.take("theirs")
    fork.git("checkout", "-m", FILE)
    assert fork.repo.status() == f"UU {FILE}\n"
    assert fork.repo.read(FILE) == saved(FILE, a=1)
    fork.git("merge", "--abort")
    fork.settled(a=1)
    fork.finish()


@pytest.mark.parametrize("how", ["merge", "rebase"])
def test_autostash(fork: Fork, how: str) -> None:
    fork.git("checkout", "-q", "-b", "work", "attn")
    fork.put(a=1, m=5)
    fork.git(how, *(("--no-edit",) if how == "merge" else ()), "--autostash", "head")
    assert fork.repo.read(FILE) == saved(FILE, a=1, m=5, h=1)
    assert fork.repo.status() == f" M {FILE}\n"
    fork.expects("HEAD", a=1, h=1)
    fork.git("commit", "-qam", "stashed")
    fork.settled(a=1, m=5, h=1)
    fork.finish()


def test_autostash_that_clashes_is_kept(fork: Fork) -> None:
    fork.put(a=5)
    fork.git("merge", "-q", "--no-ff", "--no-edit", "--autostash", "attn", check=False)
    assert fork.git("stash", "list").text.count("\n") == 1
    fork.git("checkout", "-q", "-f", "HEAD")
    fork.settled(a=1)
    fork.at("base")
    fork.git("stash", "pop", "-q")
    assert fork.repo.read(FILE) == saved(FILE, a=5)


def test_merge_with_uncommitted_changes_is_refused_by_git(fork: Fork) -> None:
    fork.put(m=5)
    said = fork.git("merge", "attn", check=False)
    assert said.code != 0
    assert "overwritten" in said.text
    assert fork.repo.read(FILE) == saved(FILE, m=5)


def test_merge_in_a_linked_worktree(fork: Fork) -> None:
    """It has an index of its own and the same objects."""
    fork.git("worktree", "add", "-q", "--detach", "../linked", "attn")
    linked = Fork(Repo(fork.repo.path.parent / "linked"))
    linked.git("merge", "-q", "--no-edit", "mlp")
    linked.settled(a=1, m=1)
    linked.conflict(said=linked.git("merge", "--no-edit", "clash", check=False), a=1, m=1)
    linked.take("theirs")
    linked.git("commit", "-qm", "settled")
    linked.settled(a=2)
    fork.settled()
    linked.published()


def test_merge_started_in_a_subdirectory(fork: Fork) -> None:
    folder = "models/large"
    file = f"{folder}/{FILE}"
    fork.branch("deep", file, a=1)
    fork.branch("deep-mlp", file, a=1, m=1, start="deep")
    fork.branch("deep-head", file, a=1, h=1, start="deep")
    fork.branch("deep-clash", file, a=1, h=2, start="deep")
    fork.on("deep-mlp")
    inside = Fork(Repo(fork.repo.path / folder))
    inside.git("merge", "-q", "--no-edit", "deep-head")
    fork.settled(file, a=1, m=1, h=1)
    fork.conflict(file, said=inside.git("merge", "--no-edit", "deep-clash", check=False), a=1, m=1, h=1)
    inside.git("merge", "--abort")
    inside.git("checkout", "-q", "--detach", "deep-clash")
    inside.git("cherry-pick", "deep-mlp^")
    fork.settled(file, a=1, m=1, h=2)
    fork.finish()


def test_merge_in_a_sparse_checkout(fork: Fork) -> None:
    """A checkpoint outside the cone is merged in the index alone; a conflict brings it into the worktree."""
    inside, outside = "in/model.safetensors", "out/model.safetensors"
    fork.branch("two", inside, outside)
    fork.branch("ours", inside, outside, start="two", a=1)
    fork.branch("theirs", inside, outside, start="two", m=1)
    fork.branch("against", outside, start="two", a=2)
    fork.at("ours")
    fork.git("sparse-checkout", "set", "in")
    fork.git("merge", "-q", "--no-edit", "theirs")
    fork.settled(inside, a=1, m=1)
    assert not (fork.repo.path / outside).exists()
    fork.expects("HEAD", outside, a=1, m=1)
    said = fork.git("merge", "--no-edit", "against", check=False)
    assert said.code == 1
    assert fork.repo.read(outside) == saved(outside, a=1, m=1)
    fork.git("merge", "--abort")
    fork.settled(inside, a=1, m=1)
    fork.git("sparse-checkout", "disable")
    fork.settled(outside, a=1, m=1)
    fork.published()


def test_submodules_are_left_alone(fork: Fork) -> None:
    """A model in a submodule is the submodule's business: the merge of what is around it does not touch it."""
    source = fork.repo.path.parent / "source"
    Repo.clone(fork.repo.path, source, "-b", "attn", "--no-checkout")
    fork.git("checkout", "-q", "-b", "with", "attn")
    fork.git("submodule", "--quiet", "add", "-b", "attn", "../source", "sub")
    fork.repo.commit("submodule")
    inner = fork.repo.rev("HEAD:sub")
    before = fork.repo.read(f"sub/{FILE}")
    fork.git("merge", "-q", "--no-edit", "mlp")
    fork.settled(a=1, m=1)
    assert fork.repo.rev("HEAD:sub") == inner
    assert fork.repo.read(f"sub/{FILE}") == before
    fork.finish()


def test_file_that_only_one_side_tracks_is_settled_by_taking_a_side(fork: Fork) -> None:
    """The other side committed the checkpoint as it is, without Git-Theta: one line says so."""
    raw = fork.repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=saved(FILE, m=1)).stdout.strip()
    fork.git("checkout", "-q", "-b", "raw", "base")
    fork.git("update-index", "--cacheinfo", f"100644,{raw},{FILE}")
    fork.git("commit", "-qm", "raw")
    fork.at("attn")
    said = fork.git("merge", "--no-edit", "raw", check=False)
    assert said.code == 1
    assert "only one side is kept by Git-Theta" in said.text
    assert fork.repo.read(FILE) == saved(FILE, a=1)
    fork.take("theirs")
    fork.git("commit", "-qm", "settled")
    fork.settled(m=1)
