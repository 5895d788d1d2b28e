"""Paths as the user writes them, from the current directory, and as Git-Theta has them, from the top."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import click

from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError

_SEPARATED: Final = "git_theta.paths"


class WithPaths(click.Command):
    """A command that knows which of its arguments come after "--": click does not tell."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what comes after "--" apart."""
        if "--" in args:
            place = args.index("--")
            args, ctx.meta[_SEPARATED] = args[:place], args[place + 1 :]
        return super().parse_args(ctx, args)


def separated(ctx: click.Context) -> Sequence[str] | None:
    """What comes after "--" among the arguments of a `WithPaths` command; None if there is no "--"."""
    return cast("Sequence[str] | None", ctx.meta.get(_SEPARATED))


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
