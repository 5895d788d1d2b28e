"""What goes wrong in a merge: objects that are nowhere, a killed driver. Both sides stay as they are."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.metadata_file import parse
from git_theta.store.objects import ObjectStore
from tests.e2e.forks import FILE, Fork, different, groups, saved
from tests.helpers import TIMEOUT, Repo, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Arrays


def lose(fork: Fork, branch: str, keep: str) -> list[str]:
    """Remove the objects that only one branch has; returns their names."""
    store = ObjectStore(fork.theta_directory())
    kept = {ref.oid for ref in parse(fork.repo.git_bytes("cat-file", "blob", f"{keep}:{FILE}")).objects()}
    lost = {ref.oid for ref in parse(fork.repo.git_bytes("cat-file", "blob", f"{branch}:{FILE}")).objects()} - kept
    for oid in lost:
        store.path(oid).unlink()
    return sorted(lost)


@pytest.mark.parametrize("command", [("merge", "--no-edit"), ("cherry-pick",)])
def test_objects_of_the_other_side_that_are_nowhere_are_a_conflict(fork: Fork, command: tuple[str, ...]) -> None:
    """Git would take the file away before it notices that it cannot write the merged one: the driver says so first."""
    fork.on("attn")
    lost = lose(fork, "mlp", keep="attn")
    said = fork.git(*command, "mlp", check=False)
    fork.conflict(said=said, a=1)
    assert any(oid in said.text for oid in lost)
    assert "group 'mlp.weight'" in said.text
    fork.git(command[0], "--abort")
    fork.settled(a=1)
    assert fork.repo.status() == ""


@pytest.mark.parametrize(
    "command",
    [
        ("merge", "--no-edit", "lost"),
        ("cherry-pick", "lost"),
        ("revert", "--no-edit", "HEAD"),
        ("rebase", "lost"),
        ("checkout", "lost"),
        ("stash", "pop"),
    ],
    ids=" ".join,
)
def test_file_is_put_back_where_no_driver_is_asked_and_git_cannot_write_the_new_one(
    fork: Fork, command: tuple[str, ...]
) -> None:
    """Git takes the old file away first, and leaves a merge that cannot be aborted."""
    fork.branch("lost", h=1)
    fork.branch("here", a=1 if command[0] == "revert" else 0)
    fork.on("here")
    if command[0] == "rebase":
        fork.git("commit", "-q", "--allow-empty", "-m", "mine")
    if command[0] == "stash":
        fork.put(h=1)
        fork.git("stash")
    assert lose(fork, "base" if command[0] == "revert" else "lost", keep="here")
    before = fork.repo.read(FILE)
    said = fork.repo.git(*command, check=False)
    assert said.returncode == 128
    (line,) = (line for line in said.stderr.splitlines() if line.startswith("git-theta: "))
    assert line.startswith(f"git-theta: {FILE}: group ")
    assert fork.repo.read(FILE) == before
    assert fork.repo.status() == ""
    if command == ("rebase", "lost"):
        fork.git("rebase", "--abort")
    assert fork.git("symbolic-ref", "--short", "HEAD").text == "here\n"


@pytest.mark.parametrize("command", [("checkout", "-m"), ("switch", "-m"), ("co",)], ids=" ".join)
def test_uncommitted_change_is_put_back_where_git_cannot_write_the_other_branch(
    fork: Fork, command: tuple[str, ...]
) -> None:
    """Git takes it away before it merges it; it is in no commit and no index."""
    fork.git("config", "alias.co", "checkout -m")
    fork.branch("lost", h=1)
    fork.on("attn")
    fork.put(a=1, m=7)
    assert lose(fork, "lost", keep="attn")
    said = fork.repo.git(*command, "lost", check=False)
    assert said.returncode == 128
    assert different(FILE, fork.repo.read(FILE), groups(a=1, m=7)) == []
    assert fork.repo.status() == f" M {FILE}\n"
    assert fork.git("symbolic-ref", "--short", "HEAD").text == "attn\n"


def test_uncommitted_change_of_a_file_that_git_did_write_is_put_back_too(fork: Fork) -> None:
    """It writes one file after the other, and merges none before all are there."""
    first = f"a-{FILE}"
    fork.branch("two", first)
    fork.branch("lost", first, start="two", k=1)
    fork.branch("lost", start="lost", h=1)
    fork.on("two")
    fork.put(first, m=7)
    before = fork.repo.read(first)
    assert lose(fork, "lost", keep="two")
    assert fork.repo.git("checkout", "-m", "lost", check=False).returncode == 128
    assert fork.repo.read(first) == before
    assert fork.repo.status() == f" M {first}\n"


def test_file_is_put_back_as_the_last_of_several_commits_made_it(fork: Fork) -> None:
    """And not as it was when the command began, though the filter saw that."""
    fork.branch("picked", a=1)
    fork.branch("lost", start="picked", a=1, h=1)
    lost = lose(fork, "lost", keep="picked")
    assert lost
    fork.git("checkout", "-q", "-b", "here", "base")
    os.utime(fork.repo.path / FILE, (1, 1))
    said = fork.repo.git("cherry-pick", "picked", "lost", check=False)
    assert said.returncode == 128
    assert any(oid in said.stderr for oid in lost)
    assert different(FILE, fork.repo.read(FILE), groups(a=1)) == []
    assert fork.repo.status() == ""
    fork.git("cherry-pick", "--abort")
    fork.has()


def test_file_that_cannot_be_put_back_is_named(fork: Fork) -> None:
    fork.branch("lost", h=1)
    fork.on("lost")
    lose(fork, "lost", keep="base")
    lose(fork, "mlp", keep="base")
    said = fork.repo.git("checkout", "mlp", check=False)
    assert said.returncode == 128
    assert f"git-theta: {FILE}: git took it out of the worktree: 'git checkout -- {FILE}' brings back" in said.stderr


def test_objects_of_the_other_side_are_fetched(fork: Fork) -> None:
    fork.git("push", "-q", "origin", "mlp")
    fork.on("attn")
    lose(fork, "mlp", keep="attn")
    fork.git("merge", "-q", "--no-edit", "mlp")
    fork.settled(a=1, m=1)
    fork.finish()


METHOD = """
import time
from pathlib import Path
from git_theta.merges import Method
mine = Method("leaves", lambda *_: leave())
def leave():
    """


def with_method(folder: Path, code: str) -> dict[str, str | None]:
    """The environment in which a merge method of somebody decides: the code of its module, which may end `METHOD`."""
    (folder / "theta_leaves.py").write_text(code)
    about = folder / "theta_leaves-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theta_leaves\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[git_theta.plugins.merges]\nleaves = theta_leaves:mine\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "GIT_THETA_MERGE": "leaves"}


def test_merge_method_that_never_ends_ends_with_the_merge_that_is_interrupted(fork: Fork, tmp_path: Path) -> None:
    """Ctrl-C reaches git, which ends at once, and its driver, which nobody could reach any more if it went on."""
    started = tmp_path / "started"
    code = f"with Path({str(started)!r}).open('a') as file: file.write('x')\n    time.sleep(600)\n"
    environment = {**os.environ, **with_method(tmp_path, METHOD + code)}
    fork.branch("other", a=2)
    fork.on("attn")
    with subprocess.Popen(
        ["git", "merge", "--no-edit", "other"],
        cwd=fork.repo.path,
        env={name: value for name, value in environment.items() if value is not None},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + TIMEOUT
        while not started.exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT)  # until everybody has closed it
    assert said == "git-theta: interrupted\n"
    assert process.returncode == -signal.SIGINT
    for left in fork.repo.path.glob(".merge_file_*"):  # git's own
        left.unlink()
    fork.settled(a=1)


@pytest.mark.parametrize("when", ["import", "merge"])
def test_merge_method_that_exits_is_a_conflict(fork: Fork, tmp_path: Path, when: str) -> None:
    """Git takes an exit code of 0 for a merge, and the file as it is, which is ours, for its result."""
    line = "raise SystemExit(0)\n"
    environment = with_method(tmp_path, line if when == "import" else METHOD + line)
    fork.branch("other", a=2, m=2)
    fork.on("attn")
    said = fork.git("merge", "--no-edit", "other", check=False, env=environment)
    assert said.code == 1
    (line,) = (line for line in said.text.splitlines() if line.startswith("git-theta: "))
    assert "SystemExit: 0" in line
    assert fork.repo.status() == f"UU {FILE}\n"
    assert different(FILE, fork.repo.read(FILE), groups(a=1)) == []
    fork.git("merge", "--abort")
    fork.settled(a=1)


def test_plug_in_that_ends_the_driver_ends_the_merge(fork: Fork, tmp_path: Path) -> None:
    """By 0 it would have our side taken for the merged file."""
    environment = with_method(tmp_path, METHOD + "__import__('os')._exit(0)\n")
    fork.branch("other", a=2, m=2)
    fork.on("attn")
    head = fork.repo.rev("HEAD")
    for verb in ("merge", "rebase", "cherry-pick"):
        fork.git(verb, "other", check=False, env=environment)
        fork.git(verb, "--abort", check=False)
        assert fork.repo.rev("HEAD") == head
        fork.settled(a=1)
    assert fork.repo.status() == ""


def test_plug_in_that_ends_the_strategy_ends_the_merge_of_several_branches(fork: Fork, tmp_path: Path) -> None:
    with_method(tmp_path, METHOD + "__import__('os')._exit(0)\n")
    fork.branch("other", a=2, m=2)
    fork.on("attn")
    head = fork.repo.rev("HEAD")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    said = fork.git("theta", "merge", "other", "mlp", "--method", "leaves", check=False, env=environment)
    assert said.code == 2
    assert fork.repo.rev("HEAD") == head
    fork.settled(a=1)
    assert fork.repo.status() == ""


def test_plug_in_that_ends_resolve_settles_nothing_for_mergetool(fork: Fork, tmp_path: Path) -> None:
    environment = with_method(tmp_path, METHOD + "__import__('os')._exit(0)\n")
    fork.branch("other", a=2, m=2)
    fork.on("attn")
    fork.git("merge", "other", check=False)
    stages = fork.git("ls-files", "--unmerged").text
    assert stages
    assert fork.git("mergetool", "--tool=theta", "--no-prompt", check=False, env=environment).code == 1
    assert fork.git("ls-files", "--unmerged").text == stages


@pytest.mark.parametrize("how", ["merge-tree", "skip", "bare"])
def test_merge_without_a_worktree_needs_no_objects(fork: Fork, how: str) -> None:
    """Metadata is all that it takes: servers merge models that they do not have."""
    fork.at("attn")
    lose(fork, "mlp", keep="attn")
    if how == "skip":
        done = fork.git("merge", "-q", "--no-edit", "mlp", env={"GIT_THETA_SKIP_SMUDGE": "1"})
        assert done.code == 0
        names = "HEAD"
    else:
        if how == "bare":
            fork.git("config", "core.bare", "true")
            fork.repo.write(".git/info/attributes", "*.safetensors merge=theta\n")
        names = fork.git("merge-tree", "--write-tree", "attn", "mlp").done.stdout.strip()
    merged = parse(fork.repo.git_bytes("cat-file", "blob", f"{names}:{FILE}"))
    wanted = parse(fork.cleaned(FILE, saved(FILE, a=1, m=1))) if how != "bare" else None
    if wanted is not None:
        assert [entry.digest for entry in merged.entries] == [entry.digest for entry in wanted.entries]


def large(seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    return {f"layer.{n}.weight": generator.standard_normal((512, 1024), dtype=np.float32) for n in range(6)}


@pytest.fixture
def apart(repo: Repo) -> Repo:
    """Two branches that differ in all groups of a model of 12 MB."""
    repo.theta("track", "*.safetensors")
    for number, branch in enumerate(("base", "theirs", "ours")):
        repo.git("checkout", "-q", "-b", branch, *(("base",) if number else ()))
        repo.write(FILE, safetensors_bytes(large(number)))
        repo.commit(branch)
    return repo


def whole(repo: Repo) -> bool:
    """Whether each object of the store is what its name says."""
    return all(sha256(path.read_bytes()).hexdigest() == name for name, path in repo.objects().items())


def test_killed_driver_is_a_conflict(apart: Repo) -> None:
    """Whenever it dies, our side stays, abort restores it, and the next merge is as the first would have been.

    Between its last act, which puts the result in the place of ours, and its end, the result is there as a whole: git
    takes that for a conflict as well, and keeps all sides.
    """
    driver = apart.git("config", "merge.theta.driver").stdout.strip()
    ties = {"GIT_THETA_MERGE": "ties density=0.5"}
    ours = apart.read(FILE)
    codes, left = [], []
    for seconds in (0.05, 0.3, 0.6):
        apart.git("config", "merge.theta.driver", f"timeout -s KILL {seconds} {driver}")
        merged = apart.git("merge", "--no-edit", "theirs", check=False, env=ties)
        codes.append(merged.returncode)
        assert whole(apart)
        if merged.returncode:
            assert apart.status().splitlines()[0] == f"UU {FILE}"
            left.append(apart.read(FILE))
            apart.git("merge", "--abort")
        else:
            apart.git("reset", "-q", "--hard", "HEAD~1")
        assert apart.git("status", "--porcelain", "--untracked-files=no").stdout == ""
        is_ours = apart.read(FILE) == ours
        assert is_ours  # a difference of megabytes takes long to show
    assert codes[0] == 1
    is_ours = left[0] == ours
    assert is_ours
    apart.git("config", "merge.theta.driver", driver)
    apart.git("merge", "-q", "--no-edit", "theirs", env=ties)
    result = apart.read(FILE)
    is_one_of_them = [content in (ours, result) for content in left]
    assert all(is_one_of_them)
    apart.git("reset", "-q", "--hard", "HEAD~1")
    apart.git("merge", "-q", "--no-edit", "theirs", env={"GIT_THETA_MERGE": "average"})
    half = np.float32(0.5)
    mean = {name: array * half + large(1)[name] * half for name, array in large(2).items()}
    is_the_mean = apart.read(FILE) == safetensors_bytes(mean)
    assert is_the_mean


def test_driver_killed_after_its_last_act_is_a_conflict_with_the_whole_result(apart: Repo) -> None:
    driver = apart.git("config", "merge.theta.driver").stdout.strip()
    sides = {branch: apart.rev(f"{branch}:{FILE}") for branch in ("ours", "theirs")}
    apart.git("config", "merge.theta.driver", f"{driver} && kill -KILL $$")
    average = {"GIT_THETA_MERGE": "average"}
    assert apart.git("merge", "--no-edit", "theirs", check=False, env=average).returncode == 1
    stages = [line.split()[1:3] for line in apart.git("ls-files", "-u").stdout.splitlines()]
    assert stages[1:] == [[sides["ours"], "2"], [sides["theirs"], "3"]]
    left = apart.read(FILE)
    apart.git("merge", "--abort")
    apart.git("config", "merge.theta.driver", driver)
    apart.git("merge", "-q", "--no-edit", "theirs", env=average)
    is_the_result = apart.read(FILE) == left
    assert is_the_result


def test_killed_merge_leaves_our_side(apart: Repo) -> None:
    """Git and the driver die together; what they left is no obstacle."""
    ours = apart.read(FILE)
    for seconds in (0.3, 0.7):
        merging = subprocess.Popen(
            ["git", "merge", "-q", "--no-edit", "theirs"],
            cwd=apart.path,
            env={**os.environ, "GIT_THETA_MERGE": "ties density=0.5"},
            start_new_session=True,
        )
        time.sleep(seconds)
        os.killpg(merging.pid, signal.SIGKILL)
        merging.wait()
        (apart.path / ".git/index.lock").unlink(missing_ok=True)  # As git itself asks after a kill.
        assert whole(apart)
        if apart.rev("HEAD") == apart.rev("ours"):
            apart.git("reset", "-q", "--hard")
        else:
            apart.git("reset", "-q", "--hard", "HEAD~1")
        is_ours = apart.read(FILE) == ours
        assert is_ours
        assert apart.git("status", "--porcelain", "--untracked-files=no").stdout == ""
    apart.git("merge", "-q", "--no-edit", "theirs", env={"GIT_THETA_MERGE": "average"})
    assert apart.git("status", "--porcelain", "--untracked-files=no").stdout == ""
