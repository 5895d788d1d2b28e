"""What a change costs: bytes kept, `git add` and `git checkout`, with Git-Theta and git-lfs on the same files.

    python benchmarks/updates.py --work /var/tmp/updates --dtype float32 --json updates.json

The files are GPT-2-small-shaped; git-lfs keeps each of them whole. Steps with both tools alternate, and what a checkout
wrote is compared byte by byte. Exits with status 1 if a target is missed. Needs git, git-lfs, the environment that
Git-Theta is installed in, and a machine that does nothing else.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
import safetensors.numpy
from running import FILE, Repository, isolated, make_files, make_successor, rest, run

_CHAIN: Final = 8
_LORA_SCALE: Final = 2.0

TARGETS: Final[Mapping[str, tuple[float, float]]] = {
    "base": (0.85, 0.69),
    "block": (0.06, 0.05),
    "sparse": (0.003, 0.005),
    "lora": (0.03, 0.03),
    "lora, side-loaded": (0.015, 0.02),
    "finetune": (0.66, 0.31),
    "average": (0.001, 0.001),
    f"chain of {_CHAIN}": (float("inf"), float("inf")),
}
"""The most that is to be kept, of the file: with float32 and with bfloat16."""


@dataclass(frozen=True)
class Row:
    """What one change cost: the part of the file that Git-Theta kept, and seconds by tool."""

    kept: float
    add: Mapping[str, float]
    checkout: Mapping[str, float]


@dataclass(frozen=True)
class Stage(Repository):
    """A repository that can be remembered and put back."""

    def timed(self, *arguments: str) -> float:
        """Run git when everything is on disk and in the page cache; returns seconds."""
        rest(self.path)
        return run(["git", *arguments], self.path).seconds

    def snapshot(self) -> None:
        """Remember the repository as it is. Git and its filters replace files and never write into them."""
        _link(self.path / ".git", self._remembered)

    def restore(self) -> None:
        """The repository as it was remembered; the worktree stays as it is."""
        _link(self._remembered, self.path / ".git")

    @property
    def _remembered(self) -> Path:
        return self.path.with_name(f"{self.path.name}-before")

    def kept(self) -> int:
        """Bytes of all objects."""
        folder = self.path / ".git" / self.tool / "objects"
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@dataclass(frozen=True)
class Bench:
    """Both repositories, the files, and what was measured."""

    stages: Sequence[Stage]
    files: Path
    rows: dict[str, Row]
    repeat: int

    def size(self) -> int:
        """Bytes of the model."""
        return (self.files / "base.safetensors").stat().st_size

    def step(self, title: str, file: Path, add: Callable[[Stage], None], origin: str = "base") -> None:
        """Measure adding a file on top of a commit, and checking it out again from there."""
        for stage in self.stages:
            if origin:
                stage.git("checkout", "-q", "-B", "work", origin)
            add(stage)
        added, kept = self.added("add", "--all")
        for stage in self.stages:
            stage.git("commit", "-qm", title)
            stage.git("tag", "-f", title.replace(" ", "-").replace(",", ""))
        checked = self.checked_out(file, origin) if origin else {}
        self.rows[title] = Row(kept, added, checked)
        click.echo(_line(title, self.rows[title]))

    def added(self, *arguments: str) -> tuple[Mapping[str, float], float]:
        """Median seconds of adding what is in the worktree, by tool, and the part of the file that Git-Theta kept."""
        times: Mapping[str, list[float]] = {stage.tool: [] for stage in self.stages}
        kept = 0.0
        for stage in self.stages:
            stage.snapshot()
        for _ in range(self.repeat):
            for stage in self.stages:
                stage.restore()
                before = stage.kept()
                times[stage.tool].append(stage.timed(*arguments))
                if stage.tool == "theta":
                    kept = (stage.kept() - before) / self.size()
        return {tool: median(seconds) for tool, seconds in times.items()}, kept

    def checked_out(self, file: Path, origin: str, tools: Sequence[str] = ("theta", "lfs")) -> Mapping[str, float]:
        """Median seconds of checking out the branch "work" from a commit, by tool."""
        times: Mapping[str, list[float]] = {tool: [] for tool in tools}
        for _ in range(self.repeat):
            for stage in self.stages:
                if stage.tool in tools:
                    times[stage.tool].append(self._checkout(stage, file, origin))
        return {tool: median(seconds) for tool, seconds in times.items()}

    def _checkout(self, stage: Stage, file: Path, origin: str) -> float:
        stage.git("checkout", "-q", origin)
        stage.settle()
        seconds = stage.timed("checkout", "-q", "work")
        if not filecmp.cmp(file, stage.file, shallow=False):
            raise click.ClickException(f"{stage.tool} checked out other bytes than {file.name}")
        return seconds


def main_steps(bench: Bench) -> None:
    """Every kind of change."""
    base = bench.files / "base.safetensors"
    bench.step("base", base, lambda stage: stage.put(base), origin="")
    for kind in ("block", "sparse", "lora", "finetune"):
        file = bench.files / f"{kind}.safetensors"
        bench.step(kind, file, lambda stage, file=file: stage.put(file))  # type: ignore[misc]
    _side_load(bench)
    _average(bench)
    _chain(bench)


def _link(source: Path, target: Path) -> None:
    """Make a copy of a folder whose files are links to the same files."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-al", str(source), str(target)], check=True)


def _side_load(bench: Bench) -> None:
    """Only Git-Theta can be told; the time of git-lfs is that of adding the merged file."""
    factors = _load(bench.files / "lora_factors.safetensors")
    data = {}
    for name, down in factors.items():
        if ".lora_A." in name:
            group = name.replace(".lora_A.weight", ".weight")
            up = factors[name.replace("lora_A", "lora_B")]
            data[f"{group}/R"] = np.ascontiguousarray(down.astype(np.float32).T * np.float32(_LORA_SCALE))
            data[f"{group}/C"] = np.ascontiguousarray(up.astype(np.float32).T)
    path = bench.files / "side.safetensors"
    safetensors.numpy.save_file(data, path)
    theta = next(stage for stage in bench.stages if stage.tool == "theta")
    theta.git("checkout", "-q", "-B", "work", "base")
    theta.snapshot()
    times = []
    for _ in range(bench.repeat):
        theta.restore()
        theta.git("reset", "-q", "--hard", "base")
        before = theta.kept()
        times.append(theta.timed("theta", "add", FILE, "--update-type", "low-rank", "--update-data", str(path)))
        kept = (theta.kept() - before) / bench.size()
    theta.git("commit", "-qm", "side-loaded")
    merged = bench.files / "side-loaded.safetensors"
    shutil.copyfile(theta.file, merged)
    checkout = bench.checked_out(merged, "base", ("theta",))["theta"]
    other = bench.rows["lora"]
    row = Row(
        kept, {"theta": median(times), "lfs": other.add["lfs"]}, {"theta": checkout, "lfs": other.checkout["lfs"]}
    )
    bench.rows["lora, side-loaded"] = row
    click.echo(_line("lora, side-loaded", row))


def _average(bench: Bench) -> None:
    """The average of two fine-tunes, written by hand during their merge."""
    second = bench.files / "finetune2.safetensors"
    average = bench.files / "average.safetensors"
    for stage in bench.stages:
        stage.git("checkout", "-q", "-B", "second", "base")
        stage.commit(second, "second")

    def merge(stage: Stage) -> None:
        stage.git("merge", "-q", "--no-commit", "second", check=False)
        stage.put(average)

    bench.step("average", average, merge, origin="finetune")


def _chain(bench: Bench) -> None:
    """Sparse changes on top of each other: the last is added and checked out at full length of the chain."""
    names = [f"chain{number}.safetensors" for number in range(_CHAIN)]
    for stage in bench.stages:
        stage.git("checkout", "-q", "-B", "chain", "base")
        for name in names[:-1]:
            stage.commit(bench.files / name, name)
    last = bench.files / names[-1]
    bench.step(f"chain of {_CHAIN}", last, lambda stage: stage.put(last), origin="chain")


def _make_checkpoints(folder: Path, dtype: str, depth: int) -> None:
    """The checkpoints, unless they are there."""
    if (folder / names_done(depth)).exists():
        return
    options = ["--dtype", dtype, "--depth", str(depth), "--successors", "block,sparse,lora,finetune", "--lora-factors"]
    make_files(folder, *options)
    base = folder / "base.safetensors"
    make_successor("finetune", base, folder / "finetune2.safetensors", seed=2)
    one, two = (_load(folder / name) for name in ("finetune.safetensors", "finetune2.safetensors"))
    mean = {
        name: ((one[name].astype(np.float32) + two[name].astype(np.float32)) / 2).astype(one[name].dtype)
        for name in one
    }
    safetensors.numpy.save_file(mean, folder / "average.safetensors")
    previous = base
    for number in range(_CHAIN):
        target = folder / f"chain{number}.safetensors"
        make_successor("sparse", previous, target, seed=10 + number)
        previous = target
    (folder / names_done(depth)).touch()


def names_done(depth: int) -> str:
    """The file that says that all files are there."""
    return f"done-{depth}"


def _load(file: Path) -> dict[str, np.ndarray]:
    import ml_dtypes

    assert np.dtype(ml_dtypes.bfloat16), "NumPy knows it once it is imported"
    return safetensors.numpy.load_file(file)


def _line(title: str, row: Row) -> str:
    return f"| {title} | {row.kept:.4f} | {_pair(row.add)} | {_pair(row.checkout)} |"


def _pair(seconds: Mapping[str, float]) -> str:
    if len(seconds) != 2:
        return "| |"
    return f"{seconds['theta']:.2f} | {seconds['lfs']:.2f} | {seconds['theta'] / seconds['lfs']:.2f}"


def _missed(rows: Mapping[str, Row], dtype: str) -> Iterator[str]:
    for title, row in rows.items():
        if row.kept > TARGETS[title][dtype == "bfloat16"]:
            yield f"{title}: {row.kept:.4f} kept"
        allowed = 2.0 if title.startswith("chain") else 1.0
        for what, seconds, most in (("add", row.add, 1.0), ("checkout", row.checkout, allowed)):
            if len(seconds) == 2 and seconds["theta"] > most * seconds["lfs"]:
                yield f"{title}: {what} takes {seconds['theta'] / seconds['lfs']:.2f} times git-lfs"


@click.command()
@click.option("--work", required=True, type=click.Path(path_type=Path), help="A folder for files and repositories.")
@click.option("--dtype", default="float32", type=click.Choice(["float32", "bfloat16"]))
@click.option("--depth", default=12, show_default=True, help="Blocks of the model.")
@click.option("--repeat", default=3, show_default=True, help="Times that each step is measured; the median counts.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(work: Path, dtype: str, depth: int, repeat: int, json_file: Path | None) -> None:
    """Measure, print a table, and say which targets are missed."""
    files = work / f"{dtype}-{depth}"
    _make_checkpoints(files, dtype, depth)
    bench = Bench([Stage(tool, work.resolve() / f"repo-{tool}") for tool in ("theta", "lfs")], files, {}, repeat)
    with isolated(work):
        for stage in bench.stages:
            stage.begin()
        click.echo("| change | kept | add, s | git-lfs, s | ratio | checkout, s | git-lfs, s | ratio |")
        click.echo("|---" * 8 + "|")
        main_steps(bench)
    missed = list(_missed(bench.rows, dtype))
    if json_file is not None:
        json_file.write_text(json.dumps({title: vars(row) for title, row in bench.rows.items()}, indent=1))
    for line in missed:
        click.echo(f"missed: {line}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
