"""How far two versions of a group are from each other, told exactly from their values."""

from __future__ import annotations

from msgspec import Struct

from git_theta.diffs.changes import Statistics
from git_theta.diffs.statistics import are_comparable, measure
from git_theta.errors import UsageError
from git_theta.flows.merging.values import Inputs
from git_theta.flows.smudge import Fetch, provide
from git_theta.metadata import Entry
from git_theta.registry import Family
from git_theta.store.objects import ObjectStore
from git_theta.updates import UpdateType
from git_theta.updates.reading import Readers


class Measurer(Struct, frozen=True):
    """Compares the values of groups.

    Attributes:
        path: of the checkpoint, for messages.
        store: where the values are.
        update_types: give the values.
        fetch: brings objects that are not in the local store, as far as it can.
    """

    path: str
    store: ObjectStore
    update_types: Family[UpdateType]
    fetch: Fetch

    def measure(self, old: Entry, new: Entry) -> Statistics:
        """Exact statistics of two versions of a group, block by block.

        Raises:
            UsageError: they have different numbers of values.
            StoreError: their values cannot be had; names path, group and object.
        """
        if not are_comparable(old, new):
            raise UsageError(f"{list(old.shape)} {old.dtype} and {list(new.shape)} {new.dtype} cannot be compared")
        provide([(entry.name, entry.update) for entry in (old, new)], self.store, self.fetch, self.path)
        inputs = Inputs(self.path, Readers(self.store, self.update_types))
        return measure(inputs.rows(old), inputs.rows(new), old.dtype, new.dtype)
