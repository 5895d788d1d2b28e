"""`git theta smudge`: the one-shot smudge filter."""

from __future__ import annotations

import os
import sys

import click

from git_theta.cli.filtering import asked_for, output_to_git, pieces, smudged
from git_theta.cli.workspace import Workspace


@click.command("smudge")
@click.option("--skip", is_flag=True, help="Write the metadata file itself.")
@click.argument("path")
def command(path: str, skip: bool) -> None:
    """Read a metadata file on stdin, and write the checkpoint to stdout. Anything else passes through."""
    with os.fdopen(output_to_git(), "wb") as output:
        workspace = Workspace.here()
        workspace.ensure_hook()
        wanted = asked_for(pieces(sys.stdin.buffer), path, workspace, skip=skip)
        for piece in smudged(wanted, path, workspace):
            output.write(piece)
