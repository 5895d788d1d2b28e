"""What a push takes for known to the remote."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, cast

import pytest

from git_theta.flows.push import PushedRef, There, push, really_there
from git_theta.git.repository import Repository
from git_theta.metadata_file import parse
from tests.conftest import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from git_theta.metadata import ObjectRef
    from git_theta.store.transfer import Transfer
    from tests.helpers import Repo


class Asking:
    """A transfer that asks at once what the remote has."""

    sent: tuple[str, ...]
    there: Container[str]

    def remotes(self) -> list[str]:
        return []

    def push(self, refs: Iterable[ObjectRef], _remote: str, _url: str, there: Callable[[], Container[str]]) -> None:
        self.sent, self.there = tuple(ref.oid for ref in refs), there()


def test_a_commit_that_the_remote_has_and_nobody_can_read_does_not_stop_the_one_that_mends_it(tracked: Repo) -> None:
    good = tracked.git_bytes("cat-file", "blob", f"HEAD:{CHECKPOINT}")
    lines = good.splitlines(keepends=True)
    blob = tracked.git("hash-object", "-w", "--stdin", stdin=b"".join([*lines[:4], lines[5], lines[4], *lines[6:]]))
    for path, oid in ((CHECKPOINT, blob.stdout.strip()), ("good.safetensors", tracked.rev(f"HEAD:{CHECKPOINT}"))):
        tracked.git("update-index", "--add", "--cacheinfo", f"100644,{oid},{path}")
    tracked.git("commit", "-qm", "a bad one and a good one")
    tracked.write(CHECKPOINT, tracked.read(CHECKPOINT) + b" ")
    tracked.git("commit", "-qm", "mended", "--", CHECKPOINT)
    transfer = Asking()
    repository = Repository.discover(tracked.path)
    update = PushedRef("refs/heads/main", tracked.rev("HEAD"), tracked.rev("HEAD~1"))
    push(repository, cast("Transfer", transfer), "", "", [update])
    assert len(transfer.sent) == 1
    assert all(ref.oid in transfer.there for ref in parse(good).objects())


class TestReallyThere:
    """What the remote has, as far as it is asked; "published" has "main" and "side" there, with tracking branches."""

    def ask(self, published: Repo, *pushed: PushedRef) -> set[str] | None:
        there = really_there(Repository.discover(published.path), "origin", "../remote.git", pushed)
        return None if there is None else set(there.surely)

    def test_nobody_is_asked_where_tracking_branches_tell_no_more_than_git_has_seen(
        self, published: Repo, remote: Repo
    ) -> None:
        shutil.rmtree(remote.path)
        main, side = published.rev("origin/main"), published.rev("origin/side")
        newer = published.git("commit-tree", "-p", side, "-m", "newer", "main^{tree}").stdout.strip()
        assert self.ask(published, PushedRef("refs/heads/side", newer, side)) is None
        assert self.ask(published, PushedRef("refs/heads/side", None, None)) is None
        assert self.ask(published, PushedRef("refs/heads/untracked", newer, side)) is None
        assert self.ask(published, PushedRef("refs/heads/main", main, side)) is None

    def test_branch_that_only_the_last_place_had_is_not_believed_where_it_is_merged(
        self, published: Repo, remote: Repo
    ) -> None:
        remote.git("update-ref", "-d", "refs/heads/side")
        main, side = published.rev("main"), published.rev("side")
        assert self.ask(published, PushedRef("refs/heads/main", side, main)) == {main}

    @pytest.mark.parametrize("branch", ["main", "new"])
    def test_history_that_is_not_known_here_makes_nothing_sure(
        self, published: Repo, remote: Repo, branch: str
    ) -> None:
        other = remote.git("commit-tree", "-m", "of a host", "main^{tree}").stdout.strip()
        remote.git("update-ref", "refs/heads/main", other)
        remote.git("update-ref", "-d", "refs/heads/side")
        update = PushedRef(f"refs/heads/{branch}", published.rev("side"), other if branch == "main" else None)
        repository = Repository.discover(published.path)
        assert really_there(repository, "origin", "../remote.git", [update]) == There([], [published.rev("main")])

    def test_branch_that_is_overwritten_is_not_sure_to_go_on_from_what_it_was(
        self, published: Repo, remote: Repo
    ) -> None:
        newer = remote.git("commit-tree", "-m", "newer", "main^{tree}").stdout.strip()
        remote.git("update-ref", "refs/heads/main", newer)
        side = published.rev("side")
        assert self.ask(published, PushedRef("refs/heads/main", side, newer)) == {side}

    def test_nobody_is_asked_where_nothing_is_believed(self, published: Repo) -> None:
        published.git("update-ref", "-d", "refs/remotes/origin/main")
        published.git("update-ref", "-d", "refs/remotes/origin/side")
        assert self.ask(published, PushedRef("refs/heads/main", published.rev("main"), None)) is None

    def test_branches_that_are_there_still_are_believed(self, published: Repo) -> None:
        main, side = published.rev("main"), published.rev("side")
        assert self.ask(published, PushedRef("refs/heads/new", main, None)) == {main, side}

    def test_branch_that_is_not_there_any_more_is_not_believed(self, published: Repo, remote: Repo) -> None:
        remote.git("update-ref", "-d", "refs/heads/side")
        main = published.rev("main")
        assert self.ask(published, PushedRef("refs/heads/side", main, None)) == {main}

    def test_branch_that_is_older_there_is_what_it_is_there(self, published: Repo, remote: Repo) -> None:
        main, side = published.rev("main"), published.rev("side")
        remote.git("update-ref", "refs/heads/side", main)
        assert self.ask(published, PushedRef("refs/heads/side", side, main)) == {main}

    def test_branch_that_others_went_on_with_is_what_it_was(self, published: Repo, remote: Repo) -> None:
        main, side = published.rev("main"), published.rev("side")
        newer = remote.git("commit-tree", "-p", main, "-m", "newer", "main^{tree}").stdout.strip()
        remote.git("update-ref", "refs/heads/main", newer)
        assert self.ask(published, PushedRef("refs/heads/new", side, None)) == {main, side}

    def test_remote_that_does_not_answer_has_nothing_for_sure(self, published: Repo, remote: Repo) -> None:
        shutil.rmtree(remote.path)
        assert self.ask(published, PushedRef("refs/heads/new", published.rev("main"), None)) == set()
