"""Regular expressions that come in a file of others, matched in a time that such a file cannot make long.

Python's `re` tries one way after another: `(a+)+b` takes it twice as long for each further letter. Here each state of
a pattern is looked at once for each place in the text (Thompson 1968). What a single character may be, and where words
and texts begin and end, is asked of `re`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

_LITERAL: Final = re.compile(r"[\w.-]*")
"""Patterns of which each character stands for one; most are so, and some adapters have one for every module."""

_TOKEN: Final = re.compile(
    r"""(?P<opens>\((?:\?:|(?!\?)))
    | (?P<closes>\))
    | (?P<either>\|)
    | (?P<repeat>[*+?]|\{(?:\d+(?:,\d*)?|,\d*)\})(?P<manner>[?+]?)
    | (?P<piece>\\[dDsSwWbBAZafnrtv]|\\\W|\[\^?\]?(?:\\.|[^]\\])*\]|[^\\(])""",
    re.DOTALL | re.VERBOSE,
)

_MOST_STATES: Final = 10_000
_MOST_STEPS: Final = 10_000_000
"""For all that is matched for one file: some seconds."""


class PatternError(Exception):
    """A pattern is malformed, has what is not understood here, or takes too long."""


class _Piece(Struct, frozen=True):
    """One character, or none at a certain place."""

    found: re.Pattern[str]


class _Sequence(Struct, frozen=True):
    parts: tuple[_Node, ...]


class _Either(Struct, frozen=True):
    ways: tuple[_Node, ...]


class _Repeat(Struct, frozen=True):
    part: _Node
    least: int
    most: int | None


_Node = _Piece | _Sequence | _Either | _Repeat

_State = tuple[re.Pattern[str] | None, tuple[int, ...]]
"""What has to be found, if anything, and the states that may follow."""

_END: Final = 0


class Patterns:
    """Matches the patterns of one file, which have a number of steps for all of their matches together."""

    def __init__(self, most: int = _MOST_STEPS) -> None:
        """`most`: steps."""
        self._left = most

    def match_whole(self, pattern: str, text: str) -> bool:
        """Whether a pattern matches a text as a whole.

        Raises:
            PatternError: it cannot be said.
        """
        return self._matches(pattern, text, [0])

    def match_ending(self, pattern: str, text: str) -> bool:
        """Whether a pattern matches a text as a whole, or all of it from the one after a dot on.

        Raises:
            PatternError: it cannot be said.
        """
        return self._matches(pattern, text, [0, *(place for place, letter in enumerate(text, 1) if letter == ".")])

    def _matches(self, pattern: str, text: str, starts: Sequence[int]) -> bool:
        if _LITERAL.fullmatch(pattern):
            start = len(text) - len(pattern)
            return start in starts and re.fullmatch(pattern, text[start:]) is not None
        first, states = _compiled(pattern)
        seen = {(first, start) for start in starts}
        ahead = list(seen)
        while ahead:
            state, place = ahead.pop()
            self._left -= 1
            if self._left < 0:
                raise PatternError("takes too long")
            wanted, ways = states[state]
            found = wanted.match(text, place) if wanted else None
            if wanted and not found:
                continue
            after = {(way, found.end() if found else place) for way in ways} - seen
            seen |= after
            ahead += after
        return (_END, len(text)) in seen


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[int, list[_State]]:
    """The first state of a pattern, and all of them; the one that ends it is _END.

    Raises:
        PatternError: it is malformed, too large, or has what is not understood here.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
            states = _States()
            return states.add(_Parser(pattern).parse(), _END), states.all
    except (re.error, RecursionError, OverflowError):
        raise PatternError("is no regular expression") from None


class _Parser:
    """Reads a pattern that `re` has accepted."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._place = 0

    def parse(self) -> _Node:
        """What is read up to the next bracket that closes, or the end."""
        ways: list[list[_Node]] = [[]]
        while self._place < len(self._pattern):
            token = _TOKEN.match(self._pattern, self._place)
            if token is None or token["manner"] == "+":
                raise PatternError(f"has {self._pattern[self._place :][:3]!r}, which is not understood here")
            self._place = token.end()
            if token["closes"]:
                break
            if token["either"]:
                ways.append([])
            elif token["repeat"]:
                ways[-1].append(_Repeat(ways[-1].pop(), *_counts(token["repeat"])))
            else:
                ways[-1].append(self.parse() if token["opens"] else _Piece(re.compile(token["piece"])))
        return _Either(tuple(_Sequence(tuple(parts)) for parts in ways))


def _counts(repeat: str) -> tuple[int, int | None]:
    if repeat in "*+?":
        return int(repeat == "+"), 1 if repeat == "?" else None
    least, comma, most = repeat[1:-1].partition(",")
    return int(least or 0), int(most) if most else None if comma else int(least)


class _States:
    """The states of a pattern, made from its end to its beginning."""

    def __init__(self) -> None:
        self.all: list[_State] = [(None, ())]
        self._added = 0

    def add(self, node: _Node, then: int) -> int:
        """Make the states of a part of the pattern; returns its first, given the one that follows."""
        self._added += 1
        if self._added > _MOST_STATES:
            raise PatternError("is too large")
        match node:
            case _Piece():
                return self._new(node.found, (then,))
            case _Sequence():
                for part in reversed(node.parts):
                    then = self.add(part, then)
                return then
            case _Either():
                return self._new(None, tuple(self.add(way, then) for way in node.ways))
            case _Repeat():
                return self._repeated(node, then)

    def _repeated(self, node: _Repeat, then: int) -> int:
        if node.most is None:
            first = self._new(None, ())
            self.all[first] = (None, (self.add(node.part, first), then))
        else:
            first = then
            for _ in range(node.most - node.least):
                first = self._new(None, (self.add(node.part, first), then))
        for _ in range(node.least):
            first = self.add(node.part, first)
        return first

    def _new(self, wanted: re.Pattern[str] | None, ways: tuple[int, ...]) -> int:
        self.all.append((wanted, ways))
        return len(self.all) - 1
