"""No diff rebuilds a checkpoint, and whatever is no diff of ours gets the real bytes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

OLD = safetensors_bytes(model(0))
NEW = safetensors_bytes(model(0, head_weight=model(1)["head_weight"]))
NEWEST = safetensors_bytes(model(0, head_weight=model(2)["head_weight"]))
METADATA = '{"git-theta":1,'


@pytest.fixture(scope="module")
def _versions(_tracked: Path, isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits, a stash on top, and an alias."""
    path = tmp_path_factory.mktemp("states") / "versions"
    shutil.copytree(_tracked, path, symlinks=True)
    repo = Repo(path)
    repo.write(CHECKPOINT, NEW)
    repo.commit("new")
    repo.write(CHECKPOINT, NEWEST)
    repo.git("stash", "-q")
    repo.git("config", "alias.d", "diff")
    repo.git("config", "alias.p", "show --stat -p")
    assert isolation
    return path


@pytest.fixture
def versions(_versions: Path, tmp_path: Path) -> Repo:
    """A repository of its own with these versions."""
    shutil.copytree(_versions, tmp_path / "versions", symlinks=True)
    return Repo(tmp_path / "versions")


@pytest.fixture
def hollow(versions: Repo) -> Repo:
    """The same without any object, and so without any value: whoever needs real bytes fails."""
    shutil.rmtree(versions.path / ".git" / "theta" / "objects")
    return versions


@pytest.mark.parametrize(
    "command",
    [
        ["diff", "HEAD~1", "HEAD"],
        ["diff", "HEAD~1"],
        ["diff", "--cached", "HEAD~1"],
        ["diff", "--no-ext-diff", "HEAD~1", "HEAD"],
        ["-C", ".", "-c", "core.pager=cat", "--no-pager", "diff", "HEAD~1", "HEAD"],
        ["d", "HEAD~1", "HEAD"],
        ["p", "HEAD"],
        ["show"],
        ["log", "-p", "-1"],
        ["log", "-p", "-1", "--ext-diff"],
        ["stash", "show", "-p", "--ext-diff"],
        ["stash", "list", "-p", "-1", "--first-parent"],
        ["diff-tree", "-p", "--ext-diff", "HEAD"],
        ["diff-tree", "-p", "--textconv", "HEAD"],
        ["whatchanged", "-p", "-1"],
    ],
    ids=" ".join,
)
def test_diffs_need_no_object(hollow: Repo, command: list[str]) -> None:
    done = hollow.git(*command)
    assert "head_weight" in done.stdout
    assert "embed_weight" in done.stdout or "1 of 8 groups modified" in done.stdout
    assert "git-theta: " not in done.stderr


@pytest.mark.parametrize("command", [["blame", CHECKPOINT], ["annotate", CHECKPOINT]], ids=" ".join)
def test_blame_needs_no_object(hollow: Repo, command: list[str]) -> None:
    lines = hollow.git(*command).stdout.splitlines()
    commits = {line.partition(")")[2].split()[0]: line.split()[0].lstrip("^") for line in lines}
    full = {name: hollow.rev(f"{commit}^{{commit}}") for name, commit in commits.items()}
    assert full["head_weight"] == hollow.rev("HEAD")
    assert full["embed_weight"] == full["git-theta"] == hollow.rev("HEAD~1")


def test_one_shot_filter_hands_out_metadata_as_well(hollow: Repo) -> None:
    hollow.git("config", "--unset", "filter.theta.process")
    assert "1 of 8 groups modified" in hollow.git("diff", "HEAD~1", "HEAD").stdout


def test_diff_in_a_bare_repository(hollow: Repo, tmp_path: Path) -> None:
    bare = Repo.clone(hollow.path, tmp_path / "bare.git", "--bare")
    bare.verb("install", "--local")
    (bare.path / "info").mkdir(exist_ok=True)
    bare.write("info/attributes", "*.safetensors filter=theta diff=theta\n")
    assert "1 of 8 groups modified" in bare.git("diff", "HEAD~1", "HEAD").stdout


def test_diff_below_the_top_and_in_another_worktree(hollow: Repo, tmp_path: Path) -> None:
    (hollow.path / "sub").mkdir()
    assert "1 of 8 groups" in hollow.git("diff", "HEAD~1", "HEAD", cwd=hollow.path / "sub").stdout
    hollow.git("worktree", "add", "-q", str(tmp_path / "linked"), env={"GIT_THETA_SKIP_SMUDGE": "1"})
    assert "1 of 8 groups" in Repo(tmp_path / "linked").git("diff", "HEAD~1", "HEAD").stdout


# --- what must have the real bytes ------------------------------------------------------------------------------------


def test_whatever_writes_the_worktree_writes_checkpoints(versions: Repo) -> None:
    file = versions.path / CHECKPOINT
    for command, content in (
        (["checkout", "-q", "HEAD~1"], OLD),
        (["checkout", "-q", "main"], NEW),
        (["stash", "pop", "-q"], NEWEST),
        (["stash", "-q"], NEW),
        (["checkout", "HEAD~1", "--", CHECKPOINT], OLD),
        (["reset", "-q", "--hard"], NEW),
        (["restore", "--source", "HEAD~1", CHECKPOINT], OLD),
        (["restore", CHECKPOINT], NEW),
        (["rebase", "-q", "--force-rebase", "HEAD~1"], NEW),
        (["revert", "--no-edit", "HEAD"], OLD),
    ):
        versions.git(*command)
        assert file.read_bytes() == content, command


@pytest.mark.parametrize("alias", ["diff", "log", "show"])
def test_an_alias_with_the_name_of_another_command_deceives_nobody(versions: Repo, alias: str) -> None:
    versions.git("config", f"alias.my{alias}", "checkout -q")
    versions.git(f"my{alias}", "HEAD~1")
    assert versions.read(CHECKPOINT) == OLD


@pytest.mark.parametrize("answer", ["y", "n"])
def test_checkout_by_parts_leaves_one_of_the_checkpoints(versions: Repo, answer: str) -> None:
    versions.write(CHECKPOINT, OLD)
    versions.git("checkout", "-p", CHECKPOINT, stdin=f"{answer}\n" * 9)
    assert versions.read(CHECKPOINT) == (NEW if answer == "y" else OLD)


def test_add_by_parts_stages_what_can_be_checked_out(versions: Repo) -> None:
    versions.write(CHECKPOINT, OLD)
    versions.git("add", "-p", CHECKPOINT, stdin="y\n" * 9)
    assert versions.read(CHECKPOINT) == OLD
    versions.git("checkout-index", "-f", CHECKPOINT)
    assert versions.read(CHECKPOINT) == OLD


def test_what_does_not_filter_gives_what_is_committed(versions: Repo) -> None:
    for command in (["show", f"HEAD:{CHECKPOINT}"], ["cat-file", "blob", f"HEAD:{CHECKPOINT}"]):
        assert versions.git(*command).stdout.startswith(METADATA)
    for options in (["--no-ext-diff", "--no-textconv"], ["--no-ext-diff", "--no-textconv", "--binary", "-a"]):
        said = versions.git("diff", *options, "HEAD~1", "HEAD").stdout
        changed = [line for line in said.splitlines() if line.startswith(("+", "-"))][2:]
        assert len(changed) == 2
        assert all('"name":"head_weight"' in line for line in changed)


def test_external_diff_of_the_environment_gets_real_files(versions: Repo, tmp_path: Path) -> None:
    script = tmp_path / "external diff"
    script.write_text(f'#!/bin/sh\ncp "$2" {tmp_path}/old\ncp "$5" {tmp_path}/new\necho "$1 $4 $7"\n')
    script.chmod(0o755)
    said = versions.git("diff", "HEAD~1", "HEAD", env={"GIT_EXTERNAL_DIFF": f"'{script}'"})
    assert said.stdout == f"{CHECKPOINT} 100644 100644\n"
    assert ((tmp_path / "old").read_bytes(), (tmp_path / "new").read_bytes()) == (OLD, NEW)


@pytest.mark.parametrize("key", ["diff.theta.command", "diff.theta.textconv"])
def test_readers_that_are_not_ours_get_real_files(versions: Repo, tmp_path: Path, key: str) -> None:
    place = "$2" if key.endswith("command") else "$1"
    script = tmp_path / "reader"
    script.write_text(f'#!/bin/sh\ncp "{place}" {tmp_path}/old.$$\n')
    script.chmod(0o755)
    options = [] if key.endswith("command") else ["--no-ext-diff"]
    versions.git("-c", f"{key}={script}", "diff", *options, "HEAD~1", "HEAD")
    found = {file.read_bytes() for file in tmp_path.glob("old.*")}
    assert found == ({OLD} if key.endswith("command") else {OLD, NEW})


def test_a_filter_that_is_called_by_hand_gives_checkpoints(versions: Repo) -> None:
    stored = versions.git_bytes("cat-file", "blob", f"HEAD:{CHECKPOINT}")
    assert versions.theta_bytes("smudge", "--", CHECKPOINT, stdin=stored) == NEW
