"""Objects on their way to remotes and back: which way they take, and whether they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import TransferError
from git_theta.git.repository import Repository
from git_theta.store.objects import ObjectStore
from git_theta.store.transfer import Transfer
from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.metadata import ObjectRef


@pytest.fixture
def transfer(repo: Repo) -> Transfer:
    """Of a repository with a remote that is a path, and that nothing is at."""
    repo.git("remote", "add", "origin", "../nowhere.git")
    repository = Repository.discover(repo.path)
    return Transfer(repository, ObjectStore(repository.theta_dir))


@pytest.fixture
def ref(transfer: Transfer) -> ObjectRef:
    """An object that is here."""
    with transfer.store.writing() as writer:
        writer.write(b"values")
        return writer.publish()


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_objects_arrive_at_a_server_that_is_a_path_and_come_back(
    repo: Repo, transfer: Transfer, ref: ObjectRef, tmp_path: Path, url: str
) -> None:
    server = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("config", "lfs.url", url.format(server.path))
    transfer.push([ref], "origin", "../nowhere.git", lambda: ())
    assert ObjectStore(server.path / "theta").has(ref)
    transfer.store.path(ref.oid).unlink()
    assert transfer.fetch([ref]) == []
    transfer.store.path(ref.oid).unlink()
    assert transfer.fetch([ref], "origin") == []
    transfer.store.verify(ref)


def test_program_of_the_user_is_asked_for_what_is_at_a_path(
    repo: Repo, transfer: Transfer, ref: ObjectRef, tmp_path: Path
) -> None:
    repo.git("config", "lfs.url", f"file://{tmp_path}/folder")
    repo.git("config", f"lfs.file://{tmp_path}/folder.standalonetransferagent", "mine")
    with pytest.raises(TransferError, match="git-lfs could not upload"):
        transfer.push([ref], "origin", "../nowhere.git", lambda: ())


def test_objects_arrive_where_git_lfs_finds_a_path(
    repo: Repo, transfer: Transfer, ref: ObjectRef, tmp_path: Path
) -> None:
    """It starts a second git-lfs there, which is told of our storage as well, and must not take it for its own."""
    server = Repo.init(tmp_path / "server.git", "--bare")
    repo.git("config", f"url.{tmp_path}/.insteadOf", "https://nowhere.example/")
    repo.git("config", "lfs.url", "https://nowhere.example/server.git")
    transfer.push([ref], "origin", "../nowhere.git", lambda: ())
    assert ObjectStore(server.path / "theta").has(ref)
    transfer.store.path(ref.oid).unlink()
    assert transfer.fetch([ref]) == []
