"""The checkpoints of several commits, path by path: which are taken from one of them, and which meet.

Commits and trees are read, and the metadata files that meet; nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct, field

from git_theta.errors import MetadataError
from git_theta.flows.merging.plan import OURS, Versions, pick
from git_theta.git.repository import FileEntry, Repository
from git_theta.metadata import Metadata
from git_theta.metadata_file import parse

Files = dict[str, FileEntry]
"""What is at each path from the top."""

_REMOVED: Final = "one side removed it, and another changed it"


class State(Struct, frozen=True):
    """The checkpoints of a commit, or of what several ancestors of a merge are together.

    Attributes:
        commits: the one, or the ancestors.
        others: the paths of other files.
        checkpoints: by path.
        made: those that are in no commit, by the names that their blobs would have.
    """

    commits: tuple[str, ...]
    others: frozenset[str]
    checkpoints: Files
    made: Mapping[str, Metadata] = field(default_factory=dict)

    @classmethod
    def of(cls, repository: Repository, commit: str) -> State:
        """That of a commit."""
        files, blobs = repository.tree_entries(commit), repository.metadata_blobs(commit)
        checkpoints = {path: entry for path, entry in files.items() if path in blobs}
        return cls((commit,), frozenset(files.keys() - checkpoints.keys()), checkpoints)

    def read(self, repository: Repository, path: str) -> Metadata | None:
        """A checkpoint; None if it is not there.

        Raises:
            MetadataError: it cannot be read.
        """
        entry = self.checkpoints.get(path)
        if entry is None:
            return None
        return self.made[entry.oid] if entry.oid in self.made else read(repository, path, entry)

    def following(self, moves: Mapping[str, str], without: set[str]) -> State:
        """The same with checkpoints at other paths, and some left out."""
        kept = {path: entry for path, entry in self.checkpoints.items() if path not in without}
        moved = {moves.get(path, path): entry for path, entry in kept.items()}
        return State(self.commits, self.others, moved, self.made)


class Past(Struct, frozen=True):
    """What the sides of a merge come from.

    Attributes:
        ancestor: of all; None if there is none.
        pairs: what two of the sides come from (None for nothing), where that is something else: by their numbers, the
            smaller one first.
    """

    ancestor: State | None
    pairs: Mapping[tuple[int, int], State | None] = field(default_factory=dict)

    def states(self) -> list[State]:
        """All that there are, the ancestor first."""
        return [state for state in (self.ancestor, *self.pairs.values()) if state is not None]

    def between(self, one: int, two: int) -> State | None:
        """What two sides come from."""
        return self.pairs.get((min(one, two), max(one, two)), self.ancestor)

    def entry(self, path: str, one: int, two: int) -> FileEntry | None:
        """What is at a path in what two sides come from."""
        return _entry(self.between(one, two), path)


class Meeting(Struct, frozen=True):
    """A checkpoint that several sides changed, each in its own way.

    Attributes:
        path: where it shall be.
        mode: of the file.
        versions: that are merged.
        present: the sides that have it, by number: those of `versions`.
    """

    path: str
    mode: str
    versions: Versions
    present: tuple[int, ...]


class Met(Struct, frozen=True):
    """What becomes of the checkpoints of several sides.

    Attributes:
        taken: what is at the paths of checkpoints that need no merge; None for nothing.
        from_sides: the side that each of those is taken from, by number; None if no side changed it.
        meetings: those that need one.
        problems: by path, why a checkpoint cannot be merged.
        moves: the new paths of those that a side renamed, by the old path.
    """

    taken: Mapping[str, FileEntry | None]
    from_sides: Mapping[str, int | None]
    meetings: tuple[Meeting, ...]
    problems: Mapping[str, str]
    moves: Mapping[str, str]


def meet(repository: Repository, sides: Sequence[State], past: Past) -> Met:
    """Compare sides.

    Raises:
        MetadataError: a metadata file cannot be read.
    """
    mixed = _mixed([*sides, *past.states()])
    sides = [side.following({}, mixed) for side in sides]
    ancestor = None if past.ancestor is None else past.ancestor.following({}, mixed)
    moves, problems = ({}, {}) if ancestor is None else _moves(repository, ancestor, sides, past)
    sides = [side.following(moves, set()) for side in sides]
    past = Past(
        None if ancestor is None else ancestor.following(moves, set()),
        {pair: None if state is None else state.following(moves, mixed) for pair, state in past.pairs.items()},
    )
    taken: dict[str, FileEntry | None] = dict.fromkeys(moves)
    from_sides: dict[str, int | None] = {}
    meetings = []
    everywhere = [*sides, *([] if past.ancestor is None else [past.ancestor])]
    for path in sorted({path for state in everywhere for path in state.checkpoints} - problems.keys()):
        entries = [_entry(side, path) for side in sides]
        side = pick(entries, partial(past.entry, path))
        if side is not None:
            is_changed = any(entry != _entry(past.ancestor, path) for entry in entries)
            taken[path], from_sides[path] = entries[side], side if is_changed else None
        elif _is_removed(path, entries, past):
            problems[path] = _REMOVED
        else:
            meetings.append(_meeting(repository, path, sides, past))
    return Met(taken, from_sides, tuple(meetings), problems, moves)


def read(repository: Repository, path: str, entry: FileEntry) -> Metadata:
    """A checkpoint of a commit.

    Raises:
        MetadataError: it cannot be read.
    """
    try:
        return parse(repository.read_blob(entry.oid))
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error


def _entry(state: State | None, path: str) -> FileEntry | None:
    return None if state is None else state.checkpoints.get(path)


def _mixed(states: Iterable[State]) -> set[str]:
    """The paths that have a checkpoint in one state, and something else in another: git's business."""
    listed = list(states)
    checkpoints = {path for state in listed for path in state.checkpoints}
    return {path for state in listed for path in checkpoints & state.others}


def _moves(
    repository: Repository, old: State, sides: Sequence[State], past: Past
) -> tuple[dict[str, str], dict[str, str]]:
    """The paths of checkpoints that a side renamed, by what else they are called anywhere; and problems, by path."""
    renamed = [_renamed(repository, old, side) for side in sides]
    targets: dict[str, set[str]] = {}
    for before, after in (pair for found in renamed for pair in found.items()):
        targets.setdefault(before, set()).add(after)
    wanted = Counter(after for names in targets.values() for after in names)
    moves: dict[str, str] = {}
    problems: dict[str, str] = {}
    for before, names in targets.items():
        called = [
            before if before in side.checkpoints else found.get(before)
            for side, found in zip(sides, renamed, strict=True)
        ]
        side = pick(called, partial(_name, past, before, names))
        if max(wanted[after] for after in names) > 1:
            problems |= dict.fromkeys((before, *names), f"several checkpoints are now called {min(names)}")
        elif side is None:
            problems |= _renamed_otherwise(before, names, is_removed=None in called)
        elif not any(before in state.checkpoints and names & state.checkpoints.keys() for state in sides):
            path = called[side]
            moves |= {} if path is None else {name: path for name in (before, *names) if name != path}
    return moves, problems


def _renamed(repository: Repository, old: State, side: State) -> dict[str, str]:
    """The new paths of checkpoints on a side, by the old path."""
    found = (repository.renames(base, commit) for base in old.commits for commit in side.commits)
    return {
        before: after
        for renames in found
        for before, after in renames.items()
        if before in old.checkpoints and after in side.checkpoints and after not in old.checkpoints
    }


def _name(past: Past, before: str, names: set[str], one: int, two: int) -> str | None:
    """What a checkpoint is called in what two sides come from, of the names that it has anywhere."""
    state = past.between(one, two)
    known = () if state is None else [name for name in (before, *sorted(names)) if name in state.checkpoints]
    return known[0] if known else None


def _renamed_otherwise(before: str, names: set[str], *, is_removed: bool) -> dict[str, str]:
    """Problems, by path, of a checkpoint that one side renamed."""
    if len(names) == 1 and is_removed:
        return dict.fromkeys((before, *names), f"one side renamed {before}, and another removed it")
    why = f"it was {before} before, and has another name on another side"
    return {before: f"it has other names on several sides: {' and '.join(sorted(names))}", **dict.fromkeys(names, why)}


def _is_removed(path: str, entries: Sequence[FileEntry | None], past: Past) -> bool:
    """Whether a side has no checkpoint that was there before."""
    numbers = range(len(entries))
    missing = [number for number in numbers if entries[number] is None]
    return any(past.entry(path, one, two) is not None for one in missing for two in numbers if two != one)


def _meeting(repository: Repository, path: str, sides: Sequence[State], past: Past) -> Meeting:
    present = tuple(number for number, side in enumerate(sides) if path in side.checkpoints)
    entries = [sides[number].checkpoints[path] for number in present]
    versions = Versions(
        None if past.ancestor is None else past.ancestor.read(repository, path),
        tuple(found for side in sides if (found := side.read(repository, path)) is not None),
        _pairs(repository, path, present, past),
    )

    def mode_before(one: int, two: int) -> str | None:
        entry = past.entry(path, present[one], present[two])
        return None if entry is None else entry.mode

    side = pick([entry.mode for entry in entries], mode_before)
    return Meeting(path, entries[side or OURS].mode, versions, present)


def _pairs(
    repository: Repository, path: str, present: Sequence[int], past: Past
) -> dict[tuple[int, int], Metadata | None]:
    """What a checkpoint was before two of the sides that have it parted, where that is not what it is in the ancestor.

    The sides are numbered anew.
    """
    common = _entry(past.ancestor, path)
    found: dict[tuple[int, int], Metadata | None] = {}
    for two, other in enumerate(present):
        for one, number in enumerate(present[:two]):
            state = past.between(number, other)
            if _entry(state, path) != common:
                found[one, two] = None if state is None else state.read(repository, path)
    return found
