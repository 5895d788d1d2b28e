"""The entrance to the merge methods: dtypes, shapes, rounding, and plug-ins that break their contract."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import git_theta
from git_theta import merge_arrays
from git_theta.errors import MergeError, PluginError
from git_theta.merges import Method, merge_methods
from git_theta.merges.arrays import merge_with
from git_theta.merges.parameters import Kind, Parameter

if TYPE_CHECKING:
    from git_theta.merges import Compute

BF16 = ml_dtypes.bfloat16
ONE = np.ones((2, 3), np.float32)


def plugin(compute: Compute) -> Method:
    return Method("plugged", compute, (Parameter("weight", Kind.NUMBER, 1.0, "how much", per_input=True),))


def test_git_theta_shows_the_function_without_importing_numpy() -> None:
    code = "import git_theta, sys; assert 'numpy' not in sys.modules; git_theta.merge_arrays; print(git_theta.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['__version__', 'merge_arrays']\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        git_theta.nothing  # noqa: B018


def test_an_unknown_method_lists_the_known() -> None:
    with pytest.raises(PluginError, match=r"unknown merge method 'tis'; known are: ours, theirs, ancestor, .*ties"):
        merge_arrays("tis", [ONE, ONE])


def test_every_builtin_has_the_name_of_its_entry() -> None:
    family = merge_methods()
    assert [family.get(name).name for name in family.builtins] == list(family.builtins)
    assert family.group == "git_theta.plugins.merges"


@pytest.mark.parametrize("dtype", [np.int8, np.bool_, np.complex64, ml_dtypes.float8_e4m3fn, np.float16])
def test_sides_are_copied_whatever_they_hold(dtype: Any) -> None:
    base, ours, theirs = (np.array([0, 1, value]).astype(dtype) for value in (0, 1, 0))
    theirs = theirs[:2]
    for method, wanted in (("ours", ours), ("theirs", theirs), ("ancestor", base)):
        merged = merge_arrays(method, [ours, theirs], base)
        assert (merged.dtype, merged.tobytes()) == (wanted.dtype, wanted.tobytes())
        assert not np.shares_memory(merged, wanted)


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7F81, 0x7FC0])
def test_infinite_values_and_every_nan_of_bfloat16_are_found_without_a_warning(bits: int) -> None:
    bad = np.array([0, bits], np.uint16).view(BF16)
    with pytest.raises(MergeError, match="infinite values or NaN"):
        merge_arrays("average", [bad, bad])


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "multislerp"])
def test_what_overflows_on_the_way_is_refused_without_a_warning(method: str) -> None:
    sides = [np.array([3e38, -3e38], np.float32), np.array([-3e38, 3e38], np.float32)]
    switch = "normalize_weights" if method == "multislerp" else "normalize"
    with pytest.raises(MergeError, match=r"cannot hold|cancel out"):
        merge_arrays(method, sides, 0 * sides[0], weight=[1e300, 1e305], **{switch: False})


def test_sides_may_hold_nan() -> None:
    assert np.isnan(merge_arrays("ours", [np.array([np.nan]), np.zeros(1)])).all()


def test_theirs_is_the_second_of_two() -> None:
    with pytest.raises(MergeError, match="theirs takes 2 inputs besides the base, not 3"):
        merge_arrays("theirs", [ONE, ONE, ONE])
    with pytest.raises(MergeError, match="takes 1 or more inputs besides the base, not 0"):
        merge_arrays("ours", [])
    with pytest.raises(MergeError, match="needs a base"):
        merge_arrays("ancestor", [ONE, ONE])


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (np.float16, BF16, np.float32),
        (BF16, np.float32, np.float32),
        (np.float16, np.float64, np.float64),
        (BF16, BF16, BF16),
    ],
)
def test_different_dtypes_merge_in_the_common_one(one: Any, other: Any, common: Any) -> None:
    merged = merge_arrays("average", [ONE.astype(one), 2 * ONE.astype(other)])
    assert merged.dtype == common
    assert set(merged.astype(float).ravel()) == {1.5}


def test_a_base_of_another_dtype_counts_as_well() -> None:
    assert merge_arrays("task_arithmetic", [ONE.astype(BF16)], ONE).dtype == np.float32


def test_bytes_in_the_other_order_are_understood() -> None:
    merged = merge_arrays("average", [ONE.astype(">f4"), 2 * ONE.astype(">f4")])
    assert merged.dtype == np.dtype("=f4")
    assert set(merged.ravel()) == {1.5}


def test_whole_numbers_are_the_same_in_both_orders_of_bytes() -> None:
    merged = merge_arrays("average", [np.array([1, 2], ">i4"), np.array([1, 2], "<i4")])
    assert (merged.dtype, merged.tolist()) == (np.dtype("=i4"), [1, 2])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([ONE, None], "input 2 is no array of numbers, but of object"),
        (["a", "b"], "input 1 is no array of numbers, but of str32"),
        ([np.zeros(2, [("x", "f4")])], "input 1 is no array of numbers, but of void32"),
        ([[[1.0, 2.0], [3.0]]], "input 1 cannot be read as an array of NumPy: setting an array element"),
        ({"ours": ONE, "theirs": ONE}, "the inputs must be a list of arrays, one for each side, not dict"),
        (np.float32(1), "the inputs must be a list of arrays, one for each side, not float32"),
        (None, "not NoneType"),
    ],
)
@pytest.mark.parametrize("method", ["ours", "average"])
def test_what_is_no_list_of_arrays_is_an_error_of_one_line(method: str, inputs: Any, message: str) -> None:
    with pytest.raises(MergeError, match=message) as caught:
        merge_arrays(method, inputs)
    assert "\n" not in str(caught.value)


def test_what_is_no_base_is_an_error() -> None:
    with pytest.raises(MergeError, match="the base is no array of numbers, but of str"):
        merge_arrays("ties", [ONE], "base")


def test_half_types_are_rounded_once() -> None:
    # Just above the middle between two neighbours: a rounding to float32 on the way would lose what is above.
    above = [np.array([1.0], BF16), np.array([1.0], BF16)]
    weights = [2.0**-8 + 2.0**-40, 1.0]
    assert merge_arrays("linear", above, weight=weights, normalize=False).astype(float) == 1 + 2**-7
    assert merge_arrays("linear", above, weight=[2.0**-8, 1.0], normalize=False).astype(float) == 1
    # In float16, 1 + 2**-11 + 2**-11 is 1: each addition would be rounded away.
    parts = [np.array([value], np.float16) for value in (1.0, 2.0**-11, 2.0**-11)]
    assert merge_arrays("linear", parts, normalize=False) == np.float16(1 + 2**-10)


def test_a_result_that_is_too_large_is_refused() -> None:
    large = np.array([60000.0], np.float16)
    with pytest.raises(MergeError, match="values that float16 cannot hold"):
        merge_arrays("task_arithmetic", [large, large], np.zeros(1, np.float16))
    assert merge_arrays("average", [large, large]) == large


@pytest.mark.parametrize("others", [[np.ones((3, 2), np.float32)], [np.ones((2, 3, 1), np.float32), np.float32(1)]])
def test_different_shapes_are_refused(others: list[Any]) -> None:
    with pytest.raises(MergeError, match=r"arrays of different shapes, \[2, 3\] and .* take one side"):
        merge_arrays("average", [ONE, *others])
    with pytest.raises(MergeError, match="different shapes"):
        merge_arrays("task_arithmetic", others[:1], ONE)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8, np.complex64, ml_dtypes.float8_e5m2])
def test_other_kinds_of_numbers_are_copied_only_if_equal(dtype: Any) -> None:
    one, other = np.array([0, 1]).astype(dtype), np.array([1, 1]).astype(dtype)
    assert merge_arrays("ties", [one, one], other).tobytes() == one.tobytes()
    assert merge_arrays("ties", [one], one).tobytes() == one.tobytes()
    assert merge_arrays("passthrough", [one]).tobytes() == one.tobytes()
    for inputs, base in (([one, other], one), ([one], other), ([one, np.ones(2, np.float32)], one)):
        with pytest.raises(MergeError, match="that differ: take one side"):
            merge_arrays("ties", inputs, base)
    with pytest.raises(MergeError, match="take one side"):
        merge_arrays("passthrough", [one], scale=2.0)


def test_a_plug_in_that_raises_is_an_error_of_one_line() -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no idea")

    with pytest.raises(PluginError, match="the merge method plugged failed: ValueError: no idea"):
        merge_with(plugin(broken), [ONE], None, {})


def test_a_plug_in_that_exits_is_an_error() -> None:
    """Its exit code would be that of the merge driver, and 0 says that ours is the merged file."""

    def gone(*_: Any) -> Any:
        raise SystemExit(0)

    with pytest.raises(PluginError, match="the merge method plugged failed: SystemExit: 0"):
        merge_with(plugin(gone), [ONE], None, {})


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_plug_in_cannot_write_to_what_it_is_given(number: int) -> None:
    given = [ONE.copy(), ONE * 2, ONE * 3]

    def spoil(inputs: Any, base: Any, *_: Any) -> Any:
        [*inputs, base][number][...] = 0

    with pytest.raises(PluginError, match="read-only"):
        merge_with(plugin(spoil), given[:2], given[2], {})
    assert [array[0, 0] for array in given] == [1, 2, 3]
    given[0][...] = 4


@pytest.mark.parametrize("made", [None, ONE.T, ONE.astype(np.int32), 1.0, ONE.astype(complex)])
def test_a_plug_in_that_returns_something_else_is_an_error(made: Any) -> None:
    with pytest.raises(PluginError, match="did not return an array of the inputs' shape and kind"):
        merge_with(plugin(lambda *_: made), [ONE], None, {})


def test_a_plug_in_that_returns_nan_is_an_error() -> None:
    with pytest.raises(MergeError, match="values that float32 cannot hold"):
        merge_with(plugin(lambda *_: ONE * np.float32(np.nan)), [ONE], None, {})


def test_a_plug_in_may_return_a_wider_array() -> None:
    found = merge_with(plugin(lambda inputs, *_: inputs[0].astype(np.float64) / 3), [ONE.astype(BF16)], None, {})
    assert found.dtype == BF16
    assert set(found.ravel()) == {BF16(1 / 3)}
