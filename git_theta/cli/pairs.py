"""The pairs of files that `git theta diff` compares: what changed in a repository, two files, or all in two folders."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from git_theta.cli.boundary import complain
from git_theta.cli.comparing import Comparing, named
from git_theta.cli.two_files import Sides, files_in, two_files
from git_theta.diffs.heads import FileSide
from git_theta.errors import CompareError, MetadataError, NotThisFormatError, ThetaError
from git_theta.git.changed_files import ChangedFile
from git_theta.git.repository import FILE_MODES

if TYPE_CHECKING:
    from git_theta.cli.workspace import Workspace
    from git_theta.flows.versions import Opener, Version


class Pair(Struct, frozen=True):
    """A file that differs.

    Attributes:
        old: what it was.
        new: what it is.
        similarity: of a renamed file, in percent.
        versions: the checkpoints; None if they cannot be compared.
        is_unmerged: it is in conflict, so there are more than two versions.
    """

    old: FileSide
    new: FileSide
    similarity: int | None = None
    versions: tuple[Version, Version] | None = None
    is_unmerged: bool = False


def files(names: Sequence[str], comparing: Comparing, opener: Opener) -> Iterator[Pair]:
    """Two files, which need not be of one format."""
    sides = two_files(names)
    try:
        old, new = comparing.versions(opener, sides)
    except (NotThisFormatError, MetadataError):
        for side, file in sides:
            with _blaming(file):
                comparing.versions(opener, [(side, file)])
        raise
    if any(side.mode is not None for side, _ in sides):
        yield Pair(named(sides[0][0], old), named(sides[1][0], new), None, (old, new))


def folders(before: Path, after: Path, comparing: Comparing, opener: Opener) -> Iterator[Pair]:
    """The checkpoints in two directories that may differ. Files stay open only of these."""
    for sides in files_in(before, after):
        if _are_same(sides):
            continue
        with ExitStack() as own:
            pair = _checkpoints(sides, comparing, replace(opener, stack=own))
            if pair is None:
                continue
            opener.stack.push(own.pop_all())
        yield pair


def _are_same(sides: Sides) -> bool:
    """Whether the files have the same bytes, so that none is looked into."""
    (old, before), (new, after) = sides
    return old.mode == new.mode and filecmp.cmp(before, after, shallow=False)


def _checkpoints(sides: Sides, comparing: Comparing, opener: Opener) -> Pair | None:
    """Two files that differ; None if none of them is a checkpoint, nor has a name like one."""
    (old, _), (new, _) = sides
    try:
        before, after = comparing.versions(opener, sides)
    except NotThisFormatError as error:
        if not any(_is_checkpoint(side, comparing, opener) for side in sides):
            return None
        complain(f"warning: {new.path}: {error}")
        return Pair(old, new)
    except ThetaError as error:
        complain(f"warning: {new.path}: {error}")
        return Pair(old, new)
    return Pair(named(old, before), named(new, after), None, (before, after))


def _is_checkpoint(file: tuple[FileSide, Path], comparing: Comparing, opener: Opener) -> bool:
    """Whether a file is one, or should be, as its name says."""
    if file[0].mode is None:
        return False
    if any(file[0].path.endswith(member.extensions) for member in opener.formats.builtin_members()):
        return True
    try:
        comparing.versions(opener, [file])
    except NotThisFormatError:
        return False
    return True


@contextmanager
def _blaming(file: Path) -> Iterator[None]:
    """Say which file it is that is no checkpoint, or a metadata file that cannot be read."""
    try:
        yield
    except NotThisFormatError as error:
        raise CompareError(f"{file} is no checkpoint that can be compared: {error}") from error
    except MetadataError as error:
        raise CompareError(f"{file}: {error}") from error


def changed(files: Iterable[ChangedFile], comparing: Comparing, workspace: Workspace, opener: Opener) -> Iterator[Pair]:
    """The checkpoints among files that differ: what is tracked, and what was or is a metadata file."""
    listed = list(files)
    paths = list(dict.fromkeys(path for file in listed for path in (file.old_path, file.new_path)))
    tracked = set(workspace.repository.tracked(paths))
    for file in listed:
        is_tracked = bool({file.old_path, file.new_path} & tracked)
        if not is_tracked and not any(comparing.is_metadata_blob(oid) for oid in (file.old_oid, file.new_oid)):
            continue
        if file.status == "U":
            yield Pair(FileSide(file.old_path, None), FileSide(file.new_path, None), is_unmerged=True)
        elif {file.old_mode, file.new_mode} & set(FILE_MODES):
            yield _pair(file, comparing, workspace, opener)


def _pair(file: ChangedFile, comparing: Comparing, workspace: Workspace, opener: Opener) -> Pair:
    # A checkpoint that became a link or a submodule is gone.
    old = FileSide(file.old_path, file.old_mode if file.old_mode in FILE_MODES else None, file.old_oid)
    new = FileSide(file.new_path, file.new_mode if file.new_mode in FILE_MODES else None, file.new_oid)
    places = [
        workspace.repository.worktree / side.path if side.mode is not None and not side.is_named else None
        for side in (old, new)
    ]
    versions = None
    try:
        before, after = comparing.versions(opener, list(zip((old, new), places, strict=True)))
        old, new, versions = named(old, before), named(new, after), (before, after)
    except NotThisFormatError:
        pass
    except ThetaError as error:
        complain(f"warning: {new.path}: {error}")
    return Pair(old, new, file.similarity, versions)
