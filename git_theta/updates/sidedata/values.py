"""Values as arrays: read from bytes, widened for computing, rounded once to be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.errors import UsageError
from git_theta.rounding import rounded_to_odd

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]

FLOATS: Final = ("float16", "bfloat16", "float32", "float64")
"""The dtypes that sums and products are defined for here."""

ROUNDOFF: Final[Mapping[str, float]] = {
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "float32": 2.0**-24,
    "float64": 2.0**-53,
}
"""Relative error of rounding once to each of them."""

INTEGERS: Final = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")

_NATIVE: Final = frozenset({*FLOATS, *INTEGERS, "bool", "complex64", "complex128"} - {"bfloat16"})


class Values(Protocol):
    """The values of one group of the update data; `checkpoints.Values` is one.

    Attributes:
        dtype: a name of `tensors.BLOCKS`.
        shape: extents, outermost first.
        data: the values, little-endian in C order.
    """

    @property
    def dtype(self) -> str: ...  # noqa: D102

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def data(self) -> bytes | memoryview: ...  # noqa: D102


def held(dtype: str) -> np.dtype[Any]:
    """NumPy's dtype for arrays that hold such values: the same, or bits where NumPy has none (bfloat16 as uint16)."""
    if dtype in _NATIVE:
        return np.dtype(dtype).newbyteorder("<")
    return np.dtype("<u2" if tensors.BLOCKS[dtype] == (1, 2) else "u1")


def from_bytes(name: str, values: Values) -> Array:
    """The values as an array of dtype `held(values.dtype)`, without a copy.

    Its shape is that of the values, or (bytes,) for elements that share a byte.

    Raises:
        UsageError: the bytes do not fit dtype and shape.
    """
    try:
        nbytes = tensors.nbytes(values.dtype, values.shape)
    except ValueError as error:
        raise UsageError(f"the update data {name!r} cannot be read: {error}") from None
    array = np.frombuffer(values.data, np.uint8)
    if array.size != nbytes:
        raise UsageError(f"the update data {name!r} is damaged: {array.size} bytes instead of {nbytes}")
    return shaped(array, values.dtype, values.shape)


def shaped(array: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """The same bytes as an array of dtype `held(dtype)` and of this shape ((bytes,) if elements share a byte)."""
    flat = np.ascontiguousarray(array).reshape(-1).view(held(dtype))
    return flat if tensors.BLOCKS[dtype][0] > 1 else flat.reshape(shape)


def floats(name: str, values: Values) -> Floats:
    """The values as float32, which is exact, or as float64 if that is what they are.

    Raises:
        UsageError: they are damaged, or no floating-point numbers.
    """
    if values.dtype not in FLOATS:
        raise UsageError(f"the update data {name!r} has dtype {values.dtype}; it must be one of {', '.join(FLOATS)}")
    return widen(from_bytes(name, values), values.dtype)


def integers(name: str, values: Values) -> npt.NDArray[np.int64]:
    """The values as int64; those of uint64 that are too large become negative.

    Raises:
        UsageError: they are damaged, or no integers.
    """
    if values.dtype not in INTEGERS:
        raise UsageError(f"the update data {name!r} has dtype {values.dtype}; it must be an integer one")
    return from_bytes(name, values).astype(np.int64)


def coarsest(dtypes: Iterable[str]) -> str:
    """The dtype that rounds the most; those that are not of FLOATS do not count beside one."""
    return max(dtypes, key=lambda dtype: ROUNDOFF.get(dtype, 0.0))


def computed(dtype: str) -> np.dtype[np.floating[Any]]:
    """The type in which numbers of a dtype of FLOATS are computed: float64 for float64, else float32."""
    return np.dtype(np.float64) if dtype == "float64" else np.dtype(np.float32)


def widen(array: Array, dtype: str) -> Floats:
    """Values of a dtype of FLOATS, held as `held(dtype)`, in the type that they are computed in."""
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):
        return array.astype(computed(dtype), copy=False)


def narrow(array: Floats, dtype: str) -> Array:
    """Numbers rounded once, to nearest, ties to even, to a dtype of FLOATS; an array of dtype `held(dtype)`.

    Numbers beyond the largest become infinite. A NaN stays one.
    """
    if dtype != "bfloat16":
        with np.errstate(all="ignore"):
            return array.astype(held(dtype), copy=False)
    single = rounded_to_odd(array) if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    bits = np.ascontiguousarray(single).view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    # Adding to the bits of a NaN may give an infinity or a zero: a NaN is cut off instead, and made a quiet one.
    return np.where(np.isnan(array), bits >> 16 | 0x40, rounded).astype("<u2", copy=False)
