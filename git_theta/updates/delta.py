"""The delta update: every value's difference to the base, as `words` defines it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from git_theta.metadata import Update
from git_theta.store.arrays import Block
from git_theta.updates.reading import Group, Reader, block_nbytes, sequence_nbytes
from git_theta.updates.single import base_of
from git_theta.updates.words import Words, add, words_of


class Delta:
    """The delta update."""

    name = "delta"
    is_in_step = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, block by block; see `updates.UpdateType`."""
        words = words_of(group.dtype)
        bases = reader.values(base_of(update), group)
        codes = reader.payload(update.object, group.nbytes, block_nbytes(group))
        compute = reader.computing(group)
        for base, code in zip(bases, codes, strict=True):
            yield compute(partial(_add, base, code, words), base.nbytes)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the group alone says it
        """Bytes of the differences."""
        return group.nbytes

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the group alone says it
        """Bytes of the differences and the values that are in use at once."""
        return 2 * sequence_nbytes(group)


def _add(base: Block, code: Block, words: Words, out: memoryview) -> None:
    add(base.result(), code.result(), words, out)
