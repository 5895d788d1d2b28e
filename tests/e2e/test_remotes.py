"""Push, clone and pull with real remotes: a path, and a real LFS server over HTTP on loopback."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dulwich.lfs_server import LFSRequestHandler, run_lfs_server

from git_theta.metadata_file import parse
from tests.conftest import _reset, copied
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "model.safetensors"


def groups(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {f"layer.{n}.weight": generator.standard_normal((150, 150), dtype=np.float32) for n in range(6)} | {
        f"layer.{n}.bias": generator.standard_normal(150, dtype=np.float32) for n in range(6)
    }


class Server:
    """A real LFS server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._server, self.url = run_lfs_server("127.0.0.1", 0, str(directory))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def objects(self) -> dict[str, Path]:
        return {path.name: path for path in self.directory.rglob("*") if path.is_file() and len(path.name) == 64}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "lfs-server")
    yield running
    running.stop()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    Repo.run("git", "init", "-q", "--bare", str(tmp_path / "remote.git"), cwd=tmp_path)
    return tmp_path / "remote.git"


@pytest.fixture(scope="module")
def _author(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _reset(isolation)
    repo = Repo.init(tmp_path_factory.mktemp("states") / "author")
    repo.theta("install", "--global")
    repo.theta("track", "*.safetensors")
    repo.write(FILE, safetensors_bytes(groups(0)))
    repo.commit("base")
    return repo.path


@pytest.fixture
def author(_author: Path, bare: Path, tmp_path: Path) -> Repo:
    repo = copied(_author, tmp_path / "repo")
    repo.verb("install", "--global")
    repo.git("remote", "add", "origin", str(bare))
    return repo


def clone(source: Path, target: Path, *options: str, check: bool = True) -> Repo:
    Repo.run("git", "clone", "-q", *options, str(source), str(target), cwd=target.parent, check=check)
    return Repo(target)


def push_to(server: Server, author: Repo) -> None:
    """Push the branch, its objects to an LFS server that the branch names."""
    author.git("config", "-f", ".lfsconfig", "lfs.url", server.url)
    author.commit("where objects are")
    author.git("push", "-q", "origin", "main")


def object_names(directory: Path) -> set[str]:
    return {path.name for path in (directory / "theta/objects").rglob("*") if path.is_file()}


def test_path_remote_round_trip(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("push", "-q", "-u", "origin", "main")
    other = clone(bare, tmp_path / "clone")
    assert other.read(FILE) == author.read(FILE)
    assert other.status() == ""
    author.write(FILE, safetensors_bytes({**groups(0), "layer.2.weight": groups(1)["layer.2.weight"]}))
    author.commit("second")
    author.git("push", "-q")
    other.git("pull", "-q")
    assert other.read(FILE) == author.read(FILE)


def test_path_remote_that_is_a_worktree_is_relative_or_a_file_url(author: Repo, tmp_path: Path) -> None:
    expected = author.read(FILE)
    url = clone(author.path, tmp_path / "by path")
    assert url.read(FILE) == expected
    Repo.run("git", "clone", "-q", author.path.as_uri(), "by-url", cwd=tmp_path)
    assert Repo(tmp_path / "by-url").read(FILE) == expected
    relative = os.path.relpath(author.path, tmp_path)
    Repo.run("git", "clone", "-q", relative, "by-relative", cwd=tmp_path)
    assert Repo(tmp_path / "by-relative").read(FILE) == expected


def test_branch_that_is_pulled_without_a_remote_brings_its_objects(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("push", "-q", "origin", "main")
    other = Repo.init(tmp_path / "other")
    assert bare == tmp_path / "remote.git"
    other.git("pull", "-q", "../remote", "main")
    assert other.read(FILE) == author.read(FILE)


def test_branch_that_is_pulled_without_a_remote_brings_its_objects_from_a_server(
    author: Repo, bare: Path, server: Server, tmp_path: Path
) -> None:
    push_to(server, author)
    other = Repo.init(tmp_path / "other")
    other.git("pull", "-q", bare.as_uri(), "main")
    assert other.read(FILE) == author.read(FILE)


def test_http_server_round_trip(author: Repo, bare: Path, server: Server, tmp_path: Path) -> None:
    push_to(server, author)
    assert set(server.objects()) == object_names(author.path / ".git")
    assert object_names(bare) == set()
    other = clone(bare, tmp_path / "clone")
    assert other.read(FILE) == author.read(FILE)
    assert other.status() == ""


def test_what_skips_the_files_of_git_lfs_does_not_skip_ours(
    author: Repo, bare: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to(server, author)
    monkeypatch.setenv("GIT_LFS_SKIP_SMUDGE", "1")
    assert clone(bare, tmp_path / "clone").read(FILE) == author.read(FILE)


def test_only_new_objects_are_uploaded(author: Repo, server: Server) -> None:
    author.git("config", "lfs.url", server.url)
    author.git("push", "-q", "-u", "origin", "main")
    before = set(server.objects())
    author.write(FILE, safetensors_bytes({**groups(0), "layer.2.weight": groups(1)["layer.2.weight"]}))
    author.commit("second")
    author.git("push", "-q")
    assert len(set(server.objects()) - before) == 1


def test_nothing_is_missed_after_amend_rebase_and_squash(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("push", "-q", "-u", "origin", "main")
    author.git("checkout", "-q", "-b", "work")
    for seed in (1, 2):
        author.write(FILE, safetensors_bytes({**groups(0), f"layer.{seed}.weight": groups(9)[f"layer.{seed}.weight"]}))
        author.commit(f"work {seed}")
    author.git("commit", "-q", "--amend", "-m", "amended")
    author.git("checkout", "-q", "main")
    author.git("merge", "-q", "--squash", "work")
    author.git("commit", "-qm", "squashed")
    author.git("push", "-q", "origin", "main", "work")
    other = clone(bare, tmp_path / "clone")
    for branch in ("main", "work", "work~1"):
        other.git("checkout", "-q", f"origin/{branch}")
        author.git("checkout", "-q", branch)
        assert other.read(FILE) == author.read(FILE)


def test_tags_and_new_branches_bring_their_objects(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("checkout", "-q", "-b", "side")
    author.write(FILE, safetensors_bytes(groups(3)))
    author.commit("side")
    author.git("tag", "-a", "v1", "-m", "v1")
    author.git("push", "-q", "origin", "v1")
    other = clone(bare, tmp_path / "clone", "--branch", "v1")
    assert other.read(FILE) == author.read(FILE)


def second(author: Repo) -> None:
    """A second commit, with other values."""
    author.write(FILE, safetensors_bytes({**groups(0), "layer.2.weight": groups(1)["layer.2.weight"]}))
    author.commit("second")


def test_each_of_several_urls_to_push_to_gets_the_objects(author: Repo, bare: Path, tmp_path: Path) -> None:
    """When git calls the hook for the next URL, the remote's tracking branches tell of the one before."""
    mirror = Repo.init(tmp_path / "mirror.git", "--bare")
    for url in (bare, mirror.path):
        author.git("remote", "set-url", "--add", "--push", "origin", str(url))
    author.git("push", "-q", "origin", "main")
    second(author)
    author.git("push", "-q", "origin", "main")
    assert object_names(bare) == object_names(mirror.path) == object_names(author.path / ".git")


def test_server_of_each_of_several_urls_to_push_to_gets_the_objects(
    author: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git-lfs finds the servers by the URLs, and takes the last one for that of the remote."""
    post = LFSRequestHandler.do_POST

    def serve(request: LFSRequestHandler) -> None:
        request.path = request.path.removeprefix("/model.git/info/lfs")
        post(request)

    monkeypatch.setattr(LFSRequestHandler, "do_POST", serve)
    servers = [Server(tmp_path / f"server-{number}") for number in range(2)]
    try:
        for server in servers:
            author.git("remote", "set-url", "--add", "--push", "origin", f"{server.url}/model")
        for server in servers:
            line = f"refs/heads/main {author.rev('main')} refs/heads/main {'0' * 40}\n"
            author.theta("pre-push", "origin", f"{server.url}/model", stdin=line)
        for server in servers:
            assert set(server.objects()) == object_names(author.path / ".git")
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("branch", ["main", "new"])
def test_remote_that_has_moved_gets_the_objects(author: Repo, tmp_path: Path, branch: str) -> None:
    author.git("push", "-q", "origin", "main")
    moved = Repo.init(tmp_path / "moved.git", "--bare")
    author.git("remote", "set-url", "origin", str(moved.path))
    author.git("push", "-q", "origin", f"main:{branch}")
    assert object_names(moved.path) == object_names(author.path / ".git")


def test_commit_that_is_named_by_its_message_is_pushed(author: Repo, bare: Path) -> None:
    second(author)
    author.git("commit", "-q", "--allow-empty", "-m", "one more")
    author.git("push", "-q", "origin", "HEAD^{/one more}:refs/heads/named")
    assert object_names(bare) == object_names(author.path / ".git")


def test_objects_of_commits_that_others_stand_for_are_pushed(author: Repo, bare: Path) -> None:
    """Git pushes the history as it was made, whatever git replace shows here."""
    for seed in (1, 2):
        author.write(FILE, safetensors_bytes(groups(seed)))
        author.commit(f"seed {seed}")
    author.git("replace", "--graft", "HEAD")
    author.git("replace", author.rev(f"HEAD:{FILE}"), author.rev("HEAD:.gitattributes"))
    author.git("push", "-q", "origin", "main")
    assert object_names(bare) == object_names(author.path / ".git")
    shutil.rmtree(bare / "theta")
    author.theta("push", "--all", "origin")
    assert object_names(bare) == object_names(author.path / ".git")


def test_deleting_a_remote_branch_needs_no_objects(author: Repo) -> None:
    author.git("push", "-q", "origin", "main:gone")
    shutil.rmtree(author.path / ".git/theta/objects")
    author.git("push", "-q", "origin", ":gone")
    assert "gone" not in author.git("ls-remote", "origin").stdout


def test_failed_upload_fails_the_push(author: Repo, bare: Path, server: Server) -> None:
    author.git("config", "lfs.url", server.url.replace(server.url.rpartition(":")[2], "1"))
    pushed = author.git("push", "-q", "origin", "main", check=False)
    assert pushed.returncode != 0
    assert "git-theta: git-lfs could not upload" in pushed.stderr
    assert Repo(bare).git("for-each-ref").stdout == ""


def test_failed_upload_tells_no_password(author: Repo) -> None:
    pushed = author.theta("push", "http://ada:secret@127.0.0.1:1/model", check=False)
    assert "could not upload all 7 objects to http://127.0.0.1:1/model (see above)" in pushed.stderr
    assert "secret" not in pushed.stderr


def test_upload_that_git_lfs_takes_for_a_success_fails_the_push(
    author: Repo, bare: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    author.git("config", "lfs.url", server.url)

    def refuse(request: LFSRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        request.send_error(422, "Unprocessable")

    monkeypatch.setattr(LFSRequestHandler, "handle_upload", refuse)
    pushed = author.git("push", "-q", "origin", "main", check=False)
    assert pushed.returncode != 0
    assert "git-theta: git-lfs could not upload" in pushed.stderr
    assert "lfs.contenttype" in pushed.stderr  # What git-lfs says is passed on.
    assert Repo(bare).git("for-each-ref").stdout == ""


def test_object_that_is_nowhere_fails_the_push(author: Repo, bare: Path) -> None:
    shutil.rmtree(author.path / ".git/theta/objects")
    pushed = author.git("push", "-q", "origin", "main", check=False)
    assert pushed.returncode != 0
    assert "neither here nor at origin" in pushed.stderr
    assert Repo(bare).git("for-each-ref").stdout == ""


@pytest.fixture
def without_objects(author: Repo, bare: Path, server: Server, tmp_path: Path) -> Repo:
    """A clone that has metadata files only, and has merged two branches that the remote has."""
    author.git("config", "remote.origin.lfsurl", server.url)
    author.git("checkout", "-q", "-b", "side")
    author.write(FILE, safetensors_bytes({**groups(0), "layer.2.weight": groups(1)["layer.2.weight"]}))
    author.commit("side")
    author.git("push", "-q", "origin", "main", "side")
    skip = {"GIT_THETA_SKIP_SMUDGE": "1"}
    setting = f"remote.origin.lfsurl={server.url}"
    Repo.run("git", "clone", "-q", "-c", setting, str(bare), "clone", cwd=tmp_path, env=skip)
    other = Repo(tmp_path / "clone")
    other.git("commit", "-q", "--allow-empty", "-m", "so that it is a merge", env=skip)
    other.git("merge", "-q", "--no-edit", "origin/side", env=skip)
    assert object_names(other.path / ".git") == set()
    return other


def test_merge_without_objects_is_pushed_to_where_they_are(without_objects: Repo, server: Server) -> None:
    before = set(server.objects())
    without_objects.git("push", "-q", "origin", "main")
    assert set(server.objects()) == before
    assert object_names(without_objects.path / ".git") == set()


def test_merge_without_objects_brings_them_to_a_new_server(without_objects: Repo, tmp_path: Path) -> None:
    second = Server(tmp_path / "second-server")
    try:
        Repo.init(tmp_path / "second.git", "--bare")
        without_objects.git("config", "remote.second.url", str(tmp_path / "second.git"))
        without_objects.git("config", "remote.second.lfsurl", second.url)
        without_objects.git("push", "-q", "second", "main")
        assert len(second.objects()) == len(set(second.objects()) & object_names(without_objects.path / ".git")) > 0
    finally:
        second.stop()


def test_objects_that_nobody_has_stop_the_push_to_a_new_server(
    without_objects: Repo, server: Server, tmp_path: Path
) -> None:
    second = Server(tmp_path / "second-server")
    try:
        for path in server.objects().values():
            path.unlink()
        Repo.init(tmp_path / "second.git", "--bare")
        without_objects.git("config", "remote.second.url", str(tmp_path / "second.git"))
        without_objects.git("config", "remote.second.lfsurl", second.url)
        pushed = without_objects.git("push", "-q", "second", "main", check=False)
        assert pushed.returncode != 0
        (said,) = [line for line in pushed.stderr.splitlines() if line.startswith("git-theta: ")]
        assert " objects to be pushed are not here (the first is " in said
        assert "git-lfs ended while it was fetching objects (see above)" in said
        assert f"Errors logged to '{without_objects.path}/.git/theta/logs/" in pushed.stderr
        assert "git lfs logs last" not in pushed.stderr  # It would say that there is none.
        assert said.endswith("; if no remote has them, push from where they were committed")
        assert Repo(tmp_path / "second.git").git("for-each-ref").stdout == ""
    finally:
        second.stop()


def test_clone_that_never_stored_anything_has_the_hook(without_objects: Repo) -> None:
    assert (without_objects.path / ".git/hooks/pre-push").exists()


def test_damaged_object_does_not_travel(author: Repo, bare: Path) -> None:
    victim = max((author.path / ".git/theta/objects").rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(data)
    pushed = author.git("push", "-q", "origin", "main", check=False)
    assert pushed.returncode != 0
    assert victim.name in pushed.stderr
    assert victim.name not in object_names(bare)


def test_missing_object_names_file_group_and_command(author: Repo, bare: Path, server: Server, tmp_path: Path) -> None:
    push_to(server, author)
    name, path = max(server.objects().items(), key=lambda item: item[1].stat().st_size)
    hidden = path.rename(tmp_path / "hidden")
    other = clone(bare, tmp_path / "clone", check=False)
    checkout = other.git("checkout", "-f", "HEAD", check=False)
    assert checkout.returncode != 0
    line = next(line for line in checkout.stderr.splitlines() if name in line and line.startswith("git-theta:"))
    assert FILE in line
    assert "layer." in line
    assert "git theta fetch" in line
    hidden.rename(path)
    other.git("checkout", "-f", "HEAD")
    assert other.read(FILE) == author.read(FILE)


@pytest.fixture
def sharded(author: Repo, server: Server) -> Repo:
    """A model in four files, on the server."""
    for number in range(4):
        author.write(f"shard-{number}.safetensors", safetensors_bytes(groups(10 + number)))
    author.git("config", "-f", ".lfsconfig", "lfs.url", server.url)
    author.commit("shards")
    author.git("push", "-q", "origin", "main")
    return author


def test_server_is_asked_once_for_all_files_of_a_checkout(sharded: Repo, bare: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    Repo.run("env", f"GIT_TRACE={trace}", "git", "clone", "-q", str(bare), str(tmp_path / "clone"), cwd=tmp_path)
    other = Repo(tmp_path / "clone")
    for name in (FILE, *(f"shard-{number}.safetensors" for number in range(4))):
        assert other.read(name) == sharded.read(name)
    assert other.status() == ""
    assert trace.read_text().count("exec: git-lfs filter-process") == 1


def test_file_that_cannot_be_had_keeps_no_other_away(sharded: Repo, bare: Path, server: Server, tmp_path: Path) -> None:
    lost = parse(sharded.git_bytes("cat-file", "-p", "HEAD:shard-1.safetensors")).objects()
    server.objects()[next(iter(lost)).oid].unlink()
    other = clone(bare, tmp_path / "clone", check=False)
    whole = [FILE, *(f"shard-{number}.safetensors" for number in (0, 2, 3))]
    assert sorted(path.name for path in other.path.glob("*.safetensors")) == whole
    assert all(other.read(name) == sharded.read(name) for name in whole)


@pytest.mark.usefixtures("sharded")
def test_server_that_has_nothing_is_given_up_soon(bare: Path, server: Server, tmp_path: Path) -> None:
    shutil.rmtree(server.directory)
    done = Repo.run("git", "clone", "-q", str(bare), "clone", cwd=tmp_path, check=False)
    assert 0 < done.stderr.count("Error downloading object") < 6


def test_server_is_not_asked_again_for_what_it_failed_to_send(
    author: Repo, bare: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git-lfs is patient by itself: it takes half a minute before it ends."""
    push_to(server, author)
    monkeypatch.setattr(LFSRequestHandler, "handle_download", lambda request: request.send_error(403, "Forbidden"))
    author.git("config", "--global", "lfs.transfer.maxretries", "1")
    done = Repo.run("git", "clone", "-q", str(bare), "clone", cwd=tmp_path, check=False)
    assert "git-theta: model.safetensors: " in done.stderr
    assert done.stderr.count("Error downloading object") == 2


def test_checkout_that_waits_in_vain_puts_all_files_back(
    sharded: Repo, bare: Path, server: Server, tmp_path: Path
) -> None:
    sharded.git("checkout", "-q", "-b", "next")
    names = [f"shard-{number}.safetensors" for number in range(4)]
    for number, name in enumerate([*names, "new.safetensors"]):
        sharded.write(name, safetensors_bytes(groups(20 + number)))
    sharded.commit("next")
    sharded.git("push", "-q", "origin", "next")
    other = clone(bare, tmp_path / "clone")
    before = {name: other.read(name) for name in names}
    shutil.rmtree(server.directory)
    checkout = other.git("checkout", "next", check=False)
    assert checkout.returncode != 0
    assert "git theta fetch" in checkout.stderr
    assert "git took it out" not in checkout.stderr
    assert {name: other.read(name) for name in names} == before
    assert other.status() == ""


def test_damaged_object_is_fetched_anew(author: Repo, bare: Path, server: Server, tmp_path: Path) -> None:
    push_to(server, author)
    other = clone(bare, tmp_path / "clone")
    victim = max((other.path / ".git/theta/objects").rglob("*"), key=lambda path: path.stat().st_size)
    victim.chmod(0o644)
    victim.write_bytes(bytes(victim.stat().st_size))
    (other.path / FILE).unlink()
    checkout = other.git("checkout", "--", FILE, check=False)
    assert checkout.returncode != 0
    assert "git theta fetch --verify" in checkout.stderr
    assert not (other.path / FILE).exists()
    other.theta("fetch", "--verify")
    other.git("checkout", "--", FILE)
    assert other.read(FILE) == author.read(FILE)


def test_clone_that_only_fetches_keeps_no_download_that_was_killed(
    author: Repo, bare: Path, server: Server, tmp_path: Path
) -> None:
    push_to(server, author)
    Repo.run("git", "clone", "-q", str(bare), "clone", cwd=tmp_path, env={"GIT_THETA_SKIP_SMUDGE": "1"})
    other = Repo(tmp_path / "clone")
    half = other.path / ".git/theta/incomplete" / ("0" * 64)
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half an object")
    os.utime(half, (0, 0))
    other.verb("fetch")
    assert object_names(other.path / ".git") == set(server.objects())
    assert not half.exists()


def test_clone_without_the_filter_can_be_filled_later(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("push", "-q", "origin", "main")
    author.theta("uninstall", "--global", "--skip-repo")
    other = clone(bare, tmp_path / "clone")
    assert other.read(FILE).startswith(b'{"git-theta":')
    other.theta("install", "--local")
    other.theta("pull")
    assert other.read(FILE) == author.read(FILE)
    assert other.status() == ""


def test_fresh_clone_that_commits_has_the_hook(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("push", "-q", "origin", "main")
    other = clone(bare, tmp_path / "clone")
    other.write(FILE, safetensors_bytes(groups(5)))
    other.commit("from the clone")
    other.git("push", "-q", "origin", "HEAD:main")
    author.git("pull", "-q", "origin", "main")
    assert author.read(FILE) == other.read(FILE)


def test_two_remotes_get_what_each_lacks(author: Repo, bare: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.git"
    Repo.run("git", "init", "-q", "--bare", str(second), cwd=tmp_path)
    author.git("remote", "add", "second", str(second))
    author.git("push", "-q", "origin", "main")
    author.git("push", "-q", "second", "main")
    assert object_names(second) == object_names(bare) == object_names(author.path / ".git")


def test_push_to_a_url_without_a_name(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.git("push", "-q", str(bare), "main")
    assert clone(bare, tmp_path / "clone").read(FILE) == author.read(FILE)


def test_shallow_and_single_branch_clones(author: Repo, bare: Path, tmp_path: Path) -> None:
    author.write(FILE, safetensors_bytes(groups(4)))
    author.commit("second")
    author.git("push", "-q", "origin", "main")
    other = clone(bare, tmp_path / "clone", "--depth=1", "--no-local")
    assert other.read(FILE) == author.read(FILE)
    other.write(FILE, safetensors_bytes({**groups(4), "layer.0.weight": groups(6)["layer.0.weight"]}))
    other.commit("from a shallow clone")
    other.git("push", "-q", "origin", "HEAD:main")
    author.git("pull", "-q", "origin", "main")
    assert author.read(FILE) == other.read(FILE)


@pytest.fixture
def lfs_clone(repo: Repo, bare: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A clone, without its objects, of a repository that keeps a checkpoint with Git LFS."""
    repo.git("lfs", "install", "--local")
    repo.theta("install", "--global")
    repo.git("lfs", "track", "*.safetensors")
    repo.git("config", "-f", ".lfsconfig", "lfs.url", server.url)
    repo.write(FILE, safetensors_bytes(groups(0)))
    repo.commit("with git-lfs")
    repo.git("push", "-q", str(bare), "main")
    other = clone(bare, tmp_path / "clone")
    monkeypatch.setenv("GIT_LFS_SKIP_SMUDGE", "1")
    other.git("lfs", "install", "--local", "--skip-repo")
    return other


def test_pointer_of_git_lfs_stays_one_until_it_is_filled(repo: Repo, lfs_clone: Repo) -> None:
    pointer = lfs_clone.git_bytes("cat-file", "-p", f"HEAD:{FILE}")
    lfs_clone.write(FILE, pointer)
    lfs_clone.theta("track", "*.safetensors")
    said = lfs_clone.git("add", "--renormalize", ".").stderr
    assert f"{FILE}: a pointer of Git LFS" in said
    assert "'git lfs pull'" in said
    lfs_clone.git("commit", "-q", "-m", "track with git-theta")
    assert lfs_clone.git_bytes("cat-file", "-p", f"HEAD:{FILE}") == pointer
    assert lfs_clone.status() == ""
    lfs_clone.git("lfs", "pull")
    lfs_clone.commit("the checkpoint itself")
    assert lfs_clone.theta("ls-files").stdout == f"safetensors  * {FILE}\n"
    (lfs_clone.path / FILE).unlink()
    lfs_clone.git("checkout", "--", FILE)
    assert lfs_clone.read(FILE) == repo.read(FILE)


def test_git_lfs_prune_leaves_our_objects(author: Repo, server: Server) -> None:
    author.git("config", "lfs.url", server.url)
    author.git("lfs", "install", "--local", "--force")
    author.theta("install", "--local")
    author.git("push", "-q", "origin", "main")
    before = object_names(author.path / ".git")
    author.git("lfs", "prune")
    assert object_names(author.path / ".git") == before


@pytest.fixture
def without_lfs(author: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A PATH on which there is everything but git-lfs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for directory in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(directory).iterdir() if Path(directory).is_dir() else ():
            if program.name != "git-lfs" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    assert author.git("lfs", "version", check=False).returncode != 0
    return author


def test_without_lfs_all_local_work_and_path_remotes_run(without_lfs: Repo, bare: Path, tmp_path: Path) -> None:
    author = without_lfs
    author.git("checkout", "-q", "-b", "tune")
    author.write(FILE, safetensors_bytes(groups(8)))
    author.commit("tuned")
    author.git("checkout", "-q", "main")
    author.git("merge", "-q", "tune")
    author.git("push", "-q", "origin", "main")
    assert clone(bare, tmp_path / "clone").read(FILE) == safetensors_bytes(groups(8))


def test_without_lfs_a_push_over_http_says_what_to_install(without_lfs: Repo, server: Server) -> None:
    without_lfs.git("config", "lfs.url", server.url)
    pushed = without_lfs.git("push", "-q", "origin", "main", check=False)
    assert pushed.returncode != 0
    said = [line for line in pushed.stderr.splitlines() if line.startswith("git-theta:")]
    assert len(said) == 1
    assert "install git-lfs" in said[0]
