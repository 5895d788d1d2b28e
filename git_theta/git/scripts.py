"""Shell scripts of ours that git runs."""

from __future__ import annotations

import secrets
from pathlib import Path


def write(script: Path, text: str) -> None:
    """Write an executable script at once: git runs the old one or the new one, and never a part.

    Raises:
        OSError: it cannot be written.
    """
    temporary = script.with_name(f".{secrets.token_hex(8)}")
    try:
        temporary.write_text(text)
        temporary.chmod(0o755)
        temporary.replace(script)
    finally:
        temporary.unlink(missing_ok=True)
