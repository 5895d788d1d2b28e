"""Ours, theirs, ancestor: one side as it is."""

from __future__ import annotations

from collections.abc import Sequence

from git_theta.merges import Array, Draw, MergeMethod, Method
from git_theta.merges.parameters import Params


def ours() -> MergeMethod:
    """The first input."""
    return Method("ours", _first, uses_base=False, elementwise=True)


def theirs() -> MergeMethod:
    """The second of two inputs."""
    return Method("theirs", _second, uses_base=False, inputs=(2, 2), elementwise=True)


def ancestor() -> MergeMethod:
    """The base."""
    return Method("ancestor", _base, needs_base=True, inputs=(0, None), elementwise=True)


def _first(inputs: Sequence[Array], _base: Array | None, _params: Params, _draw: Sequence[Draw]) -> Array:
    return inputs[0].copy()


def _second(inputs: Sequence[Array], _base: Array | None, _params: Params, _draw: Sequence[Draw]) -> Array:
    return inputs[1].copy()


def _base(_inputs: Sequence[Array], base: Array | None, _params: Params, _draw: Sequence[Draw]) -> Array:
    assert base is not None
    return base.copy()
