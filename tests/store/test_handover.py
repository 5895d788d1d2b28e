"""Values that a merge hands to the checkout that follows: taken once, whole, and never in the way."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.store import handover
from git_theta.store.handover import MIN_BYTES, HandOver

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.random.default_rng(0).integers(0, 256, (MIN_BYTES // 4 + 5, 4), np.uint8)
DIGEST = "ab" * 32


@pytest.fixture
def between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HandOver:
    monkeypatch.setattr(handover, "_FREE_BYTES", 0)
    return HandOver(lambda: tmp_path)


def give(between: HandOver) -> None:
    with between.giving(VALUES.nbytes) as gift:
        assert gift is not None
        gift.write(VALUES[:100].reshape(-1).data)
        gift.write(VALUES[100:].reshape(-1).data)
        gift.complete(DIGEST)


def taken(between: HandOver, size: int = 1 << 18) -> bytes | None:
    blocks = between.take(DIGEST, VALUES.nbytes, size)
    return None if blocks is None else b"".join(bytes(block.result()) for block in blocks)


def test_values_are_taken_in_blocks(between: HandOver) -> None:
    give(between)
    blocks = between.take(DIGEST, VALUES.nbytes, 1 << 18)
    assert blocks is not None
    sizes = [block.nbytes for block in blocks]
    assert sizes == [1 << 18] * 4 + [20]
    assert taken(between) == VALUES.tobytes()


def test_discarded_values_are_gone(between: HandOver, tmp_path: Path) -> None:
    give(between)
    between.discard(DIGEST)
    assert taken(between) is None
    assert not list(tmp_path.iterdir())


def test_what_was_not_completed_leaves_nothing(between: HandOver, tmp_path: Path) -> None:
    with between.giving(VALUES.nbytes) as gift:
        assert gift is not None
        gift.write(VALUES.reshape(-1).data)
    assert not list(tmp_path.iterdir())


def test_values_of_an_error_leave_nothing(between: HandOver, tmp_path: Path) -> None:
    def fail() -> None:
        with between.giving(VALUES.nbytes) as gift:
            assert gift is not None
            gift.write(VALUES.reshape(-1).data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_small_groups_are_not_worth_a_file(between: HandOver) -> None:
    with between.giving(MIN_BYTES - 1) as gift:
        assert gift is None


def test_a_full_disk_keeps_what_is_left_for_the_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_FREE_BYTES", 1 << 62)
    with HandOver(lambda: tmp_path).giving(VALUES.nbytes) as gift:
        assert gift is None


def test_no_more_is_given_than_stays_in_memory(between: HandOver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_MOST_BYTES", VALUES.nbytes)
    give(between)
    with between.giving(VALUES.nbytes) as gift:
        assert gift is None


def test_writing_that_fails_gives_nothing(between: HandOver, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    with between.giving(VALUES.nbytes) as gift:
        assert gift is not None
        monkeypatch.setattr(os, "write", fail)
        gift.write(VALUES.reshape(-1).data)
        monkeypatch.undo()
        gift.complete(DIGEST)
    assert taken(between) is None


@pytest.mark.parametrize("age", [3600, -3600])
def test_what_nobody_took_in_time_is_not_trusted(between: HandOver, tmp_path: Path, age: int) -> None:
    """After a power failure, a file may have its size and none of its bytes; and clocks may be wrong."""
    give(between)
    then = time.time() - age
    os.utime(tmp_path / f"made-{DIGEST}", (then, then))
    assert taken(between) is None


def test_leftovers_are_removed_by_the_next_merge(between: HandOver, tmp_path: Path) -> None:
    old = tmp_path / "made-old"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    (tmp_path / "object-1").write_bytes(b"")
    os.utime(tmp_path / "object-1", (0, 0))
    give(between)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"made-{DIGEST}", "object-1"]


@pytest.mark.parametrize("kind", ["shorter", "link"])
def test_what_is_no_file_of_this_size_is_not_taken(between: HandOver, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"made-{DIGEST}"
    if kind == "link":
        (tmp_path / "other").write_bytes(VALUES.tobytes())
        path.symlink_to(tmp_path / "other")
    else:
        path.write_bytes(VALUES.tobytes()[:-1])
    assert taken(between) is None
