"""What git puts before the paths of both sides in the head of a diff: a/ and b/, unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from git_theta.git import command
from git_theta.git.caller import before_paths
from git_theta.settings import is_false

USUAL: Final = ("a/", "b/")

_NONE: Final = ("", "")
_KEYS: Final = r"^diff\.(noprefix|mnemonicprefix|srcprefix|dstprefix)$"
_FOR_SCRIPTS: Final = ("diff-files", "diff-index", "diff-tree")
"""Git does not follow these settings there."""

_OWN: Final = {"--no-prefix": _NONE, "--default-prefix": USUAL}
_SIDES: Final = ("--src-prefix", "--dst-prefix")


def prefixes(words: Sequence[str], cwd: Path) -> tuple[str, str]:
    """The prefixes of the old and the new side.

    Git tells its diff drivers neither what is set nor what its own command line says.

    Args:
        words: the verb and the arguments of the git command that shows the diff, as far as they are known.
        cwd: a directory whose configuration counts.
    """
    if words and words[0] in _FOR_SCRIPTS:
        return from_options(words, USUAL)
    return from_options(words, from_settings(_configured(cwd), partial(_mnemonic, words, cwd)))


def from_settings(configured: dict[str, str | None], mnemonic: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """What the configuration says.

    Args:
        configured: values by key, None for a key without one.
        mnemonic: finds the prefixes that name what is compared (diff.mnemonicPrefix).
    """
    if _is_on(configured, "diff.noprefix"):
        return _NONE
    if _is_on(configured, "diff.mnemonicprefix"):
        return mnemonic()
    source, target = configured.get("diff.srcprefix"), configured.get("diff.dstprefix")
    return (USUAL[0] if source is None else source, USUAL[1] if target is None else target)


def from_options(words: Sequence[str], found: tuple[str, str]) -> tuple[str, str]:
    """What the options of git diff make of the prefixes: the last one wins, and -R swaps the sides."""
    is_reversed = False
    rest = list(words)
    while rest and rest[0] != "--":
        name, has_value, value = rest.pop(0).partition("=")
        if name in _OWN and not has_value:
            found = _OWN[name]
        elif name in _SIDES and (has_value or rest):
            text = value if has_value else rest.pop(0)
            found = (text, found[1]) if name == _SIDES[0] else (found[0], text)
        elif name == "-R":
            is_reversed = not is_reversed
    return (found[1], found[0]) if is_reversed else found


def from_comparison(words: Sequence[str], revisions: int) -> tuple[str, str]:
    """The prefixes that name what is compared: a commit, the index, the worktree, or files beside the repository.

    Args:
        words: the verb and the arguments of the git command that shows the diff.
        revisions: how many of the arguments name commits, ends of ranges included.
    """
    if not words or words[0] != "diff":
        return USUAL
    options = set(before_paths(words))
    if "--no-index" in options:
        return ("1/", "2/")
    if options & {"--cached", "--staged"}:
        return ("c/", "i/")
    return {0: ("i/", "w/"), 1: ("c/", "w/")}.get(revisions, USUAL)


def _mnemonic(words: Sequence[str], cwd: Path) -> tuple[str, str]:
    named = ["rev-parse", "--revs-only", "--no-flags", *before_paths(words)[1:]]
    status, output, _ = command.attempt(named, cwd=cwd)
    return from_comparison(words, len(command.lines(output)) if status == 0 else 0)


def _is_on(configured: dict[str, str | None], key: str) -> bool:
    value = configured.get(key, "false")
    return value is None or not is_false(value)


def _configured(cwd: Path) -> dict[str, str | None]:
    status, output, _ = command.attempt(["config", "--null", "--get-regexp", _KEYS], cwd=cwd)
    pairs = (field.partition("\n") for field in command.fields(output)) if status == 0 else ()
    return {key.lower(): value if separator else None for key, separator, value in pairs}
