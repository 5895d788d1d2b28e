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


class There(NamedTuple):
    """The commits that a remote has, where it was asked.

    Attributes:
        surely: as far as what it says can be told from here.
        likely: either its branches have gone on from there, or it is another place.
    """

    surely: Collection[str]
    likely: Collection[str]


def really_there(repository: Repository, remote: str, url: str, pushed: Collection[PushedRef]) -> There | None:
    """The commits that the remote has, if its tracking branches may not be believed; None if they make no difference.

    They tell what was there when git last looked, which may have been another place: the remote has got another URL,
    or several to push to, or was made anew. What git has just seen at the refs that are pushed is true; if they tell of
    more, or a ref is new, which tells nothing, the remote is asked itself.

    Args:
        repository: where the commits are.
        remote: name of the remote, or its URL.
        url: of the remote.
        pushed: all refs that git is about to push.
    """
    tracked = branches_seen(repository, remote)
    updates = [ref for ref in pushed if ref.new is not None]
    overwritten = {ref.name for ref in updates if ref.old is not None and not repository.has_commit(ref.old)}
    is_seen = not overwritten and all(ref.old is not None for ref in updates)
    if not tracked or not updates or (is_seen and not _tell_of_more(repository, remote, updates)):
        return None
    there = branches_now(repository, url)
    known = {name: there[name] for name in tracked if name in there and repository.has_commit(there[name])}
    moved = [name for name in tracked if name in there and name not in known]
    # Others have gone on with a branch that is not here, as far as anybody can tell, if anything there is known.
    believed = {name for name in moved if known and name not in overwritten}
    return There(
        surely=[*known.values(), *(tracked[name] for name in believed)],
        likely=[tracked[name] for name in moved if name not in believed],
    )


def _tell_of_more(repository: Repository, remote: str, updates: Collection[PushedRef]) -> bool:
    """Whether less is pushed if the tracking branches are believed than by what is at the updated refs."""
    count = ("rev-list", "--count", *(name for ref in updates for name in (str(ref.new), f"^{ref.old}")))
    return repository.git(*count, "--") != repository.git(*count, "--not", f"--remotes={remote}", "--")


def push(
    repository: Repository,
    transfer: Transfer,
    remote: str,
    url: str,
    pushed: Collection[PushedRef],
    *,
    everything: bool = False,
) -> int:
    """Upload what the remote may lack; returns the number of objects looked at.

    Args:
        repository: where the commits are.
        transfer: moves the objects.
        remote: name of the remote, or its URL.
        url: of the remote.
        pushed: what is being pushed, and what is there already.
        everything: also look at what the remote's tracking branches have.

    Raises:
        MetadataError: a commit holds a metadata file that cannot be read, so its objects are not known.
        TransferError: an upload failed; the push must not go on.
    """
    wanted = [ref.new for ref in pushed if ref.new is not None]
    if not wanted:
        return 0
    there = None if everything else really_there(repository, remote, url, pushed)
    known = [*(ref.old for ref in pushed if ref.old is not None), *(there.surely if there else ())]
    tracking = remote if remote in transfer.remotes() and not everything and there is None else None
    blobs = repository.new_blobs(wanted, known, tracking)
    refs = list({ref.oid: ref for blob in blobs for ref in _objects(repository, blob)}.values())
    if refs:
        likely = there.likely if there else ()
        transfer.push(refs, remote, url, lambda: _there(repository, wanted, known, tracking, likely))
    return len(refs)


def _there(
    repository: Repository,
    wanted: Collection[str],
    known: Collection[str],
    tracking: str | None,
    likely: Collection[str],
) -> Container[str]:
    """The objects in the commits that the remote has and that those being pushed build on, or likely has.

    A metadata file there that cannot be read tells of none: it must not keep what mends it from being pushed.
    """
    blobs = {
        blob
        for commit in repository.boundary(wanted, known, tracking)
        for blob in repository.metadata_blobs(commit).values()
    }
    if likely:
        blobs |= set(repository.new_blobs(likely, known, tracking))
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
