"""What is particular to new files of torch; the round trips are in test_torch_zip.py."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import io
import random
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.checkpoints import Values
from git_theta.checkpoints.torch_zip import TorchZip
from git_theta.sources import BytesSource
from tests.checkpoints.test_torch_zip import (
    FORMATS,
    every_format,
    groups_of,
    load,
    save,
    shapes,
    skeleton_of,
    values_of,
    written,
)
from tests.growth import grows_linearly

if TYPE_CHECKING:
    from collections.abc import Callable

torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")


class Color(enum.Enum):
    RED = 1


class Outer:
    class Inner:
        def __init__(self) -> None:
            self.tensor = torch.ones(2)


class Slots:
    __slots__ = ("note", "tensor")

    def __init__(self) -> None:
        self.tensor, self.note = torch.ones(3), 2


@dataclasses.dataclass
class Settings:
    rate: float
    tensor: Any


class Items(list[Any]):
    pass


def all_sorts() -> dict[Any, Any]:
    return {
        "random": random.Random(1).getstate(),
        "array": np.arange(5.0),
        "large": np.arange(40_000) % 251,
        "number": np.float32(1.5),
        "enum": Color.RED,
        "inner": Outer.Inner(),
        "slots": Slots(),
        "settings": Settings(0.5, torch.ones(1)),
        "items": Items([torch.ones(1), 2]),
        "default": collections.defaultdict(list, a=[torch.ones(4)]),
        "deque": collections.deque([torch.ones(2), 3]),
        "date": datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        "torch": (torch.float16, torch.device("cpu"), torch.Size([1, 2]), torch.relu),
        "module": torch.nn.LSTM(2, 3),
        "numbers": [2**100, -5, 1 + 2j, float("inf"), range(3), slice(1, 2)],
        "sets": [set(), frozenset(), {1}, frozenset({2})],
        "bytes": [b"\x00\xff", bytearray(b"xx")],
        "texts": ["a\udc80b", "é", "", "x" * 40_000],
        "asks": torch.ones(3, requires_grad=True),
        3: {True: 1, False: torch.ones(1)},
    }


@every_format
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_of_all_sorts_are_kept(kind: str, protocol: int) -> None:
    value = all_sorts()
    data = save(value, kind, protocol)
    groups = groups_of(data, kind)
    assert {"inner/tensor", "slots/tensor", "settings/tensor", "items/0", "default/a/0", "3/False"} <= groups.keys()
    new = written(groups, skeleton_of(data, kind), kind)
    assert shapes(new, kind) == shapes(data, kind)
    again = load(new, weights_only=False)
    for name in ("random", "number", "enum", "date", "torch", "numbers", "sets", "bytes", "texts"):
        assert again[name] == value[name], name
    assert np.array_equal(again["array"], value["array"])
    assert np.array_equal(again["large"], value["large"])
    assert type(again["inner"]) is Outer.Inner
    assert again["slots"].note == 2
    assert again["settings"].rate == 0.5
    assert type(again["items"]) is Items
    assert again["default"].default_factory is list
    assert again["module"](torch.ones(1, 2))[0].shape == (1, 3)
    assert again["asks"].requires_grad
    assert again[3][True] == 1
    assert FORMATS[kind].values(BytesSource(data)) == FORMATS[kind].values(BytesSource(new))


def test_a_group_is_added_while_the_last_is_taken_out() -> None:
    # The new one must not be given the key of the other: it would go with it.
    data = save({"a": torch.ones(1), "b": torch.ones(2)})
    groups = {"a": groups_of(data)["a"], "c": values_of(torch.full((3,), 7.0))}
    again = load(written(groups, skeleton_of(data)))
    assert list(again) == ["a", "c"]
    assert again["c"].tolist() == [7, 7, 7]


def test_a_dictionary_that_lost_all_its_groups_is_gone_and_one_that_was_empty_is_not() -> None:
    one = torch.ones(1)
    module = torch.nn.Linear(2, 2)
    lost = {
        "deep": {"er": collections.OrderedDict(w=one)},
        "swapped": {"old": one},
        "list": [{"w": one}],
        "layer": module,
    }
    data = save({"empty": {}, "noted": {"w": one, "note": "x"}, **lost})
    new = written({"swapped/new": values_of(one)}, skeleton_of(data))
    again = load(new, weights_only=False)
    assert list(again) == ["empty", "noted", "swapped", "list", "layer"]
    assert again["empty"] == {}
    assert again["noted"] == {"note": "x"}
    assert again["swapped"].keys() == {"new"}
    assert again["list"] == [{}]
    assert again["layer"]._parameters == {}


def test_new_groups_stand_behind_those_that_they_are_to_follow() -> None:
    data = save({"epoch": 1, "m": {"b": torch.ones(1), "c": torch.ones(1), "note": "x"}, "z": {"only": "text"}})
    groups = groups_of(data)
    one = values_of(torch.ones(3))
    new = ["m/a", "m/b", "m/b1", "m/b2/x", "m/b2/y", "m/c", "m/d", "n/x", "z/w", "z/v"]
    again = load(written({name: groups.get(name, one) for name in new}, skeleton_of(data)))
    assert list(again) == ["epoch", "m", "n", "z"]
    assert list(again["m"]) == ["a", "b", "b1", "b2", "c", "d", "note"]
    assert list(again["m"]["b2"]) == ["x", "y"]
    assert list(again["z"]) == ["only", "w", "v"]


def test_new_groups_are_the_last_where_the_order_in_the_file_tells_nothing() -> None:
    """Older versions of torch sort the storages of a file by their numbers as texts."""
    data = save({f"k{number}": torch.full((1,), number) for number in range(12)})
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in sorted(old.namelist()):
            new.writestr(name, old.read(name))
    data = file.getvalue()
    assert list(groups_of(data))[:4] == ["k0", "k1", "k10", "k11"]
    groups = {"new": values_of(torch.full((1,), 99.0)), **groups_of(data)}
    again = load(written(groups, skeleton_of(data)))
    assert list(again) == [*(f"k{number}" for number in range(12)), "new"]
    assert [again[f"k{number}"].item() for number in range(12)] == list(range(12))


def test_a_group_follows_at_the_end_of_a_list() -> None:
    data = save({"list": [torch.ones(1)], "tuple": (torch.ones(2),)})
    one = values_of(torch.ones(3))
    groups = groups_of(data) | {"list/1": one, "list/2/x": one, "list/7": one, "tuple/1": one}
    again = load(written(groups, skeleton_of(data)))
    assert again["list"][1].shape == again["list"][2]["x"].shape == (3,)
    assert set(again) == {"list", "tuple", "list/7", "tuple/1"}


def test_a_tensor_takes_the_place_of_a_plain_value() -> None:
    data = save({"a": 1, "b": {"c": "text"}})
    one = values_of(torch.ones(3))
    again = load(written({"a": one, "b/c": one}, skeleton_of(data)))
    assert again["a"].tolist() == again["b"]["c"].tolist() == [1, 1, 1]


def test_new_keys_are_numbers_where_all_others_are() -> None:
    data = save({"state": {0: torch.ones(1)}, "mixed": {0: 1, "x": 2}, "empty": {}})
    one = values_of(torch.ones(3))
    names = ["state/1", "state/x", "state/2", "mixed/1", "empty/0"]
    again = load(written(groups_of(data) | dict.fromkeys(names, one), skeleton_of(data)))
    assert list(again["state"]) == [0, 1, "x", "2"]
    assert list(again["mixed"]) == [0, "x", "1"]
    assert list(again["empty"]) == ["0"]
    odd = ["state/01", "state/٣", "state/" + "1" * 100]
    again = load(written(groups_of(data) | dict.fromkeys(odd, one), skeleton_of(data)))
    assert list(again["state"]) == [0, "01", "٣", "1" * 100]


def test_a_changed_tensor_still_asks_for_gradients_if_it_can() -> None:
    data = save({"a": torch.ones(2, requires_grad=True), "b": torch.ones(2, requires_grad=True), "c": torch.ones(2)})
    groups = {"a": values_of(torch.ones(3, dtype=torch.bfloat16)), "b": values_of(torch.ones(3, dtype=torch.uint8))}
    groups["c"] = values_of(torch.ones(3))
    again = load(written(groups, skeleton_of(data)))
    assert [again[name].requires_grad for name in "abc"] == [True, False, False]


def test_writing_a_state_dict_takes_time_that_grows_with_its_size() -> None:
    def write(size: int) -> Callable[[], object]:
        groups = {f"model/{number}": Values("float32", (1,), bytes(4)) for number in range(size)}
        return lambda: b"".join(TorchZip().write(groups, None))

    assert grows_linearly(write, 1500)
