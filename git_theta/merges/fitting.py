"""Which merge methods can settle a conflict at all, told without its values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from git_theta.errors import PluginError
from git_theta.merges import MergeMethod, wanted_inputs
from git_theta.merges.decisions import Clash, Conflict
from git_theta.registry import Family

ROWS: Final = "rows"
"""Settles groups that differ in the number of rows; it is no method of the family, which knows one shape only."""

SIDES: Final = ("ours", "theirs")
ANCESTOR: Final = "ancestor"
VERSIONS: Final = (*SIDES, ANCESTOR)
"""What settles everything, and not only values: one version is taken as it is."""

FLOATS: Final = ("float16", "bfloat16", "float32", "float64")
"""The dtypes that methods compute with; values of others are taken as they are, or not at all."""


def usable(methods: Family[MergeMethod]) -> dict[str, MergeMethod]:
    """The methods of a family by name, without the plug-ins that cannot be loaded."""
    found = {}
    for name in methods.names():
        with suppress(PluginError):
            found[name] = methods.get(name)
    return found


def fitting(conflict: Conflict, methods: Mapping[str, MergeMethod]) -> tuple[str, ...]:
    """The names of the methods that fit a conflict, those that take one side first.

    A method that fits may still refuse the values: those that have no meaningful result.

    Args:
        conflict: what is to be settled.
        methods: by name (`usable`).
    """
    names = dict.fromkeys([*VERSIONS, ROWS, *methods])
    return tuple(name for name in names if not misfit(name, methods.get(name), conflict))


def misfit(name: str, method: MergeMethod | None, conflict: Conflict) -> str:
    """Why a method cannot settle a conflict, whatever its parameters; nothing if it can.

    Args:
        name: of the method.
        method: itself; None for one of `VERSIONS` and for `ROWS`.
        conflict: what is to be settled.
    """
    if name in VERSIONS:
        return _misfit_of_side(name, conflict)
    if name == ROWS:
        return _misfit_of_rows(conflict)
    if conflict.clash is Clash.PARTS:
        return f"{name} merges no parts of a tensor that several make up: say whether to take ours or theirs"
    if conflict.clash is not Clash.VALUES or method is None:
        return f"{name} merges nothing but values: say whether to take ours or theirs"
    return _misfit_of_method(name, method, conflict)


def inputs(conflict: Conflict) -> tuple[int, ...]:
    """The sides that a method merges, by number: those that have the group and changed it.

    Of three sides, one may have left the group alone. It has no say then, as it has none in a merge of two.
    """
    return tuple(
        number
        for number, side in enumerate(conflict.sides)
        if side is not None and (conflict.ancestor is None or side.identity != conflict.ancestor.identity)
    )


def _misfit_of_side(name: str, conflict: Conflict) -> str:
    count = len(conflict.texts) - 1 if conflict.clash is Clash.TEXT else len(conflict.sides)
    if name == "theirs" and count > 2:
        return f"theirs is one of two sides, and there are {count}"
    if name == ANCESTOR:
        in_ancestor = conflict.texts[:1] if conflict.clash is Clash.TEXT else (conflict.ancestor,)
        if conflict.clash is not Clash.STRUCTURE and in_ancestor == (None,):
            return "the common ancestor does not have it"
    return ""


def _misfit_of_rows(conflict: Conflict) -> str:
    present = [side for side in conflict.sides if side is not None]
    kinds = {(side.dtype, side.shape[1:]) for side in present}
    if conflict.clash is not Clash.SHAPE or len(kinds) > 1 or not all(side.shape for side in present):
        return "only groups that differ in the number of rows can be merged by rows"
    return ""


def _misfit_of_method(name: str, method: MergeMethod, conflict: Conflict) -> str:
    base = conflict.ancestor
    sides = [side for side in (conflict.sides[number] for number in inputs(conflict)) if side is not None]
    odd = [side.dtype for side in sides if side.dtype not in FLOATS]
    low, high = method.inputs
    if odd:
        return f"{name} cannot merge {odd[0]} values: say whether to take ours or theirs"
    if len(sides) < max(low, 1) or (high is not None and len(sides) > high):
        return f"{name} takes {wanted_inputs(method)}, not {len(sides)}"
    if method.needs_base and (base is None or base.shape != sides[0].shape or base.dtype not in FLOATS):
        return f"{name} needs a common ancestor of the same shape, and there is none"
    return ""
