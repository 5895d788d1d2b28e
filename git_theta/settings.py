"""What the user has set, read once by the command line and passed down."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MAX_CHAIN: Final = 32
"""The longest chain of updates that can be asked for."""

_FALSE: Final = ("", "0", "false", "no", "off")


def is_false(text: str) -> bool:
    """Whether a setting or a variable of the environment that is true or false is false, in one of git's words."""
    return text.strip().lower() in _FALSE


class Settings(Struct, frozen=True):
    """Settings of one run.

    Attributes:
        strict: refuse a file that no format claims, instead of keeping it whole with a warning (theta.strict).
        skip_smudge: leave metadata files in the worktree on checkout (GIT_THETA_SKIP_SMUDGE, install --skip-smudge).
        max_chain: versions that the values of a group may go back to before they are kept whole (theta.maxchain).
        atol: a group whose values moved by less counts as unchanged (theta.atol, GIT_THETA_PARAMETER_ATOL); None for
            exactly as it is, which is the default.
        rtol: the part of a value that it may differ by where the estimated distance leaves that open (theta.rtol,
            GIT_THETA_PARAMETER_RTOL).
        fold: show the changes of groups whose names differ in numbers only as one (theta.diff.fold).
        statistics: how those of a diff are had: auto, exact, estimate or none (theta.diff.stats).
    """

    strict: bool = False
    skip_smudge: bool = False
    max_chain: int = 8
    atol: float | None = None
    rtol: float = 1e-5
    fold: bool = True
    statistics: str = "auto"
