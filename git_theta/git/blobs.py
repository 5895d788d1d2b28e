"""Read blobs: one `git cat-file` for all of them, since to start it takes longer than to answer."""

from __future__ import annotations

import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import IO, Final

from git_theta.errors import GitError
from git_theta.git import command

_SECONDS: Final = 5


class Blobs:
    """The objects of a repository, asked of one process. For one thread at a time."""

    def __init__(self, cwd: Path, options: str) -> None:
        """Start git.

        Args:
            cwd: a directory of the repository.
            options: "--batch" to read contents, "--batch-check" to ask for sizes alone.

        Raises:
            GitError: git is missing.
        """
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with what writes to it
        self._process = command.started(["cat-file", options], cwd, self._complaints)
        weakref.finalize(self, _end, self._process, self._complaints)

    def read(self, oid: str) -> bytes:
        """The content of a blob.

        Raises:
            GitError: it is not there.
        """
        size = self.size(oid)
        content = self._output.read(size + 1)
        if len(content) != size + 1:
            raise self._failure(oid)
        return content[:-1]

    def size(self, oid: str) -> int:
        """The size of a blob in bytes; of one that is to be read, when its content comes next.

        Raises:
            GitError: it is not there.
        """
        try:
            self._input.write(f"{oid}\n".encode())
            self._input.flush()
        except (OSError, ValueError) as error:  # The pipe is broken, or closed since it was.
            raise self._failure(oid) from error
        words = self._output.readline().split()
        if words[1:] == [b"missing"]:
            raise GitError(f"blob {oid} cannot be read: it is missing or damaged")
        if len(words) != 3 or not words[2].isdigit():
            raise self._failure(oid)
        return int(words[2])

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _failure(self, oid: str) -> GitError:
        """Why git gave no answer, and has ended of it."""
        _end(self._process, None)
        command.pass_on_interruption(self._process.returncode)
        self._complaints.seek(0)
        said = command.reason(self._complaints.read().decode(errors="replace"))
        return GitError(f"blob {oid} cannot be read: {said or 'git cat-file has ended'}")


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
