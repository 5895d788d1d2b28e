"""Show what a verb writes in git's pager, where git would do so for a verb of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Final, NoReturn

from git_theta.cli.boundary import complain
from git_theta.cli.terminal import IN_PAGER
from git_theta.git import command as git

_DEFAULTS: Final = {"LESS": "FRX", "LV": "-c"}
"""What git gives its pager if the user has not set it: quit if all fits, show colours, leave the screen as it is."""

_NO_PAGER: Final = ("", "cat")
_FOR_A_SHELL: Final = re.compile(r"[|&;<>()$`\\\"' \t\n*?\[#~=%]")
_STREAMS: Final = (1, 2)


@contextmanager
def paged(*, wanted: bool = True) -> Iterator[None]:
    """Send what is written to the terminal through the pager, and wait until the user has left it.

    Git itself starts none for commands of others unless pager.theta is true or it is called with -p. If it was told to
    start none (--no-pager, or pager.theta is false), it tells us by GIT_PAGER.

    Args:
        wanted: if False, nothing is changed.
    """
    name = _pager(os.environ) if wanted and sys.stdout.isatty() else None
    process = None if name is None else _started(name)
    if process is None:
        yield
        return
    before = {name: os.environ.get(name) for name in (IN_PAGER, "COLUMNS")}
    # Git has to know when it is asked about colours, and whoever lays out the lines how wide the terminal is.
    os.environ[IN_PAGER] = "true"
    os.environ.setdefault("COLUMNS", str(os.get_terminal_size(1).columns))
    try:
        with _into(process):
            yield
    finally:
        _restore(before)


def _pager(environment: Mapping[str, str]) -> str | None:
    """The pager as git has it; None if nothing is to be paged."""
    status, output, _ = git.attempt(["config", "--get", "pager.theta"], cwd=Path.cwd())
    configured = os.fsdecode(output).removesuffix("\n") if status == 0 else ""
    status, output, _ = git.attempt(["config", "--type=bool", "--get", "pager.theta"], cwd=Path.cwd())
    if status == 0 and output.strip() == b"false":
        return None
    # What is no boolean names the pager, but GIT_PAGER overrules it.
    name = configured if status and "GIT_PAGER" not in environment else ""
    name = name or os.fsdecode(git.run(["var", "GIT_PAGER"], cwd=Path.cwd())).removesuffix("\n")
    return None if name in _NO_PAGER else name


def _started(name: str) -> subprocess.Popen[bytes] | None:
    """The pager, running; None, with a warning, if it cannot be started."""
    # Git has it so: a shell takes apart what is more than the name of a program.
    words = ["sh", "-c", name, name] if _FOR_A_SHELL.search(name) else [name]
    environment = {**_DEFAULTS, **os.environ}
    try:
        return subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
    except OSError as error:
        complain(f"warning: the pager {name} cannot be started: {error.strerror}; see core.pager in git-config(1)")
        return None


@contextmanager
def _into(pager: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have standard output, and what goes to the terminal as standard error, read by the pager."""
    pipe = pager.stdin
    assert pipe is not None
    sys.stdout.flush()
    kept = {stream: os.dup(stream) for stream in _STREAMS if os.isatty(stream)}
    for stream in kept:
        os.dup2(pipe.fileno(), stream)
    pipe.close()
    before = signal.signal(signal.SIGINT, _interrupt_once)
    try:
        yield
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except Exception as error:
        # The programs that we talk to were interrupted as well, and that may be seen first.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt from error
        raise
    finally:
        _leave(pager, kept, sys.stdout)
        signal.signal(signal.SIGINT, before)


def _interrupt_once(_signal: int, _frame: FrameType | None) -> NoReturn:
    """A key that interrupts comes twice below git: from the terminal, and from git, which passes it on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _leave(pager: subprocess.Popen[bytes], kept: Mapping[int, int], stdout: IO[str]) -> None:
    """Let the pager have its end of input, wait until it is left, and have the terminal again."""
    # Keys that interrupt are the pager's as long as it runs: it may have a use for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with suppress(BrokenPipeError):
            stdout.flush()
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in kept:
            os.dup2(silent, stream)
        os.close(silent)
        stdout.flush()  # what the pager did not want must not come to the terminal after it
        pager.wait()
    finally:
        for stream, place in kept.items():
            os.dup2(place, stream)
            os.close(place)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
