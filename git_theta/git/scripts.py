"""Shell scripts of ours that git runs."""

from __future__ import annotations

import os
from pathlib import Path

from git_theta.replacing import replacing


def write(script: Path, text: str) -> None:
    """Write an executable script at once: git runs the old one or the new one, and never a part.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(script) as stream:
        stream.write(text.encode())
        os.fchmod(stream.fileno(), 0o755)
