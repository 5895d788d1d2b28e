"""A change that does not fit its group is refused, in one line that names the group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.checkpoints import Values
from git_theta.errors import UsageError
from git_theta.updates.sidedata.changes import Dense, LowRank, Scale, SparseChange, check, replacement
from tests.updates.sidedata.data import values

if TYPE_CHECKING:
    from git_theta.updates.sidedata.changes import Change

F = np.float32


def low_rank(r: tuple[int, ...], c: tuple[int, ...]) -> LowRank:
    return LowRank("g", np.ones(r, F), np.ones(c, F))


def sparse(data: list[float], indices: list[int], size: int, dtype: str = "float32") -> SparseChange:
    return SparseChange("g", np.array(data, dtype), np.array(indices, np.int64), (1, size))


MISFITS: dict[str, tuple[Change, str, tuple[int, ...], str]] = {
    "rank 0": (low_rank((2, 0), (0, 3)), "float32", (2, 3), "R and C have rank 0"),
    "ranks differ": (low_rank((2, 1), (2, 3)), "float32", (2, 3), r"\[2, 1\] and C of shape \[2, 3\] cannot be"),
    "no matrices": (low_rank((2,), (3,)), "float32", (2, 3), "cannot be multiplied"),
    "stacks": (low_rank((5, 2, 1), (5, 1, 3)), "float32", (5, 2, 3), "cannot be multiplied"),
    "other rows": (low_rank((3, 1), (1, 2)), "float32", (2, 3), r"R @ C has shape \[3, 2\], the group \[2, 3\]"),
    "within an axis": (low_rank((2, 1), (1, 6)), "float32", (4, 3), "R @ C has shape"),
    "a vector": (low_rank((1, 1), (1, 3)), "float32", (3,), "R @ C has shape"),
    "low-rank integers": (low_rank((2, 1), (1, 3)), "int8", (2, 3), "dtype int8 can be replaced, but not multiplied"),
    "low-rank float8": (low_rank((2, 1), (1, 3)), "float8_e5m2", (2, 3), "can be replaced"),
    "other size": (sparse([1], [0], 5), "float32", (2, 3), r"\[1, 5\] instead of \[1, 6\]"),
    "past the end": (sparse([1], [6], 6), "float32", (2, 3), "not below 6"),
    "negative": (sparse([1], [-1], 6), "float32", (2, 3), "or negative"),
    "repeated": (sparse([1, 2], [4, 4], 6), "float32", (2, 3), "an index is repeated"),
    "more data": (sparse([1, 2], [4], 6), "float32", (2, 3), r"\[2\] and indices of shape \[1\]"),
    "whole for broken": (sparse([1], [4], 6, "int32"), "float32", (2, 3), "data of dtype int32"),
    "broken for whole": (sparse([1], [4], 6), "int32", (2, 3), "data of dtype float32; it must be int32"),
    "wider for narrower": (sparse([1], [4], 6, "int64"), "int32", (2, 3), "it must be int32"),
    "sparse bool": (sparse([1], [4], 6, "bool"), "bool", (2, 3), "dtype bool can be replaced"),
    "scale of another length": (Scale("g", np.ones(2, F)), "float32", (2, 3), r"a scale of shape \[2\]"),
    "scale that would widen": (Scale("g", np.ones((4, 1, 3), F)), "float32", (1, 3), r"a scale of shape \[4, 1, 3\]"),
    "scale that would lengthen": (Scale("g", np.ones((2, 3), F)), "float32", (1, 3), "a scale of shape"),
    "scaled integers": (Scale("g", np.ones(3, F)), "uint8", (2, 3), "dtype uint8 can be replaced"),
    "dense shape": (Dense("g", np.ones((3, 2), F)), "float32", (2, 3), "values of shape"),
    "dense dtype": (Dense("g", np.ones((2, 3), F)), "int32", (2, 3), "values of dtype float32, not int32"),
}


@pytest.mark.parametrize(("change", "dtype", "shape", "message"), MISFITS.values(), ids=MISFITS.keys())
def test_misfits_are_refused(change: Change, dtype: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        check(change, dtype, shape)
    assert "group 'g'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 3), (4, 3, 2, 1), (2, 2, 6)])
def test_factors_of_full_rank_and_more_fit_wherever_axes_are_joined(shape: tuple[int, ...]) -> None:
    check(low_rank((4, 6), (6, 6)), "bfloat16", shape)
    check(low_rank((4, 9), (9, 6)), "bfloat16", shape)


def test_a_replacement_of_the_same_dtype_keeps_every_bit() -> None:
    nan = np.array([0x7F81, 0x8000], np.uint16)
    change = replacement("g", Values("bfloat16", (2,), nan.tobytes()), "bfloat16", (2,))
    check(change, "bfloat16", (2,))
    assert change.values.tobytes() == nan.tobytes()
    packed = replacement("g", Values("float4_e2m1fn", (2, 2), b"ab"), "float4_e2m1fn", (2, 2))
    check(packed, "float4_e2m1fn", (2, 2))
    assert packed.values.tobytes() == b"ab"


def test_a_replacement_of_another_floating_point_dtype_is_rounded_to_the_group_s() -> None:
    change = replacement("g", values([1 + 2.0**-8 + 2.0**-40, 1e300], "float64"), "bfloat16", (2,))
    assert change.values.tolist() == [0x3F81, 0x7F80]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (values([[1.0]], "float32"), r"values of shape \[1, 1\] for a shape of \[1\]"),
        (values([1], "int32"), "values of dtype int32 for a dtype of float32"),
        (Values("float32", (1,), b""), "damaged"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(wrong: Values, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replacement("g", wrong, "float32", (1,))
