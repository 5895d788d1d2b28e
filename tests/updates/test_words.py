"""Values as whole numbers: whatever the bits are, a difference can be undone, and near values have small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import loops, passes, tensors
from git_theta.updates.words import Words, add, difference, words_of

SIZES = [Words(size, is_float) for size in (1, 2, 4, 8) for is_float in (False, True) if size > 1 or not is_float]
FLOATS = {2: "<f2", 4: "<f4", 8: "<f8"}


def codes_of(new: Any, base: Any, kind: Words) -> Any:
    out = np.empty(len(new), kind.dtype)
    assert difference(new, base, kind, out)
    return out


def added(base: Any, codes: Any, kind: Words) -> Any:
    out = np.empty(len(base), kind.dtype)
    add(base, codes, kind, out)
    return out


def random_bits(count: int, kind: Words, seed: int) -> Any:
    return np.frombuffer(np.random.default_rng(seed).bytes(count * kind.size), kind.dtype)


@pytest.mark.parametrize("kind", SIZES, ids=str)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data())
def test_difference_of_any_bits_can_be_undone(kind: Words, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 20))
    raw = st.binary(min_size=count * kind.size, max_size=count * kind.size)
    new, base = (np.frombuffer(data.draw(raw), kind.dtype) for _ in range(2))
    np.testing.assert_array_equal(added(base, codes_of(new, base, kind), kind), new)


@pytest.mark.parametrize("kind", [Words(1, is_float=False), Words(2, is_float=True), Words(2, is_float=False)], ids=str)
def test_difference_of_every_pattern_can_be_undone(kind: Words) -> None:
    every = np.arange(1 << (8 * kind.size)).astype(f"<u{kind.size}").view(kind.dtype)
    other = np.random.default_rng(0).permutation(every)
    codes = codes_of(every, other, kind)
    np.testing.assert_array_equal(added(other, codes, kind), every)
    assert np.count_nonzero(codes == 0) == np.count_nonzero(every == other)


@pytest.mark.parametrize("kind", SIZES, ids=str)
def test_more_numbers_than_are_worked_on_at_once(kind: Words) -> None:
    count = 2 * passes._STEP + 3
    new, base = random_bits(count, kind, 0), random_bits(count, kind, 1)
    codes = codes_of(new, base, kind)
    np.testing.assert_array_equal(added(base, codes, kind), new)
    for start in (0, passes._STEP - 1, passes._STEP, count - 2):
        part = slice(start, start + 2)
        np.testing.assert_array_equal(codes_of(new[part], base[part], kind), codes[part])


@pytest.mark.parametrize("place", [0, passes._STEP, passes._STEP + 2])
def test_codes_that_do_not_give_the_new_numbers_are_seen(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, count = Words(2, is_float=True), passes._STEP + 3
    new, base = random_bits(count, kind, 0), random_bits(count, kind, 1)
    encode = passes._encode

    def wrong(new: Any, base: Any, is_float: bool, code: Any, rooms: Any) -> None:
        encode(new, base, is_float, code, rooms)
        if len(code) == (passes._STEP if place < passes._STEP else 3):
            code[place % passes._STEP] ^= 1

    monkeypatch.setattr(loops, "native", None)
    monkeypatch.setattr(passes, "_encode", wrong)
    assert not difference(new, base, kind, np.empty(count, kind.dtype))


@pytest.mark.parametrize("kind", SIZES, ids=str)
def test_numbers_may_be_changed_in_place(kind: Words) -> None:
    new, base = random_bits(1000, kind, 0), random_bits(1000, kind, 1).copy()
    codes = codes_of(new, base, kind)
    add(base, codes, kind, base)
    np.testing.assert_array_equal(base, new)


def test_arguments_stay_as_they_are() -> None:
    kind = Words(4, is_float=True)
    new, base = random_bits(1000, kind, 0).copy(), random_bits(1000, kind, 1).copy()
    before = new.tobytes(), base.tobytes()
    codes = codes_of(new, base, kind)
    kept = codes.tobytes()
    added(base, codes, kind)
    assert (new.tobytes(), base.tobytes(), codes.tobytes()) == (*before, kept)


@pytest.mark.parametrize("kind", SIZES, ids=str)
def test_equal_values_have_code_zero_and_others_have_not(kind: Words) -> None:
    base = random_bits(500, kind, 0)
    new = base.copy()
    new[[3, 77]] ^= 1
    np.testing.assert_array_equal(np.flatnonzero(codes_of(new, base, kind)), [3, 77])


@pytest.mark.parametrize("kind", [kind for kind in SIZES if not kind.is_float], ids=str)
def test_codes_of_integers_are_in_zigzag_order(kind: Words) -> None:
    new = np.array([5, 4, 6, 3, 7], kind.dtype)
    base = np.full(5, 5, kind.dtype)
    np.testing.assert_array_equal(codes_of(new, base, kind), [0, 1, 2, 3, 4])


@pytest.mark.parametrize("kind", [kind for kind in SIZES if kind.is_float], ids=str)
def test_neighbouring_floats_differ_by_one_step_also_across_zero(kind: Words) -> None:
    dtype = np.dtype(FLOATS[kind.size]).type
    for value in (1.0, -1.0, 0.1, -2.5):
        base = np.array([value], dtype)
        up, down = np.nextafter(base, dtype(np.inf)), np.nextafter(base, dtype(-np.inf))
        assert codes_of(up.view(kind.dtype), base.view(kind.dtype), kind).item() == 2
        assert codes_of(down.view(kind.dtype), base.view(kind.dtype), kind).item() == 1
    zero, minus = np.array([0.0], dtype).view(kind.dtype), np.array([-0.0], dtype).view(kind.dtype)
    assert codes_of(minus, zero, kind).item() == 1
    least = np.nextafter(np.array([0.0], dtype), dtype(-1)).view(kind.dtype)
    assert codes_of(least, zero, kind).item() == 3


def test_order_of_the_numbers_is_the_order_of_the_floats() -> None:
    values = np.sort(np.random.default_rng(0).standard_normal(1000).astype(np.float32))
    kind = Words(4, is_float=True)
    codes = codes_of(values.view(kind.dtype), np.zeros(1000, kind.dtype), kind).view("<u4").astype(np.int64)
    numbers = np.where(codes % 2, -(codes + 1) // 2, codes // 2)
    np.testing.assert_array_equal(np.diff(numbers) > 0, np.diff(values) > 0)


@pytest.mark.parametrize("dtype", tensors.BLOCKS)
def test_every_dtype_has_words_that_fill_its_elements(dtype: str) -> None:
    kind = words_of(dtype)
    assert kind.size in (1, 2, 4, 8)
    assert tensors.BLOCKS[dtype][1] % kind.size == 0
    assert kind.is_float == (dtype.startswith(("float", "bfloat", "complex")) and kind.size > 1)


def test_view_is_no_copy() -> None:
    rows = np.zeros((4, 8), np.uint8)
    words_of("complex64").view(rows)[7] = -1
    assert rows[3].tolist() == [0, 0, 0, 0, 255, 255, 255, 255]
