"""All formats in one repository of real git: which is chosen, and what they share."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import flax.serialization
import numpy as np
import pytest
import safetensors.numpy
import torch

from git_theta.metadata_file import parse
from tests.helpers import Repo

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

ARRAYS: dict[str, npt.NDArray[np.float32]] = {
    f"layer{number}": np.random.default_rng(number).standard_normal((64, 400), dtype=np.float32) for number in range(3)
}
ARRAYS["bias"] = np.arange(30, dtype=np.float32)


def torch_bytes(*, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    state = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    torch.save(state, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def npz_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **ARRAYS)  # type: ignore[arg-type]
    return stream.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "torch": torch_bytes,
    "safetensors": lambda: safetensors.numpy.save(ARRAYS),
    "flax": lambda: flax.serialization.msgpack_serialize(dict(ARRAYS)),
    "npz": npz_bytes,
    "torch-legacy": lambda: torch_bytes(legacy=True),
}
ENDINGS = {"torch": ".pt", "safetensors": ".safetensors", "flax": ".msgpack", "npz": ".npz", "torch-legacy": ".ckpt"}


@pytest.fixture
def filtered(repo: Repo) -> Repo:
    """A repository in which Git-Theta keeps every file in the folder "models"."""
    repo.theta("install", "--local")
    repo.write(".gitattributes", "models/** filter=theta\n")
    return repo


def format_of(repo: Repo, path: str) -> str:
    return parse(repo.git_bytes("cat-file", "blob", f":{path}")).format


def test_the_same_tensors_in_other_formats_add_no_objects(filtered: Repo) -> None:
    objects = None
    for name, make in FILES.items():
        path = f"models/model{ENDINGS[name]}"
        data = make()
        filtered.write(path, data)
        filtered.commit(name)
        assert format_of(filtered, path) == name
        objects = objects or filtered.objects().keys()
        assert filtered.objects().keys() == objects
        (filtered.path / path).unlink()
        filtered.git("checkout", "--", path)
        assert filtered.read(path) == data
    assert filtered.status() == ""


def test_the_content_decides_whatever_the_ending(filtered: Repo) -> None:
    made = {name: make() for name, make in FILES.items()}
    paths = {f"models/{name}/m{ending}": name for name in FILES for ending in ("", *ENDINGS.values())}
    for path, name in paths.items():
        filtered.write(path, made[name])
    filtered.git("add", "models")
    assert {path: format_of(filtered, path) for path in paths} == paths


class TestAttribute:
    def test_only_the_named_format_is_asked(self, filtered: Repo) -> None:
        filtered.write(".gitattributes", "models/** filter=theta theta-format=safetensors\n")
        filtered.write("models/good.pt", FILES["safetensors"]())
        filtered.write("models/other.pt", FILES["torch"]())
        done = filtered.git("add", "models")
        assert format_of(filtered, "models/good.pt") == "safetensors"
        assert format_of(filtered, "models/other.pt") == "opaque"
        assert "models/other.pt: not safetensors, as .gitattributes says: " in done.stderr

    def test_a_file_that_it_does_not_claim_is_refused_if_strict(self, filtered: Repo) -> None:
        filtered.git("config", "theta.strict", "true")
        filtered.write(".gitattributes", "models/** filter=theta theta-format=gguf\n")
        filtered.write("models/m.pt", FILES["torch"]())
        done = filtered.git("add", "models", check=False)
        assert done.returncode != 0
        assert "not gguf, as .gitattributes says" in done.stderr

    def test_an_unknown_name_is_an_error_that_lists_the_known(self, filtered: Repo) -> None:
        filtered.write(".gitattributes", "models/** filter=theta theta-format=tensorflow\n")
        filtered.write("models/m.pt", FILES["torch"]())
        done = filtered.git("add", "models", check=False)
        assert done.returncode != 0
        assert "unknown checkpoint format 'tensorflow'; known are: safetensors, torch, torch-legacy" in done.stderr

    def test_opaque_keeps_a_file_whole_on_purpose(self, filtered: Repo) -> None:
        filtered.git("config", "theta.strict", "true")
        filtered.write(".gitattributes", "models/** filter=theta theta-format=opaque\n")
        filtered.write("models/m.pt", FILES["torch"]())
        assert filtered.git("add", "models").stderr == ""
        assert format_of(filtered, "models/m.pt") == "opaque"


def test_cleaning_imports_no_framework(filtered: Repo) -> None:
    code = (
        "import os, sys; from git_theta.cli.main import main\n"
        "os._exit = lambda status: print(sorted(sys.modules), file=sys.stderr)\n"
        "main()\n"
    )
    for name, make in FILES.items():
        data = make()
        path = f"models/model{ENDINGS[name]}"
        filtered.write(path, data)
        done = filtered.run(sys.executable, "-c", code, "clean", path, cwd=filtered.path, stdin=data)
        assert f'"format":"{name}"' in done.stdout
        assert "'git_theta.flows.clean'" in done.stderr
        for framework in ("torch", "flax", "jax", "safetensors", "tensorflow"):
            assert f"'{framework}'" not in done.stderr
