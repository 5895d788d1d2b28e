"""git theta pull: a clone that was made without the filter becomes one with checkpoints."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from git_theta.flows.smudge import Smudger
from git_theta.git.repository import Repository
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "model.safetensors"
NOTHING = "checkpoints put into the worktree: no metadata file lies in the place of one\n"


def test_clone_made_without_the_filter_gets_its_checkpoints(clone: Repo, published: Repo) -> None:
    assert clone.read(FILE).startswith(b'{"git-theta":1,')
    clone.verb("install", "--local")
    done = clone.verb("pull")
    assert done.stdout == f"{FILE}\n1 of 1 checkpoints put into the worktree\n"
    assert clone.read(FILE) == published.read(FILE)
    assert clone.status() == ""
    assert clone.git("diff-files").stdout == ""
    again = clone.verb("pull")
    assert again.stdout == f"0 of 1 {NOTHING}"


def test_before_install_nothing_raw_gets_into_the_index(clone: Repo) -> None:
    """Without the filter git would take the checkpoint for the new content of the file."""
    before = clone.git("ls-files", "--stage").stdout
    clone.verb("pull", check=False)
    assert clone.git("ls-files", "--stage").stdout == before
    assert clone.git("diff", "--cached", "--name-only").stdout == ""


def test_in_a_subdirectory_all_checkpoints_come(clone: Repo, published: Repo) -> None:
    clone.verb("install", "--local")
    (clone.path / "sub").mkdir()
    done = clone.verb("pull", cwd=clone.path / "sub")
    assert done.stdout.splitlines()[-1] == "1 of 1 checkpoints put into the worktree"
    assert clone.read(FILE) == published.read(FILE)


def test_installed_with_skip_smudge_pull_is_how_checkpoints_come(clone: Repo, published: Repo) -> None:
    clone.verb("install", "--local", "--skip-smudge")
    clone.verb("pull")
    assert clone.read(FILE) == published.read(FILE)
    assert clone.status() == ""


def test_file_that_was_changed_or_removed_is_left_alone(clone: Repo) -> None:
    clone.verb("install", "--local")
    mine = safetensors_bytes(model(5))
    clone.write(FILE, mine)
    assert clone.verb("pull").stdout == f"0 of 1 {NOTHING}"
    assert clone.read(FILE) == mine
    (clone.path / FILE).unlink()
    assert clone.verb("pull").stdout == f"0 of 1 {NOTHING}"
    assert not (clone.path / FILE).exists()


@pytest.mark.parametrize("link", ["folder/model.safetensors", "folder"])
def test_nothing_is_written_where_a_link_leads(clone: Repo, tmp_path: Path, link: str) -> None:
    (clone.path / "folder").mkdir()
    clone.git("mv", FILE, "folder/model.safetensors")
    data = clone.read("folder/model.safetensors")
    elsewhere = tmp_path / "elsewhere"
    (clone.path / link).rename(elsewhere)
    (clone.path / link).symlink_to(elsewhere)
    clone.verb("install", "--local")
    assert clone.verb("pull").stdout == f"0 of 1 {NOTHING}"
    assert (clone.path / link).is_symlink()
    assert clone.read("folder/model.safetensors") == data


def test_file_that_only_begins_as_the_metadata_file_is_left_alone(clone: Repo) -> None:
    """Somebody wrote into it; the checkpoint would take the place of what they wrote."""
    clone.verb("install", "--local")
    mine = clone.read(FILE) + b"\n"
    clone.write(FILE, mine)
    assert clone.verb("pull").stdout == f"0 of 1 {NOTHING}"
    assert clone.read(FILE) == mine


def test_mode_of_the_file_stays_and_nothing_else_is_left(clone: Repo) -> None:
    clone.verb("install", "--local")
    (clone.path / FILE).chmod(0o750)
    clone.verb("pull")
    assert (clone.path / FILE).stat().st_mode & 0o777 == 0o750
    assert sorted(path.name for path in clone.path.iterdir()) == [".git", ".gitattributes", FILE]


def test_pull_that_is_killed_before_the_index_knows_the_files_leaves_no_change(
    clone: Repo, published: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its size, the file is another one than the metadata file that git wrote."""
    (clone.path / "sub").mkdir()
    (clone.path / FILE).chmod(0o755)
    os.utime(clone.path / FILE, (0, 0))  # Git believes an index that is newer than the file.
    clone.git("update-index", FILE)
    clone.verb("install", "--local")
    before = clone.git("ls-files", "--stage").stdout
    monkeypatch.setattr(Repository, "refresh_index", lambda *_arguments: None)
    clone.verb("pull", cwd=clone.path / "sub")
    assert clone.read(FILE) == published.read(FILE)
    assert clone.git("diff", "--name-only").stdout == ""
    assert clone.git("ls-files", "--stage").stdout == before


def test_pull_that_is_killed_leaves_nothing_in_the_worktree(clone: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_arguments: object) -> Iterator[bytes]:
        found.extend(sorted(path.name for path in clone.path.iterdir()))
        yield b""

    before = sorted(path.name for path in clone.path.iterdir())
    found: list[str] = []
    monkeypatch.setattr(Smudger, "smudge", look)
    clone.verb("install", "--local")
    clone.verb("pull")
    assert found == before


def test_remote_that_is_named_is_asked(clone: Repo, published: Repo, remote: Repo) -> None:
    clone.verb("install", "--local")
    clone.git("remote", "add", "first", str(published.path))
    shutil.rmtree(remote.path / "theta")
    done = clone.verb("pull", "origin", check=False)
    assert done.returncode == 1
    clone.verb("pull", "first")
    assert clone.read(FILE) == published.read(FILE)


def test_objects_that_are_nowhere_are_a_failure_and_the_worktree_stays(clone: Repo, remote: Repo) -> None:
    clone.verb("install", "--local")
    shutil.rmtree(remote.path / "theta")
    before = clone.read(FILE)
    done = clone.verb("pull", check=False)
    assert (done.returncode, done.stdout) == (1, "0 of 1 checkpoints put into the worktree\n")
    assert done.stderr.startswith(f"git-theta: {FILE}: 6 of 6 objects could not be had")
    assert "if no remote has them, push them from where they were committed with 'git theta push --all" in done.stderr
    assert done.stderr.count("\n") == 1
    assert clone.read(FILE) == before
    assert clone.status() == ""


def test_damaged_object_is_a_failure_and_the_worktree_stays(clone: Repo) -> None:
    clone.verb("install", "--local")
    clone.verb("fetch")
    victim = max(clone.objects().values(), key=lambda path: path.stat().st_size)
    victim.chmod(0o644)
    victim.write_bytes(bytes(victim.stat().st_size))
    before = clone.read(FILE)
    done = clone.verb("pull", check=False)
    assert (done.returncode, done.stdout) == (1, "0 of 1 checkpoints put into the worktree\n")
    assert victim.name in done.stderr
    assert done.stderr.count("\n") == done.stderr.count(FILE) == 1
    assert "git theta fetch --verify" in done.stderr
    assert clone.read(FILE) == before
    assert sorted(path.name for path in clone.path.iterdir()) == [".git", ".gitattributes", FILE]


def test_bad_files_are_named_and_the_others_come(published: Repo, remote: Repo, tmp_path: Path) -> None:
    other = safetensors_bytes(model(7))
    published.write("other.safetensors", other)
    published.commit("two files")
    published.git("push", "-q", "origin", "main")
    blob = published.git("hash-object", "-w", "--stdin", "--no-filters", stdin=b'{"git-theta":99,').stdout.strip()
    published.git("update-index", "--add", "--cacheinfo", f"100644,{blob},newer.safetensors")
    published.git("commit", "-qm", "of a newer git-theta")
    published.git("push", "-q", "--no-verify", "origin", "main")
    clone = Repo.clone(remote.path, tmp_path / "later")
    clone.verb("install", "--local")
    lost = max(
        remote.objects().items(), key=lambda item: (item[0] in clone.read(FILE).decode(), item[1].stat().st_size)
    )
    lost[1].unlink()
    done = clone.verb("pull", check=False)
    assert done.returncode == 1
    assert done.stdout == "other.safetensors\n1 of 2 checkpoints put into the worktree\n"
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["git-theta", "newer.safetensors"],
        ["git-theta", FILE],
    ]
    assert lost[0] in done.stderr
    assert clone.read("other.safetensors") == other


def test_clone_whose_checkout_failed_is_told_how_to_complete_it(published: Repo, remote: Repo, tmp_path: Path) -> None:
    """Git has no index then: it would look as if there were no checkpoints."""
    clone = Repo.clone(remote.path, tmp_path / "bare-of-files", "--no-checkout")
    clone.verb("install", "--local")
    done = clone.verb("pull", check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    advice = done.stderr.split("'")[1]
    clone.git(*advice.split()[1:])
    assert clone.read(FILE) == published.read(FILE)
    assert clone.status() == ""


def test_repository_without_a_commit_has_no_checkpoints(repo: Repo) -> None:
    repo.verb("install", "--local")
    assert repo.verb("pull").stdout == f"0 of 0 {NOTHING}"


def test_without_a_worktree_it_says_so(remote: Repo) -> None:
    done = remote.verb("pull", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("git-theta: ")
    assert "work tree" in done.stderr
