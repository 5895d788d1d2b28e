"""A histogram drawn with characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_HEIGHT: Final = 8


def bars(counts: Sequence[int], edges: Sequence[float], steps: str, height: int = _HEIGHT) -> list[str]:
    """The lines of a histogram: a column for each bin, then the limits. What is not empty can be seen.

    Args:
        counts: values in each bin, one bin at least.
        edges: limits of the bins, one more.
        steps: characters that are filled more and more, from an empty one on (`Look.blocks`).
        height: lines of the columns.
    """
    most = max(*counts, 1)
    full = len(steps) - 1
    # Rounded up, so that one value of a billion leaves a mark.
    levels = [-(-count * height * full // most) for count in counts]
    rows = [
        "".join(steps[min(max(level - line * full, 0), full)] for level in levels).rstrip()
        for line in reversed(range(height))
    ]
    low, middle, high = (number(edges[place]) for place in (0, len(edges) // 2, -1))
    width = len(counts)
    left = max(width // 2 - len(low) - len(middle) // 2, 1)
    right = max(width - len(low) - left - len(middle) - len(high), 1)
    axis = "-" if steps.isascii() else "─"
    label = f"{number(most)} values at the peak"
    return [label, *rows, axis * width, f"{low}{' ' * left}{middle}{' ' * right}{high}"]


def number(value: float) -> str:
    """A number in a few digits; whole numbers are written out."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.4g}"
    return "0" if text == "-0" else text
