"""Push: upload the objects of the commits that are being pushed (`git push`, by the pre-push hook).

No record is kept at commit time: the commits say which metadata files they hold, so nothing is missed after an amend, a
rebase, a clone, or a commit made by another tool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Container, Iterator

from git_theta.errors import MetadataError
from git_theta.git.repository import Repository
from git_theta.metadata import ObjectRef
from git_theta.metadata_file import is_metadata, parse
from git_theta.store.transfer import Transfer


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
        everything: also look at the commits that the remote's tracking branches have.

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
