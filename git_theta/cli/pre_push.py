"""`git theta pre-push`: called by the pre-push hook."""

from __future__ import annotations

import sys

import click

from git_theta.cli.workspace import Workspace
from git_theta.flows.push import push


@click.command("pre-push")
@click.argument("remote")
@click.argument("url")
def command(remote: str, url: str) -> None:
    """Upload the objects of the commits that git is about to push; git names them on stdin (githooks(5))."""
    lines = [line.split() for line in sys.stdin.read().splitlines()]
    wanted = [line[1] for line in lines if set(line[1]) != {"0"}]
    known = [line[3] for line in lines if set(line[3]) != {"0"}]
    if wanted:
        workspace = Workspace.here()
        push(workspace.repository, workspace.transfer, remote, url, wanted, known)
