"""`git theta diff-driver`: what `git diff` shows of a checkpoint (diff.theta.command)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from git_theta.cli.boundary import complain, printable, silence
from git_theta.cli.comparing import Comparing, named
from git_theta.cli.display import look
from git_theta.cli.terminal import IN_PAGER, is_read, say
from git_theta.diffs.heads import FileSide
from git_theta.diffs.table import patch
from git_theta.errors import NotThisFormatError, ThetaError, UsageError
from git_theta.git import caller

if TYPE_CHECKING:
    from git_theta.flows.versions import Opener, Version

_ABSENT: Final = "/dev/null"
_EXTERNAL: Final = "GIT_EXTERNAL_DIFF"
_FOR_PEOPLE: Final = "(this cannot be applied: git format-patch without --ext-diff makes a patch that can)"


@click.command(
    "diff-driver", add_help_option=False, context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Write what changed in a checkpoint. Git calls this; see gitattributes(5), "external diff driver".

    The arguments are PATH OLD-FILE OLD-OID OLD-MODE NEW-FILE NEW-OID NEW-MODE, and after a rename the new path and the
    lines that tell of it.
    """
    if arguments in (("-h",), ("--help",)):
        click.echo(ctx.get_help())
        return 0
    other = os.environ.get(_EXTERNAL)
    if other:
        return _forward(other, arguments)
    if len(arguments) == 1:
        say(f"* Unmerged path {printable(arguments[0])}")
        return 0
    if len(arguments) not in (7, 9):
        raise UsageError("diff-driver is for git to call, with 1, 7 or 9 arguments (gitattributes(5))")
    is_paged = bool(os.environ.get(IN_PAGER))
    if not is_paged and not is_read():
        return 0
    try:
        for line in _lines(arguments):
            say(line)
    except BrokenPipeError:
        # If we fail, git ends at once, and says that we died. In the pager that was left, nobody sees that; others who
        # only read no more (head) would.
        if is_paged:
            raise
        silence()
    return 0


def _forward(program: str, arguments: Sequence[str]) -> int:
    """Call the one whom git would call if we were not there: that is how `git difftool` shows files.

    As with git, the variable may hold options as well, which the shell takes apart. Whatever the program runs is not to
    come back here: it might be this one.
    """
    environment = {name: value for name, value in os.environ.items() if name != _EXTERNAL}
    command_line = ["sh", "-c", f'{program} "$@"', program, *arguments]
    return subprocess.run(command_line, env=environment, check=False).returncode


def _lines(arguments: Sequence[str]) -> Iterator[str]:
    old_path, new_path = arguments[0], arguments[7] if len(arguments) == 9 else arguments[0]
    more = arguments[8].splitlines() if len(arguments) == 9 else None
    old, new = _side(old_path, *arguments[1:4]), _side(new_path, *arguments[4:7])
    comparing = Comparing.here()
    words = caller.arguments(lambda _name: None)
    style = look(comparing.settings, os.environ, words)
    with ExitStack() as stack:
        diff = None
        if old.oid != new.oid or not old.is_named:
            versions = _versions(comparing.opener(stack), comparing, [(old, arguments[1]), (new, arguments[4])])
            if versions is not None:
                old, new = (named(side, version) for side, version in zip((old, new), versions, strict=True))
                diff = comparing.differ.diff(*versions, old.path, new.path)
        yield from patch(old, new, more, diff, style)
    if words[:1] == ("format-patch",):
        yield _FOR_PEOPLE


def _side(path: str, file: str, oid: str, mode: str) -> FileSide:
    return FileSide(path, None) if file == _ABSENT else FileSide(path, mode, oid)


def _versions(
    opener: Opener, comparing: Comparing, sides: Sequence[tuple[FileSide, str]]
) -> tuple[Version, Version] | None:
    """Both sides; None if one of them is no checkpoint, or cannot be read."""
    try:
        old, new = comparing.versions(opener, [(side, Path(file)) for side, file in sides])
    except NotThisFormatError:
        return None
    except ThetaError as error:
        complain(f"warning: {sides[1][0].path}: {error}")
        return None
    return old, new
