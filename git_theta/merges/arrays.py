"""The one entrance to the merge methods: checks what comes in, computes, rounds once, checks what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from git_theta.errors import MergeError, PluginError
from git_theta.merges import Array, Draw, MergeMethod, merge_methods, wanted_inputs
from git_theta.merges.draws import seeded
from git_theta.merges.fitting import FLOATS, VERSIONS
from git_theta.merges.numerics import are_finite, pieces, store
from git_theta.merges.parameters import Params, resolve
from git_theta.merges.plugged import guarded
from git_theta.merges.terms import reads_base

_NO_NUMBERS: Final = "OSUMm"
"""The kinds of NumPy's dtypes that are none: objects, texts, and times."""


def merge_arrays(
    method: str,
    inputs: Sequence[npt.ArrayLike],
    base: npt.ArrayLike | None = None,
    *,
    draw: Draw | None = None,
    key: str = "",
    **params: object,
) -> npt.NDArray[Any]:
    """Merge arrays of one shape by a method's name.

    Args:
        method: a name of `merge_methods()`, such as "ties".
        inputs: the sides: ours, theirs, and further ones. Float16, bfloat16 (of ml_dtypes), float32 or float64; arrays
            of whole numbers or booleans only where all are equal.
        base: what the inputs came from (in a merge: the common ancestor).
        draw: makes the masks of random methods: called for each input in turn with the probability of each element to
            be kept, it returns which are. By default, masks follow from the parameter `seed`, `key`, and the number of
            the input.
        key: tells apart groups that are merged with the same seed, such as the group's name.
        **params: the method's parameters (docs/merging.md); those per input are one value for all, or a list with one
            for each. `lambda` is a word of Python: pass it as `**{"lambda": 0.5}`.

    Returns:
        A new array of that shape and of the inputs' common dtype: theirs if it is one, else float32, or float64 if one
        of them is. Computed in float64, and rounded once.

    Raises:
        MergeError: the parameters or the arrays do not suit the method, are no arrays of numbers, or have no meaningful
            result.
        PluginError: the method is unknown, or a plug-in and broken.
    """
    chosen = merge_methods().get(method)
    sides = [_array(side, f"input {number}") for number, side in enumerate(_listed(inputs), 1)]
    return merge_with(chosen, sides, None if base is None else _array(base, "the base"), params, draw=draw, key=key)


def merge_with(
    method: MergeMethod,
    inputs: Sequence[Array],
    base: Array | None,
    params: Mapping[str, object],
    *,
    draw: Draw | None = None,
    key: str = "",
) -> Array:
    """Merge arrays of one shape; see `merge_arrays`.

    Raises:
        MergeError: the parameters or the arrays do not suit the method, or have no meaningful result.
        PluginError: the method is a plug-in and broken.
    """
    checked = resolve(method.name, method.parameters, params, len(inputs))
    check_count(method, len(inputs), has_base=base is not None)
    if method.name in VERSIONS:
        return method.merge(inputs, base, checked, ())
    is_read = base is not None and reads_base(method, checked, len(inputs))
    if not is_read and not method.needs_base:
        base = None
    arrays = [*inputs, *([] if base is None else [base])]
    _check_shapes(arrays)
    if not inputs:
        return arrays[0].copy()
    if any(array.dtype.name not in FLOATS for array in arrays):
        return _unchanged(method, inputs, base, params)
    dtype = _common_dtype(arrays)
    if not arrays[0].size:
        return np.empty(arrays[0].shape, dtype)
    _check_finite(arrays if is_read else inputs)
    wide = [np.asarray(array, dtype) for array in arrays]
    draws = [draw or _seeded(checked, key, number) for number in range(len(inputs))]
    made = _call(method, wide[: len(inputs)], None if base is None else wide[-1], checked, draws)
    return _rounded(made, dtype)


def _listed(inputs: Iterable[object]) -> list[object]:
    """The inputs, from anything that gives them one by one in an order that means something."""
    try:
        if not isinstance(inputs, str | bytes | Mapping | Set):
            return list(inputs)
    except TypeError:
        pass
    raise MergeError(f"the inputs must be a list of arrays, one for each side, not {type(inputs).__name__}")


def _array(given: object, what: str) -> Array:
    """What was given as an array of numbers, in the order of bytes of this machine."""
    try:
        array: Array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MergeError(f"{what} cannot be read as an array of NumPy: {' '.join(str(error).split())}") from error
    if array.dtype.kind in _NO_NUMBERS or array.dtype.type is np.void:
        raise MergeError(f"{what} is no array of numbers, but of {array.dtype.name}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_count(method: MergeMethod, count: int, *, has_base: bool) -> None:
    """Make sure that a method takes so many inputs.

    Raises:
        MergeError: it takes more or fewer, or needs a base.
    """
    low, high = method.inputs
    if count < low or (high is not None and count > high):
        raise MergeError(f"the merge method {method.name} takes {wanted_inputs(method)} besides the base, not {count}")
    if not has_base and (method.needs_base or not count):
        raise MergeError(f"the merge method {method.name} needs a base (the common ancestor), and there is none")


def _check_shapes(arrays: Sequence[Array]) -> None:
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        listed = " and ".join(str(list(shape)) for shape in shapes[:3])
        raise MergeError(f"arrays of different shapes, {listed}, cannot be merged: take one side")


def _unchanged(method: MergeMethod, inputs: Sequence[Array], base: Array | None, params: Mapping[str, object]) -> Array:
    """The input that all others equal, for values that are no floating-point numbers."""
    others = [*inputs[1:], *([base] if base is not None and len(inputs) == 1 else [])]
    first = inputs[0]
    same = all(other.dtype == first.dtype and other.tobytes() == first.tobytes() for other in others)
    if same and (others or not params):
        return first.copy()
    dtypes = ", ".join(dict.fromkeys(array.dtype.name for array in [*inputs, *others]))
    raise MergeError(f"the merge method {method.name} cannot merge arrays of {dtypes} that differ: take one side")


def _common_dtype(arrays: Sequence[Array]) -> np.dtype[Any]:
    dtypes = {array.dtype.name: array.dtype for array in arrays}
    if len(dtypes) == 1:
        return arrays[0].dtype.newbyteorder("=")
    return np.dtype(np.float64 if "float64" in dtypes else np.float32)


def _check_finite(arrays: Sequence[Array]) -> None:
    for array in arrays:
        if not are_finite(array):
            raise MergeError("there are infinite values or NaN among those to be merged: take one side")


def _seeded(params: Params, key: str, number: int) -> Draw:
    return seeded(params.count("seed") if "seed" in params.values else 0, key, number)


def _call(
    method: MergeMethod, inputs: Sequence[Array], base: Array | None, params: Params, draws: Sequence[Draw]
) -> Array:
    sides = [_locked(array) for array in inputs]
    before = None if base is None else _locked(base)
    # What overflows is found in the result.
    with guarded(method.name), np.errstate(over="ignore", under="ignore", invalid="ignore"):
        made = method.merge(sides, before, params, draws)
    if not isinstance(made, np.ndarray) or made.shape != inputs[0].shape or made.dtype.name not in FLOATS:
        raise PluginError(f"the merge method {method.name} did not return an array of the inputs' shape and kind")
    return made


def _locked(array: Array) -> Array:
    """The same values, which cannot be written to: they may be the caller's own."""
    view = array.view()
    view.flags.writeable = False
    return view


def _rounded(made: Array, dtype: np.dtype[Any]) -> Array:
    out = made
    if made.dtype != dtype:
        out = np.empty(made.shape, dtype)
        source, target = np.ascontiguousarray(made).reshape(-1), out.reshape(-1)
        for where in pieces(source.size):
            store(source[where].astype(np.float64), target[where])
    if not are_finite(out):
        raise MergeError(f"the result has values that {dtype.name} cannot hold: give smaller weights, or take one side")
    return out
