"""What holds for every merge method that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from git_theta.errors import MergeError, ThetaError
from git_theta.merges import merge_methods
from git_theta.merges.arrays import merge_with
from git_theta.merges.parameters import resolve
from git_theta.merges.terms import reads_base

if TYPE_CHECKING:
    from git_theta.merges import Array, MergeMethod

METHODS = {method.name: method for method in merge_methods().builtin_members()}
COMPUTING = {name: method for name, method in METHODS.items() if name not in ("ours", "theirs", "ancestor")}
NEEDED = {"slerp": {"t": 0.3}, "nearswap": {"t": 0.05}}
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
SHAPES = [(), (1,), (5,), (4, 1), (1, 4), (6, 5), (3, 4, 2), (2, 1, 3, 2)]

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
computing = pytest.mark.parametrize("method", COMPUTING.values(), ids=COMPUTING)

IDEMPOTENT = {
    *(
        "average",
        "linear",
        "slerp",
        "nuslerp",
        "multislerp",
        "karcher",
        "model_stock",
        "sce",
        "nearswap",
        "arcee_fusion",
    ),
    *("ties", "della", "ram", "ramplus_tl", "emr", "passthrough"),
}
"""Those that give an input that all sides have; the others add the changes up, or scale them."""

SYMMETRIC = COMPUTING.keys() - {"slerp", "nearswap", "arcee_fusion", "passthrough", "nuslerp"}
"""Those for which the order of the inputs does not matter (magmax: unless magnitudes are equal)."""


def arrays(shape: tuple[int, ...], dtype: Any, count: int, seed: int = 7) -> list[Array]:
    """The base and so many inputs that came from it."""
    random = np.random.default_rng(seed)
    base = random.normal(size=shape)
    sides = [base + 0.1 * random.normal(size=shape) for _ in range(count)]
    return [np.asarray(array).astype(dtype) for array in (base, *sides)]


def count_for(method: MergeMethod, wanted: int = 2) -> int:
    high = method.inputs[1]
    return wanted if high is None else min(high, wanted)


def merged(method: MergeMethod, inputs: list[Array], base: Array | None, **params: object) -> Array:
    return merge_with(method, inputs, base, {**NEEDED.get(method.name, {}), **params})


@every_method
def test_parameters_are_described_and_their_defaults_allowed(method: MergeMethod) -> None:
    names = [parameter.name for parameter in method.parameters]
    assert len(set(names)) == len(names)
    for parameter in method.parameters:
        assert parameter.about
        assert parameter.required or parameter.check(parameter.default) == parameter.default


@every_method
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_and_dtype_are_kept_and_nothing_is_written_to(
    method: MergeMethod, shape: tuple[int, ...], dtype: Any
) -> None:
    base, *inputs = arrays(shape, dtype, count_for(method))
    before = [array.tobytes() for array in (base, *inputs)]
    for array in (base, *inputs):
        array.flags.writeable = False
    result = merged(method, inputs, base)
    assert (result.shape, result.dtype) == (shape, np.dtype(dtype))
    assert [array.tobytes() for array in (base, *inputs)] == before
    assert not any(np.shares_memory(result, array) for array in (base, *inputs))
    assert np.isfinite(result).all()


@every_method
@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)], ids=str)
def test_empty_groups_merge_to_empty_groups(method: MergeMethod, shape: tuple[int, ...]) -> None:
    base, *inputs = arrays(shape, np.float32, count_for(method))
    assert merged(method, inputs, base).shape == shape


@computing
def test_merging_is_repeatable_and_the_layout_in_memory_does_not_matter(method: MergeMethod) -> None:
    base, *inputs = arrays((6, 5), np.float32, count_for(method))
    result = merged(method, inputs, base)
    assert merged(method, inputs, base).tobytes() == result.tobytes()
    turned = [np.asfortranarray(array) for array in inputs]
    assert merged(method, turned, np.asfortranarray(base)).tobytes() == result.tobytes()


@pytest.mark.parametrize("name", sorted(IDEMPOTENT))
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_inputs_merge_to_themselves(name: str, dtype: Any) -> None:
    method = COMPUTING[name]
    base, side = arrays((6, 5), dtype, 1)
    result = merged(method, [side] * count_for(method, 3), base)
    exact = {"rtol": 1e-12} if dtype is np.float64 else {"rtol": 0.0}
    np.testing.assert_allclose(result.astype(np.float64), side.astype(np.float64), **exact)


@computing
def test_nothing_changed_merges_to_the_base(method: MergeMethod) -> None:
    base = arrays((6, 5), np.float32, 0)[0]
    inputs = [base.copy() for _ in range(count_for(method, 3))]
    np.testing.assert_array_equal(merged(method, inputs, base), base)


@computing
def test_zeros_merge_to_zeros(method: MergeMethod) -> None:
    zeros = np.zeros((4, 3), np.float32)
    np.testing.assert_array_equal(merged(method, [zeros] * count_for(method, 3), zeros), zeros)


@pytest.mark.parametrize("name", ["ties", "della", "sce", "ram", "ramplus_tl", "emr", "task_arithmetic", "model_stock"])
def test_what_one_side_alone_changed_is_kept_exactly(name: str) -> None:
    base, side = arrays((6, 5), np.float32, 1)
    for inputs in ([side, base], [base, side]):
        np.testing.assert_array_equal(merged(COMPUTING[name], inputs, base), side)


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_order_of_inputs_does_not_matter(name: str) -> None:
    base, *inputs = arrays((6, 5), np.float64, 3)
    result = merged(COMPUTING[name], inputs, base)
    again = merged(COMPUTING[name], [inputs[2], inputs[0], inputs[1]], base)
    np.testing.assert_allclose(again, result, rtol=1e-9, atol=1e-12)


def test_nuslerp_of_swapped_inputs_and_weights_is_the_same() -> None:
    base, one, two = arrays((6, 5), np.float64, 2)
    result = merged(COMPUTING["nuslerp"], [one, two], base, weight=[0.3, 0.7])
    np.testing.assert_allclose(merged(COMPUTING["nuslerp"], [two, one], base, weight=[0.7, 0.3]), result, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name, method in COMPUTING.items() if method.elementwise])
def test_elementwise_methods_may_be_computed_in_blocks(name: str) -> None:
    method = COMPUTING[name]
    base, *inputs = arrays((64,), np.float32, count_for(method))
    result = merged(method, inputs, base)
    for piece in (slice(0, 10), slice(10, 41), slice(41, 64)):
        block = merged(method, [array[piece] for array in inputs], base[piece])
        assert block.tobytes() == result[piece].tobytes()


@pytest.mark.parametrize("name", [name for name, method in COMPUTING.items() if name not in ("tsv_m", "iso_c")])
def test_groups_larger_than_a_block_merge_as_small_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = COMPUTING[name]
    base, *inputs = arrays((11, 9), np.float32, count_for(method))
    result = merged(method, inputs, base)
    monkeypatch.setattr("git_theta.merges.numerics.BLOCK", 7)
    np.testing.assert_allclose(merged(method, inputs, base), result, rtol=1e-6, atol=1e-9)


@computing
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(method: MergeMethod, value: float) -> None:
    base, *inputs = arrays((4, 3), np.float32, count_for(method))
    inputs[-1][2, 1] = value
    with pytest.raises(MergeError, match="infinite values or NaN"):
        merged(method, inputs, base)


@computing
def test_a_base_that_is_not_read_may_hold_anything(method: MergeMethod) -> None:
    base, *inputs = arrays((4, 3), np.float32, count_for(method))
    if reads_base(
        method, resolve(method.name, method.parameters, NEEDED.get(method.name, {}), len(inputs)), len(inputs)
    ):
        with pytest.raises(MergeError, match="infinite values or NaN"):
            merged(method, inputs, np.full_like(base, np.nan))
        return
    result = merged(method, inputs, base)
    for other in (np.full_like(base, np.nan), base.astype(np.float64), np.zeros((2, 2), np.int64)):
        found = merged(method, inputs, other)
        assert (found.dtype, found.tobytes()) == (result.dtype, result.tobytes())


@computing
@pytest.mark.parametrize(("dtype", "unit"), [(np.float32, 2.0**125), (np.float64, 2.0**515), (np.float64, 2.0**1021)])
def test_huge_values_are_merged_right_or_refused(method: MergeMethod, dtype: Any, unit: float) -> None:
    steps = {"nearswap": ("t", 0.05), "ram": ("epsilon", 1e-5), "ramplus_tl": ("epsilon", 1e-5), "sce": ("eps", 1e-6)}
    base, *inputs = (array.clip(-1, 1) for array in arrays((6, 5), dtype, count_for(method)))
    name, step = steps.get(method.name, ("t", 0.5))
    if name not in {parameter.name for parameter in method.parameters}:
        name = ""
    small = merge_with(method, inputs, base, {name: step} if name else {})
    try:
        huge = merge_with(
            method,
            [array * dtype(unit) for array in inputs],
            base * dtype(unit),
            {name: step if method.name == "slerp" else step * unit} if name else {},
        )
    except MergeError as error:
        if "take one side" in str(error):
            return
        raise
    if method.name != "arcee_fusion":  # what stands out there depends on the scale
        np.testing.assert_allclose(huge / unit, small, rtol=0, atol=1e-6)


@computing
def test_whole_numbers_are_copied_if_equal_and_refused_if_not(method: MergeMethod) -> None:
    count = count_for(method)
    steps = np.arange(6, dtype=np.int64).reshape(2, 3)
    result = merge_with(method, [steps] * count, steps, NEEDED.get(method.name, {}) if count > 1 else {})
    np.testing.assert_array_equal(result, steps)
    if count > 1:
        with pytest.raises(MergeError, match="arrays of int64 that differ: take one side"):
            merged(method, [steps, steps + 1], steps)


@computing
def test_a_base_that_is_needed_and_missing_is_an_error(method: MergeMethod) -> None:
    inputs = arrays((4, 3), np.float32, count_for(method))[1:]
    if method.needs_base:
        with pytest.raises(MergeError, match="needs a base"):
            merged(method, inputs, None)
    else:
        assert merged(method, inputs, None).shape == (4, 3)


@computing
def test_too_few_and_too_many_inputs_are_errors(method: MergeMethod) -> None:
    low, high = method.inputs
    base, *inputs = arrays((4, 3), np.float32, 5)
    for count in {low - 1, (high or 4) + 1} - {-1, 5}:
        with pytest.raises(ThetaError, match=r"takes .* inputs? besides the base, not"):
            merged(method, inputs[:count], base)


@pytest.mark.parametrize("name", [name for name, method in COMPUTING.items() if not method.inputs[0]])
def test_no_input_at_all_gives_the_base(name: str) -> None:
    base = arrays((4, 3), np.float32, 0)[0]
    np.testing.assert_array_equal(merged(COMPUTING[name], [], base), base)


@computing
def test_opposite_sides_give_a_result_or_one_line(method: MergeMethod) -> None:
    base = np.zeros((4, 3), np.float32)
    side = arrays((4, 3), np.float32, 0)[0]
    inputs = [side, -side][: count_for(method)]
    if method.name in ("slerp", "karcher"):
        with pytest.raises(MergeError, match=r"^the .*(opposite directions|cancel out).*: take one side$"):
            merged(method, inputs, base)
    else:
        assert np.isfinite(merged(method, inputs, base)).all()
