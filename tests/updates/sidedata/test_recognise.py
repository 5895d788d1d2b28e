"""Values that another program merged are recognised; values that it did not are not."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.updates.sidedata.apply import apply
from git_theta.updates.sidedata.changes import Dense, LowRank, Scale, SparseChange, readings
from git_theta.updates.sidedata.peft import read_peft
from git_theta.updates.sidedata.peft_config import parse_config
from git_theta.updates.sidedata.recognise import is_result
from git_theta.updates.sidedata.values import from_bytes
from tests.updates.sidedata.data import DTYPES, load

if TYPE_CHECKING:
    from git_theta.updates.sidedata.changes import Change

DATA = Path(__file__).parents[2] / "data" / "peft"


def random(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


CHANGES: dict[str, Change] = {
    "low-rank": LowRank("g", random((40, 8), seed=1), random((8, 60), seed=2)),
    "scale": Scale("g", random((60,), seed=3)),
    "sparse": SparseChange("g", random((5,), seed=4), np.arange(5) * 7, (1, 2400)),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("case", ["lora", "transposed", "bfloat16", "ia3"])
def test_what_peft_merged_is_recognised_and_the_old_values_are_not(case: str) -> None:
    files = (DATA / case / f"{name}.safetensors" for name in ("base", "adapter_model", "merged"))
    before, adapter, merged = map(load, files)
    config = parse_config((DATA / case / "adapter_config.json").read_bytes())
    changes = defaultdict(list)
    for change in read_peft(config, adapter, {name: (group.dtype, group.shape) for name, group in before.items()}):
        changes[change.group].append(change)
    for name, group in before.items():
        old, new = from_bytes(name, group), from_bytes(name, merged[name])
        told, *others = readings(changes[name])
        assert is_result(told, old, new, group.dtype, group.shape)
        assert not any(is_result(other, old, new, group.dtype, group.shape) for other in others)
        assert is_result(told, old, old, group.dtype, group.shape) == (not told)


@every_change
@every_dtype
def test_results_of_higher_precision_are_recognised(change: Change, dtype: str) -> None:
    old = random((40, 60), DTYPES[dtype])
    exact = old.astype(np.longdouble)
    match change:
        case LowRank():
            exact = exact + change.r.astype(np.longdouble) @ change.c.astype(np.longdouble)
        case Scale():
            exact = exact * change.vector
        case SparseChange():
            exact.reshape(-1)[change.indices] += change.data
    new = exact.astype(np.float64).astype(DTYPES[dtype])
    assert is_result([change], old, new, dtype, (40, 60))


@pytest.mark.parametrize("given", ["bfloat16", "float16"])
def test_products_rounded_to_the_dtype_of_the_data_are_recognised_and_other_values_are_not(given: str) -> None:
    """As PEFT merges an adapter of 16 bits into a model of 32, also where the product is subnormal in 16 bits."""
    rounded = DTYPES[given]
    r, c = (random(shape, rounded, seed).astype(np.float32) for seed, shape in enumerate([(40, 8), (8, 60)]))
    r[:20] *= np.float32(2.0**-16)
    old = random((40, 60)) / np.float32(8)
    new = old + (r @ c).astype(rounded).astype(np.float32)
    change = LowRank("g", r, c, given)
    assert is_result([change], old, new, "float32", (40, 60))
    assert not is_result([LowRank("g", r, c)], old, new, "float32", (40, 60))
    assert not is_result([change], old, old, "float32", (40, 60))
    assert not is_result([change], old, old + np.float32(1.02) * (r @ c), "float32", (40, 60))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_products_of_factors_rounded_to_the_dtype_of_the_group_are_recognised(dtype: str) -> None:
    """As PEFT merges an adapter of 32 bits if the model and its adapter were made 16 bits wide first."""
    kept = DTYPES[dtype]
    r, c = random((40, 8), seed=1), random((8, 60), seed=2)
    r[:, 0] *= np.float32(2.0**-16)  # Subnormal in float16, times what makes that count.
    c[0] *= np.float32(2.0**9)
    old = (random((40, 60)) / np.float32(1024)).astype(kept)
    product = r.astype(kept).astype(np.float32) @ c.astype(kept).astype(np.float32)
    new = (old.astype(np.float32) + product.astype(kept).astype(np.float32)).astype(kept)
    change = LowRank("g", r, c)
    assert is_result([change], old, new, dtype, (40, 60))
    assert not is_result([change], old, old, dtype, (40, 60))
    assert not is_result([change], old, (old.astype(np.float32) + 1.5 * product).astype(kept), dtype, (40, 60))


@pytest.mark.parametrize("given", ["bfloat16", "float16"])
def test_a_bias_scaled_in_the_dtype_of_the_data_is_recognised(given: str) -> None:
    bias = random((60,), DTYPES[given]).astype(np.float32)
    scaled = bias * np.float32(7 / 5)
    old = random((60,), seed=1)
    new = old + scaled.astype(DTYPES[given]).astype(np.float32)
    assert is_result([SparseChange("g", scaled, np.arange(60), (1, 60), given)], old, new, "float32", (60,))
    assert not is_result([SparseChange("g", scaled, np.arange(60), (1, 60))], old, new, "float32", (60,))


@every_change
@every_dtype
@pytest.mark.parametrize("place", [0, -1])
def test_one_other_value_is_enough(change: Change, dtype: str, place: int) -> None:
    old = random((40, 60), DTYPES[dtype])
    new = apply(change, old, dtype, (40, 60)).view(DTYPES[dtype]).copy()
    assert is_result([change], old, new, dtype, (40, 60))
    for other in (new.reshape(-1)[place] * 1.25, np.nan, np.inf):
        wrong = new.copy()
        wrong.reshape(-1)[place] = other
        assert not is_result([change], old, wrong, dtype, (40, 60))


def test_what_a_sparse_change_leaves_alone_must_be_the_same_to_the_bit() -> None:
    old = np.array([0.0, 1.0], np.float32)
    nothing = SparseChange("g", np.zeros(0, np.float32), np.zeros(0, np.int64), (1, 2))
    assert is_result([nothing], old, old, "float32", (2,))
    assert not is_result([nothing], old, np.array([-0.0, 1.0], np.float32), "float32", (2,))


def test_values_that_are_replaced_and_those_of_integers_must_be_the_same() -> None:
    dense = Dense("g", np.array([1.0, 2.0], np.float32))
    assert is_result([dense], np.zeros(2, np.float32), dense.values, "float32", (2,))
    assert not is_result([dense], np.zeros(2, np.float32), np.nextafter(dense.values, 3), "float32", (2,))
    whole = SparseChange("g", np.array([3]), np.array([0]), (1, 2))
    assert is_result([whole], np.array([1, 2]), np.array([4, 2]), "int64", (2,))
    assert not is_result([whole], np.array([1, 2]), np.array([4, 3]), "int64", (2,))


def test_the_last_of_several_changes_starts_from_what_the_others_gave() -> None:
    changes = [Dense("g", np.full(2, 3, "<f4")), Scale("g", np.array([2, 5], np.float32))]
    assert is_result(changes, np.ones(2, "<f4"), np.array([6, 15], "<f4"), "float32", (2,))
    assert not is_result(changes, np.ones(2, "<f4"), np.array([2, 5], "<f4"), "float32", (2,))
    assert is_result([], np.ones(2, "<f4"), np.ones(2, "<f4"), "float32", (2,))


def test_infinities_and_nan_are_results_only_where_they_are_wanted() -> None:
    old = np.array([np.inf, np.nan, 6e4, 1], np.float16)
    scale = Scale("g", np.array(2, np.float32))
    wanted = np.array([np.inf, np.nan, np.inf, 2], np.float16)
    assert is_result([scale], old, wanted, "float16", (4,))
    for place, other in enumerate((6e4, 1.0, 6e4, np.inf)):
        wrong = wanted.copy()
        wrong[place] = other
        assert not is_result([scale], old, wrong, "float16", (4,))
