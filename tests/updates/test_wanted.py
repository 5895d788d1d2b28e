"""Values are kept as they were digested, small groups together, or not at all."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.errors import ChangedWhileReadingError, MissingObjectError, StoreError
from git_theta.metadata import ObjectRef, Update
from git_theta.sources import BytesSource, FileSource
from git_theta.store import decode
from git_theta.store.arrays import SHARED_BYTES, Arrays
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, update_types
from git_theta.updates.payloads import SMALL_BYTES
from git_theta.updates.reading import Reader
from git_theta.updates.wanted import Wanted, keep, restore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "theta")


def wanted(data: bytes, itemsize: int = 1) -> Wanted:
    return Wanted(BytesSource(data), 0, len(data), itemsize, tensors.digest(data))


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def read(update: Update, nbytes: int, store: ObjectStore, arrays: Arrays | None = None) -> bytes:
    reader = Reader(arrays or Arrays(store), update_types())
    blocks = reader.values(update, Group("uint8", (nbytes,)))
    return b"".join(block.result().tobytes() for block in blocks)


def objects(store: ObjectStore) -> set[str]:
    """The names of all objects; whatever else there is in the store fails the test."""
    found = [path for path in store.root.rglob("*") if not path.is_dir()]
    assert all(store.path(path.name) == path for path in found)
    return {path.name for path in found}


def oid_of(update: Update) -> str:
    assert update.object is not None
    return update.object.oid


def keep_and_read(groups: list[tuple[bytes, int]], store: ObjectStore) -> Mapping[str, Update]:
    """Keep values given with their itemsize, and check that they all come back and nothing else is kept."""
    kept = keep([wanted(data, itemsize) for data, itemsize in groups], store)
    assert kept.keys() == {tensors.digest(data) for data, _ in groups}
    arrays = Arrays(store)
    for data, _ in groups:
        assert read(kept[tensors.digest(data)], len(data), store, arrays) == data
    refs = {update.object.oid: update.object for update in kept.values() if update.object}
    assert objects(store) == refs.keys()
    bytes_kept = sum(len(data) for data in {data for data, _ in groups})
    assert sum(array_bytes(ref, store) for ref in refs.values()) == bytes_kept
    return kept


def array_bytes(ref: ObjectRef, store: ObjectStore) -> int:
    """How many bytes of values an object says it holds."""
    with store.open(ref) as file:
        reader = decode.Reader(file)
    return reader.rows * reader.itemsize


# --- what comes back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("size", [16, SMALL_BYTES - 16, SMALL_BYTES, SMALL_BYTES + 16, SHARED_BYTES + 160])
def test_values_come_back(store: ObjectStore, size: int, itemsize: int) -> None:
    kept = keep_and_read([(noise(size), itemsize)], store)
    (update,) = kept.values()
    assert update.type == "dense"
    assert update.object is not None
    assert update.object.start == 0
    assert update.object.size == store.path(update.object.oid).stat().st_size


def test_values_of_many_blocks_come_back(store: ObjectStore) -> None:
    keep_and_read([(noise(2 * (2 * BLOCK_ROWS + 5)), 2)], store)


def test_small_groups_share_an_object_and_large_ones_have_their_own(store: ObjectStore) -> None:
    small = [(noise(100 * number, number), 4) for number in range(1, 20)]
    large = [(noise(SMALL_BYTES, 100), 4), (noise(SMALL_BYTES + 4, 101), 4)]
    kept = keep_and_read([*small, *large], store)
    oids = [oid_of(kept[tensors.digest(data)]) for data, _ in small]
    assert len(set(oids)) == 1
    assert len(objects(store)) == 3


def test_small_groups_lie_end_to_end_in_the_order_given(store: ObjectStore) -> None:
    groups = [(noise(100 * number, number), 4) for number in (3, 1, 2)]
    kept = keep_and_read(groups, store)
    refs = [kept[tensors.digest(data)].object for data, _ in groups]
    assert [ref.start for ref in refs if ref] == [0, 75, 100]


def test_small_groups_share_an_object_with_those_of_their_itemsize(store: ObjectStore) -> None:
    groups = [(noise(16 * (1 + number), number), 2 ** (number % 5)) for number in range(25)]
    kept = keep_and_read(groups, store)
    by_itemsize = {
        itemsize: {oid_of(kept[tensors.digest(data)]) for data, size in groups if size == itemsize}
        for itemsize in (1, 2, 4, 8, 16)
    }
    assert all(len(oids) == 1 for oids in by_itemsize.values())
    assert len(objects(store)) == 5


def test_shared_objects_stay_small_enough_to_be_kept_in_memory(store: ObjectStore) -> None:
    groups = [(noise(SMALL_BYTES - 16, number), 8) for number in range(2 * SHARED_BYTES // SMALL_BYTES + 3)]
    kept = keep_and_read(groups, store)
    assert len(objects(store)) == 3
    for oid in objects(store):
        inside = [data for data, _ in groups if oid_of(kept[tensors.digest(data)]) == oid]
        assert sum(map(len, inside)) <= SHARED_BYTES


def test_shared_objects_are_filled_to_the_brim(store: ObjectStore) -> None:
    half = SMALL_BYTES // 2
    assert SHARED_BYTES % half == 0
    keep_and_read([(noise(half, number), 1) for number in range(2 * SHARED_BYTES // half)], store)
    assert len(objects(store)) == 2


def test_limits_are_the_documented_ones() -> None:
    assert (SMALL_BYTES, SHARED_BYTES) == (64 << 10, 4 << 20)


def test_groups_without_values_need_no_object(store: ObjectStore) -> None:
    kept = keep([wanted(b"", 4)], store)
    assert kept == {tensors.digest(b""): Update("dense", None)}
    assert read(kept[tensors.digest(b"")], 0, store) == b""
    assert not store.root.exists()


def test_groups_without_values_among_others_need_no_object(store: ObjectStore) -> None:
    kept = keep_and_read([(b"", 4), (noise(100), 4), (b"", 8)], store)
    assert kept[tensors.digest(b"")] == Update("dense", None)
    assert len(objects(store)) == 1


def test_nothing_wanted_is_nothing_kept(store: ObjectStore) -> None:
    assert keep([], store) == {}
    assert not store.root.exists()


def test_equal_groups_are_kept_once(store: ObjectStore) -> None:
    small, large = noise(100), noise(SMALL_BYTES)
    kept = keep([wanted(small, 4), wanted(large, 4), wanted(small, 4), wanted(large, 4)], store)
    assert len(kept) == len(objects(store)) == 2
    assert read(kept[tensors.digest(small)], 100, store) == small


def test_equal_bytes_of_different_dtypes_are_kept_once_and_serve_both(store: ObjectStore) -> None:
    for data in (bytes(800), bytes(SMALL_BYTES)):
        kept = keep([wanted(data, 8), wanted(data, 2)], store)
        assert len(kept) == 1
        assert read(kept[tensors.digest(data)], len(data), store) == data


def test_same_values_give_the_same_objects(store: ObjectStore, tmp_path: Path) -> None:
    groups = [wanted(noise(50 * number, number), 2) for number in range(1, 40)] + [wanted(noise(SMALL_BYTES), 4)]
    first = keep(groups, store)
    again = ObjectStore(tmp_path / "again")
    assert keep(groups, again) == first
    assert objects(again) == objects(store)


def test_values_may_lie_anywhere_in_a_file(store: ObjectStore, tmp_path: Path) -> None:
    data = noise(SMALL_BYTES * 2 + 1000)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as stream:
        source = FileSource(stream.fileno(), len(data))
        places = [(7, 100), (107, 50), (333, SMALL_BYTES)]
        groups = [Wanted(source, start, size, 1, tensors.digest(data[start : start + size])) for start, size in places]
        kept = keep(groups, store)
    for start, size in places:
        assert read(kept[tensors.digest(data[start : start + size])], size, store) == data[start : start + size]


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    sizes=st.lists(
        st.tuples(
            st.sampled_from([0, 16, 1600, SMALL_BYTES - 16, SMALL_BYTES, SMALL_BYTES + 16]),
            st.sampled_from([1, 2, 4, 8, 16]),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_any_mix_of_groups_comes_back(tmp_path_factory: pytest.TempPathFactory, sizes: Any) -> None:
    store = ObjectStore(tmp_path_factory.mktemp("mix") / "theta")
    keep_and_read([(noise(size, seed), itemsize) for size, itemsize, seed in sizes], store)


@dataclass(eq=False)
class Counted:
    """A group that counts how often somebody asks for its size."""

    wanted: Wanted
    asked: list[int] = field(default_factory=lambda: [0])

    def __getattr__(self, name: str) -> Any:
        self.asked[0] += name == "nbytes"
        return getattr(self.wanted, name)


def test_effort_grows_with_the_number_of_small_groups_and_not_with_its_square(store: ObjectStore) -> None:
    groups = [Counted(wanted(number.to_bytes(4, "little"), 4)) for number in range(500)]
    keep(groups, store)  # type: ignore[arg-type]
    assert sum(group.asked[0] for group in groups) < 20 * len(groups)


# --- values that change ---------------------------------------------------------------------------------------------


def changed(size: int, place: int, itemsize: int = 1) -> Wanted:
    """Values of which one byte is not what was digested."""
    data = bytearray(noise(size))
    data[place] ^= 1
    return Wanted(BytesSource(bytes(data)), 0, size, itemsize, tensors.digest(noise(size)))


SIZES = [16, SMALL_BYTES - 16, SMALL_BYTES, 2 * BLOCK_ROWS + 16]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", [0, -1, 7])
def test_values_that_changed_after_they_were_digested_are_not_kept(store: ObjectStore, size: int, place: int) -> None:
    with pytest.raises(ChangedWhileReadingError, match="changed while it was added"):
        keep([changed(size, place)], store)
    assert objects(store) == set()


def test_one_changed_group_of_a_shared_object_keeps_it_from_being_published(store: ObjectStore) -> None:
    others = [wanted(noise(100, number)) for number in range(1, 10)]
    for place in (0, 5, 9):
        groups = [*others[:place], changed(100, 3), *others[place:]]
        with pytest.raises(ChangedWhileReadingError):
            keep(groups, store)
        assert objects(store) == set()


def test_a_changed_group_among_large_ones_is_an_error_and_what_is_published_is_right(store: ObjectStore) -> None:
    groups = [wanted(noise(SMALL_BYTES, number)) for number in range(1, 6)]
    with pytest.raises(ChangedWhileReadingError):
        keep([*groups[:3], changed(SMALL_BYTES, 9), *groups[3:]], store)
    kept = {digest: update for group in groups for digest, update in keep([group], store).items()}
    assert objects(store) == {oid_of(update) for update in kept.values()}


@pytest.mark.parametrize("size", SIZES)
def test_file_that_was_truncated_after_it_was_digested_is_not_kept(
    store: ObjectStore, tmp_path: Path, size: int
) -> None:
    file = tmp_path / "file"
    file.write_bytes(noise(size)[:-1])
    with file.open("rb") as stream, pytest.raises(ChangedWhileReadingError):
        keep([Wanted(FileSource(stream.fileno(), size), 0, size, 1, tensors.digest(noise(size)))], store)
    assert objects(store) == set()


@dataclass(eq=False)
class Restless:
    """A source whose bytes change each time they are read."""

    size: int
    reads: int = 0

    def read(self, start: int, stop: int) -> bytes:
        self.reads += 1
        return noise(self.size, self.reads)[start:stop]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_kept_is_what_was_digested_on_its_way(store: ObjectStore, size: int) -> None:
    """Digested before and read twice, a source that changes in between would be kept under a wrong digest."""
    source = Restless(size)
    first = source.read(0, size)
    with pytest.raises(ChangedWhileReadingError):
        keep([Wanted(source, 0, size, 1, tensors.digest(first))], store)
    assert objects(store) == set()


# --- objects that were lost -----------------------------------------------------------------------------------------


def lose(groups: list[Wanted], store: ObjectStore) -> tuple[list[ObjectRef], dict[int, Wanted]]:
    """Keep groups that share one object, and lose it; returns where each was, and the groups by that place."""
    kept = keep(groups, store)
    refs = [ref for group in groups if (ref := kept[group.digest].object)]
    (oid,) = objects(store)
    store.path(oid).unlink()
    return refs, {ref.start: group for ref, group in zip(refs, groups, strict=True)}


PACK = [wanted(noise(40 * (1 + number), number), 4) for number in range(5)]


def test_lost_object_of_many_groups_is_made_anew_whichever_of_them_is_meant(store: ObjectStore) -> None:
    refs, values = lose(PACK, store)
    for ref in refs:
        assert restore(ref, values, store), f"the group from row {ref.start} on"
        store.verify(ref)
        store.path(ref.oid).unlink()


@pytest.mark.parametrize("size", [16, SMALL_BYTES, 2 * BLOCK_ROWS + 16])
def test_lost_object_of_one_group_is_made_anew(store: ObjectStore, size: int) -> None:
    (ref,), values = lose([wanted(noise(size), 2)], store)
    assert restore(ref, values, store)
    assert read(Update("dense", ref), size, store) == noise(size)


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_object_of_which_a_group_is_missing_is_not_made_anew(store: ObjectStore, missing: int) -> None:
    refs, values = lose(PACK, store)
    del values[refs[missing].start]
    assert not restore(refs[0], values, store)
    assert objects(store) == set()


def test_object_of_which_a_group_is_another_is_not_made_anew(store: ObjectStore) -> None:
    refs, values = lose(PACK, store)
    values[refs[1].start] = wanted(noise(values[refs[1].start].nbytes, 99), 4)
    assert not restore(refs[0], values, store)
    assert objects(store) == set()


def test_object_of_groups_whose_values_changed_is_an_error(store: ObjectStore) -> None:
    refs, values = lose(PACK, store)
    values[refs[1].start] = changed(values[refs[1].start].nbytes, 0, 4)
    with pytest.raises(ChangedWhileReadingError):
        restore(refs[0], values, store)
    assert objects(store) == set()


@pytest.mark.parametrize("place", [0, 2, 4])
def test_group_of_equal_bytes_but_another_dtype_does_no_harm(store: ObjectStore, place: int) -> None:
    """Equal digests share an object whatever their dtype is, so the group at hand may have another itemsize."""
    refs, values = lose(PACK, store)
    values[refs[place].start] = wanted(noise(PACK[place].nbytes, place), 1)
    restored = restore(refs[0], values, store)
    assert objects(store) == ({refs[0].oid} if restored else set())


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, SMALL_BYTES])
def test_store_that_cannot_be_written_is_an_error(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        keep([wanted(noise(size))], ObjectStore(tmp_path / "file" / "theta"))


def test_reading_an_update_whose_object_is_missing_is_an_error(store: ObjectStore) -> None:
    with pytest.raises(MissingObjectError):
        read(Update("dense", ObjectRef("0" * 64, 10)), 4, store)
