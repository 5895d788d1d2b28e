"""Make and merge trees beside the index and the worktree, which stay as they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from git_theta.errors import GitError
from git_theta.git import command
from git_theta.git.repository import FileEntry, Repository

_NOBODY: Final = ("-c", "user.name=git-theta", "-c", "user.email=git-theta")
# Checkpoints are not git's to merge here. What it meets all the same (a path that is a checkpoint in some commits
# only) is a conflict; in ancestors that it merges with each other, that is as good as any.
_CONFLICT: Final = ("-c", "merge.theta.driver=false")


class Trees(Struct, frozen=True):
    """Makes trees in a repository.

    Attributes:
        repository: where.
        index: an index file of its own.
        variables: for every call of git.
    """

    repository: Repository
    index: Path
    variables: Mapping[str, str]

    @classmethod
    @contextmanager
    def beside(cls, repository: Repository, folder: Path, *, keep: bool) -> Iterator[Trees]:
        """A place to make trees in, for a while.

        Args:
            repository: where the trees are from.
            folder: where temporary files may lie.
            keep: whether what is made is wanted in the repository afterwards.
        """
        with tempfile.TemporaryDirectory(dir=folder) as name:
            index = Path(name) / "index"
            variables = {"GIT_INDEX_FILE": str(index)}
            if not keep:
                objects = os.fsdecode(repository.git("rev-parse", "--path-format=absolute", "--git-path", "objects"))
                (Path(name) / "objects").mkdir()
                variables["GIT_OBJECT_DIRECTORY"] = str(Path(name) / "objects")
                variables["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = objects.removesuffix("\n")
            yield cls(repository, index, variables)

    def with_entries(self, tree: str, entries: Mapping[str, FileEntry | None]) -> str:
        """A tree with other files.

        Args:
            tree: the full name of the tree that is changed, or of a commit.
            entries: what shall be at each path; None for nothing.

        Raises:
            GitError: a file would be where another path has a folder.
        """
        self._git("read-tree", tree)
        wanted = self._paths() - entries.keys() | {path for path, entry in entries.items() if entry is not None}
        # What goes makes room for what comes.
        ordered = sorted(entries.items(), key=lambda item: item[1] is not None)
        gone = FileEntry("0", "0" * len(tree))
        lines = (
            f"{(entry or gone).mode} {(entry or gone).oid}\t".encode() + os.fsencode(path) + b"\0"
            for path, entry in ordered
        )
        self._git("update-index", "-z", "--index-info", stdin=b"".join(lines))
        lost = sorted(wanted - self._paths())
        if lost:  # git drops one of the two without a word
            raise GitError(f"{lost[0]} cannot be beside a file or folder of another path: rename one of them")
        return command.lines(self._git("write-tree"))[0]

    def without(self, commit: str, paths: Iterable[str]) -> str:
        """A commit on top of a commit that lacks some paths."""
        tree = self.with_entries(commit, dict.fromkeys(paths))
        return self._commit(tree, [commit])

    def merge(self, commits: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Merge commits one after the other, as git does without a merge driver of ours.

        Returns:
            The tree, and the paths at which the merge failed; after the first merge that fails, no more are made.

        Raises:
            GitError: git is too old.
        """
        merged = commits[0]
        for commit in commits[1:]:
            tree, conflicts = self._merge(merged, commit)
            if conflicts:
                return tree, conflicts
            merged = self._commit(tree, [merged, commit])
        return command.lines(self._git("rev-parse", f"{merged}^{{tree}}"))[0], ()

    def _merge(self, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
        arguments = ("merge-tree", "--write-tree", "--allow-unrelated-histories", "--no-messages", "--name-only", "-z")
        status, output, complaint = command.attempt(
            [*_NOBODY, *_CONFLICT, *arguments, ours, theirs], cwd=self.repository.cwd, variables=self.variables
        )
        found = command.fields(output)
        if status > 1 or not found:
            raise GitError(f"git merge-tree failed: {command.reason(complaint)} (git 2.38 or newer is needed)")
        return found[0], tuple(found[1:]) if status else ()

    def _commit(self, tree: str, parents: Sequence[str]) -> str:
        named = [word for parent in parents for word in ("-p", parent)]
        return command.lines(self._git("commit-tree", tree, *named, "-m", "merge", before=_NOBODY))[0]

    def _paths(self) -> set[str]:
        return set(command.fields(self._git("ls-files", "-z", "--full-name", "--", ":/")))

    def _git(self, *arguments: str, stdin: bytes | None = None, before: Sequence[str] = ()) -> bytes:
        return command.run([*before, *arguments], cwd=self.repository.cwd, stdin=stdin, variables=self.variables)
