"""Updates: how a parameter group's values are kept, each type a way to get them from a small object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from git_theta.metadata import Update
from git_theta.registry import Family
from git_theta.store.arrays import Arrays, Block


class UpdateType(Protocol):
    """A type of update. Applying it gives the same bytes on every machine."""

    name: str

    def blocks(self, update: Update, nbytes: int, arrays: Arrays) -> Iterator[Block]:
        """The group's values, block by block.

        Args:
            update: of this type.
            nbytes: bytes of all values.
            arrays: gives the arrays in the objects that the update names.

        Raises:
            ObjectError: an object is missing or damaged.
        """


def update_types() -> Family[UpdateType]:
    """The family of update types."""
    return Family("type of update", "git_theta.plugins.updates", _BUILTINS)


_BUILTINS: Final = {
    "dense": "git_theta.updates.dense:Dense",
}
