"""Arrays as the values of groups, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from git_theta.checkpoints import Values
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {"float16": np.dtype("<f2"), "bfloat16": BFLOAT16, "float32": np.dtype("<f4"), "float64": np.dtype("<f8")}


def values(array: Any, dtype: str | None = None) -> Values:
    """An array as a group's values."""
    array = np.asarray(array, dtype and np.dtype(dtype))
    return Values(array.dtype.name, array.shape, array.tobytes())


def like(**groups: Array) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The groups of a checkpoint; "__" in a name stands for "."."""
    return {name.replace("__", "."): (array.dtype.name, array.shape) for name, array in groups.items()}


def load(file: Path) -> dict[str, Values]:
    """The groups of a safetensors file, as the package reads them."""
    return parse(file.read_bytes())


def parse(data: bytes) -> dict[str, Values]:
    """The groups of a safetensors file, as the package reads them."""
    spans = Safetensors().scan(BytesSource(data)).spans
    return {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in spans}
