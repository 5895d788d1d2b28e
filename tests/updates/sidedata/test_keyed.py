"""Files whose groups are named `<group>/<key>` become changes; anything else in them is an error that lists it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.checkpoints import Values
from git_theta.errors import UsageError
from git_theta.updates.handlers import get_update_handler
from git_theta.updates.sidedata.apply import apply
from git_theta.updates.sidedata.changes import Dense, LowRank, Scale, SparseChange
from git_theta.updates.sidedata.keyed import KINDS, read_keyed
from tests.updates.sidedata.data import parse, values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from git_theta.updates.sidedata.changes import Change

TARGETS = {"h.0.attn": ("float32", (2, 3)), "h/0/bias": ("float16", (3,)), "step": ("int64", (2,))}
FACTORS = {"R": [[1.0], [2.0]], "C": [[1.0, 2.0, 3.0]]}
ROW: dict[str, Any] = {"data": [5.0, 6.0], "indices": [4, 1], "indptr": [0, 2], "shape": [1, 6]}


def keyed(group: str, joint: str = "/", **parts: Any) -> dict[str, Values]:
    whole = {"indices", "indptr", "shape"}
    return {f"{group}{joint}{key}": values(part, "int32" if key in whole else "float32") for key, part in parts.items()}


def only(changes: list[Change]) -> Change:
    (change,) = changes
    return change


@pytest.mark.parametrize("kind", ["low-rank", "auto"])
@pytest.mark.parametrize("joint", ["/", "~1"])
def test_factors(kind: str, joint: str) -> None:
    change = only(read_keyed(keyed("h.0.attn", joint, **FACTORS), TARGETS, kind))
    assert isinstance(change, LowRank)
    assert change.group == "h.0.attn"
    assert change.r.tolist() == FACTORS["R"]
    assert change.c.tolist() == FACTORS["C"]


@pytest.mark.parametrize("kind", ["sparse", "auto"])
def test_a_sparse_row_is_sorted(kind: str) -> None:
    change = only(read_keyed(keyed("h.0.attn", **ROW), TARGETS, kind))
    assert isinstance(change, SparseChange)
    assert change.indices.tolist() == [1, 4]
    assert change.data.tolist() == [6.0, 5.0]
    assert change.shape == (1, 6)


def test_a_sparse_row_of_integers_keeps_its_dtype() -> None:
    parts = keyed("step", indices=[1], indptr=[0, 1], shape=[1, 2]) | {"step/data": values([2**62 + 1], "int64")}
    change = only(read_keyed(parts, TARGETS, "auto"))
    assert isinstance(change, SparseChange)
    assert change.data.tolist() == [2**62 + 1]


@pytest.mark.parametrize("kind", ["ia3", "auto"])
@pytest.mark.parametrize("name", ["h/0/bias/ia3", "h~10~1bias~1ia3"])
def test_a_scale_of_a_nested_group(kind: str, name: str) -> None:
    change = only(read_keyed({name: values([1.0, 2.0, 3.0], "float16")}, TARGETS, kind))
    assert isinstance(change, Scale)
    assert change.group == "h/0/bias"
    assert change.vector.dtype == np.float32


@pytest.mark.parametrize("kind", ["dense", "auto"])
def test_a_group_s_own_name_replaces_it(kind: str) -> None:
    change = only(read_keyed({"h/0/bias": values([1.0, 2.0, 3.0], "float32")}, TARGETS, kind))
    assert isinstance(change, Dense)
    assert change.values.dtype == np.float16


def test_auto_tells_each_group_by_its_keys_and_keeps_the_order() -> None:
    groups = {**keyed("h/0/bias", ia3=[1.0]), "step": values([1, 2], "int64"), **keyed("h.0.attn", **FACTORS)}
    changes = read_keyed(groups, TARGETS, "auto")
    assert [(type(change), change.group) for change in changes] == [
        (Scale, "h/0/bias"),
        (Dense, "step"),
        (LowRank, "h.0.attn"),
    ]


def test_float64_data_are_kept() -> None:
    change = only(read_keyed({"w/ia3": values([0.1], "float64")}, {"w": ("float64", (1,))}, "auto"))
    assert isinstance(change, Scale)
    assert change.vector.tolist() == [0.1]


def test_what_the_handlers_format_is_read_from_a_real_file() -> None:
    old = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    difference = np.where(np.arange(6).reshape(2, 3) % 2, np.float32(0.5), np.float32(0))
    formatted = get_update_handler("sparse").format_update(difference)
    file = safetensors.numpy.save({f"h.0.attn/{key}": part for key, part in formatted.items()})
    change = only(read_keyed(parse(file), TARGETS, "sparse"))
    np.testing.assert_array_equal(apply(change, old, "float32", (2, 3)), old + difference)


def test_a_key_that_is_also_a_group_is_unclear_only_to_auto() -> None:
    targets = {"w": ("float32", (2,)), "w/ia3": ("float32", (2,))}
    groups = {"w/ia3": values([1.0, 2.0], "float32")}
    assert isinstance(only(read_keyed(groups, targets, "dense")), Dense)
    assert isinstance(only(read_keyed(groups, targets, "ia3")), Scale)
    with pytest.raises(UsageError, match=r"'w/ia3' \(unclear\)"):
        read_keyed(groups, targets, "auto")


def test_groups_that_read_the_same_are_told_apart_by_their_spelling() -> None:
    targets = {"a/b": ("float32", (1,)), "a~1b": ("float32", (1,))}
    for target in targets:
        assert only(read_keyed({f"{target}/ia3": values([1.0], "float32")}, targets, "ia3")).group == target
        assert only(read_keyed({target: values([1.0], "float32")}, targets, "dense")).group == target


WRONG: dict[str, tuple[Mapping[str, Values], str, str]] = {
    "nothing": ({}, "auto", "has no groups"),
    "another kind": (keyed("h.0.attn", **FACTORS), "lora", "unknown type of update 'lora'; known are: dense, low-rank"),
    "another model": (keyed("h.9", **FACTORS), "auto", "not a group and a key such as R of this checkpoint: 'h.9/R'"),
    "a key too many": (keyed("h.0.attn", **FACTORS, D=[1.0]), "auto", "of this checkpoint: 'h.0.attn/D'"),
    "keys of two kinds": (keyed("h.0.attn", **FACTORS, ia3=[1.0]), "auto", "'h.0.attn' must have the keys C/R or"),
    "the other kind's keys": (keyed("h.0.attn", **FACTORS), "sparse", "of this checkpoint: 'h.0.attn/R', 'h.0.attn/C'"),
    "a key is missing": (keyed("h.0.attn", R=[[1.0]]), "low-rank", "must have the keys C/R, but has 'h.0.attn/R'"),
    "dense with a key": (keyed("h.0.attn", ia3=[1.0]), "dense", "not a group of this checkpoint: 'h.0.attn/ia3'"),
    "a group and its key": (
        {"step": values([1, 2], "int64"), "step/ia3": values([1.0], "float32")},
        "auto",
        "'step' must have",
    ),
    "twice": (keyed("h.0.attn", **FACTORS) | keyed("h.0.attn", "~1", **FACTORS), "auto", r"'h.0.attn~1R' \(unclear\)"),
    "rank 0": (keyed("h.0.attn", R=np.ones((2, 0)), C=np.ones((0, 3))), "auto", "'h.0.attn': R and C have rank 0"),
    "whole numbers": ({"h.0.attn/ia3": values([1], "int32")}, "auto", "'h.0.attn/ia3' has dtype int32"),
    "indices that are not": (
        keyed("h.0.attn", **ROW) | {"h.0.attn/indices": values([1.0, 2.0], "float32")},
        "auto",
        "must be an integer",
    ),
    "a matrix": (keyed("h.0.attn", **ROW | {"shape": [2, 3]}), "auto", "'h.0.attn/shape' must be 1 and the number"),
    "a scalar shape": (keyed("h.0.attn", **ROW | {"shape": 6}), "auto", "'h.0.attn/shape' must be 1 and the number"),
    "another size": (keyed("h.0.attn", **ROW | {"shape": [1, 7]}), "auto", r"shape \[1, 7\] instead of \[1, 6\]"),
    "rows": (keyed("h.0.attn", **ROW | {"indptr": [0, 1, 2]}), "auto", "'h.0.attn' is no sparse row"),
    "fewer indices": (keyed("h.0.attn", **ROW | {"indices": [1]}), "auto", "'h.0.attn' is no sparse row"),
    "an index twice": (keyed("h.0.attn", **ROW | {"indices": [1, 1]}), "auto", "an index is repeated"),
    "an index too large": (keyed("h.0.attn", **ROW | {"indices": [1, 6]}), "auto", "an index is not below 6"),
    "an index that wraps": (
        keyed("h.0.attn", **ROW) | {"h.0.attn/indices": values([1, 2**64 - 1], "uint64")},
        "auto",
        "or negative",
    ),
    "damage": ({"step": Values("int64", (2,), b"")}, "dense", "'step' is damaged"),
}


@pytest.mark.parametrize(("groups", "kind", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_data_are_refused_in_one_line(groups: Mapping[str, Values], kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read_keyed(groups, TARGETS, kind)
    assert "\n" not in str(error.value)


def test_all_unknown_names_are_listed_up_to_ten() -> None:
    with pytest.raises(UsageError, match=r"'x0/R', .*, 'x9/R' and 2 more;"):
        read_keyed({f"x{number}/R": values([1.0], "float32") for number in range(12)}, TARGETS, "auto")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [f"{group}{joint}{key}" for group in TARGETS for joint in ("/", "~1") for key in (*FACTORS, *ROW, "ia3")]
        ),
        st.builds(
            Values,
            st.sampled_from(["float32", "int64", "uint64", "bool", "bfloat16", "float4_e2m1fn", "nonsense"]),
            st.lists(st.integers(-1, 3), max_size=3).map(tuple),
            st.binary(max_size=32),
        ),
        max_size=5,
    ),
    st.sampled_from(KINDS),
)
def test_nothing_but_a_usage_error_comes_of_nonsense(groups: dict[str, Values], kind: str) -> None:
    with contextlib.suppress(UsageError):
        assert read_keyed(groups, TARGETS, kind)
