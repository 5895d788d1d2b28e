"""Torch files whose dictionaries get the order of another file's."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from git_theta.checkpoints.torch_zip import TorchZip
from tests.checkpoints.test_torch_zip import groups_of, load, save, skeleton_of

torch: Any = pytest.importorskip("torch")


def arranged(content: Any, like: Any) -> Any:
    """A file in the order of another one."""
    data = save(content)
    new = TorchZip().write_ordered(groups_of(data), skeleton_of(data), [skeleton_of(save(like))])
    return load(b"".join(new))


def of(names: str, kind: type = dict) -> Any:
    """A dictionary in which each value tells its key."""
    return kind((name, torch.tensor([ord(name)])) for name in names)


def told(content: Any) -> str:
    """The keys of what `of` made, whose values have to be theirs."""
    assert all(ord(name) == value.item() for name, value in content.items())
    return "".join(content)


@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize(
    ("names", "like", "wanted"),
    [
        ("abcd", "dcba", "dcba"),
        ("abxcyd", "dcba", "dcybxa"),
        ("xyab", "ba", "xyba"),
        ("ab", "xbya", "ba"),
        ("abc", "", "abc"),
    ],
)
def test_keys_have_the_order_that_they_have_there(kind: type, names: str, like: str, wanted: str) -> None:
    assert told(arranged(of(names, kind), of(like, kind))) == wanted


def test_order_reaches_into_what_is_nested_and_takes_plain_values_along() -> None:
    content = {"epoch": 3, "model": of("abc"), "list": [{"lr": 1, "eps": 2}, of("de")], "other": of("fg")}
    like = {"other": of("gf"), "list": [{"eps": 7, "lr": 7}, of("ed")], "model": {}, "epoch": 7}
    found = arranged(content, like)
    assert list(found) == ["other", "list", "model", "epoch"]
    assert [told(found["model"]), told(found["list"][1]), told(found["other"])] == ["abc", "ed", "gf"]
    assert list(found["list"][0].items()) == [("eps", 2), ("lr", 1)]
    assert found["epoch"] == 3


def test_attributes_of_a_dictionary_are_ordered_too() -> None:
    """A state dict of torch has `_metadata`, a dictionary by module."""
    one, other = (
        torch.nn.Sequential(OrderedDict((name, torch.nn.Linear(1, 1)) for name in text)) for text in ("ab", "ba")
    )
    found = arranged(one.state_dict(), other.state_dict())
    assert list(found) == list(other.state_dict())
    assert list(found._metadata) == list(other.state_dict()._metadata)


def test_keys_that_look_the_same_stay_where_they_are() -> None:
    found = arranged({1: torch.ones(1), "1": torch.zeros(1), "a": 2}, {"a": 2, "1": torch.ones(1), 1: torch.zeros(1)})
    assert list(found) == [1, "1", "a"]


def test_what_contains_itself_is_ordered_once() -> None:
    content, like = of("ab"), of("ba")
    content["self"], like["self"] = [content], [like]
    found = arranged(content, like)
    assert list(found) == ["b", "a", "self"]
    assert found["self"][0] is found


def test_keys_that_the_last_file_does_not_have_follow_the_one_before() -> None:
    data = save(of("xayb"))
    models = [skeleton_of(save(of(names))) for names in ("yabx", "ba")]
    again = load(b"".join(TorchZip().write_ordered(groups_of(data), skeleton_of(data), models)))
    assert told(again) == "yb" + "xa"


def test_a_tied_group_is_called_by_its_first_place_in_the_new_order() -> None:
    values = torch.ones(3)
    data, model = save({"emb": values, "head": values}), save({"head": values, "emb": values})
    (group,) = groups_of(data).values()
    new = b"".join(TorchZip().write_ordered({"head": group}, skeleton_of(data), [skeleton_of(model)]))
    assert list(groups_of(new)) == ["head"]
    assert list(load(new)) == ["head", "emb"]
