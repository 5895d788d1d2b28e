"""The processes above us, as Linux and ps show them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from git_theta.git import processes
from git_theta.git.processes import Process, look, of_proc, of_ps

if TYPE_CHECKING:
    from pathlib import Path


def test_processes_of_linux_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "stat").write_bytes(b"7 (a) (b c\n) S 42 1 2 3")
    (folder / "cmdline").write_bytes(b"git\0-C\0my dir\0diff\0\xff\0")
    assert of_proc(7, tmp_path) == (42, ("git", "-C", "my dir", "diff", "\udcff"))
    assert of_proc(8, tmp_path) is None
    (folder / "stat").write_bytes(b"nonsense")
    assert of_proc(7, tmp_path) is None


@pytest.fixture
def ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `ps` that prints what is in a file, and fails if there is none."""
    (tmp_path / "ps").write_text(f'#!/bin/sh\nexec cat "{tmp_path}/says"\n')
    (tmp_path / "ps").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "says"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("  42 git diff HEAD\n", (42, ("git", "diff", "HEAD"))),
        ("1 /usr/bin/git --no-pager log -p\n", (1, ("/usr/bin/git", "--no-pager", "log", "-p"))),
        ("42 sh -c git-theta filter-process\n", (42, ("sh", "-c", "git-theta", "filter-process"))),
        ("42 git -C my diff checkout\n", (42, ("git",))),
        ("42 git -c a=b diff\n", (42, ("git",))),
        ("42 git --git-dir=/my diff checkout\n", (42, ("git",))),
        ("42 git\n", (42, ("git",))),
        ("", None),
        ("nonsense\n", None),
    ],
)
def test_processes_of_ps_are_told_as_far_as_they_are_certain(ps: Path, said: str, expected: Process | None) -> None:
    ps.write_text(said)
    assert of_ps(7) == expected


def test_no_ps_and_no_such_process_is_nothing(ps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_ps(7) is None
    monkeypatch.setenv("PATH", str(ps))
    assert of_ps(7) is None


def test_where_there_is_no_proc_ps_is_asked(ps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ps.write_text("1 git merge other\n")
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    assert look(7) == (1, ("git", "merge", "other"))
