"""What a push takes for known to the remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from git_theta.flows.push import push
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
    push(repository, cast("Transfer", transfer), "", "", [tracked.rev("HEAD")], [tracked.rev("HEAD~1")])
    assert len(transfer.sent) == 1
    assert all(ref.oid in transfer.there for ref in parse(good).objects())
