"""The prompt of a merge: asks on the terminal what shall become of each conflict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from git_theta.cli.prompt.tty import SETTING, Mode, mode_of, terminal
from git_theta.git import caller
from git_theta.git.repository import STORE, Repository
from git_theta.git.sides import Sides, several
from git_theta.git.sides import sides as find_sides
from git_theta.merges.decisions import Conflict, Decision, Settle

if TYPE_CHECKING:
    from git_theta.cli.workspace import Workspace


def asking(
    workspace: Workspace, path: str, *, named: Sequence[tuple[str, str]] = (), has_ancestor: bool = True
) -> Settle:
    """What settles conflicts by asking on the terminal; it settles none if nobody may be asked, or the user leaves.

    Args:
        workspace: where git merges.
        path: of the checkpoint, from the top.
        named: the sides as the user calls them, and the names of their commits (`several`); found out if not given.
        has_ancestor: whether the sides come from a common ancestor.
    """

    def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        mode = mode_of(workspace.repository.settings().get(SETTING, Mode.AUTO))
        with terminal(mode, os.environ) as descriptor:
            if descriptor is None or not conflicts:
                return {}
            sides = several(workspace.repository, named) if named else _sides(workspace.repository)
            return _ask(descriptor, workspace, path, sides, conflicts, has_ancestor=has_ancestor)

    return settle


def _ask(
    descriptor: int,
    workspace: Workspace,
    path: str,
    sides: Sides,
    conflicts: Sequence[Conflict],
    *,
    has_ancestor: bool,
) -> Mapping[str, Decision]:
    # All of this, and prompt_toolkit above all, is imported only where somebody is asked.
    from git_theta.cli.prompt.dialogue import Dialogue, Left
    from git_theta.cli.prompt.screen import opened
    from git_theta.diffs.statistics import estimate
    from git_theta.flows.drafts import Draft
    from git_theta.merges.fitting import usable

    methods = workspace.merger.methods
    try:
        with opened(descriptor, os.environ) as screen:
            talk = Dialogue(
                screen=screen,
                path=path,
                sides=sides,
                methods=methods,
                estimate=estimate,
                measure=workspace.measurer(path).measure,
                draft=Draft.of(workspace.repository.git_dir / STORE, path, usable(methods)),
                has_ancestor=has_ancestor,
            )
            return talk.settle(conflicts)
    except (Left, KeyboardInterrupt):
        return {}


def _sides(repository: Repository) -> Sides:
    return find_sides(repository, os.environ, caller.arguments(repository.alias))
