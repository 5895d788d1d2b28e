"""Which merge methods can settle a conflict at all, told without its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from git_theta.errors import PluginError
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Clash, Conflict
from git_theta.metadata import Entry
from git_theta.registry import Family

ROWS: Final = "rows"
"""Settles groups that differ in the number of rows; it is no method of the family, which knows one shape only."""

_SIDES: Final = ("ours", "theirs", "ancestor")
_FLOATS: Final = ("float16", "bfloat16", "float32", "float64")


def fitting(conflict: Conflict, methods: Family[MergeMethod]) -> tuple[str, ...]:
    """The names of the methods that fit a conflict, those that take one side first.

    A method that fits may still refuse the values: those that have no meaningful result. A plug-in that cannot be
    loaded fits nothing.
    """
    return (*_sides(conflict), *_others(conflict, methods))


def _sides(conflict: Conflict) -> Iterator[str]:
    yield "ours"
    if _count(conflict) == 2:
        yield "theirs"
    if _has_ancestor(conflict):
        yield "ancestor"


def _others(conflict: Conflict, methods: Family[MergeMethod]) -> Iterator[str]:
    if conflict.clash is Clash.SHAPE and _differ_in_rows(conflict):
        yield ROWS
    if conflict.clash is Clash.VALUES and all(entry is not None and entry.dtype in _FLOATS for entry in conflict.sides):
        yield from (name for name in methods.names() if name not in _SIDES and _fits(name, conflict, methods))


def _fits(name: str, conflict: Conflict, methods: Family[MergeMethod]) -> bool:
    try:
        method = methods.get(name)
    except PluginError:
        return False
    low, high = method.inputs
    count = len(conflict.sides)
    return low <= count and (high is None or count <= high) and (conflict.ancestor is not None or not method.needs_base)


def _count(conflict: Conflict) -> int:
    return len(conflict.texts) - 1 if conflict.texts else len(conflict.sides)


def _has_ancestor(conflict: Conflict) -> bool:
    match conflict.clash:
        case Clash.STRUCTURE:
            return True
        case Clash.TEXT:
            return conflict.texts[0] is not None
        case _:
            return conflict.ancestor is not None


def _differ_in_rows(conflict: Conflict) -> bool:
    return None not in conflict.sides and len({_row(entry) for entry in conflict.sides if entry is not None}) == 1


def _row(entry: Entry) -> tuple[object, ...]:
    """What one row of a group is: its dtype and extents; for a group without axes, nothing that another has."""
    return (entry.dtype, *entry.shape[1:]) if entry.shape else (entry.name, entry.digest)
