"""Settling conflicts one after the other: what is decided so far, in bulk or singly, and the way back.

A session is a value: every step makes a new one. It knows no terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from git_theta.merges.decisions import Conflict, Decision
from git_theta.merges.fitting import inputs
from git_theta.tensors import is_named

# A slash in a key is "~1" in the name.
_NUMBER: Final = re.compile(r"(?:(?<=~1)|(?<![^./]))[0-9]+(?=~1|[./]|$)")
_LAST_NUMBER: Final = re.compile(r"(?<=_)[0-9]+(?=~1|[./]|$)")


class Reach(Enum):
    """How far a decision reaches beyond the current conflict."""

    ONE = "this one"
    KIND = "all of this kind"
    PATTERN = "all that match"
    ALL = "all that remain"


class Scope(Struct, frozen=True):
    """Which conflicts a decision is for.

    None of them is decided already, with one exception: a pattern that matches nothing that remains is for what it
    matches among the decided, which are decided once more.

    Attributes:
        reach: how far.
        pattern: a glob of names, in which `*` also stands for "." and "/" (`Reach.PATTERN`).
    """

    reach: Reach = Reach.ONE
    pattern: str = ""


class Step(Struct, frozen=True):
    """A decision, and the names of the conflicts that it settled."""

    decision: Decision
    names: tuple[str, ...]


class Session(Struct, frozen=True):
    """Conflicts, and how those settled so far are.

    Attributes:
        conflicts: all of them, in file order; their names differ.
        fits: for each name, the methods that can settle it.
        steps: what was decided, the latest last. Of a conflict that is in several, the latest counts.
    """

    conflicts: tuple[Conflict, ...]
    fits: Mapping[str, tuple[str, ...]]
    steps: tuple[Step, ...] = ()

    @classmethod
    def begin(cls, conflicts: Iterable[Conflict], fits: Callable[[Conflict], tuple[str, ...]]) -> Session:
        """A session in which nothing is decided."""
        listed = tuple(conflicts)
        return cls(listed, {conflict.name: fits(conflict) for conflict in listed})

    @property
    def decisions(self) -> dict[str, Decision]:
        """What is decided so far, by name, in file order."""
        decided = {name: step.decision for step in self.steps for name in step.names}
        return {conflict.name: decided[conflict.name] for conflict in self.conflicts if conflict.name in decided}

    @property
    def remaining(self) -> tuple[Conflict, ...]:
        """The conflicts that are not decided, in file order; the first of them is the current one."""
        decided = {name for step in self.steps for name in step.names}
        return tuple(conflict for conflict in self.conflicts if conflict.name not in decided)

    @property
    def current(self) -> Conflict | None:
        """The conflict that is to be decided now; None if none is left."""
        return next(iter(self.remaining), None)

    @property
    def last(self) -> Decision | None:
        """What was decided last; None if nothing is."""
        return self.steps[-1].decision if self.steps else None

    @property
    def standing(self) -> tuple[Step, ...]:
        """The steps, each with those of its names for which it still counts; without steps that have none."""
        latest = {name: number for number, step in enumerate(self.steps) for name in step.names}
        kept = (
            Step(step.decision, tuple(name for name in step.names if latest[name] == number))
            for number, step in enumerate(self.steps)
        )
        return tuple(step for step in kept if step.names)

    @property
    def useful(self) -> tuple[str, ...]:
        """The methods that fit the current conflict, then those that fit only others: what is decided can be, anew."""
        listed = (*self.remaining, *self.conflicts)
        return tuple(dict.fromkeys(name for conflict in listed for name in self.fits[conflict.name]))

    def reached(self, scope: Scope) -> tuple[Conflict, ...]:
        """The conflicts that a scope reaches from the current one, in file order."""
        remaining = self.remaining
        match scope.reach:
            case Reach.ALL:
                return remaining
            case Reach.ONE:
                return remaining[:1]
            case Reach.KIND:
                return tuple(found for found in remaining if fold(found.name) == fold(remaining[0].name))
            case Reach.PATTERN:
                return _matching(scope.pattern, remaining) or _matching(scope.pattern, self.conflicts)

    def split(self, decision: Decision, scope: Scope) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of the conflicts that a scope reaches: those that a decision can settle, and the others."""
        suits = {conflict.name: self._suits(decision, conflict) for conflict in self.reached(scope)}
        return tuple(name for name in suits if suits[name]), tuple(name for name in suits if not suits[name])

    def decide(self, decision: Decision, scope: Scope) -> Session:
        """Settle what a scope reaches, as far as the decision can; the same session if that is nothing."""
        names, _ = self.split(decision, scope)
        return replace(self, steps=(*self.steps, Step(decision, names))) if names else self

    def undo(self) -> Session:
        """As before the last step, however many conflicts that settled; the same session if there was none."""
        return replace(self, steps=self.steps[:-1]) if self.steps else self

    def _suits(self, decision: Decision, conflict: Conflict) -> bool:
        """Whether the method fits, and lists have a value for each input."""
        lists = [value for _, value in decision.parameters if isinstance(value, tuple)]
        count = len(inputs(conflict))
        return decision.method in self.fits[conflict.name] and all(len(values) == count for values in lists)


def fold(name: str) -> str:
    """The name of a kind of layer: parts of the name that are numbers become "*".

    Where there is none, the first number that ends a part does ("layers_0/kernel" gives "layers_*/kernel").
    """
    return _NUMBER.sub("*", name) if _NUMBER.search(name) else _LAST_NUMBER.sub("*", name, count=1)


def _matching(pattern: str, conflicts: Iterable[Conflict]) -> tuple[Conflict, ...]:
    return tuple(conflict for conflict in conflicts if is_named(conflict.name, pattern))
