"""Random histories, merged by group, and by git itself as text: a file of one line for each group and value.

Where git merges the lines, we do, too, and to the same. Where it cannot, nobody decides without being asked.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import safetensors.numpy

from git_theta.cli.workspace import Workspace
from git_theta.flows.octopus import Joined, Side, join, sides_of, survey
from git_theta.git.trees import Trees
from git_theta.merges.decisions import Decision
from git_theta.metadata_file import parse
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from git_theta.merges.decisions import Conflict

    State = Mapping[str, str]
    """The value of each group, and of each text."""

MODEL: Final = "model.safetensors"
GROUPS: Final = ("a", "b", "c", "d", "e")
TEXTS: Final = ("epoch", "lr")
VALUES: Final = ("0", "1", "2", "long")
START: Final = {"a": "0", "b": "0", "c": "0", "d": "0", "epoch": "0"}
CONFLICT: Final = "in conflict"
STEPS: Final = 20


def array(name: str, value: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(6 if value == "long" else 4, ord(name) + VALUES.index(value) / 8, np.float32)


def checkpoint(state: State) -> bytes:
    arrays = {name: array(name, state[name]) for name in GROUPS if name in state}
    return safetensors_bytes(arrays, {name: state[name] for name in TEXTS if name in state} or None)


def state_of(data: bytes) -> State:
    found = safetensors.numpy.load(data)
    groups = {
        name: next(value for value in VALUES if np.array_equal(found[name], array(name, value))) for name in found
    }
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {**groups, **head.get("__metadata__", {})}


def ours_where_asked(conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
    return {conflict.name: Decision("ours") for conflict in conflicts}


@contextlib.contextmanager
def here(repo: Repo) -> Iterator[Workspace]:
    with contextlib.chdir(repo.path):
        yield Workspace.here()


@dataclass(frozen=True)
class World:
    """The same history twice; a commit is the branch "c" and its number in both.

    Attributes:
        ours: where it is one of checkpoints.
        lines: where it is one of text files.
        chance: what decides.
        states: what each commit holds.
        pasts: the commits in the history of each, itself included.
    """

    ours: Repo
    lines: Repo
    chance: random.Random
    states: list[State] = field(default_factory=list)
    pasts: list[set[int]] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, seed: int) -> World:
        world = cls(Repo.init(folder / "ours"), Repo.init(folder / "lines"), random.Random(seed))
        world.ours.theta("track", MODEL)
        world.lines.git("config", "merge.renames", "false")
        world.commit(START)
        return world

    def commit(self, state: State, *parents: int, tree: str = "") -> int:
        """A new commit of this state, in both."""
        number = len(self.states)
        for repo, made in ((self.ours, tree or self.tree(state)), (self.lines, self.tree_of_lines(state))):
            named = [word for parent in parents for word in ("-p", f"c{parent}")]
            commit = repo.git("commit-tree", made, *named, "-m", f"c{number}").stdout.strip()
            repo.git("update-ref", f"refs/heads/c{number}", commit)
        self.states.append(state)
        self.pasts.append({number}.union(*(self.pasts[parent] for parent in parents)))
        return number

    def tree(self, state: State) -> str:
        with here(self.ours) as workspace:
            metadata = workspace.cleaner.clean(iter([checkpoint(state)]), MODEL)
        return tree(self.ours, {".gitattributes": self.ours.read(".gitattributes"), MODEL: metadata})

    def tree_of_lines(self, state: State) -> str:
        return tree(self.lines, {name: f"{name} is {value}\n".encode() for name, value in state.items()})

    def state(self, tree: str) -> State:
        """What the checkpoint of a tree holds."""
        data = self.ours.git_bytes("cat-file", "blob", f"{tree}:{MODEL}")
        assert b"undecided" not in data
        with here(self.ours) as workspace:
            return state_of(b"".join(map(bytes, workspace.smudger.smudge(parse(data), data, MODEL))))

    def merged_lines(self, one: str, two: str) -> tuple[str, dict[str, str]]:
        """The tree that git makes of two commits of lines, and what is in it."""
        done = self.lines.git("merge-tree", "--write-tree", "--no-messages", "--name-only", "-z", one, two, check=False)
        made, *conflicts = done.stdout.split("\0")[:-1]
        names = self.lines.git("ls-tree", "--name-only", made).stdout.split()
        shown = {name: self.lines.git("cat-file", "blob", f"{made}:{name}").stdout for name in names}
        found = {name: text.removeprefix(f"{name} is ").removesuffix("\n") for name, text in shown.items()}
        return made, found | dict.fromkeys(conflicts, CONFLICT)

    def merge(self, one: int, two: int) -> None:
        """Merge two commits, and compare."""
        _, wanted = self.merged_lines(f"c{one}", f"c{two}")
        is_clean = CONFLICT not in wanted.values()
        merge = ("merge-tree", "--write-tree", "--no-messages", f"c{one}", f"c{two}")
        done = self.ours.git(*merge, check=False)
        assert (done.returncode, wanted) == (0 if is_clean else 1, wanted), done.stderr
        if not is_clean:
            done = self.ours.git(*merge, env={"GIT_THETA_MERGE": "ours otherwise=ours"})
            mine = self.states[one]
            known = {name: mine.get(name, "") if value == CONFLICT else value for name, value in wanted.items()}
            wanted = {name: value for name, value in known.items() if value}
        made = done.stdout.strip()
        assert self.state(made) == wanted
        self.commit(wanted, one, two, tree=made)

    def merge_several(self, numbers: Sequence[int]) -> None:
        """Merge several commits at once: each thing is as in an order in which git merges them one by one."""
        outcomes: dict[str, set[str]] = {}
        for order in itertools.permutations(numbers):
            merged, found, clashed = f"c{order[0]}", dict(self.states[order[0]]), set[str]()
            for number in order[1:]:
                made, found = self.merged_lines(merged, f"c{number}")
                clashed |= {name for name, value in found.items() if value == CONFLICT}
                parents = ("-p", merged, "-p", f"c{number}")
                merged = self.lines.git("commit-tree", made, *parents, "-m", "x").stdout.strip()
            for name in (*GROUPS, *TEXTS):
                outcomes.setdefault(name, set()).add(CONFLICT if name in clashed else found.get(name, ""))
        joined, decided = self.joined(numbers)
        if joined.tree is None:
            assert any(CONFLICT in found for found in outcomes.values())
        assert decided.tree is not None
        state = self.state(decided.tree)
        for name, given in outcomes.items():
            if given == {CONFLICT}:
                assert joined.tree is None, name
            elif joined.tree is not None or CONFLICT not in given:
                assert state.get(name, "") in given, name

    def joined(self, numbers: Sequence[int]) -> tuple[Joined, Joined]:
        """What comes of a merge of several if nobody decides, and if ours is taken."""
        with here(self.ours) as workspace:
            repository, store = workspace.repository, workspace.store
            sides = [Side(f"c{number}", self.ours.rev(f"c{number}")) for number in numbers]
            found = survey(repository, sides_of(repository, sides), workspace.merger)
            with Trees.beside(repository, store.temporary_directory(), keep=True) as trees:
                left = join(found, trees, workspace.merger, lambda _meeting: lambda _conflicts: {})
                decided = join(found, trees, workspace.merger, lambda _meeting: ours_where_asked)
        return left, decided

    def step(self) -> None:
        """Something that happens to a history. That two commits are merged twice makes it a criss-cross."""
        last = range(max(0, len(self.states) - 6), len(self.states))
        size = 3 if self.chance.random() < 0.2 else 2
        apart = [numbers for numbers in itertools.permutations(last, size) if self.are_apart(numbers)]
        if not apart or self.chance.random() < 0.45:
            start = self.chance.choice(last)
            self.commit(self.changed(self.states[start]), start)
        elif size == 2:
            self.merge(*self.chance.choice(apart))
        else:
            self.merge_several(self.chance.choice(apart))

    def are_apart(self, numbers: Sequence[int]) -> bool:
        """Whether none of the commits is in the history of another one."""
        return not any(one in self.pasts[two] for one, two in itertools.permutations(numbers, 2))

    def changed(self, state: State) -> State:
        """The state with a few other values; the first group stays."""
        after = dict(state)
        for name in self.chance.sample([*GROUPS[1:], *TEXTS], self.chance.choice([1, 1, 2])):
            after[name] = self.chance.choice(VALUES[:3] if name in TEXTS else VALUES)
            if self.chance.random() < 0.2:
                del after[name]
        return after


def tree(repo: Repo, files: Mapping[str, bytes]) -> str:
    blobs = {
        name: repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=data).stdout.strip()
        for name, data in files.items()
    }
    listed = "".join(f"100644 blob {blob}\t{name}\n" for name, blob in blobs.items())
    return repo.git("mktree", stdin=listed).stdout.strip()


@pytest.mark.parametrize("seed", [2])
def test_groups_merge_as_lines_do(tmp_path: Path, seed: int) -> None:
    world = World.make(tmp_path, seed)
    for _ in range(STEPS):
        world.step()
