"""Putting a checkpoint back that git took away and could not replace."""

from __future__ import annotations

import contextlib
import stat
from typing import TYPE_CHECKING

import pytest

from git_theta.cli.workspace import Workspace
from git_theta.flows.putting_back import put_back
from git_theta.flows.smudge import Smudger
from tests.conftest import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers import Repo


def put(repo: Repo) -> bool:
    with contextlib.chdir(repo.path):
        workspace = Workspace.here()
        return put_back(workspace.repository, workspace.smudger, CHECKPOINT)


@pytest.mark.parametrize("is_executable", [False, True])
def test_missing_file_is_as_in_the_index(tracked: Repo, is_executable: bool) -> None:
    file = tracked.path / CHECKPOINT
    before = file.read_bytes()
    tracked.git("update-index", f"--chmod={'+' if is_executable else '-'}x", CHECKPOINT)
    file.unlink()
    assert put(tracked)
    assert file.read_bytes() == before
    assert bool(file.stat().st_mode & stat.S_IXUSR) is is_executable
    assert sorted(found.name for found in tracked.path.iterdir()) == [".git", ".gitattributes", CHECKPOINT]


def test_half_a_file_does_not_lie_in_the_worktree_where_git_would_add_it(
    tracked: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tracked.path / CHECKPOINT).unlink()

    def smudge(*_: object) -> Iterator[bytes]:
        yield " ".join(sorted(file.name for file in tracked.path.iterdir())).encode()

    monkeypatch.setattr(Smudger, "smudge", smudge)
    assert put(tracked)
    assert tracked.read(CHECKPOINT) == b".git .gitattributes"


def test_file_that_is_there_stays_as_it_is(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, "mine")
    assert put(tracked)
    assert tracked.read(CHECKPOINT) == b"mine"


def test_file_that_the_index_does_not_have_was_not_there(tracked: Repo) -> None:
    (tracked.path / CHECKPOINT).unlink()
    tracked.git("update-index", "--force-remove", CHECKPOINT)
    assert put(tracked)
    assert not (tracked.path / CHECKPOINT).exists()


@pytest.mark.parametrize("how", ["skip-worktree", "conflict", "no object"])
def test_nothing_is_put_where_nothing_is_wanted_or_had(tracked: Repo, how: str) -> None:
    (tracked.path / CHECKPOINT).unlink()
    if how == "skip-worktree":
        tracked.git("update-index", "--skip-worktree", CHECKPOINT)
    elif how == "conflict":
        oid = tracked.rev(f"HEAD:{CHECKPOINT}")
        lines = [f"0 {'0' * 40}\t{CHECKPOINT}", *(f"100644 {oid} {stage}\t{CHECKPOINT}" for stage in (1, 2, 3))]
        tracked.git("update-index", "--index-info", stdin="\n".join(lines) + "\n")
    else:
        for path in tracked.objects().values():
            path.unlink()
    assert not put(tracked)
    assert sorted(found.name for found in tracked.path.iterdir()) == [".git", ".gitattributes"]
