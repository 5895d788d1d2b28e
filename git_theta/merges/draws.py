"""Random masks that are the same on every machine and with every version of NumPy.

Each input of each group has a stream of its own, so the order in which groups are merged does not matter. The stream is
the raw output of Philox (counter-based; NumPy promises its bits, but not those of the distributions built on it).
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from git_theta.merges import Array, Draw
from git_theta.merges.numerics import Mask
from git_theta.merges.parameters import Kind, Parameter

SEED: Final = Parameter("seed", Kind.COUNT, 0, "another seed draws other masks", range=(0, 2**63 - 1))

_WORDS: Final = 1 << 16


def seeded(seed: int, key: str, number: int) -> Draw:
    """The draw of one input of one group.

    Args:
        seed: the user's.
        key: tells groups apart, such as the name of the group.
        number: of the input, from 0.

    Returns:
        From probabilities to a mask: element i (in C order) is kept if word i of the stream, a fraction of 2**32, is
        below its probability. The words are the lower, then the upper half of each 64-bit output.
    """

    def draw(probabilities: Array) -> Mask:
        identity = f"git-theta mask {seed} {number} {key}".encode("utf-8", "surrogatepass")
        stream = np.random.Philox(key=int.from_bytes(hashlib.blake2b(identity, digest_size=16).digest(), "little"))
        mask = np.empty(probabilities.size, np.bool_)
        # A single probability for all elements comes as a broadcast array, which must not be copied out in full.
        single = probabilities.size > 0 and not any(probabilities.strides)
        each = probabilities.reshape(-1) if not single else None
        for start in range(0, mask.size, _WORDS):
            part = mask[start : start + _WORDS]
            raw = stream.random_raw((part.size + 1) // 2).astype("<u8").view("<u4")[: part.size]
            limit = each[start : start + part.size] if each is not None else probabilities[(0,) * probabilities.ndim]
            np.less(raw * 2.0**-32, np.float64(limit) if each is None else limit.astype(np.float64), out=part)
        return mask.reshape(probabilities.shape)

    return draw
