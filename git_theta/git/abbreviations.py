"""How many digits of a blob's name git shows in the head of a diff."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from git_theta.git import command
from git_theta.git.caller import before_paths

USUAL: Final = 7
WHOLE: Final = 64
"""As many as any name has."""

_LEAST: Final = 4
_NOBODY: Final = ("0" * 40, "0" * 64)
"""Names that are no object's, of both lengths that names have: git abbreviates them like any other."""


def digits(words: Sequence[str], cwd: Path) -> int:
    """The digits that git shows: as its options or core.abbrev say, or else more in larger repositories.

    Args:
        words: the verb and the arguments of the git command that shows the diff, as far as they are known.
        cwd: a directory whose configuration counts.
    """
    asked = from_options(words)
    return _configured(cwd) if asked is None else asked


def from_options(words: Sequence[str]) -> int | None:
    """What the options of git diff say; None if they say nothing."""
    options = before_paths(words)
    if "--full-index" in options:
        return WHOLE
    lengths = [option.removeprefix("--abbrev=") for option in options if option.startswith("--abbrev=")]
    return max(_LEAST, int(lengths[-1])) if lengths and lengths[-1].isdecimal() else None


def _configured(cwd: Path) -> int:
    for name in _NOBODY:
        status, output, _ = command.attempt(["rev-parse", "--short", name], cwd=cwd)
        if status == 0:
            return len(output.strip())
    return USUAL
