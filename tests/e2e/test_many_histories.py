"""`git theta merge` of several branches whose histories cross, or that share more with one branch than with another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.forks import FILE, criss_cross, saved

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.forks import Fork


def merge(fork: Fork, *words: str) -> subprocess.CompletedProcess[str]:
    done = fork.repo.theta("merge", "--no-edit", *words, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def refused(fork: Fork, done: subprocess.CompletedProcess[str], name: str, **ours: int) -> None:
    """Nothing was merged, and it was said what for."""
    assert done.returncode == 2
    assert f"{FILE}: several sides changed {name}" in done.stderr
    assert fork.repo.read(FILE) == saved(FILE, **ours)
    assert fork.repo.status() == ""


def third(fork: Fork, one: str, two: str) -> None:
    """A branch "third" that is a merge of the same two branches, the same as "left"."""
    made = fork.git("commit-tree", "left^{tree}", "-p", one, "-p", two, "-m", "third").text.strip()
    fork.git("update-ref", "refs/heads/third", made)


@pytest.mark.parametrize(("mine", "yours"), [(0, 2), (2, 0), (1, 2)])
def test_clash_of_ancestors_that_two_of_three_settled_in_two_ways_is_a_conflict(
    fork: Fork, mine: int, yours: int
) -> None:
    """Also where the third, which comes from what they all share, has it as one of them."""
    criss_cross(fork, "attn", "clash", {"a": mine}, {"a": yours, "h": 1})
    fork.on("left")
    refused(fork, merge(fork, "right", "mlp"), "attn.weight", a=mine)
    assert merge(fork, "right", "mlp", "--method", "ours").returncode == 0
    fork.settled(a=mine, h=1, m=1)
    assert len(fork.git("log", "-1", "--format=%P").text.split()) == 3
    fork.published()


@pytest.mark.parametrize("both", [0, 1])
def test_clash_of_ancestors_that_two_of_three_settled_alike_merges(fork: Fork, both: int) -> None:
    criss_cross(fork, "attn", "clash", {"a": both, "k": 1}, {"a": both, "h": 1})
    fork.on("left")
    assert merge(fork, "right", "mlp").returncode == 0
    fork.settled(a=both, h=1, m=1, k=1)


def test_three_heads_of_the_same_two_ancestors(fork: Fork) -> None:
    """All that is in both ancestors is what the heads come from: what a head took back stays taken back."""
    criss_cross(fork, "attn", "mlp", {"a": 1, "m": 1}, {"m": 1, "h": 1})
    third(fork, "mlp", "attn")
    fork.branch("third", start="third", a=1, m=1, k=1)
    fork.on("left")
    plan = json.loads(fork.repo.theta("merge", "right", "third", "--dry-run", "--json").stdout)
    assert sorted(plan["ancestors"]) == sorted([fork.repo.rev("attn"), fork.repo.rev("mlp")])
    assert merge(fork, "right", "third").returncode == 0
    fork.settled(m=1, h=1, k=1)
    fork.published()


def test_three_heads_that_settled_what_clashed_in_their_ancestors(fork: Fork) -> None:
    criss_cross(fork, "attn", "clash", {"a": 1}, {"a": 0})
    third(fork, "clash", "attn")
    fork.on("left")
    refused(fork, merge(fork, "right", "third"), "attn.weight", a=1)
    shown = fork.repo.theta("merge", "right", "third", "--dry-run", check=False)
    assert shown.returncode == 1
    assert ", merged with each other\n" in shown.stdout
    assert merge(fork, "right", "third", "--method", "average").returncode == 0
    assert b"undecided" not in fork.repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    assert fork.repo.status() == ""


@pytest.mark.parametrize("order", [("on", "back", "head"), ("head", "back", "on"), ("back", "head", "on")])
def test_revert_on_one_of_two_branches_that_share_a_change_is_kept(fork: Fork, order: tuple[str, ...]) -> None:
    """To the third branch, which never had that change, it looks as if the branch had done nothing."""
    fork.branch("on", start="attn", a=1, m=1)
    fork.branch("back", start="attn")
    fork.on(order[0])
    assert merge(fork, *order[1:]).returncode == 0
    fork.settled(m=1, h=1)
    fork.published()


def test_branch_that_went_on_from_another_has_the_word(fork: Fork) -> None:
    fork.branch("further", start="attn", a=3)
    fork.branch("beside", start="attn", a=1, k=1)
    fork.on("further")
    assert merge(fork, "beside", "head").returncode == 0
    fork.settled(a=3, k=1, h=1)
    fork.published()
