"""The page that `git theta diff --html` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from git_theta import __version__
from git_theta.cli.boundary import printable
from git_theta.cli.terminal import say
from git_theta.diffs.report import html, most_changed
from git_theta.errors import CompareError

if TYPE_CHECKING:
    from git_theta.diffs.changes import CheckpointDiff
    from git_theta.flows.diff import Differ
    from git_theta.flows.versions import Version


def write(file: Path, found: Sequence[tuple[CheckpointDiff, tuple[Version, Version]]], differ: Differ) -> None:
    """Write the report, and say where it is.

    Args:
        file: to write; what it holds is replaced.
        found: diffs, and the versions that they compare.
        differ: reads the values for the histograms.

    Raises:
        CompareError: the file cannot be written.
    """
    if not file.parent.is_dir():
        raise CompareError(f"the report cannot be written: there is no directory {file.parent}")
    diffs = [diff for diff, _ in found]
    chosen = most_changed(diffs)
    histograms = [differ.histograms(changes, *versions) for (_, versions), changes in zip(found, chosen, strict=True)]
    try:
        file.write_text(html(diffs, histograms, f"Git-Theta {__version__}"), encoding="utf-8")
    except OSError as error:
        raise CompareError(f"the report cannot be written: {file}: {error.strerror}") from error
    noun = "checkpoint" if len(diffs) == 1 else "checkpoints"
    say(f"{printable(str(file))}: {len(diffs)} changed {noun}")
