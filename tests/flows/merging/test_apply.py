"""Decisions about groups, carried out: the values are those of the methods, and are kept as they should be."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from msgspec.structs import replace

from git_theta import merge_arrays
from git_theta.errors import CorruptObjectError, MergeError, MissingObjectError, PluginError
from git_theta.flows.merging.plan import Versions
from git_theta.merges import Method, merge_methods
from git_theta.merges.decisions import Decision
from git_theta.metadata import MergeRecord
from git_theta.metadata_file import MAX_NESTED
from git_theta.registry import Family
from git_theta.updates import choose
from git_theta.updates.choose import Limits
from git_theta.updates.plans import length, nested_count
from tests.flows.merging.world import World, decision, near, normal
from tests.helpers import Repo
from tests.updates.scene import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from git_theta.metadata import Entry, Metadata

SIDES = ("ours", "theirs", "ancestor")
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
REQUIRED = {
    "slerp": {"t": 0.3},
    "nearswap": {"t": 0.001},
    **{name: {"density": 0.5} for name in ("dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs")},
}
LINEAR = {
    "average": {},
    "linear": {"weight": (0.3, 0.9)},
    "linear of three": {"weight": (0.3, 0.9), "base_weight": 0.5},
    "average of three": {"with_base": True},
    "task_arithmetic": {"weight": (0.5, 0.75), "lambda": 1.5},
    "expo": {},
}


def three(dtype: Any = np.float32, *shape: int) -> list[Any]:
    """An ancestor and two sides."""
    base = normal(*(shape or (40, 30)), dtype=dtype)
    return [base, near(base, 1), near(base, 2)]


def versions(world: World, arrays: Sequence[Any], **others: Any) -> list[Metadata]:
    return [world.model(a=array, **others) for array in arrays]


def expected(arrays: Sequence[Any], how: Decision, key: str = "a") -> Any:
    """What the public function makes of an ancestor and sides."""
    params = {name: list(value) if isinstance(value, tuple) else value for name, value in how.parameters}
    return merge_arrays(how.method, arrays[1:], arrays[0], key=key, **params)


def as_cleaned(world: World, metadata: Metadata, folder: Any) -> list[Entry]:
    """The groups of a merged file, cleaned where nothing is known of it."""
    content = world.smudge(metadata)
    return list(World(Repo.init(folder / "elsewhere"), world.path).clean(content).entries)


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("name", LINEAR)
def test_weighted_sums_are_kept_as_their_weights(world: World, name: str, dtype: Any) -> None:
    arrays, how = three(dtype), decision(name.split(maxsplit=1)[0], **LINEAR[name])
    all_versions = versions(world, arrays)
    before = world.objects()
    merged = world.merged(*all_versions, by=how)
    (entry,) = merged.entries
    assert entry.update.type == "linear"
    assert world.values(entry).tobytes() == expected(arrays, how).tobytes()
    assert world.objects() == before


def test_sum_that_would_take_much_memory_to_read_is_kept_in_another_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = three()
    monkeypatch.setattr(choose, "_MEMORY_BYTES", 2 * arrays[0].nbytes)
    merged = world.merged(*versions(world, arrays), by=decision("average"))
    assert merged.entries[0].update.type == "dense"
    assert world.values(merged.entries[0]).tobytes() == expected(arrays, decision("average")).tobytes()


@pytest.mark.parametrize("name", [name for name in merge_methods().builtins if name not in (*SIDES, "passthrough")])
def test_every_method_gives_the_values_of_the_public_function(world: World, name: str) -> None:
    arrays, how = three(), decision(name, **REQUIRED.get(name, {}))
    merged = world.merged(*versions(world, arrays), by=how)
    assert world.values(merged.entries[0]).tobytes() == expected(arrays, how).tobytes()


@pytest.mark.parametrize("how", [decision("average"), decision("ties", density=0.3), decision("magmax")], ids=str)
def test_groups_of_many_blocks_are_merged_alike(world: World, how: Decision) -> None:
    arrays = three(np.float16, LARGE)
    merged = world.merged(*versions(world, arrays), by=how)
    assert world.values(merged.entries[0]).tobytes() == expected(arrays, how).tobytes()


def test_merged_groups_say_what_cleaning_would_say(world: World, tmp_path: Any) -> None:
    arrays = three()
    all_versions = [
        world.model(a=array, b=array[0].astype(ml_dtypes.bfloat16), c=array[:2, :2].copy()) for array in arrays
    ]
    for how in ("average", "ties"):
        merged = world.merged(*all_versions, by=how)
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        for entry, cleaned in zip(merged.entries, as_cleaned(world, merged, tmp_path), strict=True):
            assert replace(entry, update=cleaned.update, merge=None) == cleaned
            assert entry.signature is not None


def test_minus_zero_stays_in_an_average(world: World) -> None:
    base = np.full(300, 1, np.float32)
    ours, theirs = np.full(300, -0.0, np.float32), np.full(300, -0.0, np.float32)
    ours[7], theirs[8] = 1, 2
    merged = world.merged(*versions(world, [base, ours, theirs]), by="average")
    values = world.values(merged.entries[0])
    assert values.tobytes() == merge_arrays("average", [ours, theirs]).tobytes()
    assert np.signbit(values[:7]).all()


def test_small_groups_share_an_object(world: World) -> None:
    arrays = [normal(20, seed=seed) for seed in range(3)]
    all_versions = [world.model(a=array, b=array + 1, c=array + 2) for array in arrays]
    before = world.objects().keys()
    merged = world.merged(*all_versions, by="average")
    assert {entry.update.type for entry in merged.entries} == {"dense"}
    assert len(world.objects().keys() - before) == 1


def test_equal_results_are_kept_once_and_not_taken_for_each_other(world: World) -> None:
    wide = [np.full((8, 64), value, np.float32) for value in (1, 2, 4)]
    all_versions = [world.model(a=array, b=array.reshape(64, 8), c=array) for array in wide]
    merged = world.merged(*all_versions, by="ties")
    assert len({entry.digest for entry in merged.entries}) == 1
    assert [world.values(entry).tolist() for entry in merged.entries] == [
        expected([array.reshape(shape) for array in wide], Decision("ties")).tolist()
        for shape in ((8, 64), (64, 8), (8, 64))
    ]


def test_ancestor_of_another_dtype_is_widened_and_the_result_rounded_once(world: World) -> None:
    base, ours, theirs = three(np.float32)
    sides = [array.astype(np.float16) for array in (ours, theirs)]
    all_versions = versions(world, [base, *sides])
    for name in ("task_arithmetic", "ties"):
        merged = world.merged(*all_versions, by=name)
        wide = [array.astype(np.float64) for array in (base, *sides)]
        assert merged.entries[0].dtype == "float16"
        assert world.values(merged.entries[0]).tobytes() == expected(wide, Decision(name)).astype(np.float16).tobytes()


def test_ancestor_of_another_shape_is_no_base(world: World) -> None:
    _, ours, theirs = three()
    all_versions = versions(world, [normal(7, 30), ours, theirs])
    merged = world.merged(*all_versions, by="average")
    assert world.values(merged.entries[0]).tobytes() == merge_arrays("average", [ours, theirs]).tobytes()
    with pytest.raises(MergeError, match=r"group 'a': .*needs a base"):
        world.merge(*all_versions, by="ties")


# --- taking what is there -------------------------------------------------------------------------------------------


def test_a_side_is_taken_as_it_is_without_its_values(world: World) -> None:
    base, ours, theirs = versions(world, three())
    for name in world.objects():
        world.store.path(name).unlink()
    for by, wanted in (("ours", ours), ("theirs", theirs), ("ancestor", base)):
        outcome = world.merge(base, ours, theirs, by=by)
        assert outcome.metadata == wanted
    assert world.fetched == []


@pytest.mark.parametrize("by", [decision("linear", weight=(1.0, 0.0)), decision("ties", density=0.0)], ids=str)
def test_result_that_a_version_has_is_that_version(world: World, by: Decision) -> None:
    base, ours, theirs = versions(world, three())
    assert world.merged(base, ours, theirs, by=by) == (ours if by.method == "linear" else base)


# --- records --------------------------------------------------------------------------------------------------------


def test_record_has_what_is_not_the_default_and_the_seed(world: World) -> None:
    all_versions = versions(world, three())
    records = {
        decision("average"): MergeRecord("average"),
        decision("average", with_base=False): MergeRecord("average"),
        decision("ties", density=0.5, **{"lambda": 1.0}): MergeRecord("ties", (("density", 0.5),)),
        decision("linear", weight=(0.25, 1.0)): MergeRecord("linear", (("weight", (0.25, 1.0)),)),
        decision("dare_linear", density=0.5): MergeRecord("dare_linear", (("density", 0.5), ("seed", 0))),
        decision("dare_ties", seed=7): MergeRecord("dare_ties", (("seed", 7),)),
    }
    for how, record in records.items():
        assert world.merged(*all_versions, by=how).entries[0].merge == record


def test_record_stays_with_the_values_and_goes_with_them(world: World) -> None:
    arrays = three()
    base, ours, theirs = versions(world, arrays, b=arrays[0])
    merged = world.merged(base, ours, theirs, by="average")
    values = world.values(merged.by_name()["a"])
    world.repo.write(".gitattributes", "*.safetensors filter=theta\n")
    world.repo.theta("install", "--local")
    world.repo.write(world.path, world.smudge(merged))
    world.repo.git("add", "--all")
    assert world.model(a=values, b=arrays[0] + 1).by_name()["a"] == merged.by_name()["a"]
    assert world.model(a=values + 1, b=arrays[0]).by_name()["a"].merge is None
    assert world.model(a=arrays[0], b=values).by_name()["b"].merge is None
    later = world.merged(merged, merged, world.model(a=values, b=arrays[0] + 1))
    assert later.by_name()["a"] == merged.by_name()["a"]


# --- chains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slerp", "nearswap", "karcher"])
def test_ancestor_that_the_method_does_not_look_at_may_hold_anything(world: World, name: str) -> None:
    arrays, how = three(), decision(name, **REQUIRED.get(name, {}))
    arrays[0] = with_nan(arrays[0])
    merged = world.merged(*versions(world, arrays), by=how)
    assert world.values(merged.entries[0]).tobytes() == expected(arrays, how).tobytes()


def test_chain_that_would_be_too_long_is_none(world: World) -> None:
    world.limits = Limits(0)
    all_versions = versions(world, three())
    assert world.merged(*all_versions, by="average").entries[0].update.type == "dense"


def test_merges_of_merges_stay_within_the_bounds(world: World) -> None:
    array = normal(60, 50)
    current = world.model(a=array)
    other = current
    for number in range(12):
        one = world.model(a=near(world.values(current.entries[0]), 2 * number))
        two = world.merged(
            current, one, world.model(a=near(world.values(other.entries[0]), 2 * number + 1)), by="average"
        )
        other, current = one, two
        update = current.entries[0].update
        assert length(update) <= world.limits.length
        assert nested_count(update) <= MAX_NESTED


# --- more than two --------------------------------------------------------------------------------------------------


def test_sides_that_changed_a_group_are_merged_with_their_own_parameters(world: World) -> None:
    base, *sides = normal(40, 30), *(near(normal(40, 30), seed) for seed in range(3))
    old, *others = versions(world, [base, *sides])
    how = decision("linear", weight=(0.25, 0.5, 1.0))
    merged = world.merged(old, *others, by=how)
    assert world.values(merged.entries[0]).tobytes() == expected([base, *sides], how).tobytes()
    merged = world.merged(old, others[0], old, others[2], by=how)
    wanted = expected([base, sides[0], sides[2]], decision("linear", weight=(0.25, 1.0)))
    assert world.values(merged.entries[0]).tobytes() == wanted.tobytes()
    assert merged.entries[0].merge == MergeRecord("linear", (("weight", (0.25, 1.0)),))


# --- what cannot be merged ------------------------------------------------------------------------------------------


def spoiled(change: Callable[[Any], Any]) -> list[Any]:
    base, ours, theirs = three()
    return [base, change(ours), theirs]


def with_nan(array: Any) -> Any:
    array[3, 4] = np.nan
    return array


REFUSED = {
    "NaN in a sum": (spoiled(with_nan), decision("average"), "infinite values or NaN"),
    "NaN elsewhere": (spoiled(with_nan), decision("ties"), "infinite values or NaN"),
    "NaN block by block": (spoiled(with_nan), decision("magmax"), "infinite values or NaN"),
    "too large a sum": (
        [np.full(400, value, np.float16) for value in (1, 6e4, 5e4)],
        decision("linear", normalize=False),
        "cannot hold",
    ),
    "integers": (
        [np.arange(400) + step for step in range(3)],
        decision("average"),
        "cannot merge.*int64.*take one side",
    ),
    "booleans": ([np.arange(400) % step == 0 for step in (2, 3, 5)], decision("ties"), "cannot merge.*bool"),
    "weights that sum to 0": (three(), decision("linear", weight=(1.0, -1.0)), "weights sum to 0"),
    "an unknown parameter": (three(), decision("ties", densty=0.5), "no parameter 'densty'"),
    "a parameter out of range": (three(), decision("ties", density=2.0), "must be a number from 0 to 1"),
    "a missing parameter": (three(), decision("slerp"), "needs the parameter t"),
    "too few values of a parameter": (three(), decision("linear", weight=(1.0, 1.0, 1.0)), "3 values for 2 inputs"),
    "too many sides": (three(), decision("passthrough"), "1 input"),
    "rows": (three(), decision("rows"), "number of rows"),
    "parameters of a side": (three(), decision("ours", weight=1.0), "ours has no parameters"),
}


@pytest.mark.parametrize(("arrays", "how", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_merged_is_said_in_one_line(world: World, arrays: list[Any], how: Decision, reason: str) -> None:
    all_versions = versions(world, arrays, other=normal(20, 30))
    before = world.objects()
    with pytest.raises(MergeError, match=f"^model.safetensors: group 'a': .*{reason}") as caught:
        world.merge(*all_versions, by=how)
    assert "\n" not in str(caught.value)
    assert world.objects() == before


def test_unknown_method_is_named(world: World) -> None:
    with pytest.raises(PluginError, match=r"model.safetensors: group 'a': unknown merge method 'tise'"):
        world.merge(*versions(world, three()), by="tise")


ODD = {
    "zero vectors": [np.zeros((8, 40), np.float32), np.zeros((8, 40), np.float32), normal(8, 40)],
    "antipodal": [np.zeros((8, 40), np.float32), normal(8, 40), -normal(8, 40)],
    "equal": [normal(8, 40), normal(8, 40, seed=1), normal(8, 40, seed=1)],
}


@pytest.mark.parametrize("arrays", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("name", ["slerp", "nuslerp", "ties", "model_stock", "average", "karcher"])
def test_odd_vectors_merge_as_the_public_function_merges_them(world: World, arrays: list[Any], name: str) -> None:
    arrays = [*arrays[:2], arrays[2] + np.float32(0)]
    arrays[1] = arrays[1].copy()
    arrays[1][0, 0] += 1
    how = decision(name, **REQUIRED.get(name, {}))
    all_versions = versions(world, arrays)
    try:
        wanted = expected(arrays, how)
    except MergeError as error:
        reason = re.escape(str(error))
        with pytest.raises(MergeError, match=f"group 'a': {reason}$"):
            world.merge(*all_versions, by=how)
    else:
        merged = world.merged(*all_versions, by=how)
        assert world.values(merged.entries[0]).tobytes() == wanted.tobytes()


# --- objects --------------------------------------------------------------------------------------------------------


def test_missing_objects_are_fetched(world: World, tmp_path: Any) -> None:
    all_versions = versions(world, three())
    shutil.copytree(world.store.root / "objects", tmp_path / "remote")
    for name in world.objects():
        world.store.path(name).unlink()

    def fetch(refs: Any) -> None:
        for ref in refs:
            shutil.copy(tmp_path / "remote" / ref.oid[:2] / ref.oid[2:4] / ref.oid, world.store.path(ref.oid))

    world.fetch = fetch
    merged = world.merged(*all_versions, by="average")
    assert merged.entries[0].update.type == "linear"
    wanted = {ref.oid for metadata in all_versions[1:] for ref in metadata.objects()}
    assert {ref.oid for ref in world.fetched[0]} == wanted


def test_objects_that_cannot_be_had_are_named(world: World) -> None:
    base, ours, theirs = versions(world, three())
    missing = theirs.entries[0].update.object
    assert missing is not None
    world.store.path(missing.oid).unlink()
    with pytest.raises(
        MissingObjectError, match=f"model.safetensors: group 'a': object {missing.oid}.*git theta fetch"
    ):
        world.merge(base, ours, theirs, by="average")


@pytest.mark.parametrize("by", ["average", "ties", "magmax"])
def test_damaged_values_are_never_merged(world: World, by: str) -> None:
    base, ours, theirs = versions(world, [normal(60, 50, seed=seed) for seed in range(3)])
    other = base.entries[0].update.object
    damaged = theirs.entries[0].update.object
    assert other is not None
    assert damaged is not None
    data = world.store.path(other.oid).read_bytes()
    path = world.store.path(damaged.oid)
    path.chmod(0o644)
    path.write_bytes(data[: damaged.size].ljust(damaged.size, b"\0"))
    before = world.objects()
    with pytest.raises(CorruptObjectError, match=rf"model.safetensors: group 'a': object {damaged.oid} cannot be used"):
        world.merge(base, ours, theirs, by=by)
    assert world.objects() == before


# --- plug-ins -------------------------------------------------------------------------------------------------------


def plugged(compute: Any, **options: Any) -> Family[Any]:
    return Family("merge method", "none", {}, {"odd": Method("odd", compute, **options)})


def exhaust(*_: Any) -> Any:
    raise MemoryError


def fail(*_: Any) -> Any:
    raise ValueError("no\nidea")


@pytest.mark.parametrize("elementwise", [False, True])
@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (fail, "failed: ValueError: no"),
        (exhaust, "not enough memory"),
        (lambda inputs, *_: inputs[0][:1], "did not return an array of the inputs' shape"),
        (lambda inputs, *_: inputs[0].astype(np.int32), "did not return an array"),
        (lambda inputs, *_: inputs[0].tolist(), "did not return an array"),
        (lambda inputs, *_: inputs[0] * np.inf, "cannot hold"),
    ],
)
def test_plug_in_that_misbehaves_stops_the_merge(world: World, compute: Any, reason: str, elementwise: bool) -> None:
    world.methods = plugged(compute, elementwise=elementwise)
    all_versions = versions(world, three())
    before = world.objects()
    with pytest.raises((PluginError, MergeError), match=f"group 'a': .*{reason}"):
        world.merge(*all_versions, by="odd")
    assert world.objects() == before


def divide(*_: Any) -> Any:
    return 1 / 0


def leave(*_: Any) -> Any:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("factors", "reason"),
    [
        (divide, "failed: ZeroDivisionError: division by zero"),
        (leave, "failed: SystemExit"),
        (lambda count, *_: (1.0,) * (count + 5), "did not give one factor for each input"),
        (lambda *_: (0.5,), "did not give one factor for each input"),
        (lambda *_: None, "did not give one factor for each input"),
        (lambda *_: ("1", "2", "3"), "did not give one factor for each input"),
    ],
)
def test_plug_in_whose_factors_are_none_stops_the_merge(world: World, factors: Any, reason: str) -> None:
    world.methods = plugged(lambda inputs, *_: inputs[0] + inputs[1], factors=factors)
    all_versions = versions(world, three())
    before = world.objects()
    with pytest.raises(PluginError, match=reason):
        world.merge(*all_versions, by="odd")
    assert world.objects() == before


def test_plug_in_with_a_name_that_no_metadata_file_holds_is_refused(world: World) -> None:
    world.methods = Family("merge method", "none", {}, {"Odd one": Method("Odd one", lambda inputs, *_: inputs[1])})
    with pytest.raises(MergeError, match="a name that a metadata file cannot hold"):
        world.merge(*versions(world, three()), by="Odd one")


# --- settled in part ------------------------------------------------------------------------------------------------


def test_what_is_settled_in_part_changes_nothing(world: World) -> None:
    arrays = three()
    base, ours, theirs = [world.model(a=array, b=array + 1) for array in arrays]
    before = world.objects()
    outcome = world.merge(base, ours, theirs, by={"a": Decision("ties"), "unknown": Decision("ours")})
    assert outcome.metadata is None
    assert [conflict.name for conflict in outcome.unsettled] == ["b"]
    assert outcome.decided == {"a": Decision("ties")}
    assert world.objects() == before


def test_nobody_is_asked_where_there_is_no_conflict(world: World) -> None:
    base, ours, _ = versions(world, three())

    def settle(_: Any) -> Any:
        raise AssertionError("asked")

    outcome = world.merger.merge(Versions(base, (ours, base)), settle, world.path)
    assert outcome.metadata == ours
