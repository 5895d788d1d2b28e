"""git theta textconv: the same text from every form of a checkpoint, and some text for whatever else there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

OLD = safetensors_bytes(model(0), {"epoch": "3"})


def text(repo: Repo, file: Path | str) -> str:
    return repo.theta("textconv", str(file)).stdout


@pytest.fixture
def forms(tracked: Repo, tmp_path: Path) -> tuple[Repo, Path]:
    """A repository with a checkpoint in its worktree, and its metadata file outside."""
    tracked.write(CHECKPOINT, OLD)
    tracked.commit("with an epoch")
    (tmp_path / "stored").write_bytes(tracked.git_bytes("cat-file", "blob", f"HEAD:{CHECKPOINT}"))
    return tracked, tmp_path / "stored"


def test_text_is_the_same_of_metadata_and_of_the_checkpoint(forms: tuple[Repo, Path]) -> None:
    repo, stored = forms
    lines = text(repo, stored).splitlines()
    assert lines[:2] == ["git-theta textconv: safetensors", "__metadata__/epoch: '3'"]
    assert {line.split("  ")[0] for line in lines[2:-1]} == model(0).keys()
    assert text(repo, CHECKPOINT) == text(repo, repo.path / CHECKPOINT) == text(repo, stored)


@pytest.mark.parametrize("note", ["x", "".join(map(chr, range(0x4E00, 0x9E00))) * 2], ids=["small", "large"])
def test_text_is_the_same_however_the_skeleton_is_kept(repo: Repo, tmp_path: Path, note: str) -> None:
    repo.theta("track", "*.pt")
    torch.save({"w": torch.ones(3), "epoch": 3, "note": note}, repo.path / "m.pt")
    repo.commit("one")
    (tmp_path / "stored").write_bytes(repo.git_bytes("cat-file", "blob", "HEAD:m.pt"))
    assert text(repo, "m.pt") == text(repo, tmp_path / "stored")
    assert ("epoch: 3" in text(repo, "m.pt")) == (note == "x")


def test_format_of_the_attribute_is_taken(forms: tuple[Repo, Path]) -> None:
    repo, stored = forms
    repo.write(".gitattributes", "*.safetensors filter=theta diff=theta merge=theta -text theta-format=opaque\n")
    assert text(repo, CHECKPOINT).startswith("git-theta textconv: opaque\nfile  uint8 [")
    assert text(repo, stored).startswith("git-theta textconv: safetensors\n")


def test_outside_of_a_repository(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(OLD)
    assert text(Repo(tmp_path), "m.safetensors").startswith("git-theta textconv: safetensors\n")


def test_what_no_format_claims_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\x00noise\x1b")
    lines = text(Repo(tmp_path), "m").splitlines()
    assert lines[0] == "git-theta textconv: opaque"
    assert lines[1].startswith("file  uint8 [7]  ")


def test_pointer_of_lfs_is_shown_as_it_is(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
    (tmp_path / "m").write_text(pointer)
    assert text(Repo(tmp_path), "m") == pointer


def test_metadata_that_does_not_parse_is_shown_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b'{"git-theta":1,"x\x1b[31m\xff\nnext line')
    said = text(Repo(tmp_path), "m")
    assert said.startswith("(")
    assert '{"git-theta":1,"x\\x1b[31m\\\\xff' in said or '{"git-theta":1,"x\\x1b[31m\\xff' in said
    assert all(char.isprintable() or char == "\n" for char in said)


def test_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = Repo(tmp_path).verb("textconv", "nowhere", check=False)
    assert done.returncode == 1
    assert done.stderr == "git-theta: nowhere: No such file or directory\n"


def test_text_that_blame_has_cleaned_stays_as_it_is(forms: tuple[Repo, Path]) -> None:
    repo, stored = forms
    said = text(repo, stored)
    assert repo.theta("clean", "--", CHECKPOINT, stdin=said).stdout == said
    assert (
        repo.git("hash-object", "--path", CHECKPOINT, "--stdin", stdin=said).stdout
        == repo.git("hash-object", "--no-filters", "--stdin", stdin=said).stdout
    )
