"""How this process asks the system for memory."""

from __future__ import annotations

from typing import Final

_TRIM_THRESHOLD: Final = (-1, 1 << 26)
_MMAP_THRESHOLD: Final = (-3, 1 << 23)
"""Options of mallopt(3) of the GNU C library, and the bytes they are set to."""


def keep_freed() -> bool:
    """Let blocks of a few megabytes come from memory that was used before, instead of from the system each time.

    Every page that comes from the system costs a fault. For who makes block after block, this is a tenth of the time.

    Returns:
        Whether the C library can be told; GNU's can.
    """
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError, TypeError):
        return False
    return all([mallopt(*_TRIM_THRESHOLD), mallopt(*_MMAP_THRESHOLD)])
