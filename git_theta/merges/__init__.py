"""Merge methods: each makes one parameter group's values from those of several sides. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta.merges.parameters import Parameter, Params
from git_theta.merges.plugged import checked
from git_theta.registry import PLUG_INS, Family

Array = npt.NDArray[Any]
"""Values of a group: float16, bfloat16, float32 or float64."""

Draw = Callable[[Array], npt.NDArray[np.bool_]]
"""Draws a mask: from the probability of each element to be kept (of the group's shape) to the elements that are."""


class MergeMethod(Protocol):
    """A merge method."""

    @property
    def name(self) -> str:
        """As users write it."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What may be set."""

    @property
    def needs_base(self) -> bool:
        """Whether it makes no sense without a base (in a merge: the common ancestor)."""

    @property
    def uses_base(self) -> bool:
        """Whether it looks at a base if there is one."""

    @property
    def inputs(self) -> tuple[int, int | None]:
        """The least and the largest number of inputs, the base not counted; None if there is no limit."""

    @property
    def elementwise(self) -> bool:
        """Whether the result at a position depends on nothing but the values there, so that blocks may be merged."""

    def merge(self, inputs: Sequence[Array], base: Array | None, params: Params, draw: Sequence[Draw]) -> Array:
        """Merge one parameter group.

        Args:
            inputs: arrays of one shape (at least one element) and one dtype (float16, bfloat16, float32, float64), all
                values finite, as many as `inputs` allows. They must not be written to.
            base: like the inputs; None only if `needs_base` is false.
            params: a value for each of `parameters`.
            draw: one for each input, for methods that choose at random.

        Returns:
            A new array of that shape, of the inputs' dtype or a wider one, which the caller rounds.

        Raises:
            MergeError: these inputs have no meaningful result; says why in one line.
        """


Factors = Callable[[int, bool, Params], tuple[float, ...]]
"""Gives the factors of a weighted sum: from the number of inputs, whether there is a base, and the parameters to one
factor for each input, then that of the base if there is one. A factor of 0 stands for what the sum does not need."""

ReadsBase = Callable[[int, Params], bool]
"""Tells from the number of inputs and the parameters whether the values of a base make a difference."""

COPIES: Final = 2
"""Those of a method that does not say how many arrays it makes."""

Compute = Callable[[Sequence[Array], Array | None, Params, Sequence[Draw]], Array]


class Method(Struct, frozen=True):
    """A merge method made from a function; see `MergeMethod` for what the attributes mean.

    Attributes:
        factors: of a method whose result is a weighted sum, which then needs not be stored. Optional for plug-ins, too.
        reads_base: of a method that looks at a base only for some parameters or numbers of inputs: it is not given one
            that it does not look at, which may hold anything. Optional for plug-ins, too.
        copies: arrays of a group's size that it makes beside its inputs, as a rule.
    """

    name: str
    compute: Compute
    parameters: tuple[Parameter, ...] = ()
    needs_base: bool = False
    uses_base: bool = True
    inputs: tuple[int, int | None] = (1, None)
    elementwise: bool = False
    factors: Factors | None = None
    reads_base: ReadsBase | None = None
    copies: int = COPIES

    def merge(self, inputs: Sequence[Array], base: Array | None, params: Params, draw: Sequence[Draw]) -> Array:
        """Merge one parameter group; see `MergeMethod`."""
        return self.compute(inputs, base, params, draw)


def wanted_inputs(method: MergeMethod) -> str:
    """How many inputs a method takes, for messages."""
    low, high = method.inputs
    if (low, high) == (1, 1):
        return "1 input"
    return f"{low} inputs" if low == high else f"{low} or more inputs" if high is None else f"{low} to {high} inputs"


def merge_methods() -> Family[MergeMethod]:
    """The family of merge methods."""
    return Family("merge method", f"{PLUG_INS}merges", _BUILTINS, adapt=checked)


_BUILTINS: Final = {
    "ours": "git_theta.merges.sides:ours",
    "theirs": "git_theta.merges.sides:theirs",
    "ancestor": "git_theta.merges.sides:ancestor",
    "average": "git_theta.merges.linear:average",
    "linear": "git_theta.merges.linear:linear",
    "task_arithmetic": "git_theta.merges.task_vectors:task_arithmetic",
    "ties": "git_theta.merges.task_vectors:ties",
    "dare_linear": "git_theta.merges.task_vectors:dare_linear",
    "dare_ties": "git_theta.merges.task_vectors:dare_ties",
    "della_linear": "git_theta.merges.task_vectors:della_linear",
    "della": "git_theta.merges.task_vectors:della",
    "breadcrumbs": "git_theta.merges.task_vectors:breadcrumbs",
    "breadcrumbs_ties": "git_theta.merges.task_vectors:breadcrumbs_ties",
    "slerp": "git_theta.merges.slerp:slerp",
    "nuslerp": "git_theta.merges.nuslerp:nuslerp",
    "multislerp": "git_theta.merges.multislerp:multislerp",
    "karcher": "git_theta.merges.karcher:karcher",
    "model_stock": "git_theta.merges.model_stock:model_stock",
    "sce": "git_theta.merges.sce:sce",
    "nearswap": "git_theta.merges.nearswap:nearswap",
    "arcee_fusion": "git_theta.merges.arcee_fusion:arcee_fusion",
    "ram": "git_theta.merges.ram:ram",
    "ramplus_tl": "git_theta.merges.ram:ramplus_tl",
    "magmax": "git_theta.merges.magmax:magmax",
    "emr": "git_theta.merges.emr:emr",
    "tsv_m": "git_theta.merges.spectra:tsv_m",
    "iso_c": "git_theta.merges.spectra:iso_c",
    "expo": "git_theta.merges.expo:expo",
    "passthrough": "git_theta.merges.passthrough:passthrough",
}
