"""Push: upload the objects of the commits that are being pushed (`git push`, by the pre-push hook).

No record is kept at commit time: the commits say which metadata files they hold, so nothing is missed after an amend, a
rebase, a clone, or a commit made by another tool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Container, Iterator
from typing import NamedTuple

from git_theta.errors import MetadataError
from git_theta.git.remotes import branches_now, branches_seen
from git_theta.git.repository import Repository
from git_theta.metadata import ObjectRef
from git_theta.metadata_file import is_metadata, parse
from git_theta.store.transfer import Transfer


class PushedRef(NamedTuple):
    """What git pushes to one ref of a remote.

    Attributes:
        name: of the ref over there.
        new: the commit (or tag) that it gets; None if the ref is deleted.
        old: what it is over there now; None if it is new.
    """

    name: str
    new: str | None
    old: str | None


def really_there(
    repository: Repository, remote: str, url: str, pushed: Collection[PushedRef]
) -> Collection[str] | None:
    """The commits that the remote has, if its tracking branches may not be believed; None if they may.

    They tell what was there when git last looked, which may have been another place: the remote has got another URL,
    or several to push to, or was made anew. It is asked itself where what git has just seen there is something else,
    and where a ref is new, which tells nothing.

    Args:
        repository: where the commits are.
        remote: name of the remote, or its URL.
        url: of the remote.
        pushed: all refs that git is about to push.
    """
    tracked = branches_seen(repository, remote)
    seen = {ref.name: ref.old for ref in pushed if ref.new is not None}
    if not tracked or all(old is not None and tracked.get(name, old) == old for name, old in seen.items()):
        return None
    there = branches_now(repository, url)
    # What is not here is newer than what git has seen of it, as far as anybody can tell.
    return [
        there[name] if there[name] != oid and repository.has_commit(there[name]) else oid
        for name, oid in tracked.items()
        if name in there
    ]


def push(
    repository: Repository,
    transfer: Transfer,
    remote: str,
    url: str,
    wanted: Collection[str],
    known: Collection[str],
    *,
    everything: bool = False,
) -> int:
    """Upload what the remote may lack; returns the number of objects looked at.

    Args:
        repository: where the commits are.
        transfer: moves the objects.
        remote: name of the remote, or its URL.
        url: of the remote.
        wanted: commits that are being pushed.
        known: commits that the remote has.
        everything: also look at the commits that the remote's tracking branches have, and that are not known.

    Raises:
        MetadataError: a commit holds a metadata file that cannot be read, so its objects are not known.
        TransferError: an upload failed; the push must not go on.
    """
    if not wanted:
        return 0
    tracking = remote if remote in transfer.remotes() and not everything else None
    blobs = repository.new_blobs(wanted, known, tracking)
    refs = list({ref.oid: ref for blob in blobs for ref in _objects(repository, blob)}.values())
    if refs:
        transfer.push(refs, remote, url, lambda: _there(repository, wanted, known, tracking))
    return len(refs)


def _there(
    repository: Repository, wanted: Collection[str], known: Collection[str], tracking: str | None
) -> Container[str]:
    """The objects in the commits that the remote has and that those being pushed build on.

    A metadata file there that cannot be read tells of none: it must not keep what mends it from being pushed.
    """
    blobs = {
        blob
        for commit in repository.boundary(wanted, known, tracking)
        for blob in repository.metadata_blobs(commit).values()
    }
    found: set[str] = set()
    for blob in blobs:
        with contextlib.suppress(MetadataError):
            found |= {ref.oid for ref in _objects(repository, blob)}
    return found


def _objects(repository: Repository, blob: str) -> Iterator[ObjectRef]:
    data = repository.read_blob(blob)
    if not is_metadata(data):
        return
    try:
        yield from parse(data).objects()
    except MetadataError as error:
        where = f"blob {blob} (git log --all --find-object={blob} names its commits)"
        raise MetadataError(f"{where}: {error}") from error
