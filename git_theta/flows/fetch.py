"""Fetch: bring the objects of checkpoints into the local store; pull: then put the checkpoints into the worktree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from git_theta.errors import MetadataError, MissingObjectError, ObjectError, StoreError
from git_theta.git.repository import Repository
from git_theta.metadata import Metadata, ObjectRef
from git_theta.metadata_file import is_metadata, parse
from git_theta.replacing import replacing
from git_theta.store.objects import ObjectStore
from git_theta.store.transfer import Transfer

if TYPE_CHECKING:
    from git_theta.flows.smudge import Smudger


def checkpoints(repository: Repository, revision: str | None) -> Iterator[tuple[str, bytes, Metadata]]:
    """Path, metadata file and what it says of each checkpoint: of a revision, or of the index if it is None.

    Raises:
        GitError: there is no such revision.
        MetadataError: a metadata file cannot be read.
    """
    if revision is None:
        index = repository.index_blobs()
        blobs = {path: index[path][0] for path in repository.tracked(index)}
    else:
        blobs = repository.metadata_blobs(revision)
    for path, oid in blobs.items():
        data = repository.read_blob(oid)
        if is_metadata(data):
            yield path, data, _parsed(data, path)


def fetch(transfer: Transfer, refs: Iterable[ObjectRef], remote: str | None, *, verify: bool) -> int:
    """Bring objects into the store; returns how many came.

    Args:
        transfer: moves the objects.
        refs: the objects wanted.
        remote: the one to ask; by default any.
        verify: also read what is here, and replace what is damaged.

    Raises:
        TransferError: a remote could not be asked.
        MissingObjectError: an object could not be had anywhere.
    """
    wanted = list({ref.oid: ref for ref in refs}.values())
    if verify:
        for ref in wanted:
            _set_damaged_aside(ref, transfer.store)
    missing = [ref for ref in wanted if not transfer.store.has(ref)]
    left = transfer.fetch(missing, remote)
    if left:
        raise MissingObjectError(
            f"{len(left)} of {len(wanted)} objects could not be had (the first is {left[0].oid}): "
            "push them from where they were committed with 'git theta push --all REMOTE'"
        )
    return len(missing)


def fill(repository: Repository, smudger: Smudger, path: str, data: bytes, metadata: Metadata) -> bool:
    """Put a checkpoint in the place of its metadata file in the worktree; False if that is not what is there.

    Raises:
        ThetaError: an object is missing or damaged, or the file cannot be written. The worktree file stays as it was.
    """
    file = repository.worktree / path
    try:
        with file.open("rb") as stream:
            if stream.read(len(data) + 1) != data:
                return False
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    try:
        with replacing(file) as stream:
            for piece in smudger.smudge(metadata, data, path):
                stream.write(piece)
            os.fchmod(stream.fileno(), mode & 0o777)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    return True


def _set_damaged_aside(ref: ObjectRef, store: ObjectStore) -> None:
    try:
        store.verify(ref)
    except MissingObjectError:
        return
    except ObjectError:
        store.set_aside(ref)


def _parsed(data: bytes, path: str) -> Metadata:
    try:
        return parse(data)
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error
