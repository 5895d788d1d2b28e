"""Decisions that were begun: kept when the user leaves a merge half-way, and found again when the same is asked again.

One small file for each checkpoint that was asked about, in the worktree's own git directory. It is never relied on: a
draft that is damaged, or belongs to other conflicts, is as good as none.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from msgspec import Struct

from git_theta.errors import MergeError
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Conflict, Decision
from git_theta.merges.fitting import ROWS, VERSIONS
from git_theta.merges.parameters import Parameter, Value
from git_theta.merges.session import Session, Step
from git_theta.replacing import token

_FOLDER: Final = "drafts"
_VERSION: Final = 1


class Draft(Struct, frozen=True):
    """The draft of one checkpoint's merge.

    Attributes:
        file: where it is kept.
        methods: that merge values, by name.
    """

    file: Path
    methods: Mapping[str, MergeMethod]

    @classmethod
    def of(cls, folder: Path, path: str, methods: Mapping[str, MergeMethod]) -> Draft:
        """The draft of a checkpoint.

        Args:
            folder: Git-Theta's, in the git directory of the worktree.
            path: of the checkpoint, from the top.
            methods: that merge values, by name.
        """
        name = blake3(path.encode("utf-8", "surrogateescape")).hexdigest(length=16)
        return cls(folder / _FOLDER / f"{name}.json", methods)

    def restored(self, session: Session) -> Session:
        """A session with the decisions of the draft; the same one if there are none for these conflicts."""
        try:
            return self._read(session)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MergeError):
            return session

    def keep(self, session: Session) -> bool:
        """Keep the decisions so far in place of what was kept; False if they cannot be kept."""
        steps = [
            {"method": step.decision.method, "with": dict(step.decision.parameters), "names": step.names}
            for step in session.steps
        ]
        text = json.dumps({"version": _VERSION, "conflicts": key(session.conflicts), "steps": steps})
        temporary = self.file.with_suffix(f".{token()}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.file)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        return True

    def _read(self, session: Session) -> Session:
        found = json.loads(self.file.read_bytes())
        if found["version"] != _VERSION or found["conflicts"] != key(session.conflicts):
            return session
        steps = tuple(self._step(step, session) for step in found["steps"])
        return Session(session.conflicts, session.fits, steps)

    def _step(self, found: Any, session: Session) -> Step:
        """A step, checked like what is typed.

        Raises:
            ValueError: it does not fit what it is for.
        """
        method, names = found["method"], tuple(found["names"])
        if not names or len(set(names)) != len(names) or any(method not in session.fits[name] for name in names):
            raise ValueError("the draft has a method for what it does not fit")
        table = {} if method in (*VERSIONS, ROWS) else {item.name: item for item in self.methods[method].parameters}
        given = sorted(found["with"].items())
        return Step(Decision(method, tuple((name, _value(table[name], value)) for name, value in given)), names)


def key(conflicts: Sequence[Conflict]) -> str:
    """A digest that tells these conflicts from all others."""
    hasher = blake3()
    for conflict in conflicts:
        entries = [None if entry is None else entry.identity for entry in (conflict.ancestor, *conflict.sides)]
        text = json.dumps([conflict.name, conflict.clash, entries, conflict.texts])
        hasher.update(text.encode() + b"\n")
    return hasher.hexdigest()


def _value(parameter: Parameter, value: object) -> Value | tuple[Value, ...]:
    if isinstance(value, list):
        return tuple(parameter.check(part) for part in value)
    return parameter.check(value)
