"""Show: what a checkpoint is made of, in any version or in the worktree, and what one group's values are like."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints import Format
from git_theta.diffs.numbers import is_numeric
from git_theta.diffs.spread import Spread, spread
from git_theta.diffs.statistics import BINS, Histogram, Values, histogram
from git_theta.errors import CorruptObjectError, GitError, MissingObjectError
from git_theta.flows import known
from git_theta.flows.smudge import Smudger
from git_theta.flows.versions import NOT_KEPT, Version
from git_theta.git import command
from git_theta.git.repository import Repository
from git_theta.metadata import Entry, Metadata, Skeleton
from git_theta.registry import Family
from git_theta.store.rows import Rows
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.reading import Readers


class Shown(Struct, frozen=True):
    """A checkpoint that is looked at.

    Attributes:
        path: for messages.
        metadata: what it is made of; a group that is kept nowhere has the update `versions.NOT_KEPT`.
        texts: what it says beside its groups (`checkpoints.Format.values`).
        version: has the values.
        smudger: fetches objects that are missing; None outside of a repository.
    """

    path: str
    metadata: Metadata
    texts: Mapping[str, str]
    version: Version
    smudger: Smudger | None


class Portrait(Struct, frozen=True):
    """What the values of a group are like.

    Attributes:
        spread: their figures; None if they are not numbers (quantized blocks).
        histogram: over the finite ones (`old` is zeros); None if there is none.
    """

    spread: Spread | None
    histogram: Histogram | None


def blob(repository: Repository, name: str) -> str | None:
    """The blob that `REV:PATH` or `:PATH` means (gitrevisions(7)); None if it means nothing.

    Raises:
        GitError: it means something that is no file.
    """
    asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", name]
    status, output, _ = command.attempt(asked, cwd=repository.cwd)
    if status:
        return None
    oid = command.lines(output)[0]
    kind = command.lines(repository.git("cat-file", "-t", oid))[0]
    if kind != "blob":
        raise GitError(f"{name!r} is a {kind} and no file: say REV:PATH")
    return oid


def kept_at(repository: Repository, path: str) -> Mapping[str, Entry]:
    """The groups that the index and HEAD have at a path (from the top), by digest."""
    versions = [metadata for _, metadata in known.at_path(repository, path)]
    return {entry.digest: entry for metadata in reversed(versions) for entry in metadata.entries}


def shown(
    version: Version, path: str, formats: Family[Format], kept: Mapping[str, Entry], smudger: Smudger | None
) -> Shown:
    """A version to look at. Nothing is fetched for what is said here.

    Args:
        version: one that has metadata.
        path: for messages.
        formats: which find what is beside the groups.
        kept: groups of other versions by digest, which tell how the values of a file are kept.
        smudger: of the repository; None outside of any.
    """
    metadata = version.metadata
    if metadata is None:
        raise ValueError("there is no checkpoint")
    texts = version.texts(formats, None if smudger is None else Readers(smudger.store, smudger.update_types))
    entries = tuple(_with_update(entry, kept.get(entry.digest)) for entry in metadata.entries)
    return Shown(path, replace(metadata, entries=entries), texts or {}, version, smudger)


def portrait(shown: Shown, entry: Entry, bins: int = BINS) -> Portrait:
    """What the values of a group are like. They are read three times, block by block; missing objects are fetched.

    Raises:
        ObjectError: an object is missing or damaged; names path, group and object.
        ChangedWhileReadingError: the file has changed.
    """
    if not is_numeric(entry.dtype):
        return Portrait(None, None)
    with closing(_rows(shown, entry)) as rows:
        figures = spread(rows, entry.dtype)
    return Portrait(figures, histogram(None, Values(entry.dtype, partial(_rows, shown, entry)), bins))


def _with_update(entry: Entry, other: Entry | None) -> Entry:
    """A group that is kept nowhere, with how the same group of another version is kept."""
    if other is None or entry.update != NOT_KEPT or (entry.dtype, entry.shape) != (other.dtype, other.shape):
        return entry
    return replace(entry, update=other.update)


def _rows(shown: Shown, entry: Entry) -> Generator[Rows]:
    """The bytes of a group's values, block by block."""
    readers = None
    if shown.smudger is not None and shown.version.source is None:
        shown.smudger.provide(_alone(shown.metadata, entry), shown.path)
        readers = Readers(shown.smudger.store, shown.smudger.update_types)
    if readers is None and shown.version.source is None and entry.nbytes:
        raise MissingObjectError(f"{shown.path} is a metadata file: its values are in the repository that it is from")
    try:
        yield from shown.version.rows(entry, readers)
    except UnusableBaseError as error:
        raise CorruptObjectError(
            f"{shown.path}: group {entry.name!r}: {error}; 'git theta fetch --verify' may bring what is damaged"
        ) from error


def _alone(metadata: Metadata, entry: Entry) -> Metadata:
    """A checkpoint of this one group, for whoever wants to know what objects it needs."""
    return replace(metadata, skeleton=Skeleton(0, tensors.digest(b""), b"", None), entries=(entry,))
