"""What knows the index and the attributes of a repository, for as long as git does not write the index."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from msgspec import Struct, field

from git_theta.git.attribute_values import AttributeValues
from git_theta.git.blobs import Blobs


class Asked(Struct, frozen=True, dict=True):
    """What runs beside us, and has read the index or files of attributes.

    Attributes:
        cwd: a directory of the repository.
        state: of the index then.
    """

    cwd: Path
    state: tuple[int, ...]
    _attributes: dict[tuple[str, ...], AttributeValues] = field(default_factory=dict)

    @cached_property
    def blobs(self) -> Blobs:
        """What finds blobs by path."""
        return Blobs(self.cwd, "--batch-check")

    def attributes(self, arguments: tuple[str, ...]) -> AttributeValues:
        """What knows the attribute that git is asked for so."""
        if arguments not in self._attributes:
            self._attributes[arguments] = AttributeValues(self.cwd, arguments)
        return self._attributes[arguments]
