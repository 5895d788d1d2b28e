"""Whether one may ask: every answer is given by a process on, in the background of, or without a real terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from git_theta.cli.prompt.tty import Mode, mode_of
from git_theta.errors import UsageError
from tests.cli.prompt.terminal import Terminal

TELL = """
import os, sys
from git_theta.cli.prompt.tty import Mode, terminal
with open(sys.argv[1], "w") as file:
    for mode in Mode:
        with terminal(mode, os.environ) as descriptor:
            answer = "no" if descriptor is None else "yes" if os.isatty(descriptor) else "no terminal"
        print(mode, answer, file=file)
"""


def told(tmp_path: Path, shell: str, environment: dict[str, str]) -> dict[str, str]:
    """What a process on a terminal says, by mode; shell: the line that starts it."""
    program, answer = tmp_path / "tell.py", tmp_path / "answer"
    program.write_text(TELL)
    terminal = Terminal(["bash", "-c", shell.format(f"{sys.executable} {program} {answer}")], tmp_path, environment)
    assert terminal.end() == 0
    return dict(line.split(" ", 1) for line in answer.read_text().splitlines())


@pytest.mark.parametrize(
    ("shell", "environment", "auto", "always"),
    [
        ("{}", {}, "yes", "yes"),
        ("{} < /dev/null", {}, "yes", "yes"),
        ("{} 2> /dev/null", {}, "yes", "yes"),
        ("{} < /dev/null > /dev/null 2>&1", {}, "no", "yes"),
        ("{}", {"CI": "true"}, "no", "yes"),
        ("{}", {"CI": "false"}, "yes", "yes"),
        ("{}", {"GIT_TERMINAL_PROMPT": "0"}, "no", "no"),
        ("{}", {"GIT_TERMINAL_PROMPT": "1"}, "yes", "yes"),
        ("set -m; {} & wait", {}, "no", "no"),
        ("setsid --wait {}", {}, "no", "no"),
        ("exec 0<&-; {}", {}, "yes", "yes"),
        ("exec 0<&- 2>&-; {}", {}, "no", "yes"),
    ],
)
def test_who_sits_at_the_terminal_is_asked(
    tmp_path: Path, shell: str, environment: dict[str, str], auto: str, always: str
) -> None:
    assert told(tmp_path, shell, environment) == {"auto": auto, "always": always, "never": "no"}


@pytest.mark.parametrize("text", ["auto", "always", "never", " Never "])
def test_a_setting_names_a_mode(text: str) -> None:
    assert mode_of(text) is Mode(text.strip().lower())


def test_another_setting_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"theta\.merge\.prompt is 'maybe', which is neither auto, always nor never"):
        mode_of("maybe")
