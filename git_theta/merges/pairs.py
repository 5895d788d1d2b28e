"""Methods that go from one side towards another."""

from __future__ import annotations

from collections.abc import Sequence

from git_theta.errors import MergeError
from git_theta.merges import Array
from git_theta.merges.parameters import Params


def starts_from_base(count: int, _params: Params) -> bool:
    """Whether so many inputs leave the base as what to start from."""
    return count == 1


def start_and_other(method: str, inputs: Sequence[Array], base: Array | None) -> tuple[Array, Array]:
    """The array to start from and the other: the two inputs, or the base and a single input.

    Raises:
        MergeError: there is a single input and no base.
    """
    if len(inputs) == 2:
        return inputs[0], inputs[1]
    if base is None:
        raise MergeError(f"the merge method {method} needs two inputs, or one and a base to start from")
    return base, inputs[0]
