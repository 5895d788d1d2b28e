"""What every verb that works in a repository needs, put together in one place."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from git_theta.cli.boundary import complain
from git_theta.errors import GitError, TransferError
from git_theta.git import drivers, hooks, showing
from git_theta.git.repository import Repository
from git_theta.metadata import ObjectRef
from git_theta.settings import MAX_CHAIN, Settings, is_false
from git_theta.store.cache import MetadataCache
from git_theta.store.objects import ObjectStore

if TYPE_CHECKING:
    from git_theta.flows.clean import Cleaner
    from git_theta.flows.diff import Differ
    from git_theta.flows.measuring import Measurer
    from git_theta.flows.merge import Merger
    from git_theta.flows.sideload import SideLoader
    from git_theta.flows.smudge import Smudger
    from git_theta.store.handover import HandOver
    from git_theta.store.transfer import Transfer

_STATISTICS: Final = ("auto", "exact", "estimate", "none")
_TRUE: Final = ("1", "true", "yes", "on")


class Workspace(Struct, frozen=True, dict=True):
    """A repository with its store, its settings and what moves objects. Parts are made when they are first used.

    Attributes:
        repository: what it is about.
        asked: the objects that remotes were asked for.
    """

    repository: Repository
    asked: set[ObjectRef] = field(default_factory=set)

    @classmethod
    def here(cls) -> Workspace:
        """The one around the current directory.

        Raises:
            GitError: there is no repository.
        """
        return cls(Repository.discover(Path.cwd()))

    @cached_property
    def store(self) -> ObjectStore:
        """The object store."""
        return ObjectStore(self.repository.theta_dir)

    @cached_property
    def cache(self) -> MetadataCache:
        """The metadata files seen before."""
        return MetadataCache(self.repository.theta_dir / "cache")

    @cached_property
    def handover(self) -> HandOver:
        """What merges leave for the checkouts that follow them."""
        from git_theta.store.handover import HandOver

        return HandOver(self.store.temporary_directory)

    @cached_property
    def transfer(self) -> Transfer:
        """What moves objects to and from remotes."""
        from git_theta.store.transfer import Transfer

        return Transfer(self.repository, self.store)

    @cached_property
    def settings(self) -> Settings:
        """What the user has set, the environment before the configuration.

        Raises:
            GitError: a setting is not what it can be.
        """
        return settings_from(self.repository.settings())

    @cached_property
    def cleaner(self) -> Cleaner:
        """Turns checkpoints into metadata files; paths are relative to the current directory, as git calls filters."""
        from git_theta.checkpoints import formats
        from git_theta.flows.clean import Cleaner

        return Cleaner(
            repository=self.repository,
            top=self.repository.cwd,
            store=self.store,
            cache=self.cache,
            formats=formats(),
            settings=self.settings,
            warn=_warn,
        )

    @cached_property
    def side_loader(self) -> SideLoader:
        """Keeps what the user says that a change was made from; paths are relative to the top of the worktree."""
        from git_theta.flows.sideload import SideLoader

        return SideLoader(replace(self.cleaner, top=self.repository.worktree), self.cleaner.formats)

    @cached_property
    def smudger(self) -> Smudger:
        """Turns metadata files into checkpoints."""
        from git_theta.flows.smudge import Smudger
        from git_theta.updates import update_types

        return Smudger(self.store, self.cache, update_types(), self.bring, handover=self.handover)

    @cached_property
    def merger(self) -> Merger:
        """Merges checkpoints."""
        from git_theta.checkpoints import formats
        from git_theta.flows.merge import Merger
        from git_theta.merges import merge_methods
        from git_theta.updates import update_types
        from git_theta.updates.choose import Limits

        return Merger(
            store=self.store,
            cache=self.cache,
            update_types=update_types(),
            fetch=self.bring,
            formats=formats(),
            methods=merge_methods(),
            limits=Limits(self.settings.max_chain),
        )

    def measurer(self, path: str) -> Measurer:
        """Compares the values of groups of a checkpoint; path: for messages."""
        from git_theta.flows.measuring import Measurer
        from git_theta.updates import update_types

        return Measurer(path, self.store, update_types(), self.bring)

    @cached_property
    def differ(self) -> Differ:
        """Compares versions of checkpoints."""
        from git_theta.checkpoints import formats
        from git_theta.flows.diff import Differ, How

        return Differ(formats(), self.store, How(self.settings.statistics), _warn)

    def reads_only_metadata(self, path: str) -> bool:
        """Whether what this filter smudges is for our own diff driver, which reads metadata files.

        Args:
            path: of the file, as git gives it to filters.
        """
        return self._shows_differences and self._diff_driver(path) == "theta"

    @cached_property
    def _diff_driver(self) -> Callable[[str], str | None]:
        """The diff driver that a path has. Git is asked once for each: git blame smudges many versions of one file."""
        return cache(lambda path: self.repository.attribute(path, "diff"))

    @cached_property
    def _shows_differences(self) -> bool:
        """Whether git smudges for nothing else here. GIT_EXTERNAL_DIFF is what `git difftool` sets."""
        arguments = None if os.environ.get("GIT_EXTERNAL_DIFF") else showing.caller()
        return arguments is not None and showing.shows_differences(arguments) and drivers.are_diffs_ours()

    def ensure_hook(self) -> None:
        """Install the pre-push hook if it is missing, as git-lfs does: a push without it would leave objects behind."""
        try:
            if not self.repository.is_bare and not hooks.is_installed(self.repository):
                moved = hooks.install(self.repository)
                if moved is not None:
                    complain(f"the pre-push hook that was there is now {moved}, and is called before ours")
        except GitError as error:
            complain(f"warning: {error}; before you push, run 'git theta install'")

    def bring(self, refs: Iterable[ObjectRef]) -> None:
        """Bring what can be brought; what is missing afterwards is reported by whoever needs it, with its place.

        Nobody is asked a second time: git-lfs itself is patient with a server that fails.
        """
        wanted = [ref for ref in self.store.missing(refs) if ref not in self.asked]
        self.asked.update(wanted)
        try:
            if wanted:
                self.transfer.fetch(wanted)
        except TransferError as error:
            complain(f"warning: {error}")


def settings_from(configured: Mapping[str, str]) -> Settings:
    """What the user has set, the environment before the configuration.

    Args:
        configured: the configuration below "theta.".

    Raises:
        GitError: a setting is not what it can be.
    """
    skip = os.environ.get("GIT_THETA_SKIP_SMUDGE", "0")
    return Settings(
        strict=_boolean("theta.strict", configured.get("strict", "false")),
        skip_smudge=_boolean("GIT_THETA_SKIP_SMUDGE", skip),
        max_chain=_number("theta.maxchain", configured.get("maxchain", "8"), MAX_CHAIN),
        atol=_tolerance("atol", configured),
        rtol=_tolerance("rtol", configured) or 1e-5,
        fold=_boolean("theta.diff.fold", configured.get("diff.fold", "true")),
        statistics=_choice("theta.diff.stats", configured.get("diff.stats", "auto"), _STATISTICS),
    )


def _warn(message: str) -> None:
    complain(f"warning: {message}")


def _choice(name: str, text: str, choices: Sequence[str]) -> str:
    word = text.strip().lower()
    if word not in choices:
        raise GitError(f"{name} is {text!r}, which is none of {', '.join(choices)}")
    return word


def _tolerance(name: str, configured: Mapping[str, str]) -> float | None:
    """A tolerance from the environment or the configuration; None if it is not set, or is 0."""
    variable = f"GIT_THETA_PARAMETER_{name.upper()}"
    text = os.environ.get(variable) or configured.get(name, "0")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise GitError(f"theta.{name} (or {variable}) is {text!r}, which is no tolerance")
    return value or None


def _number(name: str, text: str, limit: int) -> int:
    if not text.strip().isdecimal() or int(text) > limit:
        raise GitError(f"{name} is {text!r}, which is no number from 0 to {limit}")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    if is_false(text):
        return False
    if text.strip().lower() not in _TRUE:
        raise GitError(f"{name} is {text!r}, which is neither true nor false")
    return True
