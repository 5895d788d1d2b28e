"""What an adapter's weights for one module change, as PEFT documents merging them.

LoRA: weight + scaling * (B @ A). PEFT multiplies the product with the scaling; here B is multiplied with it, in
float32, so that the change is one product of two factors. The last bits may thus differ from what PEFT's merge gives,
unless the scaling is a power of two; and where PEFT rounds the product to 16 bits before it adds it.
(IA)^3: weight * scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
from msgspec import Struct

from git_theta.errors import UsageError
from git_theta.updates.sidedata.biases import Biases
from git_theta.updates.sidedata.changes import Change, Either, LowRank, Scale, SparseChange, Targets, Told
from git_theta.updates.sidedata.naming import listed
from git_theta.updates.sidedata.peft_config import Settings
from git_theta.updates.sidedata.values import Floats, Values, coarsest, floats

_LORA: Final = ("lora_A.weight", "lora_B.weight")


class Part(Struct, frozen=True):
    """What an adapter has for one module.

    Attributes:
        module: its name in the model.
        names: in the adapter's file, by role: "lora_A.weight", "lora_B.bias", "lora_embedding_A", "ia3_l" and so on.
        values: by role.
        group: of the checkpoint, that holds the module's weight.
        shape: of the group.
        scales_input: (IA)^3 scales the module's input.
    """

    module: str
    names: Mapping[str, str]
    values: Mapping[str, Values]
    group: str
    shape: tuple[int, ...]
    scales_input: bool

    def floats(self, role: str) -> Floats:
        """The values of a role.

        Raises:
            UsageError: they are damaged, or no floating-point numbers.
        """
        return floats(self.names[role], self.values[role])

    def coarsest(self) -> str:
        """The dtype of what the adapter has for the module; of several, the one of the fewest bits."""
        return coarsest(values.dtype for values in self.values.values())

    def misfit(self) -> UsageError:
        """The error to raise when the shapes do not fit."""
        shapes = listed([f"{role} {list(values.shape)}" for role, values in self.values.items()])
        return UsageError(
            f"the adapter does not fit the group {self.group!r}: {shapes} for a group of shape {list(self.shape)}"
        )


class Orientation(Struct, frozen=True):
    """How the matrices that an adapter is for are kept: (out, in) or (in, out).

    PEFT keeps one flag for all modules and sets it anew for each, so what is saved is that of the last module.

    Attributes:
        flag: what the configuration says.
        trusted: no matrix that the adapter is for contradicts the flag.
        biases: what they tell about the others of the checkpoint.
    """

    flag: bool
    trusted: bool
    biases: Biases

    @classmethod
    def of(cls, parts: Iterable[Part], targets: Targets, flag: bool) -> Orientation:
        """Look at all matrices that are not square."""
        fitting = [_fitting(part) for part in parts]
        return cls(flag, [not flag] not in fitting, Biases.of(targets))

    def told(self, part: Part, change: Callable[[bool], Change]) -> Told:
        """The change of the module's matrix, made from whether that is kept as (in, out).

        Raises:
            UsageError: the adapter does not fit it.
        """
        fitting = _fitting(part)
        if not fitting:
            raise part.misfit()
        if len(fitting) == 1:
            return change(fitting[0])
        return Either(part.group, change(self.flag), change(not self.flag), self._doubt(part))

    def _doubt(self, part: Part) -> str:
        """What contradicts the flag for a square matrix."""
        if self.trusted and self.biases.transposed(part.group) <= {self.flag}:
            return ""
        return (
            f"the adapter says fan_in_fan_out = {self.flag}, but not all weights that it is for, or that are like "
            f"them, are kept so, and the group {part.group!r} is square: merge it with PEFT and try again on the "
            "merged file, or give its factors as '<group>/R' and '<group>/C'"
        )


def merged(part: Part, targets: Targets, settings: Settings, orientation: Orientation) -> list[Told]:
    """The changes of the module's weight and bias.

    Args:
        part: what the adapter has for the module.
        targets: the groups of the checkpoint: dtype and shape by name.
        settings: of the adapter.
        orientation: of its matrices.

    Raises:
        UsageError: the weights do not fit the group or the settings.
    """
    if "ia3_l" in part.values:
        return _scales(part, targets, orientation)
    a, b = ("lora_embedding_A", "lora_embedding_B") if "lora_embedding_A" in part.values else _LORA
    shape_a, shape_b = (tuple(part.values[role].shape) for role in (a, b))
    if len(shape_a) < 2 or len(shape_a) != len(shape_b) or shape_a[0] != shape_b[1]:
        raise part.misfit()
    scaling = settings.scaling(part.module, shape_a[0])
    with np.errstate(all="ignore"):
        factor_a, factor_b = part.floats(a), part.floats(b)
        factor_b = factor_b * factor_b.dtype.type(scaling)
    changes: list[Told] = [_low_rank(part, factor_a, factor_b, orientation)]
    if "lora_B.bias" in part.values:
        changes.append(_bias_sum(part, targets, scaling))
    return changes


def _fitting(part: Part) -> list[bool]:
    """The ways, plain (False) or transposed (True), in which the adapter's shapes fit those of a matrix."""
    if len(part.shape) != 2:
        return []
    extents: tuple[int | None, int | None]
    if "ia3_l" in part.values:
        extents = _scaled(part)
    elif all(role in part.values and len(part.values[role].shape) == 2 for role in _LORA):
        extents = part.values["lora_B.weight"].shape[0], part.values["lora_A.weight"].shape[1]
    else:
        return []
    ways = ((False, extents), (True, extents[::-1]))
    return [way for way, wanted in ways if all(a in (None, b) for a, b in zip(wanted, part.shape, strict=True))]


def _scaled(part: Part) -> tuple[int | None, int | None]:
    """The numbers of outputs and inputs that a scale is for: one of them, and None for the other."""
    shape = tuple(part.values["ia3_l"].shape)
    count = math.prod(shape)
    by_input = shape[:1] == (1,) and (count > 1 or part.scales_input)
    if shape != ((1, count) if by_input else (count, 1)):
        raise part.misfit()
    return (None, count) if by_input else (count, None)


def _low_rank(part: Part, a: Floats, b: Floats, orientation: Orientation) -> Told:
    """The change b @ a, where b is scaled already, in the shape in which the group is kept."""
    given = part.coarsest()
    if "lora_embedding_A" in part.values:
        if (a.shape[1:], b.shape[:1]) != (part.shape[:1], part.shape[1:]):
            raise part.misfit()
        return LowRank(part.group, _contiguous(a.T), _contiguous(b.T), given)
    if a.ndim == 2:

        def kept(transposed: bool) -> LowRank:
            return LowRank(part.group, *((_contiguous(a.T), _contiguous(b.T)) if transposed else (b, a)), given)

        return orientation.told(part, kept)
    if (b.shape[0], *a.shape[1:]) != part.shape or math.prod(b.shape[2:]) != 1:
        raise part.misfit()
    return LowRank(part.group, b.reshape(b.shape[:2]), a.reshape(len(a), -1), given)


def _contiguous(array: Floats) -> Floats:
    return np.ascontiguousarray(array)


def _bias_sum(part: Part, targets: Targets, scaling: float) -> SparseChange:
    """The bias that the adapter adds; a sparse change of all elements, for want of a sum."""
    bias = part.floats("lora_B.bias")
    group = _bias(part)
    if group not in targets:
        raise UsageError(f"the adapter has {part.names['lora_B.bias']!r}, but the checkpoint has no group {group!r}")
    if bias.ndim != 1:
        raise part.misfit()
    data = bias * bias.dtype.type(scaling)
    return SparseChange(group, data, np.arange(len(bias)), (1, len(bias)), part.coarsest())


def _bias(part: Part) -> str:
    """The group of the module's bias, spelled as that of its weight."""
    return part.group.removesuffix("weight") + "bias"


def _scales(part: Part, targets: Targets, orientation: Orientation) -> list[Told]:
    """The scale of the weight and, if the output is scaled, of the bias."""
    vector = part.floats("ia3_l")
    if len(part.shape) == 2:
        by_input = _scaled(part)[0] is None
        told = orientation.told(part, lambda way: Scale(part.group, _contiguous(vector.T if way else vector)))
    else:
        by_input = part.scales_input
        told = Scale(part.group, _contiguous(_kernel_scale(part, vector)))
    changes = [told]
    if not by_input and _bias(part) in targets:
        changes.append(Scale(_bias(part), vector.reshape(-1)))
    return changes


def _kernel_scale(part: Part, vector: Floats) -> Floats:
    """The scale of a convolution's kernel of shape (out, in / groups, ...), from one of shape (1, features, 1, ...)."""
    if len(part.shape) < 3 or vector.shape != (1, vector.size, *(1,) * (len(part.shape) - 2)):
        raise part.misfit()
    if not part.scales_input:
        return vector.swapaxes(0, 1)
    outputs, inputs = part.shape[:2]
    if vector.size == inputs:
        return vector
    count = vector.size // max(1, inputs)
    if not inputs or not count or vector.size % inputs or outputs % count:
        raise part.misfit()
    grouped = vector.reshape(count, 1, inputs, *vector.shape[2:])
    return grouped.repeat(outputs // count, axis=1).reshape(outputs, inputs, *vector.shape[2:])
