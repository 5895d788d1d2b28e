"""The low-rank update: a product of two narrow matrices is added, in one order of operations everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.tensors import WORKING
from git_theta.updates import Group, low_rank, products
from git_theta.updates.floats import narrow, widen
from git_theta.updates.low_rank import Product, matrix_shape
from tests.updates.scene import LARGE, NUMPY, Scene, Values, normal, update

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=["compiled", "passes"], autouse=True)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "passes":
            patch.setattr(low_rank, "native", None)
        yield


def rows_of(array: Any) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)


def documented(base: Any, left: Any, right: Any, dtype: str) -> bytes:
    """Base plus the sum of products of columns of R and rows of C in their order, rounded once."""
    working = np.dtype(WORKING[dtype])
    left, right = left.astype(working), right.astype(working)
    total = np.outer(left[:, 0], right[0]).astype(working)
    for index in range(1, left.shape[1]):
        total = total + np.outer(left[:, index], right[index])
    flat = widen(rows_of(base), dtype) + total.reshape(-1)
    out = np.empty((flat.size, tensors.itemsize(dtype)), np.uint8)
    narrow(flat, dtype, out)
    return out.tobytes()


def product_of(left: Any, right: Any, group: Group) -> Product:
    factors = np.concatenate([left.reshape(-1), right.reshape(-1)])
    return Product.of(factors.view(np.uint8).data, factors.dtype.name, left.shape[1], group)


def split(product: Product, base: Any, cuts: list[int]) -> bytes:
    """The sum in blocks that end at the cuts."""
    rows = rows_of(base)
    pieces = []
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        out = np.empty_like(rows[start:stop])
        product.add(rows[start:stop], start, out)
        pieces.append(out.tobytes())
    return b"".join(pieces)


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("step", [1, 7, 64, 1 << 15])
@settings(derandomize=True, deadline=None, max_examples=20)
@given(data=st.data())
def test_product_is_the_documented_one_however_it_is_split(dtype: str, step: int, data: st.DataObject) -> None:
    rows, columns, rank = (data.draw(st.integers(1, most)) for most in (12, 40, 5))
    left, right, base = normal((rows, rank), seed=1), normal((rank, columns), seed=2), normal((rows, columns), dtype)
    cuts = sorted(data.draw(st.sets(st.integers(0, rows * columns), max_size=5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_STEP", step)
        found = split(product_of(left, right, Group(dtype, (rows, columns))), base, cuts)
    assert found == documented(base, left, right, dtype)


@pytest.mark.parametrize("shape", [(3, 70_000), (70_000, 3), (300, 700)], ids=str)
def test_product_of_more_than_is_computed_at_once_is_the_documented_one(shape: tuple[int, int]) -> None:
    left, right, base = normal((shape[0], 2), seed=1), normal((2, shape[1]), seed=2), normal(shape, "bfloat16")
    found = split(product_of(left, right, Group("bfloat16", shape)), base, [100_001, 170_003])
    assert found == documented(base, left, right, "bfloat16")


@pytest.mark.parametrize("dtype", WORKING)
def test_odd_floats_of_the_base_and_of_the_factors_give_the_same_bits(dtype: str) -> None:
    base, left, right = normal((20, 30), dtype), normal((20, 2), seed=1), normal((2, 30), seed=2)
    base[0, :5] = [np.nan, np.inf, -np.inf, -0.0, 1e-7]
    left[1:4, 0] = [np.inf, np.nan, 1e38]
    right[0, 3:6] = [np.inf, 0.0, 1e38]
    with np.errstate(all="ignore"):
        expected = documented(base, left, right, dtype)
    assert split(product_of(left, right, Group(dtype, (20, 30))), base, [7, 31]) == expected


def stored(scene: Scene, group: Group, rank: int, kept: str) -> tuple[Any, bytes]:
    """A low-rank update by hand, and what it has to give."""
    rows, columns = matrix_shape(group.shape)
    base = normal(group.shape, group.dtype)
    left, right = normal((rows, rank), kept, 1), normal((rank, columns), kept, 2)
    ref = scene.put(rows_of(np.concatenate([left.reshape(-1), right.reshape(-1)])))
    made = update("low-rank", ref, scene.base(base).update, dtype=kept, rank=rank)
    return made, documented(base, left, right, group.dtype)


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("kept", WORKING)
@pytest.mark.parametrize("shape", [(40, 50), (8, 4, 3, 3), (1, 50), (50, 1), (50,), (), (1, 1)], ids=str)
def test_stored_update_gives_the_documented_values(scene: Scene, dtype: str, kept: str, shape: tuple[int, ...]) -> None:
    group = Group(dtype, shape)
    made, expected = stored(scene, group, min(3, max(1, min(matrix_shape(shape)))), kept)
    assert scene.read(made, group) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stored_update_of_several_blocks_gives_the_documented_values(scene: Scene, dtype: str) -> None:
    group = Group(dtype, (LARGE // 1000 + 1, 999))
    made, expected = stored(scene, group, 4, "float32")
    assert scene.read(made, group) == expected


def test_rank_may_be_full_but_not_larger(scene: Scene) -> None:
    group = Group("float32", (5, 7))
    made, expected = stored(scene, group, 5, "float32")
    assert scene.read(made, group) == expected
    made, _ = stored(scene, group, 6, "float32")
    with pytest.raises(CorruptObjectError, match="no usable 'rank'"):
        scene.read(made, group)


GOOD = {"dtype": "float32", "rank": 2}


@pytest.mark.parametrize("rank", [0, -1, True, 2.0, "2", None, (2,), 10**30])
def test_impossible_rank_is_refused(scene: Scene, rank: Any) -> None:
    made, _ = stored(scene, Group("float32", (5, 7)), 2, "float32")
    with pytest.raises(CorruptObjectError, match="no usable 'rank'"):
        scene.read(update("low-rank", made.object, *made.bases, **{**GOOD, "rank": rank}), Group("float32", (5, 7)))


@pytest.mark.parametrize("kept", [None, "int32", "float8_e5m2", "", 4, ("float32",), "complex64"])
def test_impossible_dtype_of_the_factors_is_refused(scene: Scene, kept: Any) -> None:
    made, _ = stored(scene, Group("float32", (5, 7)), 2, "float32")
    with pytest.raises(CorruptObjectError, match="low-rank update cannot give values"):
        scene.read(update("low-rank", made.object, *made.bases, **{**GOOD, "dtype": kept}), Group("float32", (5, 7)))


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64", "float8_e4m3fn"])
def test_values_that_cannot_be_computed_with_are_refused(scene: Scene, dtype: str) -> None:
    group = Group(dtype, (5, 7))
    base = scene.base(Values(group, bytes(group.nbytes))).update
    with pytest.raises(CorruptObjectError, match=f"values of dtype {dtype}"):
        scene.read(update("low-rank", base.object, base, **GOOD), group)


def test_object_that_is_too_short_or_missing_is_refused(scene: Scene) -> None:
    group = Group("float32", (5, 7))
    made, _ = stored(scene, group, 2, "float32")
    with pytest.raises(CorruptObjectError, match="names no object"):
        scene.read(update("low-rank", None, *made.bases, **GOOD), group)
    short = scene.put(np.zeros((23, 4), np.uint8))
    with pytest.raises(CorruptObjectError):
        scene.read(update("low-rank", short, *made.bases, **GOOD), group)


@pytest.mark.parametrize("count", [0, 2])
def test_low_rank_of_another_number_of_bases_than_one_is_refused(scene: Scene, count: int) -> None:
    made, _ = stored(scene, Group("float32", (5, 7)), 2, "float32")
    with pytest.raises(CorruptObjectError, match=f"{count} bases instead of one"):
        scene.read(update("low-rank", made.object, *made.bases * count, **GOOD), Group("float32", (5, 7)))


def test_numpy_types_are_the_ones_that_are_computed_with() -> None:
    assert all(np.dtype(NUMPY.get(dtype, dtype)).itemsize == tensors.itemsize(dtype) for dtype in WORKING)
