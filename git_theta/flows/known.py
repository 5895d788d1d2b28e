"""What the index and HEAD already know: metadata files of a path, and groups of all tracked checkpoints."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator
from typing import Final

from msgspec import Struct, field

from git_theta.errors import GitError, MetadataError
from git_theta.git.repository import Repository
from git_theta.metadata import Entry, Metadata
from git_theta.metadata_file import is_metadata, parse

_DIGEST: Final = re.compile(rb'"digest":"([0-9a-f]{64})"')

_REMEMBERED: Final = 1 << 18
"""Digests that are remembered at most, some 20 MB."""


def at_path(repository: Repository, path: str) -> Iterator[tuple[bytes, Metadata]]:
    """The metadata files of a path: in the index (every stage, so that a merge finds both sides), then in HEAD."""
    for oid in _oids(repository, path):
        yield from _read(repository, oid)


def is_at_path(repository: Repository, path: str, data: bytes) -> bool:
    """Whether the index or HEAD has these bytes at a path, be they a good metadata file or not."""
    return repository.blob_name(data) in _oids(repository, path)


def _oids(repository: Repository, path: str) -> list[str]:
    return repository.blobs_at(path, (":0", ":1", ":2", ":3", "HEAD"))


def heads(repository: Repository, path: str) -> Iterator[Metadata]:
    """What a path is in HEAD and, during a merge, in the commit that is merged: what a change is best compared with."""
    for oid in repository.blobs_at(path, ("HEAD", "MERGE_HEAD")):
        for _, metadata in _read(repository, oid):
            yield metadata


class Elsewhere(Struct):
    """The groups of all tracked checkpoints in the index and HEAD.

    What was seen is remembered: a git command that adds a thousand files asks a thousand times.
    """

    repository: Repository
    _state: Hashable = None
    _blobs: list[str] = field(default_factory=list)
    _seen: dict[str, frozenset[int]] = field(default_factory=dict)
    _count: int = 0

    def entries(self, wanted: Collection[str]) -> list[Entry]:
        """Groups of these digests, one for each that there is."""
        found: dict[str, Entry] = {}
        missing = {_short(digest.encode()): digest for digest in wanted}
        for oid in self._checkpoints():
            if not missing:
                break
            if missing.keys().isdisjoint(self._digests(oid)):
                continue
            for _, metadata in _read(self.repository, oid):
                found |= {entry.digest: entry for entry in metadata.entries if entry.digest in missing.values()}
                missing = {short: digest for short, digest in missing.items() if digest not in found}
        return list(found.values())

    def _checkpoints(self) -> list[str]:
        """The blobs at tracked paths; looked for again only if git has written the index since."""
        state = self.repository.index_state()
        if state != self._state:
            index = self.repository.index_blobs()
            head = self.repository.tree_blobs("HEAD")
            paths = self.repository.tracked(dict.fromkeys([*index, *head]))
            oids = (oid for path in paths for oid in [*index.get(path, ()), *filter(None, [head.get(path)])])
            self._state, self._blobs = state, list(dict.fromkeys(oids))
        return self._blobs

    def _digests(self, oid: str) -> frozenset[int]:
        """What the metadata file in a blob has for digests, shortened; nothing if it is none."""
        seen = self._seen.get(oid)
        if seen is None:
            seen = frozenset(map(_short, _DIGEST.findall(_content(self.repository, oid))))
            if self._count + len(seen) <= _REMEMBERED:
                self._seen[oid] = seen
                self._count += len(seen)
        return seen


def _short(digest: bytes) -> int:
    return int(digest[:15], 16)


def _content(repository: Repository, oid: str) -> bytes:
    try:
        data = repository.read_blob(oid)
    except GitError:
        return b""
    return data if is_metadata(data) else b""


def _read(repository: Repository, oid: str) -> Iterator[tuple[bytes, Metadata]]:
    """The blob, if it is a good metadata file."""
    data = _content(repository, oid)
    try:
        metadata = parse(data)
    except MetadataError:
        return  # Something that cannot be read is nothing that is known.
    if metadata.is_decided:
        yield data, metadata
