"""Loops that reading takes: the compiled ones, or passes of NumPy where there are none, which give the same bytes."""

from __future__ import annotations

from git_theta.kernels import Loops, native


def loops() -> Loops:
    """The loops for this machine."""
    if native is not None:
        return native
    from git_theta import passes  # NumPy is slow to import.

    return passes
