"""Clean and smudge every checkpoint of one git command, over git's filter protocol on stdin and stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from git_theta.cli import filtering
from git_theta.cli.boundary import complain, report_bug
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, ThetaError
from git_theta.git import caller
from git_theta.git.filter_protocol import Connection, Request
from git_theta.git.pktline import EndOfInput
from git_theta.memory import keep_freed


def serve(*, skip: bool = False, cleaned: Path | None = None) -> None:
    """Answer what git asks for, until it closes the conversation.

    Args:
        skip: leave metadata files in the worktree.
        cleaned: the answer to all that is asked, see `stage_as_cleaned`.
    """
    keep_freed()
    connection = Connection(sys.stdin.buffer, sys.stdout.fileno())
    failed: list[str] = []
    try:
        connection.welcome(("clean", "smudge"))
        if cleaned is not None:
            _repeat(connection, cleaned.read_bytes())
            return
        workspace = Workspace.here()
        for number, request in enumerate(connection.requests()):
            if not number:
                workspace.ensure_hook()
            if not _serve(request, connection, workspace, skip=skip) and request.command == "smudge":
                failed.append(request.path)
        _put_back(workspace, failed)
    except EndOfInput:
        return


def _put_back(workspace: Workspace, failed: Sequence[str]) -> None:
    """Git has taken these files away, and ends now, for they could not be written."""
    if not failed or "GIT_INDEX_FILE" in os.environ:
        return
    # Not needed by a filter that nothing fails in, and slow to import.
    from git_theta.flows.putting_back import REPLACING, put_back

    if next(iter(caller.arguments(workspace.repository.alias)), "") not in REPLACING:
        return
    for path in failed:
        if not put_back(workspace.repository, workspace.smudger, path):
            complain(f"{path}: git took it out of the worktree: 'git checkout -- {path}' brings back what was there")


def _repeat(connection: Connection, answer: bytes) -> None:
    """Answer what is known already."""
    for request in connection.requests():
        for _ in request.content:
            pass
        connection.answer([answer])


def _serve(request: Request, connection: Connection, workspace: Workspace, *, skip: bool) -> bool:
    """Answer one request. What goes wrong with one file is said of that file, and the next one is served.

    Returns:
        Whether nothing went wrong.
    """
    try:
        connection.answer(_answer(request, workspace, skip=skip))
        return True
    except ThetaError as error:
        complain(str(error) if str(error).startswith(request.path) else f"{request.path}: {error}")
    except (BrokenPipeError, EndOfInput):
        raise
    except Exception as error:
        report_bug(error, os.environ)
    for _ in request.content:
        pass
    return False


def _answer(request: Request, workspace: Workspace, *, skip: bool) -> Iterator[bytes | memoryview]:
    match request.command:
        case "clean":
            yield from filtering.cleaned(request.content, request.path, workspace)
        case "smudge":
            yield from filtering.smudged(request.content, request.path, workspace, skip=skip)
        case unknown:
            raise GitError(f"git asked for {unknown!r}, which this filter does not do")
