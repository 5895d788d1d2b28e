"""What is outside of the groups, merged and written: it must load in the real libraries."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import flax.serialization
import gguf
import numpy as np
import pytest
import safetensors.numpy

from git_theta import tensors
from git_theta.errors import MergeError
from git_theta.flows.merging.plan import STRUCTURE
from git_theta.merges.decisions import Clash
from tests.flows.merging.world import World, decision, normal
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.metadata import Metadata

    Arrays = dict[str, Any]

torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")


def torch_bytes(content: object, *, is_legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not is_legacy)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    """What torch makes of a file whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    return torch.load(io.BytesIO(data), weights_only=True)


def npz_bytes(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def tensor(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(normal(*shape, seed=seed))


def texts_of(world: World) -> dict[str, tuple[str | None, ...]]:
    assert {conflict.clash for conflict in world.asked} <= {Clash.TEXT}
    return {conflict.name: conflict.texts for conflict in world.asked}


A, B, C = normal(40, 30, seed=1), normal(50, seed=2), normal(60, seed=3)


def lost(world: World, metadata: Metadata) -> None:
    """Take all objects with values away."""
    for name in {ref.oid for entry in metadata.entries for ref in entry.update.objects()}:
        world.store.path(name).unlink(missing_ok=True)


# --- safetensors ----------------------------------------------------------------------------------------------------


def test_branches_that_touch_other_layers_merge_without_a_value_read(world: World) -> None:
    base = world.model(a=A, b=B)
    ours, theirs = world.model(a=A + 1, b=B), world.model(a=A, b=B + 1)
    for metadata in (base, ours, theirs):
        lost(world, metadata)
    outcome = world.merge(base, ours, theirs)
    assert outcome.metadata is not None
    assert [entry.digest for entry in outcome.metadata.entries] == [
        ours.by_name()["a"].digest,
        theirs.by_name()["b"].digest,
    ]
    assert world.asked == ()
    assert world.fetched == []


def test_groups_added_and_removed_on_both_sides_are_written_by_the_format(world: World) -> None:
    base = world.model({"by": "ada"}, a=A, b=B, c=C)
    ours = world.model({"by": "ada"}, a=A, c=C, mine=A + 2)
    theirs = world.model({"by": "ada"}, a=A, b=B, c=C + 1, new=B.astype(np.float16))
    data = world.smudge(world.merged(base, ours, theirs))
    found = safetensors.numpy.load(data)
    assert {name: array.tobytes() for name, array in found.items()} == {
        "a": A.tobytes(),
        "c": (C + 1).tobytes(),
        "mine": (A + 2).tobytes(),
        "new": B.astype(np.float16).tobytes(),
    }
    assert b'"__metadata__":{"by":"ada"}' in data[:400]
    assert world.asked == ()


def test_writing_a_new_structure_reads_no_values(world: World) -> None:
    base = world.model(a=A, b=B, c=C)
    ours, theirs = world.model(a=A, c=C, mine=A + 2), world.model(a=A, b=B, c=C, new=B + 1)
    for metadata in (base, ours, theirs):
        lost(world, metadata)
    outcome = world.merge(base, ours, theirs)
    assert outcome.metadata is not None
    assert {entry.name for entry in outcome.metadata.entries} == {"a", "c", "mine", "new"}


def test_structure_of_one_side_is_taken_as_it_is(world: World) -> None:
    base, ours = world.model(a=A, b=B), world.model(a=A, b=B + 1)
    data = safetensors_bytes({"a": A, "b": B, "c": C}, {"note": "x"})
    size = int.from_bytes(data[:8], "little")
    # As no library writes it.
    theirs = world.clean((size + 640).to_bytes(8, "little") + data[8 : 8 + size] + b" " * 640 + data[8 + size :])
    for one, two in ((ours, theirs), (theirs, ours)):
        merged = world.merged(base, one, two)
        assert merged.skeleton == theirs.skeleton
        assert [entry.name for entry in merged.entries] == [entry.name for entry in theirs.entries]
        assert merged.by_name()["b"].digest == ours.by_name()["b"].digest


def test_value_that_is_no_group_is_merged_by_itself(world: World) -> None:
    base = world.model({"epoch": "3", "by": "ada"}, a=A, b=B)
    ours = world.model({"epoch": "4", "by": "ada"}, a=A + 1, b=B)
    theirs = world.model({"epoch": "3", "by": "bob", "note": "x"}, a=A, b=B, c=C)
    data = world.smudge(world.merged(base, ours, theirs))
    with io.BytesIO(data) as file:
        size = int.from_bytes(file.read(8), "little")
        assert b'"__metadata__":{"by":"bob","epoch":"4","note":"x"}' in file.read(size)
    assert set(safetensors.numpy.load(data)) == {"a", "b", "c"}
    assert world.asked == ()


@pytest.mark.parametrize(("by", "epoch"), [("ours", "4"), ("theirs", "5"), ("ancestor", "3")])
def test_value_that_both_changed_is_asked_for(world: World, by: str, epoch: str) -> None:
    base, ours, theirs = (
        world.model({"epoch": epoch, "by": by}, a=A) for epoch, by in (("3", "ada"), ("4", "ada"), ("5", "bob"))
    )
    assert world.merge(base, ours, theirs).metadata is None
    assert texts_of(world) == {"__metadata__/epoch": ("'3'", "'4'", "'5'")}
    merged = world.merged(base, ours, theirs, by=by)
    assert f'"__metadata__":{{"by":"bob","epoch":"{epoch}"}}'.encode() in world.smudge(merged)


def test_value_is_settled_by_a_side_only(world: World) -> None:
    base, ours, theirs = (world.model({"epoch": epoch}, a=A) for epoch in "345")
    with pytest.raises(MergeError, match="__metadata__/epoch cannot be settled by average, but by one of ours, theirs"):
        world.merge(base, ours, theirs, by="average")


def test_without_ancestor_the_groups_of_both_are_there(world: World) -> None:
    ours, theirs = world.model({"epoch": "1"}, a=A, b=B), world.model({"epoch": "1"}, a=A, c=C)
    merged = world.merged(None, ours, theirs)
    assert set(safetensors.numpy.load(world.smudge(merged))) == {"a", "b", "c"}
    assert world.asked == ()


def test_group_kept_against_its_removal_is_written_back(world: World) -> None:
    base, ours, theirs = world.model(a=A, b=B), world.model(a=A, b=B + 1), world.model(a=A)
    for one, two, by in ((ours, theirs, "ours"), (theirs, ours, "theirs")):
        assert world.merged(base, one, two, by=by) == ours
    for one, two, by in ((ours, theirs, "theirs"), (theirs, ours, "ours")):
        assert world.merged(base, one, two, by=by) == theirs
    assert world.merged(base, ours, theirs, by="ancestor") == base


def test_empty_checkpoints_merge(world: World) -> None:
    empty, full = world.model(), world.model(a=A)
    assert world.merged(empty, empty, full) == full
    assert world.merged(full, empty, full) == empty
    assert world.merged(None, empty, empty) == empty
    more = world.model(a=A, b=B)
    assert {entry.name for entry in world.merged(empty, full, more).entries} == {"a", "b"}


@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_what_a_format_cannot_write_anew_is_not_lost_beside_a_change_of_the_other_side(world: World, by: str) -> None:
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":"x"}}'
    noted = len(header).to_bytes(8, "little") + header + b"x"
    a = np.frombuffer(b"x", np.uint8)
    base, ours, theirs = world.model(a=a), world.clean(noted), world.model({"epoch": "1"}, a=a)
    assert world.merge(base, ours, theirs).metadata is None
    assert [conflict.name for conflict in world.asked] == [STRUCTURE]
    assert (b"note" in world.smudge(world.merged(base, ours, theirs, by=by))) == (by == "ours")


# --- torch ----------------------------------------------------------------------------------------------------------


def checkpoint(a: Any, b: Any, **others: Any) -> dict[str, Any]:
    return {"model": {"a": a, "b": b}, "epoch": 3, **others}


@pytest.fixture
def torch_world(world: World) -> World:
    world.path = "model.pt"
    return world


def test_torch_files_of_other_layers_merge_without_a_value_read(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base, ours, theirs = (world.clean(torch_bytes(checkpoint(*pair))) for pair in ((a, b), (a + 1, b), (a, b + 1)))
    assert len({metadata.skeleton.digest for metadata in (base, ours, theirs)}) == 3
    data = world.smudge(world.merged(base, ours, theirs))
    found = loaded(data)
    assert torch.equal(found["model"]["a"], a + 1)
    assert torch.equal(found["model"]["b"], b + 1)
    assert world.asked == ()
    for metadata in (base, ours, theirs):
        lost(world, metadata)
    assert world.merge(base, ours, theirs).metadata is not None
    assert world.fetched == []


def test_merged_torch_values_have_right_checksums(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    versions = [world.clean(torch_bytes(checkpoint(a + step, b + step))) for step in (0, 1, 2)]
    for by in ("average", "ties", "theirs", "ancestor"):
        found = loaded(world.smudge(world.merged(*versions, by=by)))
        assert found["epoch"] == 3
        assert torch.equal(found["model"]["a"], {"theirs": a + 2, "ancestor": a}.get(by, found["model"]["a"]))
    assert torch.allclose(loaded(world.smudge(world.merged(*versions, by="average")))["model"]["a"], a + 1.5)


def test_plain_value_of_one_side_is_taken_with_its_file(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes(checkpoint(a, b)))
    ours = world.clean(torch_bytes(checkpoint(a + 1, b)))
    theirs = world.clean(torch_bytes({**checkpoint(a, b + 1), "epoch": 7}))
    for sides in ((ours, theirs), (theirs, ours)):
        found = loaded(world.smudge(world.merged(base, *sides)))
        assert found["epoch"] == 7
        assert torch.equal(found["model"]["a"], a + 1)
        assert torch.equal(found["model"]["b"], b + 1)


def test_plain_values_of_torch_files_are_merged_one_by_one(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    args = {"args": {"lr": 0.1, "names": ["x", "y"]}, "note": "old"}
    base = world.clean(torch_bytes(checkpoint(a, b, **args)))
    ours = world.clean(
        torch_bytes({**checkpoint(a + 1, b), "args": {"lr": 0.2, "names": ["x"]}, "note": "old", "epoch": 4})
    )
    theirs = world.clean(torch_bytes({**checkpoint(a, b + 1, **args), "note": "new", "by": "ada", "epoch": 5}))
    assert world.merge(base, ours, theirs).metadata is None
    assert texts_of(world) == {"epoch": ("3", "4", "5")}
    for by, epoch in (("ours", 4), ("theirs", 5), ("ancestor", 3)):
        found = loaded(world.smudge(world.merged(base, ours, theirs, by=by)))
        model = found.pop("model")
        assert found == {"args": {"lr": 0.2, "names": ["x"]}, "note": "new", "by": "ada", "epoch": epoch}
        assert torch.equal(model["a"], a + 1)
        assert torch.equal(model["b"], b + 1)


def test_torch_groups_of_both_sides_come_into_one_file(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"a": a, "b": b}))
    ours = world.clean(torch_bytes({"a": a, "b": b, "mine": a + 3}))
    theirs = world.clean(torch_bytes({"a": a + 1, "new": b + 3}))
    found = loaded(world.smudge(world.merged(base, ours, theirs)))
    assert sorted(found) == ["a", "mine", "new"]
    assert torch.equal(found["a"], a + 1)
    assert torch.equal(found["mine"], a + 3)
    assert torch.equal(found["new"], b + 3)
    assert world.asked == ()


def test_dictionaries_of_groups_that_a_side_added_or_removed_are_no_change_of_the_rest(torch_world: World) -> None:
    world = torch_world
    parts = {
        "w": tensor(40, 30, seed=1),
        "old": {"0": tensor(50, seed=2)},
        "gone": {"0": tensor(50, seed=3)},
        "new": {"0": {"1": tensor(60, seed=4)}},
        "too": {"0": {"1": tensor(60, seed=5)}},
    }
    base, ours, theirs = (
        world.clean(torch_bytes({"model": {name: parts[name] for name in names.split()}, "epoch": epoch}))
        for names, epoch in (("w old gone", 1), ("w old new", 1), ("w gone too", 2))
    )
    for sides in ((ours, theirs), (theirs, ours)):
        found = loaded(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        assert found["epoch"] == 2
        assert found["model"].keys() == {"w", "new", "too"}
        assert all(torch.equal(found["model"][name]["0"]["1"], parts[name]["0"]["1"]) for name in ("new", "too"))


SMALL = torch.full((3,), 0.5)
OPTIMIZER = {
    "state": {0: {"step": torch.tensor(1.0), "exp_avg": SMALL + 1}},
    "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}],
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"args": {"lr": 0.1, "deep": {"names": ["x"], "none": {}}}}),
        ({"args": {"lr": 0.1, "deep": {"names": ["x"]}}}, {}),
        ({"args": {"lr": 0.1}}, {"args": {}}),
        ({"args": {}}, {"args": {7: "x", (1, 2): "y"}}),
        ({"optimizer": OPTIMIZER}, {"optimizer": {**OPTIMIZER, "state": {}}}),
        ({"optimizer": {**OPTIMIZER, "state": {}}}, {"optimizer": OPTIMIZER}),
        ({}, {"optimizer_states": [OPTIMIZER]}),
        ({"optimizer_states": [OPTIMIZER]}, {}),
        ({}, {"ema": OrderedDict([(0, torch.nn.Parameter(SMALL)), (1, SMALL + 1)])}),
        ({}, {"shadow": [SMALL, SMALL + 1]}),
        ({"shadow": [SMALL, SMALL + 1]}, {"shadow": [SMALL]}),
        ({"shadow": (SMALL, SMALL + 1)}, {}),
        ({"rng": (3, (1, 2), None)}, {"rng": (3, (4, 5), None)}),
        ({"step": 3}, {"step": torch.tensor(3)}),
    ],
)
@pytest.mark.parametrize("is_legacy", [False, True])
def test_what_one_side_did_to_a_part_merges_beside_what_the_other_did_elsewhere(
    torch_world: World, old: dict[str, Any], new: dict[str, Any], *, is_legacy: bool
) -> None:
    def made(content: dict[str, Any], epoch: int) -> Metadata:
        whole = {"w": tensor(7, seed=epoch), "epoch": epoch, **content}
        return torch_world.clean(torch_bytes(whole, is_legacy=is_legacy))

    base, ours, theirs = made(old, 1), made(new, 1), made(old, 2)
    for sides in ((ours, theirs), (theirs, ours)):
        data = torch_world.smudge(torch_world.merged(base, *sides))
        assert torch_world.asked == ()
        found = torch.load(io.BytesIO(data), weights_only=True)
        assert repr(sorted(found.items())) == repr(sorted({"w": tensor(7, seed=2), "epoch": 2, **new}.items()))


def test_new_group_at_two_places_stays_tied(torch_world: World) -> None:
    def made(epoch: int, **more: Any) -> Metadata:
        return torch_world.clean(torch_bytes({"w": SMALL, "epoch": epoch, **more}))

    tied = SMALL + 1
    for sides in ((made(2), made(1, a=tied, b={"c": tied})), (made(1, a=tied, b={"c": tied}), made(2))):
        found = loaded(torch_world.smudge(torch_world.merged(made(1), *sides)))
        assert found["epoch"] == 2
        assert torch.equal(found["a"], tied)
        assert found["b"]["c"].data_ptr() == found["a"].data_ptr()


def test_parts_of_a_list_that_one_side_made_longer_are_in_conflict_as_a_whole(torch_world: World) -> None:
    base, ours, theirs = (
        torch_world.clean(torch_bytes({"w": SMALL, "list": parts}))
        for parts in ([{"a": 1}], [{"a": 1}, {"a": 2}], [{"a": 3}])
    )
    for sides in ((ours, theirs), (theirs, ours)):
        assert torch_world.merge(base, *sides).metadata is None
        assert {conflict.clash for conflict in torch_world.asked} == {Clash.STRUCTURE}


@pytest.mark.parametrize("count", [5, 40])
def test_part_of_a_tuple_that_is_not_shown_is_not_lost_with_one_that_is(
    torch_world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A tuple is taken as a whole. Of more values than are shown, nobody would notice that ours has gone with it."""
    monkeypatch.setattr("git_theta.checkpoints.pickle_values.MAX_VALUES", 20)

    def made(first: int, last: int) -> Metadata:
        pad = {f"{number:05}": number for number in range(count)}
        return torch_world.clean(torch_bytes({"w": SMALL, "pair": ({"x": first}, pad, {"y": last})}))

    for sides in ((made(1, 2), made(3, 1)), (made(3, 1), made(1, 2))):
        assert torch_world.merge(made(1, 1), *sides).metadata is None
        assert {conflict.clash for conflict in torch_world.asked} == {Clash.STRUCTURE}


def test_plain_values_merge_beside_a_group_that_one_side_added_in_between(torch_world: World) -> None:
    """Torch numbers the storages of a file in their order, so those behind the new one have other numbers."""
    world = torch_world
    a, b, c = tensor(40, 30, seed=1), tensor(50, seed=2), tensor(60, seed=3)
    base = world.clean(torch_bytes({"a": a, "b": b, "epoch": 3, "lr": 0.1}))
    ours = world.clean(torch_bytes({"a": a, "between": c, "b": b, "epoch": 4, "lr": 0.1}))
    theirs = world.clean(torch_bytes({"a": a, "b": b + 1, "epoch": 3, "lr": 0.2}))
    for sides in ((ours, theirs), (theirs, ours)):
        found = loaded(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        assert (found["epoch"], found["lr"]) == (4, 0.2)
        wanted = {"a": a, "between": c, "b": b + 1}
        assert {name: found[name].numpy().tobytes() for name in wanted} == {
            name: part.numpy().tobytes() for name, part in wanted.items()
        }


def test_dictionaries_that_all_versions_order_differently_keep_our_order(torch_world: World) -> None:
    world = torch_world
    nine = torch.full((7,), 9.0)
    base, ours, theirs = (
        world.clean(torch_bytes({"model": {name: tensor(7, seed=ord(name)) for name in names} | more, "epoch": epoch}))
        for names, more, epoch in (("abcd", {}, 1), ("bacdy", {"a": nine}, 1), ("abzdc", {"c": nine + 1}, 2))
    )
    found = loaded(world.smudge(world.merged(base, ours, theirs)))
    assert world.asked == ()
    assert found["epoch"] == 2
    assert list(found["model"]) == ["b", "z", "a", "c", "d", "y"]
    wanted = {name: tensor(7, seed=ord(name)) for name in "bdyz"} | {"a": nine, "c": nine + 1}
    assert all(torch.equal(found["model"][name], value) for name, value in wanted.items())


def test_other_order_on_all_sides_hides_nothing_that_has_no_name(torch_world: World) -> None:
    world = torch_world
    base, ours, theirs = (
        world.clean(torch_bytes({"model": {name: tensor(7, seed=ord(name)) for name in names}, "kinds": kinds}))
        for names, kinds in (("abc", {1: "x"}), ("bac", {"1": "x"}), ("acb", {True: "x"}))
    )
    assert world.merge(base, ours, theirs).metadata is None
    base = world.clean(torch_bytes({"model": {name: tensor(7, seed=ord(name)) for name in "abc"}, "kinds": {"1": "x"}}))
    found = loaded(world.smudge(world.merged(base, ours, theirs)))
    assert found["kinds"] == {True: "x"}


def test_other_order_beside_a_storage_that_the_pickle_does_not_name_is_settled_by_a_side(torch_world: World) -> None:
    def made(names: str, **other: int) -> Metadata:
        file = io.BytesIO(torch_bytes({"model": {name: tensor(7, seed=ord(name)) for name in names}} | other))
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("archive/data/99", bytes(8))
        return torch_world.clean(file.getvalue())

    versions = made("abc"), made("bac"), made("acb", epoch=1)
    assert torch_world.merge(*versions).metadata is None
    assert {conflict.clash for conflict in torch_world.asked} == {Clash.STRUCTURE}
    merged = torch_world.merged(*versions, by="theirs")
    assert "storage/99" in {entry.name for entry in merged.entries}
    found = loaded(torch_world.smudge(merged))
    assert (list(found["model"]), found["epoch"]) == (["a", "c", "b"], 1)


def test_texts_that_are_one_in_memory_in_one_version_alone_are_the_same_texts(torch_world: World) -> None:
    def made(a: int, b: int, *which: int) -> bytes:
        texts = ["".join(["wei", "ght"]) for _ in range(3)]
        tensors = {"a": tensor(7, seed=a), "b": tensor(7, seed=b)}
        return torch_bytes(tensors | {"names": [texts[number] for number in which]})

    files = [made(1, 2, 0, 0, 0), made(3, 2, 0, 1, 1), made(1, 4, 0, 1, 2)]
    assert [data.count(b"weight") for data in files] == [1, 2, 3]
    base, ours, theirs = map(torch_world.clean, files)
    found = loaded(torch_world.smudge(torch_world.merged(base, ours, theirs)))
    assert torch_world.asked == ()
    assert torch.equal(found["a"], tensor(7, seed=3))
    assert torch.equal(found["b"], tensor(7, seed=4))


def test_sets_that_python_orders_differently_are_the_same_sets(torch_world: World) -> None:
    def made(a: int, b: int, *numbers: int) -> bytes:
        return torch_bytes({"a": tensor(7, seed=a), "b": tensor(7, seed=b), "set": set(numbers)})

    # Numbers that fall on one place in the table of a set are in the order in which they came.
    files = [made(1, 2, 0, 8, 16), made(3, 2, 8, 0, 16), made(1, 4, 16, 8, 0)]
    assert all(order in data for order, data in zip((b"K\0K\x08K\x10", b"K\x08K\0", b"K\x10K\x08"), files, strict=True))
    found = loaded(torch_world.smudge(torch_world.merged(*map(torch_world.clean, files))))
    assert torch_world.asked == ()
    assert found["set"] == {0, 8, 16}
    assert torch.equal(found["a"], tensor(7, seed=3))
    assert torch.equal(found["b"], tensor(7, seed=4))


def legacy_bytes(content: object, *keys: str) -> bytes:
    """What torch wrote before 1.6, with these keys for storages: they are addresses of memory."""
    data = torch_bytes(content, is_legacy=True)
    # The dot also stands for a line feed: the length of an address of ten digits.
    known = sorted(set(re.findall(rb"(?s)X(.)\0\0\0([0-9]{8,20})", data)), key=lambda found: data.index(found[1]))
    for (_, old), new in zip(known, keys, strict=True):
        data = data.replace(bytes([len(old)]) + bytes(3) + old, bytes([len(new)]) + bytes(3) + new.encode())
    return data


def test_legacy_torch_files_of_other_layers_merge_whatever_addresses_they_have(torch_world: World) -> None:
    def made(a: int, b: int, *keys: str, **other: Any) -> Metadata:
        content = {"a": tensor(7, seed=a), "b": tensor(3, seed=b)} | other
        return torch_world.clean(legacy_bytes(content, *keys))

    base = made(1, 2, "10000001", "10000002")
    assert base.format == "torch-legacy"
    for more in ({}, {"epoch": 5}):
        # Storages are in the order of their keys as texts.
        ours, theirs = made(3, 2, "20000001", "30000002"), made(1, 4, "30000001", "40000002", **more)
        merged = torch_world.merged(base, ours, theirs)
        assert torch_world.asked == ()
        assert merged.format == "torch-legacy"
        data = torch_world.smudge(merged)
        found = torch.load(io.BytesIO(data), weights_only=True)
        assert torch.equal(found["a"], tensor(7, seed=3))
        assert torch.equal(found["b"], tensor(3, seed=4))
        assert {key: found[key] for key in more} == more


def test_groups_and_values_of_both_sides_come_into_one_legacy_torch_file(torch_world: World) -> None:
    a, b, c = tensor(4, seed=1), tensor(5, seed=2), tensor(6, seed=3)
    base = torch_world.clean(legacy_bytes({"m": {"a": a}, "epoch": 1, "lr": 0.5}, "20000001"))
    ours = torch_world.clean(legacy_bytes({"m": {"a": a, "b": b}, "epoch": 2, "lr": 0.5}, "90000001", "10000001"))
    theirs = torch_world.clean(legacy_bytes({"m": {"a": a, "c": c}, "epoch": 1, "lr": 0.25}, "50000001", "70000001"))
    found = torch.load(io.BytesIO(torch_world.smudge(torch_world.merged(base, ours, theirs))), weights_only=True)
    assert torch_world.asked == ()
    assert (found["epoch"], found["lr"], set(found["m"])) == (2, 0.25, {"a", "b", "c"})
    assert all(torch.equal(found["m"][key], value) for key, value in {"a": a, "b": b, "c": c}.items())


def test_tie_that_one_side_made_stays_beside_a_group_that_the_other_added(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"head": a.clone(), "emb": a, "b": b}))
    ours = world.clean(torch_bytes({"head": a.clone(), "emb": a, "b": b, "mine": b + 3}))
    theirs = world.clean(torch_bytes({"head": a, "emb": a, "b": b}))
    for sides in ((ours, theirs), (theirs, ours)):
        found = loaded(world.smudge(world.merged(base, *sides)))
        assert sorted(found) == ["b", "emb", "head", "mine"]
        assert found["head"].data_ptr() == found["emb"].data_ptr()
        assert torch.equal(found["mine"], b + 3)
    assert world.asked == ()


def test_tied_group_that_a_side_calls_by_another_place_stays_at_all_of_them(torch_world: World) -> None:
    """The first place gives the name, so the order of the keys decides of it."""
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"emb": a, "head": a, "b": b}))
    more = world.clean(torch_bytes({"emb": a, "head": a, "b": b + 1, "more": b + 2}))
    moved, changed = a + 1, a + 3
    other = world.clean(torch_bytes({"head": moved, "emb": moved, "b": b}))
    for sides in ((more, other), (other, more)):
        found = loaded(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        assert sorted(found) == ["b", "emb", "head", "more"]
        assert torch.equal(found["emb"], moved)
        assert found["head"].data_ptr() == found["emb"].data_ptr()
        assert torch.equal(found["b"], b + 1)
        assert torch.equal(found["more"], b + 2)
    third = world.clean(torch_bytes({"emb": changed, "head": changed, "b": b}))
    assert world.merge(base, other, third).metadata is None
    assert [(conflict.name, conflict.clash) for conflict in world.asked] == [("emb", Clash.VALUES)]
    found = loaded(world.smudge(world.merged(base, other, third, by="average")))
    assert list(found) == ["head", "emb", "b"]
    assert torch.allclose(found["emb"], a + 2)
    assert found["head"].data_ptr() == found["emb"].data_ptr()


def test_place_that_one_side_took_from_a_tied_group_is_gone_whatever_order_the_others_have(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"emb": a, "head": a, "b": b}))
    ours = world.clean(torch_bytes({"b": b + 1, "head": a, "emb": a, "more": b}))
    theirs = world.clean(torch_bytes({"emb": a, "b": b}))
    found = loaded(world.smudge(world.merged(base, ours, theirs)))
    assert world.asked == ()
    assert sorted(found) == ["b", "emb", "more"]
    assert torch.equal(found["b"], b + 1)


@pytest.mark.parametrize("kind", ["the same", "a view", "a parameter"])
def test_change_of_a_tied_group_is_one_of_both_where_the_other_side_unties_them(torch_world: World, kind: str) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)

    def tie(values: Any) -> dict[str, Any]:
        if kind == "a view":
            return {"emb": values, "head": values.detach()}
        emb = values if kind == "the same" else torch.nn.Parameter(values)
        return {"emb": emb, "head": emb}

    base = world.clean(torch_bytes({**tie(a), "b": b}))
    changed = a + 1
    tied = world.clean(torch_bytes({**tie(changed), "b": b}))
    loose = world.clean(torch_bytes({"emb": a, "head": a.clone(), "b": b}))
    for sides in ((tied, loose), (loose, tied)):
        found = loaded(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        assert torch.equal(found["emb"], changed)
        assert torch.equal(found["head"], changed)
        assert found["head"].data_ptr() != found["emb"].data_ptr()


def test_group_that_one_side_unties_and_changes_while_the_other_changes_both_is_a_conflict(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    changed = a + 1
    base = world.clean(torch_bytes({"emb": a, "head": a, "b": b}))
    tied = world.clean(torch_bytes({"emb": changed, "head": changed, "b": b}))
    loose = world.clean(torch_bytes({"emb": a, "head": a + 3, "b": b + 1}))
    for sides in ((tied, loose), (loose, tied)):
        assert world.merge(base, *sides).metadata is None
        assert [(conflict.name, conflict.clash) for conflict in world.asked] == [("head", Clash.VALUES)]
        found = loaded(world.smudge(world.merged(base, *sides, by="average")))
        assert torch.equal(found["emb"], changed)
        assert torch.allclose(found["head"], a + 2)
        assert torch.equal(found["b"], b + 1)
    kept = loaded(world.smudge(world.merged(base, tied, base, by="ours")))
    assert kept["head"].data_ptr() == kept["emb"].data_ptr()


def test_change_that_has_no_name_is_not_lost_beside_one_that_has(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"head": a.clone(), "emb": a, "b": b, "epoch": 3}))
    ours = world.clean(torch_bytes({"head": a.clone(), "emb": a, "b": b + 1, "epoch": 4}))
    theirs = world.clean(torch_bytes({"head": a, "emb": a, "b": b, "epoch": 5}))
    assert world.merge(base, ours, theirs).metadata is None
    assert [conflict.clash for conflict in world.asked] == [Clash.STRUCTURE]
    found = loaded(world.smudge(world.merged(base, ours, theirs, by="theirs")))
    assert found["head"].data_ptr() == found["emb"].data_ptr()
    assert found["epoch"] == 5
    assert torch.equal(found["b"], b + 1)


def test_sparse_tensor_with_indices_that_are_a_group_of_another_name_is_not_mixed_of_both_sides(
    torch_world: World,
) -> None:
    world = torch_world

    def version(indices: Any, values: Any) -> Metadata:
        pairs = torch.tensor([indices, indices])
        tensor = torch.sparse_coo_tensor(pairs, values, (3, 3), check_invariants=True)
        return world.clean(torch_bytes({"pairs": pairs, "sparse": tensor}))

    base, ours = version([0, 1], torch.ones(2)), version([0, 1], torch.zeros(2))
    assert world.merge(base, ours, version([0, 2], torch.ones(2))).metadata is None
    assert {conflict.name: conflict.clash for conflict in world.asked} == {
        "pairs": Clash.PARTS,
        "sparse/values": Clash.PARTS,
    }


def test_tied_group_that_both_changed_is_one_conflict(torch_world: World) -> None:
    world = torch_world
    a = tensor(40, 30, seed=1)
    versions = [world.clean(torch_bytes({"head": part, "emb": part})) for part in (a, a + 1, a + 2)]
    found = loaded(world.smudge(world.merged(*versions, by="average")))
    assert len(world.asked) == 1
    assert torch.allclose(found["head"], a + 1.5)
    assert found["head"].data_ptr() == found["emb"].data_ptr()


def test_duplicated_groups_of_a_safetensors_file_are_merged_each(world: World) -> None:
    versions = [world.model(emb=part, head=part) for part in (A, A + 1, A + 2)]
    found = safetensors.numpy.load(world.smudge(world.merged(*versions, by="average")))
    assert found["emb"].tobytes() == found["head"].tobytes()


def test_tensors_that_each_side_laid_out_otherwise_keep_their_shapes(torch_world: World) -> None:
    world = torch_world
    x, y = tensor(4, 3, seed=1), tensor(4, 3, seed=2)

    def turned(values: Any) -> Any:
        return values.t().contiguous().t()

    versions = [{"x": x, "y": y}, {"x": x, "y": turned(y)}, {"x": turned(x), "y": y}]
    for base, ours, theirs in (
        map(world.clean, map(torch_bytes, order)) for order in (versions, (versions[0], *versions[:0:-1]))
    ):
        found = loaded(world.smudge(world.merged(base, ours, theirs)))
        assert world.asked == ()
        assert torch.equal(found["x"], x)
        assert torch.equal(found["y"], y)


def line(values: float = 0.0) -> Any:
    return torch.arange(12.0) + values


def turned(values: float, *shape: int) -> Any:
    """A tensor of other strides than its storage has elements in a row."""
    return line(values).view(*shape).t()


def scaled(values: int, scale: float) -> Any:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor((torch.arange(6) + values) * scale, scale, 0, torch.qint8)


def by_channel(values: int, axis: int) -> Any:
    ones = torch.ones(2)
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_channel(torch.arange(4.0).view(2, 2) + values, ones, ones * 0, axis, torch.qint8)


def complex_halves(values: float) -> Any:
    return torch.view_as_complex(line(values).half().view(6, 2))


def seen(tensor: Any) -> Any:
    """All that a tensor means."""
    if tensor.is_quantized and tensor.qscheme() == torch.per_tensor_affine:
        return tensor.int_repr().tolist(), tensor.dtype, tensor.q_scale(), tensor.q_zero_point()
    if tensor.is_quantized:
        return tensor.int_repr().tolist(), tensor.dtype, tensor.q_per_channel_axis()
    return tensor.resolve_conj().resolve_neg().tolist(), tensor.dtype, tensor.stride()


def read_as(data: bytes) -> dict[str, Any]:
    return {name: seen(tensor) for name, tensor in torch.load(io.BytesIO(data), weights_only=False).items()}


READINGS = {
    "strides": (turned(0, 3, 4), turned(7, 3, 4), turned(0, 2, 6)),
    "plain one": (line(), line(7), turned(0, 3, 4)),
    "offset": (line()[:4], line(7)[:4], line()[4:8]),
    "shape": (line()[:4], line(7)[:4], line()[:6]),
    "expand": tuple(torch.arange(value, value + 3).expand(times, 3) for value, times in ((0, 2), (7, 2), (0, 4))),
    "scale": (scaled(0, 0.5), scaled(3, 0.5), scaled(0, 0.25)),
    "no scale": (scaled(0, 0.5), scaled(3, 0.5), scaled(0, 0.5).int_repr()),
    "axis": (by_channel(0, 0), by_channel(3, 0), by_channel(0, 1)),
    "conj": (torch.complex(line(), line()), torch.complex(line(7), line(7)), torch.complex(line(), line()).conj()),
    "neg": (line(), line(7), torch._neg_view(line())),
    "complex halves": (complex_halves(0), complex_halves(7), line().half().view(6, 2)),
}
"""A tensor, with other values, and with the same ones in its storage but to be read in another way."""

FORMATS = [(name, is_legacy) for name in READINGS for is_legacy in (False, True)]
FORMATS.remove(("complex halves", True))  # Torch has no class of storage for them.


@pytest.mark.parametrize(("name", "is_legacy"), FORMATS)
def test_values_of_one_side_are_not_read_as_the_other_side_says_of_a_torch_tensor(
    torch_world: World, name: str, *, is_legacy: bool
) -> None:
    world, (old, values, said) = torch_world, READINGS[name]
    base, ours, theirs = (
        world.clean(torch_bytes({"x": x, "y": torch.zeros(2)}, is_legacy=is_legacy)) for x in (old, values, said)
    )
    for sides, wanted in (((ours, theirs), (values, said)), ((theirs, ours), (said, values))):
        assert world.merge(base, *sides).metadata is None
        assert [(conflict.name, conflict.clash) for conflict in world.asked] == [("x", Clash.DTYPE)]
        with pytest.raises(MergeError, match="take one side"):
            world.merge(base, *sides, by="average")
        for by, tensor in zip(("ours", "theirs", "ancestor"), (*wanted, old), strict=True):
            found = read_as(world.smudge(world.merged(base, *sides, by=by)))
            assert found == {"x": seen(tensor), "y": seen(torch.zeros(2))}


@pytest.mark.parametrize("is_legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("cuts", [(0, 8), (6, 0)], ids=["another part", "exchanged"])
def test_tensors_of_one_storage_are_read_as_on_the_side_that_the_storage_is_of(
    torch_world: World, cuts: tuple[int, int], *, is_legacy: bool
) -> None:
    def parts(values: float, *starts: int) -> dict[str, Any]:
        whole = line(values)
        return {name: whole[start : start + 4] for name, start in zip("ab", starts, strict=True)}

    world = torch_world
    contents = parts(0, 0, 6), parts(7, 0, 6), parts(0, *cuts)
    base, ours, theirs = (world.clean(torch_bytes(content, is_legacy=is_legacy)) for content in contents)
    for sides, wanted in (((ours, theirs), contents[1:]), ((theirs, ours), contents[:0:-1])):
        assert world.merge(base, *sides).metadata is None
        assert [(conflict.name, conflict.clash) for conflict in world.asked] == [("a", Clash.DTYPE)]
        for by, content in zip(("ours", "theirs"), wanted, strict=True):
            found = read_as(world.smudge(world.merged(base, *sides, by=by)))
            assert found == {name: seen(tensor) for name, tensor in content.items()}


@pytest.mark.parametrize("is_legacy", [False, True], ids=["zip", "legacy"])
def test_tensors_that_are_not_plain_merge_beside_other_changes(torch_world: World, *, is_legacy: bool) -> None:
    world = torch_world
    x, quantized = turned(0, 3, 4), scaled(0, 0.5)
    base, ours, theirs = (
        world.clean(torch_bytes(content, is_legacy=is_legacy))
        for content in (
            {"x": x, "q": quantized},
            {"x": turned(7, 3, 4), "q": quantized, "mine": line(1)},
            {"x": x, "q": scaled(0, 0.25), "yours": turned(2, 2, 6)},
        )
    )
    wanted = {"x": turned(7, 3, 4), "q": scaled(0, 0.25), "mine": line(1), "yours": turned(2, 2, 6)}
    for sides in ((ours, theirs), (theirs, ours)):
        found = read_as(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        assert found == {name: seen(tensor) for name, tensor in wanted.items()}


def test_tensor_that_is_not_plain_is_merged_where_another_of_its_places_comes_first(torch_world: World) -> None:
    world = torch_world

    def version(values: float, *names: str) -> Metadata:
        return world.clean(torch_bytes(dict.fromkeys(names, turned(values, 3, 4))))

    base, ours, theirs = version(0, "a", "b"), version(7, "a", "b"), version(0, "b", "a")
    for sides in ((ours, theirs), (theirs, ours)):
        found = read_as(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        assert found == dict.fromkeys("ab", seen(turned(7, 3, 4)))


def test_tensor_that_is_not_plain_keeps_its_changes_in_a_file_that_became_a_legacy_one(torch_world: World) -> None:
    world = torch_world
    base, ours = (world.clean(torch_bytes({"x": turned(values, 3, 4)})) for values in (0, 7))
    theirs = world.clean(torch_bytes({"x": turned(0, 3, 4)}, is_legacy=True))
    merged = world.merged(base, ours, theirs)
    assert world.asked == ()
    assert merged.format == "torch-legacy"
    assert read_as(world.smudge(merged)) == {"x": seen(turned(7, 3, 4))}


# --- npz and flax ---------------------------------------------------------------------------------------------------


def test_npz_files_merge_and_load(world: World) -> None:
    world.path = "model.npz"
    base, ours, theirs = (
        world.clean(npz_bytes(**arrays))
        for arrays in ({"a": A, "b": B}, {"a": A + 1, "b": B, "mine": C}, {"a": A, "b": B + 1, "new": C + 1})
    )
    assert {metadata.format for metadata in (base, ours, theirs)} == {"npz"}
    data = world.smudge(world.merged(base, ours, theirs))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    found = np.load(io.BytesIO(data))
    wanted = {"a": A + 1, "b": B + 1, "mine": C, "new": C + 1}
    assert {name: found[name].tobytes() for name in found} == {name: array.tobytes() for name, array in wanted.items()}


def test_npz_values_of_other_layers_merge_without_a_value_read(world: World) -> None:
    world.path = "model.npz"
    versions = [
        world.clean(npz_bytes(**arrays)) for arrays in ({"a": A, "b": B}, {"a": A + 1, "b": B}, {"a": A, "b": B + 1})
    ]
    data = world.smudge(world.merged(*versions))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    for metadata in versions:
        lost(world, metadata)
    assert world.merge(*versions).metadata is not None
    assert world.fetched == []


def test_member_of_npz_files_that_is_no_group_and_both_changed_is_one_conflict(world: World) -> None:
    world.path = "model.npz"
    objects = [np.array([f"text {number}", None], object) for number in range(3)]
    base, ours, theirs = (
        world.clean(npz_bytes(a=array, labels=label)) for array, label in zip((A, A + 1, A), objects, strict=True)
    )
    assert world.merge(base, ours, theirs).metadata is None
    assert list(texts_of(world)) == ["labels"]
    for by, number in (("ours", 1), ("theirs", 2), ("ancestor", 0)):
        found = np.load(io.BytesIO(world.smudge(world.merged(base, ours, theirs, by=by))), allow_pickle=True)
        assert found["labels"].tolist() == objects[number].tolist()
        assert found["a"].tobytes() == (A + 1).tobytes()


def npy_bytes(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)
ODD: Arrays = {
    "fortran": np.asfortranarray(normal(4, 3, seed=4)),
    "big": np.arange(5, dtype=">f4"),
    "date": np.array(["2026-01-02"], "M8[D]"),
    "text": np.array(["ab", "c"]),
}


def equal(found: Any, wanted: Any) -> bool:
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tolist() == wanted.tolist()


def test_arrays_of_any_order_and_kind_come_into_an_npz_file_that_the_other_side_added_to(world: World) -> None:
    world.path = "model.npz"
    base, ours, theirs = (
        world.clean(npz_bytes(**arrays)) for arrays in ({"a": A}, {"a": A, "mine": B}, {"a": A, **ODD})
    )
    for sides in ((ours, theirs), (theirs, ours)):
        found = np.load(io.BytesIO(world.smudge(world.merged(base, *sides))))
        assert set(found) == {"a", "mine", *ODD}
        assert [name for name, array in ODD.items() if not equal(found[name], array)] == []


@pytest.mark.parametrize(
    ("path", "old", "values", "said"),
    [
        pytest.param("x.npz", SQUARE * 0, SQUARE, np.asfortranarray(SQUARE * 0), id="order of an npz file"),
        pytest.param("x.npy", SQUARE * 0, SQUARE, np.asfortranarray(SQUARE * 0), id="order of an npy file"),
        pytest.param("x.npz", np.zeros(3, "M8[s]"), np.ones(3, "M8[s]"), np.zeros(3, "M8[ms]"), id="dates of npz"),
        pytest.param("x.npz", np.zeros(3, ">f4"), np.ones(3, ">f4"), np.zeros(3, ">i4"), id="kinds of npz"),
        pytest.param("x.msgpack", np.zeros(3, "M8[s]"), np.ones(3, "M8[s]"), np.zeros(3, "M8[ms]"), id="dates of Flax"),
    ],
)
def test_values_that_one_side_changed_and_how_the_other_says_to_read_them_are_a_conflict(
    world: World, path: str, old: Any, values: Any, said: Any
) -> None:
    def version(array: Any) -> Metadata:
        return world.clean(
            npy_bytes(array)
            if path.endswith("npy")
            else npz_bytes(x=array)
            if path.endswith("npz")
            else flax.serialization.msgpack_serialize({"x": array})
        )

    def read(data: bytes) -> Any:
        if path.endswith("msgpack"):
            return flax.serialization.msgpack_restore(data)["x"]
        found = np.load(io.BytesIO(data))
        return found["x"] if path.endswith("npz") else found

    world.path = path
    base, ours, theirs = map(version, (old, values, said))
    for sides, wanted in (((ours, theirs), (values, said)), ((theirs, ours), (said, values))):
        assert world.merge(base, *sides).metadata is None
        assert [conflict.clash for conflict in world.asked] == [Clash.DTYPE]
        with pytest.raises(MergeError, match="take one side"):
            world.merge(base, *sides, by="average")
        for by, array in zip(("ours", "theirs", "ancestor"), (*wanted, old), strict=True):
            assert equal(read(world.smudge(world.merged(base, *sides, by=by))), array)


def test_members_of_npz_files_that_are_no_groups_are_merged_one_by_one(world: World) -> None:
    world.path = "model.npz"
    one, two, three = (np.array([f"text {number}", None], object) for number in range(3))
    base, ours, theirs = (
        world.clean(npz_bytes(**arrays))
        for arrays in (
            {"a": A, "gone": one, "mine": one, "yours": one},
            {"a": A, "mine": two, "yours": one, "new": three},
            {"a": A + 1, "gone": one, "mine": one, "yours": three},
        )
    )
    for sides in ((ours, theirs), (theirs, ours)):
        found = np.load(io.BytesIO(world.smudge(world.merged(base, *sides))), allow_pickle=True)
        wanted = {"a": A + 1, "mine": two, "yours": three, "new": three}
        assert {name: found[name].tolist() for name in found} == {
            name: array.tolist() for name, array in wanted.items()
        }


@pytest.mark.parametrize("theirs", [None, A + 1], ids=["removed", "changed"])
def test_array_that_became_one_of_objects_is_a_conflict_with_what_the_other_side_did(world: World, theirs: Any) -> None:
    world.path = "model.npz"
    objects = np.array(["text", None], object)
    versions = [{"a": A, "b": B}, {"a": objects, "b": B}, {"b": B + 1} | ({} if theirs is None else {"a": theirs})]
    merged = [world.clean(npz_bytes(**arrays)) for arrays in versions]
    assert world.merge(*merged).metadata is None
    assert list(texts_of(world)) == ["a"]
    for by, array in (("ours", objects), ("theirs", theirs), ("ancestor", A)):
        found = np.load(io.BytesIO(world.smudge(world.merged(*merged, by=by))), allow_pickle=True)
        assert found["b"].tolist() == (B + 1).tolist()
        assert ("a" in found) == (array is not None)
        assert array is None or found["a"].tolist() == array.tolist()


def test_array_is_read_as_on_the_side_that_it_is_of_whichever_file_is_followed(world: World) -> None:
    world.path = "model.npz"
    turned = np.asfortranarray(SQUARE)
    base, ours, theirs = (
        world.clean(npz_bytes(x=x, y=y)) for x, y in ((SQUARE, SQUARE), (SQUARE, turned), (turned, SQUARE))
    )
    for sides in ((ours, theirs), (theirs, ours)):
        found = np.load(io.BytesIO(world.smudge(world.merged(base, *sides))))
        assert world.asked == ()
        assert equal(found["x"], SQUARE)
        assert equal(found["y"], SQUARE)


def test_flax_files_merge_and_load(world: World) -> None:
    world.path = "model.msgpack"
    base, ours, theirs = (
        world.clean(flax.serialization.msgpack_serialize(tree))
        for tree in (
            {"params": {"a": A, "b": B}, "step": 3},
            {"params": {"a": A + 1, "b": B, "mine": C}, "step": 3},
            {"params": {"a": A, "b": B + 1}, "step": 4},
        )
    )
    assert base.format == "flax"
    found = flax.serialization.msgpack_restore(world.smudge(world.merged(base, ours, theirs)))
    assert found["step"] == 4
    wanted = {"a": A + 1, "b": B + 1, "mine": C}
    assert {name: array.tobytes() for name, array in found["params"].items()} == {
        name: array.tobytes() for name, array in wanted.items()
    }


def flax_version(world: World, a: Any, b: Any, **others: Any) -> Metadata:
    return world.clean(flax.serialization.msgpack_serialize({"params": {"a": a, "b": b}, **others}))


def test_leaves_of_flax_files_are_merged_one_by_one(world: World) -> None:
    world.path = "model.msgpack"
    base = flax_version(world, A, B, step=3, by="ada", old=1)
    ours = flax_version(world, A + 1, B, step=4, by="bob", old=1)
    theirs = flax_version(world, A, B + 1, step=5, by="ada", new=True)
    for by, step in (("ours", 4), ("theirs", 5), ("ancestor", 3)):
        found = flax.serialization.msgpack_restore(world.smudge(world.merged(base, ours, theirs, by=by)))
        assert texts_of(world) == {"step": ("3", "4", "5")}
        params = found.pop("params")
        assert found == {"step": step, "by": "bob", "new": True}
        assert params["a"].tobytes() == (A + 1).tobytes()
        assert params["b"].tobytes() == (B + 1).tobytes()


def test_dtypes_that_no_group_has_and_both_changed_are_a_conflict_of_the_group(world: World) -> None:
    world.path = "model.msgpack"
    base, ours, theirs = (
        flax_version(world, A, B, step=step, at=np.array([7], f"M8[{unit}]"))
        for step, unit in enumerate(("s", "ms", "us"))
    )
    assert world.merge(base, ours, theirs).metadata is None
    assert {conflict.name: conflict.clash for conflict in world.asked} == {"at": Clash.DTYPE, "step": Clash.TEXT}
    found = flax.serialization.msgpack_restore(world.smudge(world.merged(base, ours, theirs, by="theirs")))
    assert (found["step"], found["at"].dtype) == (2, np.dtype("M8[us]"))


def test_pairs_of_gguf_files_are_merged_one_by_one(world: World, tmp_path: Path) -> None:
    world.path = "model.gguf"
    base = gguf_version(world, tmp_path, A, B, epoch=3, by="ada")
    ours = gguf_version(world, tmp_path, A + 1, B, epoch=4, by="ada")
    theirs = gguf_version(world, tmp_path, A, B + 1, epoch=5, by="bob", more=7)
    for by, epoch in (("ours", 4), ("theirs", 5), ("ancestor", 3)):
        data = world.smudge(world.merged(base, ours, theirs, by=by))
        assert texts_of(world) == {"epoch": ("3", "4", "5")}
        file = tmp_path / "merged.gguf"
        file.write_bytes(data)
        reader = gguf.GGUFReader(file)
        assert reader.get_field("epoch").contents() == epoch
        assert reader.get_field("by").contents() == "bob"
        assert reader.get_field("more").contents() == 7
        found = {part.name: part.data.tobytes() for part in reader.tensors}
        assert found == {"a": (A + 1).tobytes(), "b": (B + 1).tobytes()}


def test_key_of_a_gguf_file_and_tensor_of_the_same_name_are_settled_each(world: World, tmp_path: Path) -> None:
    world.path = "model.gguf"
    base, ours, theirs = (gguf_version(world, tmp_path, A + step, B, a=step) for step in range(3))
    data = world.smudge(
        world.merged(base, ours, theirs, by={"a": decision("average"), "a (no group)": decision("theirs")})
    )
    (tmp_path / "merged.gguf").write_bytes(data)
    reader = gguf.GGUFReader(tmp_path / "merged.gguf")
    assert reader.get_field("a").contents() == 2
    assert np.allclose(reader.tensors[0].data, A + 1.5)


def test_gguf_files_with_another_order_of_keys_or_another_alignment_are_merged(world: World, tmp_path: Path) -> None:
    world.path = "model.gguf"
    base = gguf_version(world, tmp_path, A, B, epoch=3, by="ada")
    ours = gguf_version(world, tmp_path, A, B, by="bob", more=7, epoch=3)
    aligned = gguf_version(world, tmp_path, A, B, epoch=4, by="ada", **{"general.alignment": 128})
    for sides in ((ours, aligned), (aligned, ours)):
        (tmp_path / "merged.gguf").write_bytes(world.smudge(world.merged(base, *sides)))
        assert world.asked == ()
        reader = gguf.GGUFReader(tmp_path / "merged.gguf")
        pairs = {name: reader.get_field(name).contents() for name in ("epoch", "by", "more", "general.alignment")}
        assert pairs == {"epoch": 4, "by": "bob", "more": 7, "general.alignment": 128}
        assert all(part.data_offset % 128 == 0 for part in reader.tensors)
        assert {part.name: part.data.tobytes() for part in reader.tensors} == {"a": A.tobytes(), "b": B.tobytes()}


def gguf_version(world: World, folder: Path, a: Any, b: Any, /, **pairs: Any) -> Metadata:
    file = folder / "version.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    for key, value in pairs.items():
        if key == "general.alignment":
            writer.add_custom_alignment(value)
        else:
            (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
    writer.add_tensor("a", a)
    writer.add_tensor("b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return world.clean(file.read_bytes())


# --- different formats ----------------------------------------------------------------------------------------------


def test_converted_file_takes_the_changes_of_the_other_side(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base, ours = (world.clean(torch_bytes({"a": part, "b": b})) for part in (a, a + 1))
    theirs = world.model(a=a.numpy(), b=b.numpy())
    merged = world.merged(base, ours, theirs)
    assert merged.format == "safetensors"
    assert safetensors.numpy.load(world.smudge(merged))["a"].tobytes() == (a + 1).numpy().tobytes()


def test_converted_file_takes_the_groups_that_the_other_side_added(torch_world: World) -> None:
    world = torch_world
    a, b, c = tensor(40, 30, seed=1), tensor(50, seed=2), tensor(60, seed=3)
    base = world.clean(torch_bytes({"a": a, "b": b}))
    ours = world.clean(torch_bytes({"a": a + 1, "b": b, "mine": c}))
    theirs = world.model(a=a.numpy(), b=(b + 1).numpy(), new=(c + 1).numpy())
    wanted = {"a": a + 1, "b": b + 1, "mine": c, "new": c + 1}
    for sides in ((ours, theirs), (theirs, ours)):
        merged = world.merged(base, *sides)
        assert merged.format == "safetensors"
        found = safetensors.numpy.load(world.smudge(merged))
        assert {name: part.tobytes() for name, part in found.items()} == {
            name: part.numpy().tobytes() for name, part in wanted.items()
        }
        assert world.asked == ()


def test_array_in_another_order_is_not_put_into_a_file_that_the_other_side_converted(world: World) -> None:
    world.path = "model.npz"
    base = world.clean(npz_bytes(a=A))
    ours, theirs = world.clean(npz_bytes(a=A, fortran=ODD["fortran"])), world.model(a=A)
    for sides in ((ours, theirs), (theirs, ours)):
        assert world.merge(base, *sides).metadata is None
        assert [conflict.name for conflict in world.asked] == [STRUCTURE]
    with pytest.raises(MergeError, match=r"'fortran' would no longer be .* there\): take all of it"):
        world.merge(base, ours, theirs, by="theirs")


def test_file_that_both_converted_is_a_conflict_of_the_structure(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"a": a, "b": b}))
    ours, theirs = world.model(a=(a + 1).numpy(), b=b.numpy()), world.clean(npz_bytes(a=a.numpy(), b=(b + 1).numpy()))
    assert world.merge(base, ours, theirs).metadata is None
    assert [conflict.clash for conflict in world.asked] == [Clash.STRUCTURE]
    for by, name in (("ours", "safetensors"), ("theirs", "npz")):
        merged = world.merged(base, ours, theirs, by=by)
        assert merged.format == name
        wanted = {"a": tensors.digest((a + 1).numpy().tobytes()), "b": tensors.digest((b + 1).numpy().tobytes())}
        assert {entry.name: entry.digest for entry in merged.entries} == wanted


def test_what_both_say_besides_the_groups_is_in_the_converted_file(torch_world: World) -> None:
    world = torch_world
    a = tensor(40, 30, seed=1)
    base, ours = (world.clean(torch_bytes(groups)) for groups in ({"a": a}, {"a": a, "mine": a + 1}))
    merged = world.merged(base, ours, world.model({"note": "x"}, a=a.numpy()))
    data = world.smudge(merged)
    assert sorted(safetensors.numpy.load(data)) == ["a", "mine"]
    assert b'"note":"x"' in data


def test_tie_of_one_side_is_not_lost_in_the_file_that_the_other_converted(torch_world: World) -> None:
    world = torch_world
    a, b = tensor(40, 30, seed=1), tensor(50, seed=2)
    base = world.clean(torch_bytes({"emb": a, "head": a.clone(), "b": b}))
    tied = world.clean(torch_bytes({"emb": a, "head": a, "b": b}))
    converted = world.model(emb=a.numpy(), head=a.numpy(), b=b.numpy())
    for sides in ((tied, converted), (converted, tied)):
        assert world.merge(base, *sides).metadata is None
        assert [conflict.clash for conflict in world.asked] == [Clash.STRUCTURE]


def test_what_another_format_says_besides_the_groups_is_not_lost_silently(torch_world: World) -> None:
    world = torch_world
    a = tensor(40, 30, seed=1)
    base = world.clean(torch_bytes({"a": a, "epoch": 3}))
    ours = world.clean(torch_bytes({"a": a, "mine": a + 1, "epoch": 4}))
    theirs = world.model({"note": "x"}, a=a.numpy())
    assert world.merge(base, ours, theirs).metadata is None
    assert [conflict.clash for conflict in world.asked] == [Clash.STRUCTURE]
    assert world.merged(base, ours, theirs, by="ours") == ours
    data = world.smudge(world.merged(base, ours, theirs, by="theirs"))
    assert sorted(safetensors.numpy.load(data)) == ["a", "mine"]
    assert b'"note":"x"' in data


def test_file_that_no_format_claims_is_merged_as_a_whole(world: World) -> None:
    base, ours, theirs = (world.clean(bytes(f"{text}" * 100, "ascii")) for text in ("base", "ours!", "theirs"))
    assert base.format == "opaque"
    assert world.merged(base, base, theirs) == theirs
    assert world.merge(base, ours, theirs).metadata is None
    assert [(conflict.name, conflict.clash) for conflict in world.asked] == [("file", Clash.SHAPE)]
    assert world.merged(base, ours, theirs, by="theirs") == theirs
    with pytest.raises(MergeError, match="rows"):
        world.merge(base, ours, theirs, by="rows")


def test_file_that_became_opaque_is_one_conflict_with_changes_of_the_other_side(world: World) -> None:
    base, ours, broken = world.model(a=A, b=B), world.model(a=A + 1, b=B), world.clean(b"broken" * 50)
    assert world.merged(base, base, broken) == broken
    assert world.merge(base, ours, broken).metadata is None
    assert [conflict.name for conflict in world.asked] == [STRUCTURE]
    assert world.merged(base, ours, broken, by="ours") == ours
    assert world.merged(base, ours, broken, by="theirs") == broken
    assert world.merged(base, ours, broken, by="ancestor") == base


# --- shapes ---------------------------------------------------------------------------------------------------------


def test_vocabulary_that_grew_is_merged_by_rows(world: World) -> None:
    old, new = normal(50, 8, seed=1), normal(3, 8, seed=2)
    ours, theirs = old.copy(), np.concatenate([old, new])
    ours[4], theirs[7] = 1, 2
    wanted = theirs.copy()
    wanted[4] = 1
    base, mine, yours = (world.model(a=A, emb=part) for part in (old, ours, theirs))
    assert world.merge(base, mine, yours).metadata is None
    assert [(conflict.name, conflict.clash) for conflict in world.asked] == [("emb", Clash.SHAPE)]
    for sides in ((mine, yours), (yours, mine)):
        merged = world.merged(base, *sides, by="rows")
        entry = merged.by_name()["emb"]
        assert entry.merge is not None
        assert entry.merge.method == "rows"
        assert safetensors.numpy.load(world.smudge(merged))["emb"].tobytes() == wanted.tobytes()


def test_retyped_group_is_settled_by_a_side(world: World) -> None:
    base, ours, theirs = (world.model(a=part) for part in (A, A.astype(np.float16), A + 1))
    for by, wanted in (("ours", ours), ("theirs", theirs), ("ancestor", base)):
        assert world.merged(base, ours, theirs, by=by) == wanted
    with pytest.raises(
        MergeError, match="average does not suit a group that is of different dtypes or layouts: take one side"
    ):
        world.merge(base, ours, theirs, by="average")


def test_large_skeleton_that_is_written_anew_is_kept_in_an_object(world: World) -> None:
    note = {"note": "x" * 70_000}
    base, ours, theirs = world.model(note, a=A), world.model(note, a=A, b=B), world.model(note, a=A, c=C)
    merged = world.merged(base, ours, theirs)
    assert merged.skeleton.inline is None
    assert merged.skeleton.update is not None
    assert set(safetensors.numpy.load(world.smudge(merged))) == {"a", "b", "c"}
