"""Recipes: how a model is merged, as a TOML file that is versioned beside it (docs/merging.md)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from git_theta.errors import MergeError, PluginError
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Clash
from git_theta.merges.draws import SEED
from git_theta.merges.fitting import ROWS, VERSIONS
from git_theta.merges.layers import Gradient
from git_theta.merges.strategies import LEAVE, OTHERWISE, Choice, Rule, Strategy, checked, choice
from git_theta.merges.toml_places import Path, end, places
from git_theta.registry import Family

MAX_BYTES: Final = 1 << 20
"""A larger recipe is none."""

_ENCODING: Final = "utf-8-sig"
"""Some editors put a mark before the text, which no one sees."""

_TOP: Final = ("seed", "default", "rules", "texts", "otherwise")
_AT: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
_AT_END: Final = " (at end of document)"

T = TypeVar("T")


def parse_recipe(data: bytes, name: str, methods: Family[MergeMethod]) -> Strategy:
    """The strategy that a recipe says.

    Args:
        data: the file.
        name: what the file is called in messages.
        methods: the merge methods.

    Raises:
        MergeError: it is not understood; says line and column.
    """
    document = _document(data, name)
    reader = _Reader(name, places(data.decode(_ENCODING)), methods)
    reader.only(document, (), _TOP)
    strategy = Strategy(
        default=reader.default(document.get("default")),
        rules=reader.rules(document.get("rules", []), ("rules",), reader.choice),
        texts=reader.texts(document.get("texts", {})),
        otherwise=reader.otherwise(document.get("otherwise", {})),
    )
    if "seed" not in document:
        return strategy
    return strategy.seeded(int(reader.said(("seed",), lambda: SEED.check(document["seed"])) or 0))


def otherwise_of(word: str, said: object) -> str:
    """What is said for a word of `strategies.OTHERWISE`.

    Raises:
        MergeError: it cannot be said for that.
    """
    allowed = (*VERSIONS, LEAVE, *([ROWS] if OTHERWISE[word] is Clash.SHAPE else []))
    if not isinstance(said, str) or said not in allowed:
        raise MergeError(f"{word} must be one of {', '.join(allowed)}, not {said!r}")
    return said


def _document(data: bytes, name: str) -> dict[str, Any]:
    """The file as TOML values."""
    if len(data) > MAX_BYTES:
        raise MergeError(f"{name}, {_position(data, MAX_BYTES)}: this is too large for a recipe")
    try:
        text = data.decode(_ENCODING)
    except UnicodeDecodeError as error:
        raise MergeError(f"{name}, {_position(data, error.start)}: this is not UTF-8") from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise MergeError(
            f"{name}, {_position(data, _deepest(data))}: this is nested too deeply for a recipe"
        ) from error
    except ValueError as error:
        said = str(error)
        found = _AT.search(said)
        line, column = (int(found[1]), int(found[2])) if found else end(text)
        why = _AT.sub("", said.removesuffix(_AT_END))
        raise MergeError(f"{name}, line {line}, column {column}: {why}") from error


def _position(data: bytes, offset: int) -> str:
    """Line and column of a byte, for messages."""
    line, column = data.count(b"\n", 0, offset) + 1, offset - data.rfind(b"\n", 0, offset)
    return f"line {line}, column {column}"


def _deepest(data: bytes) -> int:
    """Where the most brackets are open."""
    depths = accumulate((byte in b"[{") - (byte in b"]}") for byte in data)
    return max(enumerate(depths), key=lambda found: found[1])[0]


class _Reader(Struct, frozen=True):
    """Reads the parts of a recipe; a path of keys says where each stands."""

    name: str
    places: Mapping[Path, tuple[int, int]]
    methods: Family[MergeMethod]

    def place(self, path: Path) -> str:
        """Where a key stands, for messages; where the nearest that is written above it stands if it is not written."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = self.places.get(path, (1, 1))
        return f"{self.name}, line {line}, column {column}: "

    def wrong(self, path: Path, why: str) -> MergeError:
        """An error in what stands at a path."""
        return MergeError(f"{self.place(path)}{why}")

    def said(self, path: Path, read: Callable[[], T]) -> T:
        """What `read` returns; its errors say where."""
        try:
            return read()
        except (MergeError, PluginError) as error:
            raise self.wrong(path, str(error)) from error

    def only(self, table: object, path: Path, keys: tuple[str, ...]) -> Mapping[str, Any]:
        """A table that has no other keys than these."""
        if not isinstance(table, dict):
            raise self.wrong(path, f"{path[-1]} must be a table with {', '.join(keys)}")
        for key in table:
            if key not in keys:
                raise self.wrong((*path, key), f"unknown key {key!r}; known are {', '.join(keys)}")
        return table

    def default(self, said: object) -> Choice | None:
        """`[default]`."""
        if said is None:
            return None
        return self.choice(self.only(said, ("default",), ("method", "with")), ("default",))

    def rules(
        self, said: object, path: Path, choice_of: Callable[[Mapping[str, Any], Path], Choice]
    ) -> tuple[Rule, ...]:
        """`[[rules]]`: a rule for each pattern."""
        keys = ("match", "method", "with") if path == ("rules",) else ("match", "take")
        if not isinstance(said, list):
            raise self.wrong(path, f"write [[{'.'.join(map(str, path))}]], since there may be several")
        found = []
        for number, item in enumerate(said):
            here = (*path, number)
            table = self.only(item, here, keys)
            made = choice_of(table, here)
            found += [Rule(pattern, made, self.place(at)) for pattern, at in self._patterns(table, here)]
        return tuple(found)

    def _patterns(self, table: Mapping[str, Any], path: Path) -> list[tuple[str, Path]]:
        if "match" not in table:
            raise self.wrong(path, "the rule has no match: name a pattern, or a list of patterns")
        said, here = table["match"], (*path, "match")
        listed = [(item, (*here, number)) for number, item in enumerate(said)] if isinstance(said, list) else []
        patterns = listed or [(said, here)]
        for pattern, at in patterns:
            if not isinstance(pattern, str) or not pattern:
                raise self.wrong(at, "match must be a pattern, or a list of patterns, such as 'h.*.attn.*'")
        return patterns

    def texts(self, said: object) -> tuple[Rule, ...]:
        """`[texts]`: the rules, and as the last of them the default."""
        path = ("texts",)
        table = self.only(said, path, ("default", "rules"))
        rules = self.rules(table.get("rules", []), (*path, "rules"), self.side)
        if "default" not in table:
            return rules
        side = self._side(table["default"], (*path, "default"))
        return (*rules, Rule("*", side, self.place((*path, "default"))))

    def side(self, table: Mapping[str, Any], path: Path) -> Choice:
        """`take = "ours"`."""
        if "take" not in table:
            raise self.wrong(path, f"the rule has no take: one of {', '.join((*VERSIONS, LEAVE))}")
        return self._side(table["take"], (*path, "take"))

    def _side(self, said: object, path: Path) -> Choice:
        return Choice(self.said(path, lambda: otherwise_of("texts", said)))

    def otherwise(self, said: object) -> dict[Clash | None, str]:
        """`otherwise = "ours"`, or a table of what is taken for each kind of conflict."""
        if isinstance(said, str):
            return {None: self.said(("otherwise",), lambda: otherwise_of("otherwise", said))}
        words = tuple(word for word in OTHERWISE if word not in ("otherwise", "texts"))
        table = self.only(said, ("otherwise",), (*words, "default"))
        found = {}
        for key, value in table.items():
            word = "otherwise" if key == "default" else key
            found[OTHERWISE[word]] = self._otherwise(word, value, ("otherwise", key))
        return found

    def _otherwise(self, word: str, said: object, path: Path) -> str:
        return self.said(path, lambda: otherwise_of(word, said))

    def choice(self, table: Mapping[str, Any], path: Path) -> Choice:
        """`method = "ties"` and `with = { density = 0.2 }`."""
        if not isinstance(table.get("method"), str):
            raise self.wrong((*path, "method"), 'say which method, such as method = "ties"')
        name = table["method"]
        method = None if name in (LEAVE, ROWS) else self.said((*path, "method"), lambda: self.methods.get(name))
        within = (*path, "with")
        given = table.get("with", {})
        if not isinstance(given, dict):
            raise self.wrong(within, "with must be a table of parameters, such as with = { density = 0.2 }")
        read = {key: self._value(value, (*within, key)) for key, value in given.items()}
        for key, value in read.items():  # each on its own first, so that an error is at its place
            self.said((*within, key), partial(checked, name, method, key, value))
        made = self.said((*path, "method"), lambda: choice(name, read, self.methods.get))
        return replace(made, places={key: self.place((*within, key)) for key in read})

    def _value(self, said: object, path: Path) -> object:
        """A parameter's value, with gradients as such."""
        if isinstance(said, list):
            return [self._value(value, (*path, number)) for number, value in enumerate(said)]
        if not isinstance(said, dict):
            return said
        points = self.only(said, path, ("gradient",)).get("gradient")
        if not isinstance(points, list) or not points:
            raise self.wrong((*path, "gradient"), "a gradient is a list of numbers, such as {gradient = [0.1, 0.9]}")
        for number, point in enumerate(points):
            if isinstance(point, bool) or not isinstance(point, int | float):
                raise self.wrong((*path, "gradient", number), f"a gradient is a list of numbers: {point!r} is none")
        return Gradient(tuple(points))
