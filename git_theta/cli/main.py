"""The `git-theta` command: finds the verb, and turns every error into one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from typing import Final

_FILTER: Final = ["filter-process"]


def _call() -> object:
    if sys.argv[1:] == _FILTER:
        # Git starts it for nearly every command, and waits: it has no options, and needs nothing that parses them.
        from git_theta.cli.serving import serve

        serve()
        return None
    from git_theta.cli.interrupting import heed
    from git_theta.cli.verbs import cli

    heed()
    result: object = cli.main(prog_name="git-theta", standalone_mode=False)
    sys.stdout.flush()
    return result


def _import_values() -> None:
    """Import msgspec, of which all values are, without typing_extensions.

    It would take them where they are installed, though Python has itself what it wants of them; they take as long to
    import as Python takes to start.
    """
    if "typing_extensions" not in sys.modules:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # what Python takes for "there is none"
        importlib.import_module("msgspec")
        del sys.modules["typing_extensions"]


def main() -> None:
    """Entry point of the console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # As any program ends that has not begun yet. Python would show where it was.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _import_values()
    from git_theta.cli.boundary import run

    # Nothing here multiplies matrices; NumPy's pool of threads for that would only cost time at the start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A process for one git command, with values that refer to nothing but older values: collecting finds no garbage.
    gc.disable()
    status = run(_call, os.environ)
    # Git waits for its filters to end, and taking the interpreter apart in good order takes 50 ms.
    os._exit(status)
