"""What the options of a git command say of colours: git does not pass them on to its diff drivers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from git_theta.git.caller import before_paths

ALWAYS: Final = "always"
NEVER: Final = "never"

_ALONE: Final = {"--color": ALWAYS, "--no-color": NEVER}
_WITH_VALUE: Final = "--color"


def asked(words: Sequence[str]) -> str | None:
    """When a diff is to be in colours: "always", "never" or "auto" as the last option has it; None if there is none.

    Args:
        words: the verb and the arguments of the git command that shows the diff, as far as they are known.
    """
    when = None
    for word in before_paths(words):
        name, has_value, value = word.partition("=")
        when = value if has_value and name == _WITH_VALUE else _ALONE.get(word, when)
    return when
