"""Git-Theta: develop machine-learning models with plain Git."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from git_theta.merges.arrays import merge_arrays

__all__ = ["__version__", "merge_arrays"]

__version__ = "1.0.0"


def __getattr__(name: str) -> object:
    """What is public and takes long to import is imported when it is asked for."""
    if name == "merge_arrays":
        from git_theta.merges.arrays import merge_arrays

        return merge_arrays
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
