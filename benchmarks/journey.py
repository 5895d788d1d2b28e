"""The same journey with Git-Theta and git-lfs, side by side, on the same files.

    python benchmarks/journey.py --work /var/tmp/journey --json journey.json

Each repetition starts from fresh repositories and takes every step with one tool right after the other, since the speed
of a machine drifts; the figures are medians. Before a step, written files are on disk and all files are in the page
cache. What a checkout wrote is compared by SHA-256. Exits with status 1 if a target is missed. Needs git, git-lfs, the
environment that Git-Theta is installed in, and a machine that does nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

import click
from running import FILE, MIB, Repository, Usage, ended, isolated, make_files, rest, run

from git_theta.git.pktline import frame_texts, read_texts

TOOLS: Final = ("theta", "lfs")
_STARTS: Final = 11


@dataclass(frozen=True, slots=True)
class Step:
    """What is measured.

    Attributes:
        title: for the table.
        unit: "s" or "MB".
        target: the most that is wanted, of ours divided by git-lfs's or (absolute) of ours; None if nothing is.
        is_absolute: whether the target is a number of seconds or MB.
    """

    title: str
    unit: str = "s"
    target: float | None = None
    is_absolute: bool = False


STEPS: Final[Mapping[str, Step]] = {
    "add-base": Step("git add, base", target=1.0),
    "add-block": Step("git add, one block retrained", target=0.4),
    "status": Step("git status after touch", target=0.4),
    "checkout": Step("git checkout, settled", target=0.9),
    "checkout-again": Step("git checkout, back and forth", target=0.9),
    "version": Step("git theta --version, git lfs version", target=0.15, is_absolute=True),
    "filter-process": Step("filter process, handshake and end", target=0.3, is_absolute=True),
    "large-add": Step("large file: git add"),
    "large-checkout": Step("large file: git checkout"),
    "large-add-peak": Step("large file: git add, peak memory (git and filter)", "MB", 600, is_absolute=True),
    "large-clean-peak": Step("large file: clean, peak memory", "MB", 600, is_absolute=True),
    "large-smudge-peak": Step("large file: smudge, peak memory", "MB", 600, is_absolute=True),
}


@dataclass(frozen=True)
class Results:
    """What was measured, by step and tool; and how large .git was after the step, in MB."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    disk: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))

    def median(self, step: str, tool: str) -> float | None:
        """The median of a step's figures, if it was taken."""
        found = self.values.get(step, {}).get(tool)
        return statistics.median(found) if found else None

    def score(self, step: str) -> float | None:
        """What the step's target is compared with: a ratio, or an absolute figure."""
        ours, theirs = (self.median(step, tool) for tool in TOOLS)
        if ours is None or STEPS[step].is_absolute:
            return ours
        return ours / theirs if theirs else None

    def passes(self, step: str) -> bool | None:
        """Whether the target is met; None if there is none, or no figure."""
        target, score = STEPS[step].target, self.score(step)
        return None if target is None or score is None else score <= target


@dataclass(frozen=True)
class Stage(Repository):
    """A repository, and where its figures go."""

    results: Results

    def timed(self, step: str, *arguments: str) -> Usage:
        """Run git and write down how long it took."""
        usage = run(["git", *arguments], self.path)
        self.results.values[step][self.tool].append(usage.seconds)
        return usage

    def put(self, source: Path) -> None:
        """Save a model, as training would, and let things come to rest."""
        super().put(source)
        rest(self.path)

    def settle(self) -> None:
        """Have git trust the time stamp of the file, and let things come to rest."""
        super().settle()
        rest(self.path)

    def expect(self, digest: str) -> None:
        """Make sure that the worktree file has this SHA-256."""
        if sha256(self.file) != digest:
            raise click.ClickException(f"{self.tool}: the checkout is not byte-exact")

    def measure_disk(self, step: str) -> None:
        """Write down how large .git is."""
        sizes = (file.stat().st_size for file in (self.path / ".git").rglob("*") if file.is_file())
        self.results.disk[step][self.tool] = sum(sizes) / 1e6


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file to keep, and its SHA-256."""

    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Files:
    """The checkpoints of a journey."""

    base: Checkpoint
    block: Checkpoint


def run_and_read(command: Sequence[str], cwd: Path, stdin: IO[bytes], take: Callable[[bytes], object]) -> Usage:
    """Run a command to its end, and hand on what it prints, piece by piece.

    Raises:
        ClickException: it failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        while piece := process.stdout.read(MIB):
            take(piece)
    return ended(process, begin)


def shake_hands(command: Sequence[str], cwd: Path) -> float:
    """Start a filter process, shake hands as git does, and end it; returns the seconds.

    Raises:
        ClickException: it does not speak the protocol.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, process.stdin:
        process.stdin.write(frame_texts("git-filter-client", "version=2"))
        process.stdin.write(frame_texts("capability=clean", "capability=smudge", "capability=delay"))
        process.stdin.flush()
        incoming = cast("BinaryIO", process.stdout)
        greeting, offered = read_texts(incoming), read_texts(incoming)
    seconds = ended(process, begin).seconds
    if greeting != ["git-filter-server", "version=2"] or "capability=clean" not in offered:
        raise click.ClickException(f"{command[0]} does not speak the filter protocol: {greeting} {offered}")
    return seconds


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def travel(place: Path, files: Files, results: Results, order: Sequence[str]) -> None:
    """One repetition: every step with each tool in turn, in fresh repositories."""
    with _stages(place, results, order) as stages:
        for step in (_add_base, _add_block, _touch, _checkout, _checkout_again):
            for stage in stages:
                step(stage, files)


def start_up(place: Path, results: Results) -> None:
    """How long our commands, and git-lfs's, take to do nothing."""
    versions = {"theta": ["theta", "--version"], "lfs": ["lfs", "version"]}
    with _stages(place, results, TOOLS) as stages:
        for _ in range(_STARTS):
            for stage in stages:
                stage.timed("version", *versions[stage.tool])
                seconds = shake_hands([f"git-{stage.tool}", "filter-process"], stage.path)
                results.values["filter-process"][stage.tool].append(seconds)


def carry_large(place: Path, file: Checkpoint, results: Results) -> None:
    """Time and memory for one large file."""
    with _stages(place, results, TOOLS) as stages:
        for step in (_add_large, _checkout_large):
            for stage in stages:
                step(stage, file)
    for tool in TOOLS:
        with _stages(place, results, [tool]) as (stage,):
            _filter_large(stage, file)


def _add_base(stage: Stage, files: Files) -> None:
    stage.put(files.base.path)
    stage.timed("add-base", "add", FILE)
    stage.measure_disk("add-base")
    stage.git("commit", "--quiet", "--message", "base")


def _add_block(stage: Stage, files: Files) -> None:
    stage.put(files.block.path)
    stage.timed("add-block", "add", FILE)
    stage.measure_disk("add-block")
    stage.git("commit", "--quiet", "--message", "block")


def _touch(stage: Stage, _: Files) -> None:
    stage.settle()
    stage.file.touch()
    stage.timed("status", "status", "--porcelain")
    stage.measure_disk("status")
    stage.expect_clean()


def _checkout(stage: Stage, files: Files) -> None:
    """Git knows that the file is unchanged, and only writes the other version."""
    for revision, checkpoint in (("main~1", files.base), ("main", files.block)):
        stage.settle()
        stage.timed("checkout", "checkout", "--quiet", revision)
        stage.expect(checkpoint.digest)
    stage.measure_disk("checkout")


def _checkout_again(stage: Stage, files: Files) -> None:
    """The file is as old as the index, so that git cleans it once more, to be sure, before it writes the other."""
    stage.settle()
    stage.git("checkout", "--quiet", "main~1")
    for revision, checkpoint in (("main", files.block), ("main~1", files.base)):
        stage.timed("checkout-again", "checkout", "--quiet", revision)
        stage.expect(checkpoint.digest)
    stage.measure_disk("checkout-again")
    stage.expect_clean()


def _add_large(stage: Stage, file: Checkpoint) -> None:
    stage.put(file.path)
    usage = stage.timed("large-add", "add", FILE)
    stage.results.values["large-add-peak"][stage.tool].append(usage.peak / MIB)
    stage.measure_disk("large-add")
    stage.git("commit", "--quiet", "--message", "large")


def _checkout_large(stage: Stage, file: Checkpoint) -> None:
    stage.file.unlink()
    rest(stage.path)
    stage.timed("large-checkout", "checkout", "--quiet", "HEAD", "--", FILE)
    stage.expect(file.digest)
    stage.measure_disk("large-checkout")


def _filter_large(stage: Stage, file: Checkpoint) -> None:
    """Peak memory of the filters alone; that of git, which holds what it checks out, is not ours to count."""
    stage.put(file.path)
    pointer = stage.path / "pointer"
    with stage.file.open("rb") as content, pointer.open("wb") as output:
        cleaned = run_and_read([f"git-{stage.tool}", "clean", "--", FILE], stage.path, content, output.write)
    hasher = hashlib.sha256()
    with pointer.open("rb") as content:
        smudged = run_and_read([f"git-{stage.tool}", "smudge", "--", FILE], stage.path, content, hasher.update)
    if hasher.hexdigest() != file.digest:
        raise click.ClickException(f"{stage.tool}: what smudge wrote is not byte-exact")
    for step, usage in (("large-clean-peak", cleaned), ("large-smudge-peak", smudged)):
        stage.results.values[step][stage.tool].append(usage.peak / MIB)


@contextmanager
def _stages(place: Path, results: Results, tools: Sequence[str]) -> Iterator[list[Stage]]:
    """A fresh repository for each tool; gone afterwards."""
    with ExitStack() as stack:
        stages = []
        for tool in tools:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place, prefix=f"{tool}-")))
            stage = Stage(tool, path, results)
            stage.begin()
            stages.append(stage)
        yield stages


def _checkpoints(folder: Path, width: int, depth: int, *kinds: str) -> list[Checkpoint]:
    """The base and its successors in a folder, made unless they are there."""
    files = [folder / f"{kind}.safetensors" for kind in ("base", *kinds)]
    if not all(file.exists() for file in files):
        make_files(folder, f"--width={width}", f"--depth={depth}", f"--successors={','.join(kinds)}")
    return [Checkpoint(file, sha256(file)) for file in files]


def _machine() -> dict[str, str]:
    """What the figures depend on."""
    processors = [line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{os.cpu_count()} x {processors[0].strip() if processors else platform.processor()}",
        "memory": f"{memory / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _versions() -> dict[str, str]:
    commands = {"git": ["version"], "git-lfs": ["lfs", "version"], "git-theta": ["theta", "--version"]}
    found = {name: _version(name, words) for name, words in commands.items()} | {"python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in ("blake3", "msgpack", "numpy", "tensorstore")}


def _version(name: str, words: Sequence[str]) -> str:
    said = subprocess.run(["git", *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    return said.removeprefix(f"{name}/").removeprefix("git version ").split()[0]


@contextmanager
def _watching_others(machine: dict[str, str]) -> Iterator[None]:
    """Note what part of the processors others used meanwhile (Linux only): much of it, and the figures mean little."""
    begin, others = time.monotonic(), _seconds_of_others()
    yield
    if others is not None and (later := _seconds_of_others()) is not None:
        share = (later - others) / (time.monotonic() - begin) / (os.cpu_count() or 1)
        machine["others"] = f"other processes took {max(0.0, share):.0%} of the processor time"


def _seconds_of_others() -> float | None:
    """Processor time of all other processes since the machine started."""
    for line in _lines("/proc/stat")[:1]:
        user, nice, system, _, _, interrupts, soft_interrupts = (int(word) for word in line.split()[1:8])
        busy = (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _table(results: Results) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| step | ours | git-lfs | ratio | target | | .git, ours | .git, git-lfs |"
    yield "|---|---:|---:|---:|---:|---|---:|---:|"
    for key, step in STEPS.items():
        if results.median(key, "theta") is None:
            continue
        ours, theirs = (_figure(results.median(key, tool), step.unit) for tool in TOOLS)
        sizes = [_figure(results.disk.get(key, {}).get(tool), "MB") for tool in TOOLS]
        cells = [step.title, ours, theirs, _ratio(results, key), _target(step), _verdict(results, key), *sizes]
        yield f"| {' | '.join(cells)} |"


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.3f} s" if unit == "s" else f"{value:.0f} {unit}"


def _ratio(results: Results, key: str) -> str:
    ours, theirs = (results.median(key, tool) for tool in TOOLS)
    return f"{ours / theirs:.2f}" if ours is not None and theirs else ""


def _target(step: Step) -> str:
    if step.target is None:
        return ""
    return f"{step.target:g} {step.unit}" if step.is_absolute else f"{step.target:g}"


def _verdict(results: Results, key: str) -> str:
    return {None: "", True: "pass", False: "FAIL"}[results.passes(key)]


def _report(results: Results, machine: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, object]:
    """All figures, for a program."""
    steps = {
        key: {
            "title": step.title,
            "unit": step.unit,
            "samples": {tool: results.values[key][tool] for tool in TOOLS},
            "median": {tool: results.median(key, tool) for tool in TOOLS},
            "git_directory_mb": results.disk.get(key, {}),
            "target": step.target,
            "target_is_absolute": step.is_absolute,
            "passes": results.passes(key),
        }
        for key, step in STEPS.items()
        if results.median(key, "theta") is not None
    }
    return {"machine": dict(machine), "versions": dict(versions), "steps": steps}


def _measure(work: Path, place: Path, repetitions: int, width: int, depth: int, large: bool) -> Results:
    results = Results()
    files = Files(*_checkpoints(work / f"checkpoints-{width}-{depth}", width, depth, "block"))
    for number in range(repetitions):
        click.echo(f"repetition {number + 1} of {repetitions}", err=True)
        travel(place, files, results, TOOLS if number % 2 == 0 else TOOLS[::-1])
    click.echo("start-up", err=True)
    start_up(place, results)
    if large:
        click.echo("large file", err=True)
        (file,) = _checkpoints(work / "checkpoints-large", 1280, 48)
        carry_large(place, file, results)
    return results


@click.command()
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), help="Where files lie; kept checkpoints, too."
)
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1))
@click.option("--width", default=768, show_default=True, type=click.IntRange(1), help="Of the model.")
@click.option("--depth", default=12, show_default=True, type=click.IntRange(1), help="Of the model.")
@click.option("--large", is_flag=True, help="Also carry a file of 4 GB (needs 25 GB of disk).")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
def main(work: Path | None, repetitions: int, width: int, depth: int, large: bool, json_file: Path | None) -> None:
    """Compare Git-Theta with git-lfs: by default, on a GPT-2-small in float32 (498 MB)."""
    with ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="journey-")))
        work.mkdir(parents=True, exist_ok=True)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=work, prefix="run-"))).resolve()
        stack.enter_context(isolated(place))
        machine, versions = _machine(), _versions()
        with _watching_others(machine):
            results = _measure(work.resolve(), place, repetitions, width, depth, large)
    _print(results, machine, versions)
    if json_file is not None:
        json_file.write_text(json.dumps(_report(results, machine, versions), indent=2) + "\n")
    if any(results.passes(key) is False for key in STEPS):
        sys.exit(1)


def _print(results: Results, machine: Mapping[str, str], versions: Mapping[str, str]) -> None:
    click.echo("\n".join(_table(results)))
    click.echo()
    click.echo("Machine: " + ", ".join(machine.values()))
    click.echo("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
