"""Where a merge has several common ancestors, they are merged with each other first, and nobody is asked.

What clashes there is marked, so that in the merge itself every side counts as having changed it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from git_theta.errors import ThetaError
from git_theta.flows.meetings import Meeting, Past, State, meet
from git_theta.flows.merge import Merger
from git_theta.flows.merging.plan import Versions
from git_theta.flows.merging.settling import all_undecided, as_before, undecided
from git_theta.git.repository import FileEntry, Repository
from git_theta.metadata import Metadata
from git_theta.metadata_file import serialize


def merge_ancestors(merger: Merger, versions: Versions, path: str) -> Metadata:
    """What two ancestors of a merge are together. It is never committed.

    Args:
        merger: merges checkpoints.
        versions: the two, and what they come from.
        path: of the checkpoint, for messages.

    Raises:
        ThetaError: they cannot be merged.
    """
    outcome = merger.merge(versions, as_before(versions), path)
    assert outcome.metadata is not None
    if outcome.plan.outside.is_whole and outcome.plan.conflicts:
        return all_undecided(outcome.metadata)
    return undecided(outcome.metadata, outcome.plan.conflicts, versions.sides)


def unmerged_ancestor(versions: Versions) -> Metadata:
    """What stands for two ancestors of a merge that cannot be merged: of all that is there, every side decided."""
    return all_undecided(versions.ancestor or versions.sides[0])


class Ancestors(Struct, frozen=True):
    """What commits come from.

    Attributes:
        repository: that has them.
        merger: merges checkpoints.
    """

    repository: Repository
    merger: Merger
    _known: dict[tuple[str, ...], State] = field(default_factory=dict)

    def past(self, commits: Sequence[str]) -> Past:
        """What the sides of a merge come from.

        Raises:
            MetadataError: a metadata file cannot be read.
        """
        bases = self.repository.merge_bases(commits)
        pairs = {}
        if len(commits) > 2:
            for two, commit in enumerate(commits):
                for one in range(two):
                    found = self.repository.merge_bases([commits[one], commit])
                    if set(found) != set(bases):
                        pairs[one, two] = self._together(found)
        return Past(self._together(bases), pairs)

    def _together(self, bases: Sequence[str]) -> State | None:
        """The state of a commit, or of several that are merged one after the other, as git does it."""
        if not bases:
            return None
        key = tuple(sorted(bases))
        if key not in self._known:
            state = State.of(self.repository, bases[0])
            for base in bases[1:]:
                state = self._merged(state, State.of(self.repository, base))
            self._known[key] = state
        return self._known[key]

    def _merged(self, ours: State, theirs: State) -> State:
        old = self._together(self.repository.bases_with_any(theirs.commits[0], ours.commits))
        met = meet(self.repository, [ours, theirs], Past(old))
        files = {path: entry for path, entry in met.taken.items() if entry is not None}
        made = {**theirs.made, **ours.made}
        clashed = {path: self._clashed(path, [old, ours, theirs]) for path in met.problems}
        merged = {meeting.path: (meeting.mode, self._meeting(meeting)) for meeting in met.meetings}
        for path, (mode, metadata) in {**merged, **clashed}.items():
            files[path] = FileEntry(mode, self.repository.blob_name(serialize(metadata)))
            made[files[path].oid] = metadata
        return State((*ours.commits, *theirs.commits), ours.others | theirs.others, files, made)

    def _meeting(self, meeting: Meeting) -> Metadata:
        versions = meeting.versions
        try:
            return merge_ancestors(self.merger, versions, meeting.path)
        except ThetaError:
            return unmerged_ancestor(versions)

    def _clashed(self, path: str, states: Sequence[State | None]) -> tuple[str, Metadata]:
        """A checkpoint that the first state which has it has, for git to be merged with none of what is there now."""
        state = next(state for state in states if state is not None and path in state.checkpoints)
        metadata = state.read(self.repository, path)
        assert metadata is not None
        return state.checkpoints[path].mode, all_undecided(metadata)
