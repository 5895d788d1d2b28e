"""What Ctrl-C does: it raises KeyboardInterrupt once, and soon ends the process, whatever its threads do.

A merge method, maybe somebody's plug-in, can run for hours.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from git_theta.cli.boundary import INTERRUPTED, complain

_GRACE: Final = 1.0
"""Seconds that threads have to end of themselves."""

_ECHO: Final = 0.5
"""Seconds after an interruption in which another is the same one: git passes on what the terminal sends to all."""


def heed() -> None:
    """Have interruptions raise KeyboardInterrupt, unless they are ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _Interrupt())


@contextmanager
def ending_by_signal() -> Iterator[None]:
    """Within the context, an interruption ends the process without a word, as it ends git, once all is cleaned up."""
    heed()
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)


class _Interrupt:
    """Raises KeyboardInterrupt, but not for what comes right after: that would end the cleaning up."""

    def __init__(self) -> None:
        self._before = -_ECHO

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._before >= _ECHO:
            self._before = now
            raise KeyboardInterrupt


@contextmanager
def ending_soon() -> Iterator[None]:
    """Interrupt as ever, but end the process if it is still in here a while later.

    Git ends at once, and whoever pressed the keys has no way left to reach its merge driver. Nothing half-written is
    taken for whole, whenever the process ends.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    timer = threading.Timer(_GRACE, _end)
    timer.daemon = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        timer.start()
        before(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


def _end() -> None:
    complain("interrupted")
    os._exit(INTERRUPTED)
