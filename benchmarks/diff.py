"""What it costs to see what changed: git diff, git blame and git theta log, with Git-Theta and with git-lfs.

    python benchmarks/diff.py --work /var/tmp/diff --json diff.json

The file is GPT-2-small-shaped (498 MB in float32). Each figure is the median of several runs, all files being in the
page cache. With --huge, a file of 5 GB is made as well, of ten groups whose values repeat. Exits with status 1 if a
target is missed. Needs git, git-lfs, the environment that Git-Theta is installed in, and a machine that does nothing
else.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click
import numpy as np
from running import FILE, Repository, Usage, isolated, make_files, make_successor, median, run

_METADATA: Final = ("-c", "theta.diff.stats=estimate")
_EXACT: Final = ("-c", "theta.diff.stats=exact")
_PIECE: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Step:
    """What is measured.

    Attributes:
        title: for the table.
        target: the most seconds, or the most of git-lfs's seconds, that are wanted; None if none are.
        is_ratio: whether the target is a part of git-lfs's time.
    """

    title: str
    target: float | None = None
    is_ratio: bool = False


STEPS: Final[Mapping[str, Step]] = {
    "block": Step("git diff HEAD~1 HEAD, one block of 12 changed"),
    "block, metadata": Step("the same from metadata alone (theta.diff.stats=estimate)", 0.5),
    "block, exact": Step("the same with exact statistics", 1.0),
    "all": Step("git diff HEAD~1 HEAD, every value changed"),
    "all, metadata": Step("the same from metadata alone", 0.5),
    "all, exact": Step("the same with exact statistics"),
    "all, patch": Step("git log -p -1, every value changed"),
    "worktree": Step("git diff of the worktree, one block of 12 changed", 0.5, is_ratio=True),
    "worktree again": Step("the same once more"),
    "blame": Step("git blame, history of {commits} commits", 5.0),
    "log": Step("git theta log, history of {commits} commits", 2.0),
    "log, group": Step("git theta log --group of one group, the same history"),
    "huge": Step("5 GB: git diff HEAD~1 HEAD, one group of 10 changed", 0.5),
    "huge, metadata": Step("5 GB: the same from metadata alone", 0.5),
    "huge, show": Step("5 GB: git theta show HEAD:model.safetensors", 0.5),
}


@dataclass(frozen=True)
class Bench:
    """What is measured with, and the figures by step and tool."""

    work: Path
    repetitions: int
    figures: dict[str, dict[str, Usage]] = field(default_factory=dict)

    def measure(self, key: str, stage: Repository, *arguments: str) -> None:
        """Take a step several times."""
        self.record(key, stage.tool, [run(["git", *arguments], stage.path) for _ in range(self.repetitions)])

    def record(self, key: str, tool: str, runs: Sequence[Usage]) -> None:
        """Write down the medians of several runs."""
        middle = median(runs)
        self.figures.setdefault(key, {})[tool] = middle
        click.echo(f"{key} ({tool}): {middle.seconds:.2f} s, {middle.cpu:.2f} s of processors", err=True)

    def score(self, key: str) -> float | None:
        """What the target of a step is compared with; None if it was not taken."""
        found = {tool: taken.seconds for tool, taken in self.figures.get(key, {}).items()}
        if "theta" not in found:
            return None
        return found["theta"] / found["lfs"] if STEPS[key].is_ratio else found["theta"]


def between_commits(bench: Bench, files: Path) -> Iterator[Repository]:
    """Differences of two commits, and of the worktree; gives the repositories, which have the tag "base"."""
    for tool in ("theta", "lfs"):
        stage = Repository(tool, bench.work / f"repo-{tool}")
        stage.begin()
        stage.commit(files / "base.safetensors", "base")
        stage.git("tag", "base")
        yield stage
    theta = Repository("theta", bench.work / "repo-theta")
    for kind, key in (("block", "block"), ("finetune", "all")):
        theta.git("checkout", "-q", "base")
        theta.commit(files / f"{kind}.safetensors", kind)
        theta.settle()
        compared = ("diff", "HEAD~1", "HEAD", "--", FILE)
        bench.measure(key, theta, *compared)
        bench.measure(f"{key}, metadata", theta, *_METADATA, *compared)
        bench.measure(f"{key}, exact", theta, *_EXACT, *compared)
    bench.measure("all, patch", theta, "log", "-p", "-1")


def of_the_worktree(bench: Bench, files: Path, stages: list[Repository]) -> None:
    """A model that was just saved, each time another one."""
    runs: dict[tuple[str, str], list[Usage]] = {}
    for stage in stages:
        stage.git("checkout", "-q", "base")
        stage.settle()
    for number in range(bench.repetitions):
        file = files / f"block{number}.safetensors"
        for stage in stages:
            stage.put(file)
            os.sync()
            for key in ("worktree", "worktree again"):
                runs.setdefault((key, stage.tool), []).append(run(["git", "diff"], stage.path))
    for (key, tool), taken in sorted(runs.items()):
        bench.record(key, tool, taken)


def of_a_history(bench: Bench, commits: int) -> None:
    """Many commits to a model of as many groups as GPT-2 small has, each changing a few."""
    files = bench.work / "narrow"
    make_files(files, "--width", "64", "--vocabulary", "500", "--context", "64")
    stage = Repository("theta", bench.work / "repo-history")
    stage.begin()
    stage.commit(files / "base.safetensors", "base")
    data = bytearray((files / "base.safetensors").read_bytes())
    for number in range(1, commits):
        place = len(data) - 4 * (1 + number * len(data) // (4 * commits + 4) // 2)
        data[place : place + 4] = np.float32(number).tobytes()
        stage.file.write_bytes(data)
        stage.git("commit", "-q", "-a", "-m", f"commit {number}")
    stage.settle()
    bench.measure("blame", stage, "blame", "--", FILE)
    bench.measure("log", stage, "theta", "log", "--", FILE)
    bench.measure("log, group", stage, "theta", "log", "--group", "h.3.attn.c_attn.weight", "--", FILE)


def of_a_huge_file(bench: Bench, gigabytes: int) -> None:
    """A file that nobody wants to read for a diff."""
    stage = Repository("theta", bench.work / "repo-huge")
    stage.begin()
    target = stage.file
    _write_huge(target, gigabytes << 30)
    stage.git("add", "--all")
    stage.git("commit", "-q", "-m", "base")
    with target.open("r+b") as file:
        file.seek(-(_PIECE * 3), os.SEEK_END)
        file.write(np.arange(_PIECE // 4, dtype=np.float32).tobytes())
    stage.git("commit", "-q", "-a", "-m", "changed")
    stage.settle()
    compared = ("diff", "HEAD~1", "HEAD", "--", FILE)
    bench.measure("huge", stage, *compared)
    bench.measure("huge, metadata", stage, *_METADATA, *compared)
    bench.measure("huge, show", stage, "theta", "show", f"HEAD:{FILE}")
    shutil.rmtree(stage.path)


def _write_huge(target: Path, nbytes: int, groups: int = 10) -> None:
    """A checkpoint in safetensors, of ten groups with values that repeat, so that it is made and kept quickly."""
    each = nbytes // groups // _PIECE * _PIECE
    header = {
        f"h.{number}.weight": {
            "dtype": "F32",
            "shape": [each // 4096, 1024],
            "data_offsets": [number * each, (number + 1) * each],
        }
        for number in range(groups)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(groups):
            values = np.random.default_rng(number).standard_normal(1 << 14).astype(np.float32)
            piece = values.tobytes() * (_PIECE // values.nbytes)
            for _ in range(each // _PIECE):
                file.write(piece)


def _make_checkpoints(folder: Path, width: int, depth: int, blocks: int) -> None:
    """The checkpoints, unless they are there: a base, a fine-tune, and several of which one block is another."""
    done = folder / f"done-{width}-{depth}-{blocks}"
    if done.exists():
        return
    make_files(folder, "--width", str(width), "--depth", str(depth), "--successors", "block,finetune")
    for number in range(blocks):
        make_successor("block", folder / "base.safetensors", folder / f"block{number}.safetensors", seed=10 + number)
    done.touch()


def _table(bench: Bench, commits: int) -> Iterator[str]:
    yield "| what | Git-Theta | of processors | git-lfs | target |"
    yield "|---|---|---|---|---|"
    for key, found in bench.figures.items():
        step = STEPS[key]
        target = "" if step.target is None else f"{step.target:g}" + (" of git-lfs" if step.is_ratio else " s")
        theirs = f"{found['lfs'].seconds:.2f} s" if "lfs" in found else ""
        ours = f"{found['theta'].seconds:.2f} s | {found['theta'].cpu:.2f} s"
        yield f"| {step.title.format(commits=commits)} | {ours} | {theirs} | {target} |"


@click.command()
@click.option("--work", required=True, type=click.Path(path_type=Path), help="A folder for files and repositories.")
@click.option("--width", default=768, show_default=True, type=click.IntRange(1), help="Of the model.")
@click.option("--depth", default=12, show_default=True, type=click.IntRange(1), help="Blocks of the model.")
@click.option("--commits", default=50, show_default=True, type=click.IntRange(2), help="Of the history.")
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1))
@click.option("--huge", "gigabytes", default=0, type=click.IntRange(0), help="Also a file of so many GB (5).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
def main(
    work: Path, width: int, depth: int, commits: int, repetitions: int, gigabytes: int, json_file: Path | None
) -> None:
    """Measure, print a table, and say which targets are missed."""
    bench = Bench(work.resolve(), repetitions)
    files = work / "files"
    _make_checkpoints(files, width, depth, repetitions)
    with isolated(work):
        stages = list(between_commits(bench, files))
        of_the_worktree(bench, files, stages)
        of_a_history(bench, commits)
        if gigabytes:
            of_a_huge_file(bench, gigabytes)
    click.echo("\n".join(_table(bench, commits)))
    if json_file is not None:
        figures = {key: {tool: asdict(taken) for tool, taken in found.items()} for key, found in bench.figures.items()}
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    scores = {key: bench.score(key) for key in bench.figures}
    missed = [key for key, score in scores.items() if score is not None and score > (STEPS[key].target or float("inf"))]
    for key in missed:
        click.echo(f"missed: {key}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
