"""How the conflicts of a merge are settled without asking: methods by group, and what is done where none fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from git_theta.errors import MergeError
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.draws import SEED
from git_theta.merges.fitting import ROWS, inputs, misfit
from git_theta.merges.layers import Gradient, Layers
from git_theta.merges.parameters import Kind, Parameter, Value, check_names, wrong_length
from git_theta.tensors import is_named

LEAVE: Final = "conflict"
"""What leaves a conflict to the user."""

OTHERWISE: Final[dict[str, Clash | None]] = {
    "otherwise": None,
    "texts": Clash.TEXT,
    "removed": Clash.REMOVED,
    "dtypes": Clash.DTYPE,
    "shapes": Clash.SHAPE,
    "structure": Clash.STRUCTURE,
}
"""The words for what is done where no method fits: everywhere, or for one kind of conflict."""

Given = Value | Gradient | tuple[Value | Gradient, ...]
"""What is given for a parameter: one value, one for each input, and each may change over the layers."""


class Choice(Struct, frozen=True):
    """A way to settle conflicts.

    Attributes:
        name: of a merge method, or "conflict", which settles none.
        method: the method; None for "conflict" and "rows", which are none.
        given: its parameters that are not default, sorted by name.
        places: where they are written, by name, for messages.
    """

    name: str
    method: MergeMethod | None = None
    given: tuple[tuple[str, Given], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)


class Rule(Struct, frozen=True):
    """What is done with groups (or texts) whose names match a pattern.

    Attributes:
        pattern: of names; see `tensors.is_named`.
        choice: how they are settled.
        place: where the pattern is written, for messages.
    """

    pattern: str
    choice: Choice
    place: str = ""


class Answer(Struct, frozen=True):
    """What a strategy says to conflicts.

    Attributes:
        decisions: by name, for those that it settles.
        reasons: by name, why it does not settle the others.
    """

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


class Strategy(Struct, frozen=True):
    """A way to settle all conflicts of a checkpoint.

    Attributes:
        default: for groups that no rule names; None if there is no default.
        rules: for groups by name; the first that matches counts.
        texts: for values that are no groups by name; the first that matches counts.
        otherwise: "ours", "theirs", "ancestor", "rows" or "conflict" for a kind of conflict that is no matter of
            values; by None, for everything that is still open.
    """

    default: Choice | None = None
    rules: tuple[Rule, ...] = ()
    texts: tuple[Rule, ...] = ()
    otherwise: Mapping[Clash | None, str] = field(default_factory=dict)

    def seeded(self, seed: int) -> Strategy:
        """The same, with a seed for all methods that choose at random and have none."""
        return replace(
            self,
            default=None if self.default is None else _seeded(self.default, seed),
            rules=tuple(replace(rule, choice=_seeded(rule.choice, seed)) for rule in self.rules),
        )

    def of_sides(self, present: Sequence[int], count: int) -> Strategy:
        """The same for some of the sides that it was written for: lists with a value for each are cut to those.

        Args:
            present: the sides that there are, by number.
            count: how many it was written for.
        """
        return replace(
            self,
            default=None if self.default is None else _cut(self.default, present, count),
            rules=tuple(replace(rule, choice=_cut(rule.choice, present, count)) for rule in self.rules),
        )

    def check(self, names: Iterable[str]) -> None:
        """Make sure that every rule is for a group of the checkpoint.

        Args:
            names: of all groups, on any side or in the ancestor.

        Raises:
            MergeError: a pattern matches none of them.
        """
        known = list(names)
        for rule in self.rules:
            if not any(is_named(name, rule.pattern) for name in known):
                raise MergeError(f"{rule.place}no group of the checkpoint matches {rule.pattern!r}")

    def settle(self, conflicts: Sequence[Conflict], names: Iterable[str]) -> Answer:
        """Settle what can be settled.

        Args:
            conflicts: all of a checkpoint, in file order.
            names: of all its groups, on any side or in the ancestor; they tell how many layers there are.

        Raises:
            MergeError: a rule is for no group of the checkpoint.
        """
        known = list(dict.fromkeys(names))
        self.check(known)
        layers = Layers.of(known)
        decisions, reasons = {}, {}
        for conflict in conflicts:
            found = self._decide(conflict, layers.depth(conflict.name))
            if isinstance(found, Decision):
                decisions[conflict.name] = found
            else:
                reasons[conflict.name] = found
        return Answer(decisions, reasons)

    def _decide(self, conflict: Conflict, depth: float) -> Decision | str:
        """The decision; else, why there is none."""
        why = ""
        for choice in self._choices(conflict):
            if choice.name == LEAVE:
                return why or "left to be settled by hand"
            unfit = misfit(choice.name, choice.method, conflict)
            if not unfit:
                # A method that fits and was told something wrong is no case for what is said of those that do not fit.
                return _error(choice, conflict) or _decision(choice, conflict, depth)
            why = why or unfit
        return why or "no rule is for it"

    def _choices(self, conflict: Conflict) -> list[Choice]:
        """What may settle a conflict, best first."""
        rules = self.texts if conflict.clash is Clash.TEXT else self.rules
        named = [rule.choice for rule in rules if is_named(conflict.name, rule.pattern)][:1]
        default = [self.default] if self.default is not None and not (named and conflict.clash is Clash.VALUES) else []
        kind = [Choice(self.otherwise[conflict.clash])] if conflict.clash in self.otherwise else []
        rest = [Choice(self.otherwise[None])] if None in self.otherwise else []
        return [*named, *kind, *default, *rest]


def choice(name: str, given: Mapping[str, object], method_of: Callable[[str], MergeMethod]) -> Choice:
    """A choice, with its parameters checked as far as the number of inputs does not matter.

    Args:
        name: of a merge method; "conflict" and "rows" have no parameters.
        given: values, `Gradient`s, and lists of them, by parameter.
        method_of: finds a method by its name.

    Raises:
        MergeError: a parameter is unknown, missing, of the wrong kind or out of range.
        PluginError: there is no such method, or it is a plug-in and broken.
    """
    method = None if name in (LEAVE, ROWS) else method_of(name)
    check_names(name, () if method is None else method.parameters, given)
    return Choice(name, method, tuple((key, checked(name, method, key, given[key])) for key in sorted(given)))


def checked(name: str, method: MergeMethod | None, key: str, given: object) -> Given:
    """What is given for one parameter of a method (None: of what has no parameters); see `choice`.

    Raises:
        MergeError: the parameter is unknown, or the value of the wrong kind or out of range.
    """
    table = {} if method is None else {parameter.name: parameter for parameter in method.parameters}
    if key not in table:
        check_names(name, tuple(table.values()), [key])
    return _checked(table[key], given)


def _cut(choice: Choice, present: Sequence[int], count: int) -> Choice:
    return replace(
        choice,
        given=tuple(
            (name, tuple(given[number] for number in present))
            if isinstance(given, tuple) and len(given) == count
            else (name, given)
            for name, given in choice.given
        ),
    )


def _seeded(choice: Choice, seed: int) -> Choice:
    takes = choice.method is not None and any(parameter.name == SEED.name for parameter in choice.method.parameters)
    if not takes or SEED.name in dict(choice.given):
        return choice
    return replace(choice, given=tuple(sorted((*choice.given, (SEED.name, seed)), key=lambda pair: pair[0])))


def _checked(parameter: Parameter, given: object) -> Given:
    if not isinstance(given, list | tuple):
        return _checked_one(parameter, given)
    if not parameter.per_input:
        raise MergeError(
            f"the parameter {parameter.name} has one value for all inputs, not a list"
            " (a value that changes over the layers is {gradient = [...]})"
        )
    if not given:
        raise MergeError(f"the parameter {parameter.name} has an empty list: give a value for each input")
    return tuple(_checked_one(parameter, value) for value in given)


def _checked_one(parameter: Parameter, given: object) -> Value | Gradient:
    if not isinstance(given, Gradient):
        return parameter.check(given)
    if parameter.kind is not Kind.NUMBER:
        raise MergeError(f"the parameter {parameter.name} is {parameter.wanted()}, which cannot change over the layers")
    points = [parameter.check(point) for point in given.points]
    return Gradient(tuple(float(point) for point in points if isinstance(point, float | int)))


def _decision(choice: Choice, conflict: Conflict, depth: float) -> Decision:
    """The choice for a conflict: gradients as they are at its depth, and lists for all sides cut to the inputs."""
    taken = inputs(conflict)
    found: list[tuple[str, Value | tuple[Value, ...]]] = []
    for name, given in choice.given:
        values = tuple(_at(given[number], depth) for number in taken) if isinstance(given, tuple) else _at(given, depth)
        found.append((name, values))
    return Decision(choice.name, tuple(found))


def _at(given: Value | Gradient, depth: float) -> Value:
    return given.at(depth) if isinstance(given, Gradient) else given


def _error(choice: Choice, conflict: Conflict) -> str:
    """What is wrong with the parameters, and where; nothing if all is right.

    Each value was checked before; only how many there must be was not known. A list has one for each side, whichever
    of them are inputs: else it would mean other sides in one group than in the next.
    """
    sides = len(conflict.sides)
    for name, given in choice.given:
        if isinstance(given, tuple) and len(given) != sides:
            return f"{choice.places.get(name, '')}{wrong_length(name, len(given), sides)}"
    return ""
