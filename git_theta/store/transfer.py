"""Bring objects from remotes and take them there: by copying where a remote is a path, else by git-lfs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from git_theta.errors import GitError, ObjectError, StoreError, TransferError, UnreadableObjectError
from git_theta.git import command
from git_theta.git.remotes import fetched_from, noted, shown
from git_theta.git.repository import Repository
from git_theta.metadata import ObjectRef
from git_theta.store.lfs import Lfs
from git_theta.store.neighbour import copy, local_path, store_of
from git_theta.store.objects import ObjectStore

_PATHS: Final = ("/", "file://")
"""How the URL of an LFS server begins that is a repository on this machine; git-lfs knows no relative ones."""


class Transfer(Struct, frozen=True):
    """Moves objects between a repository's store and its remotes."""

    repository: Repository
    store: ObjectStore

    def fetch(self, refs: Iterable[ObjectRef], remote: str | None = None) -> list[ObjectRef]:
        """Bring what is missing; returns what could not be had.

        Args:
            refs: the objects wanted.
            remote: the one to ask; by default every remote that is a path, then git-lfs, then what git fetched from
                last and is no remote.

        Raises:
            GitError: there is no such remote.
            TransferError: a remote could not be asked, or has damaged objects, and no other has them. What could be had
                has come.
        """
        missing = self.store.missing(refs)
        remotes = self.remotes()
        problems: list[TransferError] = []
        if remote is None:
            missing = self._asked_all(remotes, _order, missing, problems)
            if missing:
                missing = self._asked_all(self._elsewhere(remotes), list, missing, problems)
        else:
            self.check_is_known(remote)
            self._check_is_there(remote)
            missing = self._asked_all([remote], list, missing, problems)
        if missing and problems:
            raise problems[0]
        return missing

    def check_is_known(self, remote: str) -> None:
        """Whatever is no remote's name is a URL or a path, and a misspelt name looks like a path.

        Raises:
            GitError: it is none of these.
        """
        if remote in self.remotes() or set(remote) & set("/:"):
            return
        try:
            store_of(self._base / remote)
        except StoreError:
            raise GitError(f"there is no remote {remote!r}: 'git remote' lists those that there are") from None

    def _check_is_there(self, remote: str) -> None:
        """Of one remote among several that is not there, nothing is said; who names it wants to know.

        Raises:
            TransferError: it is a path at which there is no repository.
        """
        path = self._neighbour(remote, self.url(remote), push=False)
        if path is not None:
            try:
                store_of(path)
            except StoreError as error:
                raise TransferError(str(error)) from error

    def _elsewhere(self, remotes: list[str]) -> list[str]:
        """Where git fetched from last that is no remote."""
        known = {noted(self.url(name)) for name in remotes}
        return [url for url in fetched_from(self.repository) if url not in known]

    def _asked_all(
        self,
        remotes: list[str],
        order: Callable[[list[str]], Iterable[str | None]],
        missing: list[ObjectRef],
        problems: list[TransferError],
    ) -> list[ObjectRef]:
        """Ask remotes for what is missing, first those that are paths; returns what is left.

        Args:
            remotes: names or URLs.
            order: which of those that git-lfs asks it is to ask, and when.
            missing: the objects.
            problems: takes what goes wrong.
        """
        urls = {name: self.url(name) for name in remotes}
        kept = {name: self._neighbour(name, url, push=False) for name, url in urls.items()}
        paths = (*(self._path_of(url) for url in urls.values()), *kept.values())
        for neighbour in dict.fromkeys(path for path in paths if path is not None):
            missing = self._asked(partial(self._copy_from, neighbour), missing, problems)
        for name in order([name for name in remotes if kept[name] is None]):
            missing = self._asked(partial(self._fetch_by_lfs, name), missing, problems)
        return missing

    def _asked(
        self, ask: Callable[[list[ObjectRef]], None], missing: list[ObjectRef], problems: list[TransferError]
    ) -> list[ObjectRef]:
        """Ask a remote for what is missing; returns what is left.

        One that cannot be asked, or is damaged, only matters if no other has the objects.
        """
        if missing:
            try:
                ask(missing)
            except TransferError as error:
                problems.append(error)
        return self.store.missing(missing)

    def _fetch_by_lfs(self, remote: str | None, missing: list[ObjectRef]) -> None:
        Lfs(self.repository, self.store).fetch(missing, remote)

    def push(self, refs: Iterable[ObjectRef], remote: str, url: str, there: Callable[[], Container[str]]) -> None:
        """Take objects to a remote.

        Args:
            refs: the objects.
            remote: a name or a URL.
            url: of the remote.
            there: gives the names of objects that the remote has for sure. It is asked only if some are not here.

        Raises:
            TransferError: an object is neither here nor there and cannot be fetched, or could not be uploaded.
            StoreError: a store cannot be read or written.
        """
        neighbour = self._neighbour(remote, url, push=True)
        if neighbour is None:
            self._push_by_lfs(list(refs), self._lfs_target(remote, url), there)
        else:
            self._copy_to(list(refs), remote, store_of(neighbour))

    def _lfs_target(self, remote: str, url: str) -> str:
        """What git-lfs is to push to. Of several URLs to push to, it takes the last where it is given the name."""
        several = len(self._urls(remote, push=True)) > 1 and self.repository.lfs_url(remote, push=True) is None
        return url if several else remote

    def _push_by_lfs(self, refs: list[ObjectRef], remote: str, there: Callable[[], Container[str]]) -> None:
        """Git-lfs passes over what is not here without a word, so that has to be looked after before."""
        lost = [ref for ref in refs if not self.store.has(ref)]
        if lost:
            known = there()
            self._bring([ref for ref in lost if ref.oid not in known], remote)
        here = [ref for ref in refs if self.store.has(ref)]
        if here:
            Lfs(self.repository, self.store).push(remote, here)

    def _copy_to(self, refs: list[ObjectRef], remote: str, target: ObjectStore) -> None:
        try:
            lost = copy(refs, self.store, target)
            self._bring(lost, remote)
            copy(lost, self.store, target)
        except ObjectError as error:
            hint = "" if isinstance(error, UnreadableObjectError) else ": 'git theta fetch --verify' may replace it"
            raise TransferError(f"{error}{hint}") from error

    def _bring(self, lost: list[ObjectRef], remote: str) -> None:
        try:
            left = self.fetch(lost) if lost else []
        except TransferError as error:
            left = self.store.missing(lost)
            if not left:
                return  # All came in spite of it.
            raise TransferError(
                f"{len(left)} objects to be pushed are not here (the first is {left[0].oid}), "
                f"and could not be fetched: {error}; if no remote has them, push from where they were committed"
            ) from error
        if left:
            raise TransferError(
                f"{len(left)} objects are neither here nor at {shown(remote)}, and no remote has them "
                f"(the first is {left[0].oid}): push from where they were committed"
            )

    def remotes(self) -> list[str]:
        """The configured remotes, in the order of the configuration."""
        return command.lines(self.repository.git("remote"))

    def url(self, remote: str) -> str:
        """The (first) URL of a remote; a name that is not configured is taken for a URL, as git does."""
        return (self._urls(remote, push=False) or [remote])[0]

    def push_urls(self, remote: str) -> list[str]:
        """All URLs to which git pushes for a remote; see `url`."""
        return self._urls(remote, push=True) or [remote]

    def _urls(self, remote: str, *, push: bool) -> list[str]:
        asked = ["remote", "get-url", "--all", *(["--push"] if push else []), remote]
        status, output, _ = command.attempt(asked, cwd=self.repository.cwd)
        return command.lines(output) if status == 0 else []

    def _neighbour(self, remote: str, url: str, *, push: bool) -> Path | None:
        """Where the repository is whose store has the objects of a remote; None if they go by git-lfs."""
        server = self.repository.lfs_url(remote, push=push)
        if server is None:
            return self._path_of(url)
        # By git-lfs, which is told where our store is, objects would go from there to there, and not to the server.
        path = self._path_of(server) if server.startswith(_PATHS) else None
        return None if path is None or self.repository.has_lfs_agent(path) else path

    def _path_of(self, url: str) -> Path | None:
        return local_path(url, self._base)

    @property
    def _base(self) -> Path:
        """What the path of a remote is relative to."""
        return self.repository.git_dir if self.repository.is_bare else self.repository.worktree

    def _copy_from(self, neighbour: Path, missing: list[ObjectRef]) -> None:
        try:
            source = store_of(neighbour)
        except StoreError:
            return  # A remote that cannot be reached has nothing; others may.
        bad = []
        for ref in missing:
            try:
                copy([ref], source, self.store)
            except ObjectError as error:
                bad.append(error)
        if bad:
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise TransferError(f"{bad[0]}{more}")


def _order(remotes: list[str]) -> list[str | None]:
    """Whom to ask: first the remote that git-lfs chooses by itself (None), then the others by name."""
    if not remotes:
        return []
    return [None] if len(remotes) == 1 else [None, *remotes]
