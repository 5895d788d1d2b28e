"""Dtypes, sizes, names and digests: what gives a group's values their identity."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors

WHOLE_BYTES = [name for name, (elements, _) in tensors.BLOCKS.items() if elements == 1]
BLOCKS_OF_GGUF = [name for name, (elements, _) in tensors.BLOCKS.items() if elements > 4]
ELEMENTS = [name for name in tensors.BLOCKS if name not in BLOCKS_OF_GGUF]

extents = st.lists(st.integers(0, 1000), max_size=6).map(tuple)
keys = st.lists(st.text(), min_size=1, max_size=5)
odd_keys = st.lists(st.text("~/01", max_size=3), min_size=1, max_size=5)


def bits_of(name: str) -> int:
    """The bits of one element, as the package that the name comes from has it."""
    beyond_numpy = getattr(ml_dtypes, name, None)
    return 8 * np.dtype(name).itemsize if beyond_numpy is None else int(ml_dtypes.finfo(beyond_numpy).bits)


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_dtype_has_the_bits_that_numpy_or_ml_dtypes_gives_it(name: str) -> None:
    elements, size = tensors.BLOCKS[name]
    assert 8 * size == elements * bits_of(name)
    assert elements == 8 // math.gcd(8, bits_of(name)), "the block is the smallest that fills whole bytes"


@pytest.mark.parametrize("name", WHOLE_BYTES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (4, 0, 5), (1,) * 64])
def test_whole_byte_sizes_are_those_of_numpy(name: str, shape: tuple[int, ...]) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    # NumPy 1 stops at 32 extents, so the sixty-four ones are one.
    assert tensors.nbytes(name, shape) == np.empty(shape if len(shape) < 32 else (1,), dtype).nbytes


@settings(derandomize=True, deadline=None, max_examples=100)
@given(name=st.sampled_from(ELEMENTS), shape=extents)
def test_sizes_are_exact_or_refused_where_they_are_too_large_or_the_last_byte_is_not_full(
    name: str, shape: tuple[int, ...]
) -> None:
    bits = bits_of(name) * math.prod(shape)
    if bits % 8 or bits // 8 > tensors.MAX_BYTES:
        with pytest.raises(ValueError, match="cannot be stored"):
            tensors.nbytes(name, shape)
    else:
        assert tensors.nbytes(name, shape) == bits // 8


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("float4_e2m1fn", (2,), 1),
        ("float4_e2m1fn", (3, 4), 6),
        ("float6_e2m3fn", (4,), 3),
        ("float6_e3m2fn", (2, 6), 9),
        ("float4_e2m1fn", (3, 2), 3),
        ("float4_e2m1fn", (3, 0), 0),
        ("q4_0", (2, 32), 36),
        ("q6_k", (3, 512), 1260),
        ("q4_0", (0,), 0),
        ("uint8", (tensors.MAX_BYTES - 1,), tensors.MAX_BYTES - 1),
        ("uint8", (2**31, 2**31), tensors.MAX_BYTES),
    ],
)
def test_packed_and_largest_groups_have_their_size(dtype: str, shape: tuple[int, ...], size: int) -> None:
    assert tensors.nbytes(dtype, shape) == size


@pytest.mark.parametrize(
    ("dtype", "shape", "reason"),
    [
        ("float33", (1,), "unknown dtype 'float33'"),
        ("Float32", (1,), "unknown dtype"),
        ("", (1,), "unknown dtype"),
        ("float32", (-1,), "impossible shape"),
        ("float32", (-1, -1), "impossible shape"),
        ("float32", (0, -1), "impossible shape"),
        ("float32", (2**62,), "impossible shape"),
        ("float32", (10**400,), "impossible shape"),
        ("float32", (0, 2**62), "impossible shape"),
        ("float32", (1,) * 65, "impossible shape"),
        ("uint8", (2**31, 2**31 + 1), "cannot be stored"),
        ("float32", (2**61,), "cannot be stored"),
        ("uint8", (2**31, 2**31, 2), "cannot be stored"),
        ("float64", (2**61,) * 64, "cannot be stored"),
        ("float4_e2m1fn", (), "cannot be stored"),
        ("float4_e2m1fn", (3,), "cannot be stored"),
        ("float6_e2m3fn", (2,), "cannot be stored"),
        ("q4_0", (), "cannot be stored"),
        ("q4_0", (31,), "cannot be stored"),
        ("q8_k", (2**31, 2**31), "cannot be stored"),
        ("Q4_0", (32,), "unknown dtype"),
    ],
)
def test_impossible_groups_are_refused(dtype: str, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        tensors.nbytes(dtype, shape)
    assert len(str(caught.value)) < 10_000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BLOCKS_OF_GGUF)
def test_blocks_of_many_elements_are_kept_byte_by_byte(name: str) -> None:
    assert tensors.itemsize(name) == 1


@pytest.mark.parametrize("name", ELEMENTS)
def test_the_itemsize_is_a_power_of_two_of_at_most_sixteen(name: str) -> None:
    assert tensors.itemsize(name) == max(1, bits_of(name) // 8)
    assert tensors.itemsize(name) in (1, 2, 4, 8, 16)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (["h.0.attn.c_attn.weight"], "h.0.attn.c_attn.weight"),
        (["optimizer", "state", "0", "exp_avg"], "optimizer/state/0/exp_avg"),
        (["a/b", "c"], "a~1b/c"),
        (["~"], "~0"),
        (["~1"], "~01"),
        (["~0/"], "~00~1"),
        (["", ""], "/"),
        ([""], ""),
    ],
)
def test_a_name_is_the_path_of_keys_with_the_escapes_of_json_pointer(path: list[str], name: str) -> None:
    assert tensors.join_name(path) == name
    assert tensors.split_name(name) == tuple(path)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(path=odd_keys | keys)
def test_splitting_a_name_gives_its_keys_again(path: list[str]) -> None:
    assert tensors.split_name(tensors.join_name(path)) == tuple(path)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    first=st.lists(st.text("~/01", max_size=3), min_size=1), second=st.lists(st.text("~/01", max_size=3), min_size=1)
)
def test_two_paths_of_keys_never_have_the_same_name(first: list[str], second: list[str]) -> None:
    assert (tensors.join_name(first) == tensors.join_name(second)) == (first == second)


def test_the_digest_is_blake3() -> None:
    # From the test vectors of the BLAKE3 team: no bytes, and the bytes 0, 1, 2.
    assert tensors.digest(b"") == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert tensors.digest(b"\0\1\2") == "e1be4d7a8ab5560aa4199eea339849ba8e293d55ca0a81006726d184519e647f"


def test_the_digest_is_of_the_bytes_whatever_holds_them() -> None:
    data = bytes(range(256))
    assert tensors.digest(data) == tensors.digest(bytearray(data)) == tensors.digest(memoryview(data))
    assert tensors.digest(data) == tensors.digest(np.frombuffer(data, np.uint8).data)
