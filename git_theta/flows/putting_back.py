"""Put a checkpoint back that git took out of the worktree for another version, which could then not be written.

Git removes the old file before it asks a filter for the new one, and leaves none there if that fails: no merge that
could be aborted, only an index that says what was there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from git_theta.errors import StoreError, ThetaError
from git_theta.flows.smudge import Smudger
from git_theta.git.repository import Repository
from git_theta.metadata_file import parse
from git_theta.replacing import replacing

REPLACING: Final = frozenset(
    {
        *("merge", "pull", "rebase", "cherry-pick", "revert", "am", "stash", "checkout", "switch", "reset"),
        *("restore", "read-tree"),
    }
)
"""Git commands that put other versions into the worktree. Others smudge what they do not write there."""

MOVING: Final = frozenset({"checkout", "switch"})
"""Those of them that take away what was not committed, to merge it afterwards (`-m`)."""


def put_back(
    repository: Repository,
    smudger: Smudger,
    path: str,
    *,
    cleaned: bytes | None = None,
    asked: bytes | None = None,
    over: bool = False,
) -> bool:
    """Write what was at a path, if nothing is there.

    Args:
        repository: whose worktree it is.
        smudger: gives the bytes.
        path: from the top.
        cleaned: what the filter made of what was there; by default, what the index has.
        asked: the beginning of the metadata file that could not be written.
        over: write it also over what is there.

    Returns:
        Whether there is a file now, or was none: the index has no such path, or only what could not be written.
    """
    file = repository.worktree / path
    entry = repository.index_entry(path)
    if entry is None or (os.path.lexists(file) and not over):
        return os.path.lexists(file) or not repository.is_indexed(path)
    data = repository.read_blob(entry.oid) if cleaned is None else cleaned
    mode = 0o777 if entry.mode.endswith("755") else 0o666
    try:
        content = smudger.smudge(parse(data), data, path)
        _write(file, content, mode, smudger.store.scratch, over=over)
    except (ThetaError, OSError):
        return asked is not None and data[: len(asked)] == asked
    return True


def _write(file: Path, content: Iterable[bytes | memoryview], mode: int, scratch: Path, *, over: bool) -> None:
    with replacing(file, mode, scratch) as stream:
        for block in content:
            stream.write(block)
        if os.path.lexists(file) and not over:
            raise StoreError("somebody else wrote it")
