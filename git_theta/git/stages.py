"""What the index says of paths in conflict, and how such paths are settled in index and worktree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from git_theta.errors import GitError
from git_theta.git import command
from git_theta.git.repository import FileEntry, Repository

ANCESTOR: Final = 1
OURS: Final = 2
THEIRS: Final = 3

Stages = Mapping[int, FileEntry]
"""What is at a path on each side; a side that has nothing is left out."""


class Index(Struct, frozen=True):
    """The index of a worktree. Paths are from its top.

    Attributes:
        repository: whose.
    """

    repository: Repository

    def unmerged(self, paths: Iterable[str]) -> dict[str, Stages]:
        """The paths in conflict among those that are asked for: files, or folders with all that is in them."""
        listed = self._git("ls-files", "--unmerged", "-z", "--", *paths)
        found: dict[str, dict[int, FileEntry]] = {}
        for field in command.fields(listed):
            info, _, name = field.partition("\t")
            mode, oid, stage = info.split(" ")
            found.setdefault(name, {})[int(stage)] = FileEntry(mode, oid)
        return dict(found)

    def cleaned(self, path: str) -> str | None:
        """The name of the blob that the worktree file would be in the index; None if there is no file.

        Raises:
            GitError: it cannot be read.
        """
        if not os.path.lexists(self.repository.worktree / path):
            return None
        return command.lines(self._git("hash-object", f"--path={path}", "--", path))[0]

    def settle(self, settled: Mapping[str, FileEntry | None]) -> None:
        """Put what paths in conflict shall be into index and worktree; nothing at a path for None.

        Raises:
            GitError: a file cannot be written. Then all paths are in conflict as before.
        """
        before = self.unmerged(settled)
        self._write({path: {} if entry is None else {0: entry} for path, entry in settled.items()})
        try:
            present = [path for path, entry in settled.items() if entry is not None]
            self._git("checkout-index", "--force", "-u", "-z", "--stdin", stdin=_terminated(present))
            for path in settled.keys() - set(present):
                (self.repository.worktree / path).unlink(missing_ok=True)
        except (GitError, OSError) as error:
            self._write(before)
            raise GitError(f"the worktree could not be written: {error}") from error

    def _write(self, entries: Mapping[str, Stages]) -> None:
        """Replace what the index has of paths."""
        lines = []
        for path, stages in entries.items():
            name = os.fsencode(path) + b"\0"
            lines.append(f"0 {self._nothing}\t".encode() + name)
            lines += [f"{entry.mode} {entry.oid} {stage}\t".encode() + name for stage, entry in sorted(stages.items())]
        self._git("update-index", "-z", "--index-info", stdin=b"".join(lines))

    @property
    def _nothing(self) -> str:
        """The name of no object, as long as names are here."""
        kind = command.lines(self._git("rev-parse", "--show-object-format"))[0]
        return "0" * (64 if kind == "sha256" else 40)

    def _git(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        return command.run(["--literal-pathspecs", *arguments], cwd=self.repository.worktree, stdin=stdin)


def _terminated(paths: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)
