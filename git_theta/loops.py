"""Loops that reading takes: the compiled ones, or passes of NumPy where there are none, which give the same bytes."""

from __future__ import annotations

from typing import Protocol

from git_theta.kernels import Array, native


class Loops(Protocol):
    """Those of `kernels.Kernels` that are also passes of NumPy by the same arguments."""

    def join(self, planes: tuple[Array, ...], out: Array, /) -> None:
        """Rows from their 2, 4 or 8 planes."""

    def add(self, base: Array, codes: Array, size: int, is_float: bool, out: Array, /) -> None:
        """Words from those of a base and codes."""

    def difference(self, new: Array, base: Array, size: int, is_float: bool, out: Array, /) -> bool:
        """Codes for new words; whether they give these again."""

    def places(self, rows: Array, size: int, out: Array, /) -> None:
        """The places of changed words."""

    def change(self, places: Array, rows: Array, start: int, size: int, is_float: bool, out: Array, /) -> None:
        """Change words."""


def loops() -> Loops:
    """The loops for this machine."""
    if native is not None:
        return native
    from git_theta import passes  # NumPy is slow to import.

    return passes
