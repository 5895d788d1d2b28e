"""`git theta fetch`: bring objects into the local store."""

from __future__ import annotations

import click

from git_theta.cli.problems import Problems
from git_theta.cli.workspace import Workspace
from git_theta.flows.fetch import bring, checkpoints, is_whole


@click.command("fetch")
@click.option("--verify", is_flag=True, help="Also read the objects that are here, and replace damaged ones.")
@click.argument("remote", required=False)
@click.argument("revisions", nargs=-1)
def command(remote: str | None, revisions: tuple[str, ...], verify: bool) -> int:
    """Bring the objects of REVISIONS (by default HEAD and the index) from REMOTE (by default any)."""
    workspace = Workspace.here()
    problems = Problems()
    found = [
        (path, metadata)
        for revision in revisions or _default(workspace)
        for path, _, metadata in checkpoints(workspace.repository, revision, problems.report)
    ]
    refs = [ref for _, metadata in found for ref in metadata.objects()]
    count = bring(workspace.transfer, refs, remote, problems.report, verify=verify)
    for path, metadata in found:
        is_whole(path, metadata, workspace.store, problems.report)
    click.echo(f"{count} object{'s' * (count != 1)} fetched")
    return problems.exit_code


def _default(workspace: Workspace) -> tuple[str | None, ...]:
    return ("HEAD", None) if workspace.repository.has_commit("HEAD") else (None,)
