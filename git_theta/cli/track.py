"""`git theta track`: keep files with Git-Theta."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from git_theta.cli.boundary import printable
from git_theta.cli.workspace import Workspace
from git_theta.git import attributes, drivers
from git_theta.git.repository import Repository


@click.command("track")
@click.option("--filename", is_flag=True, help="Take PATTERNS literally, as file names.")
@click.argument("patterns", nargs=-1)
def command(patterns: tuple[str, ...], filename: bool) -> None:
    """Keep the files that match PATTERNS with Git-Theta, or list the patterns that are kept so.

    The patterns are written to .gitattributes in the current directory. If git does not call Git-Theta yet, it is
    installed for this repository.
    """
    workspace = Workspace.here()
    if not patterns:
        _list(workspace.repository)
        return
    workspace.repository.worktree  # noqa: B018 - fails if there is none, and so no place for .gitattributes
    if not drivers.are_installed():
        drivers.install("local", skip_smudge=False, force=False)
    elif not drivers.show_diffs():
        drivers.install_diffs("local")
    workspace.ensure_hook()
    for pattern in patterns:
        _track(workspace.repository, attributes.literal(pattern) if filename else pattern)


def _track(repository: Repository, pattern: str) -> None:
    before = set(_kept(repository))
    if not attributes.track(repository.cwd / ".gitattributes", pattern):
        click.echo(f'"{printable(pattern)}" already supported')
        return
    click.echo(f'Tracking "{printable(pattern)}"')
    # Files that git knows as they are count as unchanged until their time stamp says otherwise.
    for path in _kept(repository):
        if path not in before:
            with contextlib.suppress(OSError):
                os.utime(repository.worktree / path, follow_symlinks=False)


def _kept(repository: Repository) -> list[str]:
    return repository.tracked(repository.index_blobs())


def _list(repository: Repository) -> None:
    click.echo("Listing tracked patterns")
    for file in repository.attribute_files():
        for pattern in attributes.tracked_patterns(file):
            click.echo(f"    {printable(pattern)} ({printable(str(_relative(file, repository)))})")


def _relative(file: Path, repository: Repository) -> Path:
    return Path(os.path.relpath(file, repository.cwd))
