"""Which git command a filter works for: what is certain, and that everything else is not."""

from __future__ import annotations

import pytest

from git_theta.git import showing
from git_theta.git.processes import Process
from git_theta.git.showing import command_line, shows_differences

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


def test_a_test_is_no_filter_of_git() -> None:
    assert showing.caller() is None
