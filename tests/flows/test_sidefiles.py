"""Update data from files: in any format, or an adapter of PEFT as its file or folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch

from git_theta import tensors
from git_theta.checkpoints import formats
from git_theta.errors import UsageError
from git_theta.flows.sidefiles import read_changes, targets
from git_theta.metadata import Entry, Metadata, Skeleton, Update
from git_theta.updates.sidedata.changes import Dense, LowRank, Scale, SparseChange
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from git_theta.updates.sidedata.changes import Change

PEFT = Path(__file__).parent.parent / "data" / "peft"
R = np.arange(6, dtype=np.float32).reshape(3, 2)
C = np.arange(8, dtype=np.float32).reshape(2, 4)


def base(**groups: tuple[int, ...]) -> Metadata:
    """The metadata file of a checkpoint with groups of float32; their values do not matter here."""
    entries = tuple(
        Entry(name, "float32", shape, tensors.digest(name.encode()), 0, Update("dense", None))
        for name, shape in groups.items()
    )
    size = sum(entry.nbytes for entry in entries)
    return Metadata("safetensors", size, Skeleton(0, tensors.digest(b""), b"", None), entries)


def read(data: Path, kind: str = "auto", metadata: Metadata | None = None) -> dict[str, Sequence[Change]]:
    return read_changes(data, targets({"model": metadata or base(w=(3, 4), b=(4,))}), kind, formats())


def save_npz(file: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def peft(case: str) -> Metadata:
    found = safetensors.torch.load_file(PEFT / case / "base.safetensors")
    return base(**{name: tuple(tensor.shape) for name, tensor in found.items()})


@pytest.mark.parametrize("ending", ["safetensors", "npz", "pt", "bin"])
def test_format_is_known_by_the_content(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"update.{ending}"
    arrays = {"w/R": R, "w/C": C}
    if ending == "safetensors":
        file.write_bytes(safetensors_bytes(arrays))
    elif ending == "npz":
        save_npz(file, arrays)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, file)
    (change,) = read(file)["w"]
    assert isinstance(change, LowRank)
    assert (change.r == R).all()
    assert (change.c == C).all()


def test_every_kind_of_change_by_group(tmp_path: Path) -> None:
    file = tmp_path / "update.npz"
    sparse = {"data": [1.0], "indices": [2], "indptr": [0, 1], "shape": [1, 4]}
    arrays = {"a/R": R, "a/C": C, "c/ia3": np.ones(4, np.float32), "d": np.ones((2, 2), np.float32)}
    keys = {f"b/{key}": np.array(value, np.float32 if key == "data" else np.int64) for key, value in sparse.items()}
    save_npz(file, {**arrays, **keys})
    found = read(file, metadata=base(a=(3, 4), b=(4,), c=(3, 4), d=(2, 2), untouched=(1,)))
    assert {name: [type(part) for part in parts] for name, parts in found.items()} == {
        "a": [LowRank],
        "b": [SparseChange],
        "c": [Scale],
        "d": [Dense],
    }


def test_adapter_is_the_same_as_folder_and_as_file() -> None:
    folder = PEFT / "lora"
    found, same = read(folder, metadata=peft("lora")), read(folder / "adapter_model.safetensors", metadata=peft("lora"))
    assert list(found) == list(same)
    assert "layers.1.weight" in found
    assert all(type(a) is type(b) for name in found for a, b in zip(found[name], same[name], strict=True))


def test_adapter_of_torch_is_found(tmp_path: Path) -> None:
    shutil.copy(PEFT / "ia3" / "adapter_config.json", tmp_path)
    torch.save(safetensors.torch.load_file(PEFT / "ia3" / "adapter_model.safetensors"), tmp_path / "adapter_model.bin")
    found = read(tmp_path, metadata=peft("ia3"))
    assert list(found) == list(read(PEFT / "ia3", metadata=peft("ia3")))


def test_several_changes_of_one_group_stay_in_order(tmp_path: Path) -> None:
    shutil.copytree(PEFT / "transposed", tmp_path, dirs_exist_ok=True)
    file, module = tmp_path / "adapter_model.safetensors", "base_model.model.transformer.c_attn"
    saved = safetensors.torch.load_file(file) | {f"{module}.base_layer.bias": torch.zeros(18)}
    safetensors.torch.save_file(saved, file)
    parts = read(tmp_path, metadata=peft("transposed"))["transformer.c_attn.bias"]
    assert [type(part) for part in parts] == [Dense, SparseChange]


def test_file_of_another_name_beside_a_configuration_is_no_adapter(tmp_path: Path) -> None:
    shutil.copy(PEFT / "lora" / "adapter_config.json", tmp_path)
    (tmp_path / "update.safetensors").write_bytes(safetensors_bytes({"w/R": R, "w/C": C}))
    assert list(read(tmp_path / "update.safetensors")) == ["w"]


def test_file_named_like_an_adapter_without_a_configuration_has_keys(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(safetensors_bytes({"w/R": R, "w/C": C}))
    assert list(read(tmp_path / "adapter_model.safetensors")) == ["w"]


def test_adapter_of_another_model_is_refused_with_the_names_it_has() -> None:
    with pytest.raises(UsageError, match=r"c_attn"):
        read(PEFT / "transposed", metadata=peft("ia3"))


@pytest.mark.parametrize("left", ["adapter_config.json", "adapter_model.safetensors", None])
def test_folder_that_is_no_adapter_says_what_is_expected(tmp_path: Path, left: str | None) -> None:
    if left is not None:
        shutil.copy(PEFT / "lora" / left, tmp_path)
    with pytest.raises(UsageError, match=r"holds no adapter: adapter_config\.json and one of adapter_model"):
        read(tmp_path)


@pytest.mark.parametrize("config", [b"", b"[]", b"\xff", b'{"peft_type": "ADALORA"}', b"{" * 5000])
def test_configuration_that_is_none_is_refused(tmp_path: Path, config: bytes) -> None:
    shutil.copy(PEFT / "lora" / "adapter_model.safetensors", tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(config)
    with pytest.raises(UsageError) as caught:
        read(tmp_path, metadata=peft("lora"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 damaged", b'{"a": 1}'])
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "update.pt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"update\.pt is no checkpoint"):
        read(file)


def test_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "update.safetensors"
    file.write_bytes(safetensors_bytes({"w/R": R, "w/C": C})[:-4])
    with pytest.raises(UsageError, match=r"update\.safetensors is no checkpoint"):
        read(file)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read(tmp_path / "update.pt")


def test_names_of_no_group_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "update.npz"
    save_npz(file, {"other/R": R, "other/C": C})
    with pytest.raises(UsageError, match=r"'other~1R', 'other~1C'"):
        read(file)


def test_data_that_is_laid_out_otherwise_is_refused(tmp_path: Path) -> None:
    """As its values lie in the file, a square matrix would be taken for its transpose."""
    square = np.arange(16, dtype=np.float32).reshape(4, 4)
    npz, pt = tmp_path / "update.npz", tmp_path / "update.pt"
    save_npz(npz, {"w/R": np.asfortranarray(square), "w/C": C.repeat(2, axis=0)})
    torch.save({"w/R": torch.from_numpy(square).t(), "w/C": torch.from_numpy(C.repeat(2, axis=0))}, pt)
    for file, text in ((npz, "an array in Fortran order"), (pt, "strides [1, 4]")):
        with pytest.raises(UsageError, match=r"'w~1R' of the update data is .*: save a plain copy of it") as caught:
            read(file, metadata=base(w=(4, 4)))
        assert text in str(caught.value)
