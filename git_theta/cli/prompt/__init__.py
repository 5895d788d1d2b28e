"""The prompt of a merge: asks on the terminal what shall become of each conflict."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from git_theta.cli.prompt.tty import SETTING, Mode, mode_of, terminal
from git_theta.git import caller, command
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Conflict, Decision, Settle

if TYPE_CHECKING:
    from git_theta.diffs.changes import Statistics
    from git_theta.git.repository import Repository
    from git_theta.git.sides import Sides
    from git_theta.metadata import Entry


def asking(
    repository: Repository,
    path: str,
    measure: Callable[[Entry, Entry], Statistics],
    *,
    sides: Sides | None = None,
    mode: Mode | None = None,
) -> Settle:
    """What settles conflicts by asking on the terminal; it settles none if nobody may be asked, or the user leaves.

    Args:
        repository: where git merges.
        path: of the checkpoint, from the top.
        measure: reads the values of two versions of a group and compares them; a ThetaError that it raises is shown.
        sides: who ours and theirs are; found out if it is not given.
        mode: when to ask; what `theta.merge.prompt` says if it is not given.
    """

    def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        wanted = mode_of(repository.settings().get(SETTING, Mode.AUTO)) if mode is None else mode
        with terminal(wanted, os.environ) as descriptor:
            if descriptor is None or not conflicts:
                return {}
            return _ask(descriptor, conflicts, sides or _sides(repository), path, measure)

    return settle


def _ask(
    descriptor: int,
    conflicts: Sequence[Conflict],
    sides: Sides,
    path: str,
    measure: Callable[[Entry, Entry], Statistics],
) -> Mapping[str, Decision]:
    # All of this, and prompt_toolkit above all, is imported only where somebody is asked.
    from git_theta.cli.prompt.dialogue import Dialogue, Left
    from git_theta.cli.prompt.screen import opened
    from git_theta.diffs.statistics import estimate

    try:
        with opened(descriptor, os.environ) as screen:
            return Dialogue(screen, path, sides, merge_methods(), estimate, measure).settle(conflicts)
    except Left:
        return {}


def _sides(repository: Repository) -> Sides:
    from git_theta.git.sides import sides

    def alias(name: str) -> str | None:
        status, output, _ = command.attempt(["config", "--get", f"alias.{name}"], cwd=repository.cwd)
        return command.lines(output)[0] if status == 0 and output else None

    return sides(repository, os.environ, caller.arguments(alias))
