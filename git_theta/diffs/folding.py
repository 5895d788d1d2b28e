"""Fold the changes of a long model by layer: what happened to `h.0.attn.weight` and `h.1.attn.weight` is one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from git_theta.diffs.changes import GroupChange, Kind

_NUMBER: Final = re.compile(r"(?<![^./_:\-\[\]])[0-9]+(?![^./_:\-\[\]])")
"""A number that is all there is between two separators."""


class Fold(Struct, frozen=True):
    """Changes that are shown as one.

    Attributes:
        name: what their names have in common, with "*" for numbers; the name itself of a change that is alone.
        changes: at least one, in their order; all of one kind.
    """

    name: str
    changes: tuple[GroupChange, ...]

    @property
    def kind(self) -> Kind:
        """What happened."""
        return self.changes[0].kind


def pattern(name: str) -> str:
    """A group's name with "*" for each number that stands between separators."""
    return _NUMBER.sub("*", name)


def fold(changes: Iterable[GroupChange]) -> list[Fold]:
    """Put changes together whose names differ in numbers only, where the same happened to them.

    Groups that were renamed also must have had names of one pattern, and groups that got another dtype the same one.

    Returns:
        The folds, each where the first of its changes stands.
    """
    found: dict[tuple[object, ...], list[GroupChange]] = {}
    for change in changes:
        found.setdefault((pattern(change.name), change.kind, *_details(change)), []).append(change)
    return [
        Fold(str(key[0]) if len(members) > 1 else members[0].name, tuple(members)) for key, members in found.items()
    ]


def unfolded(changes: Iterable[GroupChange]) -> list[Fold]:
    """Each change by itself."""
    return [Fold(change.name, (change,)) for change in changes]


def _details(change: GroupChange) -> tuple[object, ...]:
    """What else the changes of a fold have in common."""
    if change.old is None or change.new is None:
        return ()
    if change.kind is Kind.RENAMED:
        return (pattern(change.old.name),)
    return (change.old.dtype, change.new.dtype)
