"""The sparse update: a few changed values cost a few bytes each."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.metadata import ObjectRef
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group
from git_theta.updates.gaps import pack, unpack
from git_theta.updates.sparse import MAX_COUNT, row_nbytes
from git_theta.updates.words import Words, words_of
from tests.updates.scene import LARGE, Scene, Values, bits, cost, normal, parameters, types, update

SHAPES = [(9000,), (100, 90), (10, 30, 30), (16, 8, 9, 8), (1, 9000), (9000, 1)]


def edited(old: Values, places: Any) -> Values:
    """Other bits in the elements at these places."""
    width = tensors.itemsize(old.group.dtype)
    data = np.frombuffer(old.data, np.uint8).reshape(-1, width).copy()
    data[places] ^= np.random.default_rng(5).integers(1, 256, (len(data[places]), width), np.uint8)
    return Values(old.group, data.tobytes())


@pytest.mark.parametrize("dtype", tensors.BLOCKS)
@pytest.mark.parametrize("place", [0, 77, -1])
def test_one_changed_value_of_any_dtype_is_sparse(scene: Scene, dtype: str, place: int) -> None:
    old = bits(dtype, (4, 32, 256))
    new = edited(old, [place])
    update, data = scene.keep(new, scene.base(old))
    assert data == new.data
    assert types(update) == ["sparse", "dense"]
    assert cost(update) < 500


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex128", "int8"])
def test_sparse_edit_of_any_shape_comes_back(scene: Scene, dtype: str, shape: tuple[int, ...]) -> None:
    old = bits(dtype, shape)
    new = edited(old, np.random.default_rng(3).choice(9000, 9, replace=False))
    update, data = scene.keep(new, scene.base(old))
    assert data == new.data
    assert types(update) == ["sparse", "dense"]
    assert cost(update) < 700


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_sparse_edit_of_several_blocks_comes_back(scene: Scene, dtype: str) -> None:
    old = Values.of(normal((LARGE // 100, 100), dtype))
    places = np.random.default_rng(3).choice(LARGE, LARGE // 1000, replace=False)
    new = edited(old, np.concatenate([places, [0, BLOCK_ROWS - 1, BLOCK_ROWS, LARGE - 1]]))
    update, data = scene.keep(new, scene.base(old))
    assert data == new.data
    assert types(update) == ["sparse", "dense"]
    assert cost(update) < 0.005 * len(old.data)


def test_change_in_one_block_alone_comes_back(scene: Scene) -> None:
    old = Values.of(normal(LARGE, "bfloat16"))
    for place in (BLOCK_ROWS - 1, BLOCK_ROWS):
        new = edited(old, [place])
        update, data = scene.keep(new, scene.base(old))
        assert (types(update), data) == (["sparse", "dense"], new.data)


def test_odd_floats_are_changes_like_others(scene: Scene) -> None:
    old = normal((100, 100))
    old[0, :4] = [0.0, np.nan, np.inf, 1e-44]
    new = old.copy()
    flipped = new.view("<u4")
    flipped[0, :4] ^= np.array([1 << 31, 5, 1, 3], np.uint32)
    update = scene.change(old, new)
    assert parameters(update)["count"] == 4


def test_eight_sparse_updates_on_top_of_each_other_come_back(scene: Scene) -> None:
    versions = [Values.of(normal((200, 300), "bfloat16"))]
    bases = [scene.base(versions[0])]
    for number in range(8):
        versions.append(edited(versions[-1], np.random.default_rng(number).choice(60_000, 30, replace=False)))
        update, data = scene.keep(versions[-1], bases[-1])
        assert data == versions[-1].data
        bases.append(scene.base(versions[-1], update))
    assert types(bases[-1].update) == ["sparse"] * 8 + ["dense"]
    for version, base in zip(versions, bases, strict=True):
        assert scene.read(base.update, version.group) == version.data


def test_sum_of_two_sparse_updates_of_one_chain_reads_what_they_share_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [Values.of(normal((LARGE // 100, 100), "float64"))]
    bases = [scene.base(versions[0])]
    for number in range(3):
        versions.append(edited(versions[-1], np.random.default_rng(number).choice(LARGE, 3, replace=False)))
        bases.append(scene.base(versions[-1], scene.keep(versions[-1], bases[-1])[0]))
    middle, last = bases[2].update, bases[3].update
    opened: Counter[str] = Counter()
    opening = ObjectStore.open

    def counting(self: ObjectStore, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        opened[ref.oid] += 1
        return opening(self, ref)

    monkeypatch.setattr(ObjectStore, "open", counting)
    made = update("linear", None, last, middle, weights=(0.5, 0.5))
    with np.errstate(all="ignore"):
        wanted = versions[3].array * 0.5 + versions[2].array * 0.5
    found = np.frombuffer(scene.read(made, versions[3].group), np.float64)
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    assert len(opened) == 4
    assert set(opened.values()) == {1}


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@settings(derandomize=True, deadline=None, max_examples=40)
@given(places=st.sets(st.integers(0, 1 << 34), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_packed_changes_are_unpacked(size: int, places: set[int], seed: int) -> None:
    words = Words(size, is_float=False)
    ordered = np.array(sorted(places), np.int64)
    codes = np.frombuffer(np.random.default_rng(seed).bytes(size * len(places)), words.dtype)
    if np.diff(ordered, prepend=-1).max() > 1 << 32:
        with pytest.raises(ValueError, match="too far apart"):
            pack(ordered, codes, words)
        return
    rows = pack(ordered, codes, words)
    assert rows.shape == (len(places), row_nbytes(words))
    found, numbers = unpack(rows, words)
    np.testing.assert_array_equal(found, ordered)
    np.testing.assert_array_equal(numbers, codes)


def test_rows_are_the_documented_ones() -> None:
    words = Words(2, is_float=False)
    rows = pack(np.array([0, 1, 260], np.int64), np.array([1, 2, 258], "<i2"), words)
    assert rows.tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 2, 0], [2, 1, 0, 0, 2, 1]]


def by_hand(scene: Scene, places: list[int], count: Any, dtype: str = "int32") -> tuple[Any, Group]:
    group = Group(dtype, (2000,))
    words = words_of(dtype)
    ref = scene.put(pack(np.array(places, np.int64), np.full(len(places), 2, words.dtype), words))
    base = scene.base(Values(group, bytes(group.nbytes))).update
    return update("sparse", ref, base, **({} if count is None else {"count": count})), group


def test_changes_up_to_the_last_value_are_applied(scene: Scene) -> None:
    made, group = by_hand(scene, [0, 1999], 2)
    values = np.frombuffer(scene.read(made, group), np.int32)
    assert (values[0], values[-1], np.count_nonzero(values)) == (1, 1, 2)


@pytest.mark.parametrize("places", [[2000], [0, 2000], [2**32 - 1], [2**32 - 1, 2**33 - 1]], ids=str)
def test_change_past_the_end_is_refused(scene: Scene, places: list[int]) -> None:
    made, group = by_hand(scene, places, len(places))
    with pytest.raises(CorruptObjectError, match="past the end"):
        scene.read(made, group)


@pytest.mark.parametrize("count", [None, 0, -1, True, 1.0, "1", (1,), MAX_COUNT + 1, 10**30])
def test_impossible_count_is_refused(scene: Scene, count: Any) -> None:
    made, group = by_hand(scene, [3], count)
    with pytest.raises(CorruptObjectError, match="no usable 'count'"):
        scene.read(made, group)


@pytest.mark.parametrize("count", [3, 1000, MAX_COUNT])
def test_count_that_is_larger_than_the_object_is_refused(scene: Scene, count: int) -> None:
    made, group = by_hand(scene, [3, 4], count)
    with pytest.raises(CorruptObjectError):
        scene.read(made, group)


@pytest.mark.parametrize("count", [0, 2])
def test_sparse_of_another_number_of_bases_than_one_is_refused(scene: Scene, count: int) -> None:
    made, group = by_hand(scene, [3], 1)
    with pytest.raises(CorruptObjectError, match=f"{count} bases instead of one"):
        scene.read(update("sparse", made.object, *made.bases * count, count=1), group)


def test_object_of_rows_of_another_size_is_refused_or_read_as_bytes(scene: Scene) -> None:
    made, group = by_hand(scene, [3], 1, "int16")
    base = scene.base(Values(Group("int32", (2000,)), bytes(8000))).update
    with pytest.raises(CorruptObjectError):
        scene.read(update("sparse", made.object, base, count=1), Group("int32", (2000,)))
    assert group.dtype == "int16"
