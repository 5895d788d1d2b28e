"""`git theta pre-push`: called by the pre-push hook."""

from __future__ import annotations

import sys

import click

from git_theta.cli.unreplaced import unreplaced
from git_theta.cli.workspace import Workspace
from git_theta.flows.push import PushedRef, push


@click.command("pre-push")
@click.argument("remote")
@click.argument("url")
def command(remote: str, url: str) -> None:
    """Upload the objects of the commits that git is about to push; git names them on stdin (githooks(5))."""
    pushed = [_pushed(line) for line in sys.stdin.read().splitlines()]
    if any(ref.new is not None for ref in pushed):
        workspace = Workspace.here()
        with unreplaced():
            push(workspace.repository, workspace.transfer, remote, url, pushed)


def _pushed(line: str) -> PushedRef:
    # What is pushed comes first, as it was named: maybe with spaces (git-rev-parse(1), "^{/text}").
    _, new, name, old = line.rsplit(" ", 3)
    return PushedRef(name, *(oid if set(oid) != {"0"} else None for oid in (new, old)))
