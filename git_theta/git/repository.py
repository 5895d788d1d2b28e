"""Where a repository has its parts, and what its index and commits hold."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from msgspec import Struct

from git_theta.errors import GitError
from git_theta.git import command, places
from git_theta.git.asked import Asked
from git_theta.git.blobs import Blobs

STORE: Final = "theta"
"""Name of our folder in a repository's common directory."""

_METADATA_LINE: Final = '^{"git-theta":'
FILE_MODES: Final = ("100644", "100755")
"""The modes of files that are neither links nor submodules, as git writes them; executable ones have the second."""


class FileEntry(Struct, frozen=True):
    """What an index or a tree says of a path.

    Attributes:
        mode: in octal, such as "100644".
        oid: the name of the blob (or commit).
    """

    mode: str
    oid: str

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file, and no symbolic link or submodule."""
        return self.mode in FILE_MODES


class Repository(Struct, frozen=True, dict=True):
    """A repository, as git finds it from a directory (GIT_DIR, worktrees and submodules included).

    Attributes:
        cwd: the directory that git was asked in; relative paths are meant from there.
        git_dir: of this worktree.
        common_dir: shared by all worktrees.
        index: the file that is the index.
        up: what leads from the directory to the top of the worktree: "../" as often as it takes.
        is_bare: whether there is no worktree here.
        is_inside_git: whether that is so because this is the inside of a ".git" folder.
    """

    cwd: Path
    git_dir: Path
    common_dir: Path
    index: Path
    up: str
    is_bare: bool
    is_inside_git: bool = False

    @classmethod
    def discover(cls, cwd: Path) -> Repository:
        """The repository around a directory.

        If the worktree is elsewhere (GIT_WORK_TREE, core.worktree), its top is the directory that git is asked in:
        git goes there, too.

        Raises:
            GitError: there is none.
        """
        git_dir, common_dir, inside, bare, *parts = places.told(cwd, *places.FOLDERS, *places.PARTS)
        folders = Path(git_dir), Path(common_dir)
        if inside == "true":
            return cls(cwd, *folders, Path(parts[0]), parts[1], is_bare=False)
        status, output, _ = command.attempt(["rev-parse", "--show-toplevel"], cwd=cwd)
        if status == 0:
            top = Path(os.fsdecode(output).removesuffix("\n"))
            index, up = places.told(top, *places.PARTS)
            return cls(top, *folders, Path(index), up, is_bare=False)
        return cls(cwd, *folders, Path(parts[0]), "", is_bare=True, is_inside_git=bare != "true")

    @cached_property
    def worktree(self) -> Path:
        """The top of the worktree.

        Raises:
            GitError: there is none.
        """
        if self.is_bare:
            raise GitError("this operation must be run in a work tree")
        return Path(os.fsdecode(self.git("rev-parse", "--show-toplevel")).removesuffix("\n"))

    def from_here(self, path: str) -> str:
        """A path from the top, as git wants it in the directory that it is run in."""
        return self.up + path

    @property
    def theta_dir(self) -> Path:
        """Where Git-Theta keeps its objects, cache and log."""
        return self.common_dir / STORE

    def git(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run git in this repository; see `command.run`."""
        return command.run(arguments, cwd=self.cwd, stdin=stdin)

    def read_blob(self, oid: str) -> bytes:
        """The content of a blob.

        Raises:
            GitError: it is not there.
        """
        return self._contents.read(oid)

    def blob_size(self, oid: str) -> int:
        """The size of a blob in bytes.

        Raises:
            GitError: it is not there.
        """
        return self._sizes.size(oid)

    def index_blobs(self, path: str | None = None) -> dict[str, list[str]]:
        """The blobs in the index, of every stage, by path from the top; of one path only if it is given."""
        only = self.from_here(path or "") or "."
        arguments = ["--literal-pathspecs", "ls-files", "--stage", "--full-name", "-z", "--", only]
        status, output, _ = command.attempt(arguments, cwd=self.cwd)
        found: dict[str, list[str]] = {}
        for line in command.fields(output) if status == 0 else ():
            info, _, name = line.partition("\t")
            mode, oid, _stage = info.split(" ")
            if mode in FILE_MODES:
                found.setdefault(name, []).append(oid)
        return found

    def index_state(self) -> tuple[int, ...]:
        """Something that changes when git writes the index."""
        try:
            status = self.index.stat()
        except OSError:
            return ()  # There is none yet.
        return status.st_ino, status.st_mtime_ns, status.st_size

    def blobs_at(self, path: str, places: Sequence[str]) -> list[str]:
        """The blobs at a path (from the top) in stages of the index (":0" to ":3") and in commits, each named once.

        Where there is none, as in a commit that is not there yet or outside of the worktree, it is left out.
        """
        if _is_outside(path):
            return []
        if "\n" in path:
            return self._blobs_at(path, places)
        try:
            found = [self._asked.blobs.find(f"{place}:{path}") for place in places]
        except GitError:
            self._running.clear()
            return self._blobs_at(path, places)
        return list(dict.fromkeys(oid for oid in found if oid is not None))

    def _blobs_at(self, path: str, places: Sequence[str]) -> list[str]:
        """The same where `git cat-file` cannot be asked: it takes a line for a question, and ends at some."""
        index = self.index_blobs(path).get(path, []) if any(place.startswith(":") for place in places) else []
        trees = (self.tree_blobs(place, path).values() for place in places if not place.startswith(":"))
        return list(dict.fromkeys([*index, *itertools.chain.from_iterable(trees)]))

    def index_entry(self, path: str) -> FileEntry | None:
        """What the index has at a path; None if that is in conflict, or is not wanted in the worktree."""
        arguments = ["--literal-pathspecs", "ls-files", "--stage", "-t", "-z", "--", self.from_here(path)]
        status, output, _ = command.attempt(arguments, cwd=self.cwd)
        found = command.fields(output) if status == 0 else []
        if len(found) != 1:
            return None
        tag, mode, oid, _stage = found[0].partition("\t")[0].split(" ")
        return FileEntry(mode, oid) if tag == "H" and mode in FILE_MODES else None

    def is_indexed(self, path: str) -> bool:
        """Whether the index has something at a path, be it in conflict, or no file."""
        arguments = ["--literal-pathspecs", "ls-files", "-z", "--", self.from_here(path)]
        status, output, _ = command.attempt(arguments, cwd=self.cwd)
        return status != 0 or bool(output)

    def is_ignored(self, path: str) -> bool:
        """Whether git passes over the file at a path (from the top): it does not have it, and .gitignore names it."""
        return command.attempt(["check-ignore", "--quiet", "--", self.from_here(path)], cwd=self.cwd)[0] == 0

    def tree_entries(self, revision: str, path: str | None = None) -> dict[str, FileEntry]:
        """What a commit holds, by path from the top; nothing if there is no such commit yet."""
        arguments = ["--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", revision]
        only = [] if path is None else ["--", path]
        status, output, _ = command.attempt([*arguments, *only], cwd=self.cwd)
        found = {}
        for line in command.fields(output) if status == 0 else ():
            info, _, name = line.partition("\t")
            mode, _kind, oid = info.split(" ")
            found[name] = FileEntry(mode, oid)
        return found

    def tree_blobs(self, revision: str, path: str | None = None) -> dict[str, str]:
        """The blobs of a commit by path from the top; none if there is no such commit yet."""
        return {name: entry.oid for name, entry in self.tree_entries(revision, path).items() if entry.is_file}

    def renames(self, old: str, new: str) -> dict[str, str]:
        """The files that have another path (from the top) in one revision than in another, as git finds them."""
        found = command.fields(self.git("diff-tree", "-r", "-z", "-M", "--diff-filter=R", "--name-status", old, new))
        return dict(zip(found[1::3], found[2::3], strict=True))

    def merge_bases(self, commits: Sequence[str]) -> list[str]:
        """The best common ancestors of all the commits; none if their histories have nothing in common."""
        if len(commits) < 2:
            return list(commits)
        return self._merge_base("--all", *(["--octopus"] if len(commits) > 2 else []), "--", *commits)

    def bases_with_any(self, commit: str, others: Sequence[str]) -> list[str]:
        """The best common ancestors of a commit and of what a merge of the others would be."""
        return self._merge_base("--all", "--", commit, *others)

    def _merge_base(self, *arguments: str) -> list[str]:
        status, output, complaint = command.attempt(["merge-base", *arguments], cwd=self.cwd)
        if status > 1:
            raise GitError(f"git merge-base failed: {command.reason(complaint)}")
        return command.lines(output)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether a commit is the other one, or in its history."""
        return command.attempt(["merge-base", "--is-ancestor", older, newer], cwd=self.cwd)[0] == 0

    def metadata_blobs(self, revision: str) -> dict[str, str]:
        """The blobs of a commit that begin like a metadata file, by path from the top, whatever the attributes say.

        Raises:
            GitError: there is no such revision.
        """
        tree = self.resolve(revision, "tree")
        arguments = [
            "grep",
            "--no-color",
            "--basic-regexp",
            "--text",
            "--name-only",
            "--full-name",
            "-z",
            "-e",
            _METADATA_LINE,
            tree,
        ]
        everywhere = self.from_here("") or "."
        status, output, complaint = command.attempt(["--literal-pathspecs", *arguments, "--", everywhere], cwd=self.cwd)
        if status > 1:
            raise GitError(f"git grep failed: {command.reason(complaint)}")
        names = {line.partition(":")[2] for line in command.fields(output)}
        return {path: oid for path, oid in self.tree_blobs(tree).items() if path in names}

    def tracked(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths (from the top) that have the attribute filter=theta, in their order."""
        asked = list(paths)
        found = command.fields(self.git(*self._asking("filter"), stdin=self._terminated(asked)))
        return [path for path, value in zip(asked, found[2::3], strict=True) if value == "theta"]

    def attribute(self, path: str, name: str) -> str | None:
        """The text that is the value of an attribute of a path (from the top).

        Returns:
            None if it is merely set, unset or not mentioned. A file outside of the worktree has no attributes
            (`git diff --no-index` has such files cleaned).

        Raises:
            GitError: git takes the name for no attribute.
        """
        if _is_outside(path):
            return None
        value = self._asked.attributes(self._asking(name)).of(self.from_here(path))
        return None if value in ("set", "unset", "unspecified", "") else value

    def _asking(self, name: str) -> tuple[str, ...]:
        """The git that says what an attribute is for paths: a path, the name and a value for each."""
        if self.is_inside_git:
            # Git wants a worktree, and has none here. What it shows there itself goes by the attributes in the index.
            return "--work-tree=.", "check-attr", "--cached", "--stdin", "-z", name
        return "check-attr", "--stdin", "-z", name

    def attribute_files(self) -> list[Path]:
        """Every file of attributes that this worktree has, if any, the strongest (info/attributes) last."""
        files = [] if self.is_bare else self._worktree_attributes()
        return [file for file in [*files, self.common_dir / "info" / "attributes"] if file.is_file()]

    def _worktree_attributes(self) -> list[Path]:
        everywhere = self.from_here("") or "."
        listed = self.git("--literal-pathspecs", "ls-files", "-z", "-c", "-o", "--full-name", "--", everywhere)
        names = {name for name in command.fields(listed) if Path(name).name == ".gitattributes"}
        return [self.worktree / name for name in sorted(names)]

    def branch(self) -> str | None:
        """The current branch, without "refs/heads/"; None if HEAD is detached."""
        status, output, _ = command.attempt(["symbolic-ref", "--quiet", "--short", "HEAD"], cwd=self.cwd)
        return command.lines(output)[0] if status == 0 else None

    def staged(self) -> list[str]:
        """The paths at which the index differs from HEAD."""
        return command.fields(self.git("diff-index", "--cached", "--name-only", "-z", "HEAD", "--"))

    def refresh_index(self, paths: Iterable[str]) -> None:
        """Let the index know the worktree files at these paths (from the top) as they are now."""
        self.git("update-index", "-q", "-z", "--stdin", stdin=self._terminated(paths))

    def stage(self, path: str, content: bytes) -> None:
        """Put content into the index at a path (from the top), past all filters. The worktree file stays as it is.

        Raises:
            GitError: the index cannot be written.
        """
        oid = self.write_blob(content)
        mode = FILE_MODES[os.access(self.worktree / path, os.X_OK)]
        entry = f"{mode} {oid}\t".encode() + os.fsencode(path) + b"\0"
        self.git("update-index", "--add", "-z", "--index-info", stdin=entry)

    def write_blob(self, content: bytes) -> str:
        """Keep content as a blob, past all filters; returns its name."""
        return command.lines(self.git("hash-object", "-w", "-t", "blob", "--stdin", stdin=content))[0]

    def blob_name(self, content: bytes) -> str:
        """The name that content would have as a blob."""
        return command.lines(self.git("hash-object", "-t", "blob", "--stdin", stdin=content))[0]

    def settings(self) -> dict[str, str]:
        """The configuration below "theta."; see `settings`."""
        return settings(self.cwd)

    def alias(self, name: str) -> str | None:
        """What an alias of git stands for; None if there is none of this name."""
        status, output, _ = command.attempt(["config", "--get", f"alias.{name}"], cwd=self.cwd)
        return command.lines(output)[0] if status == 0 and output else None

    def lfs_url(self, remote: str, *, push: bool) -> str | None:
        """The LFS server configured for a remote, in git's configuration or in .lfsconfig (git-lfs-config(5)).

        One for all remotes comes before that of a remote, wherever it is configured: so git-lfs chooses.

        Args:
            remote: a name or a URL.
            push: whether objects are to go there; else, to come from there.
        """
        pushed, fetched = (("lfs.pushurl", f"remote.{remote}.lfspushurl"), ("lfs.url", f"remote.{remote}.lfsurl"))
        keys = [key for pair in zip(pushed, fetched, strict=True) for key in pair] if push else [*fetched, *pushed]
        worktree = [] if self.is_bare else [("--file", str(self.worktree / ".lfsconfig"))]
        # HEAD has it before the worktree, while git clones.
        places = [(), *worktree, ("--blob", "HEAD:.lfsconfig")]
        for key, place in itertools.product(keys, places):
            status, output, _ = command.attempt(["config", *place, "--get", key], cwd=self.cwd)
            if status == 0 and output.strip():
                return command.lines(output)[0]
        return None

    def has_lfs_agent(self, path: Path) -> bool:
        """Whether git-lfs has a program of the user's for what lies at a path (lfs.standalonetransferagent)."""
        asked = ["config", "--get-urlmatch", "lfs.standalonetransferagent", f"file://{path}"]
        return command.attempt(asked, cwd=self.cwd)[0] == 0

    def new_blobs(self, wanted: Iterable[str], known: Iterable[str], remote: str | None) -> Iterator[str]:
        """The blobs that commits hold and a remote is not known to have.

        Args:
            wanted: commits whose history is looked at.
            known: commits that the remote has; names of none here are passed over.
            remote: the remote whose tracking branches are known to it as well; None for no remote at all.
        """
        # What a partial clone lacks is fetched by this, as it is by git itself where it pushes that.
        listed = self.git("rev-list", "--objects", "--no-object-names", *self._range(wanted, known, remote), "--")
        checked = self.git("cat-file", "--batch-check=%(objectname) %(objecttype)", "--buffer", stdin=listed)
        for line in command.lines(checked):
            oid, _, kind = line.partition(" ")
            if kind == "blob":
                yield oid

    def boundary(self, wanted: Iterable[str], known: Iterable[str], remote: str | None) -> list[str]:
        """The commits that a remote has and that new ones are made on; see `new_blobs`."""
        listed = command.lines(self.git("rev-list", "--boundary", *self._range(wanted, known, remote), "--"))
        return [line.removeprefix("-") for line in listed if line.startswith("-")]

    def _range(self, wanted: Iterable[str], known: Iterable[str], remote: str | None) -> list[str]:
        """The arguments of rev-list: what is wanted, without what is known or behind tracking branches."""
        tracking = [] if remote is None else ["--not", f"--remotes={remote}"]
        return [*wanted, *(f"^{commit}" for commit in known if self.has_commit(commit)), *tracking]

    def resolve(self, revision: str, kind: str) -> str:
        """The name of the object of a kind ("commit", "tree") that a revision means.

        Raises:
            GitError: there is no such revision.
        """
        asked = f"{revision}^{{{kind}}}"
        status, output, _ = command.attempt(
            ["rev-parse", "--verify", "--quiet", "--end-of-options", asked], cwd=self.cwd
        )
        if status:
            raise GitError(f"there is no revision {revision!r} here")
        return command.lines(output)[0]

    def has_commit(self, revision: str) -> bool:
        """Whether the revision names a commit that is here."""
        status, _, _ = command.attempt(["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], cwd=self.cwd)
        return status == 0

    def _terminated(self, paths: Iterable[str]) -> bytes:
        return b"".join(os.fsencode(self.from_here(path)) + b"\0" for path in paths)

    @property
    def _asked(self) -> Asked:
        """Those that know the index and the attributes as they are: others if git has written the index since."""
        state = self.index_state()
        if not self._running or self._running[0].state != state:
            self._running[:] = [Asked(self.cwd, state)]
        return self._running[0]

    @cached_property
    def _running(self) -> list[Asked]:
        return []

    @cached_property
    def _contents(self) -> Blobs:
        return Blobs(self.cwd, "--batch")

    @cached_property
    def _sizes(self) -> Blobs:
        return Blobs(self.cwd, "--batch-check")


def _is_outside(path: str) -> bool:
    """Whether a path leads out of the worktree. From a subdirectory, git gives it as "sub/../../file"."""
    return Path(path).is_absolute() or Path(os.path.normpath(path)).parts[:1] == (os.pardir,)


def settings(cwd: Path) -> dict[str, str]:
    """The configuration below "theta." in a directory, which need not be in a repository.

    Returns:
        Values by key, without that prefix and in lower case; the last one wins.
    """
    status, output, _ = command.attempt(["config", "--null", "--get-regexp", r"^theta\."], cwd=cwd)
    pairs = (line.partition("\n") for line in command.fields(output)) if status == 0 else ()
    return {key.removeprefix("theta.").lower(): value if sep else "true" for key, sep, value in pairs}
