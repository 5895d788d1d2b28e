"""The base class of plug-ins that can only load and save: what they read is kept by its values, not by its bytes."""

from __future__ import annotations

import io
import os
from abc import ABCMeta, abstractmethod
from pathlib import Path
from typing import Any, ClassVar


class Checkpoint(dict[str, Any], metaclass=ABCMeta):
    """The parameter groups of one file: nested dicts with string keys, whose leaves are NumPy arrays.

    It is a dict, against the habit of this house, because the plug-in interface that git-theta 0.2 released demands
    that: `from_framework` builds it like a dict, and `to_framework` reads it like one.

    Attributes:
        extensions: endings of the files that the plug-in is asked for when no other format claims them. Without any,
            it is used only where .gitattributes says so (theta-format=NAME).
    """

    extensions: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_file(cls, file: CheckpointFile) -> Checkpoint:
        """The parameter groups of a file: what `from_framework` makes of that which `load` reads."""
        return cls.from_framework(cls.load(file))

    @classmethod
    @abstractmethod
    def load(cls, file: CheckpointFile) -> Any:
        """Read a file as the framework does.

        Args:
            file: a binary file open for reading, and at the same time a path (`os.PathLike`).

        Returns:
            Whatever the framework has for a checkpoint; `from_framework` gets it.
        """

    @classmethod
    @abstractmethod
    def from_framework(cls, native: Any) -> Checkpoint:
        """The parameter groups of what `load` returned."""

    @abstractmethod
    def to_framework(self) -> Any:
        """What the framework has for a checkpoint of these groups: `from_framework`, undone."""

    @abstractmethod
    def save(self, file: CheckpointFile) -> None:
        """Write the groups to a file.

        Args:
            file: a binary file open for writing, and at the same time a path (`os.PathLike`).
        """


class CheckpointFile(io.FileIO):
    """A file that is a path as well: some frameworks want the one, some the other."""

    def __fspath__(self) -> str:
        """The path."""
        return os.fspath(self.path)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(os.fsdecode(self.name))
