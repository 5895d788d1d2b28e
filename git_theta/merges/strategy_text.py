"""Strategies as one line of text, as in GIT_THETA_MERGE: `ties density=0.2 weight=0.5,0.7 texts=ours`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from git_theta.errors import MergeError
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Clash
from git_theta.merges.draws import SEED
from git_theta.merges.fitting import ROWS
from git_theta.merges.recipes import otherwise_of, parse_recipe
from git_theta.merges.strategies import LEAVE, OTHERWISE, Strategy, choice
from git_theta.registry import Family

RECIPE: Final = "recipe:"
_ENDING: Final = ".toml"
_SPACE: Final = re.compile(r"[\s;]+")


def parse_strategy(text: str, methods: Family[MergeMethod], read: Callable[[str], bytes]) -> Strategy:
    """The strategy that a line of text says.

    Args:
        text: `METHOD [NAME=VALUE]...`, or `[NAME=VALUE]... recipe:PATH` (the rest of the line is the path), or the path
            of a recipe alone if it ends with ".toml". A semicolon serves as a space, since attributes cannot have any.
        methods: the merge methods.
        read: the content of a recipe, by its path.

    Raises:
        MergeError: the text, or the recipe, is not understood.
        PluginError: there is no such method, or it is a plug-in and broken.
    """
    before, is_recipe, path = text.strip().partition(RECIPE)
    words = [word for word in _SPACE.split(before) if word]
    if not is_recipe and len(words) == 1 and words[0].endswith(_ENDING):
        words, path, is_recipe = [], words[0], RECIPE
    if is_recipe:
        if not path or not all("=" in word for word in words):
            raise MergeError(f"{text!r} is no strategy: write {RECIPE}PATH, with what is said besides before it")
        return _of_recipe(parse_recipe(read(path), path, methods), _pairs(words))
    if not words:
        raise MergeError("the strategy is empty: name a merge method, or a recipe as recipe:PATH")
    return _of_method(words[0], _pairs(words[1:]), methods)


def compose(
    method: str | None, given: Iterable[tuple[str, str]], recipe: str | None, *, seed: int | None = None
) -> str:
    """The text that `parse_strategy` reads, of a method or a recipe and what is said besides."""
    words = [f"{name}={value}" for name, value in given] + ([] if seed is None else [f"{SEED.name}={seed}"])
    name = LEAVE if method is None else method
    return " ".join([*words, f"{RECIPE}{recipe}"] if recipe is not None else [name, *words])


def _of_method(name: str, pairs: Mapping[str, str], methods: Family[MergeMethod]) -> Strategy:
    table = {} if name in (LEAVE, ROWS) else {one.name: one for one in methods.get(name).parameters}
    given: dict[str, object] = {}
    for key, value in pairs.items():
        if key not in OTHERWISE:
            given[key] = table[key].parse(value) if key in table else value
    # A seed may be said for any method, as it may for a whole recipe.
    if SEED.name in given and SEED.name not in table:
        _seed(str(given.pop(SEED.name)))
    said, otherwise = choice(name, given, methods.get), _otherwise(pairs)
    # "conflict" alone is a decision to decide nothing; with words for the rest, those decide.
    return Strategy(None if name == LEAVE and otherwise else said, otherwise=otherwise)


def _of_recipe(strategy: Strategy, pairs: Mapping[str, str]) -> Strategy:
    for key in pairs:
        if key != SEED.name and key not in OTHERWISE:
            raise MergeError(f"{key} cannot be said besides a recipe; {', '.join((SEED.name, *OTHERWISE))} can")
    seeded = strategy.seeded(_seed(pairs[SEED.name])) if SEED.name in pairs else strategy
    return replace(seeded, otherwise={**seeded.otherwise, **_otherwise(pairs)})


def _otherwise(pairs: Mapping[str, str]) -> dict[Clash | None, str]:
    return {OTHERWISE[key]: otherwise_of(key, value) for key, value in pairs.items() if key in OTHERWISE}


def _seed(text: str) -> int:
    seed = SEED.parse(text)
    assert isinstance(seed, int)
    return seed


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, is_pair, value = word.partition("=")
        if not is_pair or not name or not value:
            raise MergeError(f"{word!r} is no parameter: write NAME=VALUE")
        if name in pairs:
            raise MergeError(f"the parameter {name} is given twice")
        pairs[name] = value
    return pairs
