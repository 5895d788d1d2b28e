"""Where a merge has several common ancestors, they are merged with each other first, and nobody is asked.

What clashes there is marked, so that in the merge itself every side counts as having changed it.
"""

from __future__ import annotations

from git_theta.flows.merge import Merger
from git_theta.flows.merging.plan import Versions
from git_theta.flows.merging.settling import all_undecided, as_before, undecided
from git_theta.metadata import Metadata


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
