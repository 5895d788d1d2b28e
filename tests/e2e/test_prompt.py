"""The prompt of a merge: real git on a real pseudo-terminal, and the values that come of what is typed there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

import git_theta
from tests.cli.prompt.terminal import CTRL_C, CTRL_D, ENTER, Terminal
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers import Arrays

NAMES = ("wte.weight", *(f"h.{layer}.{kind}" for layer in range(3) for kind in ("attn.weight", "attn.bias")))


def values(seed: int) -> Arrays:
    """The groups of a model, and one that is no float."""
    generator = np.random.default_rng(seed)
    shapes = {name: (64,) if name.endswith("bias") else (96, 64) for name in NAMES}
    arrays = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    return {**arrays, "ids": np.arange(seed, seed + 40)}


@pytest.fixture
def forked(tracked: Repo) -> Repo:
    """On "main", whose groups all differ from those of "other", and from those of their common ancestor."""
    tracked.write(CHECKPOINT, safetensors_bytes(values(0)))
    tracked.commit("base")
    for branch, seed, subject in (("other", 2, "Tune on German"), ("main", 1, "Tune on French")):
        tracked.git("checkout", "-q", "-B", branch, "main" if branch == "main" else "HEAD")
        tracked.write(CHECKPOINT, safetensors_bytes(values(seed)))
        tracked.commit(subject)
        if branch == "other":
            tracked.git("checkout", "-q", "main")
    return tracked


def merging(
    repo: Repo, *command: str, env: Mapping[str, str | None] | None = None, size: tuple[int, int] = (24, 80)
) -> Terminal:
    """`git merge other` on a terminal, or another command."""
    return Terminal(["git", *(command or ("merge", "--no-edit", "other"))], repo.path, env, size)


def merged(repo: Repo) -> Arrays:
    """The groups of the checkpoint in the worktree, which git takes for clean."""
    assert repo.status() == ""
    arrays: Arrays = safetensors.numpy.load(repo.read(CHECKPOINT))
    return arrays


def in_conflict(repo: Repo) -> bool:
    """Whether the merge has left a conflict like any other: all stages in the index, ours in the worktree."""
    stages = repo.git("ls-files", "--unmerged").stdout.splitlines()
    return len(stages) == 3 and safetensors.numpy.load(repo.read(CHECKPOINT))["wte.weight"].tobytes() == (
        values(1)["wte.weight"].tobytes()
    )


def expected(method: str, name: str, **params: object) -> bytes:
    sides = [values(1)[name], values(2)[name]]
    return git_theta.merge_arrays(method, sides, values(0)[name], key=name, **params).tobytes()


def test_two_lines_settle_all_groups(forked: Repo) -> None:
    terminal = merging(forked)
    terminal.wait_for_prompt()
    assert "model.safetensors: 8 conflicts to settle" in terminal.text
    assert "Ada" in terminal.text
    assert ": Tune on French" in terminal.text
    assert ": Tune on German" in terminal.text
    assert "1 of 8  wte.weight  float32 [96, 64]" in terminal.text
    assert "≈" in terminal.text
    terminal.type("a")
    terminal.type("*")
    terminal.wait_for("8 of 8 (1 left)  ids  int64 [40]")
    terminal.type("t")
    terminal.type("")
    assert terminal.end() == 0
    found = merged(forked)
    assert {name: found[name].tobytes() for name in NAMES} == {name: expected("average", name) for name in NAMES}
    assert found["ids"].tobytes() == values(2)["ids"].tobytes()
    assert forked.git("rev-list", "--parents", "-1", "HEAD").stdout.split()[2] == forked.rev("other")


def test_kinds_patterns_parameters_and_undo_give_the_values_of_the_methods(forked: Repo) -> None:
    terminal = merging(forked)
    terminal.type("o *")
    terminal.type("u")
    terminal.type("n")
    terminal.type("ties density=0.3 weight=1,0.5 =")
    terminal.type("slerp *.bias")
    terminal.wait_for("t: ")
    for line in ("2x", "0.25", "a ids", "o ids", ""):
        terminal.type(line)
    assert terminal.end() == 0
    assert "the parameter t must be a number" in terminal.text
    assert "average cannot merge int64 values" in terminal.text.replace("\n", " ")
    found = merged(forked)
    assert found["wte.weight"].tobytes() == values(0)["wte.weight"].tobytes()
    for layer in range(3):
        weight, bias = f"h.{layer}.attn.weight", f"h.{layer}.attn.bias"
        assert found[weight].tobytes() == expected("ties", weight, density=0.3, weight=[1.0, 0.5])
        assert found[bias].tobytes() == expected("slerp", bias, t=0.25)
    assert found["ids"].tobytes() == values(1)["ids"].tobytes()


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D, f"q{ENTER}"])
def test_leaving_leaves_an_ordinary_conflict_and_the_terminal_as_it_was(forked: Repo, key: str) -> None:
    terminal = merging(forked)
    before = terminal.settings
    terminal.type("a")
    terminal.wait_for("2 of 8")
    terminal.wait_for_prompt()
    terminal.press(key)
    assert terminal.end() == 1
    assert terminal.settings == before
    assert "Left as a conflict: nothing is changed" in terminal.text
    assert "git theta resolve" in terminal.text
    assert "Traceback" not in terminal.text
    assert in_conflict(forked)
    forked.git("merge", "--abort")
    assert merged(forked)["ids"].tobytes() == values(1)["ids"].tobytes()
