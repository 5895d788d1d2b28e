"""What the biases of a checkpoint tell about its matrices: kept as (out, in), or transposed, as (in, out)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from git_theta.updates.sidedata.changes import Targets

_WEIGHT: Final = re.compile(r"(?P<module>.+)[./]weight", re.DOTALL)


class Biases(Struct, frozen=True):
    """Whether matrices beside a bias are transposed; told by those that are not square, as a bias is as long as `out`.

    Attributes:
        by_name: of modules with one last name, as `c_proj` in every layer of GPT-2.
        within: of all modules within one module; within "" are all.
    """

    by_name: Mapping[str, frozenset[bool]]
    within: Mapping[str, frozenset[bool]]

    @classmethod
    def of(cls, targets: Targets) -> Biases:
        """Look at all matrices of a checkpoint that have a bias."""
        by_name: defaultdict[str, set[bool]] = defaultdict(set)
        within: defaultdict[str, set[bool]] = defaultdict(set)
        for group, (_, shape) in targets.items():
            match = _WEIGHT.fullmatch(group)
            if match is None or len(shape) != 2 or shape[0] == shape[1]:
                continue
            _, bias = targets.get(f"{group.removesuffix('weight')}bias", ("", ()))
            if len(bias) == 1 and bias[0] in shape:
                transposed = bias[0] == shape[1]
                by_name[_last(match["module"])].add(transposed)
                for outer in _around(match["module"]):
                    within[outer].add(transposed)
        return cls(_frozen(by_name), _frozen(within))

    def transposed(self, group: str) -> frozenset[bool]:
        """How the matrices most like a group are kept; nothing where none tells, both ways where they differ."""
        match = _WEIGHT.fullmatch(group)
        module = match["module"] if match else ""
        found = self.by_name.get(_last(module))
        nearest = (self.within[outer] for outer in _around(module) if outer in self.within)
        return found or next(nearest, frozenset())


def _last(module: str) -> str:
    return re.split("[./]", module)[-1]


def _around(module: str) -> Iterator[str]:
    """The modules that a module is part of, from the nearest to the whole model, which is ""."""
    while module:
        module = module[: max(module.rfind("."), module.rfind("/"), 0)]
        yield module


def _frozen(ways: Mapping[str, set[bool]]) -> dict[str, frozenset[bool]]:
    return {name: frozenset(found) for name, found in ways.items()}
