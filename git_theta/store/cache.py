"""Which metadata file stood for which content here before, so that cleaning it again gives the very same one.

Entries may vanish at any time: then a file may be cleaned to another, equally right metadata file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from git_theta.replacing import token

_MAX_BYTES: Final = 1 << 26


class MetadataCache:
    """Metadata files by `metadata.content_key`, the ones used longest ago dropped first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._room = -1
        """Bytes that may come before the cache is looked through again; others may put something there, too."""

    def get(self, key: str) -> bytes | None:
        """The metadata file kept under a key."""
        path = self._directory / key
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep a metadata file; a cache that cannot be written is not worth an error."""
        path = self._directory / key
        temporary = self._directory / f".{key[:8]}-{token()}"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
            self._room -= len(data)
            if self._room < 0:
                self._evict()
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _evict(self) -> None:
        found = sorted(_ages(self._directory))
        excess = sum(size for _, size, _ in found) - _MAX_BYTES
        for _, size, path in found[:-1]:
            if excess <= 0:
                break
            Path(path).unlink(missing_ok=True)
            excess -= size
        self._room = -excess


def _ages(directory: Path) -> Iterator[tuple[float, int, str]]:
    """When each file was used last, its size and its path; others may be removing them meanwhile."""
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):
            status = entry.stat()
            yield status.st_mtime, status.st_size, entry.path
