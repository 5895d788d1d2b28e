"""Files that are maps within maps: what is no group is merged part by part, and nothing of it is lost."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import flax.serialization
import jax.numpy as jnp
import msgpack
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from git_theta import tensors
from git_theta.checkpoints.flax_msgpack import FlaxMsgpack
from git_theta.merges.decisions import Clash
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update
from git_theta.sources import BytesSource
from tests.flows.merging.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from git_theta.flows.merge import Outcome
    from tests.helpers import Repo

    Tree = dict[str, Any]
    Path = tuple[str, ...]


class Merges:
    """Merges files whose values are kept here, and not in a repository: that takes a hundredth of the time."""

    def __init__(self, repo: Repo) -> None:
        self.world = World(repo, path="model.msgpack")
        self._values: dict[str, bytes] = {}

    def version(self, tree: Tree) -> Metadata:
        data = msgpack.packb(tree, default=flax.serialization._msgpack_ext_pack, strict_types=True)
        layout = FlaxMsgpack().scan(BytesSource(data))
        entries = []
        for span, lead in zip(layout.spans, layout.leads(), strict=True):
            digest = tensors.digest(data[span.start : span.stop])
            self._values[digest] = data[span.start : span.stop]
            update = Update("dense", ObjectRef(digest, 1))
            entries.append(Entry(span.name, span.dtype, span.shape, digest, lead, update))
        skeleton = layout.read_skeleton(BytesSource(data))
        kept = Skeleton(len(skeleton), tensors.digest(skeleton), skeleton, None)
        return Metadata(layout.format, layout.size, kept, tuple(entries))

    def merge(self, *trees: Tree, by: str | None = None) -> Outcome:
        base, *sides = map(self.version, trees)
        return self.world.merge(base, *sides, by=by)

    def merged(self, *trees: Tree, by: str | None = None) -> Tree:
        """What Flax loads of the merged file."""
        metadata = self.merge(*trees, by=by).metadata
        assert metadata is not None, self.world.asked
        layout, skeleton = metadata.layout(), metadata.skeleton.inline
        assert skeleton is not None
        data = bytearray()
        position = 0
        for span, entry in zip(layout.spans, metadata.entries, strict=True):
            lead = span.start - len(data)
            data += skeleton[position : position + lead] + self._values[entry.digest]
            position += lead
        found: Tree = flax.serialization.msgpack_restore(bytes(data + skeleton[position:]))
        return found

    def asked(self) -> dict[str, tuple[str | None, ...]]:
        """The conflicts of the last merge that are about parts."""
        assert {conflict.clash for conflict in self.world.asked} <= {Clash.TEXT}
        return {conflict.name: conflict.texts for conflict in self.world.asked}


@pytest.fixture
def merges(repo: Repo) -> Merges:
    return Merges(repo)


W, V = np.arange(4, dtype=np.float32), np.arange(3, dtype=np.int8)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "wanted"),
    [
        pytest.param({"step": 1}, {"step": 1, "more": {}}, {"step": 2}, {"step": 2, "more": {}}, id="empty map added"),
        pytest.param({"s": {}, "step": 1}, {"step": 1}, {"s": {}, "step": 2}, {"step": 2}, id="empty map removed"),
        pytest.param(
            {"step": 1},
            {"step": 1, "m": {"x": {"y": 1}}},
            {"step": 2},
            {"step": 2, "m": {"x": {"y": 1}}},
            id="map",
        ),
        pytest.param(
            {"m": {"x": 1, "y": 2}},
            {"m": {"x": 3, "y": 2}},
            {"m": {"x": 1, "z": 4}},
            {"m": {"x": 3, "z": 4}},
            id="leaf",
        ),
        pytest.param(
            {"m": {"x": 1, "y": 2}}, {"m": {"x": 1}}, {"m": {"y": 2}}, {"m": {}}, id="each side took another leaf out"
        ),
        pytest.param(
            {"m": {"x": V, "y": V + 1}},
            {"m": {"x": V}},
            {"m": {"y": V + 1}},
            {"m": {}},
            id="each one array out",
        ),
        pytest.param({"m": {"x": V}, "s": 1}, {"s": 1}, {"m": {"x": V}, "s": 2}, {"s": 2}, id="map of arrays out"),
        pytest.param(
            {"m": {"x": V}, "s": 1}, {"m": {}, "s": 1}, {"m": {"x": V}, "s": 2}, {"m": {}, "s": 2}, id="map emptied"
        ),
        pytest.param(
            {"m": {}, "s": 1}, {"m": {"x": V}, "s": 1}, {"m": {}, "s": 2}, {"m": {"x": V}, "s": 2}, id="map filled"
        ),
        pytest.param({"m": {"x": 1}}, {}, {"m": {"x": 1, "y": 2}}, {"m": {"y": 2}}, id="map out, leaf in it added"),
        pytest.param({"m": 1}, {"m": {"x": V}}, {"m": 1, "s": 2}, {"m": {"x": V}, "s": 2}, id="leaf became a map"),
        pytest.param({"l": [1, 2]}, {"l": [1, 2, 3]}, {"l": [1, 2], "s": 2}, {"l": [1, 2, 3], "s": 2}, id="list"),
        pytest.param(
            {"l": [V, V]},
            {"l": [V, V, {}]},
            {"l": [V + 1, V], "s": 2},
            {"l": [V + 1, V, {}], "s": 2},
            id="of arrays",
        ),
        pytest.param(
            {"n": np.int32(1), "t": np.array([3], "M8[s]")},
            {"n": np.int32(2), "t": np.array([3], "M8[s]"), "u": np.array([4], "M8[s]")},
            {"n": np.int32(1), "t": np.array([5], "M8[s]"), "v": np.int8(3)},
            {"n": np.int32(2), "t": np.array([5], "M8[s]"), "u": np.array([4], "M8[s]"), "v": np.int8(3)},
            id="numbers and dates of NumPy",
        ),
    ],
)
def test_parts_are_taken_from_the_side_that_changed_them(
    merges: Merges, base: Tree, ours: Tree, theirs: Tree, wanted: Tree
) -> None:
    for sides in ((ours, theirs), (theirs, ours)):
        found = merges.merged({"w": W, **base}, *({"w": W, **side} for side in sides))
        assert flat(found) == flat({"w": W, **wanted})


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "asked"),
    [
        pytest.param({"m": {"x": 1}}, {"m": {"x": 2}}, {"m": {}}, {"m/x": ("1", "2", None)}, id="leaf"),
        pytest.param({}, {"a": {}}, {"a": 3}, {"a": (None, "{}", "3")}, id="added differently"),
        pytest.param({"m": {}}, {"m": {"x": 1}}, {"m": 3}, {"m": ("{}", "{}", "3")}, id="filled, and replaced"),
        pytest.param({"m": {}}, {"m": {"x": V}}, {"m": V}, {"m": ("{}", "{}", "array")}, id="filled, and an array"),
        pytest.param({"m": V}, {}, {"m": {"x": 1}}, {"m": ("array", None, "{}")}, id="array out, and a map"),
        pytest.param({}, {"m": V}, {"m": 3}, {"m": (None, "array", "3")}, id="array and leaf added"),
        pytest.param({"l": [1]}, {"l": [2]}, {"l": [1, 3]}, {"l": ("[1]", "[2]", "[1, 3]")}, id="list"),
    ],
)
def test_parts_that_both_changed_differently_are_conflicts_by_name(
    merges: Merges, base: Tree, ours: Tree, theirs: Tree, asked: dict[str, tuple[str | None, ...]]
) -> None:
    for answer, side in (("ours", ours), ("theirs", theirs), ("ancestor", base)):
        versions = [{"w": W, "step": step, **tree} for step, tree in enumerate((base, ours, theirs))]
        found = merges.merged(*versions, by=answer)
        assert merges.asked() == {"step": ("0", "1", "2"), **asked}
        (name,) = asked
        at = tuple(name.split("/"))
        assert below(flat(found), at) == below(flat(side), at)


def test_what_is_added_stands_behind_what_it_follows_on_its_side(merges: Merges) -> None:
    base = {"w": W, "b": 1, "a": {"y": V, "x": {}}}
    ours = {"w": W, "b": 2, "a": {"y": V, "x": {}}, "o": {}}
    theirs = {"0": {}, "w": W, "n": {"z": 1, "y": V}, "b": 1, "a": {"m": V, "y": V, "k": 0, "x": {}}}
    found = merges.merged(base, ours, theirs)
    assert list(found) == ["0", "w", "n", "b", "a", "o"]
    assert list(found["a"]) == ["m", "y", "k", "x"]
    assert list(found["n"]) == ["z", "y"]


def test_array_in_chunks_is_merged_with_what_makes_it_one(merges: Merges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 8)
    base, ours, theirs = ({"a": {}, "step": step} for step in (1, 1, 2))
    ours["w"] = W.reshape(2, 2)
    trees = [flax.serialization._chunk_array_leaves_in_place(tree) for tree in (base, ours, theirs)]
    trees[0]["v"] = trees[1]["v"] = trees[2]["v"] = V
    found = merges.merged(*trees)
    assert flat(found) == flat({"a": {}, "step": 2, "v": V, "w": W.reshape(2, 2)})
    lost = {**copy.deepcopy(trees[1]), "step": 2}
    del lost["w"]
    changed = {**copy.deepcopy(trees[1]), "w": flax.serialization._chunk(W.reshape(2, 2) + 1)}
    found = merges.merged(trees[1], changed, lost, by="ours")
    assert flat(found) == flat({"a": {}, "step": 2, "v": V, "w": W.reshape(2, 2) + 1})


# --- random trees ---------------------------------------------------------------------------------------------------


def flat(tree: Tree, path: Path = ()) -> dict[Path, object]:
    """What is at each path; maps too, by themselves."""
    found: dict[Path, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= {(*path, key): {}, **flat(value, (*path, key))}
        elif isinstance(value, np.ndarray | np.generic):
            found[*path, key] = type(value), str(value.dtype), value.shape, value.tobytes()
        else:
            found[*path, key] = repr(value) if not isinstance(value, list) else str(list(map(flat_item, value)))
    return found


def flat_item(item: object) -> object:
    return item.tobytes() if isinstance(item, np.ndarray) else item


def below(found: dict[Path, object], path: Path) -> dict[Path, object]:
    return {at: what for at, what in found.items() if at[: len(path)] == path}


def oracle(base: Tree, ours: Tree, theirs: Tree) -> tuple[dict[Path, object], set[Path]]:
    """What a merge has to give, and the paths at which there is a conflict."""
    old, mine, yours = flat(base), flat(ours), flat(theirs)
    wanted, conflicts = {}, set()
    for path in {**old, **mine, **yours}:
        before, one, two = (found.get(path) for found in (old, mine, yours))
        if one != two and before not in (one, two):
            conflicts.add(path)
        elif (taken := two if one == before else one) is not None:
            wanted[path] = taken
    for path in (*wanted, *conflicts):
        for holder in (path[:depth] for depth in range(1, len(path))):
            if holder not in conflicts and wanted.setdefault(holder, {}) != {}:
                conflicts.add(holder)
    return wanted, conflicts


class Random(random.Random):
    """Trees, and changes of them."""

    def key(self) -> str:
        return self.choice(["a", "b", "c", "0", "step", "x/y", "~"])

    def value(self, depth: int = 0) -> object:
        kind = self.random()
        if kind < 0.35 and depth < 3:
            return {self.key(): self.value(depth + 1) for _ in range(self.randint(0, 3))}
        if kind < 0.65:
            return np.full(self.randint(1, 2), self.randint(0, 2), self.choice([np.int8, np.uint8]))
        if kind < 0.7:
            return self.choice([np.int32(self.randint(0, 2)), np.array([self.randint(0, 2)], "M8[s]")])
        return self.choice([*range(3), None, True, 1.0, "", "{}", "array", "y" * 300, b"a", [0], [0, 1], 1j])

    def changed(self, tree: Tree) -> Tree:
        found = copy.deepcopy(tree)
        for _ in range(self.randint(0, 3)):
            place = self.choice([found, *maps(found)])
            what = self.random()
            if what < 0.3 and place:
                del place[self.choice(list(place))]
            elif what < 0.4:
                place.clear()
            elif what < 0.5:
                items = list(place.items())
                self.shuffle(items)
                place.clear()
                place |= dict(items)
            else:
                place[self.choice([self.key(), *place])] = self.value(2)
        return {**found, "w": W}


def maps(tree: Tree) -> Iterator[Tree]:
    for value in tree.values():
        if isinstance(value, dict):
            yield value
            yield from maps(value)


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_of_both_sides_merge_as_an_oracle_says(merges: Merges, seed: int) -> None:
    for number in range(40):
        rng = Random(1000 * seed + number)
        base = {**{rng.key(): rng.value() for _ in range(4)}, "w": W}
        ours, theirs = rng.changed(base), rng.changed(base)
        wanted, conflicts = oracle(base, ours, theirs)
        if not conflicts:
            assert flat(merges.merged(base, ours, theirs)) == wanted
            continue
        assert merges.merge(base, ours, theirs).metadata is None
        found = flat(merges.merged(base, ours, theirs, by="ours"))
        if all(conflict.clash is not Clash.STRUCTURE for conflict in merges.world.asked):
            for path, what in wanted.items():
                related = any(path[: len(at)] == at or at[: len(path)] == path for at in conflicts)
                assert related or found[path] == what
            for at in conflicts:
                if not any(at[:depth] in conflicts for depth in range(1, len(at))):
                    assert found.get(at) in (flat(ours).get(at), {})


# --- what optax makes -----------------------------------------------------------------------------------------------


def labels(params: Tree) -> Tree:
    return {key: "frozen" if key == "b" else "tuned" for key in params}


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: optax.adam(1e-3),
    "adamw": lambda: optax.adamw(optax.linear_schedule(1e-3, 0.0, 10)),
    "momentum": lambda: optax.sgd(1e-2, momentum=0.9),
    "sgd": lambda: optax.sgd(1e-2),
    "multi": lambda: optax.multi_transform({"tuned": optax.adam(1e-3), "frozen": optax.set_to_zero()}, labels),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_states_of_flax_merge_and_load(world: World, name: str) -> None:
    world.path = "model.msgpack"

    def state(**more: Any) -> Any:
        params = {"a": jnp.ones((2, 3)), "b": jnp.ones(3), **more}
        return TrainState.create(apply_fn=len, params=params, tx=OPTIMIZERS[name]())

    base, extended = state(), state(head=jnp.zeros(2))
    tuned = base.replace(step=5, params={**base.params, "a": base.params["a"] * 2})
    data = [flax.serialization.to_bytes(each) for each in (base, extended, tuned)]
    for sides in (data[1:], data[:0:-1]):
        merged = world.smudge(world.merged(world.clean(data[0]), *map(world.clean, sides)))
        wanted = extended.replace(step=5, params={**extended.params, "a": tuned.params["a"]})
        restored = flax.serialization.msgpack_restore(flax.serialization.to_bytes(wanted))
        assert flat(flax.serialization.msgpack_restore(merged)) == flat(restored)
        found = flax.serialization.from_bytes(extended, merged)
        assert flat(flax.serialization.to_state_dict(found)) == flat(restored)
    other = flax.serialization.to_bytes(base.replace(opt_state=optax.adagrad(1e-3).init(base.params)))
    versions = [world.clean(version) for version in (data[0], other, data[2])]
    found = flax.serialization.msgpack_restore(world.smudge(world.merged(*versions)))
    wanted_tree = flax.serialization.msgpack_restore(other)
    wanted_tree["step"], wanted_tree["params"]["a"] = 5, np.asarray(tuned.params["a"])
    assert flat(found) == flat(wanted_tree)
