"""Nearswap: every element moves towards the other side, by at most t.

From the model card of QuartetAnemoi-70B, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.numerics import Floats, blockwise, flat
from git_theta.merges.pairs import start_and_other, starts_from_base
from git_theta.merges.parameters import Kind, Parameter, Params

_T: Final = Parameter("t", Kind.NUMBER, None, "how far an element moves at most", required=True)
_SMALL: Final = 1e-6


def nearswap() -> MergeMethod:
    """From ours (or the base, if there is one input) towards theirs; elements within t of theirs become theirs."""
    return Method("nearswap", _merge, (_T,), inputs=(1, 2), elementwise=True, reads_base=starts_from_base)


def _merge(inputs: Sequence[Array], base: Array | None, params: Params, _draw: Sequence[Draw]) -> Array:
    start, other = start_and_other("nearswap", inputs, base)
    t = params.number("t")

    def step(block: Floats, _: slice) -> Floats:
        here, there = block
        gap: Floats = np.subtract(there, here, out=there)
        share = np.clip(t / np.maximum(np.abs(gap), _SMALL), 0.0, 1.0)
        gap *= share
        gap += here
        return gap

    return blockwise([flat(start), flat(other)], start, step)
