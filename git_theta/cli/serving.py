"""Clean and smudge every checkpoint of one git command, over git's filter protocol on stdin and stdout."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Final

from msgspec import Struct, field

from git_theta.cli import filtering, interrupting
from git_theta.cli.boundary import complain, report_bug, trouble_of
from git_theta.cli.filtering import MetadataFile
from git_theta.cli.waiting import Waiting
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, ThetaError
from git_theta.git import caller
from git_theta.git.filter_protocol import LIST, Connection, Request
from git_theta.git.pktline import EndOfInput
from git_theta.memory import keep_freed

_ONLY_CLEANING: Final = ("add", "commit", "diff", "status", "update-index", "hash-object")
"""Commands that put no file into the worktree."""

_NEEDED: Final[Mapping[str, str]] = {"clean": "git_theta.flows.clean", "smudge": "git_theta.flows.smudge"}
"""What each of git's requests takes."""


def serve(*, skip: bool = False, cleaned: Path | None = None) -> None:
    """Answer what git asks for, until it closes the conversation. Whoever interrupts git is told nothing by us.

    Args:
        skip: leave metadata files in the worktree.
        cleaned: the answer to all that is asked, see `stage_as_cleaned`.
    """
    keep_freed()
    connection = Connection(sys.stdin.buffer, filtering.output_to_git())
    try:
        with interrupting.ending_by_signal():
            connection.welcome(("clean", "smudge", "delay"))
            if cleaned is not None:
                _repeat(connection, cleaned.read_bytes())
                return
            requests = connection.requests()
            first = next(requests, None)
            if first is not None:
                _import_ahead(first.command)
            workspace = Workspace.here()
            if first is None:
                return
            server = _Server(connection, workspace, Waiting(workspace), skip=skip)
            server.serve(first)
            # Git is busy with the answer now, and does not wait for this.
            workspace.ensure_hook()
            for request in requests:
                server.serve(request)
    except EndOfInput:
        return
    # Who interrupts this is told: it is about files in the worktree.
    _put_back(workspace, server.replaced)


def _import_ahead(command: str) -> None:
    """Begin to import what the command takes, which is slow, while git is asked where the repository is."""
    name = _NEEDED.get(command)
    if name is not None:
        Thread(target=_import, args=(name,)).start()


def _import(name: str) -> None:
    with suppress(Exception):  # Whoever needs it says what is wrong.
        importlib.import_module(name)


class _Replaced(Struct, dict=True):
    """The files that git puts other versions of into the worktree, by path from the top.

    Attributes:
        cleaned: what they were before, where git asked: `git checkout -m` takes away what is in no index and no commit.
        written: those that git got.
        failed: the beginning of the metadata files that could not be made into checkpoints.
    """

    cleaned: dict[str, bytes] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    failed: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def is_possible(self) -> bool:
        """Whether git may do so at all. What it adds and compares need not be remembered."""
        return next(iter(caller.arguments(lambda _name: None)), "") not in _ONLY_CLEANING


def _put_back(workspace: Workspace, replaced: _Replaced) -> None:
    """Git has taken these files away, and ends now, for they could not be written."""
    if not replaced.failed or "GIT_INDEX_FILE" in os.environ:
        return
    # Not needed by a filter that nothing fails in, and slow to import.
    from git_theta.flows.putting_back import MOVING, REPLACING, put_back

    verb = next(iter(caller.arguments(workspace.repository.alias)), "")
    if verb not in REPLACING:
        return
    # Other commands keep what is not committed, and make several commits one after the other: the index says what was
    # there before the last of them.
    cleaned = replaced.cleaned if verb in MOVING else {}
    for path in dict.fromkeys((*replaced.failed, *cleaned)):
        if not put_back(
            workspace.repository,
            workspace.smudger,
            path,
            cleaned=cleaned.get(path),
            asked=replaced.failed.get(path),
            over=path in replaced.written and path not in replaced.failed,
        ):
            complain(f"{path}: git took it out of the worktree: 'git checkout -- {path}' brings back what was there")


def _repeat(connection: Connection, answer: bytes) -> None:
    """Answer what is known already."""
    for request in connection.requests():
        for _ in request.content:
            pass
        connection.answer([answer])


class _Server(Struct, frozen=True):
    """Answers what git asks for."""

    connection: Connection
    workspace: Workspace
    waiting: Waiting
    skip: bool
    replaced: _Replaced = field(default_factory=_Replaced)

    def serve(self, request: Request) -> None:
        """Answer one request. What goes wrong with one file is said of that file, and the next one is served."""
        try:
            if request.command == LIST:
                self.connection.announce(self.waiting.bring())
            else:
                self._convert(request)
        except ThetaError as error:
            complain(str(error) if str(error).startswith(request.path) else f"{request.path}: {error}")
        except (BrokenPipeError, EndOfInput):
            raise
        except Exception as error:
            trouble = trouble_of(error)
            if trouble is None:
                report_bug(error, os.environ)
            else:
                complain(f"{request.path}: {trouble}")
        for _ in request.content:
            pass

    def _convert(self, request: Request) -> None:
        """Answer with a file's bytes, or not yet."""
        try:
            content = self._answer(request)
        except (BrokenPipeError, EndOfInput):
            raise
        except Exception:
            for _ in request.content:
                pass
            self.connection.refuse()
            raise
        if content is None:
            self.connection.postpone()
        else:
            self.connection.answer(content)

    def _answer(self, request: Request) -> Iterator[bytes | memoryview] | None:
        """The bytes; None if git is to come back for them."""
        match request.command:
            case "clean":
                return self._clean(request)
            case "smudge":
                return self._smudge(request)
            case unknown:
                raise GitError(f"git asked for {unknown!r}, which this filter does not do")

    def _clean(self, request: Request) -> Iterator[bytes]:
        for metadata in filtering.cleaned(request.content, request.path, self.workspace):
            if self.replaced.is_possible:
                self.replaced.cleaned[request.path] = metadata
            yield metadata

    def _smudge(self, request: Request) -> Iterator[bytes | memoryview] | None:
        wanted = self.waiting.pop(request.path) or self._asked_for(request)
        if isinstance(wanted, MetadataFile) and request.may_wait and self.waiting.takes(request.path, wanted):
            return None
        return self._smudged(wanted, request.path)

    def _asked_for(self, request: Request) -> MetadataFile | Iterator[bytes]:
        first = next(request.content, b"")
        self.replaced.failed[request.path] = first
        content = itertools.chain([first] if first else [], request.content)
        return filtering.asked_for(content, request.path, self.workspace, skip=self.skip)

    def _smudged(self, wanted: MetadataFile | Iterator[bytes], path: str) -> Iterator[bytes | memoryview]:
        yield from filtering.smudged(wanted, path, self.workspace)
        del self.replaced.failed[path]
        self.replaced.written.add(path)
