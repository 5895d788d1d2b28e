"""`git theta diff`: what changed in checkpoints, between commits, the index and the worktree, or between files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from git_theta.cli.boundary import complain, printable
from git_theta.cli.comparing import Comparing
from git_theta.cli.display import look
from git_theta.cli.pager import paged
from git_theta.cli.pairs import Pair, changed, files, folders
from git_theta.cli.paths import WithPaths, separated
from git_theta.cli.terminal import say
from git_theta.cli.two_files import reach_outside, two_folders
from git_theta.diffs.heads import rename_lines
from git_theta.diffs.table import patch, summary_line
from git_theta.errors import CompareError, CompareUsageError, ThetaError
from git_theta.git.changed_files import changed_files
from git_theta.tensors import is_named

if TYPE_CHECKING:
    from git_theta.diffs.changes import CheckpointDiff
    from git_theta.diffs.look import Look
    from git_theta.flows.diff import Differ, Selection


class _LikeGit(WithPaths):
    """A command that exits as git diff does if its arguments make no sense."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Exit with 129 and not with 2."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise CompareUsageError(f"{error.format_message()} Try 'git theta diff -h'.") from error


@click.command("diff", cls=_LikeGit)
@click.option("--cached", "--staged", is_flag=True, help="Compare the index with REVISION (by default HEAD).")
@click.option("--stat", is_flag=True, help="Show a line for each checkpoint; reads no values.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/diff.md).")
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with charts, to open in a browser.",
)
@click.option("--groups", "pattern", help="Only the groups whose names match a pattern, such as 'h.*.attn.*'.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if something differs.")
@click.option("--no-index", is_flag=True, help="Compare two files or directories, be they in a repository or not.")
@click.argument("arguments", nargs=-1, metavar="[REVISION [REVISION]] [--] [PATH]... | FILE FILE | DIR DIR")
@click.pass_context
def command(
    ctx: click.Context,
    arguments: tuple[str, ...],
    cached: bool,
    stat: bool,
    as_json: bool,
    page: Path | None,
    pattern: str | None,
    exit_code: bool,
    no_index: bool,
) -> int:
    """Show what changed in checkpoints, group by group.

    As with git diff, the worktree is compared with the index or with a REVISION, or two revisions with each other.
    Outside of a repository, or with --no-index, two files are compared, which may have different formats, or the
    checkpoints of the same names in two directories; the exit code then is 1 if they differ, with no need of
    --exit-code, save with --html. It is 128 if they cannot be compared.
    """
    if page is not None and (stat or as_json):
        raise CompareUsageError("--html goes without --stat and --json")
    paths = separated(ctx)
    only: Selection | None = None if pattern is None else partial(is_named, pattern=pattern)
    with _failing_like_git(), ExitStack() as stack:
        comparing = Comparing.here()
        opener = comparing.opener(stack)
        words = ["diff", *(["--cached"] if cached else []), *arguments]
        workspace = comparing.workspace
        if workspace is None or no_index or reach_outside(arguments, paths, workspace.repository):
            if cached:
                raise CompareUsageError("two files have no index: leave out --cached, or name revisions")
            words.insert(1, "--no-index")
            names = [*arguments, *(paths or ())]
            both = two_folders(names)
            pairs = files(names, comparing, opener) if both is None else folders(*both, comparing, opener)
            tells = exit_code or page is None  # git diff, too, tells of two files without being asked
        else:
            found = changed_files(Path.cwd(), arguments, paths, cached=cached)
            pairs = changed(found, comparing, workspace, opener)
            tells = exit_code
        differ = comparing.differ
        differ = differ.quick() if stat else differ if page is None else differ.thorough()
        compared = _compared(pairs, differ, only)
        stack.enter_context(paged(wanted=page is None and not exit_code))
        if as_json or page is not None:
            count = _show_whole(list(compared), page, differ)
        else:
            count = _show(compared, look(comparing.settings, os.environ, words), stat=stat)
    return int(tells and count > 0)


@contextmanager
def _failing_like_git() -> Iterator[None]:
    """Let whatever goes wrong have the exit code of git diff for that: 1, as elsewhere, would say that files differ."""
    try:
        yield
    except (CompareError, CompareUsageError, BrokenPipeError):
        raise
    except ThetaError as error:
        raise CompareError(str(error)) from error
    except OSError as error:
        raise CompareError(f"{error.filename or 'the output'}: {error.strerror}") from error


def _compared(
    pairs: Iterable[Pair], differ: Differ, only: Selection | None
) -> Iterator[tuple[Pair, CheckpointDiff | None]]:
    for pair in pairs:
        diff = None if pair.versions is None else differ.diff(*pair.versions, pair.old.path, pair.new.path, only)
        if diff is None or _says_something(diff, pair, is_part=only is not None):
            yield pair, diff


def _says_something(diff: CheckpointDiff, pair: Pair, *, is_part: bool) -> bool:
    """Whether there is a difference: in the groups that were asked for, or else in anything."""
    if diff.changes or diff.values or diff.old is None or diff.new is None:
        return bool(diff.changes) or not is_part
    is_same_file = pair.similarity is None and (pair.old.mode, pair.old.oid) == (pair.new.mode, pair.new.oid)
    return not is_part and not (is_same_file and diff.old.skeleton.digest == diff.new.skeleton.digest)


def _show_whole(listed: Sequence[tuple[Pair, CheckpointDiff | None]], page: Path | None, differ: Differ) -> int:
    """Show all diffs at once, as a page or as JSON; returns how many there are, those that are left out too."""
    from git_theta.cli import diff_page
    from git_theta.diffs import as_json

    for pair, diff in listed:
        if diff is None:
            complain(f"warning: {pair.new.path} cannot be compared, and is left out")
    diffs = [(diff, pair.versions) for pair, diff in listed if diff is not None and pair.versions is not None]
    if page is None:
        say(as_json.text(diff for diff, _ in diffs))
    else:
        diff_page.write(page, diffs, differ)
    return len(listed)


def _show(found: Iterable[tuple[Pair, CheckpointDiff | None]], style: Look, *, stat: bool) -> int:
    """Show one diff after the other; returns how many there are."""
    count = 0
    for pair, diff in found:
        count += 1
        if pair.is_unmerged:
            say(f" {printable(pair.new.path)} | unmerged" if stat else f"* Unmerged path {printable(pair.new.path)}")
            continue
        if stat:
            what = "cannot be compared" if diff is None else summary_line(diff)
            moved = "" if pair.old.path == pair.new.path else f"{printable(pair.old.path)} => "
            say(f" {moved}{printable(pair.new.path)} | {what}")
            continue
        renamed = pair.similarity
        more = None if renamed is None else rename_lines(pair.old, pair.new, renamed, style.digits)
        for line in patch(pair.old, pair.new, more, diff, style):
            say(line)
    return count
