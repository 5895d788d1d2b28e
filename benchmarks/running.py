"""What the benchmarks share: repositories in which a tool keeps a model, and what a command takes.

NumPy is not imported here: on Linux, a child's peak memory begins with that of the process which started it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import click

FILE: Final = "model.safetensors"
PATTERN: Final = "*.safetensors"
MIB: Final = 1 << 20
_FIGURES: Final = ("seconds", "cpu", "peak")
SCRIPTS: Final = Path(__file__).resolve().parents[1] / "scripts"
_CONFIGURATION: Final = """\
[user]
\tname = Ada
\temail = ada@example.org
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
[advice]
\tdetachedHead = false
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took, with the processes that it waited for.

    Attributes:
        seconds: that passed.
        cpu: seconds of processors, user and system.
        peak: bytes in memory of the largest process.
    """

    seconds: float
    cpu: float
    peak: int


def median(usages: Sequence[Usage]) -> Usage:
    """The medians of what several runs took, of at least one."""
    seconds, cpu, peak = (statistics.median(getattr(usage, name) for usage in usages) for name in _FIGURES)
    return Usage(seconds, cpu, int(peak))


def run(command: Sequence[str | Path], cwd: Path, stdin: int | IO[bytes] = subprocess.DEVNULL) -> Usage:
    """Run a command to its end; what it prints goes nowhere.

    Raises:
        ClickException: it failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdin=stdin, stdout=subprocess.DEVNULL)
    return ended(process, begin)


def ended(process: subprocess.Popen[bytes], begin: float) -> Usage:
    """Wait for a process that was started then.

    Raises:
        ClickException: it failed.
    """
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{process.args!r} exited with status {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Usage(seconds, usage.ru_utime + usage.ru_stime, peak)


def rest(*folders: Path) -> None:
    """Have the disk write what there is to write, and all files of the folders in the page cache."""
    os.sync()
    buffer = bytearray(MIB)
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass


@contextmanager
def isolated(place: Path) -> Iterator[None]:
    """Nothing of the user's own git comes in, and the git-theta of this environment is the one that git calls.

    Args:
        place: a folder for the home that git sees meanwhile.
    """
    home = place.resolve() / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "gitconfig").write_text(_CONFIGURATION)
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("GIT_", "XDG_"))]:
        del os.environ[name]
    os.environ |= {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "HF_HUB_OFFLINE": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    try:
        for tool in ("lfs", "theta"):
            run(["git", tool, "install", "--skip-repo"], home)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Repository:
    """A repository in which one tool ("theta" or "lfs") keeps the model."""

    tool: str
    path: Path

    def begin(self) -> None:
        """Make it, with the model tracked and nothing else in its only commit."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.git("init", "--quiet")
        self.git(self.tool, "track", PATTERN)
        self.git("add", ".gitattributes")
        self.git("commit", "--quiet", "--message", f"Track {PATTERN}")

    @property
    def file(self) -> Path:
        """The model in the worktree."""
        return self.path / FILE

    def git(self, *arguments: str, check: bool = True) -> str:
        """Run git, not timed; returns what it prints."""
        return subprocess.run(["git", *arguments], cwd=self.path, check=check, stdout=subprocess.PIPE, text=True).stdout

    def put(self, source: Path) -> None:
        """Save a model, as training would."""
        temporary = self.path / ".git" / "new-model"
        shutil.copyfile(source, temporary)
        temporary.replace(self.file)

    def commit(self, source: Path, message: str) -> None:
        """Commit a version of the model."""
        self.put(source)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def settle(self) -> None:
        """Have git look at the file when a second has passed, so that it trusts the time stamp from then on.

        Raises:
            ClickException: it sees a change.
        """
        time.sleep(max(0.0, self.file.stat().st_mtime + 1.1 - time.time()))
        self.expect_clean()

    def expect_clean(self) -> None:
        """Make sure that git sees no change.

        Raises:
            ClickException: it sees one.
        """
        if seen := self.git("status", "--porcelain", "--untracked-files=no"):
            raise click.ClickException(f"{self.tool}: git status shows {seen!r} where nothing has changed")


def make_files(folder: Path, *options: str) -> None:
    """Make checkpoints with the script for that."""
    command = [sys.executable, str(SCRIPTS / "make_checkpoints.py"), str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_successor(kind: str, base: Path, target: Path, *, seed: int, block: int = 0) -> None:
    """Make a checkpoint from another one, in a process of its own; nothing is done if it is there."""
    if target.exists():
        return
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import make_checkpoints as m;"
        "m.make_successor(sys.argv[2], *map(pathlib.Path, sys.argv[3:5]), *map(int, sys.argv[5:7]))"
    )
    arguments = [str(SCRIPTS), kind, str(base), str(target), str(seed), str(block)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
