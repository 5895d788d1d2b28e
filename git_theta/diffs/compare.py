"""What changed between two versions of a checkpoint, told from their metadata alone: no value is read."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind, ValueChange
from git_theta.metadata import Entry, Metadata, ObjectRef, Update


class Summary(Struct, frozen=True):
    """A diff in five numbers.

    Attributes:
        groups_changed: groups that differ; one that was renamed counts once.
        groups: of the new version and, besides, those that were removed.
        bytes_changed: bytes of the values of the groups that differ; a group that was only renamed has none.
        bytes: of all values of those groups.
        kept_bytes: of the objects that the new version needs and the old one did not; if groups were left out, the
            part that the others have in them.
    """

    groups_changed: int
    groups: int
    bytes_changed: int
    bytes: int
    kept_bytes: int


def compare(old: Metadata | None, new: Metadata | None, old_path: str, new_path: str) -> CheckpointDiff:
    """Compare two versions of a checkpoint.

    A group is known by its name. What has a new name and the values, dtype and shape of a group that is gone counts
    as renamed; of several that are alike, the first goes with the first. The work grows with the number of groups.

    Args:
        old: the version before; None if there was none.
        new: the version after; None if there is none.
        old_path: where the checkpoint was.
        new_path: where it is.
    """
    before = {} if old is None else old.by_name()
    after = {} if new is None else new.by_name()
    origins = _renamed(before, after)
    gone = _gone(before, after, origins)
    changes = [GroupChange(Kind.REMOVED, entry, None) for entry in gone.get(None, ())]
    for name, entry in after.items():
        was = before.get(name) or origins.get(name)
        if was is None or was.identity != entry.identity or was.name != name:
            changes.append(GroupChange(_kind(was, entry), was, entry))
        if was is not None:
            changes += [GroupChange(Kind.REMOVED, entry, None) for entry in gone.get(was.name, ())]
    return CheckpointDiff(old_path, new_path, old, new, tuple(changes))


def part(diff: CheckpointDiff, wanted: Callable[[str], bool]) -> CheckpointDiff:
    """What a diff says of some groups. One that was renamed counts if either of its names is wanted.

    Both versions stay whole, so that it can be told where in the file the groups are, and with whom they share objects.
    """
    changes = tuple(
        change
        for change in diff.changes
        if any(entry is not None and wanted(entry.name) for entry in (change.old, change.new))
    )
    chosen = {change.name for change in changes}
    entries = () if diff.new is None else diff.new.entries
    left_out = frozenset(entry.name for entry in entries if entry.name not in chosen and not wanted(entry.name))
    return replace(diff, changes=changes, values=(), left_out=left_out)


def changed_values(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[ValueChange, ...]:
    """What differs between the values that are no groups.

    Args:
        old: short texts by name (`checkpoints.Format.values`).
        new: the same of the new version.

    Returns:
        In the order of the old version; what was added comes last.
    """
    names = dict.fromkeys([*old, *new])
    pairs = ((name, old.get(name), new.get(name)) for name in names)
    return tuple(ValueChange(name, was, value) for name, was, value in pairs if was != value)


def unchanged(diff: CheckpointDiff) -> Iterator[Entry]:
    """The groups of the new version that did not change, in file order; none that were left out."""
    changed = {change.new.name for change in diff.changes if change.new is not None}
    entries = () if diff.new is None or diff.old is None else diff.new.entries
    return (entry for entry in entries if entry.name not in changed and entry.name not in diff.left_out)


def summary(diff: CheckpointDiff) -> Summary:
    """A diff in five numbers."""
    removed = [change.entry for change in diff.changes if change.new is None]
    # Of a checkpoint that is gone all groups were removed, be they looked at or not.
    entries = [*diff.new.entries, *removed] if diff.new is not None else list(diff.old.entries) if diff.old else []
    return Summary(
        groups_changed=len(diff.changes),
        groups=len(entries),
        bytes_changed=sum(change.entry.nbytes for change in diff.changes if change.kind is not Kind.RENAMED),
        bytes=sum(entry.nbytes for entry in entries),
        kept_bytes=sum(kept_bytes(diff).values() if diff.left_out else (ref.size for ref in _new_objects(diff))),
    )


def kept_bytes(diff: CheckpointDiff) -> dict[str, int]:
    """What each changed group adds to the store: bytes of the objects that the old version does not need.

    Of an object that several groups share, each has a part as large as its values are.

    Returns:
        By the new name of each changed group that is not removed.
    """
    new = {ref.oid for ref in _new_objects(diff)}
    users: dict[str, int] = defaultdict(int)
    refs: dict[str, dict[str, ObjectRef]] = {}
    for entry in () if diff.new is None else diff.new.entries:
        refs[entry.name] = {ref.oid: ref for ref in entry.update.objects() if ref.oid in new}
        for oid in refs[entry.name]:
            users[oid] += entry.nbytes
    return {
        change.new.name: sum(
            ref.size * change.new.nbytes // max(users[oid], 1) for oid, ref in refs[change.new.name].items()
        )
        for change in diff.changes
        if change.new is not None
    }


def update_text(update: Update) -> str:
    """The type of an update in words; a correction is named with what it corrects ("low-rank + delta")."""
    return f"{update.bases[0].type} + {update.type}" if update.is_correction else update.type


def _new_objects(diff: CheckpointDiff) -> Iterator[ObjectRef]:
    known = set() if diff.old is None else {ref.oid for ref in diff.old.objects()}
    return (ref for ref in (() if diff.new is None else diff.new.objects()) if ref.oid not in known)


def _renamed(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, Entry]:
    """For the new name of each renamed group, the group that it was."""
    lost: dict[Hashable, deque[Entry]] = defaultdict(deque)
    for name, entry in before.items():
        if name not in after:
            lost[entry.identity].append(entry)
    found = {}
    for name, entry in after.items():
        if name not in before and lost.get(entry.identity):
            found[name] = lost[entry.identity].popleft()
    return found


def _gone(
    before: Mapping[str, Entry], after: Mapping[str, Entry], origins: Mapping[str, Entry]
) -> dict[str | None, list[Entry]]:
    """The groups that were removed, by the old name of the last group before them that is still there."""
    renamed = {entry.name for entry in origins.values()}
    found: dict[str | None, list[Entry]] = defaultdict(list)
    place = None
    for name, entry in before.items():
        if name in after or name in renamed:
            place = name
        else:
            found[place].append(entry)
    return found


def _kind(old: Entry | None, new: Entry) -> Kind:
    if old is None:
        return Kind.ADDED
    if old.name != new.name:
        return Kind.RENAMED
    if old.dtype != new.dtype:
        return Kind.RETYPED
    return Kind.RESHAPED if old.shape != new.shape else Kind.MODIFIED
