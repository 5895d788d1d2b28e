"""Fetch: bring the objects of checkpoints into the local store; pull: then put the checkpoints into the worktree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from git_theta.errors import (
    CorruptObjectError,
    GitError,
    MetadataError,
    MissingObjectError,
    StoreError,
    TransferError,
    UnreadableObjectError,
)
from git_theta.git.repository import Repository
from git_theta.git.staging import forget_times
from git_theta.metadata import Metadata, ObjectRef
from git_theta.metadata_file import is_metadata, parse
from git_theta.replacing import replacing
from git_theta.store.objects import ObjectStore
from git_theta.store.transfer import Transfer

if TYPE_CHECKING:
    from git_theta.flows.smudge import Smudger

Report = Callable[[str], None]
"""Is told, in a line, of what is wrong with one of many, so that the others can go on."""

_ADVICE: Final = "if no remote has them, push them from where they were committed with 'git theta push --all REMOTE'"


def checkpoints(repository: Repository, revision: str | None, report: Report) -> Iterator[tuple[str, bytes, Metadata]]:
    """Path, metadata file and what it says of each checkpoint: of a revision, or of the index if it is None.

    Args:
        repository: has them.
        revision: a commit or tree.
        report: is told of metadata files that cannot be read.

    Raises:
        GitError: there is no such revision.
    """
    if revision is None:
        index = repository.index_blobs()
        blobs = {path: index[path][0] for path in repository.tracked(index)}
    else:
        blobs = repository.metadata_blobs(revision)
    for path, oid in blobs.items():
        try:
            data = repository.read_blob(oid)
            found = parse(data) if is_metadata(data) else None
        except (GitError, MetadataError) as error:
            report(f"{path}: {error}")
            continue
        if found is not None:
            yield path, data, found


def fetch(transfer: Transfer, refs: Iterable[ObjectRef]) -> None:
    """Bring objects into the store.

    Raises:
        TransferError: a remote could not be asked.
        MissingObjectError: an object could not be had anywhere.
    """
    wanted = _unique(refs)
    left = transfer.fetch(wanted)
    if left:
        raise MissingObjectError(_lost(left, wanted))


def bring(
    transfer: Transfer, refs: Iterable[ObjectRef], remote: str | None, report: Report, *, verify: bool = False
) -> int:
    """Bring objects into the store, as far as they can be had; returns how many came.

    Args:
        transfer: moves the objects.
        refs: the objects wanted.
        remote: the one to ask; by default any.
        report: is told of remotes that could not be asked, and of objects that could not be verified.
        verify: also read what is here, and replace what is damaged.

    Raises:
        GitError: there is no such remote.
    """
    wanted = _unique(refs)
    if verify:
        for ref in wanted:
            _set_damaged_aside(ref, transfer.store, report)
    missing = transfer.store.missing(wanted)
    try:
        left = transfer.fetch(missing, remote)
    except TransferError as error:
        report(str(error))
        left = transfer.store.missing(missing)
    return len(missing) - len(left)


def is_whole(path: str, metadata: Metadata, store: ObjectStore, report: Report) -> bool:
    """Whether all objects of a checkpoint are here; if not, that is reported."""
    wanted = _unique(metadata.objects())
    left = store.missing(wanted)
    if left:
        report(f"{path}: {_lost(left, wanted)}")
    return not left


def fill(repository: Repository, smudger: Smudger, path: str, data: bytes, metadata: Metadata) -> bool:
    """Put a checkpoint in the place of its metadata file in the worktree; False if that is not what is there.

    Raises:
        ThetaError: an object is missing or damaged, or the file cannot be written. The worktree file stays as it was.
    """
    file = repository.worktree / path
    if any((repository.worktree / part).is_symlink() for part in (Path(path), *Path(path).parents[:-1])):
        # For git nothing of the index is there, and what the link leads to is not ours.
        return False
    try:
        with file.open("rb") as stream:
            if stream.read(len(data) + 1) != data:
                return False
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    # If this is killed before the index knows the new file, git is to compare its content, and not its size.
    forget_times(repository, path)
    try:
        with replacing(file, scratch=smudger.store.temporary_directory()) as stream:
            for piece in smudger.smudge(metadata, data, path):
                stream.write(piece)
            os.fchmod(stream.fileno(), mode & 0o777)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    return True


def _set_damaged_aside(ref: ObjectRef, store: ObjectStore, report: Report) -> None:
    try:
        store.verify(ref)
    except MissingObjectError:
        return
    except CorruptObjectError:
        store.set_aside(ref)
    except UnreadableObjectError as error:
        # It may be whole, and somebody else's.
        report(f"object {ref.oid} cannot be verified: {error}")


def _unique(refs: Iterable[ObjectRef]) -> list[ObjectRef]:
    return list({ref.oid: ref for ref in refs}.values())


def _lost(left: list[ObjectRef], wanted: list[ObjectRef]) -> str:
    return f"{len(left)} of {len(wanted)} objects could not be had (the first is {left[0].oid}): {_ADVICE}"
