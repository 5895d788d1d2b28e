"""Signatures: what they depend on, how well they tell a distance, and their one way to be written."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import lsh, signatures, tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Values = npt.NDArray[Any]

SUPPORTED = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
BLOCK = 90_000
"""The numbers that are added up at once; groups around its multiples are where something could go wrong."""

WIDEST = 2**63 - 1
buckets = st.integers(-WIDEST, WIDEST)
any_signatures = st.lists(st.integers(-300, 300), min_size=16, max_size=16) | st.lists(
    buckets, min_size=16, max_size=16
)


def raw(values: Values) -> npt.NDArray[np.uint8]:
    return np.frombuffer(values.tobytes(), np.uint8)


def signature(values: Values, dtype: str | None = None) -> signatures.Signature:
    signer = lsh.Signer(dtype or values.dtype.name)
    signer.feed(raw(values))
    made = signer.signature()
    assert made is not None
    return made


def cast(values: Values, dtype: str) -> Values:
    if dtype.startswith("complex"):
        return (values + 1j * values[::-1]).astype(dtype)
    return values.astype(getattr(ml_dtypes, dtype, dtype))


def estimate(before: Values, after: Values) -> float:
    """The estimated distance, as a part of the true one."""
    true = float(np.linalg.norm(after.astype(np.float64) - before.astype(np.float64)))
    return signatures.distance(signature(before), signature(after)) / true


def normals(seed: int, *shape: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


# --- what a signature depends on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", tensors.BLOCKS)
def test_the_floats_of_sixteen_bits_and_more_are_supported(dtype: str) -> None:
    assert lsh.supports(dtype) == (dtype in SUPPORTED)


@pytest.mark.parametrize("dtype", ["int32", "bool", "float8_e4m3fn", "float33", ""])
def test_there_is_no_signer_for_another_dtype(dtype: str) -> None:
    assert not lsh.supports(dtype)
    with pytest.raises(ValueError, match="no signature"):
        lsh.Signer(dtype)


def cuts(size: int, seed: int) -> Iterator[list[int]]:
    """Ways to cut bytes: in one, in halves, inside of elements, in blocks, in odd pieces, with empty pieces."""
    generator = np.random.default_rng(seed)
    yield []
    yield [size // 2]
    yield sorted(min(cut, size) for cut in (0, 1, 1, 2, 5, size - 1, size))
    yield list(range(65_536, size, 65_536))
    yield list(range(7919, size, 7919))
    yield sorted(generator.integers(0, size + 1, 20).tolist())


@pytest.mark.parametrize("dtype", SUPPORTED)
@pytest.mark.parametrize("count", [1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 100_003])
def test_a_signature_does_not_depend_on_how_the_values_are_cut(dtype: str, count: int) -> None:
    data = raw(cast(normals(count, count), dtype))
    found = set()
    for cut in cuts(data.size, count):
        signer = lsh.Signer(dtype)
        for start, stop in zip([0, *cut], [*cut, data.size], strict=True):
            signer.feed(data[start:stop])
        found.add(signer.signature())
    assert len(found) == 1
    assert found != {None}


def test_every_single_cut_of_a_small_group_gives_the_same_signature() -> None:
    data = raw(normals(1, 9).astype(np.float32)).tobytes()
    whole = signature(np.frombuffer(data, np.float32))
    for cut in range(len(data) + 1):
        signer = lsh.Signer("float32")
        signer.feed(data[:cut])
        signer.feed(memoryview(data)[cut:])
        assert signer.signature() == whole


@pytest.mark.parametrize("count", [7, BLOCK + 7])
def test_asking_for_a_signature_changes_nothing(count: int) -> None:
    first, second = normals(1, count), normals(2, count)
    signer = lsh.Signer("float64")
    signer.feed(raw(first))
    assert signer.signature() == signer.signature() == signature(first)
    signer.feed(raw(second))
    assert signer.signature() == signature(np.concatenate([first, second]))


def test_the_callers_bytes_stay_as_they_are() -> None:
    data = raw(normals(1, 2 * BLOCK)).copy()
    before = data.copy()
    lsh.Signer("float64").feed(data)
    assert np.array_equal(data, before)


def test_values_that_end_inside_an_element_are_refused() -> None:
    signer = lsh.Signer("float32")
    signer.feed(bytes(4 * BLOCK + 7))
    with pytest.raises(ValueError, match="in the middle of an element"):
        signer.signature()


@pytest.mark.parametrize("count", [1, 50_000])
@pytest.mark.parametrize("narrow", ["float16", "bfloat16", "float32"])
def test_the_same_values_have_the_same_signature_in_every_dtype_that_holds_them(narrow: str, count: int) -> None:
    values = cast(normals(count, count), narrow)
    assert signature(values) == signature(values.astype(np.float64))


@pytest.mark.parametrize(("dtype", "part"), [("complex64", "float32"), ("complex128", "float64")])
def test_a_complex_group_is_one_of_pairs(dtype: str, part: str) -> None:
    values = cast(normals(3, 40_000), dtype)
    assert signature(values) == signature(values.view(part))


@pytest.mark.parametrize("dtype", SUPPORTED)
def test_an_empty_group_has_the_signature_of_zeros_of_both_signs(dtype: str) -> None:
    zeros = cast(np.zeros(5), dtype)
    assert signature(cast(np.zeros(0), dtype)) == signature(zeros) == signature(-zeros) == (0,) * 16


@pytest.mark.parametrize("dtype", SUPPORTED)
@pytest.mark.parametrize("place", [0, 17, BLOCK, 2 * BLOCK + 50])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_group_with_a_value_that_is_not_finite_has_no_signature(dtype: str, place: int, value: float) -> None:
    values = np.zeros(2 * BLOCK + 100)
    values[place] = value
    with np.errstate(invalid="ignore"):
        data = raw(cast(values, dtype))
    signer = lsh.Signer(dtype)
    signer.feed(data)
    assert signer.signature() is None


def test_infinities_that_meet_do_not_cancel() -> None:
    signer = lsh.Signer("float16")
    signer.feed(raw(np.tile(np.array([math.inf, -math.inf], np.float16), 4 * BLOCK)))
    assert signer.signature() is None


@pytest.mark.parametrize(
    ("dtype", "value", "signed"),
    [
        ("float64", 1e8, True),
        ("float64", 1e13, False),
        ("float64", sys.float_info.max, False),
        ("float64", 5e-324, True),
        ("float32", 3e38, False),
        ("float32", 1e-45, True),
        ("float16", 65504.0, True),
    ],
)
def test_a_signature_needs_buckets_that_fit_in_63_bits(dtype: str, value: float, signed: bool) -> None:
    signer = lsh.Signer(dtype)
    signer.feed(raw(np.full(1000, value, dtype)))
    made = signer.signature()
    assert (made is not None) == signed
    assert made is None or max(map(abs, made)) < 2**63


def test_a_bucket_is_the_projection_in_hundred_millionths() -> None:
    """The directions, read off the unit vectors, give the buckets of any group: the hash is linear before it rounds."""
    count = 40
    directions = np.array([signature(row) for row in np.eye(count)]).T * 1e-8
    values = normals(4, count)
    off = np.array(signature(values)) - directions @ values / 1e-8
    assert np.abs(off).max() <= 1 + np.abs(values).sum()
    assert 0.9 < np.std(directions) < 1.1


def test_directions_are_independent_and_normal() -> None:
    count = 300
    directions = np.array([signature(row) for row in np.eye(count)]).T * 1e-8
    assert np.abs(np.corrcoef(directions) - np.eye(16)).max() < 0.25
    inside = np.mean(np.abs(directions) < 1)
    assert abs(inside - (2 * NormalDist().cdf(1) - 1)) < 0.03


# --- the same on every machine ----------------------------------------------------------------------------------------


def test_the_pool_hangs_on_no_last_bit_of_a_logarithm() -> None:
    """Another mathematical library errs by 1e-15 or so; the rounding of the pool must not come near to noticing."""
    exact = [NormalDist().inv_cdf((2 * step + 1) / 20_000) * 2**20 for step in range(5000, 10_000)]
    assert min(abs(value % 1 - 0.5) for value in exact) > 1e-6


def machine_independent() -> str:
    generator = np.random.Generator(np.random.PCG64(5))
    bits = generator.integers(0, 2**32, 400_000, dtype=np.uint32) & 0xBFFFFFFF
    signer = lsh.Signer("float32")
    signer.feed(raw(bits))
    made = signer.signature()
    assert made is not None
    return hashlib.sha256(signatures.encode(made).encode()).hexdigest()


GOLDEN = "6c9d54e06218b7e71f50796a59edf10fde478b015bfff54cd9ced8ef42c80654"


def test_the_signature_of_given_bits_never_changes() -> None:
    assert machine_independent() == GOLDEN


@pytest.mark.parametrize("threads", ["1", "4"])
def test_other_processes_with_other_threads_and_processor_features_agree(threads: str) -> None:
    code = "from tests.test_lsh import machine_independent; print(machine_independent())"
    env = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX2 FMA3 AVX512_SKX"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == GOLDEN


# --- how well a distance is told --------------------------------------------------------------------------------------


def sizes(seed: int) -> int:
    """Mostly small groups, and a few of up to a million elements."""
    if seed % 250 == 0:
        return 1_000_000
    return int(10 ** np.random.default_rng(seed).uniform(1, 5 if seed % 20 == 0 else 3.7))


@pytest.mark.parametrize("norm", [0.0, 100.0])
def test_the_median_error_over_a_thousand_pairs_is_below_a_fifth(norm: float) -> None:
    ratios = []
    for seed in range(500):
        count = sizes(seed)
        generator = np.random.default_rng(seed)
        before = generator.standard_normal(count)
        before *= norm / np.linalg.norm(before)
        step = generator.standard_normal(count)
        step *= 10 ** generator.uniform(-6, 1) / np.linalg.norm(step)
        ratios.append(estimate(before, before + step))
    errors = [abs(ratio - 1) for ratio in ratios]
    assert median(errors) < 0.2
    assert max(errors) < 1.0
    # The squares are unbiased; the many small groups share the same few places of the directions, hence the 5 %.
    assert math.sqrt(np.mean(np.square(ratios))) == pytest.approx(1, abs=0.05)


SHIFT = np.ones(270_000)
ONE = np.eye(1, 270_000, 77_777).ravel()
TWO = ONE + np.eye(1, 270_000, 12_345).ravel()


def structures() -> dict[str, Values]:
    """Differences with a shape of their own, each of 270,000 elements or more."""
    row, column, wide, tall = (np.zeros(shape) for shape in ((600, 450), (600, 450), (40, 10_000), (10, BLOCK)))
    row[123] = 1
    column[:, 321] = 1
    wide[:, 5000] = 1
    tall[:, 77] = 1
    block = normals(8, BLOCK)
    return {
        "a constant shift": SHIFT,
        "a constant shift of a small group": SHIFT[:100],
        "a constant shift of whole blocks": np.ones(40 * BLOCK),
        "alternating": np.tile([1.0, -1.0], 135_000),
        "one element": ONE,
        "the first element": np.eye(1, 270_000, 0).ravel(),
        "the last element": np.eye(1, 270_000, 269_999).ravel(),
        "two elements": TWO,
        "one row": row,
        "one column": column,
        "a column of rows as long as the pool": wide,
        "the same element of each block": tall,
        "the same change of each block": np.tile(block, 20),
        "the same change of each pool length": np.tile(block[: lsh.POOL], 30),
        "opposite changes of two blocks": np.concatenate([block, -block]),
        "opposite changes of the parts of a block": np.tile(np.repeat([1.0, -1.0], lsh.POOL), 14),
        "a rank of one": np.outer(normals(9, 600), normals(10, 450)),
        "a ramp": np.linspace(-1, 1, 270_000),
        "a wave": np.sin(np.arange(270_000) / 50),
        "the second half": np.repeat([0.0, 1.0], 135_000),
    }


@pytest.mark.parametrize("name", structures())
@pytest.mark.parametrize("scale", [1e-6, 1.0])
def test_a_structured_difference_is_told_as_well(name: str, scale: float) -> None:
    difference = structures()[name].ravel()
    before = normals(11, difference.size) * 0.02
    step = difference * scale / np.linalg.norm(difference)
    assert 1 / 1.7 < estimate(before, before + step) < 1.7


def test_structured_differences_are_told_well_on_the_average() -> None:
    zero = [estimate(np.zeros(difference.size), difference.ravel()) for difference in structures().values()]
    assert median(abs(ratio - 1) for ratio in zero) < 0.2


def test_two_equal_changes_cancel_in_no_pair_of_places() -> None:
    """Pairs of elements of different blocks, which some fold may add to the same sum."""
    generator = np.random.default_rng(12)
    rows = [signature(np.eye(1, 3 * BLOCK, int(place)).ravel()) for place in generator.integers(0, 3 * BLOCK, 60)]
    directions = np.array(rows) * 1e-8
    differences = directions[:, None] - directions[None]
    lengths = np.sqrt((differences**2).mean(axis=2) / 2)[~np.eye(60, dtype=bool)]
    assert lengths.min() > 0.25
    assert lengths.max() < 1.8


@pytest.mark.parametrize("buckets_apart", [0.03, 0.1, 0.3, 0.4, 0.5, 1.0, 3.0])
def test_distances_of_a_bucket_and_less_are_told_without_a_bias(buckets_apart: float) -> None:
    step = buckets_apart * signatures.WIDTH
    squares = []
    for seed in range(300):
        before = normals(seed, 20)
        direction = normals(seed + 1000, 20)
        after = before + direction * step / np.linalg.norm(direction)
        squares.append(signatures.distance(signature(before), signature(after)))
    assert 0.85 < np.mean(squares) / step < 1.15


def test_bfloat16_and_float16_steps_are_told() -> None:
    for dtype in ("bfloat16", "float16"):
        before = cast(normals(13, 20_000), dtype)
        after = cast(before.astype(np.float64) * 1.05, dtype)
        assert 1 / 1.6 < estimate(before, after) < 1.6


@settings(derandomize=True, deadline=None, max_examples=100)
@given(first=any_signatures.map(tuple), second=any_signatures.map(tuple))
def test_a_distance_is_symmetric_and_zero_for_equal_signatures_only(
    first: signatures.Signature, second: signatures.Signature
) -> None:
    assert signatures.distance(first, first) == 0.0
    assert signatures.distance(first, second) == signatures.distance(second, first) >= 0.0
    assert (signatures.distance(first, second) == 0.0) == (first == second)


def test_a_distance_grows_with_the_buckets_between() -> None:
    squares = [(0,) * (16 - moved) + (by,) * moved for by in range(1, 4) for moved in range(1, 17)]
    by_square = sorted(squares, key=lambda one: sum(bucket**2 for bucket in one))
    distances = [signatures.distance((0,) * 16, one) for one in by_square]
    assert distances == sorted(distances)
    assert signatures.distance((0,) * 16, (10**9,) * 16) == pytest.approx(10.0)
    assert signatures.distance((-WIDEST,) * 16, (WIDEST,) * 16) == pytest.approx(2.0**64 * 1e-8)


def test_a_distance_needs_sixteen_buckets_each() -> None:
    for first, second in [((1,) * 15, (1,) * 15), ((1,) * 16, (1,) * 15), ((), (1,) * 16)]:
        with pytest.raises(ValueError, match="16 buckets"):
            signatures.distance(first, second)


# --- the text ---------------------------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=300)
@given(made=any_signatures.map(tuple))
def test_the_text_of_a_signature_is_read_back(made: signatures.Signature) -> None:
    text = signatures.encode(made)
    assert signatures.decode(text) == made
    assert text.isascii()
    assert not set(text) & set('"\\= \n')


@pytest.mark.parametrize(
    ("bucket", "size"),
    [(0, 1), (127, 1), (-128, 1), (128, 2), (-129, 2), (2**31, 5), (-(2**31), 4), (WIDEST, 8), (-WIDEST, 8)],
)
def test_the_text_is_as_short_as_the_widest_bucket_lets_it(bucket: int, size: int) -> None:
    made = (*[0] * 15, bucket)
    assert len(signatures.encode(made)) == math.ceil(16 * size * 8 / 6)
    assert signatures.decode(signatures.encode(made)) == made


@pytest.mark.parametrize("made", [(), (0,) * 15, (0,) * 17, (*[0] * 15, 2**63), (*[0] * 15, -(2**63))])
def test_what_is_no_signature_is_not_written(made: signatures.Signature) -> None:
    with pytest.raises(ValueError, match="16 buckets"):
        signatures.encode(made)


ZERO = "A" * 22


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "=",
        "A" * 21,
        "A" * 23,
        "A" * 24,
        ZERO + "==",
        ZERO + "=",
        ZERO + "\n",
        " " + ZERO,
        ZERO[:-1] + "B",
        "-" + ZERO[1:],
        "_" * 22,
        "é" + ZERO[1:],
        "\0" + ZERO[1:],
        "A" * 43,
        "gAAAAAAAAAA" + "A" * 160,
        "gAAAAAAAAAA" + "A" * 171,
        "A" * 192,
        "A" * 1_000_000,
    ],
)
def test_a_text_that_encode_would_not_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        signatures.decode(text)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(text=st.text("Ag/+=9", max_size=200) | st.text(max_size=30) | st.text("AB", min_size=22, max_size=22))
def test_any_text_is_refused_or_the_one_of_its_signature(text: str) -> None:
    try:
        made = signatures.decode(text)
    except ValueError:
        return
    assert signatures.encode(made) == text


def test_the_text_of_no_buckets_is_plain() -> None:
    assert signatures.encode((0,) * 16) == ZERO
    assert signatures.decode(ZERO) == (0,) * 16


def test_the_rounding_to_buckets_is_taken_off_a_distance() -> None:
    assert signatures.distance((0,) * 16, (1,) * 16) == pytest.approx(1e-8 * math.sqrt(1 - 1 / (2 * math.pi)))
