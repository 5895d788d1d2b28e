"""`git theta push`: upload objects without pushing commits."""

from __future__ import annotations

import click

from git_theta.cli.unreplaced import unreplaced
from git_theta.cli.workspace import Workspace
from git_theta.flows.push import PushedRef, push
from git_theta.git import command as git
from git_theta.git.remotes import shown


@click.command("push")
@click.option("--all", "everything", is_flag=True, help="All objects of the revisions, known to the remote or not.")
@click.argument("remote")
@click.argument("revisions", nargs=-1)
def command(remote: str, revisions: tuple[str, ...], everything: bool) -> None:
    """Upload the objects of REVISIONS (by default HEAD, with --all every branch and tag) to REMOTE."""
    workspace = Workspace.here()
    repository = workspace.repository
    workspace.transfer.check_is_known(remote)
    if everything and not revisions:
        wanted = git.lines(repository.git("rev-parse", "--branches", "--tags"))
    else:
        wanted = [repository.resolve(revision, "commit") for revision in revisions or ("HEAD",)]
    pushed = [PushedRef(name, name, None) for name in wanted]
    with unreplaced():
        count = max(
            push(repository, workspace.transfer, remote, url, pushed, everything=everything)
            for url in workspace.transfer.push_urls(remote)
        )
    if count or everything:
        click.echo(f"{count} objects are at {shown(remote)}")
    else:
        # After a push without its hook (--no-verify), it has the commits and not their objects.
        hint = f"'git theta push --all {shown(remote)}' also looks at the commits that it has"
        click.echo(f"no new objects for {shown(remote)}; {hint}")
