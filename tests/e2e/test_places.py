"""Names, folders and kinds of repositories that people really have."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path


def content(seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    return safetensors_bytes({"weight": generator.standard_normal((150, 150), dtype=np.float32)})


NAMES = [
    "with space.safetensors",
    'quote".safetensors',
    "apostrophe'.safetensors",
    "new\nline.safetensors",
    "tab\t.safetensors",
    "modèle-é-模型.safetensors",
    "-dash.safetensors",
    "--help.safetensors",
    "[glob]*?.safetensors",
    "back\\slash.safetensors",
    ":(top)magic.safetensors",
    "$(touch canary).safetensors",
    "a/b c/d.safetensors",
    os.fsdecode(b"not-utf8-\xff.safetensors"),
]


def test_odd_names(tracking: Repo) -> None:
    def write(version: int) -> None:
        for number, name in enumerate(NAMES):
            tracking.write(name, content(2 * number + version))

    def wrong(version: int) -> list[str]:
        return [name for number, name in enumerate(NAMES) if tracking.read(name) != content(2 * number + version)]

    write(0)
    tracking.git("add", "--", *(f":(literal){name}" for name in NAMES))
    tracking.git("commit", "-qm", "base")
    assert tracking.git("theta", "ls-files", "--name-only").stdout.count("\n") == len(NAMES)
    for name in NAMES:
        os.utime(tracking.path / name)
    assert tracking.status() == ""
    write(1)
    tracking.git("commit", "-qam", "second")
    tracking.git("checkout", "-q", "HEAD~1")
    assert wrong(0) == []
    tracking.git("checkout", "-q", "-b", "side")
    tracking.git("merge", "-q", "main")
    assert wrong(1) == []
    assert tracking.status() == ""
    assert not list(tracking.path.rglob("canary"))


def test_subdirectory_as_working_directory(tracking: Repo) -> None:
    folder = tracking.path / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "m.safetensors").write_bytes(content(0))
    tracking.git("add", ".", cwd=folder)
    tracking.git("commit", "-qm", "deep", cwd=folder)
    os.utime(folder / "m.safetensors")
    assert tracking.git("status", "--short", cwd=folder).stdout == ""
    assert "deep/er/m.safetensors" in tracking.git("theta", "ls-files", cwd=folder).stdout
    (folder / "m.safetensors").unlink()
    tracking.git("checkout", "--", "m.safetensors", cwd=folder)
    assert (folder / "m.safetensors").read_bytes() == content(0)


def test_worktrees_share_one_store(tracking: Repo, tmp_path: Path) -> None:
    tracking.write("m.safetensors", content(0))
    tracking.commit("base")
    tracking.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = Repo(tmp_path / "side")
    assert side.read("m.safetensors") == content(0)
    side.write("m.safetensors", content(1))
    side.commit("in the other worktree")
    assert side.status() == ""
    tracking.git("merge", "-q", "side")
    assert tracking.read("m.safetensors") == content(1)
    assert not (tracking.path / ".git/worktrees/side/theta").exists()


def test_submodule_keeps_its_own_objects(tracking: Repo, tmp_path: Path) -> None:
    tracking.write("m.safetensors", content(0))
    tracking.commit("base")
    tracking.theta("install", "--global")
    outer = Repo.init(tmp_path / "outer")
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tracking.path), "inner")
    outer.commit("with a submodule")
    inner = Repo(outer.path / "inner")
    assert inner.read("m.safetensors") == content(0)
    inner.write("m.safetensors", content(1))
    inner.commit("in the submodule")
    assert inner.status() == ""
    assert (outer.path / ".git/modules/inner/theta/objects").is_dir()
    inner.git("checkout", "-q", "HEAD~1")
    assert inner.read("m.safetensors") == content(0)


def test_bare_repository_gives_out_the_checkpoint(tracking: Repo, tmp_path: Path) -> None:
    tracking.write("m.safetensors", content(0))
    tracking.commit("base")
    tracking.theta("install", "--global")
    tracking.git("push", "-q", str(Repo.init(tmp_path / "bare.git", "--bare").path), "main")
    bare = Repo(tmp_path / "bare.git")
    bare.git("config", "core.attributesFile", str(tracking.path / ".gitattributes"))
    assert bare.git_bytes("cat-file", "--filters", "main:m.safetensors") == content(0)
    archive = bare.git_bytes("archive", "main", "m.safetensors")
    assert content(0) in archive


def test_git_dir_elsewhere(tracking: Repo, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.git"
    (tracking.path / ".git").rename(elsewhere)
    env = {"GIT_DIR": str(elsewhere), "GIT_WORK_TREE": str(tracking.path)}
    tracking.write("m.safetensors", content(0))
    tracking.git("add", ".", env=env)
    tracking.git("commit", "-qm", "base", env=env)
    (tracking.path / "m.safetensors").unlink()
    tracking.git("checkout", "--", "m.safetensors", env=env)
    assert tracking.read("m.safetensors") == content(0)
    assert (elsewhere / "theta/objects").is_dir()
    from_outside = subprocess.run(
        ["git", f"--git-dir={elsewhere}", f"--work-tree={tracking.path}", "status", "--short"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert from_outside.stdout == ""


@pytest.mark.parametrize("autocrlf", ["true", "input"])
def test_autocrlf_changes_no_byte(tracking: Repo, autocrlf: str) -> None:
    tracking.git("config", "core.autocrlf", autocrlf)
    data = safetensors_bytes({"text": np.frombuffer(b"a\r\nb\n\rc" * 1000, np.uint8)})
    tracking.write("m.safetensors", data)
    tracking.commit("base")
    assert b"\r" not in tracking.git_bytes("cat-file", "blob", "HEAD:m.safetensors")
    (tracking.path / "m.safetensors").unlink()
    tracking.git("checkout", "--", "m.safetensors")
    assert tracking.read("m.safetensors") == data
    assert tracking.status() == ""


@pytest.mark.parametrize("attributes", ["", " text", " text eol=crlf", " text=auto"])
def test_path_that_is_text_for_git_changes_no_byte(tracking: Repo, attributes: str) -> None:
    tracking.git("config", "core.autocrlf", "true")
    tracking.write(".gitattributes", f"*.safetensors filter=theta diff=theta merge=theta{attributes}\n")
    tracking.write("m.safetensors", content(0))
    tracking.commit("base")
    assert b"\r" not in tracking.git_bytes("cat-file", "blob", "HEAD:m.safetensors")
    (tracking.path / "m.safetensors").unlink()
    tracking.git("checkout", "--", "m.safetensors")
    assert tracking.read("m.safetensors") == content(0)
    assert tracking.status() == ""


def test_file_mode_is_kept(tracking: Repo) -> None:
    tracking.write("m.safetensors", content(0))
    (tracking.path / "m.safetensors").chmod(0o755)
    tracking.commit("executable")
    (tracking.path / "m.safetensors").unlink()
    tracking.git("checkout", "--", "m.safetensors")
    assert os.access(tracking.path / "m.safetensors", os.X_OK)


def test_symlink_that_matches_the_pattern_is_left_to_git(tracking: Repo) -> None:
    tracking.write("m.safetensors", content(0))
    (tracking.path / "link.safetensors").symlink_to("m.safetensors")
    tracking.commit("with a link")
    assert tracking.git("cat-file", "blob", "HEAD:link.safetensors").stdout == "m.safetensors"
    assert tracking.status() == ""


def test_partial_commit_by_path(tracking: Repo) -> None:
    tracking.write("a.safetensors", content(0))
    tracking.write("b.safetensors", content(1))
    tracking.commit("base")
    tracking.write("a.safetensors", content(2))
    tracking.write("b.safetensors", content(3))
    tracking.git("commit", "-qm", "only a", "a.safetensors")
    assert tracking.status() == " M b.safetensors\n"
    assert tracking.git_bytes("cat-file", "--filters", "HEAD:a.safetensors") == content(2)
