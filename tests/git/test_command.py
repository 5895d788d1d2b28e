"""Running git: what comes back, and what is said when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo

EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_success_gives_the_bytes_that_git_prints(repo: Repo) -> None:
    data = b"caf\xe9\0\r\n\xff"
    oid = command.run(["hash-object", "-w", "--stdin"], cwd=repo.path, stdin=data)
    assert command.run(["cat-file", "blob", oid.decode().strip()], cwd=repo.path) == data


def test_git_does_not_read_our_own_input(repo: Repo) -> None:
    done = repo.run(
        "python",
        "-c",
        "from git_theta.git import command; print(command.run(['hash-object', '--stdin']).decode())",
        cwd=repo.path,
        stdin="not for git",
    )
    assert done.stdout.strip() == EMPTY_BLOB


@pytest.mark.parametrize("name", ["GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"])
def test_patterns_that_the_user_asks_for_do_not_get_in_the_way_of_paths(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    repo.write("A", "")
    repo.git("add", "A")
    monkeypatch.setenv(name, "1")
    assert command.run(["--literal-pathspecs", "ls-files", "--", "A", "a"], cwd=repo.path) == b"A\n"
    assert command.run(["ls-files", "--", "a"], cwd=repo.path) == (b"A\n" if "ICASE" in name else b"")


def test_arguments_reach_git_as_they_are(repo: Repo) -> None:
    value = "$(touch owned) `x` \"'\n\\;|&\t*"
    command.run(["config", "--local", "x.y", value], cwd=repo.path)
    assert command.run(["config", "-z", "--get", "x.y"], cwd=repo.path).decode() == f"{value}\0"
    assert not (repo.path / "owned").exists()


def test_failure_says_which_command_and_what_git_said(repo: Repo) -> None:
    with pytest.raises(GitError) as failed:
        command.run(["rev-parse", "--verify", "nosuch"], cwd=repo.path)
    assert str(failed.value) == "git rev-parse failed: Needed a single revision"


def test_failure_without_a_word_gives_the_exit_status(repo: Repo) -> None:
    with pytest.raises(GitError) as failed:
        command.run(["config", "--get", "no.such"], cwd=repo.path)
    assert str(failed.value) == "git config failed: exit status 1"


def test_failure_of_several_lines_is_one_line(repo: Repo, tmp_path: Path) -> None:
    """Git's complaint is "fatal: --worktree cannot be used with ...", broken into three lines."""
    repo.write("a", "a")
    repo.commit("a")
    repo.git("worktree", "add", "-q", str(tmp_path / "other"))
    with pytest.raises(GitError, match="--worktree cannot be used with multiple working trees") as failed:
        command.run(["config", "--worktree", "x.y", "z"], cwd=repo.path)
    assert "unless the config extension worktreeConfig is enabled" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_hints_are_not_what_is_wrong(repo: Repo) -> None:
    repo.write("in/a", "a")
    repo.write("out/a", "a")
    repo.commit("a")
    repo.git("sparse-checkout", "set", "in")
    repo.write("out/a", "b")
    with pytest.raises(GitError) as failed:
        command.run(["add", "out/a"], cwd=repo.path)
    assert "sparse" in str(failed.value)
    assert str(failed.value).endswith("in the index: out/a")


def test_what_git_says_after_its_reason_is_no_part_of_it() -> None:
    assert command.reason("warning: w\nfatal: one\n  two\nerror: three\nfour\n") == "one two"


def test_without_a_reason_that_is_fatal_the_last_one_counts() -> None:
    assert command.reason("error: one\nerror: two\nhint: three\n") == "error: two"
    assert command.reason("hint: nothing else\n") == command.reason("") == ""


def test_failure_is_one_line_and_survives_bytes_that_are_not_utf8(repo: Repo) -> None:
    with pytest.raises(GitError) as failed:
        command.run(["cat-file", "blob", "caf\udce9"], cwd=repo.path)
    assert "Not a valid object name caf" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_attempt_gives_status_output_and_complaint(repo: Repo) -> None:
    assert command.attempt(["rev-parse", "--is-bare-repository"], cwd=repo.path) == (0, b"false\n", "")
    status, output, complaint = command.attempt(["rev-parse", "--verify", "nosuch"], cwd=repo.path)
    assert (status, output) == (128, b"")
    assert complaint == "fatal: Needed a single revision\n"


def test_git_that_is_not_on_the_path_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git is not on the PATH"):
        command.attempt(["version"])


def test_git_that_the_system_does_not_start_is_not_said_to_be_missing(tmp_path: Path) -> None:
    too_long = ["version", "x" * 10_000_000]
    with pytest.raises(GitError, match="git cannot be started: Argument list too long"):
        command.attempt(too_long)
    with pytest.raises(GitError, match="Argument list too long"):
        command.hand_over(too_long)
    with pytest.raises(GitError, match="Argument list too long"), command.piped(too_long, ["version"]):
        pass
    with pytest.raises(GitError, match=r"there is no directory .*/gone to run git in"):
        command.hand_over(["version"], cwd=tmp_path / "gone")


@pytest.mark.parametrize("name", ["gone", "file"])
def test_directory_that_is_not_there_is_not_blamed_on_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GitError) as failed:
        command.attempt(["version"], cwd=tmp_path / name)
    assert "PATH" not in str(failed.value)
    assert name in str(failed.value)


INTERRUPTED = ["-c", "alias.stop=!kill -INT $PPID; sleep 1", "stop"]


def test_git_that_is_interrupted_interrupts_us(repo: Repo) -> None:
    with pytest.raises(KeyboardInterrupt):
        command.run(INTERRUPTED, cwd=repo.path)
    with pytest.raises(KeyboardInterrupt), command.piped(INTERRUPTED, ["version"], cwd=repo.path) as output:
        output.read()


def test_lines_end_at_a_newline_and_nowhere_else() -> None:
    assert command.lines(b"") == []
    assert command.lines(b"a\n\nb\n") == ["a", "", "b"]
    assert command.lines(b"a\nb") == ["a", "b"]
    odd = "a\rb\x0b\x0c\x1c\x85c\u2028d"
    assert command.lines(f"{odd}\n".encode()) == [odd]


def test_lines_and_fields_keep_bytes_that_are_not_utf8() -> None:
    assert command.lines(b"caf\xe9\n") == ["caf\udce9"]
    assert command.fields(b"caf\xe9\0\n\0") == ["caf\udce9", "\n"]


def test_fields_may_be_empty_or_none() -> None:
    assert command.fields(b"") == []
    assert command.fields(b"a\0\0b\0") == ["a", "", "b"]
