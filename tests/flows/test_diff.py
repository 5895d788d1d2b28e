"""Measuring what changed: exact where values are here, estimated where not, and never an error for a damaged object."""

from __future__ import annotations

import math
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from git_theta.checkpoints import formats
from git_theta.diffs.changes import CheckpointDiff, Kind, Statistics, ValueChange
from git_theta.diffs.compare import unchanged
from git_theta.flows.diff import Differ, How
from git_theta.flows.versions import ABSENT, Opener, Version
from git_theta.store.encode import encode
from git_theta.store.objects import ObjectStore
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD = model(0)
NEW = model(
    0,
    head_weight=model(1)["head_weight"],
    norm_bias=OLD["norm_bias"] * np.float32(1.01),
    attn_weight=OLD["attn_weight"].astype(np.float32),
    embed_weight=OLD["embed_weight"].reshape(128, 160) + np.float32(1),
    attn_bias=np.zeros(201, np.float32),
    head_bias=None,
    new=np.ones(3, np.int8),
)


class Scene:
    """Two versions of a checkpoint in a repository, whose values are in its store."""

    def __init__(self, repo: Repo, stack: ExitStack) -> None:
        self.repo = repo
        self.opener = Opener(formats(), stack)
        self.store = ObjectStore(repo.path / ".git" / "theta")
        self.warnings: list[str] = []

    def version(self, revision: str) -> Version:
        return self.opener.metadata_file(self.repo.git_bytes("cat-file", "blob", f"{revision}:{CHECKPOINT}"))

    def differ(self, how: How = How.AUTO, store: ObjectStore | None = None) -> Differ:
        return Differ(formats(), store or self.store, how, self.warnings.append)

    def diff(self, how: How = How.AUTO) -> CheckpointDiff:
        return self.differ(how).diff(self.version("HEAD~1"), self.version("HEAD"), CHECKPOINT, CHECKPOINT)

    def object_of(self, group: str, revision: str = "HEAD") -> Path:
        metadata = self.version(revision).metadata
        assert metadata is not None
        ref = metadata.by_name()[group].update.object
        assert ref is not None
        return self.store.path(ref.oid)


@pytest.fixture(scope="module")
def _two(_tracked: Path, isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert isolation
    repo = Repo(tmp_path_factory.mktemp("states") / "two")
    shutil.copytree(_tracked, repo.path, symlinks=True)
    repo.write(CHECKPOINT, safetensors_bytes(NEW, {"epoch": "4"}))
    repo.commit("new")
    return repo.path


@pytest.fixture
def two(_two: Path, tmp_path: Path) -> Iterator[Scene]:
    """A repository with two commits, OLD and NEW."""
    shutil.copytree(_two, tmp_path / "two", symlinks=True)
    with ExitStack() as stack:
        yield Scene(Repo(tmp_path / "two"), stack)


def wide(array: Any) -> Any:
    return np.asarray(array).astype(np.float64).reshape(-1)


def statistics(diff: CheckpointDiff) -> dict[str, Statistics | None]:
    return {change.name: change.statistics for change in diff.changes}


def test_values_that_are_here_are_measured(two: Scene) -> None:
    diff = two.diff()
    assert {change.name: change.kind for change in diff.changes} == {
        "head_weight": Kind.MODIFIED,
        "norm_bias": Kind.MODIFIED,
        "attn_weight": Kind.RETYPED,
        "embed_weight": Kind.RESHAPED,
        "attn_bias": Kind.RESHAPED,
        "head_bias": Kind.REMOVED,
        "new": Kind.ADDED,
    }
    found = statistics(diff)
    for name in ("head_weight", "norm_bias", "attn_weight", "embed_weight"):
        one, two_ = wide(OLD[name]), wide(NEW[name])
        moved = found[name]
        assert moved is not None
        assert moved.is_exact
        assert moved.relative == pytest.approx(np.linalg.norm(two_ - one) / np.linalg.norm(one))
        assert moved.largest == np.abs(two_ - one).max()
    assert [found[name] for name in ("attn_bias", "head_bias", "new")] == [None] * 3
    assert diff.values == (ValueChange("__metadata__/epoch", None, "'4'"),)
    assert two.warnings == []


def test_only_changed_groups_are_read(two: Scene) -> None:
    two.object_of("head_weight").unlink()
    kept = {two.object_of(name, revision) for name in ("norm_bias", "embed_weight") for revision in ("HEAD", "HEAD~1")}
    assert all(path.exists() for path in kept)
    found = statistics(two.diff())
    assert found["head_weight"] is not None
    assert not found["head_weight"].is_exact
    assert found["norm_bias"] is not None
    assert found["norm_bias"].is_exact


def test_values_that_are_not_here_are_estimated_without_a_word(two: Scene) -> None:
    shutil.rmtree(two.store.root / "objects")
    found = statistics(two.diff())
    exact = {"head_weight": math.sqrt(2), "norm_bias": 0.01}
    for name, expected in exact.items():
        moved = found[name]
        assert moved is not None
        assert not moved.is_exact
        assert moved.relative == pytest.approx(expected, rel=0.7)
        assert (moved.largest, moved.changed) == (None, None)
    assert two.warnings == []


@pytest.mark.parametrize("damage", ["rewritten", "emptied", "other values"])
def test_a_damaged_object_makes_a_warning_and_an_estimate(two: Scene, damage: str) -> None:
    path = two.object_of("head_weight")
    path.chmod(0o644)
    data = path.read_bytes()
    if damage == "other values":
        zeros = np.zeros((OLD["head_weight"].size, OLD["head_weight"].itemsize), np.uint8)
        path.write_bytes(b"".join(encode([zeros], *zeros.shape)).ljust(len(data), b"\0"))
    else:
        path.write_bytes(b"\xff" * len(data) if damage == "rewritten" else b"\0" * len(data))
    found = statistics(two.diff())
    assert found["head_weight"] == statistics(two.diff(How.ESTIMATE))["head_weight"] is not None
    assert found["norm_bias"] is not None
    assert found["norm_bias"].is_exact
    (warning,) = two.warnings
    assert warning.startswith(f"{CHECKPOINT}: the values of group 'head_weight' cannot be read: ")
    assert ("the object is damaged" in warning) == (damage != "other values")
    assert warning.endswith("; 'git theta fetch --verify' may bring them")


@pytest.mark.parametrize("how", [How.ESTIMATE, How.NONE])
def test_without_being_asked_to_no_value_is_read(two: Scene, how: How) -> None:
    shutil.rmtree(two.store.root / "objects")
    (two.store.root / "objects").write_text("whoever looks in here fails")
    found = statistics(two.diff(how))
    assert (found["head_weight"] is None) == (how is How.NONE)
    assert two.differ(How.AUTO).quick().how is How.NONE


def test_beyond_a_number_of_bytes_auto_estimates_and_exact_does_not(two: Scene) -> None:
    old, new = two.version("HEAD~1"), two.version("HEAD")
    auto, exact = (
        statistics(replace(two.differ(how), affordable=2 * OLD["norm_bias"].nbytes).diff(old, new, "a", "a"))
        for how in (How.AUTO, How.EXACT)
    )
    for found, is_exact in ((auto, False), (exact, True)):
        assert found["head_weight"] is not None
        assert found["head_weight"].is_exact is is_exact
        assert found["norm_bias"] is not None
        assert found["norm_bias"].is_exact
    assert auto["attn_weight"] is not None
    assert not auto["attn_weight"].is_exact


def test_who_is_thorough_reads_more(two: Scene) -> None:
    old, new = two.version("HEAD~1"), two.version("HEAD")
    found = statistics(replace(two.differ(), affordable=0).thorough().diff(old, new, "a", "a"))
    assert found["head_weight"] is not None
    assert found["head_weight"].is_exact


def test_only_some_groups_can_be_looked_at(two: Scene) -> None:
    old, new = two.version("HEAD~1"), two.version("HEAD")
    diff = two.differ().diff(old, new, "a", "b", lambda name: name.endswith("bias"))
    assert [change.name for change in diff.changes] == ["attn_bias", "head_bias", "norm_bias"]
    assert diff.values == ()
    assert list(unchanged(diff)) == []
    everything = two.differ().diff(old, new, "a", "b")
    assert statistics(diff).items() <= statistics(everything).items()


def test_a_checkpoint_that_is_new_or_gone(two: Scene) -> None:
    version = two.version("HEAD")
    added, removed = (two.differ().diff(*pair, "a", "a") for pair in ((ABSENT, version), (version, ABSENT)))
    assert {change.kind for change in added.changes} == {Kind.ADDED}
    assert {change.kind for change in removed.changes} == {Kind.REMOVED}
    assert added.values == removed.values == ()


def test_histograms_are_of_what_is_here(two: Scene) -> None:
    diff = two.diff()
    old, new = two.version("HEAD~1"), two.version("HEAD")
    found = two.differ().histograms(diff.changes, old, new)
    assert found.keys() == {change.name for change in diff.changes}
    assert sum(found["head_weight"].old) == sum(found["head_weight"].new) == OLD["head_weight"].size
    assert sum(found["attn_bias"].new) == 201
    assert (sum(found["head_bias"].old), sum(found["head_bias"].new)) == (160, 0)
    two.object_of("head_weight").unlink()
    assert found.keys() - two.differ().histograms(diff.changes, old, new).keys() == {"head_weight"}
    path = two.object_of("embed_weight")
    path.chmod(0o644)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert "embed_weight" not in two.differ().histograms(diff.changes, old, new)


def test_two_files_of_different_formats_are_compared_outside_of_a_repository(tmp_path: Path) -> None:
    values = torch.linspace(-1, 1, 3000)
    torch.save({"w": values, "b": torch.ones(3), "epoch": 3}, tmp_path / "old.pt")
    new = {"w": (values * 2).numpy(), "bias": np.ones(3, np.float32)}
    (tmp_path / "new.safetensors").write_bytes(safetensors_bytes(new))
    with ExitStack() as stack:
        opener = Opener(formats(), stack)
        old, new_ = (opener.file(tmp_path / name, name) for name in ("old.pt", "new.safetensors"))
        diff = Differ(formats(), None, How.AUTO, pytest.fail).diff(old, new_, "old.pt", "new.safetensors")
    kinds = {change.name: (change.kind, change.statistics) for change in diff.changes}
    assert kinds["bias"] == (Kind.RENAMED, None)
    kind, moved = kinds["w"]
    assert kind is Kind.MODIFIED
    assert moved is not None
    assert (moved.relative, moved.is_exact) == (pytest.approx(1.0), True)
    assert ValueChange("epoch", "3", None) in diff.values


def test_another_order_of_the_same_bytes_is_what_changed(tmp_path: Path) -> None:
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    files = [tmp_path / "old.npz", tmp_path / "new.npz"]
    np.savez(files[0], w=square, v=square)
    np.savez(files[1], w=square.T, v=square)
    with ExitStack() as stack:
        opener = Opener(formats(), stack)
        old, new = (opener.file(file, file.name) for file in files)
        diff = Differ(formats(), None, How.AUTO, pytest.fail).diff(old, new, "old.npz", "new.npz")
    assert diff.changes == ()
    assert diff.values == (ValueChange("w", "a plain array", "an array in Fortran order"),)


def test_a_file_that_changes_meanwhile_makes_a_warning(tmp_path: Path) -> None:
    files = [tmp_path / "old", tmp_path / "new"]
    for file, seed in zip(files, (0, 1), strict=True):
        file.write_bytes(safetensors_bytes(model(seed)))
    warnings: list[str] = []
    with ExitStack() as stack:
        opener = Opener(formats(), stack)
        old, new = (opener.file(file, "m") for file in files)
        files[1].write_bytes(safetensors_bytes(model(2)))
        diff = Differ(formats(), None, How.AUTO, warnings.append).diff(old, new, "m", "m")
    assert {change.statistics for change in diff.changes} == {None}
    (warning,) = warnings
    assert "changed while it was read" in warning


def test_dtypes_of_every_kind_are_measured(repo: Repo) -> None:
    dtypes = (torch.float8_e4m3fn, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.float64)
    generator = torch.Generator().manual_seed(0)
    repo.theta("track", "*.pt")
    for step in range(2):
        values = (torch.relu(torch.randn(70_000, generator=generator)) * 3 for _ in dtypes)
        tensors = {str(dtype): value.to(dtype) for dtype, value in zip(dtypes, values, strict=True)}
        torch.save(tensors, repo.path / "m.pt")
        repo.commit(str(step))
    with ExitStack() as stack:
        scene = Scene(repo, stack)
        blobs = (repo.git_bytes("cat-file", "blob", f"{revision}:m.pt") for revision in ("HEAD~1", "HEAD"))
        old, new = map(scene.opener.metadata_file, blobs)
        found = scene.differ().diff(old, new, "m.pt", "m.pt")
    assert {change.name for change in found.changes} == {str(dtype) for dtype in dtypes}
    for change in found.changes:
        assert change.statistics is not None
        assert change.statistics.is_exact
        assert change.statistics.relative is not None
        assert 0.3 < change.statistics.relative < 2


def test_statistics_are_the_same_however_values_are_kept(two: Scene) -> None:
    in_store = statistics(two.diff())
    file = two.repo.path / CHECKPOINT
    known = two.opener.known_file(file, two.repo.git_bytes("cat-file", "blob", f"HEAD:{CHECKPOINT}"))
    assert known.source is not None
    read = two.opener.file(file, CHECKPOINT)
    assert read.metadata is not None
    assert known.metadata is not None
    assert [entry.digest for entry in read.metadata.entries] == [entry.digest for entry in known.metadata.entries]
    shutil.rmtree(two.store.root / "objects" / two.object_of("head_weight").parts[-3])
    for new in (known, read):
        found = statistics(two.differ().diff(two.version("HEAD~1"), new, CHECKPOINT, CHECKPOINT))
        assert found["head_weight"] is not None
        assert found == {name: replace(value) if value else None for name, value in in_store.items()}
