"""The story of a merge: two people train one model, and git brings their work together."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import merge_arrays
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

torch: Any = pytest.importorskip("torch")

SAFE, TRAINING = "model.safetensors", "training.pt"
AVERAGE = {"GIT_THETA_MERGE": "average"}


def weights(seed: int) -> dict[str, np.ndarray]:
    """A model near the first one; both of its groups differ."""
    first, noise = np.random.default_rng(0), np.random.default_rng(seed)
    shapes = {"a.weight": (200, 150), "b.weight": (150, 180)}
    return {
        name: first.standard_normal(shape, dtype=np.float32)
        + np.float32(0.01 * bool(seed)) * noise.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes.items()
    }


def training(seed: int, **others: Any) -> bytes:
    """The same as a training checkpoint."""
    file = io.BytesIO()
    model = {name: torch.from_numpy(values) for name, values in weights(seed).items()}
    torch.save({"model": model, "epoch": 3, "note": "", **others}, file)
    return file.getvalue()


@pytest.fixture
def diverged(repo: Repo) -> Repo:
    """On "main", with "theirs": both branches changed both files all over, and other plain values of the second."""
    repo.theta("track", "*.safetensors", "*.pt")
    repo.write(SAFE, safetensors_bytes(weights(0)))
    repo.write(TRAINING, training(0))
    repo.commit("base")
    for branch, seed, others in (("theirs", 1, {"epoch": 4}), ("ours", 2, {"note": "mine"})):
        repo.git("checkout", "-q", "-B", branch, "main")
        repo.write(SAFE, safetensors_bytes(weights(seed)))
        repo.write(TRAINING, training(seed, **others))
        repo.commit(branch)
    return repo


@pytest.mark.parametrize("command", ["merge --no-edit theirs", "merge-tree --write-tree ours theirs"])
def test_nothing_is_left_of_what_a_merge_hands_to_the_checkout(repo: Repo, command: str) -> None:
    repo.theta("track", "*.safetensors")
    shape = (600, 600)
    models = [np.random.default_rng(0).standard_normal(shape, dtype=np.float32)]
    for branch, seed in (("main", 0), ("theirs", 1), ("ours", 2)):
        repo.git("checkout", "-q", "-B", branch, *(["main"] if seed else []))
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        models.append(models[0] + np.float32(0.01 * bool(seed)) * noise)
        repo.write(SAFE, safetensors_bytes({"a": models[-1]}))
        repo.commit(branch)
    repo.git(*command.split(), env=AVERAGE)
    assert not list((repo.path / ".git/theta/tmp").iterdir())
    assert repo.status() == ""
    wanted = merge_arrays("average", [models[3], models[2]]) if command.startswith("merge ") else models[3]
    assert repo.read(SAFE) == safetensors_bytes({"a": wanted})


def test_averages_of_both_sides_cost_no_object_and_leave_nothing_to_commit(diverged: Repo, tmp_path: Path) -> None:
    before = diverged.objects().keys()
    merged = diverged.git("merge", "--no-edit", "theirs", env=AVERAGE)
    assert "add_cacheinfo" not in merged.stderr
    assert diverged.objects().keys() == before
    assert diverged.status() == ""
    for file in (SAFE, TRAINING):
        os.utime(diverged.path / file)
    assert diverged.status() == ""
    wanted = {name: merge_arrays("average", [weights(2)[name], weights(1)[name]]) for name in weights(0)}
    assert diverged.read(SAFE) == safetensors_bytes(wanted)
    found = torch.load(io.BytesIO(diverged.read(TRAINING)), weights_only=True)
    assert {name: tensor.numpy().tobytes() for name, tensor in found["model"].items()} == {
        name: values.tobytes() for name, values in wanted.items()
    }
    assert (found["epoch"], found["note"]) == (4, "mine")
    groups = json.loads(diverged.git("cat-file", "blob", f"HEAD:{SAFE}").stdout)["groups"]
    assert [(group["merge"], group["update"]["type"]) for group in groups] == [({"method": "average"}, "linear")] * 2
    # What the merge made is all there for others.
    remote = Repo.init(tmp_path / "remote.git", "--bare")
    diverged.git("push", "-q", str(remote.path), "ours")
    clone = Repo.clone(remote.path, tmp_path / "clone", "--branch", "ours")
    clone.theta("install", "--local")
    clone.theta("pull")
    assert clone.read(SAFE) == diverged.read(SAFE)
    assert clone.read(TRAINING) == diverged.read(TRAINING)


def test_merge_that_fails_is_a_conflict_with_both_sides_intact(diverged: Repo) -> None:
    files = {file: diverged.read(file) for file in (SAFE, TRAINING)}
    failed = diverged.git("merge", "theirs", check=False, env={"GIT_THETA_MERGE": "linear weight=1,-1"})
    assert failed.returncode == 1
    assert f"{SAFE}: group 'a.weight': the weights sum to 0" in failed.stderr
    assert diverged.status() == f"UU {SAFE}\nUU {TRAINING}\n"
    for file, data in files.items():
        assert diverged.read(file) == data
    diverged.git("merge", "--abort")
    assert diverged.status() == ""
    assert {file: diverged.read(file) for file in files} == files
