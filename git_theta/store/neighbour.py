"""A remote that is a path: its repository has a store like ours, and objects are copied from store to store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from git_theta.errors import CorruptObjectError, MissingObjectError, ObjectError, StoreError
from git_theta.git import command
from git_theta.git.repository import STORE
from git_theta.metadata import ObjectRef
from git_theta.store.objects import ObjectStore

_FILE: Final = "file://"

_ENDS: Final = ("/.git", "", ".git/.git", ".git")
"""What git tries to add to the path of a repository, in this order."""


def local_path(url: str, base: Path) -> Path | None:
    """The path that a remote's URL means, or None if it is reached in another way (gitremote-helpers(7), git-clone(1)).

    Args:
        url: of the remote.
        base: what a relative path is relative to.
    """
    if url.startswith(_FILE):
        # Not urlsplit: "#" and "?" are part of the path for git.
        quoted = url.removeprefix(_FILE).partition("/")[2]
        return Path(os.fsdecode(unquote_to_bytes(os.fsencode(f"/{quoted}"))))
    before_slash = url.partition("/")[0]
    if "://" in url or ":" in before_slash:
        return None
    path = Path(url)
    with suppress(RuntimeError):  # There is no such user.
        path = path.expanduser()
    return base / path


def store_of(path: Path) -> ObjectStore:
    """The store of the repository at a path (a worktree, or a bare repository).

    Raises:
        StoreError: there is no repository.
    """
    for candidate in (f"{path}{end}" for end in _ENDS):
        # Named outright: while git clones, the environment says that the repository is the new one.
        status, output, _ = command.attempt(
            [f"--git-dir={candidate}", "rev-parse", "--path-format=absolute", "--git-common-dir"]
        )
        if status == 0:
            return ObjectStore(Path(command.lines(output)[0]) / STORE)
    raise StoreError(f"the remote {path} is not a repository that can be read")


def copy(refs: Iterable[ObjectRef], source: ObjectStore, target: ObjectStore) -> list[ObjectRef]:
    """Copy the objects that the target lacks; returns those that the source does not have either.

    Raises:
        ObjectError: the source's bytes are not the ones that an object's name promises, or cannot be read.
        StoreError: a store cannot be read or written.
    """
    return [ref for ref in refs if not target.has(ref) and not _copy_one(ref, source, target)]


def _copy_one(ref: ObjectRef, source: ObjectStore, target: ObjectStore) -> bool:
    try:
        with source.open(ref) as file, target.writing() as writer:
            while block := file.read(1 << 20):
                writer.write(block)
            if writer.oid != ref.oid:
                raise CorruptObjectError("its SHA-256 is not its name")
            writer.publish()
    except MissingObjectError:
        return False
    except ObjectError as error:
        raise type(error)(f"object {ref.oid} of {source.root} cannot be used: {error}") from error
    return True
