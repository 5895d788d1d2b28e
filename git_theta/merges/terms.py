"""Which of the arrays that a merge method gets make a difference, told without their values."""

from __future__ import annotations

from numbers import Real

from git_theta.errors import PluginError
from git_theta.merges import Factors, MergeMethod, ReadsBase
from git_theta.merges.parameters import Params
from git_theta.merges.plugged import guarded


def weights(method: MergeMethod, params: Params, count: int, *, has_base: bool) -> tuple[float, ...] | None:
    """The weights of so many inputs and of the base, of a method that sums them up; None for any other.

    Raises:
        MergeError: the parameters do not suit the inputs.
        PluginError: the method is a plug-in and broken.
    """
    factors: Factors | None = getattr(method, "factors", None)
    if factors is None:
        return None
    with guarded(method.name):
        found = factors(count, has_base, params)
    numbers = isinstance(found, tuple) and all(isinstance(one, Real) for one in found)
    if not numbers or len(found) != count + has_base:
        raise PluginError(f"the merge method {method.name} did not give one factor for each input and for the base")
    return found


def reads_base(method: MergeMethod, params: Params, count: int) -> bool:
    """Whether the values of a base make a difference to the result, for so many inputs.

    Raises:
        MergeError: the parameters do not suit the inputs.
        PluginError: the method is a plug-in and broken.
    """
    asked: ReadsBase | None = getattr(method, "reads_base", None)
    if asked is not None:
        with guarded(method.name):
            found = asked(count, params)
        if not isinstance(found, bool):
            raise PluginError(f"the merge method {method.name} did not say whether it reads the base: True or False")
        return found
    summed = weights(method, params, count, has_base=True)
    return method.uses_base if summed is None else summed[-1] != 0
