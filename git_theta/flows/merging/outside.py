"""What becomes of all that is no group in a merge."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from git_theta.flows.merging.plan import STRUCTURE
from git_theta.merges.decisions import Conflict


class Outside(Struct, frozen=True):
    """What becomes of all that is no group.

    Attributes:
        version: the one whose file is followed, by its number in `Versions.all`; None if that is in conflict.
        texts: values that are taken from another version, by name; numbers as before.
        conflicts: what has to be decided.
        is_whole: whether it is about the whole file, groups included.
        wholes: the names of texts that are taken with all that lies below them, groups included.
        names: as in `MergedTexts`.
    """

    version: int | None
    texts: Mapping[str, int] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    is_whole: bool = False
    wholes: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def decided(self, numbers: Mapping[str, int]) -> Outside:
        """The same with its conflicts settled: by name, the version that is taken."""
        own = {self.names.get(name, name): number for name, number in numbers.items() if name != STRUCTURE}
        texts = {name: number for name, number in own.items() if number != self.version}
        return replace(self, version=numbers.get(STRUCTURE, self.version), texts={**self.texts, **texts}, conflicts=())
