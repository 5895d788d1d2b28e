"""Updates: how a parameter group's values are kept, each type a way to get them from a small object and from bases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from git_theta import tensors
from git_theta.metadata import Update
from git_theta.registry import Family
from git_theta.store.arrays import Block

if TYPE_CHECKING:
    from git_theta.updates.reading import Reader


@dataclass(frozen=True, slots=True)
class Group:
    """What an update needs to know of the group whose values it gives: dtype (`tensors.BLOCKS`) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return tensors.nbytes(self.dtype, self.shape)


class UpdateType(Protocol):
    """A type of update. Applying it gives the same bytes on every machine, or fails."""

    name: str

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block.

        Args:
            update: of this type.
            group: whose values they are.
            reader: gives the values of the bases and the arrays in objects.

        Raises:
            ObjectError: an object is missing or damaged, or the update does not fit the group.
        """

    def payload_nbytes(self, update: Update, group: Group) -> int:
        """Bytes of values that the update's own object holds for it, before compression."""


def update_types() -> Family[UpdateType]:
    """The family of update types."""
    return Family("type of update", "git_theta.plugins.updates", _BUILTINS)


_BUILTINS: Final = {
    "dense": "git_theta.updates.dense:Dense",
    "delta": "git_theta.updates.delta:Delta",
    "sparse": "git_theta.updates.sparse:Sparse",
    "low-rank": "git_theta.updates.low_rank:LowRank",
    "ia3": "git_theta.updates.ia3:Ia3",
    "linear": "git_theta.updates.linear:Linear",
}
