"""Payloads: large ones get an object each, small ones of one itemsize share one, and a bad base keeps them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.errors import ChangedWhileReadingError
from git_theta.store.arrays import SHARED_BYTES
from git_theta.store.description import BLOCK_ROWS
from git_theta.updates import Group
from git_theta.updates.payloads import SMALL_BYTES, Array, UnusableBaseError, keep_payloads, starts
from tests.updates.scene import Scene, update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from git_theta.metadata import ObjectRef
    from git_theta.updates.payloads import Payload


def array(rows: int, itemsize: int, seed: int = 0) -> Array:
    return Array(np.random.default_rng(seed).integers(0, 256, (rows, itemsize), np.uint8))


def read(scene: Scene, ref: ObjectRef | None, nbytes: int) -> bytes:
    return scene.read(update("dense", ref), Group("uint8", (nbytes,)))


@dataclass(frozen=True, eq=False)
class Failing:
    """A payload that cannot be made; what it has is given before."""

    error: Exception
    itemsize: int
    nbytes: int

    def rows(self) -> Iterator[Any]:
        yield np.zeros((self.nbytes // self.itemsize, self.itemsize), np.uint8)
        raise self.error


@pytest.mark.parametrize("itemsize", range(1, 17))
@pytest.mark.parametrize("rows", [1, 1000, SMALL_BYTES])
def test_payloads_of_any_itemsize_come_back(scene: Scene, itemsize: int, rows: int) -> None:
    payload = array(rows, itemsize)
    ref = keep_payloads([payload], scene.store)[payload]
    assert read(scene, ref, payload.nbytes) == payload.array.tobytes()


def test_payload_of_several_blocks_comes_back(scene: Scene) -> None:
    payload = array(2 * BLOCK_ROWS + 5, 3)
    assert [len(rows) for rows in payload.rows()] == [BLOCK_ROWS, BLOCK_ROWS, 5]
    ref = keep_payloads([payload], scene.store)[payload]
    assert read(scene, ref, payload.nbytes) == payload.array.tobytes()


def test_small_payloads_share_an_object_with_those_of_their_itemsize(scene: Scene) -> None:
    payloads = [array(10 + number, 4 + number % 3, number) for number in range(30)]
    refs = keep_payloads(payloads, scene.store)
    assert len({ref.oid for ref in refs.values() if ref}) == 3
    for payload in payloads:
        assert read(scene, refs[payload], payload.nbytes) == payload.array.tobytes()


def test_shared_objects_are_bounded_and_large_payloads_stand_alone(scene: Scene) -> None:
    payloads = [array(SMALL_BYTES // 16 - 1, 16, number) for number in range(SHARED_BYTES // SMALL_BYTES + 3)]
    large = array(SMALL_BYTES // 16, 16, 99)
    refs = keep_payloads([*payloads, large], scene.store)
    assert len({ref.oid for ref in refs.values() if ref}) == 3
    assert sum(ref.oid == refs[large].oid for ref in refs.values() if ref and refs[large]) == 1  # type: ignore[union-attr]
    for payload in [*payloads, large]:
        assert read(scene, refs[payload], payload.nbytes) == payload.array.tobytes()


def test_nothing_is_written_for_what_has_no_bytes(scene: Scene) -> None:
    assert keep_payloads([], scene.store) == {}
    assert keep_payloads([array(0, 4)], scene.store) == {}
    assert not scene.store.root.exists()


def test_starts_are_in_rows() -> None:
    assert list(starts([array(3, 4), array(5, 4), array(1, 4)])) == [0, 3, 8]


@pytest.mark.parametrize("nbytes", [400, 4 * SMALL_BYTES])
def test_payload_on_an_unusable_base_is_nowhere_and_others_are_kept(scene: Scene, nbytes: int) -> None:
    bad: Payload = Failing(UnusableBaseError("damaged"), 4, nbytes)
    good, other = array(SMALL_BYTES, 4), array(10, 8)
    refs = keep_payloads([bad, good, other], scene.store)
    assert refs[bad] is None
    assert read(scene, refs[good], good.nbytes) == good.array.tobytes()
    assert read(scene, refs[other], other.nbytes) == other.array.tobytes()
    assert len([path for path in scene.store.root.rglob("*") if path.is_file()]) == 2


@pytest.mark.parametrize("nbytes", [400, 4 * SMALL_BYTES])
def test_payload_whose_source_changed_is_an_error_and_leaves_nothing(scene: Scene, nbytes: int) -> None:
    with pytest.raises(ChangedWhileReadingError):
        keep_payloads([Failing(ChangedWhileReadingError("changed"), 4, nbytes)], scene.store)
    assert [path for path in scene.store.root.rglob("*") if path.is_file()] == []


def test_same_payloads_give_the_same_objects(scene: Scene) -> None:
    payloads = [array(10 * number, 4, number) for number in range(1, 9)]
    first = keep_payloads(payloads, scene.store)
    assert keep_payloads(payloads, scene.store) == first
