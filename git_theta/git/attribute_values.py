"""The attributes that paths have, asked of one `git check-attr`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from git_theta.git.companion import Companion


class AttributeValues:
    """Some attributes of one path after the other. For one thread at a time."""

    def __init__(self, cwd: Path, arguments: Sequence[str], count: int) -> None:
        """Start git.

        Args:
            cwd: a directory of the repository.
            arguments: of git; with --stdin and -z.
            count: of the attributes that they name.

        Raises:
            GitError: git is missing.
        """
        self._count = count
        self._git = Companion(arguments, cwd)

    def of(self, path: str) -> dict[str, str]:
        """What `git check-attr` says of a path, by attribute.

        Args:
            path: as seen from the directory.

        Raises:
            GitError: git takes one of the names for no attribute, or has ended.
        """
        self._git.ask(os.fsencode(path) + b"\0")
        found = {}
        for _ in range(self._count):
            _path, name, value = (os.fsdecode(self._git.field()) for _ in range(3))
            found[name] = value
        return found
