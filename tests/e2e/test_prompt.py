"""The prompt of a merge: real git on a real pseudo-terminal, and the values that come of what is typed there."""

from __future__ import annotations

import os
import re
import shutil
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

import git_theta
from tests.cli.prompt.terminal import CTRL_C, CTRL_D, CTRL_Z, ENTER, TAB, UP, Terminal
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.helpers import Arrays

NAMES = ("wte.weight", *(f"h.{layer}.{kind}" for layer in range(3) for kind in ("attn.weight", "attn.bias")))


def values(seed: int) -> Arrays:
    """The groups of a model, and one that is no float."""
    generator = np.random.default_rng(seed)
    shapes = {name: (64,) if name.endswith("bias") else (96, 64) for name in NAMES}
    arrays = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    return {**arrays, "ids": np.arange(seed, seed + 40)}


@pytest.fixture(scope="module")
def template(isolation: Path, _tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `forked`."""
    (isolation / "gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    repo = Repo(tmp_path_factory.mktemp("prompt") / "forked")
    shutil.copytree(_tracked, repo.path, symlinks=True)
    repo.write(CHECKPOINT, safetensors_bytes(values(0)))
    base = repo.commit("base")
    repo.write(CHECKPOINT, safetensors_bytes(values(1)))
    repo.commit("Tune on French")
    repo.git("checkout", "-q", "-b", "other", base)
    repo.write(CHECKPOINT, safetensors_bytes(values(2)))
    repo.commit("Tune on German")
    repo.git("checkout", "-q", "main")
    return repo.path


@pytest.fixture
def forked(template: Path, tmp_path: Path) -> Repo:
    """On "main", whose groups all differ from those of "other", and from those of their common ancestor."""
    shutil.copytree(template, tmp_path / "forked", symlinks=True)
    return Repo(tmp_path / "forked")


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
    assert "1 of 8  ids  int64 [40]" in terminal.text
    terminal.type("t")
    terminal.wait_for("2 of 8 (7 left)  h.0.attn.bias  float32 [64]")
    assert "≈" in terminal.text
    terminal.type("a")
    terminal.type("*")
    terminal.wait_for("All 8 are settled: 7 by average, 1 by theirs.")
    terminal.type("")
    assert terminal.end() == 0
    found = merged(forked)
    assert {name: found[name].tobytes() for name in NAMES} == {name: expected("average", name) for name in NAMES}
    assert found["ids"].tobytes() == values(2)["ids"].tobytes()
    assert forked.git("rev-list", "--parents", "-1", "HEAD").stdout.split()[2] == forked.rev("other")


def test_kinds_patterns_parameters_and_undo_give_the_values_of_the_methods(forked: Repo) -> None:
    terminal = merging(forked)
    for line in ("o *", "u", "n wte.weight", "a ids", "o", "slerp =", "2x", "0.25"):
        terminal.type(line)
    terminal.wait_for("3 of 8 (3 left)  h.0.attn.weight")
    for line in ("ties density=0.3 weight=1,0.5 h.*.weight", ""):
        terminal.type(line)
    assert terminal.end() == 0
    assert "the parameter t must be a number" in terminal.text
    assert "average cannot merge int64 values" in terminal.text
    found = merged(forked)
    assert found["wte.weight"].tobytes() == values(0)["wte.weight"].tobytes()
    for layer in range(3):
        weight, bias = f"h.{layer}.attn.weight", f"h.{layer}.attn.bias"
        assert found[weight].tobytes() == expected("ties", weight, density=0.3, weight=[1.0, 0.5])
        assert found[bias].tobytes() == expected("slerp", bias, t=0.25)
    assert found["ids"].tobytes() == values(1)["ids"].tobytes()


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D, f"q{ENTER}"])
@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_leaving_leaves_an_ordinary_conflict_and_the_terminal_as_it_was(forked: Repo, kind: str, key: str) -> None:
    line = "stty -g > .git/before; git merge other; code=$?; stty -g > .git/after; exit $code"
    terminal = Terminal(["bash", "-c", line], forked.path, {"TERM": kind})
    terminal.type("o")
    terminal.wait_for("2 of 8")
    terminal.wait_for_prompt()
    terminal.press(key)
    assert terminal.end() == 1
    assert forked.read(".git/before") == forked.read(".git/after")
    assert "Left as a conflict: nothing is merged" in terminal.text
    assert "git theta resolve model.safetensors" in terminal.text.replace("\n", "")
    assert "Traceback" not in terminal.text
    assert in_conflict(forked)
    if kind == "dumb":
        assert b"\x1b" not in terminal.raw
    forked.git("merge", "--abort")
    assert merged(forked)["ids"].tobytes() == values(1)["ids"].tobytes()


def test_what_was_left_is_asked_again_by_resolve(forked: Repo) -> None:
    terminal = merging(forked)
    terminal.type("o")
    terminal.type("q")
    assert terminal.end() == 1
    again = merging(forked, "theta", "resolve")
    again.wait_for_prompt()
    assert "theirs other" in again.text
    assert "Settled already, the last time: 1 of 8." in again.text
    for line in ("t *", ""):
        again.type(line)
    assert again.end() == 0
    forked.git("commit", "-q", "--no-edit")
    assert merged(forked)["wte.weight"].tobytes() == values(2)["wte.weight"].tobytes()


def test_tab_completes_and_up_repeats(forked: Repo) -> None:
    terminal = merging(forked)
    terminal.type("o")
    terminal.wait_for("2 of 8")
    terminal.wait_for_prompt()
    terminal.press("ti" + TAB)
    terminal.wait_for("merge> ties")
    terminal.press(" den" + TAB)
    terminal.wait_for("merge> ties density=")
    terminal.press("0.5 h.*.attn.w" + TAB)
    terminal.wait_for("merge> ties density=0.5 h.*.attn.weight")
    terminal.press(ENTER)
    terminal.wait_for("3 conflicts (3 of h.*.attn.weight): ties density=0.5")
    terminal.wait_for_prompt()
    terminal.press("dare" + TAB + TAB)
    terminal.wait_for("dare_linear")
    terminal.wait(lambda: terminal.line == "merge> dare_")
    terminal.press("\x15" + UP)
    terminal.wait(lambda: terminal.line == "merge> ties density=0.5 h.*.attn.weight")
    terminal.press("\x15")
    terminal.type("a *")
    terminal.type("")
    assert terminal.end() == 0
    assert merged(forked)["h.1.attn.weight"].tobytes() == expected("ties", "h.1.attn.weight", density=0.5)


def test_lines_that_are_pasted_at_once_are_taken_one_by_one(forked: Repo) -> None:
    terminal = merging(forked)
    terminal.wait_for_prompt()
    terminal.press("\x1b[200~t ids\rslerp =\r2x\r0.25\ra *\r\x1b[201~")
    terminal.press(ENTER)
    terminal.wait_for("All 8 are settled")
    terminal.type("")
    assert terminal.end() == 0
    found = merged(forked)
    assert found["ids"].tobytes() == values(2)["ids"].tobytes()
    assert found["h.1.attn.bias"].tobytes() == expected("slerp", "h.1.attn.bias", t=0.25)
    assert found["wte.weight"].tobytes() == expected("average", "wte.weight")


def test_another_size_of_the_terminal_is_respected_at_once(forked: Repo) -> None:
    terminal = merging(forked, size=(24, 80))
    terminal.type("o")
    terminal.wait_for("2 of 8")
    terminal.wait_for_prompt()
    terminal.resize(24, 44)
    mark = len(terminal.raw)
    terminal.type("?")
    terminal.wait_for("completes what you")
    terminal.wait_for_prompt()
    shown = without_codes(terminal.raw[mark:].decode())
    assert "completes" in shown
    assert len(shown.splitlines()) > 20
    assert max(len(line) for line in shown.splitlines()) <= 44
    terminal.type("a *")
    terminal.type("")
    assert terminal.end() == 0


def test_statistics_are_exact(forked: Repo) -> None:
    terminal = merging(forked)
    terminal.type("o")
    terminal.type("s")
    terminal.wait_for("cosine")
    terminal.wait_for_prompt()
    name = "h.0.attn.bias"
    old, ours, theirs = (values(seed)[name].astype(np.float64) for seed in range(3))
    for label, one, two in (("ours", old, ours), ("theirs", old, theirs), ("ours to theirs", ours, theirs)):
        moved = np.linalg.norm(two - one) / np.linalg.norm(one)
        row = [
            f"{100 * moved:.0f} %",
            f"{np.abs(two - one).max():.3g}",
            "100 %",
            f"{one @ two / np.linalg.norm(one) / np.linalg.norm(two):.6f}",
        ]
        assert re.search(rf"^  {label} +{' +'.join(map(re.escape, row))}$", terminal.text, re.MULTILINE)
    terminal.type("q")
    assert terminal.end() == 1


def test_without_colours_there_are_none(forked: Repo) -> None:
    terminal = merging(forked, env={"NO_COLOR": "1"})
    terminal.type("q")
    assert terminal.end() == 1
    assert re.findall(rb"\x1b\[([0-9;]*[1-9][0-9;]*)m", terminal.raw) == []
    coloured = merging(forked, "theta", "resolve")
    coloured.type("q")
    coloured.end()
    assert re.findall(rb"\x1b\[([0-9;]*[1-9][0-9;]*)m", coloured.raw) != []


def test_what_a_commit_says_does_not_reach_the_terminal_raw(forked: Repo) -> None:
    forked.git("branch", "-q", "-m", "other", "evil\u202ename")
    evil = "\x1b[2Jnothing\x07 \u009b31m"
    forked.git("commit", "-q", "--amend", "--author", "E\x1b]0;x\x07ve <e@example.org>", "-m", evil)
    terminal = merging(forked, "merge", "evil\u202ename")
    terminal.type("q")
    assert terminal.end() == 1
    shown = without_codes(terminal.raw.decode())
    assert "nothing" in shown
    assert not [char for char in shown.split("merge>")[0] if not char.isprintable() and char not in "\r\n"]


def test_a_rebase_says_who_is_who(forked: Repo) -> None:
    terminal = merging(forked, "rebase", "other")
    terminal.wait_for_prompt()
    assert "In a rebase the sides are swapped" in terminal.text
    assert "your commit from main" in terminal.text
    for line in ("t *", ""):
        terminal.type(line)
    assert terminal.end() == 0
    assert merged(forked)["wte.weight"].tobytes() == values(1)["wte.weight"].tobytes()


def test_where_git_reads_a_patch_the_terminal_is_asked_all_the_same(forked: Repo) -> None:
    terminal = merging(forked, "rebase", "--apply", "other")
    for line in ("t *", ""):
        terminal.type(line)
    assert terminal.end() == 0
    assert merged(forked)["wte.weight"].tobytes() == values(1)["wte.weight"].tobytes()


@pytest.mark.parametrize(
    ("line", "environment"),
    [
        ("git merge other", {"GIT_TERMINAL_PROMPT": "0"}),
        ("git merge other", {"CI": "1"}),
        ("git -c theta.merge.prompt=never merge other", {}),
        ("git merge other < /dev/null 2>&1 | cat; test ${PIPESTATUS[0]} = 1 && exit 1", {}),
        ("set -m; git merge other & wait $!", {}),
    ],
)
def test_who_does_not_want_to_be_asked_is_not(forked: Repo, line: str, environment: dict[str, str]) -> None:
    terminal = Terminal(["bash", "-c", line], forked.path, environment)
    assert terminal.end() == 1
    assert "merge>" not in terminal.text
    assert in_conflict(forked)


def test_who_always_wants_to_be_asked_is_though_all_is_redirected(forked: Repo) -> None:
    line = "git -c theta.merge.prompt=always merge --no-edit other < /dev/null > /dev/null 2>&1"
    terminal = Terminal(["bash", "-c", line], forked.path, {"CI": "1"})
    for typed in ("t *", ""):
        terminal.type(typed)
    assert terminal.end() == 0
    assert merged(forked)["wte.weight"].tobytes() == values(2)["wte.weight"].tobytes()


def test_what_is_configured_decides_without_asking(forked: Repo) -> None:
    options = ("-c", "theta.merge.method=average otherwise=ours")
    terminal = merging(forked, *options, "merge", "--no-edit", "other")
    assert terminal.end() == 0
    assert "merge>" not in terminal.text
    assert merged(forked)["wte.weight"].tobytes() == expected("average", "wte.weight")


def test_a_signal_that_ends_the_driver_leaves_a_conflict_and_a_terminal_that_works(forked: Repo) -> None:
    driver = "echo $$ > .git/driver; exec git-theta merge-driver --marker-size %L %O %A %B %P"
    forked.git("config", "merge.theta.driver", driver)
    line = "stty -g > .git/before; git merge other; code=$?; stty -g > .git/after; exit $code"
    terminal = Terminal(["bash", "-c", line], forked.path)
    terminal.wait_for_prompt()
    os.kill(int(forked.read(".git/driver")), signal.SIGTERM)
    assert terminal.end() == 1
    assert forked.read(".git/before") == forked.read(".git/after")
    assert "Traceback" not in terminal.text
    assert in_conflict(forked)


def test_git_can_be_suspended_and_taken_up_again(forked: Repo) -> None:
    terminal = Terminal(["bash", "--norc", "-i"], forked.path, {"PS1": "shell> "})
    terminal.type("git merge --no-edit other")
    terminal.wait_for("quit")
    terminal.wait_for_prompt()
    terminal.press(CTRL_Z)
    terminal.wait_for("Stopped")
    terminal.type("echo still $((40 + 2)) here")
    terminal.wait_for("still 42 here")
    terminal.type("fg")
    terminal.wait(lambda: terminal.line == "merge>")
    terminal.type("t *")
    terminal.type("")
    terminal.wait_for("Merge made")
    terminal.type("exit")
    assert terminal.end() == 0
    assert merged(forked)["wte.weight"].tobytes() == values(2)["wte.weight"].tobytes()


def test_a_criss_cross_merge_asks_about_the_last_merge_alone(forked: Repo) -> None:
    tips = [forked.rev("main"), forked.rev("other")]
    for branch, tip, seed in (("main", tips[1], 3), ("other", tips[0], 4)):
        forked.git("checkout", "-q", branch)
        forked.git("merge", "-q", "--no-edit", tip, env={"GIT_THETA_MERGE": "ours"})
        forked.write(CHECKPOINT, safetensors_bytes(values(seed)))
        forked.commit(f"after {branch}")
    terminal = merging(forked, "merge", "--no-edit", "main")
    terminal.type("a *")
    terminal.type("o")
    terminal.type("")
    assert terminal.end() == 0
    assert terminal.text.count("conflicts to settle") == 1
    assert len(forked.git("rev-list", "--parents", "-1", "HEAD").stdout.split()) == 3


def test_a_merge_of_several_branches_asks_about_all_at_once(forked: Repo) -> None:
    forked.git("checkout", "-q", "-b", "third", "main~1")
    forked.write(CHECKPOINT, safetensors_bytes(values(3)))
    forked.commit("Tune on Czech")
    forked.git("checkout", "-q", "main")
    terminal = merging(forked, "theta", "merge", "--no-edit", "other", "third")
    terminal.wait_for_prompt()
    assert "side 3 third" in terminal.text
    for line in ("o ids", "ties weight=1,2,0.5 *", ""):
        terminal.type(line)
    assert terminal.end() == 0
    sides = [values(seed)["h.2.attn.weight"] for seed in (1, 2, 3)]
    wanted = git_theta.merge_arrays("ties", sides, values(0)["h.2.attn.weight"], weight=[1.0, 2.0, 0.5])
    assert merged(forked)["h.2.attn.weight"].tobytes() == wanted.tobytes()


def without_codes(text: str) -> str:
    """What a terminal shows of text, without the codes that it obeys."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
