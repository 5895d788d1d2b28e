"""`git theta merge-driver`: git's merge driver for checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from msgspec.structs import replace

from git_theta.cli.boundary import complain
from git_theta.cli.interrupting import ending_soon
from git_theta.cli.strategies import chosen
from git_theta.cli.workspace import Workspace
from git_theta.errors import MetadataError, StoreError
from git_theta.flows.ancestors import merge_ancestors, unmerged_ancestor
from git_theta.flows.merging.plan import Versions
from git_theta.git import caller, drivers
from git_theta.merges.decisions import described
from git_theta.metadata import Metadata
from git_theta.metadata_file import is_metadata, parse, serialize
from git_theta.registry import has_plug_ins
from git_theta.replacing import replacing

_MARKER_SIZE: Final = 7
"""What git's conflict markers have, unless the attribute conflict-marker-size says otherwise."""


@click.command("merge-driver")
@click.option(
    "--marker-size", type=int, default=_MARKER_SIZE, help="Of conflict markers, as git would write them (%L)."
)
@click.argument("ancestor", type=click.Path(path_type=Path))
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("theirs", type=click.Path(path_type=Path))
@click.argument("path")
def command(ancestor: Path, ours: Path, theirs: Path, path: str, marker_size: int) -> int:
    """Merge three metadata files into OURS; exit with 1 on a conflict, which leaves OURS as it was."""
    workspace = Workspace.here()
    if _is_inner(workspace, path, marker_size):
        return _merge_ancestors(workspace, (ancestor, ours, theirs), path)
    versions = _versions((ancestor, ours, theirs), path)
    is_for_a_worktree = _is_for_a_worktree(workspace)
    merger = replace(workspace.merger, handover=workspace.handover if is_for_a_worktree else None)
    reasons: list[str] = []
    with ending_soon(), _withheld(ours):
        outcome = merger.merge(versions, chosen(workspace, versions, path, explain=reasons.append), path)
        if outcome.metadata is not None and is_for_a_worktree:
            workspace.smudger.provide(outcome.metadata, path)
    if outcome.metadata is None:
        why = f" ({'; '.join(reasons)})" if reasons else ""
        complain(f"{path}: {described(outcome.unsettled)}{why}; the worktree keeps ours: settle it with {_how(path)}")
        return 1
    _replace(ours, serialize(outcome.metadata))
    return 0


def _merge_ancestors(workspace: Workspace, files: tuple[Path, Path, Path], path: str) -> int:
    """Merge two ancestors of a merge. Nobody is asked, and nobody's decision is lost.

    Where that fails, git would go on with one of them as the ancestor. With none, or one in which nothing is decided,
    everything is asked for.
    """
    merged = b""
    try:
        versions = _versions(files, path)
        merged = serialize(unmerged_ancestor(versions))
        with _withheld(files[1]):
            merged = serialize(merge_ancestors(workspace.merger, versions, path))
    finally:
        _replace(files[1], merged)
    return 0


def _versions(files: tuple[Path, Path, Path], path: str) -> Versions:
    old, mine, yours = (_read(file, path) for file in files)
    if mine is None or yours is None:
        raise MetadataError(f"{path}: only one side is kept by Git-Theta: settle the conflict by taking one of them")
    return Versions(old, (mine, yours))


def _read(file: Path, path: str) -> Metadata | None:
    data = file.read_bytes()
    try:
        return parse(data) if is_metadata(data) else None
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error


def _is_inner(workspace: Workspace, path: str, marker_size: int) -> bool:
    """Whether git merges the ancestors of a merge with each other: no one is asked about what is none's result.

    Git makes conflict markers longer then, by two characters or more, by which alone it can be told. (By one it makes
    them longer where a file was renamed on both sides.)
    """
    usual = workspace.repository.attribute(path, "conflict-marker-size") or ""
    return marker_size > 1 + (int(usual) if usual.isdecimal() and int(usual) else _MARKER_SIZE)


def _is_for_a_worktree(workspace: Workspace) -> bool:
    """Whether git puts what was merged into the worktree next: without all objects, it would fail half-way there."""
    is_skipped = drivers.skips_smudge() or workspace.settings.skip_smudge
    return not (is_skipped or workspace.repository.is_bare or _caller() == "merge-tree")


def _caller() -> str:
    """The verb of the git command that merges."""
    return next(iter(caller.arguments(lambda _name: None)), "")


def _how(path: str) -> str:
    return f"'git theta resolve {path}', or take one side with 'git checkout --ours' or '--theirs' and 'git add'"


@contextmanager
def _withheld(ours: Path) -> Iterator[None]:
    """Have our side's file gone within the context, and back after it, if there are plug-ins.

    One that exits with 0 would have our side, as it is, taken for the merged file. Without the file git finds no
    result, whoever ends the process, merges nothing and touches nothing.
    """
    if not has_plug_ins():
        yield
        return
    try:
        content = ours.read_bytes()
        ours.unlink()
    except OSError as error:
        raise StoreError(f"{ours} cannot be taken away: {error.strerror}") from error
    try:
        yield
    finally:
        _replace(ours, content)


def _replace(file: Path, data: bytes) -> None:
    """Put content into a file at once: git reads it even if this fails half-way."""
    try:
        with replacing(file) as stream:
            stream.write(data)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}") from error
