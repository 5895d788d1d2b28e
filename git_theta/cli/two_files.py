"""The files that `git theta diff` compares outside of a repository, found as `git diff --no-index` finds them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from git_theta.diffs.heads import FileSide
from git_theta.errors import CompareError, CompareUsageError, NoSuchFileError
from git_theta.git.repository import FILE_MODES, Repository

Sides = list[tuple[FileSide, Path]]
"""The old and the new side, each with its file."""

_NO_FILES: Final = ".git"


def reach_outside(arguments: Sequence[str], paths: Sequence[str] | None, repository: Repository) -> bool:
    """Whether there are two arguments, and one is a path out of the worktree: git diff takes both for files then."""
    both = arguments if paths is None else [] if arguments else paths
    return len(both) == 2 and not all(_is_inside(path, repository) for path in both)


def two_folders(names: Sequence[str]) -> tuple[Path, Path] | None:
    """Both directories, if all that is named are two."""
    folders = [Path(name) for name in names]
    return (folders[0], folders[1]) if len(folders) == 2 and all(map(Path.is_dir, folders)) else None


def files_in(old: Path, new: Path) -> Iterator[Sides]:
    """The files in and below two directories, paired by their paths from there, in the order of these.

    What is there on one side only has no mode on the other. Links to files are followed, as those in a cache of models;
    those to directories are not, nor is looked into the repository that a worktree has.

    Raises:
        CompareError: a directory cannot be read.
    """
    befores, afters = _modes_below(old), _modes_below(new)
    for name in sorted({*befores, *afters}, key=os.fsencode):
        yield _sides([old / name, new / name], [befores.get(name), afters.get(name)])


def two_files(names: Sequence[str]) -> Sides:
    """Both sides with their files. Of a directory, the file is taken that has the other one's name.

    Raises:
        CompareUsageError: there are not two names.
        NoSuchFileError: a file is not there.
        CompareError: something is no file.
    """
    if len(names) != 2:
        raise CompareUsageError(
            "outside of a repository, two files or directories are compared: git theta diff OLD NEW"
        )
    old, new = (Path(name) for name in names)
    files = [old / new.name if old.is_dir() else old, new / old.name if new.is_dir() else new]
    return _sides(files, [_mode(file) for file in files])


def _sides(files: Sequence[Path], modes: Sequence[str | None]) -> Sides:
    # What is not there has the other one's name, as in a repository.
    named = [file if mode is not None else other for file, mode, other in zip(files, modes, files[::-1], strict=True)]
    return [(FileSide(str(name).lstrip("/"), mode), file) for name, mode, file in zip(named, modes, files, strict=True)]


def _is_inside(name: str, repository: Repository) -> bool:
    """As git sees it, by the words of the path alone: it may be that of a revision, or of a file that is not there."""
    if not Path(name).is_absolute():
        return Path(os.path.normpath(_prefix(repository) / name)).parts[:1] != (os.pardir,)
    path = Path(os.path.normpath(name))
    return not repository.is_bare and any(parent.resolve() == _top(repository) for parent in (path, *path.parents))


def _prefix(repository: Repository) -> Path:
    """What relative paths begin with, from the top; outside of the worktree, git takes them for such as they are."""
    here = Path.cwd()
    is_below = not repository.is_bare and here.is_relative_to(_top(repository))
    return here.relative_to(_top(repository)) if is_below else Path()


def _top(repository: Repository) -> Path:
    return repository.worktree.resolve()


def _mode(file: Path) -> str | None:
    """The mode that git would give a file; None for the one that stands for no file."""
    if str(file) == os.devnull:
        return None
    try:
        found = file.stat()
    except OSError as error:
        raise NoSuchFileError(f"there is no file {file}") from error
    if not stat.S_ISREG(found.st_mode):
        raise CompareError(f"{file} is no plain file")
    return _mode_of(found)


def _modes_below(folder: Path) -> dict[str, str]:
    """The modes of the plain files in and below a directory, by their paths from there."""
    found = {}
    for here, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if name != _NO_FILES]
        for file in (Path(here, name) for name in names if name != _NO_FILES):
            with suppress(OSError):  # a link to nothing
                status = file.stat()
                if stat.S_ISREG(status.st_mode):
                    found[str(file.relative_to(folder))] = _mode_of(status)
    return found


def _unreadable(error: OSError) -> NoReturn:
    raise CompareError(f"{error.filename} cannot be read: {error.strerror}") from error


def _mode_of(status: os.stat_result) -> str:
    return FILE_MODES[bool(status.st_mode & stat.S_IXUSR)]
