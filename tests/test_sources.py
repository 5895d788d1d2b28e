"""Sources: all the bytes that were asked for, or an error; never fewer, and never a crash."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from git_theta.errors import ChangedWhileReadingError
from git_theta.sources import BLOCK, BytesSource, FileSource, FileState, HollowSource, Source, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    return file


@pytest.fixture
def source(file: Path) -> Iterator[FileSource]:
    with file.open("rb") as stream:
        yield FileSource(stream.fileno(), len(DATA))


@pytest.fixture(params=["bytes", "file", "hollow"])
def any_source(request: pytest.FixtureRequest, source: FileSource) -> Source:
    hollow = HollowSource(DATA[:256] + DATA[257:], [(256, 1)])
    return {"bytes": BytesSource(DATA), "file": source, "hollow": hollow}[request.param]


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (0, len(DATA)), (100, 3000), (len(DATA), len(DATA))])
def test_any_part_is_read(any_source: Source, start: int, stop: int) -> None:
    assert any_source.size == len(DATA)
    assert any_source.read(start, stop) == DATA[start:stop]


@pytest.mark.parametrize("start", [0, 100, len(DATA) - 1, len(DATA), len(DATA) + 7])
def test_what_lies_beyond_the_end_is_left_out(any_source: Source, start: int) -> None:
    # As of any file: a plug-in that asks for the mark in front has not to look at the size before.
    assert any_source.read(start, len(DATA) + 100) == DATA[start:]


def test_reading_does_not_move_the_place_where_others_read(source: FileSource) -> None:
    source.read(0, 1000)
    assert os.lseek(source.descriptor, 0, os.SEEK_CUR) == 0


def test_short_reads_are_continued(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: whole(descriptor, min(size, 7), offset))
    assert source.read(10, 1000) == DATA[10:1000]


@pytest.mark.parametrize("left", [0, 1, 999])
def test_file_truncated_before_it_is_read_is_an_error(source: FileSource, file: Path, left: int) -> None:
    os.truncate(file, left)
    with pytest.raises(ChangedWhileReadingError, match="truncated"):
        source.read(0, 1000)


def test_file_truncated_between_two_blocks_is_an_error(source: FileSource, file: Path) -> None:
    reading = blocks(source, 0, source.size, 1000)
    assert next(reading) == DATA[:1000]
    os.truncate(file, 1500)
    with pytest.raises(ChangedWhileReadingError):
        next(reading)


def test_file_truncated_while_a_block_is_read_is_an_error(
    source: FileSource, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pread

    def truncating(descriptor: int, size: int, offset: int) -> bytes:
        data = whole(descriptor, min(size, 100), offset)
        os.truncate(file, 100)
        return data

    monkeypatch.setattr(os, "pread", truncating)
    with pytest.raises(ChangedWhileReadingError):
        source.read(0, 1000)


def test_what_was_not_cut_off_is_still_read(source: FileSource, file: Path) -> None:
    os.truncate(file, 1000)
    assert source.read(0, 1000) == DATA[:1000]


def test_file_that_has_grown_counts_as_large_as_it_was(source: FileSource, file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")
    assert b"".join(blocks(source, 0, source.size)) == DATA


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, len(DATA), len(DATA) + 1])
def test_blocks_have_the_size_asked_for_and_the_last_is_shorter(any_source: Source, size: int) -> None:
    found = list(blocks(any_source, 240, 2240, size))
    assert b"".join(found) == DATA[240:2240]
    assert [len(block) for block in found[:-1]] == [min(size, 2000)] * (len(found) - 1)
    assert 0 < len(found[-1]) <= size


def test_no_bytes_are_no_blocks(any_source: Source) -> None:
    assert list(blocks(any_source, 5, 5)) == []


def test_blocks_are_of_a_megabyte_unless_told() -> None:
    data = bytes(BLOCK + 1)
    assert [len(block) for block in blocks(BytesSource(data), 0, len(data))] == [BLOCK, 1]


def test_state_of_a_file_tells_what_was_written_since(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    before = FileState.of(file.stat())
    assert FileState.of(file.stat()) == before
    os.utime(file, ns=(before.modified, before.modified))
    assert FileState.of(file.stat()) != before
    again = FileState.of(file.stat())
    (tmp_path / "other").write_bytes(b"one")
    (tmp_path / "other").replace(file)
    assert FileState.of(file.stat()) != again


@pytest.mark.parametrize(
    ("modified", "changed", "is_settled"),
    [
        (-200_000_001, -200_000_001, True),
        (-50_000_001, -200_000_001, False),
        (-200_000_001, -50_000_001, False),
        (10**9 + 1, -200_000_001, False),
    ],
)
def test_state_is_settled_when_no_later_change_can_have_the_same_times(
    monkeypatch: pytest.MonkeyPatch, modified: int, changed: int, is_settled: bool
) -> None:
    now = 1_800_000_000_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: now)
    assert FileState((1, 2, 3), now + modified, now + changed).is_settled() == is_settled


@pytest.mark.parametrize(("age", "is_settled"), [(2_000_000_000, False), (4_000_000_000, True)])
def test_times_without_fractions_are_settled_later(monkeypatch: pytest.MonkeyPatch, age: int, is_settled: bool) -> None:
    now = 1_800_000_000_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: now)
    assert FileState((1, 2, 3), now - age, now - age).is_settled() == is_settled
