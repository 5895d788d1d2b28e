"""The cache of metadata files: a help where it works, and never an error where it does not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from git_theta.store import cache as module
from git_theta.store.cache import MetadataCache

if TYPE_CHECKING:
    from pathlib import Path


def key(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "theta" / "cache"


@pytest.fixture
def cache(folder: Path) -> MetadataCache:
    return MetadataCache(folder)


@pytest.fixture
def of_100_bytes(cache: MetadataCache, monkeypatch: pytest.MonkeyPatch) -> MetadataCache:
    monkeypatch.setattr(module, "_MAX_BYTES", 100)
    return cache


def aged(folder: Path, number: int, age: int) -> None:
    """Make an entry look as if it had been used so many seconds ago."""
    then = (folder / key(number)).stat().st_mtime - age
    os.utime(folder / key(number), (then, then))


def kept(folder: Path) -> set[int]:
    return {int(path.name, 16) for path in folder.iterdir()}


def test_what_was_put_is_found_again(cache: MetadataCache, folder: Path) -> None:
    cache.put(key(1), b"one\r\n\0")
    cache.put(key(2), b"two")
    assert (cache.get(key(1)), cache.get(key(2))) == (b"one\r\n\0", b"two")
    assert MetadataCache(folder).get(key(1)) == b"one\r\n\0"


def test_what_was_never_put_is_not_found(cache: MetadataCache) -> None:
    assert cache.get(key(1)) is None
    cache.put(key(1), b"one")
    assert cache.get(key(2)) is None


def test_looking_makes_no_directory(cache: MetadataCache, folder: Path) -> None:
    cache.get(key(1))
    assert not folder.parent.exists()


def test_the_last_one_put_counts(cache: MetadataCache) -> None:
    cache.put(key(1), b"old")
    cache.put(key(1), b"new")
    assert cache.get(key(1)) == b"new"


def test_entry_that_vanished_is_not_found(cache: MetadataCache, folder: Path) -> None:
    cache.put(key(1), b"one")
    (folder / key(1)).unlink()
    assert cache.get(key(1)) is None


def test_no_temporary_file_is_left(cache: MetadataCache, folder: Path) -> None:
    for number in range(10):
        cache.put(key(number % 3), b"x" * number)
    assert kept(folder) == {0, 1, 2}


def test_entry_is_never_seen_half_written(cache: MetadataCache, folder: Path) -> None:
    """Written to another name and renamed, so a reader who has it open keeps the old one."""
    cache.put(key(1), b"old")
    with (folder / key(1)).open("rb") as reading:
        cache.put(key(1), b"newer")
        assert reading.read() == b"old"


@pytest.mark.parametrize("place", ["", "theta", "theta/cache"])
def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path, place: str) -> None:
    """With a regular file in its way: a hindrance for root as well."""
    blocking = tmp_path / "repository" / place
    blocking.parent.mkdir(parents=True, exist_ok=True)
    blocking.write_bytes(b"in the way")
    cache = MetadataCache(tmp_path / "repository" / "theta" / "cache")
    cache.put(key(1), b"one")
    assert cache.get(key(1)) is None
    assert blocking.read_bytes() == b"in the way"


def test_directory_in_the_place_of_an_entry_is_no_error(cache: MetadataCache, folder: Path) -> None:
    (folder / key(1)).mkdir(parents=True)
    cache.put(key(1), b"one")
    assert cache.get(key(1)) is None
    assert [path.name for path in folder.iterdir()] == [key(1)]


def test_entries_used_longest_ago_are_dropped_first(of_100_bytes: MetadataCache, folder: Path) -> None:
    for number in range(4):
        of_100_bytes.put(key(number), bytes(30))
        aged(folder, number, 1000 - number)
    assert kept(folder) == {1, 2, 3}
    of_100_bytes.put(key(4), bytes(30))
    assert kept(folder) == {2, 3, 4}


def test_cache_is_not_looked_through_for_each_entry_that_finds_room(
    cache: MetadataCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: scans.append(folder) or scandir(folder))
    for number in range(100):
        cache.put(f"{number:064}", b"data")
    assert len(scans) == 1


def test_using_an_entry_keeps_it(of_100_bytes: MetadataCache, folder: Path) -> None:
    for number in range(3):
        of_100_bytes.put(key(number), bytes(30))
        aged(folder, number, 1000 - number)
    assert of_100_bytes.get(key(0)) == bytes(30)
    of_100_bytes.put(key(3), bytes(30))
    assert kept(folder) == {0, 2, 3}


def test_as_many_are_dropped_as_must_be(of_100_bytes: MetadataCache, folder: Path) -> None:
    for number in range(10):
        of_100_bytes.put(key(number), bytes(10))
        aged(folder, number, 1000 - number)
    assert len(kept(folder)) == 10
    of_100_bytes.put(key(10), bytes(65))
    assert kept(folder) == {7, 8, 9, 10}


def test_entry_that_is_larger_than_the_cache_is_the_only_one(of_100_bytes: MetadataCache, folder: Path) -> None:
    of_100_bytes.put(key(1), bytes(50))
    aged(folder, 1, 1000)
    of_100_bytes.put(key(2), bytes(200))
    assert kept(folder) == {2}
    assert of_100_bytes.get(key(2)) == bytes(200)


def test_many_threads_may_use_it_at_once(of_100_bytes: MetadataCache) -> None:
    def work(number: int) -> list[bytes | None]:
        found = []
        for round_ in range(50):
            of_100_bytes.put(key((number + round_) % 12), bytes([(number + round_) % 12]) * 30)
            found.append(of_100_bytes.get(key(round_ % 12)))
        return found

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(6)))
    for found in results:
        assert all(data is None or data == bytes([number % 12]) * 30 for number, data in enumerate(found))
