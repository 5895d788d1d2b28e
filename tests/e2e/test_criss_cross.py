"""Criss-cross merges: of groups, of values that are no groups, and with more than two best common ancestors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.forks import FILE, criss_cross, different, groups
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from tests.e2e.forks import Fork, Variant


def test_criss_cross_of_different_groups(fork: Fork) -> None:
    """The ancestor is itself a merge, so what one side took back since then stays taken back."""
    criss_cross(fork, "attn", "mlp", {"a": 1, "m": 1}, {"a": 1, "m": 1})
    fork.branch("right", start="right", m=1, h=1)
    fork.branch("left", start="left", a=1, m=1, k=1)
    fork.on("left")
    fork.git("merge", "-q", "--no-edit", "right")
    fork.settled(m=1, h=1, k=1)
    fork.finish()


@pytest.mark.parametrize(("mine", "yours"), [(1, 2), (1, 0), (0, 3)])
def test_criss_cross_that_was_settled_in_two_ways_is_a_conflict(fork: Fork, mine: int, yours: int) -> None:
    """Each side decided what the group is, and not alike: none of the decisions may vanish."""
    criss_cross(fork, "attn", "clash", {"a": mine}, {"a": yours, "h": 1})
    fork.on("left")
    said = fork.git("merge", "--no-edit", "right", check=False)
    fork.conflict(said=said, a=mine)
    fork.take("theirs")
    fork.git("commit", "-qm", "settled")
    fork.settled(a=yours, h=1)


def test_ancestor_of_a_criss_cross_merge_can_be_looked_at_and_taken(fork: Fork) -> None:
    """Git made it, and it says of groups that nobody decided about them. That must not get into a commit."""
    criss_cross(fork, "attn", "clash", {"a": 1}, {"a": 2})
    fork.on("left")
    fork.git("merge", "--no-edit", "right", check=False)
    assert b"undecided" in fork.repo.git_bytes("cat-file", "blob", f":1:{FILE}")
    temporary = fork.git("checkout-index", "--temp", "--stage=1", FILE).text.split("\t")[0]
    fork.repo.write(FILE, fork.repo.read(temporary))
    (fork.repo.path / temporary).unlink()
    fork.git("commit", "-qam", "settled")
    fork.settled(a=0)
    assert b"undecided" not in fork.repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    fork.finish()


@pytest.mark.parametrize("both", [0, 3])
def test_criss_cross_that_was_settled_alike_merges(fork: Fork, both: int) -> None:
    criss_cross(fork, "attn", "clash", {"a": both, "m": 1}, {"a": both, "h": 1})
    fork.on("left")
    fork.git("merge", "-q", "--no-edit", "right")
    fork.settled(a=both, m=1, h=1)
    fork.finish()


def grow(fork: Fork, name: str, *parents: str, epoch: int = 0, **variants: Variant) -> None:
    """A branch that ends in a new commit on top of these, of a model that says an epoch."""
    index = {"GIT_INDEX_FILE": str(fork.repo.path / ".git" / "index-to-grow")}
    fork.git("read-tree", parents[0], env=index)
    metadata = fork.cleaned(FILE, safetensors_bytes(groups(**variants), {"epoch": str(epoch)}))
    blob = fork.repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=metadata).stdout.strip()
    fork.git("update-index", "--cacheinfo", f"100644,{blob},{FILE}", env=index)
    tree = fork.git("write-tree", env=index).text.strip()
    commit = fork.git("commit-tree", tree, *(word for parent in parents for word in ("-p", parent)), "-m", name)
    fork.git("update-ref", f"refs/heads/{name}", commit.text.strip())


def cross(fork: Fork, left: int, right: int) -> None:
    """Branches "left" and "right" merged one with epoch 1 and one with epoch 2, and settled for these; on "left"."""
    grow(fork, "root", "base")
    for name, epoch in (("one", 1), ("two", 2)):
        grow(fork, name, "root", epoch=epoch)
    grow(fork, "left", "one", "two", epoch=left, m=1)
    grow(fork, "right", "two", "one", epoch=right, h=1)
    assert len(fork.git("merge-base", "--all", "left", "right").text.split()) == 2
    fork.on("left")


def epoch(fork: Fork) -> int:
    data = fork.repo.read(FILE)
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return int(head["__metadata__"]["epoch"])


def decided(fork: Fork, wanted: int) -> None:
    """The merge is made, of the other groups too, and no word of what was undecided is in it."""
    assert epoch(fork) == wanted
    assert different(FILE, fork.repo.read(FILE), groups(m=1, h=1)) == []
    assert fork.repo.status() == ""
    assert b"undecided" not in fork.repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}")


@pytest.mark.parametrize(("mine", "yours"), [(0, 2), (2, 0), (1, 2), (3, 1)])
def test_text_that_was_settled_in_two_ways_is_a_conflict(fork: Fork, mine: int, yours: int) -> None:
    """Also where one side settled it as it was before the ancestors."""
    cross(fork, mine, yours)
    said = fork.git("merge", "--no-edit", "right", check=False)
    assert said.code == 1
    assert "both sides changed __metadata__/epoch;" in said.text
    assert epoch(fork) == mine
    fork.repo.theta("resolve", FILE, "--theirs")
    fork.git("commit", "-qm", "settled")
    decided(fork, yours)


@pytest.mark.parametrize("both", [0, 1, 3])
def test_text_that_was_settled_alike_merges(fork: Fork, both: int) -> None:
    cross(fork, both, both)
    fork.git("merge", "-q", "--no-edit", "right")
    decided(fork, both)


def test_text_of_the_ancestor_can_be_taken(fork: Fork) -> None:
    cross(fork, 0, 2)
    fork.git("merge", "-q", "--no-edit", "right", env={"GIT_THETA_MERGE": "average texts=ancestor"})
    decided(fork, 0)


@pytest.mark.parametrize("order", [(5, 1, 2), (1, 2, 5), (1, 5, 2)])
@pytest.mark.parametrize("mine", [1, 5])
def test_group_that_clashes_among_three_ancestors_is_a_conflict(fork: Fork, order: tuple[int, ...], mine: int) -> None:
    """Git merges two of them first, and what comes of it with the third one."""
    names = [f"third-{number}" for number in order]
    for name, number in zip(names, order, strict=True):
        grow(fork, name, "base", a=number)
    grow(fork, "left", *names, a=mine)
    grow(fork, "right", *names, a=7, h=1)
    assert len(fork.git("merge-base", "--all", "left", "right").text.split()) == 3
    fork.on("left")
    fork.conflict(said=fork.git("merge", "--no-edit", "right", check=False), a=mine)
    fork.take("theirs")
    fork.git("commit", "-qm", "settled")
    fork.settled(a=7, h=1)
