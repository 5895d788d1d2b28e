"""Blobs, read by one process of git."""

from __future__ import annotations

import gc
import os
import signal
import warnings
from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.blobs import Blobs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo

NOBODY = "0" * 39 + "1"


def blob(repo: Repo, data: bytes) -> str:
    repo.write("file", data)
    return repo.git("hash-object", "-w", "--no-filters", "file").stdout.strip()


@pytest.mark.parametrize("data", [b"", b"\n", b"caf\xe9\r\n\0" * 50_000, b"missing\n"])
def test_contents_and_sizes_come_as_they_are(repo: Repo, data: bytes) -> None:
    oid = blob(repo, data)
    blobs, sizes = Blobs(repo.path, "--batch"), Blobs(repo.path, "--batch-check")
    for _ in range(2):
        assert blobs.read(oid) == data
        assert sizes.size(oid) == len(data)


def test_blob_that_is_written_later_is_found(repo: Repo) -> None:
    blobs = Blobs(repo.path, "--batch")
    assert blobs.read(blob(repo, b"one")) == b"one"
    assert blobs.read(blob(repo, b"two")) == b"two"


@pytest.mark.parametrize("options", ["--batch", "--batch-check"])
def test_missing_blob_is_an_error_and_the_next_one_is_read(repo: Repo, options: str) -> None:
    blobs = Blobs(repo.path, options)
    for _ in range(2):
        with pytest.raises(GitError, match=f"blob {NOBODY} cannot be read: it is missing or damaged"):
            blobs.size(NOBODY)
    assert blobs.size(blob(repo, b"here")) == 4


def test_damaged_blob_is_an_error(repo: Repo) -> None:
    oid = blob(repo, b"values")
    file = repo.path / ".git" / "objects" / oid[:2] / oid[2:]
    file.chmod(0o644)
    file.write_bytes(b"no zlib stream")
    with pytest.raises(GitError, match=f"blob {oid} cannot be read: it is missing or damaged"):
        Blobs(repo.path, "--batch").read(oid)


def test_what_git_says_when_it_cannot_go_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="cannot be read: not a git repository"):
        Blobs(tmp_path, "--batch").read(NOBODY)


def test_git_that_has_ended_is_an_error_each_time(repo: Repo) -> None:
    oid = blob(repo, b"here")
    blobs = Blobs(repo.path, "--batch")
    blobs._process.kill()
    blobs._process.wait(10)
    for _ in range(2):
        with pytest.raises(GitError, match="cannot be read: git cat-file has ended"):
            blobs.read(oid)


def test_interruption_of_git_is_one_of_ours(repo: Repo) -> None:
    oid = blob(repo, b"here")
    blobs = Blobs(repo.path, "--batch")
    blobs._process.send_signal(signal.SIGINT)
    blobs._process.wait(10)
    with pytest.raises(KeyboardInterrupt):
        blobs.read(oid)


def test_git_ends_when_nobody_asks_any_more(repo: Repo) -> None:
    blobs = Blobs(repo.path, "--batch")
    blobs.read(blob(repo, b"here"))
    number = blobs._process.pid
    with warnings.catch_warnings(action="error"):
        del blobs
        gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
