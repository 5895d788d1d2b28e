"""Metadata files that were made to do harm: each is one line of error when it is smudged, never other bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.errors import CorruptObjectError, MetadataError, PluginError, ThetaError
from git_theta.flows.smudge import Smudger
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update
from git_theta.metadata_file import MAX_NESTED, parse, serialize
from git_theta.store.cache import MetadataCache
from git_theta.updates.gaps import pack
from git_theta.updates.words import words_of
from tests.updates.scene import Scene, Values, normal, update

OLD = normal((40, 50))
GROUP = Values.of(OLD).group
WANTED = normal((40, 50), seed=1)


def text_of(made: Update, wanted: Any = WANTED) -> bytes:
    """A metadata file of one group."""
    values = Values.of(wanted)
    entry = Entry("w", values.group.dtype, values.group.shape, values.digest, 0, made)
    return serialize(Metadata("opaque", entry.nbytes, Skeleton(0, tensors.digest(b""), b"", None), (entry,)))


class Smudging(Scene):
    """A scene in which metadata files are smudged."""

    def smudge(self, data: bytes) -> bytes:
        """What comes of a metadata file."""
        cache = MetadataCache(self.store.root / "cache")
        smudger = Smudger(self.store, cache, self.types, lambda _refs: None)
        return b"".join(bytes(piece) for piece in smudger.smudge(parse(data), data, "model.bin"))


@pytest.fixture
def smudging(scene: Scene) -> Smudging:
    return Smudging(scene.store)


def refused(smudging: Smudging, data: bytes, kinds: type[ThetaError] | tuple[type[ThetaError], ...]) -> None:
    with pytest.raises(kinds) as caught:
        smudging.smudge(data)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) < 1000


def test_good_update_is_smudged(smudging: Smudging) -> None:
    new = OLD.copy()
    new[0, 0] = 7
    made, _ = smudging.keep(new, smudging.base(OLD), kind="sparse")
    assert smudging.smudge(text_of(made, new)) == new.tobytes()


def test_update_that_gives_other_values_than_promised_is_refused(smudging: Smudging) -> None:
    for kind, change in (("sparse", 1), ("delta", 40), ("dense", 40)):
        new = OLD.copy()
        new[:change] *= 1.001
        made, _ = smudging.keep(new, smudging.base(OLD), kind=kind)
        refused(smudging, text_of(made), CorruptObjectError)


Made = Callable[[Smudging], Update]


def whole(scene: Scene, values: Any = OLD) -> Update:
    return scene.base(values).update


def of(kind: str, rows: Any = None, bases: int = 1, **settings: Any) -> Made:
    """An update on top of so many bases, with an object of so many bytes in rows of four if it is a number."""

    def make(scene: Smudging) -> Update:
        array = np.zeros((rows, 4), np.uint8) if isinstance(rows, int) else rows
        ref = None if array is None else scene.put(array)
        return update(kind, ref, *[whole(scene)] * bases, **settings)

    return make


def changes(*places: int) -> Any:
    words = words_of("float32")
    return pack(np.array(places, np.int64), np.ones(len(places), words.dtype), words)


HOSTILE: dict[str, Made] = {
    "dense that is too short": of("dense", 1999, 0),
    "dense on a base": of("dense", 1999, 1),
    "delta without a base": of("delta", 2000, 0),
    "delta with two bases": of("delta", 2000, 2),
    "delta without an object": of("delta", None, 1),
    "delta that is too short": of("delta", 1, 1),
    "sparse without a base": of("sparse", changes(3), 0, count=1),
    "sparse with two bases": of("sparse", changes(3), 2, count=1),
    "sparse of count 0": of("sparse", changes(3), count=0),
    "sparse of a count below 0": of("sparse", changes(3), count=-5),
    "sparse without a count": of("sparse", changes(3)),
    "sparse of a count that is true": of("sparse", changes(3), count=True),
    "sparse of a count that is a text": of("sparse", changes(3), count="1"),
    "sparse of more than its object": of("sparse", changes(3), count=2),
    "sparse of absurdly many": of("sparse", changes(3), count=2**62),
    "sparse past the end": of("sparse", changes(2000), count=1),
    "sparse far past the end": of("sparse", changes(2**32 - 1), count=1),
    "low-rank of rank 0": of("low-rank", 180, dtype="float32", rank=0),
    "low-rank of too large a rank": of("low-rank", 41 * 90, dtype="float32", rank=41),
    "low-rank of an absurd rank": of("low-rank", 180, dtype="float32", rank=2**62),
    "low-rank without a rank": of("low-rank", 180, dtype="float32"),
    "low-rank without a dtype": of("low-rank", 180, rank=2),
    "low-rank of integers": of("low-rank", 180, dtype="int32", rank=2),
    "low-rank of an unknown dtype": of("low-rank", 180, dtype="float31", rank=2),
    "low-rank that is too short": of("low-rank", 179, dtype="float32", rank=2),
    "low-rank without a base": of("low-rank", 180, 0, dtype="float32", rank=2),
    "ia3 that does not broadcast": of("ia3", 49, dtype="float32", shape=(49,)),
    "ia3 of more extents": of("ia3", 50, dtype="float32", shape=(1, 1, 50)),
    "ia3 without a shape": of("ia3", 50, dtype="float32"),
    "ia3 of a shape below 0": of("ia3", 50, dtype="float32", shape=(-50,)),
    "ia3 of a shape of texts": of("ia3", 50, dtype="float32", shape=("50",)),
    "ia3 that is too short": of("ia3", 49, dtype="float32", shape=(50,)),
    "ia3 without a dtype": of("ia3", 50, shape=(50,)),
    "linear without weights": of("linear", bases=2),
    "linear of too few weights": of("linear", bases=2, weights=(1,)),
    "linear of too many weights": of("linear", bases=2, weights=(1, 1, 1)),
    "linear of texts": of("linear", bases=2, weights=("1", "1")),
    "linear of nothings": of("linear", bases=2, weights=(None, None)),
    "linear of a weight that no float can be": of("linear", bases=2, weights=(10**400, 1)),
    "linear of other weights": of("linear", bases=2, weights=(0.5, 0.25)),
    "unknown type": of("shear", 2000),
    "type with a path": of("os.system", 2000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_update_is_one_line_of_error(smudging: Smudging, name: str) -> None:
    made = HOSTILE[name](smudging)
    refused(smudging, text_of(made), (CorruptObjectError, PluginError))
    below = update("delta", smudging.put(np.zeros((2000, 4), np.uint8)), made)
    refused(smudging, text_of(below), (CorruptObjectError, PluginError))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_weight_that_json_does_not_have_is_refused(smudging: Smudging, value: str) -> None:
    data = text_of(of("linear", bases=2, weights=(0.5, 0.125))(smudging))
    assert data.count(b"0.125") == 1
    refused(smudging, data.replace(b"0.125", value.encode()), MetadataError)


@pytest.mark.parametrize("value", ["0.1250", "1.25e-1", "+0.125", ".125", "0.125 ", "00.125"])
def test_weight_that_is_written_otherwise_is_refused(smudging: Smudging, value: str) -> None:
    data = text_of(of("linear", bases=2, weights=(0.5, 0.125))(smudging))
    refused(smudging, data.replace(b"0.125", value.encode()), MetadataError)


def test_as_many_updates_as_may_be_nested_are_applied(smudging: Smudging) -> None:
    steps = smudging.put(np.zeros((2000, 4), np.uint8))
    made = whole(smudging)
    for _ in range(MAX_NESTED - 1):
        made = update("delta", steps, made)
    assert smudging.smudge(text_of(made, OLD)) == OLD.tobytes()
    refused(smudging, text_of(update("delta", steps, made), OLD), MetadataError)


def test_too_many_updates_side_by_side_are_refused(smudging: Smudging) -> None:
    base = whole(smudging)
    most = update("linear", None, *[base] * (MAX_NESTED - 1), weights=(0.5,) * (MAX_NESTED - 1))
    assert parse(text_of(most)).entries[0].update == most
    refused(smudging, text_of(update("linear", None, *[base] * MAX_NESTED, weights=(0.5,) * MAX_NESTED)), MetadataError)
    wide = [update("linear", None, *[base] * 31, weights=(0.5,) * 31)] * 2
    refused(smudging, text_of(update("linear", None, *wide, weights=(0.5, 0.5))), MetadataError)


@pytest.mark.parametrize("levels", [100, 480, 900, 960, 2_000, 100_000])
@pytest.mark.parametrize("where", ["bases", "shape", "with"])
def test_deep_nesting_is_refused(smudging: Smudging, levels: int, where: str) -> None:
    data = text_of(of("ia3", 50, dtype="float32", shape=(50,))(smudging))
    if where == "bases":
        start = data.index(b'"bases":[')
        level = data[start : data.index(b"]", start)]
        deep = data.replace(level, level[:-1] + b"," + level * levels + b"]}" * levels + b"}")
    elif where == "shape":
        deep = data.replace(b'"shape":[50]', b'"shape":' + b"[" * levels + b"50" + b"]" * levels)
    else:
        deep = data.replace(b'"with":{', b'"with":' + b'{"a":' * levels + b"{" + b"}" * levels)
    assert deep != data
    refused(smudging, deep, (MetadataError, CorruptObjectError))


def test_update_that_builds_on_nothing_is_refused(smudging: Smudging) -> None:
    base = whole(smudging)
    refused(smudging, text_of(update("delta", base.object, update("dense", None))), MetadataError)
    refused(smudging, text_of(update("linear", None, base, update("linear", None), weights=(1, 1))), MetadataError)


KINDS = ["dense", "delta", "sparse", "low-rank", "ia3", "linear"]
SETTING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["float32", "bfloat16", "float64", "int8", ""]),
    st.lists(st.one_of(st.integers(-2, 60), st.floats(-2, 2)), max_size=3).map(tuple),
)


@settings(derandomize=True, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_update_of_any_settings_that_does_not_give_what_is_promised_is_refused(smudging: Smudging, data: Any) -> None:
    refs = [smudging.put(changes(3, 9)), smudging.put(normal(90)), smudging.put(np.zeros((2000, 4), np.uint8)), None]

    def any_update(depth: int) -> Update:
        if depth == 0:
            return whole(smudging)
        bases = [any_update(depth - 1) for _ in range(data.draw(st.sampled_from([1, 1, 1, 0, 2])))]
        names = data.draw(st.sets(st.sampled_from(["count", "dtype", "rank", "shape", "weights"])))
        found = {name: data.draw(SETTING) for name in sorted(names)}
        ref = data.draw(st.sampled_from(refs))
        start = data.draw(st.sampled_from([0, 0, 0, 1, 2**40]))
        ref = None if ref is None else ObjectRef(ref.oid, ref.size, start)
        return Update(data.draw(st.sampled_from(KINDS)), ref, tuple(bases), tuple(sorted(found.items())))

    text = text_of(any_update(data.draw(st.integers(1, 3))))
    with pytest.raises(ThetaError, match=r"\A.+\Z"):
        smudging.smudge(text)
