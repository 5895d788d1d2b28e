"""A LoRA adapter merges like any other change: applied to the model, or as a file of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from git_theta import merge_arrays
from git_theta.metadata_file import parse
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from tests.helpers import Arrays

FILE, FOLDER = "model.safetensors", "adapter"
ADAPTER = f"{FOLDER}/adapter_model.safetensors"
RANK, ALPHA = 4, 8
SETTINGS = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["attn"], "fan_in_fan_out": False}
AVERAGE = {"GIT_THETA_MERGE": "average"}


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def model(**changed: np.ndarray) -> Arrays:
    return {"attn.weight": drawn(1, 96, 80), "mlp.weight": drawn(2, 80, 60), **changed}


def trained(name: str) -> np.ndarray:
    old = model()[name]
    trained: np.ndarray = old + np.float32(0.01) * drawn(7, *old.shape)
    return trained


def factors(seed: int) -> Arrays:
    return {
        "base_model.model.attn.lora_A.weight": drawn(seed, RANK, 80),
        "base_model.model.attn.lora_B.weight": drawn(seed + 1, 96, RANK),
    }


def write_adapter(repo: Repo, seed: int) -> None:
    (repo.path / FOLDER).mkdir(exist_ok=True)
    repo.write(f"{FOLDER}/adapter_config.json", json.dumps(SETTINGS))
    repo.write(ADAPTER, safetensors_bytes(factors(seed)))


@pytest.fixture
def forked(repo: Repo) -> Repo:
    """On "lora", where an adapter is applied to attn; "other" trained mlp, and "same" attn."""
    repo.theta("track", FILE)
    repo.write(FILE, safetensors_bytes(model()))
    repo.commit("base")
    for branch, name in (("other", "mlp.weight"), ("same", "attn.weight")):
        repo.git("checkout", "-q", "-b", branch, "main")
        repo.write(FILE, safetensors_bytes(model(**{name: trained(name)})))
        repo.commit(branch)
    repo.git("checkout", "-q", "-b", "lora", "main")
    write_adapter(repo, 20)
    repo.theta("add", FILE, "--update-type", "low-rank", "--update-data", FOLDER)
    repo.git("commit", "-q", "-m", "lora")
    repo.write(".git/info/exclude", f"{FOLDER}\n")
    return repo


def loaded(repo: Repo, path: str = FILE) -> Arrays:
    return safetensors.numpy.load(repo.read(path))


def adapted() -> np.ndarray:
    """What the adapter makes of attn, but for rounding."""
    a, b = factors(20).values()
    return model()["attn.weight"] + ALPHA / RANK * (b.astype(np.float64) @ a)


def types(repo: Repo, group: str) -> list[str]:
    metadata = parse(repo.git_bytes("cat-file", "blob", f"HEAD:{FILE}"))
    (entry,) = (entry for entry in metadata.entries if entry.name == group)
    return [update.type for update in entry.update.nested()]


def test_adapter_and_training_of_other_layers_merge_by_themselves(forked: Repo) -> None:
    before = loaded(forked)["attn.weight"]
    np.testing.assert_allclose(before, adapted(), rtol=1e-4, atol=1e-4)
    assert "low-rank" in types(forked, "attn.weight")
    forked.git("merge", "-q", "--no-edit", "other")
    found = loaded(forked)
    assert found["attn.weight"].tobytes() == before.tobytes()
    assert found["mlp.weight"].tobytes() == trained("mlp.weight").tobytes()
    assert "low-rank" in types(forked, "attn.weight")
    assert forked.status() == ""


def test_adapter_and_training_of_its_layer_are_a_conflict_that_a_method_settles(forked: Repo) -> None:
    ours = loaded(forked)["attn.weight"]
    refused = forked.git("merge", "--no-edit", "same", check=False)
    assert refused.returncode == 1
    assert "attn.weight" in refused.stderr
    forked.git("merge", "--abort")
    forked.git("merge", "-q", "--no-edit", "same", env=AVERAGE)
    wanted = merge_arrays("average", [ours, trained("attn.weight")])
    assert loaded(forked)["attn.weight"].tobytes() == wanted.tobytes()
    assert types(forked, "attn.weight")[0] == "linear"
    assert forked.status() == ""


def test_adapters_that_are_files_of_their_own_merge(repo: Repo) -> None:
    repo.theta("track", ADAPTER)
    for branch, seed in (("main", 20), ("theirs", 30), ("ours", 40)):
        repo.git("checkout", "-q", "-B", branch, *(["main"] if seed > 20 else []))
        write_adapter(repo, seed)
        repo.commit(branch)
    repo.git("merge", "-q", "--no-edit", "theirs", env=AVERAGE)
    found = loaded(repo, ADAPTER)
    for name, values in factors(40).items():
        assert found[name].tobytes() == merge_arrays("average", [values, factors(30)[name]]).tobytes()
    assert repo.status() == ""
