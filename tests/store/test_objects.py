"""The object store: whole objects or none, whoever writes, whatever fails."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from unittest.mock import Mock

import pytest

from git_theta.errors import CorruptObjectError, MissingObjectError, ObjectError, StoreError, UnreadableObjectError
from git_theta.metadata import ObjectRef
from git_theta.store.objects import ObjectStore

DATA = b"the bytes of an object" * 1000
DAY = 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A store that was never written to."""
    return ObjectStore(tmp_path / "theta")


def ref_of(data: bytes) -> ObjectRef:
    return ObjectRef(sha256(data).hexdigest(), len(data))


def put(store: ObjectStore, data: bytes = DATA) -> ObjectRef:
    with store.writing() as writer:
        writer.write(data)
        return writer.publish()


def files(store: ObjectStore) -> list[Path]:
    """Every file of the store, by its path from the root."""
    return sorted(path.relative_to(store.root) for path in store.root.rglob("*") if not path.is_dir())


def damage(store: ObjectStore, ref: ObjectRef, data: bytes) -> None:
    store.path(ref.oid).unlink()
    store.path(ref.oid).write_bytes(data)


# --- writing --------------------------------------------------------------------------------------------------------


def test_object_lies_where_git_lfs_puts_it(store: ObjectStore) -> None:
    ref = put(store)
    oid = sha256(DATA).hexdigest()
    assert ref == ObjectRef(oid, len(DATA), 0)
    assert files(store) == [Path("objects") / oid[:2] / oid[2:4] / oid]
    assert store.path(oid).read_bytes() == DATA


def test_pieces_are_joined_and_the_name_is_that_of_all_of_them(store: ObjectStore) -> None:
    with store.writing() as writer:
        for piece in (b"one", b"", b"two", memoryview(b"three")):
            writer.write(piece)  # type: ignore[arg-type]
        assert writer.oid == sha256(b"onetwothree").hexdigest()
        ref = writer.publish()
    assert ref == ref_of(b"onetwothree")
    assert store.path(ref.oid).read_bytes() == b"onetwothree"


def test_short_writes_are_continued(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:777]))
    assert put(store) == ref_of(DATA)
    assert store.path(ref_of(DATA).oid).read_bytes() == DATA


def test_object_is_not_visible_before_it_is_published(store: ObjectStore) -> None:
    with store.writing() as writer:
        writer.write(DATA)
        assert not store.has(ref_of(DATA))
        assert not (store.root / "objects").exists()
        writer.publish()
        assert store.has(ref_of(DATA))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_object_whose_writer_fails_vanishes(store: ObjectStore, error: type[BaseException]) -> None:
    def failing() -> None:
        with store.writing() as writer:
            writer.write(DATA)
            raise error

    with pytest.raises(error):
        failing()
    assert files(store) == []


def test_object_that_is_not_published_vanishes(store: ObjectStore) -> None:
    with store.writing() as writer:
        writer.write(DATA)
    assert files(store) == []


def test_failing_after_publishing_leaves_the_object(store: ObjectStore) -> None:
    def failing() -> None:
        with store.writing() as writer:
            writer.write(DATA)
            writer.publish()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert files(store) == [store.path(ref_of(DATA).oid).relative_to(store.root)]


def test_no_descriptor_is_left_open(store: ObjectStore) -> None:
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - a Path would open it once more
    for number in range(5):
        put(store, bytes([number]))
        with store.writing() as writer:
            writer.write(DATA)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_object_is_on_disk_before_it_is_visible(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor), files(store))))
    ref = put(store)
    (content, before), (directory, after) = synced
    assert content.st_size == len(DATA)
    assert stat.S_ISDIR(directory.st_mode)
    path = store.path(ref.oid).relative_to(store.root)
    assert path not in before
    assert path in after


def test_object_cannot_be_written_by_accident(store: ObjectStore) -> None:
    assert stat.S_IMODE(store.path(put(store).oid).stat().st_mode) & 0o222 == 0


def test_the_umask_decides_who_may_read(store: ObjectStore) -> None:
    before = os.umask(0o027)
    try:
        ref = put(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path(ref.oid).stat().st_mode) == 0o440


@pytest.mark.parametrize(("mode", "wanted"), [(0o2770, 0o440), (0o2775, 0o444), (0o755, 0o400)])
def test_in_a_shared_repository_its_mode_decides_who_may_read(tmp_path: Path, mode: int, wanted: int) -> None:
    """Git sets the bit that hands on the group where core.sharedRepository lets a group, or all, in."""
    repository = tmp_path / "repository"
    repository.mkdir()
    repository.chmod(mode)
    store = ObjectStore(repository / "theta")
    before = os.umask(0o077)
    try:
        ref = put(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path(ref.oid).stat().st_mode) == wanted


@pytest.mark.parametrize("mode", [0o2775, 0o700, 0o755])
def test_directories_are_as_open_as_the_repository(tmp_path: Path, mode: int) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    repository.chmod(mode)
    store = ObjectStore(repository / "theta")
    ref = put(store)
    store.set_aside(ref)
    folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    assert len(folders) == 6
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {mode}


def test_same_object_twice_is_one(store: ObjectStore) -> None:
    assert put(store) == put(store)
    assert len(files(store)) == 1


def test_two_writers_of_the_same_object_at_once_are_both_right(store: ObjectStore) -> None:
    with store.writing() as first, store.writing() as second:
        for writer in (first, second):
            writer.write(DATA[:100])
        for writer in (second, first):
            writer.write(DATA[100:])
        assert first.publish() == second.publish() == ref_of(DATA)
        store.verify(ref_of(DATA))
    assert len(files(store)) == 1
    store.verify(ref_of(DATA))


def test_one_writer_that_fails_leaves_the_object_of_the_other(store: ObjectStore) -> None:
    with store.writing() as first, store.writing() as second:
        first.write(DATA)
        second.write(DATA)
        first.publish()
    assert len(files(store)) == 1
    store.verify(ref_of(DATA))


def test_many_threads_may_write_and_read_the_same_objects(store: ObjectStore) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait(timeout=30)
        for round_ in range(20):
            data = DATA + bytes([round_])
            put(store, data)
            store.verify(ref_of(data))
            put(store, DATA + bytes([100 + number]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(files(store)) == 28


def test_a_reader_keeps_its_object_while_another_writes_it_again(store: ObjectStore) -> None:
    ref = put(store)
    with store.open(ref) as file:
        first = file.read(100)
        put(store)
        assert first + file.read() == DATA


# --- reading --------------------------------------------------------------------------------------------------------


def test_object_that_is_here_is_opened_and_verified(store: ObjectStore) -> None:
    ref = put(store)
    assert store.has(ref)
    with store.open(ref) as file:
        assert file.read() == DATA
    assert file.closed
    store.verify(ref)


def test_missing_object_is_said_to_be_missing(store: ObjectStore) -> None:
    for _ in range(2):
        ref = ref_of(b"not here")
        assert not store.has(ref)
        with pytest.raises(MissingObjectError, match="not in the local store"), store.open(ref):
            pass
        with pytest.raises(MissingObjectError):
            store.verify(ref)
        put(store)  # the second time, the store exists


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x"], ids=["empty", "short", "long"])
def test_object_of_another_size_is_corrupt(store: ObjectStore, data: bytes) -> None:
    ref = put(store)
    damage(store, ref, data)
    assert not store.has(ref)
    with pytest.raises(CorruptObjectError, match=f"{len(data)} bytes instead of {len(DATA)}"), store.open(ref):
        pass
    with pytest.raises(CorruptObjectError):
        store.verify(ref)


def test_object_with_other_bytes_of_the_same_size_is_found_when_it_is_verified(store: ObjectStore) -> None:
    ref = put(store)
    damage(store, ref, DATA[:-1] + b"x")
    assert store.has(ref)
    with pytest.raises(CorruptObjectError, match="SHA-256"):
        store.verify(ref)


def test_directory_in_the_place_of_an_object_is_an_error(store: ObjectStore) -> None:
    ref = put(store)
    store.path(ref.oid).unlink()
    store.path(ref.oid).mkdir()
    with pytest.raises(CorruptObjectError, match="it cannot be read: Is a directory"), store.open(ref):
        pass


@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, CorruptObjectError), (errno.ENOMEM, UnreadableObjectError)])
def test_object_that_the_disk_does_not_give_back_is_damaged(
    store: ObjectStore, number: int, kind: type[StoreError]
) -> None:
    """And one that cannot be read for want of something else is not, and is not to be set aside."""
    ref = put(store)
    with pytest.raises(StoreError, match=f"cannot be read: {os.strerror(number)}") as failed, store.open(ref):
        raise OSError(number, os.strerror(number))
    assert type(failed.value) is kind


def test_object_that_may_not_be_read_says_what_to_do(store: ObjectStore) -> None:
    ref = put(store)
    with pytest.raises(UnreadableObjectError) as failed, store.open(ref):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert str(failed.value) == f"it cannot be read: Permission denied: let yourself read the files in {store.root}"


def test_suspect_is_the_first_object_that_is_not_right_or_the_first_of_all(store: ObjectStore) -> None:
    refs = [put(store, data) for data in (DATA, b"second", b"third")]
    assert store.suspect([]) is None
    assert store.suspect(refs) == refs[0]
    damage(store, refs[2], b"dritt")
    assert store.suspect(refs) == refs[2]
    store.path(refs[1].oid).unlink()
    assert store.suspect(refs) == refs[1]


def test_object_that_is_set_aside_is_gone_but_not_lost(store: ObjectStore) -> None:
    ref = put(store)
    store.set_aside(ref)
    assert not store.has(ref)
    assert files(store) == [Path("bad") / ref.oid]
    assert (store.root / "bad" / ref.oid).read_bytes() == DATA
    put(store)
    store.set_aside(ref)
    assert files(store) == [Path("bad") / ref.oid]


def test_setting_aside_what_is_not_there_is_an_error_of_the_store(store: ObjectStore) -> None:
    with pytest.raises(StoreError):
        store.set_aside(ref_of(b"not here"))


# --- temporary files ------------------------------------------------------------------------------------------------


def test_stale_temporary_files_are_removed_and_fresh_ones_are_kept(store: ObjectStore) -> None:
    folder = store.temporary_directory()
    for name, age in (("stale", DAY + 60), ("fresh", DAY - 60), ("new", 0)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    assert store.temporary_directory() == folder
    assert sorted(path.name for path in folder.iterdir()) == ["fresh", "new"]


def test_stale_temporary_directories_are_removed_whole_and_fresh_ones_are_kept(
    store: ObjectStore,
) -> None:
    folder = store.temporary_directory()
    for name, age in (("stale", 7 * DAY + 60), ("fresh", 7 * DAY - 60)):
        (folder / name / "objects").mkdir(parents=True)
        (folder / name / "index").write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    store.temporary_directory()
    assert [path.name for path in folder.iterdir()] == ["fresh"]
    assert (folder / "fresh/index").exists()


def test_downloads_that_a_killed_git_lfs_left_are_removed_and_those_that_go_on_are_kept(store: ObjectStore) -> None:
    incomplete = store.root / "incomplete"
    incomplete.mkdir(parents=True)
    for name, age in (("stale", DAY + 60), ("fresh", DAY - 60)):
        (incomplete / name).write_bytes(b"half an object")
        os.utime(incomplete / name, (time.time() - age,) * 2)
    store.temporary_directory()
    assert [path.name for path in incomplete.iterdir()] == ["fresh"]


def test_writing_removes_what_a_killed_process_left(store: ObjectStore) -> None:
    stale = store.temporary_directory() / "object-0000"
    stale.write_bytes(b"x")
    os.utime(stale, (0, 0))
    put(store)
    assert not stale.exists()


def test_the_object_that_is_being_written_is_not_stale(store: ObjectStore) -> None:
    with store.writing() as writer:
        writer.write(DATA)
        put(store, b"another")
        assert writer.publish() == ref_of(DATA)


def test_what_cannot_be_removed_is_left(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = store.temporary_directory() / "stale"
    stale.write_bytes(b"x")
    os.utime(stale, (0, 0))
    monkeypatch.setattr(Path, "unlink", Mock(side_effect=PermissionError))
    assert store.temporary_directory() == stale.parent
    assert stale.exists()


# --- places that cannot be written ----------------------------------------------------------------------------------


PLACES = ["repository", "repository/theta", "repository/theta/tmp", "repository/theta/objects"]


def blocked(tmp_path: Path, place: str) -> ObjectStore:
    """A store "repository/theta" with a regular file in its way: a hindrance for root as well."""
    store = ObjectStore(tmp_path / "repository" / "theta")
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"in the way")
    return store


def assert_one_line(error: StoreError) -> None:
    assert str(error).isprintable()
    assert str(error)


@pytest.mark.parametrize("place", PLACES)
def test_store_that_cannot_be_written_is_an_error_in_one_line(tmp_path: Path, place: str) -> None:
    store = blocked(tmp_path, place)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        put(store)
    assert_one_line(caught.value)
    assert str(store.root) in str(caught.value)
    assert not isinstance(caught.value, ObjectError)
    assert list(tmp_path.rglob("object-*")) == []


@pytest.mark.parametrize("place", PLACES[:3])
def test_temporary_directory_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path, place: str) -> None:
    with pytest.raises(StoreError) as caught:
        blocked(tmp_path, place).temporary_directory()
    assert_one_line(caught.value)


@pytest.mark.parametrize("place", [*PLACES[:2], PLACES[3]])
def test_store_that_cannot_be_read_has_nothing(tmp_path: Path, place: str) -> None:
    store = blocked(tmp_path, place)
    assert not store.has(ref_of(DATA))
    with pytest.raises(StoreError) as caught, store.open(ref_of(DATA)):
        pass
    assert_one_line(caught.value)
    with pytest.raises(StoreError):
        store.set_aside(ref_of(DATA))


def test_full_disk_is_an_error_that_says_what_to_do(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:  # noqa: ARG001 - as os.write
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreError, match="No space left on device: free some space") as caught:
            put(store)
    assert_one_line(caught.value)
    assert files(store) == []


def test_failing_to_make_the_object_durable_leaves_none(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:  # noqa: ARG001 - as os.fsync
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreError, match="Input/output error"):
        put(store)
    assert files(store) == []


def test_missing_objects_are_told_in_turn_and_each_once(store: ObjectStore) -> None:
    with store.writing() as writer:
        writer.write(b"here")
        here = writer.publish()
    lost = [ObjectRef(digit * 64, 4) for digit in "ba"]
    moved = ObjectRef(lost[0].oid, 4, start=3)
    cut_short = ObjectRef(here.oid, here.size + 1)
    assert store.missing([here, lost[0], lost[1], moved, here]) == [moved, lost[1]]
    assert store.missing([cut_short]) == [cut_short]
    assert store.missing([]) == []
