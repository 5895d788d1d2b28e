"""Put a file in the place of another at once: whoever looks sees the old one or the new one, and never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def token() -> str:
    """Sixteen hexadecimal digits that nobody else has, for the name of a temporary file."""
    return os.urandom(8).hex()  # as secrets does, which takes 5 ms to import


@contextmanager
def replacing(file: Path, mode: int = 0o666, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A new file beside another, which takes its place when the context ends, or vanishes if that fails.

    A process that is killed leaves it where it is.

    Args:
        file: that is replaced, or is not there yet.
        mode: of the new file, less what the umask takes away.
        scratch: a directory for the new file, if it can be moved from there: what lies beside a file in a worktree
            would be added to git.

    Raises:
        OSError: it cannot be written.
    """
    temporary = file.with_name(f".{token()}.theta")
    if scratch is not None and _can_be_moved(scratch / temporary.name, temporary):
        temporary = scratch / temporary.name
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _can_be_moved(source: Path, target: Path) -> bool:
    """Whether a file can be moved at once, which is tried: one file system may be mounted at two places."""
    try:
        source.touch(exist_ok=False)
    except OSError:
        return False
    try:
        source.replace(target)
    except OSError:
        source.unlink()
        return False
    target.unlink()
    return True
