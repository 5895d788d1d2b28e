"""Merge methods of plug-ins: whatever one of them does wrong is an error of one line that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from git_theta.errors import PluginError, ThetaError
from git_theta.merges.parameters import Parameter

T = TypeVar("T")


def checked(name: str, found: T) -> T:
    """What a plug-in announces, if it has all that a merge method has.

    Args:
        name: under which it is announced; its own must be the same, which is what metadata files say.
        found: what is announced.

    Raises:
        PluginError: it lacks something.
    """
    _ask(found, "name", lambda value: value == name, f"must be {name!r}, as it is announced")
    _ask(found, "parameters", _are_parameters, "must be a tuple of Parameter")
    for flag in ("needs_base", "uses_base", "elementwise"):
        _ask(found, flag, lambda value: isinstance(value, bool), "must be True or False")
    _ask(found, "inputs", _is_range, "must be the least and the largest number of inputs, or None for no limit")
    if hasattr(found, "copies"):
        _ask(found, "copies", _is_count, "must be a number of arrays")
    _ask(found, "merge", callable, "must be a function")
    return found


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Run a merge method.

    One that exits is an error as well: its exit code would be that of the merge driver, and 0 tells git that our side,
    as it is, is the merged file.

    Raises:
        PluginError: it raised something; what says that there is no result, or no memory, is passed on, and so is an
            interruption.
    """
    try:
        yield
    except (ThetaError, MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"the merge method {name} failed: {type(error).__name__}: {error}") from error


def _ask(found: object, attribute: str, is_right: Callable[[object], bool], wanted: str) -> None:
    if not hasattr(found, attribute) or not is_right(getattr(found, attribute)):
        raise PluginError(f"its attribute {attribute!r} {wanted}")


def _are_parameters(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, Parameter) for one in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_range(value: object) -> bool:
    match value:
        case (int(), int() | None):
            return True
    return False
