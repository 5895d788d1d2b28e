"""The checkpoints that benchmarks and examples are made with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from click.testing import CliRunner

if TYPE_CHECKING:
    import numpy.typing as npt

_SCRIPT = Path(__file__).parents[2] / "scripts" / "make_checkpoints.py"
_WIDTH = 8
_DEPTH = 2
_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
_OF_BLOCK = {
    "ln_1.weight": (8,),
    "ln_1.bias": (8,),
    "attn.c_attn.weight": (8, 24),
    "attn.c_attn.bias": (24,),
    "attn.c_proj.weight": (8, 8),
    "attn.c_proj.bias": (8,),
    "ln_2.weight": (8,),
    "ln_2.bias": (8,),
    "mlp.c_fc.weight": (8, 32),
    "mlp.c_fc.bias": (32,),
    "mlp.c_proj.weight": (32, 8),
    "mlp.c_proj.bias": (8,),
}
_SHAPES = {
    "wte.weight": (400, 8),
    "wpe.weight": (16, 8),
    **{f"h.{block}.{name}": shape for block in range(_DEPTH) for name, shape in _OF_BLOCK.items()},
    "ln_f.weight": (8,),
    "ln_f.bias": (8,),
}
_CHANGED = {
    "block": {f"h.1.{name}" for name in _OF_BLOCK},
    "sparse": {name for name, shape in _SHAPES.items() if len(shape) == 2},
    "lora": {"h.0.attn.c_attn.weight", "h.1.attn.c_attn.weight"},
    "finetune": set(_SHAPES),
}

Arrays = dict[str, "npt.NDArray[Any]"]


def _script() -> Any:
    specification = importlib.util.spec_from_file_location("make_checkpoints", _SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses looks for it there
    specification.loader.exec_module(module)
    return module


script = _script()


def _is_norm_weight(name: str) -> bool:
    return name.endswith(".weight") and name.split(".")[-2].startswith("ln_")


def _make(folder: Path, dtype: str = "float32") -> dict[str, Arrays]:
    """Run the command line; returns the groups of each file, as the real library loads them."""
    sizes = ["--width", str(_WIDTH), "--depth", str(_DEPTH), "--vocabulary", "400", "--context", "16"]
    kinds = ["--successors", ",".join(_CHANGED), "--block", "1", "--lora-factors"]
    done = CliRunner().invoke(script.main, [str(folder), *sizes, *kinds, "--dtype", dtype], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {file.stem: safetensors.numpy.load_file(file) for file in folder.iterdir()}


@pytest.fixture(scope="module", params=_DTYPES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    """All files of one dtype."""
    return _make(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("dtype", _DTYPES)
def test_files_are_named_and_are_of_the_dtype(dtype: str, tmp_path: Path) -> None:
    made = _make(tmp_path, dtype)
    assert made.keys() == {"base", *_CHANGED, "lora_factors"}
    assert {array.dtype for arrays in made.values() for array in arrays.values()} == {np.dtype(_DTYPES[dtype])}


def test_groups_have_the_names_and_shapes_of_gpt2(made: dict[str, Arrays]) -> None:
    for kind in ("base", *_CHANGED):
        assert {name: array.shape for name, array in made[kind].items()} == _SHAPES


def test_safe_open_finds_the_groups(tmp_path: Path) -> None:
    script.make_base(tmp_path / "base.safetensors", script.Architecture(_WIDTH, _DEPTH, 400, 16))
    with safetensors.safe_open(tmp_path / "base.safetensors", framework="numpy") as file:
        assert set(file.keys()) == set(_SHAPES)
        assert file.get_slice("wte.weight").get_shape() == [400, _WIDTH]


def test_weights_are_distributed_as_in_a_model(made: dict[str, Arrays]) -> None:
    base = made["base"]
    embedding = base["wte.weight"].astype(np.float32)
    assert abs(float(embedding.mean())) < 0.002
    assert 0.018 < float(embedding.std()) < 0.022
    for name in ("h.0.ln_1.weight", "h.1.ln_2.weight", "ln_f.weight"):
        assert np.allclose(base[name].astype(np.float32), 1, atol=0.2)


@pytest.mark.parametrize("kind", _CHANGED)
def test_a_successor_differs_in_the_right_groups(kind: str, made: dict[str, Arrays]) -> None:
    base, successor = made["base"], made[kind]
    changed = {name for name in base if base[name].tobytes() != successor[name].tobytes()}
    # Around 1, the numbers of half precision lie too far apart for most steps of 0.0002.
    is_lost = kind == "finetune" and base["ln_f.weight"].itemsize == 2
    may_stay = {name for name in _SHAPES if is_lost and _is_norm_weight(name)}
    assert _CHANGED[kind] - may_stay <= changed <= _CHANGED[kind]


def test_sparse_changes_a_thousandth_of_each_matrix(made: dict[str, Arrays]) -> None:
    for name in _CHANGED["sparse"]:
        before, after = made["base"][name], made["sparse"][name]
        assert np.count_nonzero(before != after) == max(1, round(before.size / 1000))


def test_lora_is_the_product_of_the_factors(made: dict[str, Arrays]) -> None:
    factors = {name: array.astype(np.float32) for name, array in made["lora_factors"].items()}
    assert len(factors) == 2 * _DEPTH
    for name in _CHANGED["lora"]:
        layer = name.removesuffix(".weight")
        down, up = factors[f"{layer}.lora_A.weight"], factors[f"{layer}.lora_B.weight"]
        assert down.shape == (8, _WIDTH)
        assert up.shape == (3 * _WIDTH, 8)
        base = made["base"][name]
        merged = (base.astype(np.float32) + np.float32(2) * (up @ down).T).astype(base.dtype)
        assert np.array_equal(merged, made["lora"][name])


def test_finetune_moves_values_by_a_hundredth_of_the_spread(tmp_path: Path) -> None:
    made = _make(tmp_path)
    moved = made["finetune"]["wte.weight"] - made["base"]["wte.weight"]
    assert 0.008 < float(moved.std() / made["base"]["wte.weight"].std()) < 0.012


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    _make(tmp_path / "first")
    _make(tmp_path / "second")
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()
    script.make_base(tmp_path / "other", script.Architecture(_WIDTH, _DEPTH, 400, 16), seed=1)
    assert (tmp_path / "other").read_bytes() != (tmp_path / "first" / "base.safetensors").read_bytes()


def test_default_is_gpt2_small() -> None:
    shapes = script.Architecture().shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 124_439_808


@pytest.mark.parametrize("options", [["--successors", "other"], ["--successors", "block", "--block", "12"]])
def test_what_cannot_be_made_is_refused(options: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(script.main, [str(tmp_path / "out"), *options])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()
