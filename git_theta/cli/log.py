"""`git theta log`: the commits that changed groups, and how much."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec.structs import replace

from git_theta.cli.display import look
from git_theta.cli.pager import paged
from git_theta.cli.paths import WithPaths, separated
from git_theta.cli.terminal import say
from git_theta.cli.workspace import Workspace
from git_theta.diffs import as_json, table
from git_theta.diffs.look import Look
from git_theta.diffs.words import ARROW
from git_theta.errors import GitError, UsageError
from git_theta.flows import log as flow
from git_theta.flows.diff import How
from git_theta.git import history
from git_theta.printing import printable

if TYPE_CHECKING:
    from git_theta.diffs.changes import CheckpointDiff
    from git_theta.git.repository import Repository

_ABBREVIATED: Final = 10
_MOST_BYTES: Final = 1 << 21
"""Values that are read of each checkpoint of each commit: many commits are to be told of in a second."""

_INDENT: Final = "  "
_DATE: Final = len("2026-11-25")


@click.command("log", cls=WithPaths)
@click.option(
    "--group", "-g", "patterns", multiple=True, metavar="PATTERN", help="Only groups of this name or pattern."
)
@click.option("--number", "-n", "limit", metavar="N", type=click.IntRange(0), help="Show no more than N commits.")
@click.option("--all", "everything", is_flag=True, help="Begin at all branches and tags.")
@click.option("--exact", is_flag=True, help="Read the values of every group that changed, as far as they are here.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON (docs/diff.md).")
@click.argument("arguments", nargs=-1, metavar="[REVISION...] [-- PATH...]")
@click.pass_context
def command(
    ctx: click.Context,
    arguments: tuple[str, ...],
    patterns: tuple[str, ...],
    limit: int | None,
    everything: bool,
    exact: bool,
    in_json: bool,
) -> None:
    """Show the commits that changed groups of checkpoints, newest first, and by how much.

    Of a merge, what it has from none of its parents is shown. A file is followed under the names that it had before,
    and so is a group that got another name while its values stayed the same.
    """
    workspace = Workspace.here()
    repository = workspace.repository
    words, paths = _sorted(repository, arguments, separated(ctx))
    commits = history.commits(repository, history.revisions(repository, words, everything=everything), paths)
    how = How.EXACT if exact else workspace.differ.how
    differ = replace(workspace.differ, how=how, affordable=_MOST_BYTES)
    logged = flow.log(repository, commits, flow.Followed(patterns), differ, all_files=bool(paths))
    shown = itertools.islice(logged, limit)
    with paged():
        if in_json:
            say(json.dumps({"version": as_json.VERSION, "commits": [_described(entry) for entry in shown]}, indent=1))
            return
        style = look(workspace.settings, os.environ)
        style = replace(style, width=style.width and max(1, style.width - len(_INDENT)))
        for entry in shown:
            for line in _lines(entry, style, whole=not patterns):
                say(line)


def _sorted(
    repository: Repository, arguments: Sequence[str], paths: Sequence[str] | None
) -> tuple[Sequence[str], Sequence[str]]:
    """Revisions and paths. Without "--" between them, the first that is no revision, and all after it, are paths.

    Raises:
        UsageError: one is neither.
    """
    if paths is not None:
        return arguments, paths
    words = list(itertools.takewhile(partial(_is_revision, repository), arguments))
    found = arguments[len(words) :]
    for path in found:
        if not os.path.lexists(repository.cwd / path):
            raise UsageError(
                f"{path!r} is no revision, and no file here: put '--' before the path of a file that is gone"
            )
    return words, found


def _is_revision(repository: Repository, word: str) -> bool:
    try:
        history.revisions(repository, [word])
    except GitError:
        return False
    return True


def _lines(entry: flow.Logged, style: Look, *, whole: bool) -> Iterator[str]:
    """A commit, and the table of each checkpoint that it changed."""
    commit = entry.commit
    name = style.coloured(commit.oid[:_ABBREVIATED], "changed")
    yield f"{name} {commit.date[:_DATE]} {printable(commit.author)}: {printable(commit.subject)}"
    for diff in entry.diffs:
        *rows, summary = table.lines(diff, style)
        yield f"{_INDENT}{_title(diff)}: {summary}"
        is_made_or_gone = diff.old is None or diff.new is None
        if diff.old != diff.new and not (whole and is_made_or_gone):
            yield from (_INDENT + line for line in rows)
    yield from (_INDENT + printable(problem) for problem in entry.problems)


def _title(diff: CheckpointDiff) -> str:
    if diff.old_path == diff.new_path:
        return printable(diff.new_path)
    return f"{printable(diff.old_path)} {ARROW} {printable(diff.new_path)}"


def _described(entry: flow.Logged) -> dict[str, Any]:
    commit = entry.commit
    checkpoints = [as_json.checkpoint(diff) for diff in entry.diffs]
    return {
        "commit": commit.oid,
        "parents": list(commit.parents),
        "author": commit.author,
        "email": commit.email,
        "date": commit.date,
        "subject": commit.subject,
        "checkpoints": [{key: value for key, value in found.items() if key != "unchanged"} for found in checkpoints],
        "problems": list(entry.problems),
    }
