"""What may be typed at the prompt of a merge: parsed, and completed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from git_theta.errors import UsageError
from git_theta.merges.parameters import Kind, Parameter
from git_theta.merges.session import Reach, Scope

SHORT_CUTS: Final[Mapping[str, str]] = {
    "o": "ours",
    "t": "theirs",
    "n": "ancestor",
    "a": "average",
    "r": "rows",
}
"""Letters for the methods that are used most. These ask for no parameters."""

DEFAULTS: Final = "."
"""Takes parameters as they are by default."""


THIS: Final = Scope()


class Verb(Enum):
    """What may be done besides settling."""

    NOTHING = ""
    METHODS = "methods"
    STATISTICS = "statistics"
    UNDO = "undo"
    LIST = "list"
    HELP = "help"
    QUIT = "quit"


class Take(Struct, frozen=True):
    """Settle by a method.

    Attributes:
        method: its name.
        given: its parameters as they were typed.
        scope: what is to be settled.
        is_complete: whether all other parameters are as they are by default.
    """

    method: str
    given: tuple[tuple[str, str], ...] = ()
    scope: Scope = THIS
    is_complete: bool = False


class Again(Struct, frozen=True):
    """Settle what a scope reaches as the last was settled."""

    scope: Scope


class Explain(Struct, frozen=True):
    """Say what a method does, and what may be set."""

    method: str


Command = Take | Again | Explain | Verb

_VERBS: Final[Mapping[str, Verb]] = {
    **{verb.value: verb for verb in Verb if verb.value},
    "m": Verb.METHODS,
    "s": Verb.STATISTICS,
    "u": Verb.UNDO,
    "l": Verb.LIST,
    "?": Verb.HELP,
    "h": Verb.HELP,
    "q": Verb.QUIT,
    "exit": Verb.QUIT,
}
_SCOPES: Final[Mapping[str, Scope]] = {
    "*": Scope(Reach.ALL),
    "all": Scope(Reach.ALL),
    "=": Scope(Reach.KIND),
    "kind": Scope(Reach.KIND),
}


def parse(line: str, fits: Sequence[str], known: Sequence[str]) -> Command:
    """What a line asks for.

    Args:
        line: as it was typed.
        fits: the methods that fit what is to be settled now.
        known: all methods.

    Raises:
        UsageError: it is nothing that can be done; says what can.
    """
    words = _words(line)
    if not words:
        return Verb.NOTHING
    first, rest = words[0], words[1:]
    if first not in _SCOPES and len(first) > 1 and first[-1] in "*=" and _method(first[:-1], fits):
        first, rest = first[:-1], [words[0][-1], *rest]
    method = _method(first, fits)
    if method:
        return _take(method, rest)
    verb = _verb(first)
    if verb is Verb.HELP and rest:
        return Explain(_named(rest[0], known))
    if verb is not None and not rest:
        return verb
    if not rest and (first in _SCOPES or any(char in first for char in "*?[")):
        return Again(_scope(first))
    raise UsageError(_complaint(first, verb, fits, known))


def complete(
    line: str, fits: Sequence[str], parameters: Mapping[str, Sequence[Parameter]], patterns: Iterable[str]
) -> list[str]:
    """The words that the last word of a line may become.

    Args:
        line: up to the cursor.
        fits: the methods that fit.
        parameters: of each of them.
        patterns: globs and names that a scope may be.
    """
    *before, last = line.split(" ")
    words = [word for word in before if word]
    if not words:
        verbs = [verb.value for verb in Verb if verb.value]
        return [word for word in (*fits, *verbs) if word.startswith(last)]
    table = {parameter.name: parameter for parameter in parameters.get(_method(words[0], fits) or "", ())}
    name, equals, value = last.partition("=")
    if equals and name in table:
        return [f"{name}={word}" for word in values(table[name]) if word.startswith(value)]
    if _method(words[0], fits) is None:
        return [name for name in fits if name.startswith(last)] if _verb(words[0]) is Verb.HELP else []
    return [word for word in (*(f"{name}=" for name in table), "*", "=", *patterns) if word.startswith(last)]


def values(parameter: Parameter) -> tuple[str, ...]:
    """The values that can be listed of what a parameter may be."""
    if parameter.kind is Kind.FLAG:
        return ("true", "false")
    return parameter.choices


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{str(error).lower()}: quotes come in pairs") from error


def _method(word: str, fits: Sequence[str]) -> str | None:
    """The fitting method that a word means: a short cut, a name, or the beginning of a single one."""
    if SHORT_CUTS.get(word) in fits:
        return SHORT_CUTS[word]
    if word in fits:
        return word
    if word in _VERBS or word in SHORT_CUTS:
        return None
    found = [name for name in (*fits, *_VERBS) if name.startswith(word)]
    return found[0] if len(found) == 1 and found[0] in fits else None


def _verb(word: str) -> Verb | None:
    if word in _VERBS:
        return _VERBS[word]
    found = {verb for name, verb in _VERBS.items() if len(word) > 1 and name.startswith(word)}
    return found.pop() if len(found) == 1 else None


def _take(method: str, words: Iterable[str]) -> Take:
    given, scopes, defaults = [], [], False
    for word in words:
        name, equals, value = word.partition("=")
        if word == DEFAULTS:
            defaults = True
        elif equals and name.isidentifier():
            given.append((name, value))
        else:
            scopes.append(_scope(word))
    if len(scopes) > 1:
        raise UsageError("give one pattern, * or =, not several: a pattern with spaces in it needs quotes")
    return Take(method, tuple(given), scopes[0] if scopes else THIS, defaults or bool(given))


def _scope(word: str) -> Scope:
    return _SCOPES.get(word) or Scope(Reach.PATTERN, word)


def _named(word: str, known: Sequence[str]) -> str:
    name = _method(word, known)
    if name is None:
        raise UsageError(f"there is no method {word!r}; 'methods' lists them")
    return name


def _complaint(word: str, verb: Verb | None, fits: Sequence[str], known: Sequence[str]) -> str:
    if verb is not None:
        return f"{verb.value!r} takes nothing after it"
    meant = SHORT_CUTS.get(word, word)
    if meant in known:
        return f"{meant} does not fit here: {', '.join(fits[:4])}{' ...' if len(fits) > 4 else ''} do"
    several = [name for name in (*fits, *(verb.value for verb in Verb)) if name.startswith(word)]
    if len(several) > 1:
        return f"{word!r} may be {', '.join(several)}"
    return f"there is no action {word!r}; ? shows what there is"
