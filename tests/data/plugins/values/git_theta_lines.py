"""Arrays as lines of JSON: a path, a dtype, a shape and the numbers. There may be blank lines and comments.

A plug-in that loads and saves: Git-Theta keeps the numbers, and the comments are lost on checkout.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from git_theta.checkpoints import Checkpoint

Native = dict[tuple[str, ...], Any]
"""What this "framework" has for a checkpoint: arrays by path."""


class Lines(Checkpoint):
    """The format, as a checkpoint of Git-Theta."""

    extensions = (".lines",)

    @classmethod
    def load(cls, file: Any) -> Native:
        """Read the arrays."""
        found: Native = {}
        for line in file.read().decode().splitlines():
            if line and not line.startswith("#"):
                path, dtype, shape, numbers = json.loads(line)
                found[tuple(path)] = np.array(numbers, dtype).reshape(shape)
        return found

    @classmethod
    def from_framework(cls, native: Native) -> Lines:
        """Nest the arrays."""
        checkpoint = cls()
        for path, array in native.items():
            place: dict[str, Any] = checkpoint
            for key in path[:-1]:
                place = place.setdefault(key, {})
            place[path[-1]] = array
        return checkpoint

    def to_framework(self) -> Native:
        """Flatten the arrays."""
        found: Native = {}
        waiting: list[tuple[tuple[str, ...], Any]] = [((), self)]
        while waiting:
            path, value = waiting.pop()
            if isinstance(value, dict):
                waiting += (((*path, key), part) for key, part in value.items())
            else:
                found[path] = value
        return found

    def save(self, file: Any) -> None:
        """Write the arrays."""
        for path, array in sorted(self.to_framework().items()):
            line = [list(path), array.dtype.name, list(array.shape), array.ravel().tolist()]
            file.write(json.dumps(line).encode() + b"\n")
