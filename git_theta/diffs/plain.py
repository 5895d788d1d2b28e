"""A checkpoint as plain text for git's own tools: one line for each group, which changes if, and only if, it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from git_theta.diffs.words import group_text
from git_theta.metadata import Metadata
from git_theta.printing import group_name, printable

PREFIX: Final = "git-theta textconv: "
"""The text begins so: `git blame` gives what it made of a worktree file to the clean filter, which has to know it."""

_DIGITS: Final = 16
"""Of a digest, so many hexadecimal digits tell two values apart as well as anybody could wish."""


def lines(metadata: Metadata, values: Mapping[str, str] | None) -> Iterator[str]:
    """The lines of the text, without line breaks.

    No line depends on another one, nor on how a group is kept: each stays the same as long as its group does.

    Args:
        metadata: the checkpoint.
        values: what it says beside its groups, if that is known.
    """
    yield PREFIX + printable(metadata.format)
    for name, value in (values or {}).items():
        yield f"{printable(name)}: {printable(value)}"
    for entry in metadata.entries:
        yield f"{group_name(entry.name)}  {group_text(entry)}  {entry.digest[:_DIGITS]}"
    yield f"(bytes outside of the groups)  [{metadata.skeleton.size}]  {metadata.skeleton.digest[:_DIGITS]}"
