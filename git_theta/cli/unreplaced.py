"""Commits as git pushes them: `git replace` shows others in their place, and those stay at home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_VARIABLE: Final = "GIT_NO_REPLACE_OBJECTS"


@contextmanager
def unreplaced() -> Iterator[None]:
    """Every git that begins in this context sees commits and blobs as they were made (git-replace(1))."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
