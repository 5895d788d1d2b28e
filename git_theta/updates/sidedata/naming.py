"""Names in update data and in checkpoints: which group is meant, and how names are listed in messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Final

from msgspec import Struct

from git_theta import printing, tensors

listed: Final = partial(printing.listed, most=10)
"""Names in a message: of an adapter, more of them than elsewhere tell which model it is for."""


def plain(name: str) -> str:
    """The name without escapes: "h.0.attn/R" for both `h.0.attn/R` and `h.0.attn~1R`."""
    return "/".join(tensors.split_name(name))


class Modules(Struct, frozen=True):
    """The groups of a checkpoint, found by the dotted names that they have in a PyTorch model.

    Attributes:
        exact: groups by their dotted name.
        endings: groups by each proper ending of their dotted name.
    """

    exact: dict[str, list[str]]
    endings: dict[str, list[str]]

    @classmethod
    def of(cls, groups: Iterable[str]) -> Modules:
        """All groups of a checkpoint, by their names there."""
        exact, endings = defaultdict(list), defaultdict(list)
        for group in groups:
            dotted = plain(group).replace("/", ".")
            exact[dotted].append(group)
            for position, letter in enumerate(dotted):
                if letter == ".":
                    endings[dotted[position + 1 :]].append(group)
        return cls(dict(exact), dict(endings))

    def find(self, name: str) -> list[str]:
        """The groups that a dotted name may mean: one if it is clear.

        The group of just this name; else those of a longer name that ends with it, and those of a shorter name that
        it ends with, where what is left out has no number: "model.layers.1.proj.weight" is not "proj.weight".
        """
        if name in self.exact:
            return self.exact[name]
        found = list(self.endings.get(name, ()))
        parts = name.split(".")
        for left_out in range(1, len(parts) - 1):
            if parts[left_out - 1].isdigit():
                break
            found += self.exact.get(".".join(parts[left_out:]), ())
        return found
