"""How differences look: as git's settings say, and as wide as the terminal is."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from git_theta.cli.display import look
from git_theta.settings import Settings
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

UTF8 = {"LC_ALL": "C.UTF-8"}


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a width, or no colours, in the environment."""
    for name in ("COLUMNS", "NO_COLOR", "GIT_PAGER_IN_USE", "GIT_PAGER", "PAGER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def changed(tracked: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository whose worktree has another head_weight; it is the current directory."""
    tracked.write(CHECKPOINT, safetensors_bytes(model(0, head_weight=model(1)["head_weight"])))
    monkeypatch.chdir(tracked.path)
    return tracked


def on_terminal(repo: Repo, *arguments: str, env: Mapping[str, str] | None = None, columns: int = 70) -> str:
    """What a command writes to a terminal."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    variables = {**os.environ, "TERM": "xterm", **(env or {})}
    process = subprocess.Popen(
        arguments, cwd=repo.path, stdin=terminal, stdout=terminal, stderr=terminal, env=variables
    )
    os.close(terminal)
    said = b""
    try:
        while piece := os.read(master, 1 << 16):
            said += piece
    except OSError:
        pass  # Linux says so when the last process has closed the terminal.
    os.close(master)
    assert process.wait(60) == 0
    return said.decode().replace("\r\n", "\n")


def test_plain_when_piped(changed: Repo) -> None:
    said = changed.git("diff").stdout
    assert "\x1b" not in said
    assert "where" in said


def test_coloured_and_as_wide_as_the_terminal(changed: Repo) -> None:
    said = on_terminal(changed, "git", "--no-pager", "diff")
    assert "\x1b[33mmodified\x1b[m" in said
    assert "\x1b[1mdiff --git" in said
    bare = said.replace("\x1b[m", "")
    for code in ("\x1b[1m", "\x1b[33m", "\x1b[36m"):
        bare = bare.replace(code, "")
    assert "\x1b" not in bare
    assert "where" not in bare
    assert max(map(len, bare.splitlines()[3:])) <= 70


def test_in_the_pager_as_on_the_terminal(changed: Repo) -> None:
    changed.git("config", "core.pager", "cat -")  # for a mere "cat", git would start no pager
    said = on_terminal(changed, "git", "diff", columns=200)
    assert "\x1b[33mmodified" in said
    assert "where" in said
    assert "where" not in on_terminal(changed, "git", "diff", columns=70)


@pytest.mark.parametrize(
    ("settings", "env"),
    [(["color.ui=never"], {}), (["color.diff=false"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})],
)
def test_no_colours_where_none_are_wanted(changed: Repo, settings: list[str], env: dict[str, str]) -> None:
    options = [word for setting in settings for word in ("-c", setting)]
    assert "\x1b" not in on_terminal(changed, "git", *options, "--no-pager", "diff", env=env)


def test_colours_of_the_user_are_taken_also_in_a_pipe_if_always(changed: Repo) -> None:
    changed.git("config", "color.ui", "always")
    changed.git("config", "color.diff.commit", "magenta ul")
    assert "\x1b[4;35mmodified\x1b[m" in changed.git("diff").stdout
    assert "\x1b" not in changed.git("diff", env={"NO_COLOR": "1"}).stdout


@pytest.mark.parametrize(
    ("option", "expected"),
    [("--color", (True, True)), ("--no-color", (False, False)), ("--color=auto", (False, True))],
)
def test_what_the_command_line_says_of_colours_counts_most(
    changed: Repo, option: str, expected: tuple[bool, bool]
) -> None:
    changed.git("config", "color.ui", "false" if option == "--color" else "always")
    piped, shown = changed.git("diff", option).stdout, on_terminal(changed, "git", "--no-pager", "diff", option)
    assert ("\x1b[33mmodified" in piped, "\x1b[33mmodified" in shown) == expected


@pytest.mark.parametrize(("columns", "width"), [("100", 100), ("0", None), ("", None), ("many", None), ("-5", None)])
def test_columns_of_the_environment(changed: Repo, columns: str, width: int | None) -> None:
    assert changed
    assert look(Settings(), {**UTF8, "COLUMNS": columns}).width == width


def test_characters_beyond_ascii_only_where_the_locale_has_them(changed: Repo) -> None:
    assert look(Settings(), UTF8).is_unicode
    assert not look(Settings(), {"LC_ALL": "C"}).is_unicode
    assert changed.git("diff", env={"LC_ALL": "C", "LC_CTYPE": None, "LANG": None}).stdout.isascii()


def test_folding_is_a_setting(changed: Repo) -> None:
    assert changed
    assert look(Settings(), {}).fold
    assert not look(Settings(fold=False), {}).fold
