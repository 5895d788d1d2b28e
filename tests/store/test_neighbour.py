"""A remote that is a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_theta.errors import StoreError
from git_theta.store.neighbour import local_path, store_of
from tests.helpers import Repo


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a/b.git", "/a/b.git"),
        ("../b.git", "/base/../b.git"),
        ("~/b.git", "/home/b.git"),
        ("~nobody-here/b.git", "/base/~nobody-here/b.git"),
        ("file:///a/b.git", "/a/b.git"),
        ("file://localhost/a/b.git", "/a/b.git"),
        ("file:///a%20b/c", "/a b/c"),
        ("file:///a#b?c/d", "/a#b?c/d"),
        ("file:///%ff\udcff", "/\udcff\udcff"),
        ("https://host/a", None),
        ("host:a", None),
    ],
)
def test_url_means_the_path_that_it_means_to_git(monkeypatch: pytest.MonkeyPatch, url: str, path: str | None) -> None:
    monkeypatch.setenv("HOME", "/home")
    assert local_path(url, Path("/base")) == (None if path is None else Path(path))


@pytest.mark.parametrize(
    ("bare", "path"), [("a", "a"), ("a.git", "a"), ("a/.git", "a"), ("a.git/.git", "a"), ("a.git/.git", "a.git")]
)
def test_repository_is_found_by_the_names_that_git_finds_it_by(tmp_path: Path, bare: str, path: str) -> None:
    Repo.init(tmp_path / bare, "--bare")
    assert store_of(tmp_path / path).root == tmp_path / bare / "theta"


def test_path_without_a_repository_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a repository that can be read"):
        store_of(tmp_path / "a")
