"""What a decision about a group asks for: one of the versions as it is, or a job for a merge method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from git_theta.errors import MergeError
from git_theta.flows.merging import rows
from git_theta.merges import MergeMethod, fitting, terms
from git_theta.merges.arrays import check_count
from git_theta.merges.decisions import Clash, Conflict, Decision
from git_theta.merges.parameters import Params, Value, resolve
from git_theta.metadata import Entry, MergeRecord
from git_theta.registry import Family
from git_theta.tensors import WORKING

_RECORDED: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)
"""What can stand in a metadata file as the name of a method."""


class Job(Struct, frozen=True, eq=False):
    """A group whose values are to be made.

    Attributes:
        conflict: that it settles.
        dtype: that the merged values have.
        inputs: the groups that are merged, ours first; a side that has none, or left it alone, is left out.
        base: the group in the ancestor, if it can be of use.
        method: that merges them; None to merge row by row.
        given: parameters for it, one value for each of the inputs where it takes several.
        record: what the merged group says of it.
    """

    conflict: Conflict
    dtype: str
    inputs: tuple[Entry, ...]
    base: Entry | None
    method: MergeMethod | None
    given: Mapping[str, Value | tuple[Value, ...]]
    record: MergeRecord

    @property
    def name(self) -> str:
        """Of the group."""
        return self.conflict.name

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All groups that are read, the base last."""
        return self.inputs if self.base is None else (*self.inputs, self.base)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the inputs; of the first, if they are merged row by row."""
        return self.inputs[0].shape

    @property
    def nbytes(self) -> int:
        """Bytes of the largest input."""
        return max(entry.nbytes for entry in self.inputs)

    def terms(self) -> list[tuple[float, Entry]] | None:
        """The weighted sum that the result is, terms of weight 0 left out; None if it is none that can be kept so.

        Raises:
            MergeError: the parameters do not suit the inputs.
        """
        if self.method is None:
            return None
        params = resolve(self.method.name, self.method.parameters, self.given, len(self.inputs))
        weights = terms.weights(self.method, params, len(self.inputs), has_base=self.base is not None)
        if weights is None:
            return None
        summed = [pair for pair in zip(weights, self.entries, strict=True) if pair[0] != 0]
        return summed if summed and all(entry.dtype == self.dtype for _, entry in summed) else None


def job_of(
    conflict: Conflict, decision: Decision, methods: Family[MergeMethod], *, is_opaque: bool
) -> Job | Entry | None:
    """What a decision about a group asks for.

    Args:
        conflict: about a group.
        decision: about it.
        methods: that there are.
        is_opaque: whether the group is the whole of a file that no format claims.

    Returns:
        A job, or the group of one version as it is; None if it shall be removed.

    Raises:
        MergeError: the decision does not suit the conflict.
        PluginError: the method is unknown or broken.
    """
    name = decision.method
    if name in fitting.VERSIONS:
        return taken(conflict, decision)
    if name == rows.METHOD:
        return _by_rows(conflict, is_opaque=is_opaque)
    if conflict.clash is not Clash.VALUES:
        raise MergeError(f"{name} does not suit a group that is {conflict.clash}: take one side")
    method = methods.get(name)
    if not _RECORDED.fullmatch(name):
        raise MergeError(f"the merge method {name!r} has a name that a metadata file cannot hold")
    numbers = fitting.inputs(conflict)
    inputs = tuple(side for side in (conflict.sides[number] for number in numbers) if side is not None)
    given = {key: _picked(value, numbers, len(conflict.sides)) for key, value in decision.parameters}
    params = resolve(name, method.parameters, given, len(inputs))
    base = conflict.ancestor
    if not method.needs_base and not terms.reads_base(method, params, len(inputs)):
        base = None
    if base is not None and base.shape != inputs[0].shape:
        base = None
    check_count(method, len(inputs), has_base=base is not None)
    if inputs[0].dtype not in WORKING:
        raise MergeError(f"{name} cannot merge values of dtype {inputs[0].dtype} that differ: take one side")
    return Job(conflict, inputs[0].dtype, inputs, base, method, given, _record(method, given, params))


def taken(conflict: Conflict, decision: Decision) -> Entry | None:
    """The group of the version that a decision names.

    Raises:
        MergeError: it names the ancestor, and there is none.
    """
    if decision.parameters:
        raise MergeError(f"{decision.method} has no parameters")
    if decision.method != fitting.ANCESTOR:
        return conflict.sides[fitting.SIDES.index(decision.method)]
    if conflict.ancestor is None:
        raise MergeError("there is no ancestor that has it: take one side")
    return conflict.ancestor


def _picked(value: Value | tuple[Value, ...], numbers: Sequence[int], count: int) -> Value | tuple[Value, ...]:
    """A parameter's values for the sides that have the group, of those for all sides."""
    return tuple(value[number] for number in numbers) if isinstance(value, tuple) and len(value) == count else value


def _record(method: MergeMethod, given: Mapping[str, object], params: Params) -> MergeRecord:
    """Parameters that differ from their defaults, and the seed."""
    defaults = {parameter.name: parameter.default for parameter in method.parameters}
    kept = {}
    for name, value in params.values.items():
        values = value if isinstance(value, tuple) else (value,)
        if name == "seed" or any(one != defaults[name] for one in values):
            kept[name] = value if isinstance(given.get(name), tuple) or not isinstance(value, tuple) else value[0]
    return MergeRecord(method.name, tuple(sorted(kept.items())))


def _by_rows(conflict: Conflict, *, is_opaque: bool) -> Job:
    sides = tuple(side for side in conflict.sides if side is not None)
    if conflict.clash is not Clash.SHAPE or is_opaque:
        raise MergeError("rows is for groups that differ in their number of rows: take one side")
    base = conflict.ancestor
    rows.check_rows([side.shape for side in sides])
    if base is not None and (base.dtype != sides[0].dtype or base.shape[1:] != sides[0].shape[1:] or not base.shape):
        base = None
    rows.row_nbytes(sides[0].dtype, sides[0].shape)
    return Job(conflict, sides[0].dtype, sides, base, None, {}, MergeRecord(rows.METHOD))
