"""`git theta merge-strategy`: merge several branches at once, as git asks a merge strategy to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import click

from git_theta.cli import strategies
from git_theta.cli.boundary import complain
from git_theta.cli.interrupting import ending_soon
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, ThetaError, UsageError
from git_theta.flows.fetch import fetch
from git_theta.flows.meetings import Meeting
from git_theta.flows.octopus import Joined, Side, Survey, join, sides_of, survey
from git_theta.git import drivers, strategy
from git_theta.git.trees import Trees
from git_theta.merges.decisions import Settle

_NOT_MERGED: Final = 2
"""Tells git that nothing was merged, and that there are no conflicts in the index."""

_ONE_BY_ONE: Final = "merge one branch after the other"
_SAY: Final = f"say how with --method or --recipe, and --otherwise for what no method merges, or {_ONE_BY_ONE}"


@click.command("merge-strategy")
@click.argument("arguments", nargs=-1)
def command(arguments: tuple[str, ...]) -> int:
    """Merge commits into index and worktree, all or nothing.

    Git gives its ARGUMENTS: options, common ancestors, "--", HEAD, and the commits to be merged.
    """
    try:
        workspace = Workspace.here()
        commits = _commits(workspace, arguments)
        _check_index(workspace)
        found = survey(workspace.repository, sides_of(workspace.repository, commits), workspace.merger)
        reasons: dict[str, str] = {}
        place = workspace.store.temporary_directory()
        with Trees.beside(workspace.repository, place, keep=True) as trees, ending_soon():
            joined = join(found, trees, workspace.merger, partial(_settle, workspace, found, reasons))
        if joined.tree is None:
            _complain(found, joined, reasons)
            return _NOT_MERGED
        return _check_out(workspace, joined, joined.tree)
    except ThetaError as error:
        complain(str(error))
        return _NOT_MERGED


def _settle(workspace: Workspace, survey: Survey, reasons: dict[str, str], meeting: Meeting) -> Settle:
    """Who settles the conflicts of a checkpoint; why one is left open is put to the reasons."""
    sides = (meeting.present, len(survey.sides))
    present = [survey.sides[number] for number in meeting.present]
    named = [(side.name, side.commit) for side in present]
    explain = partial(reasons.__setitem__, meeting.path)
    return strategies.chosen(workspace, meeting.versions, meeting.path, sides=sides, named=named, explain=explain)


def _commits(workspace: Workspace, arguments: Sequence[str]) -> list[Side]:
    if "--" not in arguments:
        raise UsageError("git merge calls this: use 'git theta merge'")
    before, after = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    options = [argument for argument in before if argument.startswith("-")]
    if options:
        raise UsageError(f"the merge strategy theta has no option {options[0]}: use 'git theta merge --method'")
    if len(after) < 2:
        raise UsageError("there is nothing to merge")
    # Git says "HEAD" for ours, and in GITHEAD_* how the user called the others.
    return [
        Side(os.environ.get(f"GITHEAD_{name}", name), workspace.repository.resolve(name, "commit")) for name in after
    ]


def _check_index(workspace: Workspace) -> None:
    changed = workspace.repository.staged()
    if changed:
        raise GitError(f"{changed[0]} is staged, and would become a part of the merge: commit or unstage it first")


def _complain(survey: Survey, joined: Joined, reasons: Mapping[str, str]) -> None:
    """Say of each path why it could not be merged, and what to do."""
    meetings = {meeting.path for meeting in survey.meetings}
    for path, what in joined.problems.items():
        why = f" ({reasons[path]})" if path in reasons else ""
        complain(f"{path}: {what}{why}; nothing is merged: {_SAY if path in meetings else _ONE_BY_ONE}")


def _check_out(workspace: Workspace, joined: Joined, tree: str) -> int:
    if not (drivers.skips_smudge() or workspace.settings.skip_smudge):
        refs = [ref for metadata in joined.checkpoints.values() for ref in metadata.objects()]
        fetch(workspace.transfer, refs)
    workspace.repository.git("read-tree", "-m", "-u", "HEAD", tree)
    return strategy.MERGED
