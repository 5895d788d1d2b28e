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
        raise GitError(f"git {arguments[0]} failed: {reason(complaint) or f'exit status {status}'}")
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
    except OSError as error:
        if cwd is not None and not cwd.is_dir():
            raise GitError(f"there is no directory {cwd} to run git in") from error
        raise GitError("git is not on the PATH: install it") from error
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def reason(complaint: str) -> str:
    """The one line of what git wrote to standard error that says what was wrong."""
    said = [line.strip() for line in complaint.splitlines() if line.strip()]
    fatal = [line.removeprefix("fatal: ") for line in said if line.startswith("fatal: ")]
    return (fatal or said[-1:] or [""])[0]


def lines(output: bytes) -> list[str]:
    """The lines of output, decoded as file names are."""
    return os.fsdecode(output).removesuffix("\n").split("\n") if output else []


def fields(output: bytes) -> list[str]:
    """The NUL-terminated fields of output made with -z, decoded as file names are."""
    return os.fsdecode(output).split("\0")[:-1]
