"""What the verbs that compare checkpoints need, in a repository or outside of any."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from git_theta.cli.boundary import complain
from git_theta.cli.workspace import Workspace, settings_from
from git_theta.diffs.heads import FileSide
from git_theta.errors import GitError
from git_theta.git import command as git
from git_theta.git import repository
from git_theta.metadata_file import MAX_BYTES, PREFIX, is_metadata
from git_theta.settings import Settings
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from git_theta.flows.diff import Differ
    from git_theta.flows.versions import Opener, Version

_SHA1_DIGITS: Final = 40


class Comparing(Struct, frozen=True, dict=True):
    """What compares checkpoints. Parts are made when they are first used.

    Attributes:
        workspace: of the repository; None outside of any.
    """

    workspace: Workspace | None

    @classmethod
    def here(cls) -> Comparing:
        """In the repository around the current directory, if there is one."""
        try:
            return cls(Workspace.here())
        except GitError:
            return cls(None)

    @cached_property
    def settings(self) -> Settings:
        """What the user has set.

        Raises:
            GitError: a setting is not what it can be.
        """
        return settings_from(repository.settings(Path.cwd())) if self.workspace is None else self.workspace.settings

    @cached_property
    def differ(self) -> Differ:
        """Compares versions."""
        from git_theta.checkpoints import formats
        from git_theta.flows.diff import Differ, How

        if self.workspace is not None:
            return self.workspace.differ
        return Differ(formats(), None, How(self.settings.statistics), lambda message: complain(f"warning: {message}"))

    def opener(self, stack: ExitStack) -> Opener:
        """Opens versions, which stay open as long as the stack."""
        from git_theta.checkpoints import formats
        from git_theta.flows.versions import Opener

        if self.workspace is None:
            return Opener(formats(), stack)
        return Opener(formats(), stack, self.workspace.cache, self.workspace.store.temporary_directory)

    def versions(self, opener: Opener, sides: Sequence[tuple[FileSide, Path | None]]) -> list[Version]:
        """The versions that the sides of a diff have.

        Args:
            opener: opens them.
            sides: each with the file in which it lies, or what git made of it; None if it is in git alone.

        Raises:
            NotThisFormatError: one is no checkpoint.
            ThetaError: one cannot be read.
        """
        from git_theta.checkpoints import opaque

        found = [self._known(opener, side, file) for side, file in sides]
        # What no format claims is a checkpoint only if the other side is kept as one.
        is_any = any(
            version.metadata.format == opaque.NAME for version in found if version and version.metadata is not None
        )
        return [
            self._read(opener, side, file, is_any=is_any) if version is None else version
            for version, (side, file) in zip(found, sides, strict=True)
        ]

    def is_metadata_blob(self, oid: str) -> bool:
        """Whether a blob is a metadata file."""
        data = self._blob(oid) if oid.strip("0") else None
        return data is not None and is_metadata(data)

    def _known(self, opener: Opener, side: FileSide, file: Path | None) -> Version | None:
        """The version, if it can be told without reading a checkpoint."""
        from git_theta.flows.versions import ABSENT

        if side.mode is None:
            return ABSENT
        if file is not None and _begins_like_metadata(file):
            return opener.file(file, side.path)
        data = self._blob(side.oid) if side.is_named else None
        if data is None or not is_metadata(data):
            return None
        return opener.metadata_file(data) if file is None else opener.known_file(file, data)

    def _read(self, opener: Opener, side: FileSide, file: Path | None, *, is_any: bool) -> Version:
        from git_theta.flows.clean import FORMAT_ATTRIBUTE

        wanted = None
        if self.workspace is not None and not Path(side.path).is_absolute():
            wanted = self.workspace.repository.attribute(side.path, FORMAT_ATTRIBUTE)
        if file is None:
            blob = BytesSource(git.run(["cat-file", "blob", side.oid]))
            return opener.source(blob, side.path, wanted, is_any=is_any)
        return opener.file(file, side.path, wanted, is_any=is_any)

    def _blob(self, oid: str) -> bytes | None:
        """A blob, if it is here and small enough for a metadata file."""
        if self.workspace is None:
            return None
        repository = self.workspace.repository
        try:
            return repository.read_blob(oid) if repository.blob_size(oid) <= MAX_BYTES else None
        except GitError:
            return None


def named(side: FileSide, version: Version) -> FileSide:
    """The side with the name that git would give its blob, if its metadata file is known."""
    if side.is_named or side.mode is None or version.data is None:
        return side
    hasher = hashlib.sha1(usedforsecurity=False) if len(side.oid) <= _SHA1_DIGITS else hashlib.sha256()
    hasher.update(f"blob {len(version.data)}\0".encode() + version.data)
    return replace(side, oid=hasher.hexdigest())


def _begins_like_metadata(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return is_metadata(stream.read(len(PREFIX)))
    except OSError:
        return False
