"""Which files differ between two states of a repository, as `git diff --raw` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from git_theta.errors import CompareUsageError, GitError
from git_theta.git import command

NO_FILE: Final = "000000"
"""The mode that git writes where there is no file."""


class ChangedFile(Struct, frozen=True):
    """A file that differs.

    Attributes:
        status: git's letter: A, C, D, M, R, T or U (unmerged).
        similarity: in percent, of what was renamed or copied.
        old_path, new_path: from the top of the worktree; the same unless it was renamed or copied.
        old_mode, new_mode: as git writes them; `NO_FILE` where there is none.
        old_oid, new_oid: of the blobs; zeros where there is none, and for a file of the worktree.
    """

    status: str
    similarity: int | None
    old_path: str
    new_path: str
    old_mode: str
    new_mode: str
    old_oid: str
    new_oid: str


def changed_files(
    cwd: Path, arguments: Sequence[str], paths: Sequence[str] | None, *, cached: bool
) -> list[ChangedFile]:
    """The files that differ.

    Args:
        cwd: the directory that relative paths are meant from.
        arguments: revisions as `git diff` takes them and, without `paths`, paths, which git tells apart.
        paths: only files below these are looked at; None for `arguments` to name them.
        cached: compare with the index instead of the worktree.

    Raises:
        CompareUsageError: git takes the arguments for no comparison.
        GitError: git does not know what the arguments name, or more than two versions are compared.
    """
    options = ["--raw", "-z", "--no-abbrev", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative"]
    options += ["--find-renames", *(["--cached"] if cached else [])]
    only = [] if paths is None else ["--", *paths]
    code, output, complaint = command.attempt(["diff", *options, *arguments, *only], cwd=cwd)
    if code == CompareUsageError.exit_code:
        raise CompareUsageError("git diff compares no such revisions with each other. Try 'git theta diff -h'.")
    if code:
        raise GitError(f"git diff failed: {command.reason(complaint) or f'exit status {code}'}")
    fields = iter(command.fields(output))
    found = []
    for field in fields:
        if not field.startswith(":") or field.startswith("::"):
            raise GitError("two versions are compared at a time: name one revision, or two")
        old_mode, new_mode, old_oid, new_oid, status = field[1:].split(" ")
        old_path = next(fields)
        new_path = next(fields) if status[0] in "CR" else old_path
        score = int(status[1:]) if status[1:].isdecimal() else None
        found.append(ChangedFile(status[0], score, old_path, new_path, old_mode, new_mode, old_oid, new_oid))
    return found
