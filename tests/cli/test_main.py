"""The git-theta command as a whole: its verbs, and how every kind of error ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import click
import pytest

from git_theta import __version__, errors
from git_theta.cli import boundary
from git_theta.cli.verbs import cli
from tests.helpers import TIMEOUT, Repo

if TYPE_CHECKING:
    from pathlib import Path

VERBS = cli.list_commands(click.Context(cli))
ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ThetaError)]
ESCAPE = "\x1b]0;owned\x07"


def call(*arguments: str) -> int:
    """Run a verb in this process."""
    return boundary.run(lambda: cli.main(arguments, prog_name="git-theta", standalone_mode=False), {})


def fail_with(error: BaseException) -> int:
    """Run a command that fails in this process."""

    def command() -> None:
        raise error

    return boundary.run(command, {})


class TestVerbs:
    def test_version(self, repo: Repo) -> None:
        for option in ("--version", "-V"):
            assert repo.theta(option).stdout == f"git-theta/{__version__}\n"
        assert repo.git("theta", "--version").stdout == f"git-theta/{__version__}\n"

    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_help_names_every_verb(self, capsys: pytest.CaptureFixture[str], option: str) -> None:
        assert call(option) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        for verb in VERBS:
            assert f"\n  {verb} " in shown.out

    @pytest.mark.parametrize("verb", VERBS)
    def test_every_verb_has_help(self, capsys: pytest.CaptureFixture[str], verb: str) -> None:
        assert call(verb, "-h") == 0
        shown = capsys.readouterr()
        assert shown.out.startswith(f"Usage: git-theta {verb} ")
        assert shown.err == ""

    def test_git_finds_the_verbs(self, repo: Repo) -> None:
        assert repo.git("theta", "track").stdout == "Listing tracked patterns\n"

    def test_no_verb_shows_the_help(self, repo: Repo) -> None:
        done = repo.theta(check=False)
        shown = (done.stdout + done.stderr).splitlines()
        assert any(line.startswith("Usage: git-theta [OPTIONS] COMMAND") for line in shown)
        assert any(line.startswith("  ls-files ") for line in shown)


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["nosuch"], "nosuch"),
            (["track", "--nosuch"], "--nosuch"),
            (["--nosuch"], "--nosuch"),
            (["clean"], "PATH"),
            (["ls-files", "one", "two"], "two"),
            (["install", "--scope"], "--scope"),
        ],
    )
    def test_call_that_makes_no_sense_exits_with_2_and_names_what(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
    ) -> None:
        assert call(*arguments) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("git-theta: ")
        assert shown.err.count("\n") == 1
        assert named in shown.err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["log", "--stat"], "Did you mean '--exact'? Try 'git theta log -h'."),
            (["ls-files", "one", "two"], "(two). Try 'git theta ls-files -h'."),
            (["nosuch"], "Try 'git theta -h'."),
            (["--nosuch"], "Try 'git theta -h'."),
        ],
    )
    def test_call_that_makes_no_sense_names_the_help_of_its_verb(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        call(*arguments)
        assert capsys.readouterr().err.endswith(f"{said}\n")

    def test_exit_code_of_the_process(self, repo: Repo) -> None:
        assert repo.theta("nosuch", check=False).returncode == 2


class TestExits:
    @pytest.mark.parametrize("code", [None, 0, 5, "gone"])
    def test_exit_that_no_command_asked_for_is_no_success(
        self, capsys: pytest.CaptureFixture[str], code: str | int | None
    ) -> None:
        """Git would take what a driver or a filter has written until then for its result."""
        assert fail_with(SystemExit(code)) == boundary.BUG
        shown = capsys.readouterr()
        assert shown.err.startswith(f"git-theta: a bug in git-theta: SystemExit: {code}; ")
        assert shown.err.count("\n") == 1


class TestExpectedErrors:
    @pytest.mark.parametrize("kind", ERRORS)
    def test_one_line_and_the_exit_code_of_the_class(
        self, capsys: pytest.CaptureFixture[str], kind: type[errors.ThetaError]
    ) -> None:
        codes = {errors.UsageError: 2, errors.CompareError: 128, errors.CompareUsageError: 129}
        assert fail_with(kind("what is wrong")) == codes.get(kind, 1)
        assert capsys.readouterr() == ("", "git-theta: what is wrong\n")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["track", "*.bin"],
            ["track"],
            ["untrack", "*.bin"],
            ["ls-files"],
            ["ls-files", "HEAD"],
            ["fetch"],
            ["pull"],
            ["push", "origin"],
            ["clean", "model.bin"],
            ["smudge", "model.bin"],
        ],
        ids=" ".join,
    )
    def test_outside_a_repository_one_line_says_so(self, tmp_path: Path, arguments: list[str]) -> None:
        done = Repo(tmp_path).theta(*arguments, check=False, stdin="content")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "git-theta: not a git repository (or any of the parent directories): .git\n"

    def test_folder_that_was_removed_is_no_bug(self, repo: Repo) -> None:
        (repo.path / "gone").mkdir()
        done = repo.run("sh", "-c", "rmdir ../gone; git-theta ls-files", cwd=repo.path / "gone", check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("git-theta: ")
        assert "a bug" not in done.stderr
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("error", "said"),
        [(MemoryError("Unable to allocate 1 GiB"), "memory"), (RuntimeError("can't start new thread"), "thread")],
    )
    def test_machine_that_has_too_little_is_no_bug(
        self, capsys: pytest.CaptureFixture[str], error: Exception, said: str
    ) -> None:
        assert fail_with(error) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("git-theta: ")
        assert f" {said} " in shown.replace(":", " ")
        assert shown.count("\n") == 1

    def test_git_that_is_missing_is_named(self, repo: Repo, tmp_path: Path) -> None:
        program = repo.run("which", "git-theta", cwd=repo.path).stdout.strip()
        done = repo.run(program, "ls-files", cwd=repo.path, env={"PATH": str(tmp_path)}, check=False)
        assert done.returncode == 1
        assert done.stderr == "git-theta: git is not on the PATH: install it\n"

    @pytest.mark.parametrize("setting", ["theta.strict", "GIT_THETA_SKIP_SMUDGE"])
    def test_setting_that_is_neither_true_nor_false_is_named(self, tracked: Repo, setting: str) -> None:
        if setting == "theta.strict":
            tracked.git("config", setting, "maybe")
        done = tracked.theta("clean", "x", stdin="x", check=False, env={"GIT_THETA_SKIP_SMUDGE": "perhaps"})
        assert (done.returncode, done.stdout) == (1, "")
        word = "maybe" if setting == "theta.strict" else "perhaps"
        assert done.stderr == f"git-theta: {setting} is '{word}', which is neither true nor false\n"


class TestControlCharacters:
    def test_they_are_escaped_in_messages(self, capsys: pytest.CaptureFixture[str]) -> None:
        fail_with(errors.GitError(f"{ESCAPE}\r\n\t\x00\x9b\u202e\udcff é 模型"))
        assert capsys.readouterr().err == ("git-theta: \\x1b]0;owned\\x07\\r\\n\\t\\x00\\x9b\\u202e\\udcff é 模型\n")

    def test_they_are_escaped_in_reports_of_bugs(
        self, capsys: pytest.CaptureFixture[str], repo: Repo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(repo.path)
        fail_with(ValueError(f"{ESCAPE}\nsecond line"))
        shown = capsys.readouterr().err
        assert shown.startswith("git-theta: a bug in git-theta: ValueError: \\x1b]0;owned\\x07\\nsecond line; ")
        assert shown.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            [ESCAPE],
            [f"--{ESCAPE}"],
            ["track", f"--{ESCAPE}"],
            ["ls-files", "HEAD", ESCAPE],
            ["install", "--scope", ESCAPE],
            ["track", f"!{ESCAPE}"],
            ["track", f"{ESCAPE}/"],
        ],
        ids=ascii,
    )
    def test_they_are_escaped_in_what_is_said_of_arguments(
        self, capsys: pytest.CaptureFixture[str], repo: Repo, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
    ) -> None:
        """The shell expands * to names that others chose."""
        monkeypatch.chdir(repo.path)
        assert call(*arguments) == 2
        shown = capsys.readouterr().err
        assert "owned" in shown
        assert "\x1b" not in shown
        assert "\x07" not in shown


class TestBugs:
    @pytest.fixture
    def buggy(self, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
        """The current directory; ls-files has a bug."""
        from git_theta.cli import ls_files

        def checkpoints(*_: object) -> object:
            raise LookupError("off by one")

        monkeypatch.setattr(ls_files, "checkpoints", checkpoints)
        monkeypatch.chdir(repo.path)
        return repo

    def test_one_line_names_the_log_that_has_the_trace(
        self, buggy: Repo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["git-theta", "ls-files", "caf\udce9"])
        assert call("ls-files") == 3
        log = buggy.path / ".git/theta/log"
        said = f"git-theta: a bug in git-theta: LookupError: off by one; please report it with {log}\n"
        assert capsys.readouterr() == ("", said)
        text = log.read_text()
        assert "Traceback (most recent call last)" in text
        assert "LookupError: off by one" in text
        assert r"['git-theta', 'ls-files', 'caf\udce9']" in text

    def test_log_is_kept(self, buggy: Repo) -> None:
        assert (call("ls-files"), call("ls-files")) == (3, 3)
        assert (buggy.path / ".git/theta/log").read_text().count("Traceback") == 2

    @pytest.mark.parametrize(
        ("value", "shown"),
        [("1", True), ("yes", True), ("0", False), ("", False), ("false", False), ("False", False), ("off", False)],
    )
    @pytest.mark.usefixtures("buggy")
    def test_trace_is_shown_if_asked_for(self, capsys: pytest.CaptureFixture[str], value: str, shown: bool) -> None:
        def command() -> None:
            raise LookupError("off by one")

        assert boundary.run(command, {"GIT_THETA_TRACE": value}) == 3
        assert ("Traceback" in capsys.readouterr().err) == shown

    def test_outside_a_repository_there_is_no_log(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert fail_with(LookupError("x")) == 3
        assert "GIT_THETA_TRACE=1" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_log_that_cannot_be_written_hides_nothing(
        self, repo: Repo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repo.write(".git/theta", "a file in the place of the folder")
        monkeypatch.chdir(repo.path)
        assert fail_with(LookupError("off by one")) == 3
        assert "LookupError: off by one" in capsys.readouterr().err

    def test_message_with_bytes_that_are_not_utf8_can_be_logged(
        self, repo: Repo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(repo.path)
        assert fail_with(ValueError("caf\udce9")) == 3
        assert "ValueError: caf\\udce9" in capsys.readouterr().err
        assert b"ValueError" in repo.read(".git/theta/log")

    def test_process_exits_with_3_and_shows_no_trace(self, repo: Repo) -> None:
        code = (
            "import sys, git_theta.cli.ls_files as verb; from git_theta.cli.main import main\n"
            "verb.checkpoints = None; sys.argv[1:] = ['ls-files']; main()"
        )
        done = repo.run(sys.executable, "-c", code, cwd=repo.path, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("git-theta: a bug in git-theta: TypeError: ")
        assert done.stderr.count("\n") == 1


class TestOtherEnds:
    @pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1), (7, 7), ("text", 0)])
    def test_what_a_command_returns_is_its_exit_code_if_it_is_a_number(self, result: object, code: int) -> None:
        assert boundary.run(lambda: result, {}) == code

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
    def test_interrupted(self, capsys: pytest.CaptureFixture[str], error: BaseException) -> None:
        assert fail_with(error) == 130
        assert capsys.readouterr().err == "git-theta: interrupted\n"

    def test_exit_of_click_keeps_its_code(self) -> None:
        assert fail_with(click.exceptions.Exit(5)) == 5

    def test_interrupted_while_click_is_imported(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "click", ModuleType("click"))
            assert fail_with(KeyboardInterrupt()) == 130
        assert capsys.readouterr().err == "git-theta: interrupted\n"

    @pytest.mark.parametrize("times", [1, 2])
    def test_process_that_is_interrupted_says_so_once_and_exits_with_130(self, repo: Repo, times: int) -> None:
        """Below git, an interruption comes twice: from the terminal, and from git, which passes it on."""
        code = (
            "import contextlib, os, signal, sys, time, git_theta.cli.ls_files as verb\n"
            "from git_theta.cli.main import main\n"
            "class Cleaning(contextlib.ExitStack):\n"
            "    def __exit__(self, *_): os.write(2, b'0'); time.sleep(0.1); os.write(2, b'1')\n"
            "def wait(*_):\n"
            "    with Cleaning(): os.write(1, b'.'); time.sleep(60)\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "verb.checkpoints = wait; sys.argv[1:] = ['ls-files']; main()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=repo.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1) == b"."
            process.send_signal(signal.SIGINT)
            assert process.stderr.read(1) == b"0"
            if times == 2:
                process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            assert process.wait(timeout=TIMEOUT) == 130
        assert said.split(b"\n") == [b"1", b"git-theta: interrupted", b""]

    def test_process_that_has_not_begun_ends_without_a_word_if_it_is_interrupted(self, repo: Repo) -> None:
        code = (
            "import signal, sys\n"
            "from git_theta.cli.main import main\n"
            "class Interrupting:\n"
            "    def find_spec(self, name, *_):\n"
            "        if name == WHERE: signal.raise_signal(signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupting())\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "sys.argv[1:] = ['ls-files']; main()"
        )
        for name in ("git_theta.cli.boundary", "click", "git_theta.cli.verbs", "click.types"):
            there = f"WHERE = {name!r}\n{code}"
            done = repo.run(sys.executable, "-c", there, cwd=repo.path, check=False)
            assert (done.returncode, done.stderr) == (-signal.SIGINT, "")

    @pytest.mark.parametrize("arguments", [["filter-process"], ["filter-process", "--skip"]])
    def test_filter_that_is_interrupted_says_nothing_as_git_does(self, repo: Repo, arguments: list[str]) -> None:
        with subprocess.Popen(
            ["git-theta", *arguments],
            cwd=repo.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"0016git-filter-client\n000eversion=2\n0000")
            process.stdin.flush()
            assert process.stdout.read(4) == b"0016"
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, said) == (-signal.SIGINT, b"")

    def test_filter_that_is_interrupted_leaves_nothing_unfinished(self, repo: Repo) -> None:
        code = (
            "import signal, sys\n"
            "from git_theta.cli.main import main\n"
            "from git_theta.store.objects import ObjectWriter\n"
            "written = ObjectWriter.write\n"
            "def write(self, data):\n"
            "    written(self, data)\n"
            "    signal.raise_signal(signal.SIGINT)\n"
            "ObjectWriter.write = write\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "sys.argv[1:] = ['filter-process']; main()"
        )
        (repo.path / "filter.py").write_text(code)
        repo.verb("track", "model.bin")
        (repo.path / "model.bin").write_bytes(bytes(range(256)) * 1000)
        repo.git("config", "filter.theta.process", f"{shlex.quote(sys.executable)} filter.py")
        assert repo.run("git", "add", "model.bin", check=False, cwd=repo.path).returncode != 0
        assert list((repo.path / ".git/theta/tmp").iterdir()) == []

    def test_reader_that_goes_away_is_no_bug(self, tracked: Repo) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with subprocess.Popen(
            ["git-theta", "ls-files"], cwd=tracked.path, stdout=writing, stderr=subprocess.PIPE
        ) as process:
            os.close(writing)
            _, said = process.communicate(timeout=TIMEOUT)
        assert said == b""
        assert process.returncode == 141
        assert not (tracked.path / ".git/theta/log").exists()
