"""Talk to git-lfs, which knows every kind of LFS server, its authentication and its transfer adapters.

Every call names our store as its storage directory, so that git-lfs reads and writes our objects natively. It is named
relative to the repository: where a server turns out to be a path, git-lfs starts a second one for the repository there,
which inherits the settings, and would take objects from our store and put them there again.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

from msgspec import Struct

from git_theta.errors import TransferError
from git_theta.git import command
from git_theta.git.pktline import FLUSH, EndOfInput, frame, frame_texts, read_packets, read_texts
from git_theta.git.remotes import shown
from git_theta.git.repository import STORE, Repository
from git_theta.metadata import ObjectRef
from git_theta.store.objects import ObjectStore
from git_theta.store.pointers import pointer

_STANDARD_ERROR: Final = 2
"""Where git-lfs shows its progress: the standard output may be a filter's."""

_REFUSED: Final = b"Uploading failed"
"""Git-lfs says so where a server answers an upload with 422 (unprocessable), and ends as if nothing had happened."""

_NO_SKIPPING: Final = "GIT_LFS_SKIP_SMUDGE=0"
"""Users tell git-lfs to leave its own files alone; objects of ours that are asked for would not come either."""

_PATIENCE: Final = 2
"""How often git-lfs may end without having brought anything."""

_OWN_LOG: Final = b"`git lfs logs last`"
_LAST_WORDS: Final = 0.5
"""Seconds."""

_INSTALL: Final = "install git-lfs (https://git-lfs.com) and try again"


class Lfs(Struct, frozen=True):
    """git-lfs, run in a repository, with a store as its storage."""

    repository: Repository
    store: ObjectStore

    def push(self, remote: str, refs: Sequence[ObjectRef]) -> None:
        """Upload objects; those that the server has are passed over by git-lfs.

        Raises:
            TransferError: git-lfs is missing, or an upload failed.
        """
        self._require("push to")
        arguments = ["git", *self._options(), "lfs", "push", "--object-id", remote, "--stdin"]
        is_refused = False
        with tempfile.TemporaryFile() as oids:
            oids.writelines(f"{ref.oid}\n".encode() for ref in refs)
            oids.seek(0)
            with subprocess.Popen(
                arguments, cwd=self.repository.cwd, stdin=oids, stdout=_STANDARD_ERROR, stderr=subprocess.PIPE
            ) as process:
                for line in cast("BinaryIO", process.stderr):
                    _pass_on(line)
                    is_refused |= _REFUSED in line
        if process.returncode or is_refused:
            raise TransferError(f"git-lfs could not upload all {len(refs)} objects to {shown(remote)} (see above)")

    def fetch(self, refs: Sequence[ObjectRef], remote: str | None) -> None:
        """Download objects into the store, in parallel and in batches, as git-lfs does it.

        Git-lfs ends with the first object that it cannot get. The others are asked for again, as long as some come.

        Raises:
            TransferError: git-lfs is missing, or the conversation with it broke. An object that the server does not
                have is no error here: it is still missing afterwards.
        """
        self._require("fetch from")
        self.store.remove_leftovers()
        left, patience, is_broken = list(refs), _PATIENCE, False
        while left and patience:
            asked: list[ObjectRef] = []
            try:
                self._fetch(left, remote, asked)
                break
            except (EndOfInput, OSError):
                is_broken = True
            came = {ref for ref in left if self.store.has(ref)}
            patience -= not came
            left = [ref for ref in left if ref not in {*came, *asked[-1:]}]
        if is_broken:
            raise TransferError("git-lfs ended while it was fetching objects (see above)")

    def _fetch(self, refs: Sequence[ObjectRef], remote: str | None, asked: list[ObjectRef]) -> None:
        """Have one git-lfs fetch objects; what it is asked for is noted, the last at the end."""
        with self._filter_process(remote) as (outgoing, incoming):
            delayed = []
            for ref in refs:
                asked.append(ref)
                if not _request(ref, outgoing, incoming):
                    delayed.append(ref)
            while delayed:
                outgoing.write(frame_texts("command=list_available_blobs"))
                outgoing.flush()
                paths = {text.removeprefix("pathname=") for text in read_texts(incoming)}
                read_texts(incoming)
                if not paths:
                    break
                for ref in [ref for ref in delayed if ref.oid in paths]:
                    asked.append(ref)
                    _collect(ref, outgoing, incoming)
                delayed = [ref for ref in delayed if ref.oid not in paths]

    @contextmanager
    def _filter_process(self, remote: str | None) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """A `git lfs filter-process` that has been greeted: the streams to it and from it."""
        arguments = ["env", _NO_SKIPPING, "git", *self._options(), *self._choose(remote), "lfs", "filter-process"]
        with (
            _passing_on() as complaints,
            subprocess.Popen(
                arguments,
                cwd=self.repository.cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
            ) as process,
        ):
            outgoing, incoming = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
            outgoing.write(frame_texts("git-filter-client", "version=2"))
            outgoing.flush()
            read_texts(incoming)
            outgoing.write(frame_texts("capability=clean", "capability=smudge", "capability=delay"))
            outgoing.flush()
            read_texts(incoming)
            yield outgoing, incoming

    def _options(self) -> list[str]:
        # A user's include and exclude patterns are about paths, and objects of ours have none.
        settings = [f"lfs.storage={STORE}", "lfs.fetchinclude=", "lfs.fetchexclude="]
        return [word for setting in settings for word in ("-c", setting)]

    def _choose(self, remote: str | None) -> list[str]:
        """The settings that make git-lfs ask a certain remote: it prefers the one that the current branch follows."""
        if remote is None:
            return []
        branch = self.repository.branch()
        followed = ["-c", f"branch.{branch}.remote={remote}"] if branch is not None else []
        return ["-c", f"remote.lfsdefault={remote}", *followed]

    def _require(self, purpose: str) -> None:
        if command.attempt(["lfs", "version"], cwd=self.repository.cwd)[0]:
            raise TransferError(f"git-lfs is needed to {purpose} this remote: {_INSTALL}")


@contextmanager
def _passing_on() -> Iterator[int]:
    """A descriptor for what a process says on its standard error within the context, which is passed on meanwhile."""
    reading, writing = os.pipe()

    def pass_all() -> None:
        with os.fdopen(reading, "rb") as complaints:
            for line in complaints:
                _pass_on(line)

    teller = threading.Thread(target=pass_all, daemon=True)
    teller.start()
    try:
        yield writing
    finally:
        os.close(writing)
        # What git-lfs has started for itself, such as an ssh that waits for more, may keep the other end open.
        teller.join(_LAST_WORDS)


def _pass_on(line: bytes) -> None:
    """Show what git-lfs says, but for its hint how to see its log: it would look for that in a storage of its own."""
    if _OWN_LOG not in line:
        os.write(_STANDARD_ERROR, line)


def _request(ref: ObjectRef, outgoing: BinaryIO, incoming: BinaryIO) -> bool:
    """Ask for an object; False if git-lfs will deliver it later."""
    asked = pointer(ref)
    outgoing.write(frame_texts("command=smudge", f"pathname={ref.oid}", "can-delay=1"))
    outgoing.write(frame(asked) + asked + FLUSH)
    outgoing.flush()
    return _answer(incoming)


def _collect(ref: ObjectRef, outgoing: BinaryIO, incoming: BinaryIO) -> None:
    """Take an object that git-lfs has announced."""
    outgoing.write(frame_texts("command=smudge", f"pathname={ref.oid}") + FLUSH)
    outgoing.flush()
    _answer(incoming)


def _answer(incoming: BinaryIO) -> bool:
    """Take an answer, but not its content, which git-lfs has put in the store as well; False if it comes later."""
    status = read_texts(incoming)
    if "status=delayed" in status:
        return False
    if "status=success" in status:
        for _ in read_packets(incoming):
            pass
        read_texts(incoming)
    return True
