"""Git's tools that work on lines, on checkpoints: hunks that are staged, stashed or taken back, and merges of text.

None of them asks our drivers, and a hunk may be any part of a metadata file.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy
import torch

from git_theta.metadata_file import parse
from tests.conftest import copied
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tests.helpers import Arrays

FILE, NET = "model.safetensors", "net.pt"
BASE: Arrays = {name: np.arange(4, dtype=np.float32) + number for number, name in enumerate("abcdefghijkl")}
TWO = {"b": BASE["b"] * 8, "k": BASE["k"] * 9}
"""Other values of two groups whose lines are so far apart that each is a hunk."""

MIXED = "the metadata file mixes lines of two versions"
both = pytest.mark.parametrize("file", [FILE, NET])


def saved(file: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    if file == FILE:
        return safetensors_bytes(arrays)
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, buffer)
    return buffer.getvalue()


def changed(repo: Repo, file: str) -> str:
    """The groups that have other values than in the first commit, as the library and `unzip -t` find the file good."""
    data = repo.read(file)
    if file == FILE:
        found = safetensors.numpy.load(data)
    else:
        assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
        found = {name: tensor.numpy() for name, tensor in torch.load(io.BytesIO(data), weights_only=True).items()}
    assert found.keys() == BASE.keys()
    return "".join(name for name in BASE if not np.array_equal(found[name], BASE[name]))


def in_another_order() -> bytes:
    """The first two groups, of equal size, have changed places."""
    data = safetensors_bytes(BASE)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    first, second = header["a"]["data_offsets"], header["b"]["data_offsets"]
    header["a"]["data_offsets"], header["b"]["data_offsets"] = second, first
    text = json.dumps(header, separators=(",", ":")).encode()
    values = data[8 + length :]
    size = BASE["a"].nbytes
    return data[:8] + text.ljust(length) + values[size : 2 * size] + values[:size] + values[2 * size :]


@pytest.fixture(scope="module")
def _story(_tracking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = copied(_tracking, tmp_path_factory.mktemp("states") / "story")
    repo.theta("track", "*.pt")
    for file in (FILE, NET):
        repo.write(file, saved(file, BASE))
    repo.commit("base")
    return repo.path


@pytest.fixture
def story(_story: Path, tmp_path: Path) -> Repo:
    """One commit with two checkpoints."""
    return copied(_story, tmp_path / "repo")


@pytest.fixture
def mixed(story: Repo) -> Repo:
    """The groups have changed places, and HEAD has the new skeleton before the old lines of the groups."""
    story.write(FILE, in_another_order())
    story.git("add", "-p", FILE, stdin="s\ny\nn\n")
    story.git("commit", "-qm", "mixed")
    return story


@both
def test_staging_one_of_two_groups_commits_that_one(story: Repo, file: str) -> None:
    story.write(file, saved(file, {**BASE, **TWO}))
    story.git("add", "-p", file, stdin="y\nn\n")
    story.git("commit", "-qm", "one of two")
    assert changed(story, file) == "bk"
    assert story.status() == f" M {file}\n"
    story.git("checkout", "-q", "HEAD", "--", file)
    assert changed(story, file) == "b"
    (story.path / file).touch()
    assert story.status() == ""
    story.git("checkout", "-q", "HEAD~1")
    assert changed(story, file) == ""
    story.git("checkout", "-q", "-")
    assert changed(story, file) == "b"


def test_staging_a_group_without_the_skeleton_that_has_its_checksum_commits_the_group(story: Repo) -> None:
    story.write(NET, saved(NET, {**BASE, **TWO}))
    story.git("add", "-p", NET, stdin="s\nn\ny\nn\n")
    story.git("commit", "-qm", "one of two")
    story.git("checkout", "-q", "HEAD", "--", NET)
    assert changed(story, NET) == "b"
    assert story.status() == ""


@both
def test_stashing_one_of_two_groups_leaves_the_other_and_brings_it_back(story: Repo, file: str) -> None:
    story.write(file, saved(file, {**BASE, **TWO}))
    story.git("stash", "push", "-q", "-p", file, stdin="y\nn\n")
    assert changed(story, file) == "k"
    story.git("commit", "-qam", "k")
    assert parse(story.git_bytes("cat-file", "blob", f"HEAD:{file}")).is_fitted
    story.git("stash", "pop", "-q")
    assert changed(story, file) == "bk"
    story.git("commit", "-qam", "b")
    assert parse(story.git_bytes("cat-file", "blob", f"HEAD:{file}")).is_fitted
    assert story.status() == ""


@both
def test_taking_one_of_two_groups_back_leaves_the_other(story: Repo, file: str) -> None:
    story.write(file, saved(file, {**BASE, **TWO}))
    story.git("checkout", "-p", "--", file, stdin="y\nn\n")
    assert changed(story, file) == "k"


@both
def test_a_commit_of_one_staged_group_merges_like_any_other(story: Repo, file: str) -> None:
    story.git("branch", "other")
    story.write(file, saved(file, {**BASE, **TWO}))
    story.git("add", "-p", file, stdin="y\nn\n")
    story.git("commit", "-qm", "one of two")
    story.git("checkout", "-qf", "other")
    story.write(file, saved(file, {**BASE, "g": BASE["g"] * 7}))
    story.git("commit", "-qam", "another")
    story.git("merge", "-q", "main", "-m", "merged")
    assert changed(story, file) == "bg"
    assert parse(story.git_bytes("cat-file", "blob", f"HEAD:{file}")).is_fitted
    assert story.status() == ""


def test_text_merge_of_different_groups_is_a_checkpoint_with_both(story: Repo) -> None:
    story.git("branch", "other")
    for branch, name in (("main", "b"), ("other", "k")):
        story.git("checkout", "-q", branch)
        story.write(FILE, saved(FILE, {**BASE, name: TWO[name]}))
        story.git("commit", "-qam", name)
    story.git("config", "--remove-section", "merge.theta")
    story.git("merge", "-q", "main", "-m", "merged by lines")
    story.git("checkout", "-q", "HEAD", "--", FILE)
    assert changed(story, FILE) == "bk"


def test_skeleton_staged_without_its_groups_is_refused_and_adding_the_file_mends_it(mixed: Repo) -> None:
    (mixed.path / FILE).unlink()
    refused = mixed.git("checkout", "HEAD", "--", FILE, check=False)
    assert refused.returncode
    assert f"git-theta: {FILE}: {MIXED}" in refused.stderr
    assert not (mixed.path / FILE).exists()
    mixed.write(FILE, in_another_order())
    mixed.git("add", FILE)
    mixed.git("commit", "-qm", "mended")
    (mixed.path / FILE).unlink()
    mixed.git("checkout", "HEAD", "--", FILE)
    assert mixed.read(FILE) == in_another_order()


def test_every_command_says_that_lines_of_two_versions_are_mixed(mixed: Repo) -> None:
    for command in ("ls-files", "fetch", "pull"):
        done = mixed.verb(command, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"git-theta: {FILE}: {MIXED}")
    assert f"{FILE}: {MIXED}" in mixed.verb("log").stdout
    assert f"{FILE}: {MIXED}" in mixed.verb("diff", "HEAD~1", "HEAD").stderr
    assert f"{FILE}: {MIXED}" in mixed.verb("show", f"HEAD:{FILE}", check=False).stderr
    assert f"{FILE}: {MIXED}" in mixed.git("diff", "HEAD~1", "HEAD").stderr


def test_push_of_mixed_lines_is_refused_with_their_place_and_that_of_mended_ones_is_not(mixed: Repo) -> None:
    remote = Repo.init(mixed.path.parent / "remote.git", "--bare")
    mixed.git("remote", "add", "origin", str(remote.path))
    refused = mixed.git("push", "-q", "origin", "main", check=False)
    blob = mixed.rev(f"HEAD:{FILE}")
    assert f"blob {blob} (git log --all --find-object={blob} names its commits): {MIXED}" in refused.stderr
    assert mixed.rev("HEAD") in mixed.git("log", "--all", "--format=%H", f"--find-object={blob}").stdout
    mixed.git("push", "-q", "--no-verify", "origin", "main")
    mixed.commit("mended")
    mixed.git("push", "-q", "origin", "main")
    clone = Repo.clone(remote.path, mixed.path.parent / "clone", "--no-checkout")
    clone.theta("install", "--local")
    clone.git("checkout", "-q", "main")
    assert clone.read(FILE) == in_another_order()


def test_a_file_that_git_emptied_over_mixed_lines_comes_back_from_the_cache(story: Repo) -> None:
    """As docs/errors.md says: git empties a file before it asks for the new content."""
    story.write(FILE, in_another_order())
    refused = story.git("checkout", "-p", "--", FILE, check=False, stdin="s\ny\nn\n")
    assert f"git-theta: {FILE}: {MIXED}" in refused.stderr
    assert story.read(FILE) == b""
    cache = story.path / ".git/theta/cache"
    newest = max(cache.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    story.write(FILE, story.theta_bytes("smudge", FILE, stdin=newest.read_bytes()))
    assert story.read(FILE) == in_another_order()


@pytest.mark.parametrize("size", [5, 7, 12])
def test_file_in_conflict_as_a_whole_is_refused_whatever_the_size_of_its_markers(tracked: Repo, size: int) -> None:
    """The attribute conflict-marker-size sets it."""
    stored = tracked.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    markers = [f"{char * size}{label}\n".encode() for char, label in (("<", " ours"), ("=", ""), (">", " theirs"))]
    tracked.write(FILE, markers[0] + stored + markers[1] + stored + markers[2])
    added = tracked.git("add", FILE, check=False)
    assert added.returncode != 0
    assert "the file holds conflict markers: settle the conflict first" in added.stderr
    assert tracked.git_bytes("cat-file", "blob", f":{FILE}") == stored
