"""Run git: an argument list, never a shell; the exit status is always read."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from git_theta.errors import GitError

_NONE: Final[Mapping[str, str]] = {}
_OURS: Final = "git-theta: "
_WARNING: Final = f"{_OURS}warning: "
_FATAL: Final = "fatal: "
_HINT: Final = "hint: "
_BEGINNINGS: Final = (_OURS, _FATAL, "error: ", "warning: ")
_LITERALLY: Final = "--literal-pathspecs"
_PATTERNS: Final = ("GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS")
_PIPE_BYTES: Final = 1 << 16


def run(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    variables: Mapping[str, str] = _NONE,
) -> bytes:
    """The standard output of `git arguments...`; see `attempt`.

    Raises:
        GitError: git cannot be started, or exited with another status than 0; says what git said.
    """
    status, output, complaint = attempt(arguments, cwd=cwd, stdin=stdin, variables=variables)
    if status:
        verb = next((word for word in arguments if word[:1].isalpha() and "=" not in word), arguments[0])
        raise GitError(f"git {verb} failed: {reason(complaint) or f'exit status {status}'}")
    return output


def attempt(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    variables: Mapping[str, str] = _NONE,
) -> tuple[int, bytes, str]:
    """Exit status, standard output and standard error of `git arguments...`, for when failure is an answer.

    Args:
        arguments: what git is called with.
        cwd: where; by default the current directory.
        stdin: what it reads; nothing by default.
        variables: to add to the environment.

    Raises:
        GitError: git cannot be started.
        KeyboardInterrupt: git was interrupted.
    """
    with _starting(cwd):
        done = subprocess.run(
            _called(arguments, variables),
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
    pass_on_interruption(done.returncode)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def hand_over(arguments: Sequence[str], *, cwd: Path | None = None, variables: Mapping[str, str] = _NONE) -> int:
    """The exit status of `git arguments...`, which has our standard input and output, hence the terminal if we have it.

    Raises:
        GitError: git cannot be started.
    """
    with _starting(cwd):
        child = subprocess.Popen(_called(arguments, variables), cwd=cwd)
    while True:
        # An interruption from the terminal is meant for git, which has been told as well, and ends when it likes.
        with suppress(KeyboardInterrupt):
            return child.wait()


def pass_on_interruption(status: int) -> None:
    """A key that interrupts is for all who have the terminal: git may end of it before we know."""
    if status == -signal.SIGINT:
        raise KeyboardInterrupt


def started(arguments: Sequence[str], cwd: Path, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    """`git arguments...`, running, with pipes for its input and output.

    Raises:
        GitError: git cannot be started.
    """
    with _starting(cwd):
        return subprocess.Popen(
            ["git", *arguments], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
        )


@contextmanager
def _starting(cwd: Path | None) -> Iterator[None]:
    """Say why git cannot be started."""
    try:
        yield
    except OSError as error:
        if cwd is not None and not cwd.is_dir():
            raise GitError(f"there is no directory {cwd} to run git in") from error
        if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
            raise GitError("git is not on the PATH: install it") from error
        raise GitError(f"git cannot be started: {error.strerror}") from error


def _called(arguments: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    settings = [f"{name}={value}" for name, value in variables.items()]
    if _LITERALLY in arguments:
        # Git refuses to take paths both as they are and as patterns, which its user may have asked for.
        settings = [word for name in _PATTERNS for word in ("-u", name)] + settings
    return [*(["env", *settings] if settings else []), "git", *arguments]


def reason(complaint: str) -> str:
    """What git wrote to standard error to say what was wrong, in one line."""
    said = [line.strip() for line in complaint.splitlines() if line.strip() and not line.startswith(_HINT)]
    # Of our filter, git says no more than that it failed.
    ours = [line.removeprefix(_OURS) for line in said if line.startswith(_OURS) and not line.startswith(_WARNING)]
    if ours:
        return ours[-1]
    begun = [number for number, line in enumerate(said) if line.startswith(_BEGINNINGS)] or [0]
    start = next((number for number in begun if said[number:] and said[number].startswith(_FATAL)), begun[-1])
    # A long sentence goes on in the next lines.
    end = next((number for number in begun if number > start), None)
    return " ".join(said[start:end]).removeprefix(_FATAL)


def lines(output: bytes) -> list[str]:
    """The lines of output, decoded as file names are."""
    return os.fsdecode(output).removesuffix("\n").split("\n") if output else []


def fields(output: bytes) -> list[str]:
    """The NUL-terminated fields of output made with -z, decoded as file names are."""
    return os.fsdecode(output).split("\0")[:-1]


@contextmanager
def piped(first: Sequence[str], second: Sequence[str], *, cwd: Path | None = None) -> Iterator[BinaryIO]:
    """The standard output of `git first... | git second...` while it comes. Both are ended if nobody reads on.

    Raises:
        GitError: git cannot be started; or, when all was read, one of the two failed.
    """
    with tempfile.TemporaryFile() as complaints, ExitStack() as stack:
        source = stack.enter_context(_child(first, cwd, subprocess.DEVNULL, complaints))
        assert source.stdout is not None
        sink = stack.enter_context(_child(second, cwd, source.stdout, complaints))
        source.stdout.close()
        assert sink.stdout is not None
        reader = io.BufferedReader(cast("io.RawIOBase", sink.stdout), _PIPE_BYTES)
        yield cast("BinaryIO", reader)
        if reader.read(1):
            return
        for process, arguments in ((sink, second), (source, first)):
            if process.wait():
                pass_on_interruption(process.returncode)
                complaints.seek(0)
                said = reason(complaints.read().decode(errors="replace"))
                raise GitError(f"git {arguments[0]} failed: {said or f'exit status {process.returncode}'}")


@contextmanager
def _child(
    arguments: Sequence[str], cwd: Path | None, stdin: IO[bytes] | int, complaints: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Git, running, with its output in a pipe; it is ended with the context, if it has not ended by itself."""
    with _starting(cwd):
        process = subprocess.Popen(
            ["git", *arguments], cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=complaints, bufsize=0
        )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
