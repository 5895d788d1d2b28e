"""The lines of .gitattributes that track checkpoints (gitattributes(5)). Reading what they mean is left to git."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from git_theta.errors import GitError, UsageError
from git_theta.replacing import replacing

TRACKED: Final = ("filter=theta", "diff=theta", "merge=theta", "-text")
_OURS: Final = re.compile(r"[-!]?(filter|diff|merge|text)(=.*)?", re.DOTALL)
_LINE: Final = re.compile(r'(?P<pattern>"(?:[^"\\]|\\.)*"|[^ \t\r#"][^ \t\r]*)(?P<attributes>[ \t].*)?', re.DOTALL)
_WORD: Final = re.compile(r"[^ \t\r]+")
_ESCAPES: Final = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", '"': '"', "\\": "\\"}
_PLAIN_ESCAPES: Final = {letter: char for char, letter in _ESCAPES.items()}


def track(file: Path, pattern: str) -> bool:
    """Make the pattern's line in a .gitattributes file say that Git-Theta tracks it; False if it did already.

    Other attributes of the line stay as they are.

    Raises:
        UsageError: git could not match such a pattern.
        GitError: the file cannot be read or written.
    """
    _check(pattern)
    return _edit(file, lambda lines: _tracked(lines, pattern))


def untrack(file: Path, pattern: str) -> bool:
    """Take from the pattern's lines what `track` wrote; False if there was nothing to take."""
    return _edit(file, lambda lines: _untracked(lines, pattern))


def tracked_patterns(file: Path) -> list[str]:
    """The patterns that a .gitattributes file gives to Git-Theta, in their order."""
    parsed = (_parse(line) for line in _read(file).split("\n"))
    return [line[0] for line in parsed if line is not None and "filter=theta" in line[1]]


def literal(path: str) -> str:
    """The pattern for a file name in which no character is special; it also holds in subfolders."""
    return re.sub(r"([*?\[\\]|^!)", r"\\\1", path)


def _check(pattern: str) -> None:
    if not pattern or pattern.startswith("!"):
        raise UsageError(f"git knows no pattern {pattern!r} in .gitattributes: negation is not possible there")
    if pattern.startswith("[attr]"):
        raise UsageError(f"git would take {pattern!r} for the definition of a macro")
    if pattern.endswith("/"):
        raise UsageError(f"a pattern that ends with a slash matches no file: try {pattern + '**'!r}")


def _edit(file: Path, change: Callable[[list[str]], list[str]]) -> bool:
    if file.is_symlink():
        raise GitError(f"{file} is a symbolic link, which git does not follow: make it a file")
    text = _read(file)
    lines = text.removesuffix("\n").split("\n") if text else []
    changed = change(lines)
    if changed == lines:
        return False
    try:
        # A full disk must not cost the lines of others.
        with replacing(file) as stream:
            stream.write("".join(f"{line}\n" for line in changed).encode(errors="surrogateescape"))
            if file.exists():
                os.fchmod(stream.fileno(), stat.S_IMODE(file.stat().st_mode))
    except OSError as error:
        raise GitError(f"{file} cannot be written: {error.strerror}") from error
    return True


def _read(file: Path) -> str:
    try:
        # Git passes over a byte order mark; so does this, and drops it when it writes.
        return file.read_bytes().removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise GitError(f"{file} cannot be read: {error.strerror}") from error


def _tracked(lines: list[str], pattern: str) -> list[str]:
    places = [number for number, line in enumerate(lines) if (parsed := _parse(line)) and parsed[0] == pattern]
    if not places:
        return [*lines, " ".join([_quote(pattern), *TRACKED]) + _line_end("".join(lines[-1:]))]
    # Git lets the last line win, so it is the one that has to say so.
    number = places[-1]
    parsed = _parse(lines[number])
    assert parsed is not None
    if [word for word in parsed[1] if _OURS.fullmatch(word)] == list(TRACKED):
        return lines
    others = [word for word in parsed[1] if not _OURS.fullmatch(word)]
    line = " ".join([_quote(pattern), *others, *TRACKED]) + _line_end(lines[number])
    return [*lines[:number], line, *lines[number + 1 :]]


def _untracked(lines: list[str], pattern: str) -> list[str]:
    kept = []
    for line in lines:
        parsed = _parse(line)
        if parsed is None or parsed[0] != pattern or "filter=theta" not in parsed[1]:
            kept.append(line)
        elif others := [word for word in parsed[1] if word not in TRACKED]:
            kept.append(" ".join([_quote(pattern), *others]) + _line_end(line))
    return kept


def _line_end(line: str) -> str:
    return "\r" if line.endswith("\r") else ""


def _parse(line: str) -> tuple[str, list[str]] | None:
    """Pattern and attributes of a line; None for a comment, an empty line or a macro definition."""
    found = _LINE.fullmatch(line.strip(" \t\r"))
    if found is None or found["pattern"].startswith("[attr]"):
        return None
    return _unquote(found["pattern"]), _WORD.findall(found["attributes"] or "")


def _quote(pattern: str) -> str:
    """The pattern as .gitattributes needs it: quoted like a C string where it must be."""
    if not re.search(r'[\s"]|^#', pattern):
        return pattern
    return '"' + "".join(f"\\{_ESCAPES[char]}" if char in _ESCAPES else char for char in pattern) + '"'


def _unquote(word: str) -> str:
    if not word.startswith('"'):
        return word
    data = word[1:-1].encode(errors="surrogateescape")
    return re.sub(rb"\\([0-3][0-7]{2}|.)", _unescape, data, flags=re.DOTALL).decode(errors="surrogateescape")


def _unescape(found: re.Match[bytes]) -> bytes:
    escape = found[1].decode(errors="surrogateescape")
    if len(escape) == 3:
        return bytes([int(escape, 8)])
    return _PLAIN_ESCAPES.get(escape, escape).encode(errors="surrogateescape")
