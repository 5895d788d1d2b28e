"""Files that are replaced whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_theta.replacing import replacing


@pytest.mark.parametrize("is_there", [True, False])
def test_new_content_comes_all_at_once(tmp_path: Path, is_there: bool) -> None:
    file = tmp_path / "file"
    if is_there:
        file.write_bytes(b"old")
    with replacing(file) as stream:
        stream.write(b"new")
        stream.flush()
        assert (file.read_bytes() if file.exists() else None) == (b"old" if is_there else None)
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def fail() -> None:
        with replacing(file) as stream:
            stream.write(b"new")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_new_file_lies_in_the_scratch_directory_until_it_is_whole(tmp_path: Path) -> None:
    scratch, file = tmp_path / "scratch", tmp_path / "worktree/file"
    scratch.mkdir()
    file.parent.mkdir()
    with replacing(file, scratch=scratch) as stream:
        stream.write(b"new")
        assert list(file.parent.iterdir()) == []
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []
    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("scratch", [Path("/dev/shm"), Path("/nowhere")])
def test_new_file_lies_beside_the_old_where_the_scratch_directory_is_on_another_disk(
    tmp_path: Path, scratch: Path
) -> None:
    file = tmp_path / "file"
    with replacing(file, scratch=scratch) as stream:
        stream.write(b"new")
        (temporary,) = tmp_path.iterdir()
        assert not (scratch / temporary.name).exists()
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o666, 0o777])
def test_umask_counts(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file", mode) as stream:
            stream.write(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode & ~0o027
