"""Handlers put data into the form in which it is loaded, as git-theta 0.2 does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from git_theta.errors import PluginError, UsageError
from git_theta.updates import get_update_handler


def test_sparse_makes_a_compressed_row() -> None:
    difference = np.array([[0, -1.5, 0], [np.nan, -0.0, 2]], np.float32)
    row = get_update_handler("sparse").format_update(difference)
    assert list(row) == ["data", "indices", "indptr", "shape"]
    np.testing.assert_array_equal(row["data"], np.array([-1.5, np.nan, 2], np.float32))
    np.testing.assert_array_equal(row["indices"], [1, 3, 5])
    np.testing.assert_array_equal(row["indptr"], [0, 3])
    np.testing.assert_array_equal(row["shape"], [1, 6])
    assert [row[key].dtype.name for key in row] == ["float32", "int32", "int32", "int64"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sparse_takes_tensors_of_torch_as_they_are(dtype: torch.dtype) -> None:
    difference = torch.tensor([[0, -1.5, 0], [torch.nan, -0.0, 2]], dtype=dtype, requires_grad=True)
    row = get_update_handler("sparse").format_update(difference)
    assert row["data"].dtype == (np.float16 if dtype == torch.float16 else np.float32)
    np.testing.assert_array_equal(row["data"], [-1.5, np.nan, 2])
    np.testing.assert_array_equal(row["indices"], [1, 3, 5])


def test_sparse_refuses_a_tensor_that_numpy_cannot_have() -> None:
    with pytest.raises(UsageError, match=r"float8_e5m2 is nothing that NumPy has"):
        get_update_handler("sparse").format_update(torch.zeros(3, dtype=torch.float8_e5m2))


@pytest.mark.parametrize("shape", [(0,), (), (2, 2)])
def test_sparse_of_no_difference_is_empty(shape: tuple[int, ...]) -> None:
    row = get_update_handler("sparse").format_update(np.zeros(shape))
    assert row["data"].shape == row["indices"].shape == (0,)
    assert row["indptr"].tolist() == [0, 0]
    assert row["shape"].tolist() == [1, np.prod(shape)]


def test_low_rank_and_ia3_name_their_arrays() -> None:
    r, c, vector = np.ones((4, 1)), np.ones((1, 5)), np.ones(5)
    assert get_update_handler("low-rank").format_update(r, c) == {"R": r, "C": c}
    assert get_update_handler("ia3").format_update(vector) == {"ia3": vector}


def test_dense_is_the_values_themselves() -> None:
    array = np.ones(3)
    assert get_update_handler("dense").format_update(array) is array


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("sparse", ()),
        ("sparse", (np.ones(1), np.ones(1))),
        ("sparse", (1.0,)),
        ("dense", ()),
        ("ia3", ()),
        ("low-rank", (np.ones((2, 2)),)),
        ("low-rank", (np.ones((2, 1)), np.ones((2, 2)))),
        ("low-rank", (np.ones((2, 0)), np.ones((0, 2)))),
        ("low-rank", (np.ones(2), np.ones(2))),
    ],
)
def test_other_data_are_refused(name: str, data: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match=name):
        get_update_handler(name).format_update(*data)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(PluginError, match=r"unknown type of update 'spare'; .* dense, sparse, low-rank, ia3$"):
        get_update_handler("spare")
