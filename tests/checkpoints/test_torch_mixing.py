"""Plain values of one torch file put into another."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

import pytest

from git_theta.checkpoints import Values
from git_theta.checkpoints.torch_zip import TorchZip
from git_theta.errors import PluginError
from git_theta.sources import BytesSource

torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def mixed(one: Any, other: Any, *names: str) -> Any:
    """One file with values of another."""
    files = [BytesSource(saved({"weight": torch.ones(3), **content})) for content in (one, other)]
    layouts = [TorchZip().scan(file) for file in files]
    mine, donor = (layout.read_skeleton(file) for layout, file in zip(layouts, files, strict=True))
    groups = {
        span.name: Values(span.dtype, span.shape, files[0].read(span.start, span.stop)) for span in layouts[0].spans
    }
    data = b"".join(TorchZip().write_mixed(groups, mine, dict.fromkeys(names, donor)))
    found = torch.load(io.BytesIO(data), weights_only=True)
    assert torch.equal(found.pop("weight"), torch.ones(3))
    return found


def test_values_are_replaced_added_and_taken_out() -> None:
    one = {"epoch": 3, "args": {"lr": 0.1, "names": ["x"]}, "old": 1, "both": 1}
    other = {"epoch": 4, "new": "text", "args": {"lr": 0.2, "names": ["y", "z"], "more": None}, "both": 2}
    found = mixed(one, other, "epoch", "new", "old", "args/lr", "args/names", "args/more")
    assert found == {"epoch": 4, "args": {"lr": 0.2, "names": ["y", "z"], "more": None}, "both": 1, "new": "text"}


def test_added_value_stands_where_it_stands_in_the_other_file() -> None:
    found = mixed({"a": 1, "c": 1, "mine": 1}, {"a": 1, "b": 2, "c": 1}, "b")
    assert list(found) == ["a", "b", "c", "mine"]


def test_values_in_lists_and_ordered_dictionaries_are_reached() -> None:
    one = {"groups": [OrderedDict(lr=1, eps=2), {"lr": 3}], 7: "x"}
    other = {"groups": [OrderedDict(lr=5, eps=2), {"lr": 6}], 7: "y"}
    assert mixed(one, other, "groups/1/lr", "7") == {"groups": [OrderedDict(lr=1, eps=2), {"lr": 6}], 7: "y"}
    assert mixed(one, other, "groups/0/lr")["groups"][0] == OrderedDict(lr=5, eps=2)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ({"a": 1}, {"deep": {"b": 2}}, "deep/b"),
        ({"a": 1}, {"a": 1}, "b"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a/1"),
    ],
    ids=["no dictionary to put it into", "nowhere", "in a list"],
)
def test_what_has_no_place_of_its_own_is_refused(one: Any, other: Any, name: str) -> None:
    with pytest.raises(PluginError):
        mixed(one, other, name)
