"""What other checkpoints of the index and HEAD have is found, and each is read once."""

from __future__ import annotations

import numpy as np
import pytest

from git_theta import tensors
from git_theta.flows import known
from git_theta.flows.known import Elsewhere
from git_theta.git.repository import Repository
from tests.helpers import Repo, safetensors_bytes

SHARDS = {f"shard-{number}.safetensors": np.full((3, 4), number, np.float32) for number in range(4)}
DIGESTS = {path: tensors.digest(values.tobytes()) for path, values in SHARDS.items()}


@pytest.fixture
def sharded(repo: Repo) -> Repo:
    """A model in four files."""
    repo.theta("track", "*.safetensors")
    for path, values in SHARDS.items():
        repo.write(path, safetensors_bytes({"weight": values}))
    repo.commit("shards")
    return repo


def test_groups_are_found_wherever_they_are_and_those_that_are_nowhere_are_not(sharded: Repo) -> None:
    wanted = [DIGESTS["shard-1.safetensors"], "0" * 64, DIGESTS["shard-3.safetensors"]]
    found = Elsewhere(Repository.discover(sharded.path)).entries(wanted)
    assert sorted(entry.digest for entry in found) == sorted([wanted[0], wanted[2]])


def test_what_is_in_head_alone_is_found(sharded: Repo) -> None:
    sharded.git("rm", "-q", "--cached", "shard-2.safetensors")
    (entry,) = Elsewhere(Repository.discover(sharded.path)).entries([DIGESTS["shard-2.safetensors"]])
    assert entry.name == "weight"


def test_what_git_has_staged_since_is_found(sharded: Repo) -> None:
    elsewhere = Elsewhere(Repository.discover(sharded.path))
    new = np.full((3, 4), 7, np.float32)
    wanted = [tensors.digest(new.tobytes())]
    assert elsewhere.entries(wanted) == []
    sharded.write("new.safetensors", safetensors_bytes({"bias": new}))
    sharded.git("add", "new.safetensors")
    assert [entry.name for entry in elsewhere.entries(wanted)] == ["bias"]


@pytest.mark.parametrize(("remembered", "reads"), [(8, 4), (4, 4 + 2 * 4)])
def test_checkpoint_is_read_once_for_all_that_ask_as_far_as_it_is_remembered(
    sharded: Repo, monkeypatch: pytest.MonkeyPatch, remembered: int, reads: int
) -> None:
    monkeypatch.setattr(known, "_REMEMBERED", remembered)
    repository = Repository.discover(sharded.path)
    elsewhere = Elsewhere(repository)
    asked: list[str] = []
    read = Repository.read_blob
    monkeypatch.setattr(Repository, "read_blob", lambda self, oid: (asked.append(oid), read(self, oid))[1])
    for number in range(5):
        assert elsewhere.entries([f"{number:064x}"]) == []
    assert len(asked) == reads
