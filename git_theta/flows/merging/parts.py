"""All that is no group in files that are maps within maps, merged part by part (`checkpoints.Nested`).

A map that no side took out stays, even if all that it held is gone; one that was taken out stays if something is in it.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from git_theta import tensors
from git_theta.checkpoints import ARRAY, MAP
from git_theta.flows.merging.plan import Lineage, Step, Versions, identity
from git_theta.flows.merging.texts import MergedTexts, Texts, merge_texts
from git_theta.merges.decisions import Clash, Conflict
from git_theta.metadata import Entry


class Parts:
    """What a version consists of besides its groups' values.

    Attributes:
        texts: as its format tells them, but for those that only say more about a group.
    """

    def __init__(self, texts: Texts, groups: Mapping[str, Entry | None]) -> None:
        """Args: texts: of its parts, by name; groups: its groups, by name."""
        self.texts = {name: text for name, text in texts.items() if name not in groups}
        self._groups = groups

    def kind(self, name: str) -> str | None:
        """What is at a path: MAP, ARRAY, another text for any other value, or None for nothing."""
        text = self.texts.get(name)
        return ARRAY if name in self._groups or is_about_group(text) else text

    def content(self, name: str) -> Hashable:
        """What is at a path: another group, or another text, is another content."""
        return identity(self._groups.get(name)) or self.texts.get(name)

    def below(self, name: str) -> Iterator[str]:
        """The names of the parts below a path."""
        for found in self._sorted[bisect.bisect(self._sorted, f"{name}/") :]:
            if not found.startswith(f"{name}/"):
                break
            yield found

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.texts)


def is_about_group(text: str | None) -> bool:
    """Whether a part only says more about a group."""
    return text is not None and text.startswith(ARRAY)


def merge_parts(versions: Versions, parts: Sequence[Parts], steps: Sequence[Step]) -> MergedTexts:
    """Merge part by part.

    Where a version has a map, another one a value or a group, and both would have to be there, all that is at the path
    and below is one conflict, groups included.

    Args:
        versions: that are merged.
        parts: of each version.
        steps: what becomes of the groups.
    """
    undecided = [
        [*names, *(below for name in names for below in each.below(name))]
        for names, each in zip((metadata.skeleton.undecided for metadata in versions.all()), parts, strict=True)
    ]
    merged = merge_texts([each.texts for each in parts], versions.lineage, undecided)
    clashes = _clashes(parts, merged, steps, versions.lineage)
    conflicts = [conflict for conflict in merged.conflicts if not covers(clashes, conflict.name)]
    sides = {name: side for name, side in merged.sides.items() if not covers(clashes, name)}
    conflicts += [_conflict(name, versions, parts) for name in clashes]
    return MergedTexts(sides, tuple(conflicts), tuple(clashes))


def covers(names: Collection[str], name: str) -> bool:
    """Whether one of the names is this one, or a path that it goes through."""
    return name in names or any(holder in names for holder in _holders(name))


def with_all_below(taken: Mapping[str, int], wholes: Collection[str], parts: Sequence[Parts]) -> dict[str, int]:
    """What is taken from other versions, with all that is below paths that are taken as a whole.

    Args:
        taken: for each part, the version that it is taken from.
        wholes: the paths.
        parts: of each version.
    """
    found = dict(taken)
    for name in wholes:
        if name in taken:
            found |= {below: taken[name] for each in parts for below in each.below(name)}
    return found


def groups_of(
    wholes: Iterable[str], texts: Mapping[str, int], followed: int, versions: Versions
) -> list[tuple[Entry, int]]:
    """The groups of those paths that are taken with all that lies below them, and the versions that they are of.

    Args:
        wholes: the paths.
        texts: for each of them, the version that it is taken from, if that is not the one that is followed.
        followed: the version that all else is of.
        versions: that are merged.
    """
    numbers = {name: texts.get(name, followed) for name in wholes}
    return [
        (entry, number)
        for name, number in numbers.items()
        for entry in versions.all()[number].entries
        if covers((name,), entry.name)
    ]


def lost(parts: Sequence[Parts], taken: Mapping[str, int], followed: int, found: Parts) -> list[str]:
    """The names of parts that a merged file does not have as they should be.

    Args:
        parts: of each version.
        taken: as `with_all_below` gives it.
        followed: the version that all other parts are of.
        found: in the merged file.
    """
    names = dict.fromkeys(name for each in (*parts, found) for name in each.texts)
    expected = {name: parts[taken.get(name, followed)].texts.get(name) for name in names}
    wrong = []
    for name, text in expected.items():
        other = found.texts.get(name)
        is_needed = text is None and other == MAP  # It holds something, or else it would have been taken out.
        if text != other and not (is_needed or is_about_group(text) or is_about_group(other)):
            wrong.append(name)
    return wrong


def _clashes(parts: Sequence[Parts], merged: MergedTexts, steps: Sequence[Step], lineage: Lineage) -> list[str]:
    """The paths at which something would have to be a map and something else, the outermost ones."""
    names = _names(parts)
    suspects = [name for name in names if len({_sort(each.kind(name)) for each in parts} - {None}) > 1]
    if not suspects:
        return []
    asked = {conflict.name for conflict in merged.conflicts}
    groups = {step.name for step in steps if step.entry is not None or step.conflict is not None}
    left = [name for name in names if name in asked or _kept(name, parts, merged) is not None]
    holders = {holder for name in (*left, *groups) for holder in _holders(name)}

    def is_clash(name: str) -> bool:
        kept = _kept(name, parts, merged)
        is_both = name in groups and kept is not None and kept.kind(name) != ARRAY
        is_holder = name in holders and (name in groups or (kept is not None and kept.kind(name) != MAP))
        return name in asked or is_both or is_holder or lineage.choose([each.content(name) for each in parts]) is None

    found: list[str] = []
    for name in suspects:
        if is_clash(name) and not covers(found, name):
            found.append(name)
    return found


def _names(parts: Sequence[Parts]) -> list[str]:
    """All names of parts, what holds others first."""
    return sorted({name for each in parts for name in each.texts}, key=lambda name: (name.count("/"), name))


def _sort(kind: str | None) -> str | None:
    return kind if kind in (None, MAP, ARRAY) else ""


def _kept(name: str, parts: Sequence[Parts], merged: MergedTexts) -> Parts | None:
    """The version whose part is taken, if there is one there."""
    taken = parts[merged.sides.get(name, 0)]
    return taken if name in taken.texts else None


def _holders(name: str) -> Iterator[str]:
    """The paths that a path goes through."""
    path = tensors.split_name(name)
    return (tensors.join_name(path[:depth]) for depth in range(1, len(path)))


def _conflict(name: str, versions: Versions, parts: Sequence[Parts]) -> Conflict:
    lineage = versions.lineage
    found = [each.texts.get(name, each.kind(name)) for each in parts]
    old = None if lineage.ancestor is None else found[lineage.ancestor]
    return Conflict(name, Clash.TEXT, None, (None,) * lineage.count, (old, *found[: lineage.count]))
