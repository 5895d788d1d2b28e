"""git theta fetch: objects come into the local store, the worktree stays."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.helpers import Repo

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

FILE = "model.safetensors"


@pytest.fixture
def count(published: Repo) -> int:
    """How many objects main has; side has one more."""
    return len(published.objects()) - 1


def test_objects_of_the_checkout_come_and_the_worktree_stays(clone: Repo, count: int) -> None:
    before = clone.read(FILE)
    done = clone.verb("fetch")
    assert (done.stdout, done.stderr) == (f"{count} objects fetched\n", "")
    assert len(clone.objects()) == count
    assert clone.read(FILE) == before
    assert clone.verb("fetch").stdout == "0 objects fetched\n"


def test_revisions_that_are_named_are_the_ones_that_come(clone: Repo, published: Repo, count: int) -> None:
    assert clone.verb("fetch", "origin", "origin/side").stdout == f"{count} objects fetched\n"
    assert clone.verb("fetch", "origin", "main", "origin/side").stdout == "1 object fetched\n"
    assert set(clone.objects()) == set(published.objects())


def test_staged_but_not_committed_counts_as_well(published: Repo, count: int) -> None:
    published.git("checkout", "-q", "side", "--", FILE)
    shutil.rmtree(published.path / ".git/theta/objects")
    assert published.verb("fetch").stdout == f"{count + 1} objects fetched\n"


def test_revision_that_tracks_while_the_worktree_does_not(clone: Repo, count: int) -> None:
    clone.git("checkout", "-q", "--orphan", "code")
    clone.git("rm", "-rqf", ".")
    clone.write("train.py", "")
    clone.commit("code alone")
    assert clone.verb("fetch", "origin", "origin/main").stdout == f"{count} objects fetched\n"


def test_unknown_revision_is_a_failure(clone: Repo) -> None:
    done = clone.verb("fetch", "origin", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nosuch" in done.stderr
    assert done.stderr.count("\n") == 1


def test_in_a_subdirectory_all_objects_come(clone: Repo, count: int) -> None:
    (clone.path / "sub").mkdir()
    assert clone.verb("fetch", cwd=clone.path / "sub").stdout == f"{count} objects fetched\n"
    assert len(clone.objects()) == count


def test_remote_that_is_gone_is_a_failure_of_one_line(clone: Repo, remote: Repo, count: int) -> None:
    remote.path.rename(remote.path.with_name("moved.git"))
    done = clone.verb("fetch", check=False)
    assert (done.returncode, done.stdout) == (1, "0 objects fetched\n")
    assert done.stderr.startswith(f"git-theta: {FILE}: {count} of {count} objects could not be had")
    assert done.stderr.count("\n") == 1
    assert "PATH" not in done.stderr
    assert clone.verb("fetch", str(remote.path.with_name("moved.git"))).stdout == f"{count} objects fetched\n"


def test_remote_that_is_named_and_gone_is_a_failure_though_nothing_is_missing(published: Repo, remote: Repo) -> None:
    """So is a branch that is taken for a path: `git theta fetch origin/main`."""
    remote.path.rename(remote.path.with_name("moved.git"))
    for name in ("origin", "origin/main"):
        done = published.verb("fetch", name, check=False)
        assert (done.returncode, done.stdout) == (1, "0 objects fetched\n")
        assert "is not a repository that can be read" in done.stderr
        assert done.stderr.count("\n") == 1
    assert published.verb("fetch").returncode == 0


def test_damaged_object_is_found_by_verify_and_replaced(clone: Repo) -> None:
    clone.verb("fetch")
    name, victim = max(clone.objects().items(), key=lambda item: item[1].stat().st_size)
    content = victim.read_bytes()
    damaged = bytes([content[0] ^ 1]) + content[1:]
    victim.chmod(0o644)
    victim.write_bytes(damaged)
    assert clone.verb("fetch").stdout == "0 objects fetched\n"
    assert clone.verb("fetch", "--verify").stdout == "1 object fetched\n"
    assert clone.objects()[name].read_bytes() == content
    assert (clone.path / ".git/theta/bad" / name).read_bytes() == damaged
    assert clone.verb("fetch", "--verify").stdout == "0 objects fetched\n"


def as_anyone(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody for whom the permissions of files count."""
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        command = ("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command)
    return Repo.run(*command, cwd=cwd, check=False)


def test_object_that_may_not_be_read_is_named_once_and_the_others_are_verified(clone: Repo) -> None:
    clone.verb("fetch")
    (name, victim), (other, broken) = sorted(clone.objects().items())[:2]
    victim.chmod(0)
    broken.chmod(0o644)
    broken.write_bytes(bytes(broken.stat().st_size))
    done = as_anyone("git-theta", "fetch", "--verify", cwd=clone.path)
    assert (done.returncode, done.stdout) == (1, "1 object fetched\n")
    hint = f"let yourself read the files in {clone.path / '.git/theta'}"
    why = f"it cannot be read: Permission denied: {hint}"
    assert done.stderr == f"git-theta: object {name} cannot be verified: {why}\n"
    assert victim.exists()
    assert [file.name for file in (clone.path / ".git/theta/bad").iterdir()] == [other]
    done = as_anyone("sh", "-c", f"git cat-file blob :{FILE} | git-theta smudge {FILE}", cwd=clone.path)
    assert done.stderr.count(name) == 1
    assert done.stderr.endswith(f" object {name} cannot be used: {why}\n")


def test_object_that_may_not_be_read_at_one_remote_comes_from_another(
    clone: Repo, remote: Repo, published: Repo
) -> None:
    victim = max(remote.objects().values(), key=lambda file: file.stat().st_size)
    victim.chmod(0)
    done = as_anyone("git-theta", "fetch", cwd=clone.path)
    assert done.returncode == 1
    assert f"object {victim.name} of {remote.path}/theta cannot be used: it cannot be read: " in done.stderr
    assert remote.objects().keys() - clone.objects().keys() >= {victim.name}
    assert len(clone.objects()) > 1
    clone.git("remote", "add", "second", str(published.path))
    done = as_anyone("git-theta", "fetch", cwd=clone.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 object fetched\n", "")


def test_object_cut_short_is_fetched_anew(clone: Repo) -> None:
    clone.verb("fetch")
    name, victim = max(clone.objects().items(), key=lambda item: item[1].stat().st_size)
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content[:-1])
    assert clone.verb("fetch").stdout == "1 object fetched\n"
    assert clone.objects()[name].read_bytes() == content


def damaged(remote: Repo) -> str:
    name, victim = max(remote.objects().items(), key=lambda item: item[1].stat().st_size)
    victim.chmod(0o644)
    victim.write_bytes(bytes(victim.stat().st_size))
    return name


def test_object_damaged_at_the_remote_does_not_come_and_the_others_do(clone: Repo, remote: Repo) -> None:
    name = damaged(remote)
    done = clone.verb("fetch", "origin", "main", "origin/side", check=False)
    assert done.returncode == 1
    assert f"object {name} of {remote.path}/theta cannot be used: its SHA-256 is not its name" in done.stderr
    assert clone.objects().keys() == remote.objects().keys() - {name}


def test_object_damaged_at_one_remote_comes_from_another(clone: Repo, remote: Repo, published: Repo) -> None:
    name = damaged(remote)
    clone.git("remote", "add", "second", str(published.path))
    done = clone.verb("fetch")
    assert done.stderr == ""
    assert name in clone.objects()


def test_metadata_files_that_cannot_be_read_are_named_and_the_others_objects_come(clone: Repo, count: int) -> None:
    for name, text in (("newer.safetensors", b'{"git-theta":99,'), ("cut.safetensors", b'{"git-theta":1,')):
        blob = clone.git("hash-object", "-w", "--stdin", "--no-filters", stdin=text).stdout.strip()
        clone.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    clone.git("update-index", "--add", "--cacheinfo", f"100644,{'1' * 40},gone.safetensors")
    done = clone.verb("fetch", check=False)
    assert (done.returncode, done.stdout) == (1, f"{count} objects fetched\n")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "cut.safetensors",
        "gone.safetensors",
        "newer.safetensors",
    ]
    assert len(clone.objects()) == count


def test_nothing_tracked_nothing_to_fetch(repo: Repo) -> None:
    assert repo.verb("fetch").stdout == "0 objects fetched\n"
