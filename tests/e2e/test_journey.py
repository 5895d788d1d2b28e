"""The main job: a checkpoint lives in plain Git."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import copied
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

FILE = "model.safetensors"


def objects(repo: Repo) -> set[str]:
    return {path.name for path in (repo.path / ".git/theta/objects").rglob("*") if path.is_file()}


def changed(groups: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: values + 1 if name in names else values for name, values in groups.items()}


@pytest.fixture(scope="module")
def groups() -> dict[str, np.ndarray]:
    return {
        "a.weight": np.random.default_rng(0).standard_normal((200, 300), dtype=np.float32),
        "b.weight": np.random.default_rng(1).standard_normal((200, 300), dtype=np.float32),
        "b.bias": np.arange(300, dtype=np.float32),
    }


@pytest.fixture(scope="module")
def _base(_tracking: Path, groups: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = copied(_tracking, tmp_path_factory.mktemp("states") / "base")
    repo.write(FILE, safetensors_bytes(groups))
    repo.commit("base")
    return repo.path


@pytest.fixture
def base(_base: Path, tmp_path: Path) -> Repo:
    return copied(_base, tmp_path / "repo")


def test_what_git_stores_is_a_metadata_file(base: Repo) -> None:
    stored = base.git("cat-file", "blob", f"HEAD:{FILE}").stdout
    assert stored.startswith('{"git-theta":1,')
    assert "git theta pull" in stored.splitlines()[0]
    assert [group["name"] for group in json.loads(stored)["groups"]] == ["a.weight", "b.bias", "b.weight"]


def test_every_version_checks_out_byte_exact(base: Repo, groups: dict[str, np.ndarray]) -> None:
    first = base.read(FILE)
    second = safetensors_bytes(changed(groups, "b.weight"), metadata={"epoch": "2"})
    base.write(FILE, second)
    base.commit("second")
    base.git("checkout", "-q", "HEAD~1")
    assert base.read(FILE) == first
    base.git("checkout", "-q", "main")
    assert base.read(FILE) == second
    assert base.status() == ""


def test_only_changed_groups_make_objects(base: Repo, groups: dict[str, np.ndarray]) -> None:
    before = objects(base)
    base.write(FILE, safetensors_bytes(changed(groups, "b.weight")))
    base.commit("second")
    assert len(objects(base) - before) == 1
    diff = base.git("diff", "--no-ext-diff", "--no-textconv", "HEAD~1", "HEAD").stdout
    lines = [line for line in diff.splitlines() if line.startswith(("+{", "-{"))]
    assert len(lines) == 2
    assert all('"b.weight"' in line for line in lines)


def test_touched_file_is_clean_in_every_state(base: Repo, groups: dict[str, np.ndarray]) -> None:
    base.write(FILE, safetensors_bytes(changed(groups, "b.weight")))
    base.commit("second")
    os.utime(base.path / FILE)
    assert base.status() == ""
    base.git("checkout", "-q", "HEAD~1")
    os.utime(base.path / FILE)
    assert base.status() == ""
    # Content that is neither in the index nor in HEAD, but was here before.
    base.git("update-index", "--assume-unchanged", FILE)
    content = base.read(FILE)
    base.git("update-index", "--no-assume-unchanged", FILE)
    assert (
        base.git("hash-object", f"--path={FILE}", "--stdin", stdin=content).stdout
        == base.git("rev-parse", f"HEAD:{FILE}").stdout
    )


def test_renamed_file_and_renamed_group_store_nothing_new(base: Repo, groups: dict[str, np.ndarray]) -> None:
    before = objects(base)
    base.git("mv", FILE, "other.safetensors")
    base.commit("rename the file")
    renamed = {name.replace("b.", "c."): values for name, values in groups.items()}
    base.write("third.safetensors", safetensors_bytes(renamed))
    base.commit("rename groups, in another file")
    assert objects(base) == before


def test_removed_and_readded_group_stores_nothing_new(base: Repo, groups: dict[str, np.ndarray]) -> None:
    base.write(FILE, safetensors_bytes({name: values for name, values in groups.items() if name != "b.weight"}))
    base.git("add", FILE)
    before = objects(base)
    base.write(FILE, safetensors_bytes(groups))
    base.git("add", FILE)
    assert objects(base) == before


def test_different_layers_merge_by_themselves(base: Repo, groups: dict[str, np.ndarray]) -> None:
    base.git("checkout", "-q", "-b", "tune")
    base.write(FILE, safetensors_bytes(changed(groups, "a.weight")))
    base.commit("tune a")
    base.git("checkout", "-q", "main")
    base.write(FILE, safetensors_bytes(changed(groups, "b.weight", "b.bias")))
    base.commit("tune b")
    base.git("merge", "-q", "--no-edit", "tune")
    assert base.read(FILE) == safetensors_bytes(changed(groups, "a.weight", "b.weight", "b.bias"))
    assert base.status() == ""
    os.utime(base.path / FILE)
    assert base.status() == ""


def test_group_changed_on_both_sides_is_an_ordinary_conflict(base: Repo, groups: dict[str, np.ndarray]) -> None:
    base.git("checkout", "-q", "-b", "tune")
    base.write(FILE, safetensors_bytes(changed(groups, "a.weight")))
    base.commit("theirs")
    base.git("checkout", "-q", "main")
    ours = safetensors_bytes({**groups, "a.weight": groups["a.weight"] * 2})
    base.write(FILE, ours)
    base.commit("ours")
    merged = base.git("merge", "tune", check=False)
    assert merged.returncode == 1
    assert f"{FILE}: both sides changed a.weight" in merged.stderr
    assert base.status() == f"UU {FILE}\n"
    assert base.read(FILE) == ours
    base.git("checkout", "--theirs", FILE)
    assert base.read(FILE) == safetensors_bytes(changed(groups, "a.weight"))
    base.git("merge", "--abort")
    assert base.read(FILE) == ours
    assert base.status() == ""


def test_stash_rebase_cherry_pick_and_revert(base: Repo, groups: dict[str, np.ndarray]) -> None:
    first = base.read(FILE)
    base.write(FILE, safetensors_bytes(changed(groups, "a.weight")))
    base.git("stash", "-q")
    assert base.read(FILE) == first
    base.git("stash", "pop", "-q")
    assert base.read(FILE) == safetensors_bytes(changed(groups, "a.weight"))
    base.git("checkout", "-q", "-b", "tune")
    base.commit("tune a")
    base.git("checkout", "-q", "main")
    base.write(FILE, safetensors_bytes(changed(groups, "b.bias")))
    base.commit("tune b")
    base.git("rebase", "-q", "main", "tune")
    assert base.read(FILE) == safetensors_bytes(changed(groups, "a.weight", "b.bias"))
    base.git("revert", "--no-edit", "main")
    assert base.read(FILE) == safetensors_bytes(changed(groups, "a.weight"))
    base.git("checkout", "-q", "-b", "picked", "main~1")
    base.git("cherry-pick", "main")
    assert base.read(FILE) == safetensors_bytes(changed(groups, "b.bias"))
    assert base.status() == ""


def test_metadata_file_in_the_worktree_is_clean_and_can_be_added(base: Repo) -> None:
    stored = base.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    base.write(FILE, stored)
    base.git("add", FILE)
    assert base.status() == ""
    assert base.git_bytes("cat-file", "blob", f":{FILE}") == stored


def test_unknown_file_is_kept_whole_with_a_warning(base: Repo) -> None:
    content = np.random.default_rng(2).bytes(300_000)
    base.write("odd.safetensors", content)
    added = base.git("add", "odd.safetensors")
    assert added.stderr.count("\n") == 1
    assert "odd.safetensors: not safetensors" in added.stderr
    base.git("commit", "-qm", "odd")
    (base.path / "odd.safetensors").unlink()
    base.git("checkout", "-q", "--", "odd.safetensors")
    assert base.read("odd.safetensors") == content


def test_strict_refuses_an_unknown_file(base: Repo) -> None:
    base.git("config", "theta.strict", "true")
    base.write("odd.safetensors", b"what is this")
    added = base.git("add", "odd.safetensors", check=False)
    assert added.returncode != 0
    assert "theta.strict" in added.stderr
    assert "Traceback" not in added.stderr


def test_empty_file_stays_empty(base: Repo) -> None:
    base.write("empty.safetensors", b"")
    base.commit("empty")
    assert base.git("cat-file", "-s", "HEAD:empty.safetensors").stdout == "0\n"
    assert base.status() == ""


def test_large_raw_checkpoint_from_before_tracking_checks_out(repo: Repo, groups: dict[str, np.ndarray]) -> None:
    raw = safetensors_bytes({f"{name}.{part}": values for name, values in groups.items() for part in range(40)})
    repo.write(FILE, raw)
    repo.commit("raw")
    repo.theta("track", "*.safetensors")
    repo.commit("now tracked")
    assert repo.git("cat-file", "blob", f"HEAD:{FILE}").stdout.startswith('{"git-theta":')
    repo.git("-c", "advice.detachedHead=false", "checkout", "-q", "HEAD~1")
    assert repo.read(FILE) == raw
    (repo.path / FILE).unlink()
    repo.git("checkout", "-q", "main")
    assert repo.read(FILE) == raw


@pytest.mark.parametrize("kept", ["index", "cache"])
def test_lost_objects_are_made_anew_from_the_worktree(base: Repo, groups: dict[str, np.ndarray], kept: str) -> None:
    if kept == "cache":
        base.write(FILE, safetensors_bytes(changed(groups, "b.weight")))
        base.commit("second")
        base.write(FILE, safetensors_bytes(groups))
    content = base.read(FILE)
    before = objects(base)
    shutil.rmtree(base.path / ".git/theta/objects")
    os.utime(base.path / FILE, (time.time(), time.time() - 100))
    base.git("add", FILE)
    assert objects(base) <= before
    base.git("commit", "-q", "--allow-empty", "-m", "again")
    (base.path / FILE).unlink()
    base.git("checkout", "--", FILE)
    assert base.read(FILE) == content


def test_unchanged_groups_whose_objects_are_lost_are_stored_again(base: Repo, groups: dict[str, np.ndarray]) -> None:
    shutil.rmtree(base.path / ".git/theta/objects")
    content = safetensors_bytes(changed(groups, "b.weight"))
    base.write(FILE, content)
    base.commit("second")
    (base.path / FILE).unlink()
    base.git("checkout", "--", FILE)
    assert base.read(FILE) == content


def test_one_shot_filters_do_the_same(base: Repo) -> None:
    content = base.read(FILE)
    stored = base.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    base.git("config", "--unset", "filter.theta.process")
    os.utime(base.path / FILE, (1, 1))
    assert base.status() == ""
    base.write(FILE, safetensors_bytes(model(7)))
    base.commit("second")
    base.git("checkout", "-q", "HEAD~1")
    assert base.read(FILE) == content
    assert base.git_bytes("cat-file", "blob", f"HEAD:{FILE}") == stored


@pytest.mark.parametrize("damage", [b"", b'{"git-theta":1,\n', b"other"])
def test_damaged_cache_is_no_hindrance(base: Repo, groups: dict[str, np.ndarray], damage: bytes) -> None:
    content = base.read(FILE)
    base.write(FILE, safetensors_bytes(changed(groups, "b.weight")))
    base.commit("second")
    for path in (base.path / ".git/theta/cache").iterdir():
        path.write_bytes(damage)
    base.write(FILE, content)
    base.commit("back to the first")
    (base.path / FILE).unlink()
    base.git("checkout", "--", FILE)
    assert base.read(FILE) == content
