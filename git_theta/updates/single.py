"""What the updates of one base have in common."""

from __future__ import annotations

from git_theta.errors import CorruptObjectError
from git_theta.metadata import Update


def base_of(update: Update) -> Update:
    """The one base of an update.

    Raises:
        CorruptObjectError: it has none, or several.
    """
    if len(update.bases) != 1:
        raise CorruptObjectError(f"the {update.type} update has {len(update.bases)} bases instead of one")
    return update.bases[0]


def count_parameter(update: Update, name: str, limit: int) -> int:
    """A setting of an update that is a number from 1 to a limit.

    Raises:
        CorruptObjectError: it is not.
    """
    value = update.parameter(name)
    if type(value) is not int or not 0 < value <= limit:
        raise CorruptObjectError(f"the {update.type} update has no usable {name!r}")
    return value
