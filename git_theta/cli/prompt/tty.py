"""The controlling terminal, if it may be asked on: there is one, we are in its foreground, and nobody forbids it.

Git gives a merge driver its own standard input, which is no terminal where git reads a patch, and no test of it tells
whether we are in the background: to read then would stop git for good. So the terminal itself is asked, by its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Final

from git_theta.errors import UsageError
from git_theta.settings import is_false

SETTING: Final = "merge.prompt"
"""The setting below "theta." that says when to ask."""

_STANDARD: Final = (0, 2)


class Mode(StrEnum):
    """When to ask.

    `AUTO`: where somebody sits, as far as one can tell; `ALWAYS`: on any terminal in whose foreground we are, though
    input and errors are redirected or a CI runs us; `NEVER`: not at all.
    """

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def mode_of(text: str) -> Mode:
    """The mode that a setting names.

    Raises:
        UsageError: there is no such mode.
    """
    try:
        return Mode(text.strip().lower())
    except ValueError:
        raise UsageError(f"theta.{SETTING} is {text!r}, which is neither auto, always nor never") from None


@contextmanager
def terminal(mode: Mode, environment: Mapping[str, str]) -> Iterator[int | None]:
    """A descriptor of the controlling terminal, open for reading and writing; None if nobody may be asked.

    Args:
        mode: when to ask.
        environment: GIT_TERMINAL_PROMPT=0 forbids to ask, as it does for git; CI makes `Mode.AUTO` not ask.
    """
    descriptor = _open() if _is_allowed(mode, environment) else None
    try:
        yield descriptor if descriptor is not None and _foreground(descriptor) == os.getpgrp() else None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_allowed(mode: Mode, environment: Mapping[str, str]) -> bool:
    if mode is Mode.NEVER or is_false(environment.get("GIT_TERMINAL_PROMPT", "1")):
        return False
    if mode is Mode.ALWAYS:
        return True
    return is_false(environment.get("CI", "")) and any(os.isatty(descriptor) for descriptor in _STANDARD)


def _open() -> int | None:
    """The controlling terminal, by its own name if one of our descriptors tells it: macOS cannot wait for /dev/tty."""
    for path in (*_names(), "/dev/tty"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            if _foreground(descriptor) is not None:
                return descriptor
            os.close(descriptor)
    return None


def _names() -> Iterator[str]:
    for descriptor in _STANDARD:
        with suppress(OSError):
            yield os.ttyname(descriptor)


def _foreground(descriptor: int) -> int | None:
    """The process group in the foreground of a terminal; None if it is not the one that controls us."""
    try:
        return os.tcgetpgrp(descriptor)
    except OSError:
        return None
