"""The parameters of merge methods: what there is, what it may be, and the one place that checks what was given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta.errors import MergeError

Value = float | int | bool | str | None
"""One value of a parameter; None where it was not given and has no default."""

ANY: Final = (-math.inf, math.inf)
SHARE: Final = (0.0, 1.0)
POSITIVE: Final = (0.0, math.inf)


class Kind(Enum):
    """What a parameter's values are."""

    NUMBER = "a number"
    COUNT = "a whole number"
    FLAG = "true or false"
    CHOICE = "a word"


class Parameter(Struct, frozen=True):
    """A parameter of a merge method.

    Attributes:
        name: as users write it.
        kind: what its values are.
        default: the value if none is given; None if there is none.
        about: what it does, in half a sentence.
        per_input: whether every input may have a value of its own.
        range: the smallest and the largest value allowed (numbers and counts).
        choices: the words allowed (choices).
        required: whether it must be given.
    """

    name: str
    kind: Kind
    default: Value
    about: str
    per_input: bool = False
    range: tuple[float, float] = ANY
    choices: tuple[str, ...] = ()
    required: bool = False

    def check(self, given: object) -> Value:
        """The value as a plain Python value.

        Raises:
            MergeError: it is of another kind, or out of range.
        """
        given = _plain(given)
        if given is None and self.default is None and not self.required:
            return None
        match self.kind:
            case Kind.FLAG:
                value: Value = bool(given) if isinstance(given, bool | np.bool_) else None
            case Kind.CHOICE:
                value = given if isinstance(given, str) and given in self.choices else None
            case _:
                value = self._number(given)
        if value is None:
            raise MergeError(f"the parameter {self.name} must be {self.wanted()}, not {_shown(given)}")
        return value

    def parse(self, text: str) -> Value | tuple[Value, ...]:
        """The value that was typed, such as "0.5", "true", or "0.5,0.7" where each input has its own.

        Raises:
            MergeError: it is not one.
        """
        parts = [self.check(self._read(part.strip())) for part in (text.split(",") if self.per_input else [text])]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def wanted(self) -> str:
        """What a value must be, for messages."""
        low, high = self.range
        if self.kind is Kind.CHOICE:
            return f"one of {', '.join(self.choices)}"
        if self.kind is Kind.FLAG or self.range == ANY:
            return str(self.kind.value)
        return (
            f"{self.kind.value} from {low:g} to {high:g}" if high < math.inf else f"{self.kind.value} from {low:g} up"
        )

    def _number(self, given: object) -> float | int | None:
        low, high = self.range
        if isinstance(given, bool | np.bool_) or not isinstance(given, Real):
            return None
        if self.kind is Kind.COUNT:
            return int(given) if isinstance(given, Integral) and low <= int(given) <= high else None
        try:
            value = float(given)
        except OverflowError:
            return None
        return value if math.isfinite(value) and low <= value <= high else None

    def _read(self, text: str) -> object:
        try:
            match self.kind:
                case Kind.NUMBER:
                    return float(text)
                case Kind.COUNT:
                    return int(text)
                case Kind.FLAG:
                    return {"true": True, "false": False}.get(text.lower(), text)
                case Kind.CHOICE:
                    return text
        except ValueError:
            return text


class Params(Struct, frozen=True):
    """The parameters of one merge, all checked and none missing; those per input are tuples, one value for each."""

    values: Mapping[str, Value | tuple[Value, ...]]

    def number(self, name: str) -> float:
        """The value of a number."""
        value = self.values[name]
        assert isinstance(value, float | int)
        return value

    def count(self, name: str) -> int:
        """The value of a whole number."""
        return int(self.number(name))

    def flag(self, name: str) -> bool:
        """The value of a flag."""
        return self.values[name] is True

    def choice(self, name: str) -> str:
        """The word chosen."""
        return str(self.values[name])

    def numbers(self, name: str) -> tuple[float, ...]:
        """The numbers of all inputs."""
        return tuple(value for value in self._each(name) if isinstance(value, float | int))

    def numbers_or_none(self, name: str) -> tuple[float | None, ...]:
        """The numbers of all inputs; None for those that have none."""
        return tuple(value if isinstance(value, float | int) else None for value in self._each(name))

    def _each(self, name: str) -> tuple[Value, ...]:
        values = self.values[name]
        assert isinstance(values, tuple)
        return values


def resolve(method: str, table: Sequence[Parameter], given: Mapping[str, object], inputs: int) -> Params:
    """Check what was given, and fill in the defaults.

    Args:
        method: its name, for messages.
        table: its parameters.
        given: values by name; a parameter that is per input may have one value for all, or a list with one for each.
        inputs: how many there are.

    Raises:
        MergeError: a parameter is unknown, missing, of the wrong kind, out of range, or a list of the wrong length.
    """
    check_names(method, table, given)
    known = {parameter.name: parameter for parameter in table}
    return Params({name: _values(known[name], given.get(name, known[name].default), inputs) for name in known})


def check_names(method: str, table: Sequence[Parameter], given: Iterable[str]) -> None:
    """Make sure that the parameters that are given are there, and those that must be given are given.

    Raises:
        MergeError: one is unknown or missing.
    """
    names = list(given)
    known = [parameter.name for parameter in table]
    for name in names:
        if name not in known:
            knows = f"it knows {', '.join(known)}" if known else "it has none"
            raise MergeError(f"the merge method {method} has no parameter {name!r}; {knows}")
    for parameter in table:
        if parameter.required and parameter.name not in names:
            raise MergeError(f"the merge method {method} needs the parameter {parameter.name}, {parameter.wanted()}")


def _values(parameter: Parameter, given: object, inputs: int) -> Value | tuple[Value, ...]:
    given = _plain(given)
    if not parameter.per_input:
        return parameter.check(given)
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return (parameter.check(given),) * inputs
    values = tuple(parameter.check(value) for value in given)
    if len(values) != inputs:
        raise MergeError(wrong_length(parameter.name, len(values), inputs))
    return values


def wrong_length(name: str, count: int, inputs: int) -> str:
    """What is wrong with a list of so many values, for a parameter that has one for each of so many inputs."""
    return f"the parameter {name} has {count} values for {inputs} inputs: give one each"


def _plain(given: object) -> object:
    """Arrays and numbers of NumPy, torch and their like as those of Python."""
    plain = getattr(given, "tolist", None)
    return plain() if callable(plain) else given


def _shown(given: object) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= 40 else f"{text[:40]}..."
