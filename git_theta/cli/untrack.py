"""`git theta untrack`: no longer keep files with Git-Theta."""

from __future__ import annotations

import click

from git_theta.cli.boundary import complain, printable
from git_theta.cli.workspace import Workspace
from git_theta.git import attributes


@click.command("untrack")
@click.option("--filename", is_flag=True, help="Take PATTERNS literally, as file names.")
@click.argument("patterns", nargs=-1, required=True)
def command(patterns: tuple[str, ...], filename: bool) -> int:
    """Take PATTERNS from .gitattributes in the current directory; exits with 1 if one is not there.

    Commits that are there already stay as they are, and readable.
    """
    workspace = Workspace.here()
    status = 0
    for given in patterns:
        pattern = attributes.literal(given) if filename else given
        if attributes.untrack(workspace.repository.cwd / ".gitattributes", pattern):
            click.echo(f'Untracking "{printable(pattern)}"')
        else:
            complain(f"{pattern} is not tracked here: 'git theta track' lists the patterns that are")
            status = 1
    return status
