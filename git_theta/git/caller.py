"""Which git command runs us: git tells its drivers and filters only part of that, the process tree tells the rest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Final

from git_theta.git.processes import WITH_VALUE, look

_MAX_DEPTH: Final = 8

Alias = Callable[[str], str | None]
"""What an alias of git stands for; None if there is none of this name."""


def arguments(alias: Alias) -> tuple[str, ...]:
    """The verb and the arguments of the nearest git command above this process, such as ("merge", "other").

    Args:
        alias: looks up what is no verb that we know; an alias that is a command of the shell stays as it is.

    Returns:
        Nothing if there is no git command, or the system does not tell.
    """
    for line in _ancestors(os.getppid()):
        if line and PurePath(line[0]).name == "git":
            return _expanded(without_options(line[1:]), alias)
    return ()


def without_options(words: Sequence[str]) -> tuple[str, ...]:
    """The arguments of git from the verb on, without the options before it."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] in WITH_VALUE else 1]
    return tuple(rest)


def before_paths(words: Sequence[str]) -> Sequence[str]:
    """The words of a git command that can be its options: those before "--", behind which all are paths."""
    return words[: words.index("--")] if "--" in words else words


def _expanded(words: tuple[str, ...], alias: Alias) -> tuple[str, ...]:
    meaning = alias(words[0]) if words else None
    if meaning is None or meaning.startswith("!"):
        return words
    try:
        return (*without_options(shlex.split(meaning)), *words[1:])
    except ValueError:
        return words


def _ancestors(pid: int) -> Iterator[tuple[str, ...]]:
    """The arguments of a process, of its parent, and so on, as far as the system tells."""
    for _ in range(_MAX_DEPTH):
        found = look(pid) if pid > 1 else None
        if found is None:
            return
        pid, line = found
        yield line
