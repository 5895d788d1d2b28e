"""What an attribute is for many paths, asked of one `git check-attr`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from git_theta.git.companion import Companion


class AttributeValues:
    """An attribute of one path after the other. For one thread at a time."""

    def __init__(self, cwd: Path, arguments: Sequence[str]) -> None:
        """Start git.

        Args:
            cwd: a directory of the repository.
            arguments: of git; with --stdin, -z and the name of one attribute.

        Raises:
            GitError: git is missing.
        """
        self._git = Companion(arguments, cwd)

    def of(self, path: str) -> str:
        """What `git check-attr` says of a path: the value, or "set", "unset" or "unspecified".

        Args:
            path: as seen from the directory.

        Raises:
            GitError: git takes the name for no attribute, or has ended.
        """
        self._git.ask(os.fsencode(path) + b"\0")
        _path, _name, value = (os.fsdecode(self._git.field()) for _ in range(3))
        return value
