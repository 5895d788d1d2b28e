"""Side-loading with real git, torch, flax and NumPy: what the worktree file becomes, and what is kept of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.serialization
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from git_theta import tensors
from git_theta.flows.clean import Cleaner
from git_theta.flows.sideload import SideLoader
from git_theta.metadata_file import parse
from git_theta.sources import FileState
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from git_theta.metadata import Entry

    Arrays = dict[str, npt.NDArray[Any]]

PEFT = Path(__file__).parent.parent / "data" / "peft"


def npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def pt(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, stream)
    return stream.getvalue()


def flax_file(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    nested: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, key = name.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = array
    return bytes(flax.serialization.msgpack_serialize(nested))


WRITERS: dict[str, Callable[[Mapping[str, npt.NDArray[Any]]], bytes]] = {
    "data.safetensors": safetensors_bytes,
    "data.pt": pt,
    "data.npz": npz,
    "data.msgpack": flax_file,
}


def factors(seed: int, rows: int, columns: int, rank: int = 4) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    generator = np.random.default_rng(seed)
    r = generator.standard_normal((rows, rank), np.float32)
    return r, generator.standard_normal((rank, columns), np.float32) / 16


def lora(seed: int, group: str, rows: int, columns: int, rank: int = 4) -> tuple[Arrays, npt.NDArray[Any]]:
    """Update data of a low rank, and the product of it."""
    r, c = factors(seed, rows, columns, rank)
    return {f"{group}/R": r, f"{group}/C": c}, r @ c


def mixed() -> tuple[Arrays, Arrays]:
    """Update data of every kind, and the values that it makes of `model(0)`."""
    old: Arrays = {**model(0)}
    data, product = lora(1, "embed_weight", 160, 128)
    half, half_product = lora(2, "attn_weight", 200, 200)
    indices = np.array([3, 500, 20000], np.int64)
    difference = np.array([1.5, -2.5, 0.25], np.float32)
    scale = np.linspace(0.5, 1.5, 128, dtype=np.float32)
    dense = model(7)["attn_bias"]
    head = old["head_weight"].copy()
    head.reshape(-1)[indices] += difference
    new: Arrays = {
        **old,
        "embed_weight": old["embed_weight"] + product,
        "attn_weight": (old["attn_weight"].astype(np.float32) + half_product).astype(np.float16),
        "head_weight": head,
        "norm_bias": old["norm_bias"] * scale,
        "attn_bias": dense,
    }
    sparse: Arrays = {
        "data": difference,
        "indices": indices,
        "indptr": np.array([0, 3]),
        "shape": np.array([1, head.size]),
    }
    data |= half | {f"head_weight/{key}": array for key, array in sparse.items()}
    return {**data, "norm_bias/ia3": scale, "attn_bias": dense}, new


def entries(repo: Repo, path: str = CHECKPOINT, revision: str = "") -> dict[str, Entry]:
    return parse(repo.git_bytes("cat-file", "blob", f"{revision}:{path}")).by_name()


def types(entry: Entry) -> list[str]:
    return [update.type for update in entry.update.nested()]


def added(repo: Repo, before: Mapping[str, Path]) -> int:
    """Bytes of the objects that came."""
    return sum(path.stat().st_size for oid, path in repo.objects().items() if oid not in before)


def check_committed(repo: Repo, path: str, content: bytes) -> None:
    """Commit what is staged, and check out anew."""
    repo.git("commit", "-q", "-m", "side-loaded")
    assert repo.git("status", "--porcelain", "--untracked-files=no").stdout == ""
    (repo.path / path).unlink()
    repo.git("checkout", "-q", "--", path)
    assert repo.read(path) == content


def start(repo: Repo, path: str, content: bytes) -> Repo:
    repo.verb("track", path)
    repo.write(path, content)
    repo.git("add", "--", ".gitattributes", path)
    repo.git("commit", "-q", "-m", "base")
    return repo


@pytest.mark.parametrize("name", WRITERS)
def test_data_of_every_format_and_kind_gives_the_values_that_numpy_computes(tracked: Repo, name: str) -> None:
    data, wanted = mixed()
    tracked.write(name, WRITERS[name](data))
    (tracked.path / CHECKPOINT).chmod(0o750)
    tracked.verb("add", CHECKPOINT, "--update-data", name)
    content = tracked.read(CHECKPOINT)
    assert content == safetensors_bytes(wanted)
    assert (tracked.path / CHECKPOINT).stat().st_mode & 0o777 == 0o750
    kept = entries(tracked)
    assert "low-rank" in types(kept["embed_weight"])
    assert "low-rank" in types(kept["attn_weight"])
    assert types(kept["head_weight"]) == ["sparse", "dense"]
    assert types(kept["attn_bias"]) == ["dense"]
    if name == "data.safetensors":
        check_committed(tracked, CHECKPOINT, content)
    assert not list(tracked.path.glob(".*.theta"))


@pytest.mark.parametrize("kind", ["low-rank", "sparse", "ia3", "dense"])
def test_data_of_the_kind_that_is_named(tracked: Repo, kind: str) -> None:
    keys = {"low-rank": ("R", "C"), "sparse": ("data", "indices", "indptr", "shape"), "ia3": ("ia3",), "dense": ()}
    data, wanted = mixed()
    part = {name: array for name, array in data.items() if name.rpartition("/")[2] in keys[kind]}
    part = part or {"attn_bias": data["attn_bias"]}
    tracked.write("data.safetensors", safetensors_bytes(part))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors", "--update-type", kind)
    changed = {name.partition("/")[0] for name in part}
    expected = {name: wanted[name] if name in changed else array for name, array in model(0).items()}
    assert tracked.read(CHECKPOINT) == safetensors_bytes(expected)


def test_matrix_that_is_scaled_is_kept_as_its_vector(tracked: Repo) -> None:
    old: Arrays = {**model(0)}
    scale = np.linspace(0.5, 1.5, 160, dtype=np.float32)[:, None]
    tracked.write("data.npz", npz({"embed_weight/ia3": scale}))
    before = tracked.objects()
    tracked.verb("add", CHECKPOINT, "--update-data", "data.npz")
    assert tracked.read(CHECKPOINT) == safetensors_bytes(old | {"embed_weight": old["embed_weight"] * scale})
    assert types(entries(tracked)["embed_weight"]) == ["ia3", "dense"]
    assert added(tracked, before) < 1500


def test_bfloat16_group_is_rounded_once_and_keeps_the_factors(repo: Repo) -> None:
    old = np.random.default_rng(0).standard_normal((512, 256), np.float32).astype(ml_dtypes.bfloat16)
    tensors = {"w": torch.from_numpy(old.view(np.uint16).copy()).view(torch.bfloat16)}
    start(repo, CHECKPOINT, safetensors.torch.save(tensors))
    data, product = lora(3, "w", 512, 256)
    repo.write("data.pt", pt(data))
    before = repo.objects()
    repo.verb("add", CHECKPOINT, "--update-data", "data.pt")
    got = safetensors.torch.load(repo.read(CHECKPOINT))["w"].view(torch.uint16).numpy()
    wanted = (old.astype(np.float32) + product).astype(ml_dtypes.bfloat16)
    assert (got == wanted.view(np.uint16)).all()
    assert "low-rank" in types(entries(repo)["w"])
    assert added(repo, before) < old.nbytes * 0.1
    check_committed(repo, CHECKPOINT, repo.read(CHECKPOINT))


def test_torch_checkpoint_has_new_values_and_right_checksums(repo: Repo) -> None:
    old = model(0)
    start(repo, "model.pt", pt(old))
    data, product = lora(4, "embed_weight", 160, 128)
    repo.write("data.safetensors", safetensors_bytes(data))
    repo.verb("add", "model.pt", "--update-data", "data.safetensors")
    content = repo.read("model.pt")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
    loaded = torch.load(io.BytesIO(content), weights_only=True)
    assert (loaded.pop("embed_weight").numpy() == old["embed_weight"] + product).all()
    assert all((loaded[name].numpy() == old[name]).all() for name in loaded)
    assert len(loaded) == len(old) - 1
    assert "low-rank" in types(entries(repo, "model.pt")["embed_weight"])
    check_committed(repo, "model.pt", content)


def test_numpy_archive_has_new_values_and_right_checksums(repo: Repo) -> None:
    old = model(0)
    start(repo, "model.npz", npz(old))
    data, product = lora(5, "embed_weight", 160, 128)
    repo.write("data.npz", npz(data))
    repo.verb("add", "model.npz", "--update-data", "data.npz")
    content = repo.read("model.npz")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
    with np.load(io.BytesIO(content)) as loaded:
        assert (loaded["embed_weight"] == old["embed_weight"] + product).all()
        assert (loaded["head_weight"] == old["head_weight"]).all()
    check_committed(repo, "model.npz", content)


def test_array_that_is_laid_out_otherwise_is_left_alone(repo: Repo) -> None:
    """A square one would get the transpose of what the data says."""
    old = np.asfortranarray(model(0)["embed_weight"][:128])
    content = npz({"square": old, "other": old.copy("C")})
    start(repo, "model.npz", content)
    repo.write("data.npz", npz(lora(5, "square", 128, 128)[0]))
    refused = repo.verb("add", "model.npz", "--update-data", "data.npz", check=False)
    assert refused.returncode == 2
    assert "'square' is an array in Fortran order, and no update data can be applied to that" in refused.stderr
    assert repo.read("model.npz") == content
    repo.write("data.npz", npz(lora(5, "other", 128, 128)[0]))
    repo.verb("add", "model.npz", "--update-data", "data.npz")


def test_flax_checkpoint_has_new_values(repo: Repo) -> None:
    old = {"layer/kernel": model(0)["embed_weight"], "layer/bias": model(0)["norm_bias"]}
    start(repo, "model.msgpack", flax_file(old))
    data, product = lora(6, "layer/kernel", 160, 128)
    repo.write("data.msgpack", flax_file(data))
    repo.verb("add", "model.msgpack", "--update-data", "data.msgpack")
    loaded = flax.serialization.msgpack_restore(repo.read("model.msgpack"))
    assert (loaded["layer"]["kernel"] == old["layer/kernel"] + product).all()
    check_committed(repo, "model.msgpack", repo.read("model.msgpack"))


def test_merged_values_of_another_program_stay_and_are_kept_small(tracked: Repo) -> None:
    data, _ = lora(8, "embed_weight", 160, 128, 8)
    half, _ = lora(9, "attn_weight", 200, 200, 8)
    data |= half
    old = model(0)
    merged = dict(old)
    for name in ("embed_weight", "attn_weight"):
        # Summed the other way round, and so rounded otherwise than NumPy does.
        total = torch.from_numpy(old[name]).float()
        r, c = (torch.from_numpy(data[f"{name}/{key}"]) for key in "RC")
        for index in reversed(range(8)):
            total += torch.outer(r[:, index], c[index])
        merged[name] = total.numpy().astype(old[name].dtype)
    assert (merged["embed_weight"] != old["embed_weight"] + data["embed_weight/R"] @ data["embed_weight/C"]).any()
    content = safetensors_bytes(merged)
    tracked.write(CHECKPOINT, content)
    tracked.write("data.safetensors", safetensors_bytes(data))
    before = tracked.objects()
    done = tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    assert tracked.read(CHECKPOINT) == content
    assert "embed_weight: low-rank + " in done.stdout
    assert types(entries(tracked)["embed_weight"])[1:] == ["low-rank", "dense"]
    assert added(tracked, before) < 0.4 * (merged["embed_weight"].nbytes + merged["attn_weight"].nbytes)
    check_committed(tracked, CHECKPOINT, content)


@pytest.mark.parametrize("flag", [False, True])
def test_merged_values_tell_how_a_square_matrix_is_kept_where_the_adapter_is_in_doubt(repo: Repo, flag: bool) -> None:
    rng = np.random.default_rng(3)
    # As Conv1D keeps them, (in, out), or as Linear does: the other way round than the flag says.
    wide = (160, 120) if flag else (120, 160)
    old = {
        "h.attn.c_proj.weight": rng.standard_normal((160, 160), np.float32),
        "h.mlp.c_proj.weight": rng.standard_normal(wide, np.float32),
        "h.mlp.c_proj.bias": rng.standard_normal(160, np.float32),
    }
    start(repo, CHECKPOINT, safetensors_bytes(old))
    a, b = rng.standard_normal((4, 160), np.float32), rng.standard_normal((160, 4), np.float32)
    prefix = "base_model.model.h.attn.c_proj.lora_"
    repo.write("adapter/adapter_model.safetensors", safetensors_bytes({f"{prefix}A.weight": a, f"{prefix}B.weight": b}))
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "fan_in_fan_out": flag}
    repo.write("adapter/adapter_config.json", json.dumps(config).encode())
    done = repo.verb("add", CHECKPOINT, "--update-data", "adapter", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"fan_in_fan_out = {flag}" in done.stderr
    product = b @ a
    merged = old | {"h.attn.c_proj.weight": old["h.attn.c_proj.weight"] + (product if flag else product.T)}
    repo.write(CHECKPOINT, safetensors_bytes(merged))
    done = repo.verb("add", CHECKPOINT, "--update-data", "adapter")
    assert "h.attn.c_proj.weight: low-rank" in done.stdout
    check_committed(repo, CHECKPOINT, safetensors_bytes(merged))


@pytest.mark.parametrize("change", ["another value", "another group"])
def test_worktree_holds_neither_old_nor_new_values(tracked: Repo, change: str) -> None:
    data, product = lora(8, "embed_weight", 160, 128)
    values = model(0)["embed_weight"] + product
    values[5, 5] += 1
    content = safetensors_bytes(model(0, embed_weight=values if change == "another value" else values[:5]))
    tracked.write(CHECKPOINT, content)
    tracked.write("data.safetensors", safetensors_bytes(data))
    index = tracked.git("ls-files", "--stage").stdout
    done = tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "'embed_weight'" in done.stderr
    assert tracked.read(CHECKPOINT) == content
    assert tracked.git("ls-files", "--stage").stdout == index


def test_group_that_the_data_does_not_name_may_have_changed_in_a_merged_worktree(tracked: Repo) -> None:
    data, product = lora(8, "embed_weight", 160, 128)
    changed = model(0, embed_weight=model(0)["embed_weight"] + product, attn_bias=model(1)["attn_bias"])
    tracked.write(CHECKPOINT, safetensors_bytes(changed))
    tracked.write("data.safetensors", safetensors_bytes(data))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    assert tracked.read(CHECKPOINT) == safetensors_bytes(changed)
    assert tracked.git("diff", "--name-only").stdout == ""


def test_groups_that_the_data_does_not_name_may_have_changed_where_the_others_are_old(tracked: Repo) -> None:
    data, product = lora(8, "embed_weight", 160, 128)
    others = {"attn_bias": model(1)["attn_bias"], "one_more": np.arange(40, dtype=np.float32)}
    tracked.write(CHECKPOINT, safetensors_bytes(model(0, **others)))
    tracked.write("data.safetensors", safetensors_bytes(data))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    wanted = safetensors_bytes(model(0, embed_weight=model(0)["embed_weight"] + product, **others))
    assert tracked.read(CHECKPOINT) == wanted
    assert "low-rank" in types(entries(tracked)["embed_weight"])
    check_committed(tracked, CHECKPOINT, wanted)


@pytest.mark.parametrize("is_only_copy", [True, False])
def test_file_that_has_what_is_not_staged_reaches_the_disk_before_it_takes_the_place_of_the_old(
    tracked: Repo, monkeypatch: pytest.MonkeyPatch, is_only_copy: bool
) -> None:
    data, _ = lora(8, "embed_weight", 160, 128)
    tracked.write(CHECKPOINT, safetensors_bytes(model(0, attn_bias=model(int(is_only_copy))["attn_bias"])))
    tracked.write("data.safetensors", safetensors_bytes(data))
    flushed = {}

    def fsync(descriptor: int) -> None:
        flushed[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fsync", fsync)
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    status = (tracked.path / CHECKPOINT).stat()
    assert flushed.get(status.st_ino) == (status.st_size if is_only_copy else None)


def test_groups_that_have_the_new_values_stay_and_the_others_get_them(tracked: Repo) -> None:
    data, product = lora(8, "embed_weight", 160, 128)
    half, half_product = lora(9, "attn_weight", 200, 200)
    # Rounded otherwise than NumPy does, so that it would show if these were computed anew.
    exact = (model(0)["embed_weight"].astype(np.float64) + product).astype(np.float32) * np.float32(1 + 2.0**-23)
    tracked.write(CHECKPOINT, safetensors_bytes(model(0, embed_weight=exact)))
    tracked.write("data.safetensors", safetensors_bytes(data | half))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    summed = (model(0)["attn_weight"].astype(np.float32) + half_product).astype(np.float16)
    wanted = safetensors_bytes(model(0, embed_weight=exact, attn_weight=summed))
    assert tracked.read(CHECKPOINT) == wanted
    check_committed(tracked, CHECKPOINT, wanted)


def test_chain_of_two_is_small_and_reads_back_exactly(tracked: Repo) -> None:
    values = model(0)["embed_weight"]
    for seed in (10, 11):
        data, product = lora(seed, "embed_weight", 160, 128)
        values = values + product
        tracked.write("data.safetensors", safetensors_bytes(data))
        before = tracked.objects()
        tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
        # The factors are (160 + 128) * 4 numbers; what R @ C in another order differs in comes on top.
        assert added(tracked, before) < 0.35 * values.nbytes
        tracked.git("commit", "-q", "-m", str(seed))
    assert types(entries(tracked)["embed_weight"]).count("low-rank") == 2
    check = safetensors_bytes(model(0, embed_weight=values))
    assert tracked.read(CHECKPOINT) == check
    clone = Repo.clone(tracked.path, tracked.path.parent / "clone", "--no-checkout")
    shutil.copytree(tracked.path / ".git" / "theta", clone.path / ".git" / "theta")
    clone.theta("install", "--local")
    clone.git("checkout", "-q", "main")
    assert clone.read(CHECKPOINT) == check
    clone.git("checkout", "-q", "main~1", "--", CHECKPOINT)
    assert clone.read(CHECKPOINT) != check


@pytest.mark.parametrize("case", ["lora", "transposed", "ia3", "bfloat16"])
def test_adapter_of_peft_as_it_comes(repo: Repo, case: str) -> None:
    folder = PEFT / case
    start(repo, CHECKPOINT, (folder / "base.safetensors").read_bytes())
    shutil.copytree(folder, repo.path / "adapter")
    merged = (folder / "merged.safetensors").read_bytes()
    # What PEFT itself has merged stays to the last bit.
    repo.write(CHECKPOINT, merged)
    repo.verb("add", CHECKPOINT, "--update-data", "adapter/adapter_model.safetensors")
    assert repo.read(CHECKPOINT) == merged
    repo.git("reset", "-q")
    shutil.copy(folder / "base.safetensors", repo.path / CHECKPOINT)
    repo.verb("add", CHECKPOINT, "--update-data", "adapter")
    got, wanted = (safetensors.torch.load(data) for data in (repo.read(CHECKPOINT), merged))
    assert got.keys() == wanted.keys()
    tolerance = 2e-2 if case == "bfloat16" else 1e-5
    assert all(torch.allclose(got[name], wanted[name], rtol=tolerance, atol=tolerance) for name in wanted)
    base = safetensors.torch.load((folder / "base.safetensors").read_bytes())
    assert any(not torch.allclose(got[name], base[name], rtol=tolerance, atol=tolerance) for name in base)
    assert repo.git("diff", "--name-only").stdout == ""


def test_adapter_of_peft_for_a_model_in_two_files(tracking: Repo) -> None:
    folder = PEFT / "lora"
    base, merged = (safetensors.torch.load_file(folder / f"{name}.safetensors") for name in ("base", "merged"))
    names = sorted(base)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for path, part in shards.items():
        tracking.write(path, safetensors.torch.save({name: base[name] for name in part}))
    tracking.commit("base")
    shutil.copytree(folder, tracking.path / "adapter")
    done = tracking.verb("add", "model-1.safetensors", "--update-data", "adapter", check=False)
    assert "if the model keeps them in other files, name these too" in done.stderr
    tracking.verb("add", *shards, "--update-data", "adapter")
    got = {}
    for path in shards:
        got |= safetensors.torch.load(tracking.read(path))
    assert got.keys() == merged.keys()
    assert all(torch.allclose(got[name], merged[name], rtol=1e-5, atol=1e-5) for name in merged)
    changed = tracking.git("diff", "--cached", "--name-only").stdout.split()
    assert changed == [path for path, part in shards.items() if any(not base[n].equal(merged[n]) for n in part)]


@pytest.mark.parametrize("broken", ["os.fchmod", "os.utime", "pathlib.Path.replace"])
def test_interrupted_rewrite_leaves_the_old_file(tracked: Repo, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    data, _ = lora(12, "embed_weight", 160, 128)
    tracked.write("data.safetensors", safetensors_bytes(data))
    old, index = tracked.read(CHECKPOINT), tracked.git("ls-files", "--stage").stdout

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    done = tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors", check=False)
    monkeypatch.undo()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"git-theta: {CHECKPOINT} cannot be written: No space left on device\n"
    assert tracked.read(CHECKPOINT) == old
    assert tracked.git("ls-files", "--stage").stdout == index
    assert not list(tracked.path.glob(".*.theta"))


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
def test_store_that_is_full_is_said_to_leave_the_new_values_and_the_next_try_stages_them(repo: Repo, name: str) -> None:
    base = {"w": model(0)["embed_weight"]}
    start(repo, name, safetensors_bytes(base) if name == CHECKPOINT else npz(base))
    data, product = lora(12, "w", 160, 128)
    repo.write("data.safetensors", safetensors_bytes(data))
    blocked = repo.path / ".git/theta/tmp"
    shutil.rmtree(blocked)
    blocked.touch()
    done = repo.verb("add", name, "--update-data", "data.safetensors", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("git-theta: the object store ")
    assert done.stderr.endswith(f" ({name} has its new values, but they are not staged)\n")
    assert repo.git("diff", "--cached", "--name-only").stdout == ""
    content = repo.read(name)
    blocked.unlink()
    repo.verb("add", name, "--update-data", "data.safetensors")
    assert repo.read(name) == content
    assert types(entries(repo, name)["w"])[-2] == "low-rank"
    assert entries(repo, name)["w"].digest == tensors.digest((base["w"] + product).tobytes())
    check_committed(repo, name, content)


def test_same_data_twice_changes_nothing_more(tracked: Repo) -> None:
    data, _ = lora(13, "embed_weight", 160, 128)
    tracked.write("data.safetensors", safetensors_bytes(data))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    content, index = tracked.read(CHECKPOINT), tracked.git("ls-files", "--stage").stdout
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    assert (tracked.read(CHECKPOINT), tracked.git("ls-files", "--stage").stdout) == (content, index)


def test_what_was_staged_stays_through_status_add_and_commit(tracked: Repo) -> None:
    data, _ = lora(14, "embed_weight", 160, 128)
    tracked.write("data.safetensors", safetensors_bytes(data))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors", "--update-type", "low-rank")
    blob = tracked.rev(f":{CHECKPOINT}")
    os.utime(tracked.path / CHECKPOINT, (1, 1))
    tracked.status()
    assert tracked.rev(f":{CHECKPOINT}") == blob
    os.utime(tracked.path / CHECKPOINT, (2, 2))
    tracked.commit("all")
    assert tracked.rev(f"HEAD:{CHECKPOINT}") == blob


@pytest.mark.parametrize("merged", [False, True])
def test_group_without_elements_is_no_trouble(tracked: Repo, merged: bool) -> None:
    data, product = lora(15, "embed_weight", 160, 128)
    nothing: Arrays = {"empty/R": np.zeros((0, 2), np.float32), "empty/C": np.zeros((2, 4), np.float32)}
    wanted = safetensors_bytes(model(0, embed_weight=model(0)["embed_weight"] + product))
    if merged:
        tracked.write(CHECKPOINT, wanted)
    tracked.write("data.safetensors", safetensors_bytes(data | nothing))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    assert tracked.read(CHECKPOINT) == wanted


@pytest.mark.parametrize("is_settled", [True, False])
def test_file_that_changes_meanwhile_is_not_overwritten(
    tracked: Repo, monkeypatch: pytest.MonkeyPatch, is_settled: bool
) -> None:
    monkeypatch.setattr(FileState, "is_settled", lambda _: is_settled)
    data, _ = lora(16, "embed_weight", 160, 128)
    tracked.write("data.safetensors", safetensors_bytes(data))
    index = tracked.git("ls-files", "--stage").stdout
    rewrite = SideLoader._rewrite

    def late(*arguments: Any, flush: bool) -> FileState | None:
        tracked.write(CHECKPOINT, safetensors_bytes(model(3)))
        return rewrite(*arguments, flush=flush)

    monkeypatch.setattr(SideLoader, "_rewrite", late)
    done = tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"git-theta: {CHECKPOINT} changed while it was read: try again\n"
    assert tracked.read(CHECKPOINT) == safetensors_bytes(model(3))
    assert tracked.git("ls-files", "--stage").stdout == index


@pytest.mark.parametrize("is_settled", [True, False])
@pytest.mark.parametrize("name", [CHECKPOINT, "model.npz"])
def test_index_knows_the_rewritten_file_as_a_clean_would_find_it(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, is_settled: bool, name: str
) -> None:
    start(repo, name, safetensors_bytes(model(0)) if name == CHECKPOINT else npz(model(0)))
    monkeypatch.setattr(FileState, "is_settled", lambda _: is_settled)
    data, product = lora(18, "embed_weight", 160, 128)
    repo.write("data.safetensors", safetensors_bytes(data))
    repo.verb("add", name, "--update-data", "data.safetensors")
    staged = repo.rev(f":{name}")
    assert repo.git("diff-files", "--name-only").stdout == ""
    repo.git("config", "filter.theta.process", "git-theta filter-process")
    os.utime(repo.path / name, (1, 1))
    repo.git("add", name)
    assert repo.rev(f":{name}") == staged
    wanted = model(0) | {"embed_weight": model(0)["embed_weight"] + product}
    if name == CHECKPOINT:
        assert repo.read(name) == safetensors_bytes(wanted)


def test_file_that_changes_after_it_was_rewritten_is_what_is_staged(
    tracked: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = Cleaner.decide_anew

    def late(*arguments: Any) -> bytes:
        written = decide(*arguments)
        tracked.write(CHECKPOINT, safetensors_bytes(model(3)))
        return written

    monkeypatch.setattr(Cleaner, "decide_anew", late)
    data, _ = lora(19, "embed_weight", 160, 128)
    tracked.write("data.safetensors", safetensors_bytes(data))
    tracked.verb("add", CHECKPOINT, "--update-data", "data.safetensors")
    assert tracked.read(CHECKPOINT) == safetensors_bytes(model(3))
    assert tracked.rev(f":{CHECKPOINT}") == tracked.git("hash-object", "--path", CHECKPOINT, CHECKPOINT).stdout.strip()


def test_torch_checkpoint_keeps_what_is_no_group_and_what_is_tied(repo: Repo) -> None:
    weight = torch.from_numpy(np.asarray(model(0)["embed_weight"]))
    state = {"model": {"embed": weight, "head": weight}, "epoch": 7, "name": "net", "view": torch.arange(12.0)[3:9]}
    stream = io.BytesIO()
    torch.save(state, stream)
    start(repo, "model.pt", stream.getvalue())
    data, product = lora(17, "model/embed", 160, 128)
    repo.write("data.npz", npz(data))
    repo.verb("add", "model.pt", "--update-data", "data.npz")
    loaded = torch.load(repo.path / "model.pt", weights_only=True)
    assert (loaded["model"]["embed"].numpy() == model(0)["embed_weight"] + product).all()
    assert (loaded["epoch"], loaded["name"]) == (7, "net")
    assert loaded["view"].tolist() == list(range(3, 9))
    assert loaded["model"]["head"].data_ptr() == loaded["model"]["embed"].data_ptr()
