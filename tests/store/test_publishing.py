"""Objects are published while others are made, and all of them when the context ends."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from git_theta.errors import StoreError
from git_theta.store import publishing as publishing_module
from git_theta.store.objects import ObjectStore
from git_theta.store.publishing import publishing

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.metadata import ObjectRef
    from git_theta.store.publishing import Publisher


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "theta")


def put(data: bytes, store: ObjectStore, publisher: Publisher) -> ObjectRef:
    with store.writing() as writer:
        writer.write(data)
        return publisher.publish(writer)


def leftovers(store: ObjectStore) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_all_are_published_when_the_context_ends(store: ObjectStore) -> None:
    with publishing() as publisher:
        refs = [put(bytes([number]) * 1000, store, publisher) for number in range(100)]
    assert [store.path(ref.oid).read_bytes()[0] for ref in refs] == list(range(100))
    for ref in refs:
        store.verify(ref)
    assert not leftovers(store)


def test_each_is_on_the_disk_before_it_has_its_name(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    has_name, sync = [], os.fsync

    def watched(descriptor: int) -> None:
        has_name.append(any(path.is_file() for path in (store.root / "objects").rglob("*")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with publishing() as publisher:
        put(b"one", store, publisher)
    assert has_name == [False, True]  # the second time, its folder is synced


def test_only_so_many_wait_for_the_disk_as_may_be_open(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing_module, "_PENDING", 5)
    disk, full, sync = threading.Event(), threading.Event(), os.fsync
    given: list[ObjectRef] = []

    def slow(descriptor: int) -> None:
        disk.wait()
        sync(descriptor)

    def give() -> None:
        with publishing() as publisher:
            for number in range(20):
                given.append(put(str(number).encode(), store, publisher))
                if len(given) == 5:
                    full.set()

    monkeypatch.setattr(os, "fsync", slow)
    thread = threading.Thread(target=give)
    thread.start()
    full.wait()
    time.sleep(0.2)
    assert len(given) == 5
    disk.set()
    thread.join()
    assert len(given) == 20
    assert all(store.has(ref) for ref in given)


def test_disk_that_fails_is_told_and_nothing_is_left(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:  # noqa: ARG001
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"), publishing() as publisher:
        refs = [put(bytes([number]), store, publisher) for number in range(5)]
    assert not any(store.has(ref) for ref in refs)
    assert not leftovers(store)


def test_error_of_others_is_theirs_and_what_was_given_is_published(store: ObjectStore) -> None:
    given: list[ObjectRef] = []

    def give_and_fail() -> None:
        with publishing() as publisher:
            given.append(put(b"whole", store, publisher))
            raise ValueError("of others")

    with pytest.raises(ValueError, match="of others"):
        give_and_fail()
    store.verify(given[0])
    assert not leftovers(store)


def test_what_comes_when_all_is_over_is_refused_and_leaves_nothing(store: ObjectStore) -> None:
    """Threads may go on for a moment after another one has failed."""
    with publishing() as publisher:
        put(b"in time", store, publisher)
    for number in range(2 * publishing_module._PENDING):
        with pytest.raises(RuntimeError):
            put(bytes([number]), store, publisher)
    assert not leftovers(store)
