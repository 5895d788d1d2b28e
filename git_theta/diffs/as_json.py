"""What changed in checkpoints as JSON, for programs (specified in docs/diff.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind, Statistics
from git_theta.diffs.compare import kept_bytes, summary, unchanged, update_text
from git_theta.metadata import Entry, Metadata

VERSION: Final = 1


def report(diffs: Iterable[CheckpointDiff]) -> dict[str, Any]:
    """All diffs as one JSON object."""
    return {"version": VERSION, "checkpoints": [checkpoint(diff) for diff in diffs]}


def text(diffs: Iterable[CheckpointDiff]) -> str:
    """All diffs as JSON text."""
    return json.dumps(report(diffs), indent=1, allow_nan=False)


def checkpoint(diff: CheckpointDiff) -> dict[str, Any]:
    """One diff as a JSON object."""
    kept = kept_bytes(diff)
    counted = summary(diff)
    return {
        "old_path": diff.old_path,
        "new_path": diff.new_path,
        "old": _version(diff.old),
        "new": _version(diff.new),
        "changes": [_change(change, kept.get(change.name)) for change in diff.changes],
        "values": [{"name": value.name, "old": value.old, "new": value.new} for value in diff.values],
        "unchanged": [
            {"group": entry.name, "dtype": entry.dtype, "shape": list(entry.shape), "nbytes": entry.nbytes}
            for entry in unchanged(diff)
        ],
        "summary": {
            "groups_changed": counted.groups_changed,
            "groups": counted.groups,
            "bytes_changed": counted.bytes_changed,
            "bytes": counted.bytes,
            "kept_bytes": counted.kept_bytes,
        },
    }


def number(value: float | None) -> float | str | None:
    """A number as JSON can have it: "inf", "-inf" or "nan" where it is not finite."""
    return value if value is None or math.isfinite(value) else str(value)


def _version(metadata: Metadata | None) -> dict[str, Any] | None:
    if metadata is None:
        return None
    return {"format": metadata.format, "size": metadata.size, "groups": len(metadata.entries)}


def _change(change: GroupChange, kept: int | None) -> dict[str, Any]:
    found = change.statistics or Statistics(None, None, None, None, is_exact=False)
    is_kept = change.new is not None and change.kind is not Kind.RENAMED and bool(change.new.update.type)
    return {
        "group": change.name,
        "kind": str(change.kind),
        "old": _group(change.old),
        "new": _group(change.new),
        "relative": number(found.relative),
        "largest": number(found.largest),
        "changed": number(found.changed),
        "cosine": number(found.cosine),
        "exact": None if change.statistics is None else found.is_exact,
        "update": update_text(change.new.update) if is_kept and change.new is not None else None,
        "kept_bytes": kept if is_kept else None,
    }


def _group(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "name": entry.name,
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "nbytes": entry.nbytes,
        "digest": entry.digest,
    }
