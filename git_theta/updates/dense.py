"""The dense update: the values themselves."""

from __future__ import annotations

from collections.abc import Iterator

from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.updates.reading import Group, Reader, block_nbytes, sequence_nbytes


class Dense:
    """The dense update: the values themselves."""

    name = "dense"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        return reader.payload(update.object, group.nbytes, block_nbytes(group)) if group.nbytes else iter(())

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the group alone says it
        """Bytes of the values."""
        return group.nbytes

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the group alone says it
        """Bytes of the values that are in use at once."""
        return sequence_nbytes(group)
