"""`git theta pull`: get the checkpoints of a clone that was made without the filter."""

from __future__ import annotations

import click

from git_theta.cli.boundary import printable
from git_theta.cli.problems import Problems
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, ThetaError
from git_theta.flows.fetch import bring, checkpoints, fill, is_whole
from git_theta.git import drivers
from git_theta.metadata import Metadata


@click.command("pull")
@click.argument("remote", required=False)
def command(remote: str | None) -> int:
    """Fetch the objects of all checkpoints, and put each checkpoint where its metadata file lies in the worktree."""
    workspace = Workspace.here()
    repository = workspace.repository
    if repository.is_bare:
        raise GitError("this operation must be run in a work tree")
    if not drivers.are_installed():
        raise GitError(
            "git does not call Git-Theta here, and would take checkpoints for changes: run 'git theta install'"
        )
    if not repository.index_state() and repository.has_commit("HEAD"):
        raise GitError("git did not check out this clone: 'git checkout -f HEAD' does, and fetches the objects")
    problems = Problems()
    found = list(checkpoints(repository, None, problems.report))
    bring(workspace.transfer, [ref for _, _, metadata in found for ref in metadata.objects()], remote, problems.report)
    filled = [file[0] for file in found if _is_filled(workspace, *file, problems)]
    repository.refresh_index(filled)
    for path in filled:
        click.echo(printable(path))
    why = "" if filled or problems.exit_code else ": no metadata file lies in the place of one"
    click.echo(f"{len(filled)} of {len(found)} checkpoints put into the worktree{why}")
    return problems.exit_code


def _is_filled(workspace: Workspace, path: str, data: bytes, metadata: Metadata, problems: Problems) -> bool:
    """Put a checkpoint into the worktree, if it is to be there and can be."""
    try:
        return is_whole(path, metadata, workspace.store, problems.report) and fill(
            workspace.repository, workspace.smudger, path, data, metadata
        )
    except ThetaError as error:
        problems.report(str(error))
        return False
