"""Whether git would stage a file, and how the index gets to know one that was cleaned already."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from git_theta.errors import GitError
from git_theta.git.repository import Repository
from git_theta.sources import FileState


def check_addable(repository: Repository, paths: Iterable[str]) -> None:
    """Make sure that git would add the files at these paths (from here), which are not looked into for that.

    Raises:
        GitError: it would not, as one is outside of a sparse checkout, or beyond a symbolic link.
    """
    # With the intent alone to add, git calls no filter.
    repository.git("--literal-pathspecs", "add", "--dry-run", "--intent-to-add", "--", *paths)


def forget_times(repository: Repository, path: str) -> None:
    """Let git compare the content of the worktree file at a path (from the top), whatever its size and times.

    Raises:
        GitError: the index cannot be written.
    """
    listing = ["--literal-pathspecs", "ls-files", "--stage", "--full-name", "-z", "--", repository.from_here(path)]
    repository.git("update-index", "-z", "--index-info", stdin=repository.git(*listing))


def stage_as_cleaned(repository: Repository, path: str, content: bytes, state: FileState, scratch: Path) -> None:
    """Put content into the index with the times of the worktree file that it was made from.

    Git notes a file's times only when it has the file cleaned. So it is given a filter that answers with the content:
    to digest a large file once more would take longer. If that fails, git has the file cleaned when it next looks.

    Args:
        repository: whose index it is.
        path: from the top.
        content: what the file is when it is cleaned.
        state: of the file that was read.
        scratch: a directory for a temporary file.

    Raises:
        GitError: the index cannot be written.
    """
    file = repository.worktree / path
    with suppress(OSError, GitError), tempfile.NamedTemporaryFile(dir=scratch) as made:
        made.write(content)
        made.flush()
        answering = f"filter.theta.process=git-theta filter-process --cleaned {shlex.quote(made.name)}"
        # Literally: nothing else that a pattern might match may get this content.
        repository.git("-c", answering, "--literal-pathspecs", "add", "--", repository.from_here(path))
    # Git may have noted the times of another file by now.
    if not file.exists() or FileState.of(os.lstat(file)) != state:
        repository.stage(path, content)
