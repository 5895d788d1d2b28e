"""Which git command a filter works for: what is certain, and that everything else is not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from git_theta.git import callers
from git_theta.git.callers import Process, command_line, process_of_proc, process_of_ps, shows_differences

if TYPE_CHECKING:
    from pathlib import Path

GIT = "/usr/lib/git-core/git"
SHELL = (2, ("/bin/sh", "-c", "git-theta filter-process"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["git", "diff"],
        [GIT, "diff", "HEAD~1", "HEAD"],
        ["git", "-C", "checkout", "-c", "a.b=c d", "diff", "--cached"],
        ["git", "--no-pager", "--git-dir=/a b", "--work-tree", "/c", "log", "-p"],
        ["git", "--exec-path=/x", "-p", "show"],
        ["git", "stash", "show", "-p"],
        ["git", "blame", "checkout"],
        ["git-diff"],
        ["/usr/lib/git-core/git-log", "-p"],
        ["git", "diff-files", "--ext-diff"],
    ],
)
def test_commands_that_only_show(arguments: list[str]) -> None:
    assert shows_differences(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [""],
        ["git"],
        ["diff"],
        ["git", "--help"],
        ["git", "checkout", "diff"],
        ["git", "-C", "diff", "checkout"],
        ["git", "-c", "diff", "checkout"],
        ["git", "--git-dir", "diff", "reset", "--hard"],
        ["git", "--unknown", "diff"],
        ["git", "--unknown=x", "diff"],
        ["git", "-c"],
        ["git", "stash"],
        ["git", "stash", "pop", "show"],
        ["git", "stash", "-p", "show"],
        ["git", "difftool"],
        ["git", "cat-file", "--filters"],
        ["git", "archive", "HEAD"],
        ["git", "grep", "diff"],
        ["git", "theta", "diff"],
        ["git", "my-alias"],
        ["git-theta", "diff"],
        ["git-checkout", "diff"],
        ["sh", "-c", "git diff"],
    ],
)
def test_everything_else_gets_the_real_bytes(arguments: list[str]) -> None:
    assert not shows_differences(arguments)


def tree(*processes: Process | None) -> dict[int, Process | None]:
    """Processes 0, 1, 2, ..., each with its parent's number."""
    return dict(enumerate(processes))


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (tree((1, ("python", "git-theta", "filter-process")), (9, ("git", "diff"))), ("git", "diff")),
        (tree((1, ()), SHELL, (9, ("/usr/bin/git", "checkout"))), ("/usr/bin/git", "checkout")),
        (tree((1, ()), (2, ("sh", "-c", "git-theta smudge -- 'a b'")), (9, ("git-log",))), ("git-log",)),
        (
            tree((1, ()), (2, ("bash", "/shims/git-theta", "filter-process")), (3, SHELL[1]), (9, ("git", "x"))),
            ("git", "x"),
        ),
        (tree((1, ()), SHELL, (3, ("git", "checkout")), (9, ("git", "diff"))), ("git", "checkout")),
    ],
)
def test_the_nearest_git_is_the_one(processes: dict[int, Process | None], expected: tuple[str, ...]) -> None:
    assert command_line(0, processes.get) == expected


@pytest.mark.parametrize(
    "processes",
    [
        tree(),
        tree(None),
        tree((1, ())),
        tree((1, ()), SHELL),
        tree((1, ()), (2, ()), (9, ("git", "diff"))),
        tree((1, ()), (2, ("sh", "-c", "my-script")), (9, ("git", "diff"))),
        tree((1, ()), (2, ("git-theta", "pull")), (9, ("git", "diff"))),
        tree((1, ()), *((number + 2, SHELL[1]) for number in range(20))),
        tree((0, ("git-theta", "smudge"))),
    ],
)
def test_what_is_not_certain_is_nothing(processes: dict[int, Process | None]) -> None:
    assert command_line(0, processes.get) is None


def test_processes_of_linux_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "stat").write_bytes(b"7 (a) (b c\n) S 42 1 2 3")
    (folder / "cmdline").write_bytes(b"git\0-C\0my dir\0diff\0\xff\0")
    assert process_of_proc(7, tmp_path) == (42, ("git", "-C", "my dir", "diff", "\udcff"))
    assert process_of_proc(8, tmp_path) is None
    (folder / "stat").write_bytes(b"nonsense")
    assert process_of_proc(7, tmp_path) is None


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
    assert process_of_ps(7) == expected


def test_no_ps_and_no_such_process_is_nothing(ps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_of_ps(7) is None
    monkeypatch.setenv("PATH", str(ps))
    assert process_of_ps(7) is None


def test_a_test_is_no_filter_of_git() -> None:
    assert callers.caller() is None
