"""Merge any number of commits at once: what becomes of each checkpoint, and of all other files.

A survey looks at the trees alone. Nothing but objects is written until everything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from git_theta.flows.ancestors import Ancestors
from git_theta.flows.meetings import Meeting, State, meet, read
from git_theta.flows.merge import Merger
from git_theta.git.repository import FileEntry, Repository
from git_theta.git.trees import Trees
from git_theta.merges.decisions import Settle
from git_theta.metadata import Metadata
from git_theta.metadata_file import serialize
from git_theta.printing import listed


class Side(Struct, frozen=True):
    """A commit that is merged.

    Attributes:
        name: as the user wrote it, such as a branch.
        commit: its full name.
    """

    name: str
    commit: str


class Survey(Struct, frozen=True):
    """What becomes of the checkpoints of several commits.

    Attributes:
        repository: that has the commits.
        sides: the commits, ours first.
        bases: the best common ancestors; none if the sides have nothing in common.
        taken: what is at the paths of checkpoints that need no merge; None for nothing.
        from_sides: the side that each of those is taken from, by number; None if no side changed it.
        meetings: those that need one.
        problems: by path, why a checkpoint cannot be merged.
        paths: every path that has a checkpoint in any commit.
    """

    repository: Repository
    sides: tuple[Side, ...]
    bases: tuple[str, ...]
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


def survey(repository: Repository, sides: Sequence[Side], merger: Merger) -> Survey:
    """Look at what has to be merged.

    Args:
        repository: that has the commits.
        sides: the commits, ours first.
        merger: merges ancestors with each other, where there are several.

    Raises:
        MetadataError: a metadata file cannot be read.
    """
    past = Ancestors(repository, merger).past([side.commit for side in sides])
    met = meet(repository, [State.of(repository, side.commit) for side in sides], past)
    meetings = (meeting.path for meeting in met.meetings)
    paths = tuple(sorted({*met.taken, *met.problems, *met.moves.values(), *meetings}))
    bases = () if past.ancestor is None else past.ancestor.commits
    return Survey(repository, tuple(sides), bases, met.taken, met.from_sides, met.meetings, met.problems, paths)


class Joined(Struct, frozen=True):
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
            merged[path] = read(survey.repository, path, entry)
    return Joined(trees.with_entries(tree, entries), {}, merged)
