"""`git theta merge-driver`: git's merge driver for checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from git_theta.cli.boundary import complain
from git_theta.errors import MetadataError
from git_theta.flows.merge import merge
from git_theta.metadata import Metadata
from git_theta.metadata_file import is_metadata, parse, serialize

_SHOWN: Final = 5


@click.command("merge-driver")
@click.argument("ancestor", type=click.Path(path_type=Path))
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("theirs", type=click.Path(path_type=Path))
@click.argument("path")
def command(ancestor: Path, ours: Path, theirs: Path, path: str) -> int:
    """Merge three metadata files into OURS; exit with 1 on a conflict, which leaves OURS as it was."""
    old, mine, yours = (_read(file, path) for file in (ancestor, ours, theirs))
    if mine is None or yours is None:
        raise MetadataError(f"{path}: only one side is kept by Git-Theta: settle the conflict by taking one of them")
    merged = merge(old, mine, yours)
    if merged.conflicts:
        names = ", ".join(merged.conflicts[:_SHOWN])
        more = f" and {len(merged.conflicts) - _SHOWN} more" if len(merged.conflicts) > _SHOWN else ""
        complain(
            f"{path}: both sides changed {names}{more}; the worktree keeps ours: take one side with "
            "'git checkout --ours' or '--theirs', then 'git add'"
        )
        return 1
    ours.write_bytes(serialize(merged.metadata))
    return 0


def _read(file: Path, path: str) -> Metadata | None:
    data = file.read_bytes()
    try:
        return parse(data) if is_metadata(data) else None
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error
