"""Who decides in a merge: the environment, an attribute, the configuration, or options; else whoever is asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from msgspec import Struct

from git_theta.cli.prompt import asking
from git_theta.cli.workspace import Workspace
from git_theta.errors import MergeError, PluginError, UsageError
from git_theta.flows.merging.plan import Versions
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Conflict, Decision, Settle
from git_theta.merges.recipes import MAX_BYTES
from git_theta.merges.strategies import OTHERWISE, Answer, Strategy
from git_theta.merges.strategy_text import compose, parse_strategy

VARIABLE: Final = "GIT_THETA_MERGE"
"""The environment variable that says how to merge: it overrules what is configured."""

ATTRIBUTE: Final = "theta-merge"
_BY_ATTRIBUTE: Final = f"the attribute {ATTRIBUTE}"
SETTING: Final = "merge.method"
PROMPT: Final = "prompt"
"""The word for: ask, whatever is configured besides."""

F = TypeVar("F", bound=Callable[..., Any])


class Said(Struct, frozen=True):
    """What somebody said about how to merge.

    Attributes:
        text: what was said (`parse_strategy`).
        source: who said it, for messages.
    """

    text: str
    source: str


def strategy_options(command: F) -> F:
    """Give a command the options that say how to merge, which `asked` takes."""
    help_of_words = "What to take of {}: ours, theirs or ancestor{}; by default a conflict."
    options = [
        click.option("--method", metavar="METHOD", help="Merge groups that several sides changed by this method."),
        click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the method."),
        click.option("--recipe", metavar="FILE", help="Merge as a recipe says (docs/merging.md)."),
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="The seed of methods that choose at random."),
        click.option(
            "--texts", metavar="SIDE", help=help_of_words.format("values that are no groups, such as epoch", "")
        ),
        click.option("--shapes", metavar="SIDE", help=help_of_words.format("groups of different shapes", ", or rows")),
        click.option(
            "--otherwise", metavar="SIDE", help=help_of_words.format("everything that the method does not fit", "")
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def asked(options: Mapping[str, Any]) -> Said | None:
    """What the options say; None if they say nothing.

    Args:
        options: those of `strategy_options`, by name.

    Raises:
        UsageError: they contradict each other, or cannot be understood.
    """
    method, params, recipe, seed = (options[name] for name in ("method", "params", "recipe", "seed"))
    words = {name: options[name] for name in OTHERWISE if options.get(name) is not None}
    if method is not None and recipe is not None:
        raise UsageError("choose one of --method and --recipe")
    if params and method is None:
        raise UsageError("--param is for a method: name it with --method")
    pairs = [_pair(param) for param in params] + list(words.items())
    if method is None and recipe is None and seed is None and not pairs:
        return None
    if method is None and recipe is None and seed is not None:
        raise UsageError("--seed is for a method or a recipe: name it with --method or --recipe")
    place = None if recipe is None else str(Path(recipe).absolute())
    said = Said(compose(method, pairs, place, seed=seed), "the options")
    try:
        parse_strategy(said.text, merge_methods(), _read)
    except (MergeError, PluginError) as error:
        raise UsageError(str(error)) from error
    return said


def configured(workspace: Workspace, path: str) -> Said | None:
    """Who decides about a checkpoint without being asked: the environment, its attribute, or the configuration.

    Args:
        workspace: where.
        path: of the checkpoint, from the top.
    """
    candidates = [
        (os.environ.get(VARIABLE, ""), VARIABLE),
        (workspace.repository.attribute(path, ATTRIBUTE) or "", _BY_ATTRIBUTE),
        (workspace.repository.settings().get(SETTING, ""), f"theta.{SETTING}"),
    ]
    said = next((Said(text, source) for text, source in candidates if text.strip()), None)
    return None if said is None or said.text.strip() == PROMPT else said


def strategy_of(workspace: Workspace, said: Said) -> Strategy:
    """The strategy that was said; recipes are those of the worktree, and their paths lead from its top.

    Raises:
        MergeError: it is not understood.
    """
    top = workspace.repository.worktree

    def read(name: str) -> bytes:
        # Attributes come with what was cloned, and are not to say which files of this machine are read.
        if said.source == _BY_ATTRIBUTE and not (top / name).resolve().is_relative_to(top.resolve()):
            raise MergeError(f"the recipe {name} is outside of the repository")
        return _read(str(top / name))

    try:
        return parse_strategy(said.text, merge_methods(), read)
    except (MergeError, PluginError) as error:
        raise MergeError(f"{said.source}: {error}") from error


def chosen(
    workspace: Workspace,
    versions: Versions,
    path: str,
    *,
    explain: Callable[[str], object],
    said: Said | None = None,
    sides: tuple[Sequence[int], int] | None = None,
    named: Sequence[tuple[str, str]] = (),
) -> Settle:
    """What settles the conflicts of a checkpoint.

    Args:
        workspace: where the merge takes place.
        versions: that are merged, ours first.
        path: of the checkpoint, from the top of the worktree.
        explain: is told why something is left in conflict.
        said: who decides; by default, who is configured, or else the user, if there is a terminal.
        sides: where the checkpoint is not on all sides: those that it is on by number, and how many there are.
        named: who the sides are (`prompt.asking`), if it is known.
    """

    def settle(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        answer = answers(workspace, versions, path, conflicts, said=said, sides=sides)
        if answer is None:
            return asking(workspace, path, named=named, has_ancestor=versions.ancestor is not None)(conflicts)
        if answer.reasons:
            name, why = next(iter(answer.reasons.items()))
            others = len(answer.reasons) - 1
            # What is left is named anyway; if it is one thing alone, it needs no name again.
            explain(f"{name}: {why}, and {others} more" if others else why)
        return answer.decisions

    return settle


def answers(
    workspace: Workspace,
    versions: Versions,
    path: str,
    conflicts: Sequence[Conflict],
    *,
    said: Said | None = None,
    sides: tuple[Sequence[int], int] | None = None,
) -> Answer | None:
    """What a strategy says to conflicts; None if there is none, and somebody has to be asked. See `chosen`.

    Raises:
        MergeError: the strategy is not understood, or a rule of it is for no group of the checkpoint.
    """
    who = said or configured(workspace, path)
    if who is None:
        return None
    strategy = strategy_of(workspace, who)
    if sides is not None:
        strategy = strategy.of_sides(*sides)
    return strategy.settle(conflicts, (entry.name for version in versions.all() for entry in version.entries))


def _read(place: str) -> bytes:
    try:
        if not stat.S_ISREG(Path(place).stat().st_mode):
            raise MergeError(f"the recipe {place} is no file")
        with Path(place).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MergeError(f"the recipe {place} cannot be read: {reason}") from error


def _pair(param: str) -> tuple[str, str]:
    name, is_pair, value = param.partition("=")
    if not is_pair or name in OTHERWISE or not name or any(mark.isspace() or mark == ";" for mark in param):
        raise UsageError(f"--param {param!r}: write NAME=VALUE, without spaces")
    return name, value
