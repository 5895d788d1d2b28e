"""What goes wrong on real machines: full disks, killed processes, two at once, files that change meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from git_theta.metadata_file import parse, serialize
from tests.conftest import copied
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

FILE = "model.safetensors"


def large(seed: int, count: int = 12) -> bytes:
    generator = np.random.default_rng(seed)
    return safetensors_bytes(
        {f"layer.{n}.weight": generator.standard_normal((512, 1024), dtype=np.float32) for n in range(count)}
    )


def bad_objects(repo: Repo) -> list[str]:
    """Objects whose content is not what their name says."""
    return [
        path.name
        for path in (repo.path / ".git/theta/objects").rglob("*")
        if path.is_file() and sha256(path.read_bytes()).hexdigest() != path.name
    ]


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.45, 0.6])
def test_killed_add_leaves_nothing_half_written(tracking: Repo, seconds: float) -> None:
    content = large(0)
    tracking.write(FILE, content)
    adding = subprocess.Popen(["git", "add", FILE], cwd=tracking.path, start_new_session=True)
    time.sleep(seconds)
    os.killpg(adding.pid, signal.SIGKILL)
    adding.wait()
    assert bad_objects(tracking) == []
    (tracking.path / ".git/index.lock").unlink(missing_ok=True)  # As git itself asks after a kill.
    tracking.commit("again")
    (tracking.path / FILE).unlink()
    tracking.git("checkout", "--", FILE)
    assert tracking.read(FILE) == content


def test_leftovers_of_a_killed_add_are_removed_after_a_day(tracking: Repo) -> None:
    leftover = tracking.path / ".git/theta/tmp/object-0123456789abcdef"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    os.utime(leftover, (time.time() - 2 * 86400,) * 2)
    tracking.write(FILE, large(0, 1))
    tracking.git("add", FILE)
    assert not leftover.exists()


def test_two_adds_at_once(tracking: Repo) -> None:
    """Git lets one of them have the index; whichever it is, the store is whole."""
    tracking.write(FILE, large(0))
    tracking.write("other.safetensors", large(0))
    running = [
        subprocess.Popen(["git", "hash-object", "-w", f"--path={name}", name], cwd=tracking.path, stdout=-1, stderr=-1)
        for name in (FILE, "other.safetensors", FILE)
    ]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert bad_objects(tracking) == []
    tracking.commit("both")
    for name in (FILE, "other.safetensors"):
        (tracking.path / name).unlink()
        tracking.git("checkout", "--", name)
        assert tracking.read(name) == large(0)


def test_full_disk_is_one_line_and_the_next_add_works(tracking: Repo) -> None:
    content = large(0)
    tracking.write(FILE, content)
    store = tracking.path / ".git/theta"
    store.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(store)], check=False)
    if mounted.returncode:
        # Without the right to mount, a limit on the size of files has the same effect on the writer.
        command = ["sh", "-c", f"ulimit -f 1500; trap '' XFSZ; git add {FILE}"]
    else:
        command = ["git", "add", FILE]
    try:
        added = subprocess.run(command, cwd=tracking.path, capture_output=True, text=True, check=False)
        left = [path for path in store.rglob("*") if path.is_file() and "tmp" in path.parts[-2:-1]]
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(store)], check=True)
    assert added.returncode != 0
    said = [line for line in added.stderr.splitlines() if line.startswith("git-theta:")]
    assert len(said) == 1, added.stderr
    assert FILE in said[0]
    assert "cannot be written" in said[0]
    assert "Traceback" not in added.stderr
    assert left == []
    assert tracking.read(FILE) == content
    tracking.commit("now there is room")
    (tracking.path / FILE).unlink()
    tracking.git("checkout", "--", FILE)
    assert tracking.read(FILE) == content


def test_file_that_changes_while_it_is_added(tracking: Repo) -> None:
    """Whatever is committed checks out with the digests that were committed, or the add fails in one line."""
    versions = [large(seed, 6) for seed in (0, 1)]
    path = tracking.path / FILE
    path.write_bytes(versions[0])
    stop = threading.Event()

    def scribble() -> None:
        turn = 0
        with path.open("r+b") as file:
            while not stop.is_set():
                turn += 1
                middle = len(versions[0]) // 2
                file.seek(middle)
                file.write(versions[turn % 2][middle : middle + 3_000_000])
                file.flush()

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        results = [tracking.git("hash-object", "-w", f"--path={FILE}", FILE, check=False) for _ in range(6)]
    finally:
        stop.set()
        writer.join()
    assert bad_objects(tracking) == []
    for result in results:
        assert "Traceback" not in result.stderr
        if result.returncode:
            assert "changed while it was added" in result.stderr
        else:
            # Values are verified by their digests when they are checked out.
            tracking.git_bytes("cat-file", "--filters", f"--path={FILE}", result.stdout.strip())


def test_file_that_is_truncated_while_it_is_added_kills_nobody(tracking: Repo) -> None:
    content = large(0)
    path = tracking.path / FILE
    for delay in (0.1, 0.2, 0.3, 0.4):
        path.write_bytes(content)
        adding = subprocess.Popen(["git", "add", FILE], cwd=tracking.path, stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        os.truncate(path, 1000)
        _, said = adding.communicate()
        assert "hung up" not in said
        assert "Traceback" not in said
        assert bad_objects(tracking) == []
    path.write_bytes(content)
    tracking.commit("whole")
    path.unlink()
    tracking.git("checkout", "--", FILE)
    assert path.read_bytes() == content


def test_read_only_store_is_one_line(tracking: Repo) -> None:
    (tracking.path / ".git/theta").write_text("in the way")
    tracking.write(FILE, large(0, 1))
    added = tracking.git("add", FILE, check=False)
    assert added.returncode != 0
    said = [line for line in added.stderr.splitlines() if line.startswith("git-theta:")]
    assert len(said) == 1
    assert "Traceback" not in added.stderr


HOSTILE = {
    "future version": (b'{"git-theta":1,', b'{"git-theta":2,', "newer git-theta"),
    "bad oid": (b'"oid":"', b'"oid":"../../../', "malformed"),
    "absurd size": (b'"size":', b'"size":9', "metadata file"),
    "conflict marker": (b'"groups":[\n', b'"groups":[\n<<<<<<< ours\n', "conflict marker"),
    "absurd shape": (b'"shape":[', b'"shape":[4000000000000,', "metadata file"),
    "trailing text": (b"]}\n", b"]}\nrm -rf\n", "metadata file"),
}


@pytest.fixture(scope="module")
def _kept(_tracking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = copied(_tracking, tmp_path_factory.mktemp("states") / "kept")
    repo.write(FILE, large(0, 1))
    repo.commit("good")
    return repo.path


@pytest.fixture
def kept(_kept: Path, tmp_path: Path) -> Repo:
    return copied(_kept, tmp_path / "kept")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_file_is_refused_in_one_line(kept: Repo, name: str) -> None:
    old, new, reason = HOSTILE[name]
    good = kept.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    bad = good.replace(old, new, 1)
    assert bad != good
    blob = kept.git("hash-object", "-w", "--no-filters", "--stdin", stdin=bad).stdout.strip()
    kept.git("update-index", "--cacheinfo", f"100644,{blob},{FILE}")
    kept.git("commit", "-qm", "bad")
    (kept.path / FILE).unlink()
    checkout = kept.git("checkout", "HEAD", "--", FILE, check=False)
    assert checkout.returncode != 0
    said = [line for line in checkout.stderr.splitlines() if line.startswith("git-theta:")]
    assert len(said) == 1
    assert reason in said[0]
    assert FILE in said[0]
    kept.write(FILE, bad)
    assert kept.status() == ""
    kept.git("reset", "-q", "HEAD~1")
    added = kept.git("add", FILE, check=False)
    assert added.returncode != 0
    assert "Traceback" not in added.stderr


def test_metadata_file_that_asks_for_terabytes_takes_no_memory(tracking: Repo) -> None:
    """The object is too small for what the metadata file promises: an error, long before memory runs out."""
    tracking.write(FILE, large(0, 1))
    tracking.commit("good")
    good = parse(tracking.git_bytes("cat-file", "blob", f"HEAD:{FILE}"))
    first, *others = good.entries
    huge = replace(first, shape=(512_000_000, 1024))
    assert (first.name, first.shape) == ("layer.0.weight", (512, 1024))
    bad = replace(good, size=good.size - first.nbytes + huge.nbytes, entries=(huge, *others))
    smudged = subprocess.run(
        ["sh", "-c", "ulimit -v 4000000; git theta smudge -- model.safetensors | wc -c"],
        cwd=tracking.path,
        input=serialize(bad),
        capture_output=True,
        check=False,
    )
    assert b"git-theta: model.safetensors: group 'layer.0.weight'" in smudged.stderr
    assert int(smudged.stdout) < 1_000_000
