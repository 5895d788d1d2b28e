"""Lay out the stand-in of a merged checkpoint that is kept by value."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from git_theta import tensors
from git_theta.checkpoints.stand_in import make_skeleton, parse_skeleton
from git_theta.errors import MergeError
from git_theta.flows.merging.plan import OURS, Versions, choose
from git_theta.layout import Layout, Span
from git_theta.metadata import Entry, Metadata

Place = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape of a group."""


def laid_out(
    versions: Versions, entries: Sequence[Entry], skeleton_of: Callable[[Metadata], bytes]
) -> tuple[Layout, bytes]:
    """The layout and the skeleton of a stand-in.

    Args:
        versions: that were merged, all kept by value by one plug-in.
        entries: the merged groups.
        skeleton_of: reads the skeleton of a version.

    Raises:
        MergeError: a group would lie inside of another one.
        PluginError: a skeleton is malformed.
    """
    parsed = [parse_skeleton(skeleton_of(metadata)) for metadata in versions.all()]
    labels = [_labels(metadata, dtypes) for metadata, (dtypes, _) in zip(versions.all(), parsed, strict=True)]
    ordered = sorted(entries, key=lambda entry: tensors.split_name(entry.name))
    _check_apart([tensors.split_name(entry.name) for entry in ordered])
    spans, position = [], 0
    for entry in ordered:
        spans.append(Span(entry.name, entry.dtype, entry.shape, position))
        position = spans[-1].stop
    found = ((entry.name, _label(entry, labels, len(versions.sides))) for entry in ordered)
    skeleton = make_skeleton(
        {name: label for name, label in found if label is not None}, _empty(versions, [empty for _, empty in parsed])
    )
    return Layout(versions.sides[0].format, position + len(skeleton), tuple(spans)), skeleton


def _labels(metadata: Metadata, dtypes: Mapping[str, str]) -> dict[Place, str]:
    """What each group of a version is really; nothing if that is its dtype."""
    return {(entry.name, entry.dtype, entry.shape): dtypes.get(entry.name, "") for entry in metadata.entries}


def _label(entry: Entry, labels: Sequence[Mapping[Place, str]], count: int) -> str | None:
    """What a merged group is really, merged like its values, of the versions that have it in this shape."""
    found = [known.get((entry.name, entry.dtype, entry.shape)) for known in labels]
    old = found[count] if len(found) > count else None
    present = [label for label in found[:count] if label is not None]
    if not present:
        return old or None
    return present[choose(old, present) or OURS] or None


def _check_apart(paths: Sequence[tuple[str, ...]]) -> None:
    """Make sure that no path goes on behind a group; the paths are sorted."""
    for path, following in itertools.pairwise(paths):
        if following[: len(path)] == path:
            name = tensors.join_name(following)
            raise MergeError(f"{name!r} would lie inside of another group: take all of the file from one side")


def _empty(versions: Versions, found: Sequence[Sequence[str]]) -> list[str]:
    """The dicts that hold nothing, merged like groups."""
    lineage, known = versions.lineage, [set(names) for names in found]
    merged = []
    for name in sorted(set().union(*found), key=tensors.split_name):
        side = lineage.choose([name if name in names else None for names in known])
        if side is not None and name in known[side]:
            merged.append(name)
    return merged
