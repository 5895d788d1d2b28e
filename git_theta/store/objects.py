"""The local object store, laid out as a Git LFS storage directory so that git-lfs reads and writes it natively."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from git_theta.errors import CorruptObjectError, MissingObjectError, StoreError, UnreadableObjectError
from git_theta.metadata import ObjectRef
from git_theta.replacing import token

_STALE_SECONDS: Final = 24 * 3600

_STALE_DIRECTORY_SECONDS: Final = 7 * _STALE_SECONDS
"""In a directory nothing may happen for long while somebody is asked how to merge."""

_DOWNLOADS: Final = "incomplete"
"""Where git-lfs, which takes our root for its own, writes what it downloads, and leaves what was interrupted."""

_READABLE: Final = 0o444

_DAMAGED: Final = frozenset({errno.EIO, errno.EISDIR})
"""What the system says of files that will not be read tomorrow either."""


class ObjectStore:
    """Objects under a directory, which is made when it is first written to.

    Publishing is by rename, so a reader sees a whole object or none, and two processes may write the same object at
    once.
    """

    def __init__(self, root: Path) -> None:
        """Args: root: the storage directory; objects lie in root/objects/ab/cd/<oid>."""
        self.root = root

    def path(self, oid: str) -> Path:
        """Where the object of this name lies, if it is here."""
        return self.root / "objects" / oid[:2] / oid[2:4] / oid

    def has(self, ref: ObjectRef) -> bool:
        """Whether an object of this name and size is here."""
        try:
            return self.path(ref.oid).stat().st_size == ref.size
        except OSError:
            return False

    def missing(self, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Those of the objects that are not here, each once."""
        return [ref for ref in {ref.oid: ref for ref in refs}.values() if not self.has(ref)]

    @contextmanager
    def open(self, ref: ObjectRef) -> Iterator[BinaryIO]:
        """The object's bytes. They are not verified here: whoever reads values knows their digest.

        Raises:
            MissingObjectError: it is not here.
            CorruptObjectError: it has another size, or the disk does not give it back.
            UnreadableObjectError: it cannot be read, now or within the context.
        """
        with self._as_unreadable():
            try:
                file = self.path(ref.oid).open("rb")
            except FileNotFoundError:
                raise MissingObjectError("it is not in the local store") from None
            with file:
                size = os.fstat(file.fileno()).st_size
                if size != ref.size:
                    raise CorruptObjectError(f"it has {size} bytes instead of {ref.size}")
                yield file

    def verify(self, ref: ObjectRef) -> None:
        """Read the object and compare it with its name.

        Raises:
            ObjectError: it is missing, cannot be read, or its bytes are not the ones it was named for.
        """
        from hashlib import sha256  # 5 ms to import, and most checkouts name no object

        with self.open(ref) as file:
            hasher = sha256()
            while block := file.read(1 << 20):
                hasher.update(block)
        if hasher.hexdigest() != ref.oid:
            raise CorruptObjectError("its SHA-256 is not its name")

    def suspect(self, refs: Iterable[ObjectRef]) -> ObjectRef | None:
        """The first of some objects, one of which is to blame, that is not as it should be; else the very first.

        None if there are none.
        """
        first = None
        for ref in refs:
            first = first or ref
            try:
                self.verify(ref)
            except StoreError:
                return ref
        return first

    def set_aside(self, ref: ObjectRef) -> None:
        """Move a damaged object to root/bad, where nothing reads it but a person still can.

        Raises:
            StoreError: it cannot be moved.
        """
        with _as_store_error(self.root):
            self.make_directory(self.root / "bad")
            self.path(ref.oid).replace(self.root / "bad" / ref.oid)

    @contextmanager
    def writing(self) -> Iterator[ObjectWriter]:
        """A new object; it vanishes unless it is published, or passed on, before the context ends.

        Raises:
            StoreError: the store cannot be written.
        """
        with _as_store_error(self.root):
            directory = self.temporary_directory()
            temporary = directory / f"object-{token()}"
            # Not mkstemp: the umask decides who may read, or the repository.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READABLE)
            self._share(descriptor)
        writer = ObjectWriter(self, descriptor, temporary)
        try:
            yield writer
        finally:
            if not writer.is_passed_on:
                writer.discard()

    @contextmanager
    def _as_unreadable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = f"it cannot be read: {error.strerror}"
            if error.errno in _DAMAGED:
                raise CorruptObjectError(why) from error
            hint = f": let yourself read the files in {self.root}" if isinstance(error, PermissionError) else ""
            raise UnreadableObjectError(f"{why}{hint}") from error

    def _share(self, descriptor: int) -> None:
        """Let those read a new file whom git lets read its own, whatever the umask (core.sharedRepository)."""
        mode = self.root.parent.stat().st_mode
        if mode & stat.S_ISGID:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | mode & _READABLE)

    @property
    def scratch(self) -> Path:
        """The temporary directory, if it is there and can be written to."""
        return self.root / "tmp"

    def temporary_directory(self) -> Path:
        """Where unfinished files lie; what a killed process left there is removed; see `remove_leftovers`."""
        directory = self.scratch
        with _as_store_error(self.root):
            self.make_directory(directory)
        self.remove_leftovers()
        return directory

    def remove_leftovers(self) -> None:
        """Remove the files that a killed process of ours or of git-lfs left a day ago, and directories after a week."""
        for directory in (self.scratch, self.root / _DOWNLOADS):
            with contextlib.suppress(OSError):
                for leftover in directory.iterdir():
                    _remove_if_stale(leftover)

    def make_directory(self, directory: Path) -> None:
        """Make a directory below the root, as open to others as the repository itself (core.sharedRepository)."""
        if directory.is_dir():
            return
        if directory != self.root.parent:
            self.make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        mode = stat.S_IMODE(self.root.parent.stat().st_mode)
        if stat.S_IMODE(directory.stat().st_mode) != mode:
            directory.chmod(mode)


class ObjectWriter:
    """An object that is being written to a temporary file of the store; empty at first."""

    def __init__(self, store: ObjectStore, descriptor: int, temporary: Path) -> None:
        from hashlib import sha256

        self.store = store
        self.descriptor = descriptor
        self.temporary = temporary
        self._hasher = sha256()
        self._size = 0
        self.is_passed_on = False

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            StoreError: they could not be written (disk full).
        """
        self._hasher.update(data)
        self._size += len(data)
        with _as_store_error(self.store.root):
            view = memoryview(data)
            while view:
                view = view[os.write(self.descriptor, view) :]

    @property
    def oid(self) -> str:
        """The name that the bytes written so far have."""
        return self._hasher.hexdigest()

    def publish(self) -> ObjectRef:
        """Make the object visible under its name, durably.

        Raises:
            StoreError: it could not be written.
        """
        ref = self._ref
        target = self.store.path(ref.oid)
        with _as_store_error(self.store.root):
            os.fsync(self.descriptor)
            self.store.make_directory(target.parent)
            self.temporary.replace(target)
            _sync_directory(target.parent)
        return ref

    def pass_on(self) -> ObjectRef:
        """Leave it to somebody else to publish it and to discard it; returns what it will be known by."""
        self.is_passed_on = True
        return self._ref

    @property
    def _ref(self) -> ObjectRef:
        return ObjectRef(self.oid, self._size)

    def discard(self) -> None:
        """Close the file, and remove it if it was not published."""
        os.close(self.descriptor)
        self.temporary.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Without this, a power failure could undo the rename."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_stale(leftover: Path) -> None:
    try:
        status = leftover.lstat()
        age = time.time() - status.st_mtime
        if stat.S_ISDIR(status.st_mode):
            if age > _STALE_DIRECTORY_SECONDS:
                import shutil  # slow to import, and hardly ever needed

                shutil.rmtree(leftover)
        elif age > _STALE_SECONDS:
            leftover.unlink()
    except OSError:
        return  # Somebody else was faster, or it is not ours to remove.


@contextmanager
def _as_store_error(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = ": free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreError(f"the object store {root} cannot be written: {error.strerror}{hint}") from error
