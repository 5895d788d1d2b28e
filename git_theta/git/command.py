"""Run git: an argument list, never a shell; the exit status is always read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from git_theta.errors import GitError


def run(arguments: Sequence[str], *, cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    """The standard output of `git arguments...`.

    Raises:
        GitError: git is missing, or exited with another status than 0; says what git said.
    """
    status, output, complaint = attempt(arguments, cwd=cwd, stdin=stdin)
    if status:
        said = complaint.strip().splitlines()
        reason = said[-1] if said else f"exit status {status}"
        raise GitError(f"git {arguments[0]} failed: {reason}")
    return output


def attempt(arguments: Sequence[str], *, cwd: Path | None = None, stdin: bytes | None = None) -> tuple[int, bytes, str]:
    """Exit status, standard output and standard error of `git arguments...`, for when failure is an answer.

    Raises:
        GitError: git is missing.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise GitError("git is not on the PATH: install it") from None
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def lines(output: bytes) -> list[str]:
    """The lines of output, decoded as file names are."""
    return os.fsdecode(output).splitlines()


def fields(output: bytes) -> list[str]:
    """The NUL-terminated fields of output made with -z, decoded as file names are."""
    return os.fsdecode(output).split("\0")[:-1]
