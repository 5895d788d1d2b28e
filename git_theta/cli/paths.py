"""Paths as the user writes them, from the current directory, and as Git-Theta has them, from the top."""

from __future__ import annotations

import os
from pathlib import Path

from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError


def from_top(workspace: Workspace, path: Path) -> str:
    """The path from the top of the worktree. The file itself may be a symbolic link, or not there.

    Raises:
        GitError: it is outside.
    """
    top = workspace.repository.worktree.resolve()
    found = os.path.relpath(path.parent.resolve() / path.name, top)
    if found == os.pardir or found.startswith(os.pardir + os.sep):
        raise GitError(f"{path} is outside of the repository")
    return found
