"""The pointers of Git LFS, compared with those that git-lfs itself writes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from git_theta.metadata import ObjectRef
from git_theta.store.pointers import is_pointer, pointer

if TYPE_CHECKING:
    from tests.helpers import Repo

CONTENT = b"a checkpoint"
POINTER = pointer(ObjectRef(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)))


def test_pointer_is_the_one_that_git_lfs_writes(repo: Repo) -> None:
    assert repo.git_bytes("lfs", "clean", stdin=CONTENT) == POINTER
    assert is_pointer(POINTER)


def test_pointer_with_extensions_is_one() -> None:
    version, oid, size = POINTER.splitlines(keepends=True)
    assert is_pointer(version + b"ext-0-foo sha256:" + b"a" * 64 + b"\n" + oid + size)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        CONTENT,
        POINTER[:-1],
        POINTER + b"\n",
        POINTER + POINTER,
        b"\n" + POINTER,
        POINTER.replace(b"size", b"length"),
        POINTER.replace(b"spec/v1", b"spec/v2"),
        POINTER.replace(b"sha256:", b"sha256:z"),
        b"".join(POINTER.splitlines(keepends=True)[:2]),
    ],
)
def test_what_is_no_whole_pointer_is_none(data: bytes) -> None:
    assert not is_pointer(data)
