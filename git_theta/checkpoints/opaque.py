"""What no format claims is kept all the same: the whole file as one group of bytes."""

from __future__ import annotations

from typing import Final

from git_theta.layout import Layout, Span

NAME: Final = "opaque"
GROUP: Final = "file"


def layout(size: int) -> Layout:
    """The layout of a file of so many bytes whose inside is not known."""
    return Layout(NAME, size, (Span(GROUP, "uint8", (size,), 0),))
