"""A merge by averaging is recognised and comes back to the bit, however many blocks the group has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta import tensors
from git_theta.sources import BytesSource
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, choose, update_types
from git_theta.updates.choose import Limits
from git_theta.updates.plans import Base, Change
from git_theta.updates.reading import Readers, results
from git_theta.updates.wanted import Wanted, keep

if TYPE_CHECKING:
    from pathlib import Path


def wanted(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Wanted:
    data = values.tobytes()
    return Wanted(BytesSource(data), 0, len(data), 4, tensors.digest(data))


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5, 6, 7])
def test_average_of_two_versions_costs_nothing_whatever_its_size(tmp_path: Path, blocks: int) -> None:
    store = ObjectStore(tmp_path / "theta")
    rng = np.random.default_rng(blocks)
    size = blocks * BLOCK_ROWS - 7
    one = rng.standard_normal(size, np.float32)
    two = one + rng.standard_normal(size, np.float32) * np.float32(0.01)
    half = np.float32(0.5)
    new = wanted(one * half + two * half)
    bases = [wanted(values) for values in (one, two)]
    kept = keep(bases, store)
    group = Group("float32", (size,))
    change = Change(group, new, tuple(Base(kept[base.digest], base.digest) for base in bases))
    readers = Readers(store, update_types())
    update = choose.keep([change], store, readers, Limits())[new.digest]
    assert (update.type, update.object) == ("linear", None)
    found = b"".join(rows.tobytes() for rows in results(readers.mine().begin().values(update, group)))
    assert tensors.digest(found) == new.digest
