"""Update data made by a program: `get_update_handler(name).format_update(...)`, as git-theta 0.2 has it.

What a handler returns belongs into a checkpoint, under the name of the group that it is for; that file is then given to
`git theta add --update-data`. The module is imported with the package, so NumPy waits until it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from git_theta.errors import PluginError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

Tensor = Any
"""An array of NumPy or of a framework; one that is not taken apart is handed on as it is."""


class UpdateHandler(Protocol):
    """Puts the data of one type of update into the form in which it is loaded."""

    name: str

    def format_update(self, *data: Tensor) -> Mapping[str, Tensor] | Tensor:
        """The data by key, or the values themselves for a dense update.

        Raises:
            UsageError: these are not the data of such an update.
        """


class DenseHandler:
    """Dense: the group's new values."""

    name = "dense"

    def format_update(self, *data: Tensor) -> Tensor:
        """The values as they are: a dense update has the group's own name and no key.

        Args:
            data: one array.

        Raises:
            UsageError: it is not one array.
        """
        (values,) = _counted(self.name, data, "the new values")
        return values


class SparseHandler:
    """Sparse: a difference that is zero nearly everywhere."""

    name = "sparse"

    def format_update(self, *data: Tensor) -> Mapping[str, npt.NDArray[Any]]:
        """A difference as a compressed sparse row, which is what scipy's `csr_matrix` makes of it as one row.

        Args:
            data: one array, new values minus old ones; of any shape with n elements. A tensor of torch may need a
                gradient, be on any device, and have the dtype bfloat16, which becomes float32.

        Returns:
            `data` (z,): the elements that are not zero (a NaN is not); `indices` (z,): their positions in C order,
            int32, or int64 from 2**31 elements on; `indptr` (2,) of the same dtype: 0 and z; `shape` (2,), int64: 1
            and n.

        Raises:
            UsageError: it is not one array, or not one that NumPy can have.
        """
        import numpy as np

        (difference,) = _counted(self.name, data, "the difference")
        flat = _array(difference).reshape(-1)
        (places,) = np.nonzero(flat)
        index = np.int32 if flat.size < 2**31 else np.int64
        return {
            "data": flat[places],
            "indices": places.astype(index),
            "indptr": np.array([0, places.size], index),
            "shape": np.array([1, flat.size], np.int64),
        }


class LowRankHandler:
    """Low-rank: two factors whose product is added."""

    name = "low-rank"

    def format_update(self, *data: Tensor) -> Mapping[str, Tensor]:
        """The factors by key.

        Args:
            data: R (m, k) and C (k, n).

        Returns:
            `R` and `C` as they are.

        Raises:
            UsageError: they are not two matrices that can be multiplied, or their rank is 0.
        """
        r, c = _counted(self.name, data, "R", "C")
        if len(r.shape) != 2 or len(c.shape) != 2 or r.shape[1] != c.shape[0] or not r.shape[1]:
            shapes = f"{list(r.shape)} and {list(c.shape)}"
            raise UsageError(f"a low-rank update needs R of shape (m, k) and C of shape (k, n), but got {shapes}")
        return {"R": r, "C": c}


class Ia3Handler:
    """(IA)^3: a vector that the values are multiplied with."""

    name = "ia3"

    def format_update(self, *data: Tensor) -> Mapping[str, Tensor]:
        """The vector by its key.

        Args:
            data: one array that broadcasts to the group's shape.

        Returns:
            `ia3` as it is.

        Raises:
            UsageError: it is not one array.
        """
        (vector,) = _counted(self.name, data, "the vector")
        return {"ia3": vector}


_HANDLERS: Final[Mapping[str, type[UpdateHandler]]] = {
    handler.name: handler for handler in (DenseHandler, SparseHandler, LowRankHandler, Ia3Handler)
}


def get_update_handler(name: str) -> UpdateHandler:
    """The handler for a type of update that can be side-loaded: dense, sparse, low-rank or ia3.

    Raises:
        PluginError: there is none of this name.
    """
    if name not in _HANDLERS:
        raise PluginError(f"unknown type of update {name!r}; those with update data are: {', '.join(_HANDLERS)}")
    return _HANDLERS[name]()


def _counted(name: str, data: tuple[Tensor, ...], *wanted: str) -> tuple[Tensor, ...]:
    if len(data) != len(wanted) or not all(hasattr(array, "shape") for array in data):
        raise UsageError(f"format_update of a {name} update takes {len(wanted)} array(s): {', '.join(wanted)}")
    return data


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor as an array; one of torch without importing torch, and also if NumPy has no such dtype."""
    import numpy as np

    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    try:
        return np.asarray(tensor)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a tensor of dtype {tensor.dtype} is nothing that NumPy has: {error}") from None
