"""The branches of remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.git.remotes import branches_now, branches_seen, fetched_from, noted, shown
from git_theta.git.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo


def test_branches_are_known_by_their_names_over_there(published: Repo, remote: Repo) -> None:
    repository = Repository.discover(published.path)
    expected = {f"refs/heads/{name}": published.rev(name) for name in ("main", "side")}
    assert branches_seen(repository, "origin") == branches_now(repository, str(remote.path)) == expected
    remote.git("update-ref", "-d", "refs/heads/side")
    assert branches_seen(repository, "origin") == expected
    assert branches_now(repository, "../remote.git").keys() == {"refs/heads/main"}


def test_nothing_is_known_of_who_is_not_there(published: Repo, tmp_path: Path) -> None:
    repository = Repository.discover(published.path)
    assert branches_seen(repository, "orig") == branches_seen(repository, str(tmp_path)) == {}
    assert branches_now(repository, str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("origin", "origin"),
        ("https://ada:secret@example.org/model.git", "https://example.org/model.git"),
        ("https://token@example.org:8080/a@b", "https://example.org:8080/a@b"),
        ("https://ada:p@ss@example.org/x", "https://example.org/x"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("git@example.org:ada/model.git", "git@example.org:ada/model.git"),
        ("../a@b", "../a@b"),
    ],
)
def test_messages_tell_no_password(remote: str, expected: str) -> None:
    assert shown(remote) == expected


def test_where_git_fetched_from_is_known_as_it_noted_it(published: Repo, remote: Repo) -> None:
    repository = Repository.discover(published.path)
    remote.git("branch", "it's", "main")
    remote.git("tag", "v1", "main")
    urls = ["../remote.git/", "../remote", str(remote.path), remote.path.as_uri()]
    for url in urls:
        for refs in (["HEAD"], ["main", "it's", "v1"], ["refs/heads/side:refs/heads/other", "--force"]):
            published.git("fetch", "-q", url, *refs)
            assert fetched_from(repository) == [noted(url)]
    published.git("fetch", "-q", "--append", urls[0], "side")
    assert fetched_from(repository) == [noted(urls[-1]), noted(urls[0])]
    (published.path / ".git/FETCH_HEAD").write_text("mixed up\n")
    assert fetched_from(repository) == []
    (published.path / ".git/FETCH_HEAD").unlink()
    assert fetched_from(repository) == []
