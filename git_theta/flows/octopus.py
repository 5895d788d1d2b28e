"""Merge any number of commits at once: what becomes of each checkpoint, and of all other files.

A survey looks at the trees alone. Nothing but objects is written until everything is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from git_theta.errors import MetadataError
from git_theta.flows.merge import Merger
from git_theta.flows.merging.plan import Versions, choose
from git_theta.git.repository import FileEntry, Repository
from git_theta.git.trees import Trees
from git_theta.merges.decisions import Settle
from git_theta.metadata import Metadata
from git_theta.metadata_file import parse, serialize

Files = dict[str, FileEntry]
"""What is at each path from the top."""

_SHOWN: Final = 5
_REMOVED: Final = "one side removed it, and another changed it"


@dataclass(frozen=True, slots=True)
class Side:
    """A commit that is merged.

    Attributes:
        name: as the user wrote it, such as a branch.
        commit: its full name.
    """

    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class Meeting:
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


@dataclass(frozen=True, slots=True)
class Survey:
    """What becomes of the checkpoints of several commits.

    Attributes:
        repository: that has the commits.
        sides: the commits, ours first.
        base: the common ancestor; None if there is none.
        more_bases: whether there are others that are as good.
        taken: what is at the paths of checkpoints that need no merge; None for nothing.
        from_sides: the side that each of those is taken from, by number; None if no side changed it.
        meetings: those that need one.
        problems: by path, why a checkpoint cannot be merged.
        paths: every path that has a checkpoint in any commit.
    """

    repository: Repository
    sides: tuple[Side, ...]
    base: str | None
    more_bases: bool
    taken: Mapping[str, FileEntry | None]
    from_sides: Mapping[str, int | None]
    meetings: tuple[Meeting, ...]
    problems: Mapping[str, str]
    paths: tuple[str, ...]


def sides_of(repository: Repository, commits: Sequence[Side]) -> tuple[Side, ...]:
    """The sides of a merge: of commits, those that are not in the history of another one, as in git's merges."""
    different = list({side.commit: side for side in reversed(commits)}.values())[::-1]
    return tuple(
        side
        for side in different
        if not any(other is not side and repository.is_ancestor(side.commit, other.commit) for other in different)
    )


def survey(repository: Repository, sides: Sequence[Side]) -> Survey:
    """Look at what has to be merged.

    Raises:
        MetadataError: a metadata file cannot be read.
    """
    bases = repository.merge_bases([side.commit for side in sides])
    base = bases[0] if bases else None
    found = [_checkpoints(repository, commit) for commit in (base, *(side.commit for side in sides)) if commit]
    mixed = _mixed(found)
    old = _without(found[0].checkpoints, mixed) if base else {}
    files = [_without(each.checkpoints, mixed) for each in (found[1:] if base else found)]
    moves, problems = _moves(repository, base, sides, old, files) if base else ({}, {})
    old, files = _followed(old, moves), [_followed(each, moves) for each in files]
    taken: dict[str, FileEntry | None] = dict.fromkeys(moves)
    from_sides: dict[str, int | None] = {}
    meetings = []
    for path in sorted({*old, *(path for each in files for path in each)} - problems.keys()):
        entries = [each.get(path) for each in files]
        side = choose(old.get(path), entries)
        if side is not None:
            taken[path] = entries[side]
            from_sides[path] = side if entries[side] != old.get(path) else None
        elif path in old and None in entries:
            problems[path] = _REMOVED
        else:
            meetings.append(_meeting(repository, path, old.get(path), entries))
    paths = tuple(sorted({*taken, *problems, *moves.values(), *(meeting.path for meeting in meetings)}))
    return Survey(repository, tuple(sides), base, len(bases) > 1, taken, from_sides, tuple(meetings), problems, paths)


@dataclass(frozen=True, slots=True)
class _Found:
    """The files of a commit, and those of them that are checkpoints."""

    files: Files
    checkpoints: Files


def _checkpoints(repository: Repository, commit: str) -> _Found:
    files, blobs = repository.tree_entries(commit), repository.metadata_blobs(commit)
    return _Found(files, {path: entry for path, entry in files.items() if path in blobs})


def _mixed(found: Iterable[_Found]) -> set[str]:
    """The paths that have a checkpoint in one commit, and something else in another: git's business."""
    listed = list(found)
    known = {path for each in listed for path in each.checkpoints}
    return {path for each in listed for path in known & each.files.keys() if path not in each.checkpoints}


def _without(files: Files, paths: set[str]) -> Files:
    return {path: entry for path, entry in files.items() if path not in paths}


def _moves(
    repository: Repository, base: str, sides: Sequence[Side], old: Files, files: Sequence[Files]
) -> tuple[dict[str, str], dict[str, str]]:
    """The new paths of checkpoints that a side renamed, by the old path; and problems, by path."""
    found: dict[str, set[str]] = {}
    for side, there in zip(sides, files, strict=True):
        for before, after in repository.renames(base, side.commit).items():
            if before in old and after in there and after not in old:
                found.setdefault(before, set()).add(after)
    moves: dict[str, str] = {}
    problems: dict[str, str] = {}
    wanted = Counter(after for targets in found.values() for after in targets)
    for before, targets in found.items():
        if len(targets) == 1 and max(wanted[after] for after in targets) > 1:
            problems |= dict.fromkeys((before, *targets), f"several checkpoints are now called {min(targets)}")
        elif len(targets) > 1:
            problems[before] = f"it has other names on several sides: {' and '.join(sorted(targets))}"
            problems |= dict.fromkeys(targets, f"it was {before} before, and has another name on another side")
        elif not any(before in there and targets & there.keys() for there in files):
            moves[before] = targets.pop()
    return moves, problems


def _followed(files: Files, moves: Mapping[str, str]) -> Files:
    """The files with those that were renamed anywhere at their new paths."""
    return {moves.get(path, path): entry for path, entry in files.items()}


def _meeting(repository: Repository, path: str, old: FileEntry | None, entries: Sequence[FileEntry | None]) -> Meeting:
    present = tuple(number for number, entry in enumerate(entries) if entry is not None)
    there = [entry for entry in entries if entry is not None]
    mode = choose(None if old is None else old.mode, [entry.mode for entry in there])
    ancestor = None if old is None else _read(repository, path, old)
    sides = tuple(_read(repository, path, entry) for entry in there)
    return Meeting(path, there[mode or 0].mode, Versions(ancestor, sides), present)


def _read(repository: Repository, path: str, entry: FileEntry) -> Metadata:
    try:
        return parse(repository.read_blob(entry.oid))
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of merging several commits.

    Attributes:
        tree: of the result; None if there are problems.
        problems: by path, why it could not be merged.
        checkpoints: those of the result that are not as they are in the ancestor, by path.
    """

    tree: str | None
    problems: Mapping[str, str]
    checkpoints: Mapping[str, Metadata]


def others_merged(survey: Survey, trees: Trees) -> tuple[str, tuple[str, ...]]:
    """Merge all files but the checkpoints; the tree, and the paths at which git cannot."""
    return trees.merge([trees.without(side.commit, survey.paths) for side in survey.sides])


def join(survey: Survey, trees: Trees, merger: Merger, settle_of: Callable[[Meeting], Settle]) -> Joined:
    """Merge several commits. Nothing is written but objects of git and ours.

    Args:
        survey: of the commits.
        trees: where trees are made.
        merger: merges checkpoints.
        settle_of: who settles the conflicts of a checkpoint.

    Raises:
        ThetaError: a checkpoint cannot be read or merged.
    """
    tree, conflicts = others_merged(survey, trees)
    problems = {**survey.problems, **dict.fromkeys(conflicts, "git cannot merge it")}
    if problems:
        return Joined(None, problems, {})
    entries, merged = dict(survey.taken), {}
    for meeting in survey.meetings:
        outcome = merger.merge(meeting.versions, settle_of(meeting), meeting.path)
        if outcome.metadata is None:
            names = [conflict.name for conflict in outcome.unsettled]
            problems[meeting.path] = f"several sides changed {listed(names)}"
        else:
            blob = survey.repository.write_blob(serialize(outcome.metadata))
            entries[meeting.path] = FileEntry(meeting.mode, blob)
            merged[meeting.path] = outcome.metadata
    if problems:
        return Joined(None, problems, {})
    for path, entry in survey.taken.items():
        if entry is not None and survey.from_sides.get(path) is not None:
            merged[path] = _read(survey.repository, path, entry)
    return Joined(trees.with_entries(tree, entries), {}, merged)


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
