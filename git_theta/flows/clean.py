"""Clean: from a checkpoint's bytes to its metadata file (`git add`, and whenever git compares the worktree)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from git_theta import tensors
from git_theta.checkpoints import Format
from git_theta.checkpoints.digests import digest_again
from git_theta.checkpoints.scan import Scan, scan
from git_theta.diffs import plain
from git_theta.errors import MetadataError, NotThisFormatError, PluginError, StoreError
from git_theta.flows import known
from git_theta.flows.intake import Intake, take, take_file
from git_theta.git.repository import Repository
from git_theta.metadata import Metadata, content_key
from git_theta.metadata_file import MAX_BYTES, is_in_conflict, is_metadata, parse
from git_theta.registry import Family
from git_theta.settings import Settings
from git_theta.sources import Source
from git_theta.store.arrays import Arrays
from git_theta.store.cache import MetadataCache
from git_theta.store.objects import ObjectStore
from git_theta.store.pointers import is_pointer
from git_theta.updates import update_types
from git_theta.updates.reading import Reader

if TYPE_CHECKING:
    from git_theta.flows.describing import Describer
    from git_theta.flows.keeping import Wish

FORMAT_ATTRIBUTE: Final = "theta-format"
"""The attribute that names the format of a file."""


class Cleaner(Struct, frozen=True, dict=True):
    """Cleans the checkpoints of one repository.

    Attributes:
        top: the directory that paths are relative to.
        warn: is told, in one line, what the user should know.
        remembered: by path, what was cleaned last and to what: git asks for the same file up to four times in one
            `status`, `diff` or `blame`. Known by its digests and not by its time stamp, which may lie.
    """

    repository: Repository
    top: Path
    store: ObjectStore
    cache: MetadataCache
    formats: Family[Format]
    settings: Settings
    warn: Callable[[str], None]
    remembered: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    @cached_property
    def _describer(self) -> Describer:
        """What is needed for new values alone, and slow to import."""
        from git_theta.flows.describing import Describer

        return Describer(self.repository, self.store, self.formats, self.settings, self.warn)

    def clean(self, content: Iterator[bytes], path: str) -> bytes:
        """The metadata file of a checkpoint.

        A metadata file is returned as it is, and so is the text that `git theta textconv` writes, since git blame has
        that cleaned. An empty file stays empty. A pointer of Git LFS stays one: git-lfs would know of it no more if it
        were kept like a checkpoint, and would remove what it stands for.

        Args:
            content: the checkpoint's bytes in pieces, the first of at least a hundred bytes if there are as many.
            path: of the file, from the top of the worktree.

        Raises:
            ThetaError: the content cannot be kept, or (strict) no format claims it.
        """
        first = next(content, b"")
        if is_metadata(first):
            return self._checked(first, content, path)
        if is_in_conflict(first):
            raise MetadataError("the file holds conflict markers: settle the conflict first")
        if not first:
            return b""
        if first.startswith(plain.PREFIX.encode()):
            return b"".join([first, *content])
        second = next(content, b"")
        if not second and is_pointer(first):
            self.warn(f"{path}: a pointer of Git LFS, which stays one; 'git lfs pull' brings the checkpoint to add")
            return first
        with self.taking(itertools.chain([first, second], content), path) as intake:
            key = _key(intake)
            if self.remembered.get(path, ("", b""))[0] != key:
                self.remembered[path] = key, self._metadata_file(intake, path, key)
            return self.remembered[path][1]

    @contextmanager
    def taking(self, content: Iterator[bytes], path: str) -> Iterator[Intake]:
        """Take in a checkpoint; see `intake.take`."""
        with take(content, self.top / path, self._scanner(path), self.store.temporary_directory) as taken:
            yield self._by_value(taken, path)

    @contextmanager
    def taking_file(self, path: str) -> Iterator[Intake]:
        """Take in a checkpoint of the worktree that nobody pipes; see `intake.take_file`."""
        with take_file(self.top / path, self._scanner(path)) as taken:
            yield self._by_value(taken, path)

    def _by_value(self, taken: Intake, path: str) -> Intake:
        """The intake of the stand-in, if the file is kept by value."""
        if taken.scan.by_value is None:
            return taken
        # Hardly ever needed, and slow to import.
        from git_theta.flows import by_value

        return by_value.loaded(taken, path, self.formats, self.store.temporary_directory)

    def decide_anew(self, intake: Intake, path: str, before: Sequence[Metadata], wish: Wish) -> bytes:
        """The metadata file of a checkpoint, decided anew whatever is in the index.

        Args:
            intake: the checkpoint.
            path: of the file, from the top of the worktree.
            before: earlier versions of it, whose groups may be built on.
            wish: how its groups shall be kept.
        """
        data = self._describer.described(intake, path, before, wish)
        self.cache.put(_key(intake), data)
        return data

    def _scanner(self, path: str) -> Callable[[Source], Scan]:
        """What finds the layout of a file. Git is asked for its attribute when that is first needed, and once."""
        wanted = cache(partial(self.repository.attribute, path, FORMAT_ATTRIBUTE))
        return lambda source: scan(source, path, self.formats, wanted())

    def _metadata_file(self, intake: Intake, path: str, key: str) -> bytes:
        """The one that stands for these very bytes already, if there is one, else a new one."""
        before = list(known.at_path(self.repository, path))
        for data, metadata in before:
            if self._stands_for(metadata, intake) and self._restore(metadata, intake):
                return data
        cached = self._cached(intake, key)
        if cached is not None:
            return cached
        data = self._describer.described(intake, path, [metadata for _, metadata in before])
        self.cache.put(key, data)
        return data

    def _cached(self, intake: Intake, key: str) -> bytes | None:
        """What the cache has, if it is whole: a crash may have left something else there."""
        data = self.cache.get(key)
        if data is None:
            return None
        try:
            metadata = parse(data)
        except MetadataError:
            return None
        is_good = metadata.is_decided and self._stands_for(metadata, intake)
        return data if is_good and self._restore(metadata, intake) else None

    def _checked(self, first: bytes, content: Iterator[bytes], path: str) -> bytes:
        """A whole metadata file, if it is a good one, or the one that git has already.

        Git has that one cleaned, too, whatever it does: to refuse it would stop every `git status` and protect nothing.
        """
        data = bytearray(first)
        for piece in content:
            data += piece
            if len(data) > MAX_BYTES:
                break
        try:
            parse(bytes(data))
        except MetadataError:
            if len(data) > MAX_BYTES or not known.is_at_path(self.repository, path, bytes(data)):
                raise
        return bytes(data)

    def _stands_for(self, metadata: Metadata, intake: Intake) -> bool:
        """Whether the metadata file describes the bytes of the intake, even if it sees other groups in them."""
        if metadata.size != intake.source.size:
            return False
        layout = metadata.layout()
        digests = intake.digests if layout.spans == intake.scan.layout.spans else digest_again(intake.source, layout)
        if tuple(entry.digest for entry in metadata.entries) != digests.groups:
            return False
        if metadata.is_fitted:
            return metadata.skeleton.digest == tensors.digest(digests.skeleton)
        return self._is_refitted(metadata, digests.skeleton)

    def _is_refitted(self, metadata: Metadata, skeleton: bytes) -> bool:
        """Whether a skeleton is what a checkout makes of one whose checksums are of other values."""
        # Hardly ever needed, and slow to import.
        from git_theta.flows.checksums import are_alike
        from git_theta.flows.smudge import read_skeleton

        try:
            old = read_skeleton(metadata.skeleton, Reader(Arrays(self.store), update_types()), self.store, "")
            return are_alike(metadata, old, skeleton, self.formats)
        except (StoreError, PluginError, NotThisFormatError):
            return False  # It is kept anew.

    def _restore(self, metadata: Metadata, intake: Intake) -> bool:
        """Make lost objects anew, now that their values are at hand; False if some could not be."""
        lost = {ref.oid: ref for ref in metadata.objects() if not self.store.has(ref)}
        return not lost or self._describer.restore(metadata, intake, lost)


def _key(intake: Intake) -> str:
    return content_key(intake.scan.layout, tensors.digest(intake.digests.skeleton), intake.digests.groups)
