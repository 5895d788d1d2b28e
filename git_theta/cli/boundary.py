"""The one place that turns an error into a line on standard error and an exit code (docs/errors.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from git_theta.errors import ThetaError
from git_theta.printing import printable

if TYPE_CHECKING:
    import click

__all__ = ["BUG", "INTERRUPTED", "NOBODY_READS", "complain", "printable", "report_bug", "run", "silence", "trouble_of"]

BUG: Final = 3
INTERRUPTED: Final = 130
_NO_THREAD: Final = "can't start new thread"
"""What Python says, which has no class of its own for this error."""

NOBODY_READS: Final = 141
"""What a shell says of a program that SIGPIPE ended, as it ends git where the pager was left early."""


def run(command: Callable[[], object], environment: Mapping[str, str]) -> int:
    """Run a command; returns its exit code."""
    try:
        result = command()
        return result if isinstance(result, int) else 0
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return _code(error, environment)


def _code(error: BaseException, environment: Mapping[str, str]) -> int:
    """The exit code for an error, which is complained of."""
    match error:
        case KeyboardInterrupt():
            complain("interrupted")
            return INTERRUPTED
        case BrokenPipeError():
            silence()
            return NOBODY_READS
        case ThetaError():
            complain(str(error))
            return error.exit_code
        case SystemExit(code=1):
            # Click's way to end where the reader has gone away.
            return NOBODY_READS
    # Not before it is needed: a filter has no options, and who interrupts its import leaves it unusable.
    import click

    match error:
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return error.exit_code
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            message = error.format_message()
            end = "" if message.endswith((".", "?")) else "."
            complain(f"{message}{end} Try '{_called(error)} -h'.")
            return error.exit_code
        case click.Abort():
            complain("interrupted")
            return INTERRUPTED
    trouble = trouble_of(error)
    if trouble is not None:
        complain(trouble)
        return ThetaError.exit_code
    # A plug-in's exit with 0 would tell git that all went well.
    report_bug(error, environment)
    return BUG


def _called(error: click.ClickException) -> str:
    """How the command is called whose options or arguments make no sense."""
    context = getattr(error, "ctx", None)
    return "git theta" if context is None else context.command_path.replace("git-theta", "git theta", 1)


def trouble_of(error: BaseException) -> str | None:
    """What is wrong with the machine (its disks, memory, limits), if that is what ended us; None if it is not."""
    match error:
        case OSError():
            return f"{error.filename or 'input or output'}: {error.strerror or error}"
        case MemoryError():
            return "there is not enough memory: end other programs, or raise the limit (ulimit -v)"
        case RuntimeError(args=(text,)) if text == _NO_THREAD:
            return "no thread can be started: end other programs, or raise the limits (ulimit -u, ulimit -v)"
    return None


def silence() -> None:
    """Write to nowhere, as the reader has gone away: Python would complain once more when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(message: str) -> None:
    """One line on standard error, safe for a terminal whatever the message quotes."""
    _write(f"git-theta: {printable(message)}")


def _write(text: str) -> None:
    """Lines on standard error, if there is one."""
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def report_bug(error: BaseException, environment: Mapping[str, str]) -> None:
    """Say that this is a bug, and where its trace was written."""
    import traceback

    from git_theta.settings import is_false

    trace = "".join(traceback.format_exception(error))
    if not is_false(environment.get("GIT_THETA_TRACE", "")):
        _write(trace)
    place = _log(trace)
    complain(f"a bug in git-theta: {type(error).__name__}: {error}; please report it with {place}")


def _log(trace: str) -> str:
    from datetime import UTC, datetime

    from git_theta.git.repository import Repository

    try:
        log = Repository.discover(Path.cwd()).theta_dir / "log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat()} {sys.argv!r}\n{trace}\n")
    except (ThetaError, OSError):
        return "the trace that GIT_THETA_TRACE=1 shows"
    return str(log)
