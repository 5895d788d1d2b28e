"""The options that say which git configuration is meant, in git's words and in the paper's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, UsageError
from git_theta.git.repository import Repository

_SYNONYMS: Final = {"repository": "local", "user": "global"}
_SCOPES: Final = ("local", "worktree", "global", "system")

F = TypeVar("F", bound=Callable[..., Any])


def scope_options(command: F) -> F:
    """Give a command the options --local, --worktree, --global, --system and --scope, as the argument `scopes`."""
    for name in _SCOPES:
        command = click.option(
            f"--{name}", "scopes", flag_value=name, multiple=True, help=f"The {name} configuration."
        )(command)
    choice = click.Choice([*_SCOPES, *_SYNONYMS])
    return click.option("--scope", "named", type=choice, help="The same by name; repository is local, user is global.")(
        command
    )


def repository_for(scope: str) -> Repository | None:
    """The repository that we are in; None outside of one, where the scope needs none.

    Raises:
        GitError: there is none, and the scope is a configuration of one.
    """
    try:
        return Workspace.here().repository
    except GitError:
        if scope in ("local", "worktree"):
            raise
        return None


def chosen(scopes: tuple[str, ...], named: str | None) -> str:
    """The one scope that was asked for; git's global one, as with git lfs, if none was.

    Raises:
        UsageError: two different ones were asked for.
    """
    asked = {*scopes, *([_SYNONYMS.get(named, named)] if named else [])}
    if len(asked) > 1:
        raise UsageError(f"choose one of --{' and --'.join(sorted(asked))}")
    return asked.pop() if asked else "global"
