"""A screen that answers from a list and keeps what it showed, and conflicts to show on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from git_theta.cli.prompt.dialogue import Dialogue, Left
from git_theta.cli.prompt.text import Text, plain
from git_theta.diffs.changes import Statistics
from git_theta.diffs.statistics import estimate
from git_theta.git.sides import Operation, Side, Sides, Tip
from git_theta.merges import merge_methods
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.metadata import Entry, Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from git_theta.cli.prompt.dialogue import Complete
    from git_theta.flows.drafts import Draft
    from git_theta.merges import MergeMethod
    from git_theta.registry import Family

OURS = Side("main", Tip("8b1c2d3" + "0" * 33, "Ada", "2026-11-25", "Tune on French"))
THEIRS = Side("other", Tip("f00dcaf" + "0" * 33, "Grace", "2026-11-24", "Tune on German"))
SIDES = Sides(Operation.MERGE, OURS, THEIRS)
DIGESTS = "0123456789abcdef"


@dataclass
class FakeScreen:
    """Answers one line after the other, then leaves."""

    answers: list[str]
    width: int = 80
    shown: list[str] = field(default_factory=list)
    completions: dict[str, list[str]] = field(default_factory=dict)
    try_to_complete: tuple[str, ...] = ()

    def say(self, text: Text) -> None:
        self.shown.append(plain(text))

    def ask(self, question: str, complete: Complete) -> str:
        for text in self.try_to_complete:
            self.completions.setdefault(text, list(complete(text)))
        if not self.answers:
            raise Left
        answer = self.answers.pop(0)
        self.shown.append(f"{question}{answer}\n")
        return answer

    @property
    def text(self) -> str:
        return "".join(self.shown)


def entry(
    name: str = "weight", digest: str = "0", dtype: str = "float32", shape: tuple[int, ...] = (4, 3), scale: int = 0
) -> Entry:
    """A group; scale: of its signature, whose norm and distances are in proportion to it."""
    signature = tuple(scale * 10**6 * (1 if place % 2 else -1) for place in range(16)) if scale else None
    return Entry(name, dtype, shape, digest, 0, Update("dense", None), signature)


def clash(name: str, dtype: str = "float32") -> Conflict:
    """A group that both sides changed: ours by 2 %, theirs by 5 %."""
    versions = [entry(name, str(number), dtype, (768, 2304), scale) for number, scale in enumerate((100, 102, 105))]
    return Conflict(name, Clash.VALUES, versions[0], tuple(versions[1:]))


def text_clash(*texts: str | None) -> Conflict:
    return Conflict("epoch", Clash.TEXT, None, (None,) * (len(texts) - 1), texts)


STRUCTURE = Conflict("(structure)", Clash.STRUCTURE, None, (None, None))

LAYERS = tuple(
    clash(name)
    for name in (
        "wte.weight",
        *(f"h.{layer}.{kind}" for layer in range(3) for kind in ("attn.c_attn.weight", "attn.c_attn.bias")),
    )
)


def exactly(old: Entry, new: Entry) -> Statistics:
    """Stands for reading the values."""
    return Statistics((int(new.digest) - int(old.digest)) / 50, 0.25, 1.0, 0.999, is_exact=True)


def dialogue(
    screen: FakeScreen,
    sides: Sides = SIDES,
    methods: Family[MergeMethod] | None = None,
    path: str = "model.safetensors",
    draft: Draft | None = None,
) -> Dialogue:
    return Dialogue(screen, path, sides, methods or merge_methods(), estimate, exactly, draft)


def settle(conflicts: Sequence[Conflict], *answers: str) -> tuple[Mapping[str, Decision], str]:
    """The decisions that answers lead to, and all that was shown."""
    screen = FakeScreen(list(answers))
    decisions = dialogue(screen).settle(conflicts)
    return decisions, screen.text
