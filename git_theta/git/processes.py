"""The processes above us, as far as the system shows them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

Process = tuple[int, tuple[str, ...]]
"""The parent of a process, and its command line."""

ALONE: Final = frozenset(
    {
        *("-p", "--paginate", "-P", "--no-pager", "--no-replace-objects", "--bare", "--literal-pathspecs"),
        *("--glob-pathspecs", "--noglob-pathspecs", "--icase-pathspecs", "--no-optional-locks", "--no-lazy-fetch"),
        "--no-advice",
    }
)
"""Options of git itself that stand alone before the verb."""

WITH_VALUE: Final = frozenset(
    {"-c", "-C", "--git-dir", "--work-tree", "--namespace", "--super-prefix", "--config-env", "--attr-source"}
)
"""Options of git itself that are followed by a value, as a word of its own or after a "="."""

_PROC: Final = Path("/proc")


def look(process: int) -> Process | None:
    """A process; None if it cannot be seen."""
    return of_proc(process) if (_PROC / "self" / "stat").exists() else of_ps(process)


def of_proc(process: int, root: Path = _PROC) -> Process | None:
    """A process as Linux shows it; None if it cannot be seen."""
    try:
        # The name of the program, in brackets, may hold anything; what follows its last bracket does not.
        fields = (root / str(process) / "stat").read_bytes().rpartition(b")")[2].split()
        words = (root / str(process) / "cmdline").read_bytes().split(b"\0")
        return int(fields[1]), tuple(os.fsdecode(word) for word in words[:-1])
    except (OSError, ValueError, IndexError):
        return None


def of_ps(process: int) -> Process | None:
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
    is_plain = all(word in ALONE for word in arguments[1:leading])
    is_git = bool(arguments) and Path(arguments[0]).name == "git"
    return int(words[0]), tuple(arguments if is_plain or not is_git else arguments[:1])
