"""git theta push: objects go to a remote without commits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers import Repo, model, safetensors_bytes

FILE = "model.safetensors"


@pytest.fixture
def remote(tracked: Repo, tmp_path: Path) -> Repo:
    """An empty bare repository, which is the "origin" of "tracked"."""
    bare = Repo.init(tmp_path / "remote.git", "--bare")
    tracked.git("remote", "add", "origin", str(bare.path))
    return bare


@pytest.fixture
def count(tracked: Repo) -> int:
    """How many objects there are."""
    return len(tracked.objects())


def test_objects_of_head_go_and_no_commits(tracked: Repo, remote: Repo, count: int) -> None:
    done = tracked.verb("push", "origin")
    assert (done.stdout, done.stderr) == (f"{count} objects are at origin\n", "")
    assert remote.objects().keys() == tracked.objects().keys()
    assert remote.git("for-each-ref").stdout == ""


def test_remote_may_be_a_path(tracked: Repo, remote: Repo, count: int) -> None:
    assert tracked.verb("push", str(remote.path)).stdout == f"{count} objects are at {remote.path}\n"
    assert remote.objects().keys() == tracked.objects().keys()


def test_each_of_several_urls_to_push_to_gets_the_objects(tracked: Repo, remote: Repo, tmp_path: Path) -> None:
    mirror = Repo.init(tmp_path / "mirror.git", "--bare")
    for bare in (remote, mirror):
        tracked.git("remote", "set-url", "--add", "--push", "origin", str(bare.path))
    tracked.verb("push", "--all", "origin")
    assert remote.objects().keys() == mirror.objects().keys() == tracked.objects().keys()


def test_revisions_that_are_named_are_the_ones_that_go(tracked: Repo, remote: Repo) -> None:
    base = tracked.objects().keys()
    tracked.git("checkout", "-q", "-b", "side")
    tracked.write(FILE, safetensors_bytes(model(0, head_weight=model(1)["head_weight"])))
    tracked.commit("side")
    tracked.verb("push", "origin", "main")
    assert remote.objects().keys() == base
    tracked.git("checkout", "-q", "main")
    tracked.verb("push", "origin", "main", "side")
    assert remote.objects().keys() == tracked.objects().keys()
    assert len(remote.objects().keys() - base) == 1


def test_all_sends_every_branch_and_tag_whatever_the_remote_is_believed_to_have(
    tracked: Repo, remote: Repo, count: int
) -> None:
    tracked.git("checkout", "-q", "-b", "side")
    tracked.write(FILE, safetensors_bytes(model(0, head_weight=model(1)["head_weight"])))
    tracked.commit("side")
    tracked.git("tag", "-a", "-m", "tag", "only-a-tag")
    tracked.git("push", "-q", "origin", "main", "side")
    tracked.git("checkout", "-q", "main")
    tracked.git("branch", "-qD", "side")
    shutil.rmtree(remote.path / "theta")
    said = tracked.verb("push", "origin").stdout
    assert said == "no new objects for origin; 'git theta push --all origin' also looks at the commits that it has\n"
    assert tracked.verb("push", "--all", "origin").stdout == f"{count + 1} objects are at origin\n"
    assert remote.objects().keys() == tracked.objects().keys()


def test_from_a_linked_worktree_and_a_subdirectory(tracked: Repo, remote: Repo, tmp_path: Path) -> None:
    tracked.git("worktree", "add", "-q", str(tmp_path / "linked"))
    (tmp_path / "linked" / "sub").mkdir()
    tracked.verb("push", "origin", cwd=tmp_path / "linked" / "sub")
    assert remote.objects().keys() == tracked.objects().keys()


def test_git_push_from_a_linked_worktree_takes_the_objects_along(tracked: Repo, remote: Repo, tmp_path: Path) -> None:
    """There git tells hooks where our repository is (GIT_DIR), which is not where the remote is."""
    tracked.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    tracked.git("push", "-q", "origin", "linked", cwd=tmp_path / "linked")
    assert remote.objects().keys() == tracked.objects().keys()


def test_no_commit_yet_is_a_failure_of_one_line(repo: Repo, tmp_path: Path) -> None:
    bare = Repo.init(tmp_path / "remote.git", "--bare")
    done = repo.verb("push", str(bare.path), check=False)
    assert (done.returncode, done.stderr.count("\n")) in ((0, 0), (1, 1))
    assert done.stdout == ""


def test_unknown_revision_is_a_failure(tracked: Repo, remote: Repo) -> None:
    done = tracked.verb("push", "origin", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nosuch" in done.stderr
    assert done.stderr.count("\n") == 1
    assert remote.objects() == {}


def test_unknown_remote_is_a_failure_that_names_it(tracked: Repo) -> None:
    done = tracked.verb("push", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git-theta: there is no remote 'nosuch': 'git remote' lists those that there are\n"


def test_unknown_remote_is_a_failure_also_where_there_is_nothing_to_push(repo: Repo) -> None:
    done = repo.verb("push", "--all", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no remote 'nosuch'" in done.stderr


def test_unknown_remote_is_a_failure_also_where_a_server_is_configured(tracked: Repo) -> None:
    tracked.git("config", "lfs.url", "http://127.0.0.1:1/")
    done = tracked.verb("push", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git-theta: there is no remote 'nosuch': 'git remote' lists those that there are\n"


def test_remote_may_be_a_repository_right_here(tracked: Repo, count: int) -> None:
    other = Repo.init(tracked.path / "other.git", "--bare")
    assert tracked.verb("push", "other").stdout == f"{count} objects are at other\n"
    assert other.objects().keys() == tracked.objects().keys()


def test_objects_that_are_nowhere_are_a_failure(tracked: Repo, remote: Repo, count: int) -> None:
    shutil.rmtree(tracked.path / ".git/theta/objects")
    done = tracked.verb("push", "origin", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{count} objects are neither here nor at origin" in done.stderr
    assert remote.objects() == {}


@pytest.mark.usefixtures("remote")
def test_objects_that_only_the_remote_has_are_no_failure(tracked: Repo, count: int) -> None:
    tracked.verb("push", "origin")
    shutil.rmtree(tracked.path / ".git/theta/objects")
    assert tracked.verb("push", "origin").stdout == f"{count} objects are at origin\n"


def test_commit_with_a_metadata_file_that_cannot_be_read_is_a_failure(tracked: Repo, remote: Repo) -> None:
    blob = tracked.git("hash-object", "-w", "--stdin", "--no-filters", stdin=b'{"git-theta":99,').stdout.strip()
    tracked.git("update-index", "--add", "--cacheinfo", f"100644,{blob},new.safetensors")
    tracked.git("commit", "-qm", "from the future")
    done = tracked.verb("push", "origin", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "newer git-theta" in done.stderr
    assert remote.objects() == {}


def test_no_remote_is_a_usage_error(tracked: Repo) -> None:
    done = tracked.verb("push", check=False)
    assert done.returncode == 2
    assert "REMOTE" in done.stderr
