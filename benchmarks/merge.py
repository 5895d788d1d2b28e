"""Merging two fine-tunes of a model: Git-Theta in `git merge`, and mergekit with the same method on the same files.

    python benchmarks/merge.py --work /var/tmp/merge --mergekit /path/to/mergekit-yaml --json merge.json

The models are GPT-2-small-shaped in float32 (498 MB), and differ from each other and from their ancestor everywhere.
Each repetition runs both tools one right after the other, with all files in the page cache and all that was written on
disk. `git merge` puts the merged model into the worktree and commits it; the merge alone is timed as well, without a
worktree (`git merge-tree`). What the tools made of it is compared. Then branches that touch different layers are merged
while no object is in reach. Exits with status 1 if a target is missed. Needs git >= 2.38 and the environment that
Git-Theta is installed in; mergekit 0.1.5 may be in another one. Without it, only our own figures are taken.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click
from running import MIB, Repository, Usage, isolated, make_files, make_successor, median, rest, run


@dataclass(frozen=True, slots=True)
class Method:
    """A merge method, as both tools are told.

    Attributes:
        ours: for GIT_THETA_MERGE.
        name: mergekit's name of it.
        settings: mergekit's parameters of each model.
        has_base: whether mergekit needs the ancestor.
        seconds: the most that ours may take.
    """

    ours: str
    name: str
    settings: Mapping[str, float]
    has_base: bool
    seconds: float


METHODS: Final[Mapping[str, Method]] = {
    "average": Method("average", "linear", {"weight": 0.5}, has_base=False, seconds=3.0),
    "ties": Method("ties density=0.5 weight=0.5", "ties", {"weight": 0.5, "density": 0.5}, has_base=True, seconds=8.0),
}
MOST_MEMORY: Final = 1024.0
"""MiB that a merge may take at the most."""

FASTER: Final = 2.0
"""How many times faster than mergekit a merge is to be."""

LAYERS_SECONDS: Final = 1.0
"""The most that the merge of branches that touch different layers may take, but for the checkout."""

TOLERANCE: Final = 1e-6
"""How far the results of both tools may be apart: mergekit rounds intermediate sums."""


MOST_APART: Final = 1e-5
"""The part of the values that may be further apart."""


@dataclass(frozen=True)
class Results:
    """What was measured, by step."""

    usages: dict[str, list[Usage]] = field(default_factory=lambda: defaultdict(list))

    def median(self, step: str) -> Usage | None:
        """The medians of a step, if it was taken."""
        found = self.usages.get(step)
        return median(found) if found else None


@dataclass(frozen=True)
class Bench:
    """The repository and the models."""

    place: Path
    files: Path
    repo: Repository
    mergekit: Path | None
    results: Results

    def commit(self, branch: str, file: str) -> None:
        """Commit a model on a branch that starts from "base"; the first one is "base"."""
        if branch != "base":
            self.repo.git("checkout", "--quiet", "-B", branch, "base")
        self.repo.commit(self.files / file, branch)

    def timed(self, step: str, *command: str | Path) -> None:
        """Run a command, and write down what it took."""
        rest(self.repo.path, self.files)
        self.results.usages[step].append(run(command, self.repo.path))


def merge_everything(bench: Bench, title: str, *, compare: bool) -> None:
    """Merge two models that differ everywhere, with both tools."""
    method = METHODS[title]
    bench.repo.git("checkout", "--quiet", "-B", "work", "ours")
    with _new_objects_gone(bench), _variable("GIT_THETA_MERGE", method.ours):
        bench.timed(f"{title}, merge alone", "git", "merge-tree", "--write-tree", "ours", "theirs")
    with _new_objects_gone(bench):
        with _variable("GIT_THETA_MERGE", method.ours):
            bench.timed(f"{title}, git merge", "git", "merge", "--quiet", "--no-edit", "theirs")
        if seen := bench.repo.git("status", "--porcelain"):
            raise click.ClickException(f"after the merge, git status shows {seen!r}")
        if bench.mergekit is not None:
            _merge_with_peer(bench, title, bench.mergekit, compare=compare)
        bench.repo.git("reset", "--quiet", "--hard", "ours")


def _merge_with_peer(bench: Bench, title: str, mergekit: Path, *, compare: bool) -> None:
    method = METHODS[title]
    models = [{"model": str(_folder(bench, name)), "parameters": dict(method.settings)} for name in ("ours", "theirs")]
    recipe = {"merge_method": method.name, "models": models, "dtype": "float32"}
    if method.has_base:
        recipe["base_model"] = str(_folder(bench, "base"))
    config = bench.place / "recipe.yaml"
    config.write_text(json.dumps(recipe))  # JSON is YAML.
    with tempfile.TemporaryDirectory(dir=bench.place) as target:
        options = ("--no-copy-tokenizer", "--no-write-model-card", "--quiet")
        bench.timed(f"{title}, mergekit", mergekit, config, target, *options)
        if compare:
            (made,) = Path(target).glob("*.safetensors")
            _compare(bench.repo.file, made)


def _compare(ours: Path, theirs: Path) -> None:
    """Raise unless both tools made the same of it; in a process of its own, for the sake of this one's memory.

    Values that are about as large as the smallest that is kept may be kept by one of the tools alone.
    """
    code = (
        "import sys, numpy, safetensors.numpy as s; one, two = (s.load_file(f) for f in sys.argv[1:3]);"
        "two = {name.removeprefix('transformer.'): array for name, array in two.items()};"
        "assert one.keys() == two.keys(), one.keys() ^ two.keys();"
        f"apart = sum(int((abs(one[name] - two[name]) > {TOLERANCE}).sum()) for name in one);"
        "print(apart / sum(array.size for array in one.values()))"
    )
    command = [sys.executable, "-c", code, str(ours), str(theirs)]
    share = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    click.echo(f"{share:.2g} of the values are more than {TOLERANCE:g} apart", err=True)
    if not share <= MOST_APART:
        raise click.ClickException("the tools did not make the same of it")


def merge_layers(bench: Bench) -> None:
    """Merge branches that touch different layers, while no object can be read."""
    objects, away = bench.repo.path / ".git/theta/objects", bench.place / "objects"
    objects.rename(away)
    try:
        bench.timed("different layers, merge alone", "git", "merge-tree", "--write-tree", "layer0", "layer1")
    finally:
        shutil.rmtree(objects, ignore_errors=True)
        away.rename(objects)
    bench.repo.git("checkout", "--quiet", "-B", "work", "layer0")
    bench.timed("different layers, git merge", "git", "merge", "--quiet", "--no-edit", "layer1")


def _folder(bench: Bench, name: str) -> Path:
    """A model as mergekit wants it: in a folder, with a configuration."""
    folder = bench.files / f"folder-{name}"
    folder.mkdir(exist_ok=True)
    model = folder / "model.safetensors"
    if not model.exists():
        model.hardlink_to(bench.files / f"{name}.safetensors")
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": _depth(bench), "n_embd": 768}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _depth(bench: Bench) -> int:
    with (bench.files / "base.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(name.endswith(".attn.c_attn.weight") for name in header)


@contextmanager
def _new_objects_gone(bench: Bench) -> Iterator[None]:
    """What a merge has kept, or remembers, must not help the next one."""
    theta = bench.repo.path / ".git/theta"
    before = {path for path in theta.rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path in theta.rglob("*"):
            if path.is_file() and path not in before:
                path.unlink()


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _make_checkpoints(folder: Path, depth: int) -> None:
    """The models, unless they are there."""
    base = folder / "base.safetensors"
    if not base.exists():
        make_files(folder, f"--depth={depth}")
    for name, kind, seed, block in (
        ("ours", "finetune", 1, 0),
        ("theirs", "finetune", 2, 0),
        ("layer0", "block", 1, 0),
        ("layer1", "block", 1, 1),
    ):
        make_successor(kind, base, folder / f"{name}.safetensors", seed=seed, block=block)


def _prepared(place: Path, files: Path, mergekit: Path | None) -> Bench:
    bench = Bench(place, files, Repository("theta", place / "repo"), mergekit, Results())
    bench.repo.begin()
    bench.commit("base", "base.safetensors")
    bench.repo.git("branch", "base")
    for name in ("ours", "theirs", "layer0", "layer1"):
        bench.commit(name, f"{name}.safetensors")
    return bench


def _verdicts(results: Results) -> Iterator[tuple[str, bool]]:
    """What was wanted, and whether it is so."""
    for title, method in METHODS.items():
        ours, alone = results.median(f"{title}, git merge"), results.median(f"{title}, merge alone")
        peer = results.median(f"{title}, mergekit")
        if alone is not None:
            yield f"{title}, merge alone: at most {method.seconds:g} s", alone.seconds <= method.seconds
        if ours is not None:
            yield f"{title}, git merge: at most {MOST_MEMORY:.0f} MiB", ours.peak / MIB <= MOST_MEMORY
        if ours is not None and peer is not None:
            times = peer.seconds / ours.seconds
            yield f"{title}, git merge: {FASTER:g} times as fast as mergekit (is: {times:.2f})", times >= FASTER
    layers = results.median("different layers, merge alone")
    if layers is not None:
        yield f"different layers: at most {LAYERS_SECONDS:g} s", layers.seconds <= LAYERS_SECONDS


def _print(results: Results, mergekit: Path | None) -> None:
    click.echo("| step | wall, s | processors, s | peak, MiB |")
    click.echo("|---|---:|---:|---:|")
    for step in results.usages:
        usage = results.median(step)
        assert usage is not None
        click.echo(f"| {step} | {usage.seconds:.2f} | {usage.cpu:.2f} | {usage.peak / MIB:.0f} |")
    if mergekit is None:
        click.echo("\nmergekit is missing: no peer (give its executable with --mergekit)")
    for title, is_met in _verdicts(results):
        click.echo(f"{'pass' if is_met else 'FAIL'}: {title}")
    click.echo(f"Machine: {os.cpu_count()} processors, {platform.system()} {platform.release()}")


@click.command()
@click.option("--work", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where files lie.")
@click.option("--mergekit", type=click.Path(dir_okay=False, path_type=Path), help="The executable mergekit-yaml.")
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1))
@click.option("--depth", default=12, show_default=True, type=click.IntRange(2), help="Blocks of the model.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
def main(work: Path, mergekit: Path | None, repetitions: int, depth: int, json_file: Path | None) -> None:
    """Measure, print a table, and say which targets are missed."""
    if mergekit is not None and not mergekit.exists():
        click.echo(f"{mergekit} is missing", err=True)
        mergekit = None
    files = (work / f"models-{depth}").resolve()
    files.mkdir(parents=True, exist_ok=True)
    _make_checkpoints(files, depth)
    with tempfile.TemporaryDirectory(dir=work, prefix="run-") as folder, isolated(Path(folder).resolve()):
        bench = _prepared(Path(folder).resolve(), files, None if mergekit is None else mergekit.absolute())
        for number in range(repetitions):
            for title in METHODS:
                merge_everything(bench, title, compare=not number)
            merge_layers(bench)
    _print(bench.results, mergekit)
    if json_file is not None:
        found = {step: [asdict(usage) for usage in usages] for step, usages in bench.results.usages.items()}
        json_file.write_text(json.dumps(found, indent=2) + "\n")
    if not all(is_met for _, is_met in _verdicts(bench.results)):
        sys.exit(1)


if __name__ == "__main__":
    main()
