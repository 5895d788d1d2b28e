"""`git theta ls-files`: list the checkpoints."""

from __future__ import annotations

import json

import click

from git_theta.cli.boundary import printable
from git_theta.cli.problems import Problems
from git_theta.cli.workspace import Workspace
from git_theta.flows.fetch import checkpoints
from git_theta.git.repository import Repository
from git_theta.metadata_file import PREFIX


@click.command("ls-files")
@click.option("--size", "-s", "with_size", is_flag=True, help="Show each checkpoint's size and number of groups.")
@click.option("--name-only", "-n", is_flag=True, help="Show the paths alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("revision", required=False)
def command(revision: str | None, with_size: bool, name_only: bool, as_json: bool) -> int:
    """List the checkpoints in REVISION (by default the index).

    A line has the format, "*" if the worktree holds the checkpoint itself or "-" if not, and the path.
    """
    workspace = Workspace.here()
    problems = Problems()
    rows = [
        {
            "path": path,
            "format": metadata.format,
            "size": metadata.size,
            "groups": len(metadata.entries),
            "checked_out": _is_checked_out(workspace.repository, path),
        }
        for path, _, metadata in checkpoints(workspace.repository, revision, problems.report)
    ]
    if as_json:
        click.echo(json.dumps({"files": rows}, indent=1))
        return problems.exit_code
    for row in rows:
        path = printable(str(row["path"]))
        size = f" ({row['size']} bytes, {row['groups']} groups)" if with_size else ""
        mark = "*" if row["checked_out"] else "-"
        click.echo(path if name_only else f"{row['format']:<12} {mark} {path}{size}")
    return problems.exit_code


def _is_checked_out(repository: Repository, path: str) -> bool:
    if repository.is_bare:
        return False
    try:
        with (repository.worktree / path).open("rb") as file:
            return not file.read(len(PREFIX)).startswith(PREFIX)
    except OSError:
        return False
