"""The pager: git's, on a terminal only, and left as one leaves it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cli.prompt.terminal import CTRL_C, Terminal
from tests.conftest import CHECKPOINT, copied
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MARK = "sed s/^/paged:/"
PLAIN = {"LESS": None, "LV": None, "COLUMNS": None, "NO_COLOR": None, "PAGER": None, "MORE": None}


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PLAIN, "GIT_PAGER", "GIT_PAGER_IN_USE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def _changed(_tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = copied(_tracked, tmp_path_factory.mktemp("states") / "changed")
    repo.write(CHECKPOINT, safetensors_bytes(model(0, head_weight=model(1)["head_weight"])))
    repo.commit("another head")
    return repo.path


@pytest.fixture
def changed(_changed: Path, tmp_path: Path) -> Repo:
    """A repository with a second commit that has another head_weight."""
    return copied(_changed, tmp_path / "changed")


@pytest.fixture(scope="module")
def long(_tracking: Path, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Two commits whose difference is more than a pipe takes without a reader. To look at."""
    repo = copied(_tracking, tmp_path_factory.mktemp("states") / "long")
    for seed in (1, 2):
        values = np.random.default_rng(seed).random((1000, 2), np.float32)
        repo.write(CHECKPOINT, safetensors_bytes({f"a{'b' * place}": two for place, two in enumerate(values)}))
        repo.commit(str(seed))
    repo.git("config", "theta.diff.fold", "false")
    return repo


def shown(repo: Repo, *words: str, env: Mapping[str, str | None] | None = None, status: int = 0) -> str:
    """What a command that asks for no key writes to a terminal."""
    terminal = Terminal(words, repo.path, env, size=(24, 120))
    assert terminal.end() == status
    return terminal.raw.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "verb", [["diff", "HEAD~1"], ["log"], ["show", f"HEAD:{CHECKPOINT}"], ["diff", "--json", "HEAD~1"]]
)
def test_what_a_terminal_shows_goes_through_the_pager(changed: Repo, verb: list[str]) -> None:
    changed.git("config", "core.pager", MARK)
    lines = shown(changed, "git", "theta", *verb).splitlines()
    assert lines
    assert all(line.startswith("paged:") for line in lines)
    assert "paged:" not in changed.theta(*verb).stdout


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["-c", f"core.pager={MARK}"], {}),
        ([], {"GIT_PAGER": MARK}),
        ([], {"PAGER": MARK}),
        (["-c", "pager.theta=true"], {"PAGER": MARK}),
        (["-c", f"pager.theta={MARK}"], {"PAGER": "false"}),
        (["-p"], {"PAGER": MARK}),
        (["-c", "core.pager=false", "-c", "pager.theta=false"], {"GIT_PAGER": None, "PAGER": MARK}),
        (["--no-pager"], {"GIT_PAGER": MARK}),
        (["-c", "pager.theta=no"], {"GIT_PAGER": MARK}),
        ([], {"GIT_PAGER": "cat", "PAGER": MARK}),
        ([], {"GIT_PAGER": "", "PAGER": MARK}),
    ],
)
def test_git_says_which_pager_it_is(changed: Repo, options: list[str], env: dict[str, str | None]) -> None:
    is_paged = not any(word in ("--no-pager", "pager.theta=false", "pager.theta=no") for word in options)
    is_paged = is_paged and env.get("GIT_PAGER", "-") not in ("cat", "")
    lines = shown(changed, "git", *options, "theta", "log", env=env).splitlines()
    assert lines
    assert [line.count("paged:") for line in lines] == [int(is_paged)] * len(lines)


@pytest.mark.parametrize(("value", "is_paged"), [("false", False), ("true", True), (MARK, True)])
def test_pager_theta_counts_without_git_before_the_verb_too(changed: Repo, value: str, is_paged: bool) -> None:
    changed.git("config", "pager.theta", value)
    said = shown(changed, "git-theta", "log", env={"PAGER": MARK})
    assert ("paged:" in said) == is_paged


def test_colours_and_width_are_those_of_the_terminal(changed: Repo) -> None:
    changed.git("config", "core.pager", MARK)
    said = shown(changed, "git", "theta", "diff", "HEAD~1")
    assert "\x1b[33mmodified\x1b[m" in said
    assert "where" in said
    assert "\x1b" not in shown(changed, "git", "-c", "color.pager=false", "theta", "diff", "HEAD~1")


def test_less_is_left_at_once_if_all_fits(changed: Repo) -> None:
    said = shown(changed, "git", "theta", "log", env={"PAGER": "less"})
    assert "another head" in said
    assert "\x1b[33m" in said


@pytest.mark.parametrize("program", [["git-theta"], ["git", "theta"]])
def test_less_waits_for_keys_and_an_interruption_is_not_its_end(changed: Repo, program: list[str]) -> None:
    terminal = Terminal([*program, "diff", "--json", "HEAD~1"], changed.path, {"PAGER": "less"}, (10, 80))

    def at_the_end() -> bool:
        terminal.press("G")  # more than once: an interruption takes the keys along that nobody has read
        return "(END)" in terminal.line

    terminal.wait(lambda: terminal.line == ":")
    terminal.press(CTRL_C)
    terminal.wait(at_the_end)
    time.sleep(0.6)  # for a quarter of a second, Python waits for a child even if it is interrupted
    assert terminal.is_running
    terminal.press("q")
    assert terminal.end() in (0, 130)


FAILS_BEFORE_IT_KNOWS = """
import os, signal, sys
from git_theta.cli import boundary, pager
from git_theta.errors import GitError

def verb():
    with pager.paged():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        raise GitError("git cat-file failed: exit status -2")

sys.exit(boundary.run(verb, os.environ))
"""


def test_what_fails_of_an_interruption_is_an_interruption(changed: Repo) -> None:
    said = shown(changed, sys.executable, "-c", FAILS_BEFORE_IT_KNOWS, env={"PAGER": MARK}, status=130)
    assert said.splitlines() == ["git-theta: interrupted"]


@pytest.mark.parametrize("verb", [["git-theta", "diff"], ["git", "theta", "diff"], ["git", "diff", "--no-ext-diff"]])
def test_a_pager_that_is_left_early_ends_the_verb_without_a_word_as_it_ends_git(long: Repo, verb: list[str]) -> None:
    assert shown(long, *verb, "HEAD~1", "HEAD", env={"PAGER": "head -n 1"}, status=141).startswith("\x1b[1mdiff --git")


def test_a_pager_that_is_in_use_elsewhere_does_not_keep_ours_away(changed: Repo) -> None:
    said = shown(changed, "git-theta", "log", env={"GIT_PAGER": MARK, "GIT_PAGER_IN_USE": "true"})
    assert said.startswith("paged:")


def test_a_pager_that_is_not_there_is_said_and_done_without(changed: Repo) -> None:
    said = shown(changed, "git-theta", "log", env={"GIT_PAGER": "no-such-pager"})
    assert "warning: the pager no-such-pager cannot be started: No such file" in said
    assert "another head" in said


def test_what_is_missing_is_fetched_before_the_pager_has_the_terminal(changed: Repo) -> None:
    for path in changed.objects().values():
        path.unlink()
    verb = ["git-theta", "show", f"HEAD:{CHECKPOINT}", "head_weight"]
    assert "it is not in the local store" in shown(changed, *verb, env={"PAGER": "touch started; cat"}, status=1)
    assert not (changed.path / "started").exists()


def test_no_pager_where_the_exit_code_is_asked_for_or_a_page_is_written(changed: Repo) -> None:
    assert "paged:" not in shown(
        changed, "git", "theta", "diff", "--exit-code", "HEAD~1", env={"PAGER": MARK}, status=1
    )
    mark = {"PAGER": "echo paged:"}
    assert "paged:" not in shown(changed, "git", "theta", "diff", "--html", "page.html", "HEAD~1", env=mark)
    assert (changed.path / "page.html").exists()


def test_an_error_comes_after_the_pager_with_its_own_status(changed: Repo) -> None:
    said = shown(changed, "git-theta", "show", f"HEAD:{CHECKPOINT}", "nothing", env={"PAGER": MARK}, status=2)
    assert "git-theta: " in said
    assert "paged:" not in said
    assert os.environ.get("GIT_PAGER_IN_USE") is None
