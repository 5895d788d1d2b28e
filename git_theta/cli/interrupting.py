"""End soon after Ctrl-C, whatever the threads do: a merge method, maybe somebody's plug-in, can run for hours."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from git_theta.cli.boundary import INTERRUPTED, complain

_GRACE: Final = 1.0
"""Seconds that threads have to end of themselves."""


@contextmanager
def ending_soon() -> Iterator[None]:
    """Interrupt as ever, but end the process if it is still in here a while later.

    Git ends at once, and whoever pressed the keys has no way left to reach its merge driver. Nothing half-written is
    taken for whole, whenever the process ends.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    timer = threading.Timer(_GRACE, _end)
    timer.daemon = True

    def interrupt(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end() -> None:
    complain("interrupted")
    os._exit(INTERRUPTED)
