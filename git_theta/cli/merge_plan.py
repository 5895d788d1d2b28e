"""What a merge would do, for `git theta merge --dry-run`: computed without touching anything, and printed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
from msgspec import Struct

from git_theta.cli import strategies
from git_theta.cli.boundary import printable
from git_theta.cli.strategies import Said
from git_theta.cli.workspace import Workspace
from git_theta.errors import UsageError
from git_theta.flows.meetings import Meeting
from git_theta.flows.merge import Plan
from git_theta.flows.octopus import Side, Survey, others_merged, sides_of, survey
from git_theta.git.trees import Trees
from git_theta.merges.decisions import Conflict, Decision
from git_theta.merges.fitting import SIDES, VERSIONS
from git_theta.merges.session import fold
from git_theta.merges.strategies import Answer

_CONFLICT: Final = "conflict"
_UNCHANGED: Final = "unchanged"


class Outlook(Struct, frozen=True):
    """What would happen to a group, or to a value that is none.

    Attributes:
        name: of it.
        outcome: "unchanged", "taken", "removed", "merged" or "conflict".
        side: whose it is, if it is taken or removed.
        decision: how it is merged, or which side was chosen.
        clash: why it did not merge by itself.
        reason: why nobody settles it.
    """

    name: str
    outcome: str
    side: str = ""
    decision: Decision | None = None
    clash: str = ""
    reason: str = ""

    def described(self) -> str:
        """In a few words."""
        if self.outcome == _CONFLICT:
            return f"conflict: {self.clash}{f' ({self.reason})' if self.reason else ''}"
        if self.decision is not None:
            words = [f"{name}={_shown(value)}" for name, value in self.decision.parameters]
            return " ".join([self.decision.method, *words])
        return f"{'removed by' if self.outcome == 'removed' else 'from'} {self.side}"

    def as_json(self) -> dict[str, Any]:
        """As JSON has it; what does not apply is left out."""
        said = {"name": self.name, "outcome": self.outcome, "side": self.side, "clash": self.clash}
        found: dict[str, Any] = {key: value for key, value in said.items() if value}
        if self.decision is not None:
            found |= {"method": self.decision.method, "with": dict(self.decision.parameters)}
        return found | ({"reason": self.reason} if self.reason else {})


def show(workspace: Workspace, others: Sequence[str], said: Said | None, *, as_json: bool) -> int:
    """Print what a merge would do; returns the exit status, 1 if there would be conflicts.

    Args:
        workspace: where.
        others: what is merged into HEAD.
        said: how, if it was said.
        as_json: whether to print JSON.

    Raises:
        ThetaError: a revision is unknown, or a checkpoint or a recipe cannot be read.
    """
    if not others:
        raise UsageError("name what to merge")
    repository = workspace.repository
    head = Side(repository.branch() or "HEAD", repository.resolve("HEAD", "commit"))
    named = [Side(other, repository.resolve(other, "commit")) for other in others]
    sides = sides_of(repository, [head, *named])
    found = survey(repository, sides, workspace.merger)
    with Trees.beside(repository, workspace.store.temporary_directory(), keep=False) as trees:
        problems = {**found.problems, **dict.fromkeys(others_merged(found, trees)[1], "git cannot merge it")}
    checkpoints = {meeting.path: _outlooks(workspace, found, meeting, said) for meeting in found.meetings}
    bad = bool(problems) or any(look.outcome == _CONFLICT for looks in checkpoints.values() for look in looks)
    if as_json:
        click.echo(json.dumps(_as_json(found, checkpoints, problems), indent=1))
    else:
        for line in _lines(head, found, checkpoints, problems):
            click.echo(printable(line))
    return int(bad)


def _outlooks(workspace: Workspace, found: Survey, meeting: Meeting, said: Said | None) -> list[Outlook]:
    """What would happen to each group of a checkpoint."""
    plan = workspace.merger.plan(meeting.versions, meeting.path)
    present = (meeting.present, len(found.sides))
    answer = (
        strategies.answers(workspace, meeting.versions, meeting.path, plan.conflicts, said=said, sides=present)
        or Answer()
    )
    sides = [found.sides[number].name for number in meeting.present]
    return [*_of_groups(plan, answer, sides), *(_of_conflict(conflict, answer, sides) for conflict in plan.others)]


def _of_groups(plan: Plan, answer: Answer, sides: Sequence[str]) -> Iterator[Outlook]:
    for step in plan.steps:
        if step.conflict is not None:
            yield _of_conflict(step.conflict, answer, sides)
        elif not step.changed or step.side is None:
            yield Outlook(step.name, _UNCHANGED)
        else:
            side = sides[step.side]
            yield Outlook(step.name, "taken" if step.entry is not None else "removed", side)


def _of_conflict(conflict: Conflict, answer: Answer, sides: Sequence[str]) -> Outlook:
    decision = answer.decisions.get(conflict.name)
    if decision is None:
        reason = answer.reasons.get(conflict.name, "")
        return Outlook(conflict.name, _CONFLICT, clash=str(conflict.clash), reason=reason)
    if decision.method in VERSIONS:
        side = dict(zip(SIDES, sides, strict=False)).get(decision.method, "")
        return Outlook(conflict.name, "taken", side, decision, str(conflict.clash))
    return Outlook(conflict.name, "merged", "", decision, str(conflict.clash))


def _lines(head: Side, found: Survey, checkpoints: dict[str, list[Outlook]], problems: dict[str, str]) -> Iterator[str]:
    names = [side.name for side in found.sides]
    if len(names) == 1:
        yield "Already up to date." if found.sides[0] == head else f"Fast-forward to {names[0]}."
        return
    yield f"Merge of {', '.join(names[:-1])} and {names[-1]}, {_ancestry(found.bases)}"
    for path, side in found.from_sides.items():
        if side is not None:
            yield f"{path}: {'from' if found.taken[path] is not None else 'removed by'} {names[side]}"
    for path, looks in checkpoints.items():
        counts = Counter(look.outcome for look in looks)
        yield f"{path}: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}"
        yield from _folded(looks)
    for path, why in problems.items():
        yield f"{path}: conflict: {why}"
    if not problems:
        yield "All other files merge."


def _ancestry(bases: Sequence[str]) -> str:
    if not bases:
        return "without a common ancestor"
    if len(bases) == 1:
        return f"from the common ancestor {bases[0][:10]}"
    return f"from the common ancestors {' and '.join(base[:10] for base in bases)}, merged with each other"


def _folded(looks: Sequence[Outlook]) -> Iterator[str]:
    """A line for each kind of layer and what happens to it; nothing for what is unchanged."""
    kinds: dict[tuple[str, str], list[Outlook]] = {}
    for look in looks:
        if look.outcome != _UNCHANGED:
            kinds.setdefault((fold(look.name), look.described()), []).append(look)
    named = [
        (same[0].name if len(same) == 1 else f"{kind} ({len(same)})", words) for (kind, words), same in kinds.items()
    ]
    width = min(max((len(name) for name, _ in named), default=0), 60)
    yield from (f"  {name:<{width}}  {words}" for name, words in named)


def _as_json(found: Survey, checkpoints: dict[str, list[Outlook]], problems: dict[str, str]) -> dict[str, Any]:
    names = [side.name for side in found.sides]
    taken = [
        {"path": path, "outcome": "taken" if found.taken[path] is not None else "removed", "side": names[side]}
        for path, side in found.from_sides.items()
        if side is not None
    ]
    merged = [
        {
            "path": path,
            "outcome": _CONFLICT if any(look.outcome == _CONFLICT for look in looks) else "merged",
            "groups": [look.as_json() for look in looks],
        }
        for path, looks in checkpoints.items()
    ]
    return {
        "sides": [{"name": side.name, "commit": side.commit} for side in found.sides],
        "ancestor": found.bases[0] if found.bases else None,
        "ancestors": list(found.bases),
        "checkpoints": [*taken, *merged],
        "problems": [{"path": path, "reason": why} for path, why in problems.items()],
    }


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_shown(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
