"""`git theta clean`: the one-shot clean filter."""

from __future__ import annotations

import os
import sys

import click

from git_theta.cli.filtering import cleaned, output_to_git, pieces
from git_theta.cli.workspace import Workspace


@click.command("clean")
@click.argument("path")
def command(path: str) -> None:
    """Read a checkpoint on stdin, keep its values, and write its metadata file to stdout."""
    with os.fdopen(output_to_git(), "wb") as output:
        workspace = Workspace.here()
        workspace.ensure_hook()
        for piece in cleaned(pieces(sys.stdin.buffer), path, workspace):
            output.write(piece)
