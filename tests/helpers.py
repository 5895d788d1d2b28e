"""Real git in temporary folders, and small checkpoints to put there."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from git_theta.cli import boundary
from git_theta.cli.verbs import cli

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[np.generic]]

TIMEOUT = 60
"""Seconds after which a command is given up: a test that hangs says nothing."""


@dataclass(frozen=True)
class Repo:
    """A repository (or a folder that may become one), and commands run in it."""

    path: Path

    @classmethod
    def init(cls, path: Path, *options: str) -> Repo:
        """A new repository."""
        path.parent.mkdir(parents=True, exist_ok=True)
        cls.run("git", "init", "-q", *options, str(path), cwd=path.parent)
        return cls(path)

    @classmethod
    def clone(cls, source: Path | str, path: Path, *options: str) -> Repo:
        """A clone."""
        cls.run("git", "clone", "-q", *options, str(source), str(path), cwd=path.parent)
        return cls(path)

    @staticmethod
    def run(
        *command: str,
        cwd: Path,
        check: bool = True,
        stdin: str | bytes | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run any command; what it prints comes as text, with bytes that are not UTF-8 as surrogates.

        Args:
            command: the program and its arguments.
            cwd: where.
            check: fail if the exit status is not 0.
            stdin: what it reads; nothing by default.
            env: variables to add to the environment, or (None) to take from it.
        """
        done = _run(command, cwd, check, stdin, env)
        return subprocess.CompletedProcess(done.args, done.returncode, _text(done.stdout), _text(done.stderr))

    def git(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | bytes | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run git; see `run`."""
        return self.run("git", *arguments, cwd=cwd or self.path, check=check, stdin=stdin, env=env)

    def git_bytes(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | bytes | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> bytes:
        """Run git; returns the bytes that it prints."""
        return _run(["git", *arguments], cwd or self.path, check, stdin, env).stdout

    def theta(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | bytes | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run git-theta; see `run`."""
        return self.run("git-theta", *arguments, cwd=cwd or self.path, check=check, stdin=stdin, env=env)

    def theta_bytes(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | bytes | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> bytes:
        """Run git-theta; returns the bytes that it prints."""
        return _run(["git-theta", *arguments], cwd or self.path, check, stdin, env).stdout

    def verb(
        self, *arguments: str, check: bool = True, env: Mapping[str, str | None] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run git-theta like `theta`, but in this process, where Python and NumPy need not start: ten times as fast."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(cwd or self.path),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name, value in (env or {}).items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            code = boundary.run(lambda: cli.main(arguments, prog_name="git-theta", standalone_mode=False), os.environ)
        done = subprocess.CompletedProcess(("git-theta", *arguments), code, out.getvalue(), err.getvalue())
        if check and code:
            raise AssertionError(f"{' '.join(done.args)!r} exited with status {code}: {done.stdout}{done.stderr}")
        return done

    def write(self, path: str, data: bytes | str) -> Path:
        """Write a file of the worktree, folders included."""
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
        return file

    def read(self, path: str) -> bytes:
        """The bytes of a file of the worktree."""
        return (self.path / path).read_bytes()

    def commit(self, message: str) -> str:
        """Commit all that is in the worktree; returns the commit's name."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.rev("HEAD")

    def rev(self, revision: str) -> str:
        """The name of the object that a revision means."""
        return self.git("rev-parse", "--verify", revision).stdout.strip()

    def status(self) -> str:
        """What `git status --porcelain` prints: nothing if all is clean."""
        return self.git("status", "--porcelain").stdout

    def objects(self) -> dict[str, Path]:
        """The objects in the store, by name."""
        common = self.path / self.git("rev-parse", "--git-common-dir").stdout.removesuffix("\n")
        return {path.name: path for path in (common / "theta" / "objects").rglob("*") if path.is_file()}

    def attributes(self, path: str, *names: str) -> dict[str, str]:
        """The attributes of a path, as git sees them."""
        asked = names or ("filter", "diff", "merge", "text")
        found = self.git("check-attr", "-z", *asked, "--", path).stdout.split("\0")
        return dict(zip(found[1::3], found[2::3], strict=True))


def safetensors_bytes(arrays: Mapping[str, npt.NDArray[np.generic]], metadata: dict[str, str] | None = None) -> bytes:
    """A checkpoint, written by the real library."""
    return bytes(safetensors.numpy.save(dict(arrays), metadata=metadata))


def model(seed: int, **changes: npt.NDArray[np.generic] | None) -> Arrays:
    """The groups of a small model: three that get an object each, some that share one, an empty one and a scalar.

    Args:
        seed: other values for another seed.
        changes: groups to add or to replace, or (None) to leave out.
    """
    generator = np.random.default_rng(seed)
    arrays: Arrays = {
        "embed_weight": generator.standard_normal((160, 128), dtype=np.float32),
        "attn_weight": generator.standard_normal((200, 200), dtype=np.float32).astype(np.float16),
        "attn_bias": generator.standard_normal(200, dtype=np.float32),
        "norm_bias": generator.standard_normal(128, dtype=np.float32),
        "head_weight": generator.standard_normal((128, 160), dtype=np.float32),
        "head_bias": generator.standard_normal(160, dtype=np.float32).astype(np.float16),
        "empty": np.zeros((0, 4), np.float32),
        "step": np.array(seed, np.int64),
    }
    merged = {**arrays, **changes}
    return {name: array for name, array in merged.items() if array is not None}


def _run(
    command: Sequence[str],
    cwd: Path,
    check: bool,
    stdin: str | bytes | None,
    env: Mapping[str, str | None] | None,
) -> subprocess.CompletedProcess[bytes]:
    data = stdin.encode(errors="surrogateescape") if isinstance(stdin, str) else stdin
    variables = {**os.environ, **(env or {})}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={name: value for name, value in variables.items() if value is not None},
        input=b"" if data is None else data,
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )
    if check and done.returncode:
        said = _text(done.stdout + done.stderr).strip()
        raise AssertionError(f"{' '.join(command)!r} exited with status {done.returncode}: {said}")
    return done


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
