"""What the user has set, read once by the command line and passed down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one run.

    Attributes:
        strict: refuse a file that no format claims, instead of keeping it whole with a warning (theta.strict).
        skip_smudge: leave metadata files in the worktree on checkout (GIT_THETA_SKIP_SMUDGE, install --skip-smudge).
    """

    strict: bool = False
    skip_smudge: bool = False
