"""Which git command a filter works for, as far as the system tells: filters are not told what their output is for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

Process = tuple[int, tuple[str, ...]]
"""The parent of a process, and its command line."""

SHOWING: Final = frozenset(
    {
        *("diff", "log", "show", "blame", "annotate", "whatchanged", "format-patch", "range-diff", "reflog"),
        *("diff-files", "diff-index", "diff-tree"),
    }
)
"""Commands of git that smudge for a diff driver or for textconv only, and that write nothing to the worktree."""

_STASH_SHOW: Final = ("stash", "show")
_ALONE: Final = frozenset(
    {
        *("-p", "--paginate", "-P", "--no-pager", "--no-replace-objects", "--bare", "--literal-pathspecs"),
        *("--glob-pathspecs", "--noglob-pathspecs", "--icase-pathspecs", "--no-optional-locks", "--no-lazy-fetch"),
        "--no-advice",
    }
)
_WITH_VALUE: Final = frozenset({"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--attr-source"})
_FILTERS: Final = ("filter-process", "smudge")
_OURS: Final = "git-theta"
_MOST: Final = 8
"""Processes that may stand between a filter and its git: a shell, and what finds the right Python."""

_PROC: Final = Path("/proc")


def shows_differences(arguments: Sequence[str]) -> bool:
    """Whether a command line is that of a git command that smudges only to show differences.

    Args:
        arguments: of the process, the program first.

    Returns:
        False also if the command line is not understood.
    """
    program = Path(arguments[0]).name if arguments else ""
    if program != "git":
        return program.startswith("git-") and program.removeprefix("git-") in SHOWING
    rest = list(arguments[1:])
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in _WITH_VALUE:
            rest = rest[1:]
        elif option not in _ALONE and option.partition("=")[0] not in {*_WITH_VALUE, "--exec-path"}:
            return False
    return bool(rest) and (rest[0] in SHOWING or tuple(rest[:2]) == _STASH_SHOW)


def command_line(process: int, look: Callable[[int], Process | None]) -> tuple[str, ...] | None:
    """The command line of the git that a filter works for; None if that is not certain.

    Between the two may stand only what runs the filter: a shell, or the launcher of a script.

    Args:
        process: the filter's own.
        look: tells of a process; None if it cannot.
    """
    current = look(process)
    for _ in range(_MOST):
        found = None if current is None else look(current[0])
        if found is None:
            return None
        program = Path(found[1][0]).name if found[1] else ""
        if program == "git" or (program.startswith("git-") and program != _OURS):
            return found[1]
        text = " ".join(found[1])
        if _OURS not in text or not any(name in text for name in _FILTERS):
            return None
        current = found
    return None


def process_of_proc(process: int, root: Path = _PROC) -> Process | None:
    """A process as Linux shows it; None if it cannot be seen."""
    try:
        # The name of the program, in brackets, may hold anything; what follows its last bracket does not.
        fields = (root / str(process) / "stat").read_bytes().rpartition(b")")[2].split()
        words = (root / str(process) / "cmdline").read_bytes().split(b"\0")
        return int(fields[1]), tuple(os.fsdecode(word) for word in words[:-1])
    except (OSError, ValueError, IndexError):
        return None


def process_of_ps(process: int) -> Process | None:
    """A process as `ps` shows it, which runs the arguments together; None if it cannot be seen, or may be misread.

    An argument with a space in it looks like two, so what follows an option with a value is not certain: only command
    lines that have none before git's command are told in full.
    """
    asked = ["ps", "-o", "ppid=", "-o", "args=", "-p", str(process)]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return None
    words = os.fsdecode(done.stdout).split()
    if done.returncode or not words or not words[0].isdecimal():
        return None
    arguments = words[1:]
    leading = next((place for place, word in enumerate(arguments[1:], 1) if not word.startswith("-")), len(arguments))
    is_plain = all(word in _ALONE for word in arguments[1:leading])
    is_git = bool(arguments) and Path(arguments[0]).name == "git"
    return int(words[0]), tuple(arguments if is_plain or not is_git else arguments[:1])


def caller() -> tuple[str, ...] | None:
    """The command line of the git that this process filters for; None if that is not certain."""
    return command_line(os.getpid(), process_of_proc if _PROC.joinpath("self", "stat").exists() else process_of_ps)
