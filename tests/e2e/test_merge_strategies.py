"""Merges that a strategy settles, by whatever git operation: the very values, on every machine that has the commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.metadata_file import parse
from tests.e2e.forks import FILE, NET, criss_cross, different, groups, saved, values

if TYPE_CHECKING:
    import numpy.typing as npt

    from git_theta.metadata import Entry
    from tests.e2e.forks import Fork, Variant

AVERAGE = {"GIT_THETA_MERGE": "average"}
ADDED = {"GIT_THETA_MERGE": "task_arithmetic"}


def total(letter: str, *terms: tuple[float, Variant]) -> npt.NDArray[np.generic]:
    """A weighted sum of values, rounded once."""
    dtype = values(letter, 0).dtype
    return np.asarray(sum(weight * values(letter, one).astype(np.float64) for weight, one in terms)).astype(dtype)


def mean(letter: str, one: Variant, two: Variant) -> npt.NDArray[np.generic]:
    return total(letter, (0.5, one), (0.5, two))


def entry(fork: Fork, name: str, revision: str = "HEAD", path: str = FILE) -> Entry:
    return parse(fork.repo.git_bytes("cat-file", "blob", f"{revision}:{path}")).by_name()[name]


@pytest.fixture
def both(fork: Fork) -> Fork:
    """As "fork", but each branch has the same model in a file of torch, too."""
    fork.branch("base-net", FILE, NET)
    for name, variants in (("attn", {"a": 1}), ("mlp", {"m": 1}), ("clash", {"a": 2, "k": 2})):
        fork.branch(name, FILE, NET, start="base-net", **variants)
    return fork


def test_average_in_a_merge(both: Fork) -> None:
    """In files of both formats; what one side alone changed is not averaged. The merge costs next to nothing."""
    both.on("attn")
    before = both.repo.objects().keys()
    both.git("merge", "-q", "--no-edit", "clash", env=AVERAGE)
    both.settled(FILE, NET, a=mean("a", 1, 2), k=2)
    merged = entry(both, "attn.weight")
    assert merged.merge is not None
    assert merged.merge.method == "average"
    assert merged.update.type == "linear"
    assert entry(both, "key.bias").merge is None
    assert both.repo.objects().keys() == before
    both.git("merge", "-q", "--no-edit", "mlp")
    both.settled(FILE, NET, a=mean("a", 1, 2), k=2, m=1)
    assert entry(both, "attn.weight") == merged
    both.published()


def test_torch_files_go_through_rebase_cherry_pick_revert_and_stash(both: Fork) -> None:
    """The checksums of what comes from several sides are right: torch reads it."""
    both.git("rebase", "-q", "attn", "mlp")
    both.settled(FILE, NET, a=1, m=1)
    both.git("revert", "--no-edit", "attn")
    both.settled(FILE, NET, m=1)
    both.at("clash")
    both.git("cherry-pick", "mlp~1")
    both.settled(FILE, NET, a=2, k=2, m=1)
    both.conflict(NET, FILE, said=both.git("cherry-pick", "attn", check=False), a=2, k=2, m=1)
    both.take("theirs", NET, FILE)
    both.git("cherry-pick", "--continue")
    both.settled(FILE, NET, a=1)
    both.put(NET, a=1, h=5)
    both.git("stash", "push", "-q")
    both.at("clash")
    both.git("stash", "pop", "-q")
    assert different(NET, both.repo.read(NET), groups(a=2, k=2, h=5)) == []
    both.git("checkout", "-q", "-f", "HEAD")
    both.published()


def test_squashed_average_brings_the_objects_of_the_other_side(fork: Fork) -> None:
    """Its commit has one parent, and is pushed alone: what its sums are made of goes along."""
    fork.on("attn")
    fork.git("merge", "-q", "--squash", "clash", env=AVERAGE)
    fork.git("commit", "-qm", "squashed")
    fork.settled(a=mean("a", 1, 2))
    assert entry(fork, "attn.weight").update.type == "linear"
    fork.git("branch", "-q", "-D", "clash")
    fork.git("reflog", "expire", "--expire=all", "--all")
    fork.git("gc", "-q", "--prune=now")
    fork.git("checkout", "-q", "main")
    fork.git("checkout", "-q", "attn")
    fork.settled(a=mean("a", 1, 2))
    fork.published()


def test_every_step_of_a_rebase_is_settled(fork: Fork) -> None:
    fork.branch("tune", a=2)
    fork.branch("tune", start="tune", a=3, m=3)
    fork.branch("tune", start="tune", a=4, m=4)
    fork.git("rebase", "-q", "attn", "tune", env=AVERAGE)
    first = mean("a", 1, 2)
    second = mean("a", first, 3)
    fork.settled(a=mean("a", second, 4), m=4)
    fork.expects("HEAD~1", a=second, m=3)
    fork.expects("HEAD~2", a=first)
    assert fork.repo.rev("HEAD~3") == fork.repo.rev("attn")
    fork.published()


def test_revert_by_task_arithmetic_takes_out_what_a_fine_tune_added(fork: Fork) -> None:
    """Even where a later fine-tune changed the same group."""
    fork.branch("later", start="attn", a=3, m=3)
    fork.on("later")
    fork.git("revert", "--no-edit", "attn", env=ADDED)
    fork.settled(a=total("a", (1, 3), (1, 0), (-1, 1)), m=3)
    fork.finish()


def test_cherry_pick_by_task_arithmetic_adds_what_a_fine_tune_added(fork: Fork) -> None:
    fork.on("attn")
    fork.git("cherry-pick", "clash", env=ADDED)
    fork.settled(a=total("a", (1, 1), (1, 2), (-1, 0)))
    fork.finish()


@pytest.mark.parametrize("how", ["setting", "attribute"])
def test_what_is_configured_settles_every_operation(fork: Fork, how: str) -> None:
    if how == "setting":
        fork.git("config", "theta.merge.method", "average")
    else:
        fork.repo.write(".git/info/attributes", "*.safetensors theta-merge=average\n")
    fork.on("attn")
    tree = fork.git("merge-tree", "--write-tree", "attn", "clash").text.split()[0]
    fork.git("merge", "-q", "--no-edit", "clash")
    fork.settled(a=mean("a", 1, 2))
    assert fork.repo.rev("HEAD^{tree}") == tree
    fork.put(a=5)
    fork.git("stash", "push", "-q")
    fork.at("story~3")
    fork.git("stash", "pop", "-q")
    assert fork.repo.read(FILE) == saved(FILE, a=mean("a", 3, 5))


@pytest.mark.parametrize("method", ["task_arithmetic", "ancestor"])
def test_criss_cross_asks_only_about_the_outer_merge(fork: Fork, method: str) -> None:
    """Its ancestor is then what both branches started from, even where their starts clashed."""
    criss_cross(fork, "attn", "clash", {"a": 3}, {"a": 4})
    fork.on("left")
    fork.git("merge", "-q", "--no-edit", "right", env={"GIT_THETA_MERGE": method})
    fork.settled(a=0 if method == "ancestor" else total("a", (1, 3), (1, 4), (-1, 0)))
    assert b"undecided" not in fork.repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    fork.finish()


def test_merges_of_merges(fork: Fork) -> None:
    """Sums of sums stay readable, and bounded: no commit is needed to get the values of another."""
    fork.on("attn")
    wanted: Variant = 1
    for number in range(2, 7):
        fork.branch(f"other-{number}", a=number)
        fork.git("merge", "-q", "--no-edit", f"other-{number}", env=AVERAGE)
        wanted = mean("a", wanted, number)
    fork.settled(a=wanted)
    fork.expects("HEAD~3", a=mean("a", mean("a", 1, 2), 3))
    assert len(list(entry(fork, "attn.weight").update.nested())) <= 64
    fork.published()


def test_values_that_cannot_be_merged_stay_a_conflict(fork: Fork) -> None:
    broken = values("a", 2).copy()
    broken[0, 0] = np.nan
    fork.branch("broken", a=broken, k=2)
    fork.on("attn")
    said = fork.git("merge", "--no-edit", "broken", check=False, env=AVERAGE)
    fork.conflict(said=said, a=1)
    assert "attn.weight" in said.text
    fork.take("theirs")
    fork.git("commit", "-qm", "settled")
    fork.settled(a=broken, k=2)
    fork.finish()
