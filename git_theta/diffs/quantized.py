"""The numbers that GGUF's quantized blocks stand for, computed in float32 as GGML does (ggml-quants.c).

A block holds small integers and one or two scales in float16; the blocks of the K types hold scales of parts as well.
Integers of less than a byte lie in planes: the lowest bits of a run of bytes come first, then the next ones of the same
bytes. Types whose integers stand for the entries of long tables (iq...) are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from git_theta import tensors

_Bytes: TypeAlias = npt.NDArray[np.uint8]
"""A row for each block."""

_Numbers: TypeAlias = npt.NDArray[np.float32]
"""Likewise."""


def is_known(dtype: str) -> bool:
    """Whether a dtype is one of blocks that can be read here."""
    return dtype in _TYPES


def values(rows: npt.NDArray[np.uint8], dtype: str) -> npt.NDArray[np.float64]:
    """The numbers of whole blocks, flat.

    Args:
        rows: the bytes of the blocks.
        dtype: one for which `is_known` holds.
    """
    blocks = rows.reshape(-1, tensors.BLOCKS[dtype][1])
    if not len(blocks):
        return np.zeros(0)
    return _TYPES[dtype](blocks).reshape(-1).astype(np.float64)


def _q4_0(blocks: _Bytes) -> _Numbers:
    return _scale(blocks[:, :2]) * (_planes(blocks[:, 2:], 16, 4) - np.float32(8))


def _q4_1(blocks: _Bytes) -> _Numbers:
    return _scale(blocks[:, :2]) * _planes(blocks[:, 4:], 16, 4) + _scale(blocks[:, 2:4])


def _q5_0(blocks: _Bytes) -> _Numbers:
    return _scale(blocks[:, :2]) * (_fives(blocks[:, 2:6], 1, blocks[:, 6:], 16) - np.float32(16))


def _q5_1(blocks: _Bytes) -> _Numbers:
    return _scale(blocks[:, :2]) * _fives(blocks[:, 4:8], 1, blocks[:, 8:], 16) + _scale(blocks[:, 2:4])


def _q8_0(blocks: _Bytes) -> _Numbers:
    return _scale(blocks[:, :2]) * _signed(blocks[:, 2:])


def _q2_k(blocks: _Bytes) -> _Numbers:
    factors, offsets = (blocks[:, :16] & 15).astype(np.float32), (blocks[:, :16] >> 4).astype(np.float32)
    numbers = _parts(_planes(blocks[:, 16:80], 32, 2), 16)
    return _affine(numbers, _scale(blocks[:, 80:82]) * factors, _scale(blocks[:, 82:84]) * offsets)


def _q3_k(blocks: _Bytes) -> _Numbers:
    factors = _planes(blocks[:, 96:104], 8, 4) + 16 * _planes(blocks[:, 104:108], 4, 2) - np.float32(32)
    # The third bit is set where nothing is to be taken away.
    numbers = _planes(blocks[:, 32:96], 32, 2) + 4 * _planes(blocks[:, :32], 32, 1) - np.float32(4)
    return _affine(_parts(numbers, 16), _scale(blocks[:, 108:110]) * factors)


def _q4_k(blocks: _Bytes) -> _Numbers:
    return _with_minima(_planes(blocks[:, 16:], 32, 4), blocks)


def _q5_k(blocks: _Bytes) -> _Numbers:
    return _with_minima(_fives(blocks[:, 16:48], 32, blocks[:, 48:], 32), blocks)


def _q6_k(blocks: _Bytes) -> _Numbers:
    numbers = _planes(blocks[:, :128], 64, 4) + 16 * _planes(blocks[:, 128:192], 32, 2) - np.float32(32)
    return _affine(_parts(numbers, 16), _scale(blocks[:, 208:]) * _signed(blocks[:, 192:208]))


_TYPES: Final[dict[str, Callable[[_Bytes], _Numbers]]] = {
    "q4_0": _q4_0,
    "q4_1": _q4_1,
    "q5_0": _q5_0,
    "q5_1": _q5_1,
    "q8_0": _q8_0,
    "q2_k": _q2_k,
    "q3_k": _q3_k,
    "q4_k": _q4_k,
    "q5_k": _q5_k,
    "q6_k": _q6_k,
}


def _with_minima(numbers: _Numbers, blocks: _Bytes) -> _Numbers:
    """Eight parts with a factor and an offset of 6 bits each, in 12 bytes behind the scales of both."""
    low, middle, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    factors = np.concatenate([low & 63, high & 15 | low >> 2 & 48], axis=1).astype(np.float32)
    offsets = np.concatenate([middle & 63, high >> 4 | middle >> 2 & 48], axis=1).astype(np.float32)
    return _affine(_parts(numbers, 8), _scale(blocks[:, :2]) * factors, _scale(blocks[:, 2:4]) * offsets)


def _affine(parts: _Numbers, factors: _Numbers, offsets: _Numbers | None = None) -> _Numbers:
    scaled = factors[:, :, np.newaxis] * parts
    return scaled if offsets is None else scaled - offsets[:, :, np.newaxis]


def _parts(numbers: _Numbers, count: int) -> _Numbers:
    return numbers.reshape(len(numbers), count, numbers.shape[1] // count)


def _fives(highest: _Bytes, run: int, others: _Bytes, others_run: int) -> _Numbers:
    """Numbers of five bits, of which the highest lies apart."""
    return _planes(others, others_run, 4) + 16 * _planes(highest, run, 1)


def _planes(data: _Bytes, run: int, bits: int) -> _Numbers:
    """The numbers of so many bits that lie in runs of so many bytes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    found = data.reshape(len(data), data.shape[1] // run, 1, run) >> shifts & np.uint8((1 << bits) - 1)
    return found.reshape(len(data), -1).astype(np.float32)


def _scale(data: _Bytes) -> _Numbers:
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def _signed(data: _Bytes) -> _Numbers:
    return np.ascontiguousarray(data).view(np.int8).astype(np.float32)
