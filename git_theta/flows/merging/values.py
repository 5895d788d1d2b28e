"""The values that are merged: read block by block or whole, always verified, and typed as NumPy knows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import Entry
from git_theta.store.serialize import Rows
from git_theta.updates import Group
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Base, Stored
from git_theta.updates.reading import Readers

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Reads the groups of the versions that are merged. For several threads.

    Attributes:
        path: of the checkpoint, for messages.
        readers: give the values.
    """

    path: str
    readers: Readers

    def rows(self, entry: Entry) -> Iterator[Rows]:
        """The values in blocks of shape (elements, itemsize), each gone when the next comes.

        Raises:
            CorruptObjectError: they cannot be had, or are not the ones that the metadata file promises, which shows
                after the last block.
        """
        stored = Stored(Group(entry.dtype, entry.shape), Base(entry.update, entry.digest))
        try:
            yield from stored.rows(self.readers.mine())
        except UnusableBaseError as error:
            raise CorruptObjectError(
                f"{self.path}: group {entry.name!r} cannot be read: {error}; 'git theta fetch --verify' may help"
            ) from error

    def raw(self, entry: Entry) -> Rows:
        """All values as rows of bytes: shape (elements, itemsize).

        Raises:
            CorruptObjectError: as `rows`.
        """
        size = tensors.itemsize(entry.dtype)
        out = np.empty((entry.nbytes // size, size), np.uint8)
        position = 0
        for block in self.rows(entry):
            out[position : position + len(block)] = block
            position += len(block)
        return out


def typed(rows: Rows, dtype: str) -> Array:
    """Rows of bytes as a flat array of their values; a view."""
    # Imported for its effect: NumPy knows the dtypes by name from then on.
    import ml_dtypes

    return rows.reshape(-1).view(np.dtype(getattr(ml_dtypes, dtype, dtype)).newbyteorder("<"))
