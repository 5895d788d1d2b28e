"""Put a file in the place of another at once: whoever looks sees the old one or the new one, and never a part."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(file: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file beside another, which takes its place when the context ends, or vanishes if that fails.

    Args:
        file: that is replaced, or is not there yet.
        mode: of the new file, less what the umask takes away.

    Raises:
        OSError: it cannot be written.
    """
    temporary = file.with_name(f".{secrets.token_hex(8)}.theta")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
