"""The groups of a checkpoint as a table, and one group's values in a few lines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from git_theta.diffs.bars import bars, number
from git_theta.diffs.compare import compare, kept_bytes, summary, update_text
from git_theta.diffs.look import Look
from git_theta.diffs.spread import Spread
from git_theta.diffs.statistics import Histogram
from git_theta.diffs.words import size_text
from git_theta.metadata import Entry, Metadata, Update
from git_theta.printing import group_name, printable, width

_DIGEST: Final = 12
_NOT_KEPT: Final = "(not kept yet)"
_RIGHT: Final = ("shape", "size", "kept")


def table(metadata: Metadata, entries: Sequence[Entry]) -> list[str]:
    """A line for each group: name, dtype, shape, size, what is kept for it (chain and bytes), and its digest.

    Args:
        metadata: the checkpoint.
        entries: those of its groups that are shown.
    """
    kept = kept_by_group(metadata)
    titles = ("group", "dtype", "shape", "size", "kept", "as", "digest")
    rows = [
        (
            group_name(entry.name),
            entry.dtype,
            shape_text(entry.shape),
            size_text(entry.nbytes),
            size_text(kept[entry.name]) if entry.update.type else "",
            chain_text(entry.update),
            entry.digest[:_DIGEST],
        )
        for entry in entries
    ]
    return _columns([titles, *rows])


def total(metadata: Metadata) -> str:
    """A line about the whole checkpoint."""
    count = len({ref.oid for ref in metadata.objects()})
    kept = summary(compare(None, metadata, "", "")).kept_bytes
    groups = len(metadata.entries)
    return (
        f"{groups} group{'s' * (groups != 1)}, {size_text(metadata.size)} ({metadata.format}); "
        f"{count} object{'s' * (count != 1)}, {size_text(kept)} kept"
    )


def texts(values: Mapping[str, str]) -> list[str]:
    """A line for each value beside the groups."""
    return [f"{printable(name)}: {printable(value)}" for name, value in values.items()]


def kept_by_group(metadata: Metadata) -> dict[str, int]:
    """Bytes that the store has for each group; of an object that several share, each has its part."""
    return kept_bytes(compare(None, metadata, "", ""))


def spread_lines(spread: Spread) -> list[str]:
    """The figures of a group's values."""
    share = f" ({100 * spread.zeros / spread.count:.3g} %)" if spread.count else ""
    figures: dict[str, str] = {
        "values": str(spread.count),
        "minimum": _maybe(spread.minimum),
        "maximum": _maybe(spread.maximum),
        "mean": _maybe(spread.mean),
        "std. deviation": _maybe(spread.deviation),
        "norm": number(spread.norm),
        "zeros": f"{spread.zeros}{share}",
        "NaN": str(spread.nans),
        "infinite": str(spread.infinities),
    }
    return _columns([(f"{name}:", text) for name, text in figures.items()])


def histogram_lines(histogram: Histogram, look: Look) -> list[str]:
    """The histogram of a group's values, drawn."""
    return bars(histogram.new, histogram.edges, look.blocks)


def chain_text(update: Update) -> str:
    """How values are kept, with all that they build on: "sparse on 3 x delta on dense"."""
    if not update.type:
        return _NOT_KEPT
    words, rest = _line(update)
    runs = [(word, len(list(run))) for word, run in itertools.groupby(words)]
    texts = [word if count == 1 else f"{count} x {word}" for word, count in runs]
    if rest:
        texts.append(f"({'; '.join(chain_text(base) for base in rest)})")
    return " on ".join(texts)


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it."""
    return "x".join(map(str, shape)) if shape else "scalar"


def _line(update: Update) -> tuple[list[str], tuple[Update, ...]]:
    """The types of an update and of what it builds on, up to where that is several; and these."""
    words = []
    while True:
        words.append(printable(update_text(update)))
        # A correction is named together with what it corrects.
        step = update.bases[0] if update.is_correction else update
        if len(step.bases) != 1:
            return words, step.bases
        update = step.bases[0]


def _maybe(value: float | None) -> str:
    return "none" if value is None else number(value)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows with each column as wide as it must be; numbers stand to the right."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    right = [title in _RIGHT for title in rows[0]]
    return [
        "  ".join(
            _padded(cell, size, is_right=is_right) for cell, size, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def _padded(text: str, size: int, *, is_right: bool) -> str:
    blank = " " * (size - width(text))
    return blank + text if is_right else text + blank
