"""Where git says that a repository and its parts lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from git_theta.errors import GitError
from git_theta.git import command

FOLDERS: Final = ("--git-dir", "--git-common-dir", "--is-inside-work-tree", "--is-bare-repository")
PARTS: Final = ("--git-path", "index", "--show-cdup")
"""The last is what leads to the top, and no line where there is no worktree."""


def told(cwd: Path, *asked: str) -> list[str]:
    """What git says when it is asked so in a directory: a line for each.

    Raises:
        GitError: there is no repository, or a path has a line break.
    """
    status, output, complaint = command.attempt(["rev-parse", "--path-format=absolute", *asked], cwd=cwd)
    if status:
        raise GitError(command.reason(complaint) or "git rev-parse failed")
    lines = command.lines(output)
    if len(lines) > sum(word.startswith("--") for word in asked):
        raise GitError("the path of the repository has a line break in it, which Git-Theta cannot handle")
    return lines
