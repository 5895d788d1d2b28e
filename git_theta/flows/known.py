"""What the index and HEAD already know: metadata files of a path, and groups of all tracked checkpoints."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from git_theta.errors import GitError, MetadataError
from git_theta.git.repository import Repository
from git_theta.metadata import Entry, Metadata
from git_theta.metadata_file import is_metadata, parse

_DIGEST: Final = re.compile(rb'"digest":"([0-9a-f]{64})"')


def at_path(repository: Repository, path: str) -> Iterator[tuple[bytes, Metadata]]:
    """The metadata files of a path: in the index (every stage, so that a merge finds both sides), then in HEAD."""
    for oid in _oids(repository, path):
        yield from _read(repository, oid)


def is_at_path(repository: Repository, path: str, data: bytes) -> bool:
    """Whether the index or HEAD has these bytes at a path, be they a good metadata file or not."""
    return repository.blob_name(data) in _oids(repository, path)


def _oids(repository: Repository, path: str) -> Iterable[str]:
    return dict.fromkeys([*repository.index_blobs(path).get(path, ()), *repository.tree_blobs("HEAD", path).values()])


def heads(repository: Repository, path: str) -> Iterator[Metadata]:
    """What a path is in HEAD and, during a merge, in the commit that is merged: what a change is best compared with."""
    for revision in ("HEAD", "MERGE_HEAD"):
        for oid in repository.tree_blobs(revision, path).values():
            for _, metadata in _read(repository, oid):
                yield metadata


def elsewhere(repository: Repository, wanted: Collection[str]) -> list[Entry]:
    """Groups of these digests, one for each that there is, in any tracked checkpoint of the index or HEAD."""
    found: dict[str, Entry] = {}
    index = repository.index_blobs()
    head = repository.tree_blobs("HEAD")
    paths = repository.tracked(dict.fromkeys([*index, *head]))
    oids = dict.fromkeys(oid for path in paths for oid in [*index.get(path, ()), *filter(None, [head.get(path)])])
    missing = set(wanted)
    for oid in oids:
        if not missing:
            break
        for _, metadata in _read(repository, oid, missing):
            found |= {entry.digest: entry for entry in metadata.entries if entry.digest in missing}
            missing -= found.keys()
    return list(found.values())


def _read(repository: Repository, oid: str, wanted: Collection[str] | None = None) -> Iterator[tuple[bytes, Metadata]]:
    """The blob, if it is a good metadata file, and has one of the wanted digests where some are given."""
    try:
        data = repository.read_blob(oid)
        if not is_metadata(data):
            return
        if wanted is not None and not any(digest.decode() in wanted for digest in _DIGEST.findall(data)):
            return
        metadata = parse(data)
        if metadata.is_decided:
            yield data, metadata
    except (GitError, MetadataError):
        return  # Something that cannot be read is nothing that is known.
