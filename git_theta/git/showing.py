"""Which git command a filter works for, as far as the system tells: filters are not told what their output is for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from git_theta.git.processes import ALONE, WITH_VALUE, Process, look

SHOWING: Final = frozenset(
    {
        *("diff", "log", "show", "blame", "annotate", "whatchanged", "format-patch", "range-diff", "reflog"),
        *("diff-files", "diff-index", "diff-tree"),
    }
)
"""Commands of git that smudge for a diff driver or for textconv only, and that write nothing to the worktree."""

_STASH_SHOW: Final = ("stash", "show")
_FILTERS: Final = ("filter-process", "smudge")
_OURS: Final = "git-theta"
_MOST: Final = 8
"""Processes that may stand between a filter and its git: a shell, and what finds the right Python."""


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
        if option in WITH_VALUE:
            rest = rest[1:]
        elif option not in ALONE and option.partition("=")[0] not in {*WITH_VALUE, "--exec-path"}:
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


def caller() -> tuple[str, ...] | None:
    """The command line of the git that this process filters for; None if that is not certain."""
    return command_line(os.getpid(), look)
