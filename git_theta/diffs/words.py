"""Numbers and groups in words, as people read them."""

from __future__ import annotations

import math
from typing import Final

from git_theta.metadata import Entry

ARROW: Final = "->"
"""What stands between the old and the new."""

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def size_text(nbytes: int) -> str:
    """Bytes in the largest unit that they fill, in powers of 1000: "28.3 MB"."""
    if nbytes == 1:
        return "1 byte"
    amount, unit = float(nbytes), 0
    while amount >= 999.95 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{nbytes} {_UNITS[0]}"


def percent(share: float) -> str:
    """A share of 0 or more in percent, with two digits and without the sign: "1.3", "0.045", "250", "2e-06", "inf"."""
    value = 100 * share
    return f"{value:.0f}" if 99.5 <= value < 1e6 else f"{value:.2g}"


def capped_percent(share: float) -> str:
    """A share of 0 to 1 in percent: "100" only if it is all, "0" only if it is nothing."""
    return percent(share) if share < 0.01 else f"{math.floor(1000 * share) / 10:g}"


def number(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"


def cosine_text(value: float) -> str:
    """A cosine with four decimals, cut and not rounded: "1.0000" only if it is 1."""
    return f"{math.trunc(value * 10_000) / 10_000:.4f}"


def span(low: str, high: str, unit: str = "") -> str:
    """From one number to another: "0.8-1.3 %"; one of them if they look alike."""
    joint = " to " if "-" in low + high else "-"
    return f"{low}{unit}" if low == high else f"{low}{joint}{high}{unit}"


def group_text(entry: Entry) -> str:
    """Dtype and shape of a group: "float32 [768, 2304]"."""
    return f"{entry.dtype} {list(entry.shape)}"
