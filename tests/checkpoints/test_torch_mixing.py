"""Plain values of one torch file put into another."""

from __future__ import annotations

import io
from collections import OrderedDict, defaultdict
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
    data = b"".join(TorchZip().write_grafted(groups, mine, dict.fromkeys(names, donor), {}))
    found = torch.load(io.BytesIO(data), weights_only=False)
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


def test_new_dictionaries_come_with_their_kinds_keys_and_order() -> None:
    new = {"kind": OrderedDict(lr=1, deep={0: "x", (1, 2): None}), "counts": defaultdict(int, a=1), "empty": {}}
    other = {"a": 1, **new, "z": 2}
    names = ("kind/lr", "kind/deep/0", "kind/deep/(1, 2)", "counts/0", "counts/a", "empty")
    found = mixed({"a": 1, "z": 2}, other, *names)
    assert repr(found) == repr(other)


def test_dictionaries_that_lose_all_values_are_gone_and_others_stay() -> None:
    one = {"args": {"deep": OrderedDict(lr=1)}, "half": {"a": 1, "b": 2}, "empty": {}}
    found = mixed(one, {"empty": {}}, "args/deep/lr", "half/a")
    assert found == {"half": {"b": 2}, "empty": {}}


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({"args": {"a": 1}}, {"args": {}}, ["args", "args/a"]),
        ({"args": {}}, {"args": {"a": 1}}, ["args", "args/a"]),
        ({"list": [{"a": 1}]}, {"list": [{"a": 1}, {"a": 2}]}, ["list/1/a"]),
        ({"list": [{"a": 1}, {"a": 2}]}, {"list": [{"a": 1}]}, ["list/1/a"]),
        ({"state": (3, (1, 2), None)}, {"state": (3, (4, 5), None)}, ["state/1"]),
        ({"args": {"a": 1}}, {"args": 7}, ["args", "args/a"]),
    ],
    ids=["emptied", "filled", "longer list", "shorter list", "part of a tuple", "dictionary to number"],
)
def test_what_cannot_be_mixed_part_by_part_is_taken_as_a_whole(one: Any, other: Any, names: list[str]) -> None:
    assert mixed(one, other, *names) == other


def test_tensor_of_another_file_lies_as_it_lay_there() -> None:
    one, other = {"epoch": 1}, {"optimizer": OrderedDict(state={0: {"step": torch.nn.Parameter(torch.ones(2))}})}
    files = [BytesSource(saved({"weight": torch.ones(3), **content})) for content in (one, other)]
    layouts = [TorchZip().scan(file) for file in files]
    mine, donor = (layout.read_skeleton(file) for layout, file in zip(layouts, files, strict=True))
    name = "optimizer/state/0/step"
    groups = {
        span.name: Values(span.dtype, span.shape, files[1].read(span.start, span.stop)) for span in layouts[1].spans
    }
    found = torch.load(io.BytesIO(b"".join(TorchZip().write_grafted(groups, mine, {}, {name: donor}))))
    assert found["epoch"] == 1
    assert isinstance(found["optimizer"], OrderedDict)
    assert isinstance(found["optimizer"]["state"][0]["step"], torch.nn.Parameter)


def test_tensor_comes_in_the_shape_that_it_has_there_and_others_keep_theirs() -> None:
    turned = torch.arange(6.0).reshape(2, 3).t()
    files = [BytesSource(saved(content)) for content in ({"a": torch.ones(3, 2), "b": turned}, {"a": turned})]
    layouts = [TorchZip().scan(file) for file in files]
    mine, donor = (layout.read_skeleton(file) for layout, file in zip(layouts, files, strict=True))
    groups = {
        span.name: Values(span.dtype, span.shape, file.read(span.start, span.stop))
        for file, layout in zip(files, layouts, strict=True)
        for span in layout.spans
    }
    assert [groups[name].shape for name in "ab"] == [(6,), (6,)]
    found = torch.load(io.BytesIO(b"".join(TorchZip().write_grafted(groups, mine, {}, {"a": donor}))))
    assert torch.equal(found["a"], turned)
    assert torch.equal(found["b"], turned)


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({"list": [{"a": 1}]}, {"list": [{"a": 2}, {"a": 3}]}, ["list/1/a"]),
        ({"kinds": {1: "x", "1": "x"}}, {"kinds": {1: "y", "1": "x"}}, ["kinds/1"]),
    ],
    ids=["list of another length, of which one part is ours", "keys that look the same"],
)
def test_value_that_cannot_be_kept_apart_is_refused(one: Any, other: Any, names: list[str]) -> None:
    with pytest.raises(PluginError):
        mixed(one, other, *names)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ({"a": 1}, {"a": 1}, "b"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a/1"),
    ],
    ids=["nowhere", "in a list"],
)
def test_what_has_no_place_of_its_own_is_refused(one: Any, other: Any, name: str) -> None:
    with pytest.raises(PluginError):
        mixed(one, other, name)
