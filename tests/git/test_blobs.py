"""Blobs, read by one process of git."""

from __future__ import annotations

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


def test_what_names_a_blob_is_found_and_all_else_is_none(repo: Repo) -> None:
    oid = blob(repo, b"here")
    repo.write("a name with spaces", "content")
    repo.commit("first")
    blobs = Blobs(repo.path, "--batch-check")
    assert blobs.find(oid) == oid
    expected = repo.git("rev-parse", "HEAD:a name with spaces").stdout.strip()
    assert blobs.find("HEAD:a name with spaces") == blobs.find(":0:a name with spaces") == expected
    for name in (
        "HEAD",
        "HEAD^{tree}",
        "HEAD:nothing here",
        ":2:a name with spaces",
        "MERGE_HEAD:file",
        "",
        " ",
        NOBODY,
    ):
        assert blobs.find(name) is None
    assert blobs.find(oid) == oid
