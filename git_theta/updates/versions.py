"""The earlier versions of a group, side by side: looked at first, then read once, with what they share read once."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing

from blake3 import blake3
from msgspec import Struct

from git_theta import tensors
from git_theta.errors import PluginError, StoreError
from git_theta.metadata import Update
from git_theta.store.rows import Rows, rows_of
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Base, Plan, Stored
from git_theta.updates.reading import Group, Reader


class Versions:
    """Versions of one group. Their first blocks can be looked at without being decoded again when all is read.

    For one thread, but for `rows` with another one's reader.
    """

    def __init__(self, group: Group, bases: Sequence[Base], reader: Reader) -> None:
        """Args: group: dtype and shape; bases: the versions, at least one; reader: of the thread."""
        self.group = group
        self.bases = bases
        self._reader = reader
        self._heads: tuple[Rows, ...] = ()
        self._begun: Generator[tuple[Rows, ...], Collection[int]] | None = None

    def heads(self) -> tuple[Rows, ...]:
        """The first block of each version; gone when `rows` has given more than that.

        Raises:
            UnusableBaseError: one cannot be read.
        """
        if self._begun is None:
            self._begun = _side_by_side(self.group, self.bases, self._reader)
            self._heads = next(self._begun)
        return self._heads

    def forget(self) -> None:
        """Let go of the first blocks, and of the files and the memory that they are read from."""
        self._heads = ()
        if self._begun is not None:
            self._begun.close()
            self._begun = None

    def rows(self, reader: Reader, *numbers: int) -> Iterator[tuple[Rows, ...]]:
        """Some of the versions in blocks, each gone when the next comes. They are verified on the way.

        Args:
            reader: of the thread.
            *numbers: which of the versions.

        Raises:
            UnusableBaseError: one cannot be had, or does not have the values that its digest names.
        """
        if reader is not self._reader:
            bases = [self.bases[number] for number in numbers]
            yield from Versions(self.group, bases, reader).rows(reader, *range(len(bases)))
            return
        heads, begun = self.heads(), self._begun
        assert begun is not None
        self._begun = None
        yield tuple(heads[number] for number in numbers)
        try:
            while True:
                yield begun.send(numbers)
        except StopIteration:
            return
        finally:
            begun.close()


class Version(Struct, frozen=True):
    """A prediction: that nothing changed since one of the versions."""

    versions: Versions
    number: int

    @property
    def plan(self) -> Plan | Update:
        """The version's update."""
        return self.versions.bases[self.number].update

    def head(self) -> Rows:
        """The first block; see `Versions.heads`."""
        return self.versions.heads()[self.number]

    def rows(self, reader: Reader) -> Iterator[Rows]:
        """The values in blocks; see `plans.Prediction`."""
        if len(self.versions.bases) == 1:
            return (rows for (rows,) in self.versions.rows(reader, 0))
        return Stored(self.versions.group, self.versions.bases[self.number]).rows(reader)


def _side_by_side(group: Group, bases: Sequence[Base], reader: Reader) -> Generator[tuple[Rows, ...], Collection[int]]:
    """The blocks of all versions; from the second on, of those whose numbers are sent, which alone are verified.

    They are digested when they have been used, so that it would show if anything had been written to them meanwhile.
    """
    hashers = [blake3() for _ in bases]
    wanted: Collection[int] = range(len(bases))
    updates, size = [base.update for base in bases], tensors.itemsize(group.dtype)
    try:
        with reader.reading(len(bases)) as mine, closing(mine.side_by_side(updates, group)) as bundles:
            for blocks in bundles:
                rows = {number: rows_of(blocks[number].result(), size) for number in wanted}
                wanted = yield tuple(rows.values())
                for number in wanted:
                    hashers[number].update(rows[number].reshape(-1).data)
    except (StoreError, PluginError) as error:
        raise UnusableBaseError(str(error)) from error
    for number in wanted:
        if hashers[number].hexdigest() != bases[number].digest:
            raise UnusableBaseError("it does not have the values that the metadata file promises")
