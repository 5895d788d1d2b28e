"""A git that runs beside us and answers one question after the other, since to start it takes longer than to answer."""

from __future__ import annotations

import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from git_theta.errors import GitError
from git_theta.git import command

_SECONDS: Final = 5


class Companion:
    """A running `git arguments...`. For one thread at a time."""

    def __init__(self, arguments: Sequence[str], cwd: Path) -> None:
        """Start git.

        Args:
            arguments: of git.
            cwd: a directory of the repository.

        Raises:
            GitError: git is missing.
        """
        self._name = f"git {arguments[0]}"
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with what writes to it
        self._process = command.started(arguments, cwd, self._complaints)
        weakref.finalize(self, _end, self._process, self._complaints)

    def ask(self, question: bytes) -> None:
        """Send a question.

        Raises:
            GitError: git has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question)
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # The pipe is broken, or closed since it was.
            raise self.failure() from error

    def read(self, size: int) -> bytes:
        """So many bytes of the answer.

        Raises:
            GitError: git has ended.
        """
        content = self._output.read(size)
        if len(content) != size:
            raise self.failure()
        return content

    def line(self) -> bytes:
        """A line of the answer, without its end; empty if git has ended."""
        return self._output.readline().removesuffix(b"\n")

    def field(self) -> bytes:
        """A part of the answer that ends with a zero byte, without that.

        Raises:
            GitError: git has ended.
        """
        found = bytearray()
        while byte := self.read(1).strip(b"\0"):
            found += byte
        return bytes(found)

    def failure(self) -> GitError:
        """Why git gives no answer. It is ended, if it has not ended by itself."""
        _end(self._process, None)
        command.pass_on_interruption(self._process.returncode)
        self._complaints.seek(0)
        said = command.reason(self._complaints.read().decode(errors="replace"))
        return GitError(said or f"{self._name} has ended")

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


def _end(process: subprocess.Popen[bytes], complaints: IO[bytes] | None) -> None:
    """Let git come to its end, which is that of its input."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # What could not be written any more does not matter.
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if complaints is not None:
        complaints.close()
