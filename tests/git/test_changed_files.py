"""What git says has changed, taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.changed_files import NO_FILE, ChangedFile, changed_files

if TYPE_CHECKING:
    from tests.helpers import Repo

ODD = "odd\nname\t:\x1b"


@pytest.fixture
def changed(repo: Repo) -> Repo:
    """A repository whose second commit changes, adds, removes and renames files."""
    for name in ("same", "modified", "removed", "renamed", "mode"):
        repo.write(name, f"{name}\n" * 20)
    repo.commit("one")
    repo.write("modified", "other")
    (repo.path / "removed").unlink()
    (repo.path / "renamed").rename(repo.path / ODD)
    (repo.path / "mode").chmod(0o755)
    repo.write("sub/added", "x")
    repo.commit("two")
    return repo


def summary(found: list[ChangedFile]) -> list[tuple[str, str, str]]:
    return sorted((file.status, file.old_path, file.new_path) for file in found)


def test_every_kind_of_change(changed: Repo) -> None:
    found = changed_files(changed.path, ["HEAD~1", "HEAD"], None, cached=False)
    assert summary(found) == [
        ("A", "sub/added", "sub/added"),
        ("D", "removed", "removed"),
        ("M", "mode", "mode"),
        ("M", "modified", "modified"),
        ("R", "renamed", ODD),
    ]
    files = {file.old_path: file for file in found}
    assert files["renamed"].similarity == 100
    assert files["modified"].similarity is None
    assert (files["mode"].old_mode, files["mode"].new_mode) == ("100644", "100755")
    assert (files["removed"].new_mode, files["sub/added"].old_mode) == (NO_FILE, NO_FILE)
    assert files["modified"].new_oid == changed.rev("HEAD:modified")


def test_worktree_has_no_blob_yet(changed: Repo) -> None:
    changed.write("same", "new")
    (file,) = changed_files(changed.path, [], None, cached=False)
    assert (file.new_path, file.new_oid.strip("0"), file.new_mode) == ("same", "", "100644")
    assert changed_files(changed.path, [], None, cached=True) == []
    changed.git("add", "same")
    (staged,) = changed_files(changed.path, [], None, cached=True)
    assert staged.new_oid == changed.rev(":same")


def test_paths_are_told_from_revisions(changed: Repo) -> None:
    for arguments, paths in ((["HEAD~1", "--", "x"], None), (["HEAD~1"], ["sub"]), (["HEAD~1", "sub"], None)):
        if "--" not in arguments:
            found = changed_files(changed.path, arguments, paths, cached=False)
            assert summary(found) == [("A", "sub/added", "sub/added")]
    below = changed_files(changed.path / "sub", ["HEAD~1"], ["."], cached=False)
    assert summary(below) == [("A", "sub/added", "sub/added")]


def test_settings_of_the_user_make_no_difference(changed: Repo) -> None:
    plain = changed_files(changed.path, ["HEAD~1"], None, cached=False)
    for key, value in (("color.ui", "always"), ("diff.external", "false"), ("diff.relative", "true"),
                       ("diff.noprefix", "true"), ("core.quotePath", "true"), ("diff.renames", "false")):  # fmt: skip
        changed.git("config", key, value)
    assert changed_files(changed.path / "sub", ["HEAD~1"], None, cached=False) == plain


def test_unmerged_files_are_told(in_merge_conflict: Repo) -> None:
    found = changed_files(in_merge_conflict.path, [], None, cached=False)
    assert ("U", "model.safetensors") in [(file.status, file.new_path) for file in found]


def test_more_than_two_versions_are_refused(changed: Repo) -> None:
    changed.git("checkout", "-q", "-b", "side", "HEAD~1")
    changed.write("modified", "side")
    changed.commit("side")
    changed.git("merge", "-q", "-X", "ours", "--no-edit", "main")
    changed.write("modified", "merged")
    changed.git("commit", "-q", "--amend", "--no-edit", "--all")
    with pytest.raises(GitError, match="two versions are compared at a time"):
        changed_files(changed.path, ["HEAD", "HEAD^1", "HEAD^2"], None, cached=False)


def test_what_git_does_not_understand_is_an_error(changed: Repo) -> None:
    with pytest.raises(GitError, match="ambiguous argument 'nonsense'"):
        changed_files(changed.path, ["nonsense"], None, cached=False)
