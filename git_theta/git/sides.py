"""Who ours and theirs are in a merge that git runs or has stopped in: names in the user's words, and last commits.

In a rebase the sides are the other way round than people expect, and git's drivers are not told what it is that they
merge. So what is known is put together from git's environment, its files of state, and the command that runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from git_theta.git import command
from git_theta.git.repository import Repository

_LABEL: Final = "GITHEAD_"
_OID: Final = re.compile(r"[0-9a-f]{4,64}")
_FULL: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT: Final = 7
_LOG: Final = (
    *("log", "-1", "--format=%H%x00%an%x00%as%x00%s%x00"),
    *("--no-show-signature", "--no-color", "--encoding=UTF-8"),
)


class Operation(StrEnum):
    """What git is doing when it merges."""

    MERGE = "merge"
    REBASE = "rebase"
    CHERRY_PICK = "cherry-pick"
    REVERT = "revert"
    STASH = "stash"
    CHECKOUT = "checkout"
    APPLY = "am"
    OTHER = ""


_VERBS: Final = {
    **{operation.value: operation for operation in Operation if operation.value},
    "pull": Operation.MERGE,
    "switch": Operation.CHECKOUT,
}


class Tip(Struct, frozen=True):
    """A commit, as people know it.

    Attributes:
        oid: its name.
        author: who wrote it.
        date: the day it was written, as YYYY-MM-DD.
        subject: the first line of its message.
    """

    oid: str
    author: str
    date: str
    subject: str


class Side(Struct, frozen=True):
    """One side of a merge.

    Attributes:
        name: a branch, or words that say what the side is.
        tip: its last commit; None if it has none, or nobody can tell which.
    """

    name: str
    tip: Tip | None


class Sides(Struct, frozen=True):
    """The sides of a merge.

    Attributes:
        operation: what git is doing.
        ours: the side that is checked out.
        theirs: the side that comes in.
        note: a sentence where the sides are not what one may expect; "" elsewhere.
        more: further sides that come in, in a merge of several.
    """

    operation: Operation
    ours: Side
    theirs: Side
    note: str = ""
    more: tuple[Side, ...] = ()

    @property
    def all(self) -> tuple[Side, ...]:
        """All sides, ours first."""
        return (self.ours, self.theirs, *self.more)


def sides(repository: Repository, environment: Mapping[str, str], arguments: Sequence[str] = ()) -> Sides:
    """Who ours and theirs are.

    Args:
        repository: where git merges, or has stopped in a merge.
        environment: of this process; git says there what it merges (GITHEAD_...).
        arguments: verb and arguments of the git command that runs (`caller.arguments`), if it is known.
    """
    asked = _Asked(repository, environment, tuple(arguments))
    match asked.operation():
        case Operation.MERGE:
            return Sides(Operation.MERGE, asked.here(), asked.merged())
        case Operation.REBASE:
            return asked.rebase()
        case Operation.CHERRY_PICK:
            return Sides(Operation.CHERRY_PICK, asked.here(), asked.picked("CHERRY_PICK_HEAD"))
        case Operation.REVERT:
            return asked.revert()
        case Operation.STASH:
            return Sides(Operation.STASH, asked.here(), asked.stashed())
        case Operation.CHECKOUT:
            return asked.checkout()
        case Operation.APPLY:
            return Sides(Operation.APPLY, asked.here(), Side("the patch", None))
        case _:
            return Sides(Operation.OTHER, asked.here(), Side("the other side", None))


def several(repository: Repository, named: Sequence[tuple[str, str]]) -> Sides:
    """The sides of a merge of several commits, of which HEAD may be the first.

    Args:
        repository: where they are merged.
        named: what the user calls each side, "HEAD" for where we are, and its name; at least two.
    """
    asked = _Asked(repository, {}, ())
    ours, theirs, *more = (asked.here() if label == "HEAD" else Side(label, asked.tip(oid)) for label, oid in named)
    return Sides(Operation.MERGE, ours, theirs, more=tuple(more))


class _Asked(Struct, frozen=True):
    """What is known, and what can be found out from it."""

    repository: Repository
    environment: Mapping[str, str]
    arguments: tuple[str, ...]

    def operation(self) -> Operation:
        verb = _VERBS.get(self.arguments[0]) if self.arguments else None
        if verb not in (None, Operation.REBASE, Operation.APPLY):
            return verb
        if self._has("rebase-apply/applying"):
            return Operation.APPLY
        if self._has("rebase-merge") or self._has("rebase-apply"):
            return Operation.REBASE
        for name, operation in (
            ("MERGE_HEAD", Operation.MERGE),
            ("CHERRY_PICK_HEAD", Operation.CHERRY_PICK),
            ("REVERT_HEAD", Operation.REVERT),
        ):
            if self._has(name):
                return operation
        return verb or (Operation.MERGE if list(self._labels()) else Operation.OTHER)

    def here(self) -> Side:
        tip = self.tip("HEAD")
        return Side(self.repository.branch() or _named(tip, "HEAD"), tip)

    def merged(self) -> Side:
        """The branch that a merge brings in."""
        labels = dict(self._labels())
        oids = [*labels] or self._read("MERGE_HEAD").split()
        if len(oids) != 1:
            return Side(", ".join(labels.values()) or "the other side", None)
        oid = oids[0]
        tip = self.tip(oid)
        label = labels.get(oid, oid)
        if not _FULL.fullmatch(label):
            return Side(label, tip)
        return Side(self._branch(oid) or self._fetched(oid) or _named(tip, oid[:_SHORT]), tip)

    def rebase(self) -> Sides:
        place = "rebase-merge" if self._has("rebase-merge") else "rebase-apply"
        branch = self._read(f"{place}/head-name").removeprefix("refs/heads/")
        onto = self._read(f"{place}/onto")
        base = self._branch(onto) or _named(self.tip(onto), onto[:_SHORT]) if onto else "the new base"
        moved = self.tip(self._replayed(place))
        whose = f"your commit from {branch}" if branch and branch != "detached HEAD" else "your commit"
        return Sides(
            Operation.REBASE,
            Side(f"{base}, with your commits moved so far", self.tip("HEAD")),
            Side(whose, moved),
            "In a rebase the sides are swapped: ours is what you rebase onto, theirs is your own commit.",
        )

    def picked(self, state: str) -> Side:
        """The commit that is picked or reverted, from whatever tells it."""
        tip = self.tip(self._one(state))
        return Side(f"commit {tip.oid[:_SHORT]}" if tip else "the picked commit", tip)

    def revert(self) -> Sides:
        undone = self.tip(self._one("REVERT_HEAD"))
        what = f"commit {undone.oid[:_SHORT]}" if undone else "the reverted commit"
        return Sides(
            Operation.REVERT,
            self.here(),
            Side(f"before {what}", undone),
            f"In a revert, theirs is how it was before {what}, and the ancestor how it was right after.",
        )

    def stashed(self) -> Side:
        given = [word for word in self.arguments[2:] if not word.startswith("-")]
        name = given[0] if given else "stash@{0}"
        name = f"stash@{{{name}}}" if name.isdecimal() else name
        return Side(name, self.tip(name))

    def checkout(self) -> Sides:
        given = [tip for tip in map(self.tip, self._revisions()) if tip is not None]
        name = next((word for word in self._revisions() if self.tip(word) is not None), "the new branch")
        return Sides(
            Operation.CHECKOUT,
            Side(name, given[0] if given else None),
            Side("your uncommitted changes", None),
            "In a checkout, ours is the branch you change to, theirs is what you had changed in the worktree.",
        )

    def _one(self, state: str) -> str:
        """The commit that a file of state names, or the sequencer's next step, or the command itself."""
        revision = self._read(state) or self._step("sequencer/todo", 0)
        candidates = [revision] if revision else [word for word in self._revisions() if self.tip(word)]
        return candidates[0] if len(candidates) == 1 else ""

    def _replayed(self, place: str) -> str:
        if place == "rebase-apply":
            return self._read("rebase-apply/original-commit") or self._read("REBASE_HEAD")
        return self._step("rebase-merge/done", -1) or self._read("REBASE_HEAD")

    def _step(self, file: str, number: int) -> str:
        """The commit of a step in a list of them, as `git rebase -i` shows it."""
        steps = [line for line in self._read(file).splitlines() if line and not line.startswith("#")]
        words = steps[number].split() if steps else []
        return next((word for word in words[1:] if _OID.fullmatch(word)), "")

    def _revisions(self) -> list[str]:
        return [word for word in self.arguments[1:] if not word.startswith("-")]

    def _labels(self) -> Iterator[tuple[str, str]]:
        """What git calls the commits that it merges into HEAD."""
        head = self.tip("HEAD")
        for name, label in self.environment.items():
            oid = name.removeprefix(_LABEL)
            if name.startswith(_LABEL) and _FULL.fullmatch(oid) and (head is None or oid != head.oid):
                yield oid, label

    def _branch(self, oid: str) -> str | None:
        """The name of a branch, or else a tag, whose last commit this is."""
        arguments = ["for-each-ref", f"--points-at={oid}", "--format=%(refname:short)"]
        status, output, _ = command.attempt(
            [*arguments, "refs/heads", "refs/remotes", "refs/tags"], cwd=self.repository.cwd
        )
        return command.lines(output)[0] if status == 0 and output.strip() else None

    def _fetched(self, oid: str) -> str | None:
        """What a commit that was just fetched is, in git's words: "branch 'other' of ../repo"."""
        fields = (line.split("\t", 2) for line in self._read("FETCH_HEAD").splitlines())
        return next((found[2] for found in fields if len(found) == 3 and found[0] == oid and found[2]), None)

    def tip(self, revision: str) -> Tip | None:
        """The commit that a revision means; None if there is none."""
        if not revision or revision.startswith("-"):
            return None
        status, output, _ = command.attempt([*_LOG, "--end-of-options", revision, "--"], cwd=self.repository.cwd)
        found = command.fields(output) if status == 0 else []
        return Tip(*found[:4]) if len(found) >= 4 else None

    def _has(self, name: str) -> bool:
        return (self.repository.git_dir / name).exists()

    def _read(self, name: str) -> str:
        """A file of git's state; "" if there is none."""
        try:
            return (self.repository.git_dir / name).read_text(errors="surrogateescape").strip()
        except OSError:
            return ""


def _named(tip: Tip | None, otherwise: str) -> str:
    return f"commit {tip.oid[:_SHORT]}" if tip else otherwise
