"""Changed groups in plain Git: each commit is kept in the smallest way and comes back to the byte, wherever it goes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import kernels
from git_theta.metadata_file import parse
from tests.conftest import copied
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from git_theta.metadata import Entry

FILE = "model.safetensors"

Groups = dict[str, Any]


def base_groups() -> Groups:
    generator = np.random.default_rng(0)
    return {
        "attn": (generator.standard_normal((120, 150)) * 0.05).astype(np.float16),
        "bias": generator.standard_normal(150, dtype=np.float32),
        "mlp": (generator.standard_normal((150, 140)) * 0.05).astype(np.float32),
        "step": np.array(3, np.int64),
    }


def edited(groups: Groups, seed: int = 1) -> Groups:
    """A few values of one group."""
    new = groups["mlp"].copy()
    new.reshape(-1)[np.random.default_rng(seed).choice(new.size, 20, replace=False)] = seed
    return {**groups, "mlp": new}


def merged(groups: Groups, seed: int = 2) -> Groups:
    """An adapter of rank 2 merged into one group."""
    generator = np.random.default_rng(seed)
    product = generator.standard_normal((120, 2)) @ generator.standard_normal((2, 150))
    return {**groups, "attn": (groups["attn"] + 0.02 * product).astype(np.float16)}


def tuned(groups: Groups, seed: int = 3, step: float = 0.0005) -> Groups:
    """All values of the matrices, by a little unless said otherwise."""
    generator = np.random.default_rng(seed)
    return groups | {
        name: (groups[name] + step * generator.standard_normal(groups[name].shape)).astype(groups[name].dtype)
        for name in ("attn", "mlp")
    }


def mean(one: Groups, two: Groups) -> Groups:
    """The average of the matrices, as it is computed in float32."""
    half = np.float32(0.5)
    return one | {
        name: (one[name].astype(np.float32) * half + two[name].astype(np.float32) * half).astype(one[name].dtype)
        for name in ("attn", "mlp")
    }


def entries(repo: Repo, revision: str = "HEAD", file: str = FILE) -> dict[str, Entry]:
    return parse(repo.git_bytes("cat-file", "blob", f"{revision}:{file}")).by_name()


def types(entry: Entry) -> list[str]:
    return [update.type for update in entry.update.nested()]


def stored_bytes(repo: Repo) -> int:
    return sum(path.stat().st_size for path in repo.objects().values())


class History:
    """A repository, and what the checkpoint is in each of its commits."""

    def __init__(self, repo: Repo, contents: dict[str, bytes]) -> None:
        self.repo = repo
        self.contents = contents

    def commit(self, groups: Groups, *options: str) -> str:
        data = safetensors_bytes(groups)
        self.repo.write(FILE, data)
        self.repo.git("add", "--all")
        self.repo.git("commit", "-q", "--allow-empty", "-m", "change", *options)
        self.contents[self.repo.rev("HEAD")] = data
        return self.repo.rev("HEAD")

    def note(self, groups: Groups) -> None:
        """HEAD must have these groups."""
        assert self.repo.read(FILE) == safetensors_bytes(groups)
        self.contents[self.repo.rev("HEAD")] = self.repo.read(FILE)

    def check(self, repo: Repo | None = None) -> None:
        """Every commit comes back to the byte, and is clean."""
        repo = repo or self.repo
        for commit, data in self.contents.items():
            repo.git("checkout", "-q", commit)
            assert repo.read(FILE) == data
            assert repo.status() == ""


@pytest.fixture(scope="module")
def _begun(_tracking: Path, tmp_path_factory: pytest.TempPathFactory) -> History:
    history = History(copied(_tracking, tmp_path_factory.mktemp("states") / "begun"), {})
    history.commit(base_groups())
    return history


@pytest.fixture
def history(_begun: History, tmp_path: Path) -> History:
    return History(copied(_begun.repo.path, tmp_path / "repo"), dict(_begun.contents))


CHANGES: dict[str, tuple[Callable[[Groups], Groups], str, str, float]] = {
    "sparse": (edited, "mlp", "sparse", 0.01),
    "low-rank": (merged, "attn", "low-rank", 0.35),
    "delta": (tuned, "mlp", "delta", 0.8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_costs_what_it_says_and_comes_back(history: History, name: str) -> None:
    change, group, kind, share = CHANGES[name]
    before = stored_bytes(history.repo)
    history.commit(change(base_groups()))
    found = entries(history.repo)
    assert kind in types(found[group])
    assert stored_bytes(history.repo) - before < share * found[group].nbytes * (2 if name == "delta" else 1)
    unchanged = {"bias", "step", *({"mlp", "attn"} - {group} if name != "delta" else ())}
    first = entries(history.repo, "HEAD~1")
    assert all(found[other] == first[other] for other in unchanged)


def test_chain_of_changes_comes_back_commit_by_commit(history: History) -> None:
    groups = base_groups()
    for seed, change in enumerate((edited, merged, tuned, edited, edited)):
        groups = change(groups, seed + 5)
        history.commit(groups)
    history.check()


def test_reverted_change_takes_the_entry_that_was_and_stores_nothing(history: History) -> None:
    history.commit(edited(base_groups()))
    before = history.repo.objects()
    history.commit(base_groups())
    assert entries(history.repo) == entries(history.repo, "HEAD~2")
    assert history.repo.objects() == before
    history.check()


def test_amended_rebased_and_picked_commits_come_back_without_what_they_were(history: History) -> None:
    repo = history.repo
    base = repo.rev("HEAD")
    history.commit(edited(base_groups()))
    history.commit(edited(edited(base_groups()), 8), "--amend")
    repo.git("checkout", "-q", "-b", "side", base)
    history.commit(merged(base_groups()))
    picked = repo.rev("HEAD")
    repo.git("rebase", "-q", "main")
    history.note(merged(edited(edited(base_groups()), 8)))
    repo.git("checkout", "-q", "-b", "other", base)
    repo.git("commit", "-q", "--allow-empty", "-m", "empty")
    repo.git("cherry-pick", picked)
    history.note(merged(base_groups()))
    history.check()
    repo.git("checkout", "-q", "other")
    repo.git("branch", "-q", "-D", "main", "side")
    repo.git("reflog", "expire", "--expire=all", "--all")
    repo.git("gc", "-q", "--prune=now")
    (repo.path / FILE).unlink()
    repo.git("checkout", "-q", "--", FILE)
    assert repo.read(FILE) == safetensors_bytes(merged(base_groups()))


def test_bases_travel_with_a_push_and_shallow_clones_have_all_they_need(history: History, tmp_path: Path) -> None:
    repo = history.repo
    Repo.init(tmp_path / "remote.git", "--bare")
    repo.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    repo.theta("install", "--global")
    groups = base_groups()
    for change in (edited, merged, tuned):
        groups = change(groups)
        history.commit(groups)
    assert len(types(entries(repo)["mlp"])) == 3
    repo.git("push", "-q", "origin", "main")
    history.check(Repo.clone(tmp_path / "remote.git", tmp_path / "clone"))
    shallow = Repo.clone(f"file://{tmp_path}/remote.git", tmp_path / "shallow", "--depth", "1")
    assert shallow.git("rev-list", "--count", "HEAD").stdout.strip() == "1"
    assert shallow.read(FILE) == safetensors_bytes(groups)
    assert shallow.status() == ""
    shallow.write(FILE, safetensors_bytes(edited(groups, 9)))
    shallow.commit("from the shallow clone")
    assert types(entries(shallow)["mlp"])[0] == "sparse"
    shallow.git("push", "-q", "origin", "main")
    repo.git("checkout", "-q", "main")
    repo.git("pull", "-q", "origin", "main")
    assert repo.read(FILE) == safetensors_bytes(edited(groups, 9))


def diverged(history: History) -> tuple[Groups, Groups]:
    """Two branches that trained the same groups anew, in a merge conflict."""
    one, two = (tuned(base_groups(), seed, 0.5) for seed in range(2))
    history.repo.git("checkout", "-q", "-b", "side")
    history.commit(two)
    history.repo.git("checkout", "-q", "main")
    history.commit(one)
    assert history.repo.git("merge", "-q", "side", check=False).returncode == 1
    return one, two


def test_merge_by_hand_with_an_average_costs_no_object(history: History) -> None:
    one, two = diverged(history)
    before = history.repo.objects()
    history.commit(mean(one, two))
    assert len(history.repo.git("rev-list", "--parents", "-1", "HEAD").stdout.split()) == 3
    found = entries(history.repo)
    for name in ("attn", "mlp"):
        assert types(found[name])[0] == "linear"
        assert found[name].update.object is None
        assert found[name].update.parameter("weights") == (0.5, 0.5)
    assert history.repo.objects() == before
    history.check()


def of_each_type(base: Groups) -> dict[str, Groups]:
    """What makes the one matrix of a checkpoint an update of each type, but for the sum of the last two."""
    generator = np.random.default_rng(1)
    matrix, (left, right) = base["mlp"], (generator.standard_normal(shape) for shape in ((150, 2), (2, 140)))
    changed = {
        "sparse": edited(base)["mlp"],
        "delta": matrix + np.float32(1e-4) * generator.standard_normal(matrix.shape, np.float32),
        "low-rank": (matrix + 0.02 * (left @ right)).astype(np.float32),
        "dense": generator.standard_normal(matrix.shape, np.float32),
    }
    return {kind: {**base, "mlp": values} for kind, values in changed.items()}


@pytest.mark.parametrize("native", [] if kernels.native is None else [kernels.native])
def test_checkout_and_status_take_nothing_that_is_slow_to_import_where_loops_are_compiled(
    history: History, native: object, tmp_path: Path
) -> None:
    """To import NumPy takes as long as to check out many megabytes, and typing_extensions as long as Python's start."""
    assert native is not None
    repo, base = history.repo, {name: values for name, values in base_groups().items() if name != "attn"}
    history.contents.clear()
    start = history.commit(base)
    versions = of_each_type(base)
    for kind, groups in versions.items():
        repo.git("checkout", "-q", "-b", kind, start)
        history.commit(groups)
    repo.git("merge", "-q", "-s", "ours", "--no-commit", "low-rank")
    history.commit(mean({**versions["dense"], "attn": base["mlp"]}, {**versions["low-rank"], "attn": base["mlp"]}))
    for commit, kind in zip(history.contents, ["dense", *versions, "linear"], strict=True):
        assert kind in types(entries(repo, commit)["mlp"])
    blocked = {"PYTHONPATH": str(tmp_path / "blocked")}
    (tmp_path / "blocked" / "numpy").mkdir(parents=True)
    (tmp_path / "blocked" / "numpy" / "__init__.py").write_text("raise RuntimeError('NumPy was imported')")
    (tmp_path / "blocked" / "typing_extensions.py").write_text("raise SystemExit('typing_extensions was imported')")
    for commit, data in history.contents.items():
        repo.git("checkout", "-q", commit, env=blocked)
        assert repo.read(FILE) == data
        os.utime(repo.path / FILE)
        assert repo.git("status", "--porcelain", env=blocked).stdout == ""
    repo.write(FILE, safetensors_bytes(edited(base, 9)))
    assert "NumPy was imported" in repo.git("add", FILE, check=False, env=blocked).stderr


def test_lost_object_of_a_base_keeps_new_versions_whole(history: History) -> None:
    """What cannot be read is not built on, and git add goes on."""
    for path in history.repo.objects().values():
        path.unlink()
    history.commit(edited(base_groups()))
    found = entries(history.repo)
    assert types(found["mlp"]) == ["dense"]


def test_damaged_object_of_a_base_keeps_new_versions_whole(history: History) -> None:
    for path in history.repo.objects().values():
        data = bytearray(path.read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        path.chmod(0o644)
        path.write_bytes(data)
    new = edited(merged(base_groups()))
    history.repo.write(FILE, safetensors_bytes(new))
    history.repo.git("add", FILE)
    history.repo.git("commit", "-q", "-m", "change")
    found = entries(history.repo)
    assert types(found["mlp"]) == types(found["attn"]) == ["dense"]


@pytest.mark.parametrize("damage", ["flip", "cut short"])
def test_damaged_object_of_a_base_is_named_and_fetched_anew(history: History, tmp_path: Path, damage: str) -> None:
    """Not the one of the update on top of it, which is fine."""
    base = entries(history.repo)["mlp"].update.object
    history.commit(edited(base_groups()))
    top = entries(history.repo)["mlp"].update
    assert base is not None
    assert base in [update.object for update in top.bases]
    history.repo.theta("install", "--global")
    remote = Repo.init(tmp_path / "remote.git", "--bare")
    history.repo.git("push", "-q", str(remote.path), "HEAD:refs/heads/main")
    clone = Repo.clone(remote.path, tmp_path / "clone", "--branch", "main")
    path = clone.objects()[base.oid]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data if damage == "flip" else data[:-100].ljust(len(data), b"\0"))
    (clone.path / FILE).unlink()
    done = clone.git("checkout", "--", FILE, check=False)
    assert done.returncode
    assert f"git-theta: {FILE}: group 'mlp': object {base.oid} cannot be used: " in done.stderr
    assert clone.theta("fetch", "--verify").stdout == "1 object fetched\n"
    clone.git("checkout", "--", FILE)
    assert clone.read(FILE) == history.repo.read(FILE)


def test_attribute_dense_is_obeyed(history: History) -> None:
    with (history.repo.path / ".gitattributes").open("a") as stream:
        stream.write("*.safetensors theta-update=dense\n")
    history.commit(edited(merged(base_groups())))
    assert {kind for entry in entries(history.repo).values() for kind in types(entry)} == {"dense"}


def test_attribute_that_names_no_type_is_one_line_of_error(history: History) -> None:
    history.repo.write(".gitattributes", "*.safetensors filter=theta diff=theta merge=theta -text theta-update=shear\n")
    history.repo.write(FILE, safetensors_bytes(edited(base_groups())))
    done = history.repo.git("add", FILE, check=False)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "theta-update=shear" in line]
    assert len(said) == 1
    assert "dense, delta, sparse, low-rank, ia3, linear" in said[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("most", [0, 2])
def test_chains_are_as_long_as_is_set(history: History, most: int) -> None:
    history.repo.git("config", "theta.maxchain", str(most))
    groups = base_groups()
    found = []
    for seed in range(3):
        groups = edited(groups, seed + 10)
        history.commit(groups)
        found.append(len(types(entries(history.repo)["mlp"])) - 1)
    assert found == [(number + 1) % (most + 1) for number in range(3)]


def test_group_that_changed_its_dtype_or_shape_is_whole(history: History) -> None:
    groups = base_groups()
    history.commit({**groups, "mlp": groups["mlp"].astype(np.float64)})
    assert types(entries(history.repo)["mlp"]) == ["dense"]
    history.commit({**groups, "mlp": groups["mlp"].T.copy()})
    assert types(entries(history.repo)["mlp"]) == ["dense"]


def test_same_values_in_another_shape_are_not_kept_by_an_update_that_depends_on_it(history: History) -> None:
    """An update of the same digest, but of a matrix, would give other values in another shape."""
    repo = history.repo
    new = merged(base_groups())
    history.commit(new)
    assert "low-rank" in types(entries(repo)["attn"])
    flat = {"attn": new["attn"].reshape(150, 120), "copy": new["attn"].reshape(-1)}
    repo.write("other.safetensors", safetensors_bytes(flat))
    repo.commit("another shape")
    found = entries(repo, file="other.safetensors")
    assert found["attn"].digest == entries(repo)["attn"].digest
    assert types(found["attn"]) == types(found["copy"]) == ["dense"]
    (repo.path / "other.safetensors").unlink()
    repo.git("checkout", "-q", "--", "other.safetensors")
    assert repo.read("other.safetensors") == safetensors_bytes(flat)
    assert repo.status() == ""


def test_same_group_in_another_file_takes_the_update_as_it_is(history: History) -> None:
    new = merged(base_groups())
    history.commit(new)
    before = history.repo.objects()
    history.repo.write("other.safetensors", safetensors_bytes(new))
    history.repo.commit("a copy")
    assert entries(history.repo, file="other.safetensors")["attn"] == entries(history.repo)["attn"]
    assert history.repo.objects() == before


def test_odd_values_come_back_through_git(history: History) -> None:
    odd = np.array([0x7FC00001, 0xFF800001, 0x7F800000, 0xFF800000, 0x80000000, 1], np.uint32).view(np.float32)
    groups = base_groups()
    for seed, place in enumerate((0, 700)):
        groups = tuned({**groups, "mlp": base_groups()["mlp"]}, seed)
        groups["mlp"].reshape(-1)[place : place + len(odd)] = odd
        history.commit(groups)
    history.check()
