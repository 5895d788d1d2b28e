"""`git theta filter-process`: clean and smudge every checkpoint of one git command."""

from __future__ import annotations

from pathlib import Path

import click

from git_theta.cli.serving import serve


@click.command("filter-process")
@click.option("--skip", is_flag=True, help="Leave metadata files in the worktree.")
@click.option("--cleaned", type=click.Path(exists=True, path_type=Path), hidden=True)
def command(skip: bool, cleaned: Path | None) -> None:
    """Speak git's filter protocol on stdin and stdout, until git closes it."""
    serve(skip=skip, cleaned=cleaned)
