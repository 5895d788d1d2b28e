"""How text about differences is to look here: as git's settings, the terminal and the environment say."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from git_theta.cli.terminal import IN_PAGER, shows_unicode
from git_theta.diffs.look import Look
from git_theta.git import colours
from git_theta.git import command as git
from git_theta.git.abbreviations import digits
from git_theta.git.prefixes import prefixes
from git_theta.settings import Settings

_COLOURS: Final = {
    "head": ("color.diff.meta", "bold"),
    "title": ("color.diff.frag", "cyan"),
    "old": ("color.diff.old", "red"),
    "new": ("color.diff.new", "green"),
    "changed": ("color.diff.commit", "yellow"),
    "end": ("", "reset"),
}
"""For each word of `Look.colours` the key of git's configuration, and what it is by default."""


def look(settings: Settings, environment: Mapping[str, str], words: Sequence[str] = ()) -> Look:
    """How to show differences on standard output.

    Args:
        settings: of the user.
        environment: of the process.
        words: the arguments of the git command that shows them, if it does.
    """
    return Look(
        width=_columns(environment),
        fold=settings.fold,
        is_unicode=shows_unicode(environment),
        prefixes=prefixes(words, Path.cwd()),
        digits=digits(words, Path.cwd()),
        colours=_colours(environment, colours.asked(words)),
    )


def _columns(environment: Mapping[str, str]) -> int | None:
    """The width of the terminal, or of the one that git's pager has; None for a file or a pipe."""
    text = environment.get("COLUMNS", "")
    if text.isdecimal() and int(text):
        return int(text)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _colours(environment: Mapping[str, str], asked: str | None) -> dict[str, str]:
    """Escape sequences by word, if git itself would write a diff in colours here (it knows of its pager).

    Args:
        environment: of the process.
        asked: what the options of the git command say, which counts more than any setting.
    """
    if asked != colours.ALWAYS and (environment.get("NO_COLOR") or not _wants_colours(environment, asked)):
        return {}
    return {word: _colour(key, default) for word, (key, default) in _COLOURS.items()}


def _wants_colours(environment: Mapping[str, str], asked: str | None) -> bool:
    if asked == colours.NEVER:
        return False
    is_terminal = "true" if sys.stdout.isatty() else "false"
    variables = {}
    if environment.get(IN_PAGER):
        # Of color.pager, `git config --get-colorbool` knows nothing.
        _, output, _ = git.attempt(["config", "--type=bool", "--get", "color.pager"], cwd=Path.cwd())
        variables = {IN_PAGER: "false"} if output.strip() == b"false" else {}
    overruled = [] if asked is None else ["-c", f"color.diff={asked}"]
    question = [*overruled, "config", "--get-colorbool", "color.diff", is_terminal]
    status, output, _ = git.attempt(question, cwd=Path.cwd(), variables=variables)
    return status == 0 and output.strip() == b"true"


def _colour(key: str, default: str) -> str:
    status, output, _ = git.attempt(["config", "--get-color", key, default], cwd=Path.cwd())
    return os.fsdecode(output) if status == 0 else ""
