"""Which layer of a model a group belongs to, and parameters that change from the first layer to the last."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from git_theta import tensors

# A whole number of its own between dots and slashes ("h.0.attn"), or at the end of such a part ("layers_0/kernel").
# More digits than any model has layers are no number of a layer.
_LAYER: Final = re.compile(r"(?:(?<=[./_])|^)([0-9]{1,6})(?=[./]|$)")


class Gradient(Struct, frozen=True):
    """A number that changes from the first layer to the last: straight lines through equally spaced points."""

    points: tuple[float, ...]

    def at(self, depth: float) -> float:
        """The number at a depth, from 0 (the first layer) to 1 (the last)."""
        place = depth * (len(self.points) - 1)
        left = min(int(place), len(self.points) - 1)
        right = min(left + 1, len(self.points) - 1)
        share = place - left
        return (1.0 - share) * self.points[left] + share * self.points[right]


class Layers(Struct, frozen=True):
    """How many layers the stacks of a model have.

    Attributes:
        counts: by what stands before the number in the names of a stack's groups, such as "h.".
    """

    counts: Mapping[str, int]

    @classmethod
    def of(cls, names: Iterable[str]) -> Layers:
        """The stacks that the groups of these names make up."""
        counts: dict[str, int] = {}
        for name in names:
            found = _layer(name)
            if found:
                stack = found.string[: found.start()]
                counts[stack] = max(counts.get(stack, 0), int(found[1]) + 1)
        return cls(counts)

    def depth(self, name: str) -> float:
        """Where a group lies, from 0 to 1.

        A group without a number (embeddings, the last norm, the head) is at 0 and one of a single layer at 1: so it is
        in mergekit.
        """
        found = _layer(name)
        if not found:
            return 0.0
        count = self.counts.get(found.string[: found.start()], 1)
        return 1.0 if count < 2 else min(int(found[1]) / (count - 1), 1.0)


def _layer(name: str) -> re.Match[str] | None:
    """The number of the layer; a slash in a key ("net/h_0" in Haiku's files) is as good as one between keys."""
    return _LAYER.search("/".join(tensors.split_name(name)))
