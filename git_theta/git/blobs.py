"""Blobs: their names, sizes and contents, asked of one `git cat-file`."""

from __future__ import annotations

import os
from pathlib import Path

from git_theta.errors import GitError
from git_theta.git.companion import Companion


class Blobs:
    """The objects of a repository, asked of one process. For one thread at a time."""

    def __init__(self, cwd: Path, options: str) -> None:
        """Start git.

        Args:
            cwd: a directory of the repository.
            options: "--batch" to read contents, "--batch-check" to ask for names and sizes alone.

        Raises:
            GitError: git is missing.
        """
        self._git = Companion(["cat-file", options], cwd)

    def read(self, oid: str) -> bytes:
        """The content of a blob.

        Raises:
            GitError: it is not there.
        """
        size = self.size(oid)
        try:
            return self._git.read(size + 1)[:-1]
        except GitError as error:
            raise _unreadable(oid, str(error)) from error

    def size(self, oid: str) -> int:
        """The size of a blob in bytes; of one that is to be read, when its content comes next.

        Raises:
            GitError: it is not there.
        """
        try:
            found = self._described(oid)
        except GitError as error:
            raise _unreadable(oid, str(error)) from error
        if found is None:
            raise _unreadable(oid, "it is missing or damaged")
        return int(found[2])

    def find(self, name: str) -> str | None:
        """The name of the blob that something names (git-rev-parse(1)); None if that is no blob. Only "--batch-check".

        Args:
            name: without a line break.

        Raises:
            GitError: git has ended.
        """
        found = self._described(name)
        return found[0].decode() if found is not None and found[1] == b"blob" else None

    def _described(self, name: str) -> list[bytes] | None:
        """Name, type and size; None if there is no such thing.

        Raises:
            GitError: git has ended.
        """
        self._git.ask(os.fsencode(name) + b"\n")
        answer = self._git.line()
        if answer.endswith((b" missing", b" ambiguous")):
            return None
        words = answer.split(b" ")
        if len(words) != 3 or not words[2].isdigit():
            raise self._git.failure()
        return words


def _unreadable(oid: str, why: str) -> GitError:
    return GitError(f"blob {oid} cannot be read: {why}")
