"""`git theta fetch`: bring objects into the local store."""

from __future__ import annotations

import click

from git_theta.cli.workspace import Workspace
from git_theta.flows.fetch import checkpoints, fetch


@click.command("fetch")
@click.option("--verify", is_flag=True, help="Also read the objects that are here, and replace damaged ones.")
@click.argument("remote", required=False)
@click.argument("revisions", nargs=-1)
def command(remote: str | None, revisions: tuple[str, ...], verify: bool) -> None:
    """Bring the objects of REVISIONS (by default HEAD and the index) from REMOTE (by default any)."""
    workspace = Workspace.here()
    found = [
        metadata
        for revision in revisions or _default(workspace)
        for _, _, metadata in checkpoints(workspace.repository, revision)
    ]
    refs = [ref for metadata in found for ref in metadata.objects()]
    count = fetch(workspace.transfer, refs, remote, verify=verify)
    click.echo(f"{count} object{'s' * (count != 1)} fetched")


def _default(workspace: Workspace) -> tuple[str | None, ...]:
    return ("HEAD", None) if workspace.repository.has_commit("HEAD") else (None,)
