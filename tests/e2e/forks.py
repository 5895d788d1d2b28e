"""A repository with branches that are all one step from its first commit, and what must be true after every merge."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dulwich.index
import numpy as np
import numpy.typing as npt
import safetensors.numpy

from git_theta import tensors
from git_theta.cli.workspace import Workspace
from git_theta.metadata_file import is_metadata, parse
from git_theta.store.objects import ObjectStore
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers import Arrays

FILE: Final = "model.safetensors"
NET: Final = "net.pt"

_SHAPES: Final[Mapping[str, tuple[tuple[int, ...], type[np.generic]]]] = {
    "attn.weight": ((120, 100), np.float16),
    "gate.bias": ((20,), np.float32),
    "head.bias": ((90,), np.float32),
    "key.bias": ((100,), np.float32),
    "mlp.weight": ((200, 100), np.float32),
    "norm.bias": ((30,), np.float32),
    "step": ((), np.int64),
}
_LETTERS: Final = {name[0]: name for name in _SHAPES}
_FILTER: Final = ("filter.theta.process=git-theta filter-process", "filter.theta.required=true")


Variant = int | npt.NDArray[np.generic]
"""The number of a group's values, 0 are those of the first commit; or the values themselves."""


def groups(**variants: Variant) -> Arrays:
    """The groups of a model: as in the first commit, but those named by their first letter have other values."""
    return {name: values(name, variants.get(letter, 0)) for letter, name in _LETTERS.items()}


def values(name: str, variant: Variant) -> npt.NDArray[np.generic]:
    """The values of one group, by its name or its first letter."""
    return _numbered(_LETTERS[name[0]], variant) if isinstance(variant, int) else variant


def saved(path: str, **variants: Variant) -> bytes:
    """A checkpoint with these groups, written by the library that the path's suffix stands for."""
    arrays = groups(**variants)
    if not path.endswith(".pt"):
        return safetensors_bytes(arrays)
    import torch

    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, buffer)
    return buffer.getvalue()


def loaded(path: str, data: bytes) -> Arrays:
    """The groups of a checkpoint, read by the library."""
    if not path.endswith(".pt"):
        return dict(safetensors.numpy.load(data))
    import torch

    return {name: tensor.numpy() for name, tensor in torch.load(io.BytesIO(data), weights_only=True).items()}


def different(path: str, data: bytes, wanted: Arrays) -> list[str]:
    """The groups of a checkpoint that are not as they should be, by name."""
    found = loaded(path, data)
    return [name for name in {**found, **wanted} if not _same(found.get(name), wanted.get(name))]


def _same(one: npt.NDArray[np.generic] | None, two: npt.NDArray[np.generic] | None) -> bool:
    if one is None or two is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


@cache
def _numbered(name: str, number: int) -> npt.NDArray[np.generic]:
    shape, dtype = _SHAPES[name]
    generator = np.random.default_rng([ord(name[0]), number])
    return np.asarray(generator.standard_normal(shape) * 10).astype(dtype)


@dataclass(frozen=True)
class Fork:
    """A repository, and what was seen to be right in it.

    Attributes:
        repo: where the commands run.
        seen: commits whose checkpoint was right: what a clone must give for each path.
    """

    repo: Repo
    seen: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @classmethod
    def make(cls, path: Path) -> Fork:
        """A new one, beside its remote; the first commit is tagged "base"."""
        Repo.init(path.parent / "remote.git", "--bare")
        fork = cls(Repo.init(path))
        fork.repo.git("remote", "add", "origin", "../remote.git")
        # A copy has other inodes and times of change.
        fork.repo.git("config", "core.trustctime", "false")
        fork.repo.git("config", "core.checkStat", "minimal")
        fork.repo.theta("track", "*.safetensors", "*.pt")
        fork.put()
        fork.repo.commit("base")
        fork.repo.git("tag", "base")
        return fork

    def copy(self, folder: Path) -> Fork:
        """The same, with its remote, in another folder."""
        shutil.copytree(self.repo.path.parent, folder, symlinks=True)
        return Fork(Repo(folder / self.repo.path.name))

    def git(self, *arguments: str, check: bool = True, env: Mapping[str, str | None] | None = None) -> Said:
        """Run git, which must not fail in a way that is ours."""
        done = self.repo.git(*arguments, check=check, env=env)
        said = Said(done)
        assert "add_cacheinfo" not in said.text
        assert "Traceback" not in said.text
        assert "external filter" not in said.text
        return said

    def put(self, *paths: str, **variants: Variant) -> None:
        """Write checkpoints into the worktree."""
        for path in paths or (FILE,):
            self.repo.write(path, saved(path, **variants))

    def commit(self, message: str, *paths: str, **variants: Variant) -> str:
        """Commit checkpoints with these groups."""
        self.put(*paths, **variants)
        return self.repo.commit(message)

    def at(self, revision: str) -> None:
        """HEAD is detached, and index and worktree are as in a commit; what was there is gone."""
        self.repo.git("update-ref", "--no-deref", "HEAD", self.repo.rev(f"{revision}^{{commit}}"))
        self._set_worktree()

    def on(self, branch: str) -> None:
        """The same, on a branch."""
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        self._set_worktree()

    def _set_worktree(self) -> None:
        """As `git checkout` would leave it some time ago, so that git trusts the times of files, and asks no filter."""
        past = int(time.time()) - 100
        index = dulwich.index.Index(self.repo.path / ".git/index")
        for path in index:
            (self.repo.path / os.fsdecode(path)).unlink(missing_ok=True)
        index.clear()
        listed = self.repo.git("ls-tree", "-r", "-z", "HEAD").stdout.split("\0")[:-1]
        for line in listed:
            mode, _, oid, path = re.split(r"[\t ]", line, maxsplit=3)
            file = self.repo.write(path, self.smudged(path, self.repo.git_bytes("cat-file", "blob", oid)))
            os.utime(file, (past, past))
            index[os.fsencode(path)] = dulwich.index.index_entry_from_stat(file.stat(), oid.encode(), int(mode, 8))
        index.write()

    def smudged(self, path: str, data: bytes) -> bytes:
        """What the smudge filter makes of a metadata file; anything else as it is."""
        if not is_metadata(data):
            return data
        with contextlib.chdir(self.repo.path):
            return b"".join(map(bytes, Workspace.here().smudger.smudge(parse(data), data, path)))

    def branch(self, name: str, *paths: str, start: str = "base", message: str = "", **variants: Variant) -> None:
        """A branch that ends in a new commit with these groups. Git is told what to commit: nothing is checked out."""
        index = {"GIT_INDEX_FILE": str(self.repo.path / ".git" / "index-of-a-branch")}
        self.repo.git("read-tree", start, env=index)
        for path in paths or (FILE,):
            metadata = self.cleaned(path, saved(path, **variants))
            blob = self.repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=metadata).stdout.strip()
            self.repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
        tree = self.repo.git("write-tree", env=index).stdout.strip()
        commit = self.repo.git("commit-tree", tree, "-p", start, "-m", message or name).stdout.strip()
        self.repo.git("update-ref", f"refs/heads/{name}", commit)

    def cleaned(self, path: str, data: bytes) -> bytes:
        """What the clean filter makes of a checkpoint."""
        with contextlib.chdir(self.repo.path):
            return Workspace.here().cleaner.clean(iter([data]), path)

    def has(self, *paths: str, **variants: Variant) -> None:
        """The worktree has these groups, in the files and in what git stores of them, with all objects."""
        store = ObjectStore(self.theta_directory())
        for path in paths or (FILE,):
            wanted = groups(**variants)
            assert different(path, self.repo.read(path), wanted) == []
            metadata = parse(self.repo.git_bytes("cat-file", "blob", f":{path}"))
            stored = {entry.name: entry.digest for entry in metadata.entries}
            assert stored == {name: tensors.digest(array.tobytes()) for name, array in wanted.items()}
            assert all(store.has(ref) for ref in metadata.objects())

    def settled(self, *paths: str, **variants: Variant) -> None:
        """HEAD has these groups, nothing is left to do, and the worktree's file is what git has."""
        self.has(*paths, **variants)
        assert self.git("diff", "--cached", "--name-status", "HEAD").text == ""
        found = {path: self.repo.read(path) for path in paths or (FILE,)}
        for path, data in found.items():
            stored = self.repo.git_bytes("cat-file", "blob", f":{path}")
            assert self.cleaned(path, data) == stored
            assert self.smudged(path, stored) == data
        assert not self.git("fsck", "--no-dangling", "--no-progress").text
        self.seen[self.repo.rev("HEAD")] = found

    def expects(self, revision: str, *paths: str, **variants: Variant) -> None:
        """A commit has these groups, in files as the library writes them."""
        commit = self.repo.rev(revision)
        self.seen[commit] = {path: saved(path, **variants) for path in paths or (FILE,)}
        for path, data in self.seen[commit].items():
            assert self.smudged(path, self.repo.git_bytes("cat-file", "blob", f"{commit}:{path}")) == data

    def conflict(self, *paths: str, said: Said, **ours: Variant) -> None:
        """The merge stopped: one line of ours for each path, stages in the index, and ours in the worktree."""
        assert said.code == 1
        for path in paths or (FILE,):
            assert self.repo.git("status", "--porcelain", "--", path).stdout.startswith("UU ")
            assert different(path, self.repo.read(path), groups(**ours)) == []
            lines = [line for line in said.text.splitlines() if line.startswith(f"git-theta: {path}:")]
            assert len(lines) == 1

    def take(self, side: str, *paths: str) -> None:
        """Settle a conflict by one side."""
        self.git("checkout", f"--{side}", "--", *(paths or (FILE,)))
        self.git("add", "--", *(paths or (FILE,)))

    def finish(self) -> None:
        """Git sees no change, and none is left to be seen when it looks at the files again."""
        for path in self.seen.get(self.repo.rev("HEAD"), ()):
            os.utime(self.repo.path / path)
        assert self.repo.status() == ""

    def published(self) -> None:
        """Git sees no change, and a fresh clone gives the bytes that were seen, of every commit."""
        self.finish()
        for number, commit in enumerate(self.seen):
            self.git("update-ref", f"refs/heads/seen-{number}", commit)
        self.git("push", "-q", "origin", "refs/heads/seen-*")
        options = [part for setting in _FILTER for part in ("--config", setting)]
        folder = self.repo.path.parent
        clone = Repo.clone(folder / "remote.git", folder / "clone", *options, "--no-checkout")
        clone.git("checkout", "-q", next(iter(self.seen)), "--", ".gitattributes")
        wanted = [(commit, path, data) for commit, files in self.seen.items() for path, data in files.items()]
        asked = "".join(f"{clone.rev(f'{commit}:{path}')} {path}\n" for commit, path, _ in wanted)
        given = clone.git_bytes("cat-file", "--batch", "--filters", stdin=asked)
        for _, path, data in wanted:
            assert given.startswith(data, given.index(b"\n") + 1), path
            given = given[given.index(b"\n") + len(data) + 2 :]

    def theta_directory(self) -> Path:
        """Where the objects are."""
        common = self.repo.git("rev-parse", "--git-common-dir").stdout.removesuffix("\n")
        return self.repo.path / common / "theta"


@dataclass(frozen=True)
class Said:
    """What a git command printed, and its exit status."""

    done: subprocess.CompletedProcess[str]

    @property
    def code(self) -> int:
        """The exit status."""
        return self.done.returncode

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.done.stdout + self.done.stderr


def criss_cross(fork: Fork, one: str, two: str, left: Mapping[str, Variant], right: Mapping[str, Variant]) -> None:
    """Branches "left" and "right" start from merges of the same two branches: two best common ancestors.

    Args:
        fork: where.
        one, two: the branches that were merged, in either order.
        left, right: what the groups became in the merges.
    """
    for name, parents, variants in (("left", (one, two), left), ("right", (two, one), right)):
        fork.branch(name, start=one, **variants)
        tree = fork.repo.rev(f"{name}^{{tree}}")
        merged = fork.git("commit-tree", tree, "-p", parents[0], "-p", parents[1], "-m", name).text.strip()
        fork.git("update-ref", f"refs/heads/{name}", merged)
    assert len(fork.git("merge-base", "--all", "left", "right").text.split()) == 2
