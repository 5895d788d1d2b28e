"""Merge: from several versions of a checkpoint to one (`git merge`, by the merge driver).

Plan, settle, apply: what one side changed is taken, what is in conflict is asked for, all at once, and then carried
out, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from git_theta.checkpoints import Format
from git_theta.flows.merging.plan import Step, Versions
from git_theta.flows.smudge import Fetch
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Conflict, Decision, Settle
from git_theta.metadata import Metadata
from git_theta.registry import Family
from git_theta.store.cache import MetadataCache
from git_theta.store.objects import ObjectStore
from git_theta.updates.choose import Limits


@dataclass(frozen=True, slots=True)
class Plan:
    """What a merge would do.

    Attributes:
        steps: one for each group, in the order of our file.
        others: conflicts about what is no group.
    """

    steps: tuple[Step, ...]
    others: tuple[Conflict, ...] = ()

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """What has to be decided, in file order, groups first."""
        return (*(step.conflict for step in self.steps if step.conflict is not None), *self.others)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a merge.

    Attributes:
        plan: of the merge.
        decided: what was answered, by the name of the conflict.
        unsettled: the conflicts that were not answered.
        metadata: the merged checkpoint; None if anything is unsettled.
    """

    plan: Plan
    decided: Mapping[str, Decision]
    unsettled: tuple[Conflict, ...]
    metadata: Metadata | None


@dataclass(frozen=True)
class Merger:
    """Merges the checkpoints of one repository.

    Attributes:
        store: where values are read from, and merged ones are kept.
        cache: is told of what was merged, so that it is cleaned to the very same metadata file again.
        fetch: brings objects that are not in the local store, as far as it can.
        formats: write the skeleton where the structure changed.
        methods: that merge values.
        limits: of chains of updates.
    """

    store: ObjectStore
    cache: MetadataCache
    fetch: Fetch
    formats: Family[Format]
    methods: Family[MergeMethod]
    limits: Limits

    def plan(self, versions: Versions, path: str) -> Plan:
        """What a merge would do. No group's values are read.

        Args:
            versions: to merge.
            path: for messages.

        Raises:
            ThetaError: a skeleton cannot be read.
        """
        raise NotImplementedError

    def merge(self, versions: Versions, settle: Settle, path: str) -> Outcome:
        """Merge; nothing is written but objects, and those only if every conflict is settled.

        Args:
            versions: to merge.
            settle: is asked once, if there is any conflict.
            path: for messages.

        Raises:
            MergeError: a decision does not suit its conflict, or has no meaningful result; names the group.
            PluginError: a merge method is unknown or broken.
            StoreError: values cannot be had or kept; names the group.
        """
        raise NotImplementedError
