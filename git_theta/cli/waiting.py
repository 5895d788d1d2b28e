"""Checkpoints of a checkout that wait for their objects, which are brought all at once when git has asked for all else.

A server is asked once for a model in a hundred files, and not a hundred times.
"""

from __future__ import annotations

from msgspec import Struct, field

from git_theta.cli.boundary import complain
from git_theta.cli.filtering import MetadataFile
from git_theta.cli.workspace import Workspace
from git_theta.errors import ThetaError
from git_theta.metadata import ObjectRef


class Waiting(Struct, frozen=True):
    """The checkpoints that git comes back for, by path from the top: those that wait, and those that do no more."""

    workspace: Workspace
    _waiting: dict[str, MetadataFile] = field(default_factory=dict)
    _ready: dict[str, MetadataFile] = field(default_factory=dict)

    def takes(self, path: str, file: MetadataFile) -> bool:
        """Whether a checkpoint has to wait; then it does."""
        missing = self._missing(file)
        if not missing:
            return False
        # For the next commit of a rebase, say, remotes are asked again.
        self.workspace.asked.difference_update(missing)
        self._waiting[path] = file
        return True

    def bring(self) -> list[str]:
        """Bring the objects of what waits, as far as they can be had; returns paths that wait no more.

        What cannot be made comes when nothing else waits: git takes no more after it.
        """
        try:
            self.workspace.bring([ref for file in self._waiting.values() for ref in self._missing(file)])
        except ThetaError as error:
            complain(f"warning: {error}")
        paths = list(self._waiting)
        paths = [path for path in paths if not self._missing(self._waiting[path])] or paths
        self._ready.update({path: self._waiting.pop(path) for path in paths})
        return paths

    def pop(self, path: str) -> MetadataFile | None:
        """What git comes back for; None if it has not been told that this path is ready."""
        return self._ready.pop(path, None)

    def _missing(self, file: MetadataFile) -> list[ObjectRef]:
        return self.workspace.store.missing(file.metadata.objects())
