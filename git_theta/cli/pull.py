"""`git theta pull`: get the checkpoints of a clone that was made without the filter."""

from __future__ import annotations

import click

from git_theta.cli.boundary import printable
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError
from git_theta.flows.fetch import checkpoints, fetch, fill
from git_theta.git import drivers


@click.command("pull")
@click.argument("remote", required=False)
def command(remote: str | None) -> None:
    """Fetch the objects of all checkpoints, and put each checkpoint where its metadata file lies in the worktree."""
    workspace = Workspace.here()
    repository = workspace.repository
    if repository.is_bare:
        raise GitError("this operation must be run in a work tree")
    if not drivers.are_installed():
        raise GitError(
            "git does not call Git-Theta here, and would take checkpoints for changes: run 'git theta install'"
        )
    found = list(checkpoints(repository, None))
    fetch(workspace.transfer, [ref for _, _, metadata in found for ref in metadata.objects()], remote, verify=False)
    filled = [path for path, data, metadata in found if fill(repository, workspace.smudger, path, data, metadata)]
    repository.refresh_index(filled)
    for path in filled:
        click.echo(printable(path))
    click.echo(f"{len(filled)} of {len(found)} checkpoints put into the worktree")
