"""`git theta resolve`: settle the conflicts of checkpoints that a merge left."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from git_theta.cli import strategies
from git_theta.cli.boundary import complain, printable
from git_theta.cli.interrupting import ending_soon
from git_theta.cli.paths import from_top
from git_theta.cli.strategies import F, Said, strategy_options
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, UsageError
from git_theta.flows import resolve
from git_theta.flows.fetch import fetch
from git_theta.flows.resolve import Found, Resolved
from git_theta.git import drivers
from git_theta.git.stages import Index
from git_theta.printing import listed

_SIDES: Final = {
    "--ours": "Take the groups in conflict from our side.",
    "--theirs": "Take them from their side.",
    "--ancestor": "Take them from the common ancestor.",
}

_HOW: Final = "--ours, --theirs, --method or --recipe, and --otherwise for what no method merges"


def _sides(command: F) -> F:
    for flag, text in reversed(_SIDES.items()):
        value = flag.removeprefix("--")
        command = click.option(flag, "sides", flag_value=value, multiple=True, help=text)(command)
    return command


@click.command("resolve")
@_sides
@strategy_options
@click.option("--force", is_flag=True, help="Replace a worktree file that is as on no side.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def command(paths: tuple[Path, ...], sides: tuple[str, ...], force: bool, **options: Any) -> int:
    """Settle the conflicts of checkpoints, of all or at PATHS, and stage the results.

    What only one side changed is taken from it, as in the merge; the options say what becomes of the rest. Without
    them, what is configured counts (GIT_THETA_MERGE, the attribute theta-merge, theta.merge.method), or you are asked.
    Where one side removed the whole checkpoint, --ours, --theirs or --ancestor settles it. All paths are settled, or
    none.
    """
    said = _asked(sides, options)
    workspace = Workspace.here()
    index = Index(workspace.repository)
    found = _found(workspace, index, paths)
    if not force:
        for each in found:
            _check_worktree(index, each)
    reasons: dict[str, str] = {}
    with ending_soon():
        settled = {each.path: _resolved(workspace, each, said, reasons) for each in found}
    left = {path: result.unsettled for path, result in settled.items() if result.unsettled}
    for path, names in left.items():
        why = f" ({reasons[path]})" if path in reasons else ""
        complain(f"{path}: {listed(names)} still in conflict{why}: say how with {_HOW}")
    if left:
        return 1
    _provide(workspace, settled)
    index.settle({path: result.entry for path, result in settled.items()})
    for path, result in settled.items():
        click.echo(printable(f"{path}: {_summary(result)}"))
    return 0


def _asked(sides: tuple[str, ...], options: dict[str, Any]) -> Said | None:
    named = sorted(set(sides))
    if len(named) > 1 or (named and (options["method"] is not None or options["recipe"] is not None)):
        raise UsageError("choose one of --ours, --theirs, --ancestor, --method and --recipe")
    return strategies.asked({**options, "method": named[0]} if named else options)


def _found(workspace: Workspace, index: Index, paths: tuple[Path, ...]) -> list[Found]:
    """The checkpoints in conflict at the paths; at least one for each path."""
    asked = {str(path): from_top(workspace, path) for path in paths} or {"": "."}
    found: dict[str, Found] = {}
    for name, path in asked.items():
        read = [resolve.read(workspace.repository, each, stages) for each, stages in index.unmerged([path]).items()]
        checkpoints = [each for each in read if each is not None]
        if not checkpoints:
            raise GitError(f"no checkpoint is in conflict{f' at {name}' if name else ''}: there is nothing to resolve")
        found |= {each.path: each for each in checkpoints}
    return list(found.values())


def _check_worktree(index: Index, found: Found) -> None:
    """Make sure that nothing is lost that no side has."""
    cleaned = index.cleaned(found.path)
    if cleaned is not None and cleaned not in [entry.oid for entry in found.stages.values()]:
        raise GitError(
            f"{found.path} has been changed in the worktree and is as on no side: stage it with 'git add' if it is"
            " what you want, or replace it with --force"
        )


def _resolved(workspace: Workspace, found: Found, said: Said | None, reasons: dict[str, str]) -> Resolved:
    """What a checkpoint shall be; why something is left open is put to the reasons."""
    explain = partial(reasons.__setitem__, found.path)
    settle = strategies.chosen(workspace, found.versions, found.path, said=said, explain=explain)
    return resolve.resolve(workspace.repository, found, workspace.merger, settle)


def _provide(workspace: Workspace, settled: Mapping[str, Resolved]) -> None:
    """Bring what git will need to write the files, while nothing is changed yet."""
    if drivers.skips_smudge() or workspace.settings.skip_smudge:
        return
    present = [result.metadata for result in settled.values() if result.metadata is not None]
    fetch(workspace.transfer, [ref for metadata in present for ref in metadata.objects()])


def _summary(resolved: Resolved) -> str:
    if resolved.entry is None:
        return "removed"
    counts = ", ".join(f"{count} by {method}" for method, count in sorted(resolved.methods.items()))
    return f"settled ({counts or 'nothing was in conflict'})"
