"""The commits that changed files, newest first, with the blobs before and after: nothing of a file is read.

Git itself follows one file across renames only along a single line of commits. Here each commit is asked which of its
parents has the file under which name, and the search goes on from that parent under that name, so branches on which a
file has another name are found as well.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct
from msgspec.structs import replace

from git_theta.errors import GitError
from git_theta.git import command
from git_theta.git.repository import FILE_MODES, Repository

_FORMAT: Final = "--format=%H%n%P%n%ct%n%aI%n%aN%n%aE%n%s"
_DIFF: Final = (
    *("diff-tree", "--stdin", "-r", "-c", "--combined-all-paths", "--raw", "-z", "-M", "--root", "--no-abbrev"),
    *("--no-relative", "--encoding=UTF-8", _FORMAT),
)
_BRANCHES_AND_TAGS: Final = ("refs/heads", "refs/tags", "refs/remotes")
_PIECE: Final = 1 << 16


class Side(Struct, frozen=True):
    """A file in one version.

    Attributes:
        path: from the top.
        oid: of the blob; None if there is no regular file.
    """

    path: str
    oid: str | None


class FileChange(Struct, frozen=True):
    """A file that a commit changed.

    Attributes:
        new: what the commit has.
        olds: what each of its parents has, in their order; of a first commit, one side with no blob.
    """

    new: Side
    olds: tuple[Side, ...]

    @property
    def is_of_mode_only(self) -> bool:
        """Whether the file has the same name and content as in all parents: it became executable, for example."""
        return self.new.oid is not None and all(old == self.new for old in self.olds)


class Commit(Struct, frozen=True):
    """A commit, and the files that differ from those of all its parents.

    Attributes:
        oid: its name.
        parents: their names.
        time: when it was committed, in seconds since 1970.
        date: when it was written, as ISO 8601 text.
        author: name of who wrote it.
        email: address of who wrote it.
        subject: the first line of its message.
        files: what it changed.
    """

    oid: str
    parents: tuple[str, ...]
    time: int
    date: str
    author: str
    email: str
    subject: str
    files: tuple[FileChange, ...]


class Revisions(Struct, frozen=True):
    """Which commits are looked at: those that the tips reach, but not those that the excluded ones reach."""

    tips: tuple[str, ...]
    excluded: tuple[str, ...] = ()


def revisions(repository: Repository, words: Sequence[str], *, everything: bool = False) -> Revisions:
    """What revisions and ranges (gitrevisions(7)) mean; HEAD if there are none.

    Args:
        repository: where they are.
        words: the revisions and ranges.
        everything: also all branches and tags, those of remotes included.

    Raises:
        GitError: one of them means nothing here.
    """
    found: list[str] = []
    if everything:
        found += command.lines(repository.git("for-each-ref", "--format=%(objectname)", *_BRANCHES_AND_TAGS))
    for word in words if words or everything else ("HEAD",):
        status, output, _ = command.attempt(["rev-parse", "--revs-only", "--end-of-options", word], cwd=repository.cwd)
        names = [name for name in command.lines(output) if name and name != "--end-of-options"]
        if not words and not names:
            raise GitError(f"your current branch '{repository.branch()}' does not have any commits yet")
        if status or not names or word.startswith("-"):
            raise GitError(f"there is no revision {word!r} here")
        found += names
    tips = tuple(name for name in found if not name.startswith("^"))
    return Revisions(tips, tuple(name[1:] for name in found if name.startswith("^")))


def commits(repository: Repository, wanted: Revisions, pathspecs: Sequence[str]) -> Iterator[Commit]:
    """The commits that changed files, newest first. Of a merge, the files that it has from none of its parents.

    Args:
        repository: where they are.
        wanted: which commits are looked at.
        pathspecs: which files, as the user says it in the current directory; all if there are none. A path stands for
            the file (or for the files in the folder) under all the names that it had; a pattern only for what it fits.

    Raises:
        GitError: git fails.
    """
    if not wanted.tips:
        return
    with ExitStack() as stack:
        search = _Search(repository, wanted.excluded, stack)
        paths = tuple(path for path in (_path(repository, spec) for spec in pathspecs) if path is not None)
        patterns = tuple(spec for spec in pathspecs if _path(repository, spec) is None)
        if paths:
            search.begin(wanted.tips, tuple(map(_literally, paths)), paths)
        if patterns or not pathspecs:
            search.begin(wanted.tips, patterns, None)
        yield from search.commits()


class _Line(Struct, frozen=True):
    """Commits that changed certain files, newest first.

    Attributes:
        rest: those that are still to come.
        paths: the files and folders that are followed; None if none is.
    """

    rest: Iterator[Commit]
    paths: tuple[str, ...] | None

    def has(self, path: str) -> bool:
        """Whether a path is one of its files."""
        return self.paths is None or any(wanted in ("", path) or path.startswith(f"{wanted}/") for wanted in self.paths)

    def changes(self, commit: Commit) -> list[FileChange]:
        """What a commit changes of its files; also where one got another name."""
        return [change for change in commit.files if any(self.has(side.path) for side in (change.new, *change.olds))]


class _Waiting(Struct, frozen=True, order=True):
    """The next commit of a line. The newest is the least, and of equally old ones the one that was found first.

    No number is there twice, so that nothing after it is ever compared.
    """

    age: int
    number: int
    commit: Commit
    line: _Line


class _Search:
    """Several lines of commits, taken together by age."""

    def __init__(self, repository: Repository, excluded: tuple[str, ...], stack: ExitStack) -> None:
        self._repository = repository
        self._excluded = excluded
        self._stack = stack
        self._queue: list[_Waiting] = []
        self._count = 0
        self._begun: set[tuple[str, str]] = set()

    def begin(self, tips: tuple[str, ...], specs: tuple[str, ...], paths: tuple[str, ...] | None) -> None:
        """Begin a line from these commits: of the files that are followed, or else of those that the pathspecs fit."""
        if paths is None:
            listed = _listed(self._repository, Revisions(tips, self._excluded), specs, specs)
        else:
            listed = _listed(self._repository, Revisions(tips, self._excluded), specs, ())
        self._push(_Line(self._stack.enter_context(closing(listed)), paths))

    def commits(self) -> Iterator[Commit]:
        """All commits; what several lines say of one commit comes together, and once."""
        done: set[tuple[str, str]] = set()
        while self._queue:
            first = self._pop()
            files = self._take(first)
            while self._queue and self._queue[0].commit.oid == first.commit.oid:
                files += self._take(heapq.heappop(self._queue))
            new = {change.new.path: change for change in files if (first.commit.oid, change.new.path) not in done}
            done |= {(first.commit.oid, path) for path in new}
            if new:
                yield replace(first.commit, files=tuple(new.values()))

    def _pop(self) -> _Waiting:
        """The newest; of commits of one second, as a rebase makes them, none before those that are made on it."""
        first = heapq.heappop(self._queue)
        others = [
            waiting for waiting in self._queue if waiting.age == first.age and waiting.commit.oid != first.commit.oid
        ]
        for other in sorted(others):
            if self._repository.is_ancestor(first.commit.oid, other.commit.oid):
                self._queue.remove(other)
                heapq.heapify(self._queue)
                heapq.heappush(self._queue, first)
                first = other
        return first

    def _take(self, waiting: _Waiting) -> list[FileChange]:
        """What a line says of its commit; then go on with it, and where its files have other names in a parent."""
        line, commit = waiting.line, waiting.commit
        files = line.changes(commit)
        for number, parent in enumerate(commit.parents):
            others = (change.olds[number].path for change in files if not line.has(change.olds[number].path))
            names = tuple(path for path in others if (parent, path) not in self._begun)
            self._begun |= {(parent, name) for name in names}
            if names:
                self.begin((parent,), tuple(map(_literally, names)), names)
        self._push(line)
        return files

    def _push(self, line: _Line) -> None:
        commit = next(line.rest, None)
        if commit is not None:
            self._count += 1
            heapq.heappush(self._queue, _Waiting(-commit.time, self._count, commit, line))


def _path(repository: Repository, spec: str) -> str | None:
    """The path from the top that a pathspec names ("" for all); None if it is a pattern, or outside."""
    if spec.startswith(":") or set(spec) & set("*?[\\"):
        return None
    prefix = os.fsdecode(repository.git("rev-parse", "--show-prefix")).removesuffix("\n")
    if Path(spec).is_absolute():
        prefix, spec = "", os.path.relpath(spec, repository.worktree)
    path = os.path.normpath(prefix + spec)
    return None if path.startswith("..") else "" if path == "." else path


def _literally(path: str) -> str:
    """The pathspec for a path from the top."""
    return f":(top,literal){path}"


def _listed(repository: Repository, wanted: Revisions, specs: Sequence[str], shown: Sequence[str]) -> Generator[Commit]:
    """The commits that changed what the pathspecs fit, and their files (those that other pathspecs fit, if any)."""
    names = [*wanted.tips, *(f"^{name}" for name in wanted.excluded)]
    with command.piped(["rev-list", *names, "--", *specs], [*_DIFF, "--", *shown], cwd=repository.cwd) as stream:
        yield from _read(_tokens(stream))


def _tokens(stream: BinaryIO) -> Iterator[str]:
    """What stands between NULs, decoded as file names are."""
    rest = b""
    while piece := stream.read1(_PIECE):  # type: ignore[attr-defined]
        *whole, rest = (rest + piece).split(b"\0")
        yield from map(os.fsdecode, whole)
    if rest:
        yield os.fsdecode(rest)


def _read(tokens: Iterator[str]) -> Iterator[Commit]:
    """The commits that `git diff-tree` tells of: a few lines about each, then its files."""
    commit: Commit | None = None
    for token in tokens:
        if not token.strip("\n"):
            continue
        if token.lstrip("\n").startswith(":"):
            if commit is None:
                raise GitError("git diff-tree tells of a file before it tells of a commit")
            commit = replace(commit, files=(*commit.files, _file(token.lstrip("\n"), tokens)))
            continue
        if commit is not None:
            yield commit
        commit = _commit(token)
    if commit is not None:
        yield commit


def _commit(text: str) -> Commit:
    oid, parents, time, date, author, email, subject = text.lstrip("\n").split("\n", 6)
    return Commit(oid, tuple(parents.split()), int(time), date, author, email, subject, ())


def _file(record: str, tokens: Iterator[str]) -> FileChange:
    """A file from a line of the raw format (git-diff-tree(1)) and the paths that follow it.

    The line has modes and names of blobs of each parent and of the commit itself, then a letter for each parent.
    """
    count = len(record) - len(record.lstrip(":"))
    words = record.lstrip(":").split(" ")
    modes, oids, status = words[: count + 1], words[count + 1 : 2 * count + 2], words[-1]
    blobs = [oid if mode in FILE_MODES else None for mode, oid in zip(modes, oids, strict=True)]
    if count > 1:
        paths = [next(tokens) for _ in range(count + 1)]
    else:
        paths = [next(tokens)]
        paths.append(next(tokens) if status[0] in "RC" else paths[0])
    sides = [Side(path, blob) for path, blob in zip(paths, blobs, strict=True)]
    return FileChange(sides[-1], tuple(sides[:-1]))
