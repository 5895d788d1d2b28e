"""Hostile files: nothing in them runs, whatever is done with them, and they are kept byte for byte like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from git_theta.checkpoints import formats, opaque
from git_theta.checkpoints.scan import scan
from git_theta.sources import BytesSource
from tests.checkpoints import hostile
from tests.checkpoints.samples import KITS
from tests.helpers import Repo

ROOT = Path(__file__).parents[2]
LOAD_ALL = """
import pickle, sys
from pathlib import Path
for path in Path(sys.argv[1]).iterdir():
    try:
        pickle.loads(path.read_bytes())
    except Exception:
        pass
"""


def write_all(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def run(*command: str) -> str:
    """Run Python; returns what it prints."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, check=False, timeout=120, text=True, cwd=ROOT
    )
    return done.stdout + done.stderr


@pytest.fixture
def canaries(tmp_path: Path) -> Path:
    """An empty folder, in which every file makes another one if it can run something."""
    folder = tmp_path / "canaries"
    folder.mkdir()
    return folder


def test_the_pickles_do_run_in_python(canaries: Path, tmp_path: Path) -> None:
    pickles = hostile.firing_pickles(canaries)
    run("-c", LOAD_ALL, str(write_all(pickles, tmp_path / "pickles")))
    assert {path.name for path in canaries.iterdir()} == pickles.keys()


@pytest.mark.parametrize("name", formats().names())
def test_nothing_runs_and_nothing_is_imported(name: str, canaries: Path, tmp_path: Path) -> None:
    """Neither by a scan, nor for the plain values, nor in writing; nor is much memory or time used."""
    good = {f"{number:02}": sample.data for number, sample in enumerate(KITS[name].samples().values())}
    folders = write_all(good, tmp_path / "good"), write_all(hostile.every(canaries), tmp_path / "hostile")
    assert run("-m", "tests.checkpoints.fuzz", name, *map(str, folders)) == ""
    assert list(canaries.iterdir()) == []


ACTIONS = {
    "pickle.loads(data)": "pickle.find_class",
    "open(sys.executable)": "open",
    "eval('1')": "compile",
    "bytearray(300_000_000)": "MemoryError",
    "any(time.thread_time() > fuzz.SECONDS + 2 for _ in iter(int, 1))": "took",
    "[][0]": "IndexError",
}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_watch_sees_what_is_done(action: str, canaries: Path) -> None:
    data = hostile.firing_pickles(canaries)["system-2"]
    code = f"data = {data!r}; import pickle, sys, time; from tests.checkpoints import fuzz"
    code += "; fuzz.SECONDS = 1; fuzz.limit_memory()"
    assert run("-c", f"{code}; print(fuzz.Watch().run(lambda: {action}))").startswith(ACTIONS[action])


ODD_ZIPS = sorted(hostile.zips(b"\x80\x02}.").keys() - {"parent-storage"})


@pytest.mark.parametrize("name", ODD_ZIPS)
def test_archives_that_are_not_what_they_seem_are_kept_whole(name: str) -> None:
    data = hostile.zips(b"\x80\x02}.")[name]
    found = scan(BytesSource(data), "model.pt", formats())
    assert found.layout == opaque.layout(len(data))
    assert found.why_opaque is not None
    assert found.why_opaque.startswith("not torch: ")
    assert "\n" not in found.why_opaque


def test_a_file_is_not_refused_for_what_it_would_run(canaries: Path) -> None:
    """Whole models are saved with the classes of their programs: they have groups all the same."""
    for name, data in hostile.firing_pickles(canaries).items():
        if name == "computed":  # no writer of pickles computes names
            continue
        found = [scan(BytesSource(made(data)), "model.pt", formats()) for made in (hostile.as_zip, hostile.as_legacy)]
        assert [each.layout.format for each in found] == ["torch", "torch-legacy"]


def test_paths_in_an_archive_are_names_and_nothing_more() -> None:
    data = hostile.zips(b"\x80\x02}.")["parent-storage"]
    names = [span.name for span in scan(BytesSource(data), "model.pt", formats()).layout.spans]
    assert names == ["storage/0", "storage/..~1..~1..~1evil"]


def test_hostile_files_go_through_git_byte_for_byte(repo: Repo, canaries: Path) -> None:
    pickles = hostile.firing_pickles(canaries)
    files = {f"{name}.pt": hostile.as_zip(data) for name, data in pickles.items()}
    files |= {f"{name}-legacy.pt": hostile.as_legacy(data) for name, data in pickles.items()}
    odd = {**hostile.zips(pickles["system-2"]), **hostile.arrays(canaries)}
    files |= {f"{name}.pt": data for name, data in odd.items()}
    repo.theta("track", "*.pt")
    for name, data in files.items():
        repo.write(name, data)
    said = repo.git("add", "--all").stderr
    repo.git("commit", "--quiet", "--message", "hostile")
    for name, data in files.items():
        is_opaque = scan(BytesSource(data), name, formats()).why_opaque is not None
        assert (f"warning: {name}: " in said) == is_opaque
        (repo.path / name).unlink()
    repo.git("checkout", "--quiet", "--", ".")
    assert {name: repo.read(name) for name in files} == files
    assert repo.status() == ""
    assert list(canaries.iterdir()) == []
