"""Versions of a group side by side: looked at without decoding twice, verified, and what they share is read once."""

from __future__ import annotations

import gc
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from git_theta.metadata import ObjectRef
from git_theta.registry import Family
from git_theta.store.arrays import Arrays
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.updates import update_types
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Stored
from git_theta.updates.plugged import Plugged
from git_theta.updates.reading import Reader, shares
from git_theta.updates.versions import Version, Versions
from tests.updates.scene import Scene, Values, normal, update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from git_theta.updates.plans import Base

BLOCKS = 9
"""More than are begun ahead."""

SHAPE = (BLOCKS * BLOCK_ROWS - 1000,)


@pytest.fixture
def opened(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many times each object was opened."""
    counts: Counter[str] = Counter()
    opening = scene.store.open

    def counting(ref: Any) -> Any:
        counts[ref.oid] += 1
        return opening(ref)

    monkeypatch.setattr(scene.store, "open", counting)
    return counts


def tuned(scene: Scene, old: Any, seed: int, base: Base) -> tuple[Any, Base]:
    """A version with a delta on top of a base."""
    new = (old.astype(np.float32) + normal(old.shape, "float32", seed) * 0.01).astype(old.dtype)
    kept, _ = scene.keep(new, base)
    assert kept.type == "delta"
    return new, scene.base(new, kept)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore(tmp_path_factory.mktemp("store") / "theta")


@pytest.fixture
def scene(store: ObjectStore) -> Scene:
    return Scene(store)


@pytest.fixture
def family(kept: tuple[Any, list[Base]]) -> tuple[Any, list[Base]]:
    """Values of an ancestor and two deltas on top of it, and how they are kept, the ancestor last."""
    return list(kept[0]), list(kept[1])


@pytest.fixture(scope="module")
def kept(store: ObjectStore) -> tuple[Any, list[Base]]:
    scene = Scene(store)
    old = normal(SHAPE, "bfloat16")
    base = scene.base(old)
    one, first = tuned(scene, old, 1, base)
    two, second = tuned(scene, old, 2, base)
    return [one, two, old], [first, second, base]


def reader(scene: Scene) -> Reader:
    return Reader(Arrays(scene.store), scene.types)


def _spoilt(blocks: Iterator[Any], place: int) -> Iterator[None]:
    """Write to one of the blocks after it came."""
    for number, rows in enumerate(blocks):
        rows[5] ^= number == place
        yield


def joined(parts: Iterator[tuple[Any, ...]]) -> list[bytes]:
    return [
        b"".join(column) for column in zip(*(tuple(rows.tobytes() for rows in part) for part in parts), strict=True)
    ]


def test_versions_come_as_they_are_and_what_they_share_is_read_once(
    scene: Scene, family: tuple[Any, list[Base]], opened: Counter[str]
) -> None:
    values, bases = family
    mine = reader(scene)
    found = joined(Versions(Values.of(values[0]).group, bases, mine).rows(mine, 0, 1, 2))
    assert found == [Values.of(value).data for value in values]
    assert set(opened.values()) == {1}


def test_first_look_is_not_decoded_again(scene: Scene, family: tuple[Any, list[Base]], opened: Counter[str]) -> None:
    values, bases = family
    mine = reader(scene)
    versions = Versions(Values.of(values[0]).group, bases, mine)
    for head, value in zip(versions.heads(), values, strict=True):
        assert head.tobytes() == Values.of(value[:BLOCK_ROWS]).data
    assert versions.heads() is versions.heads()
    assert joined(versions.rows(mine, 1, 0)) == [Values.of(values[1]).data, Values.of(values[0]).data]
    assert set(opened.values()) == {1}


def test_versions_can_be_read_twice(scene: Scene, family: tuple[Any, list[Base]]) -> None:
    values, bases = family
    mine = reader(scene)
    versions = Versions(Values.of(values[0]).group, bases, mine)
    first = versions.rows(mine, 0)
    next(first)
    next(first)
    assert joined(versions.rows(mine, 2)) == [Values.of(values[2]).data]
    assert b"".join(rows.tobytes() for rows in Version(versions, 1).rows(mine)) == Values.of(values[1]).data


@pytest.mark.parametrize("number", range(3))
def test_version_with_other_values_than_its_digest_is_refused_if_it_is_wanted(
    scene: Scene, family: tuple[Any, list[Base]], number: int
) -> None:
    values, bases = family
    bases[number] = replace(bases[number], digest="0" * 64)
    mine = reader(scene)
    versions = Versions(Values.of(values[0]).group, bases, mine)
    with pytest.raises(UnusableBaseError):
        joined(versions.rows(mine, number))
    others = [other for other in range(3) if other != number]
    assert joined(versions.rows(mine, *others)) == [Values.of(values[other]).data for other in others]


def test_missing_version_is_unusable(scene: Scene, family: tuple[Any, list[Base]]) -> None:
    values, bases = family
    bases[1] = replace(bases[1], update=replace(bases[1].update, object=ObjectRef("0" * 64, 1)))
    with pytest.raises(UnusableBaseError):
        Versions(Values.of(values[0]).group, bases, reader(scene)).heads()


def test_weighted_sum_reads_what_its_parts_share_once(
    scene: Scene, family: tuple[Any, list[Base]], opened: Counter[str]
) -> None:
    values, (one, two, base) = family
    group = Values.of(values[0]).group
    inner = update("linear", None, one.update, base.update, weights=(0.5, 0.5))
    outer = update("linear", None, inner, two.update, inner, weights=(0.25, 0.5, 0.25))
    alone = update("linear", None, *(update("linear", None, part, weights=(1,)) for part in outer.bases))
    apart = replace(alone, parameters=outer.parameters)
    assert scene.read(outer, group) == scene.read(apart, group)
    opened.clear()
    scene.read(outer, group)
    assert set(opened.values()) == {1}


class Same:
    """A plug-in: all of the base is read before the first block comes."""

    def apply(self, base: bytes, *_: object) -> bytes:
        return base

    def fit(self, *_: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("number", [0, 2], ids=["delta", "dense"])
def test_parts_that_read_at_another_pace_get_the_right_values(
    scene: Scene, family: tuple[Any, list[Base]], first: bool, number: int
) -> None:
    """A plug-in reads all of its base at once. The base's own blocks, and what is computed from them, stay."""
    values, bases = family
    types = update_types()
    scene.types = Family(types.kind, types.group, types.builtins, {"same": Plugged("same", Same())})
    group = Values.of(values[0]).group
    same = update("same", None, bases[2].update)
    parts = [same, bases[number].update]
    made = update("linear", None, *(parts if first else parts[::-1]), weights=(0.5, 0.5))
    sums = (values[number].astype(np.float64) + values[2].astype(np.float64)) / 2
    assert scene.read(made, group) == Values.of(sums.astype(values[0].dtype)).data
    mine = reader(scene)
    versions = Versions(group, [bases[number], scene.base(values[2], same)], mine)
    assert joined(versions.rows(mine, 0, 1)) == [Values.of(values[place]).data for place in (number, 2)]


def test_updates_that_several_have_are_shared() -> None:
    base = update("dense", None, oid="a")
    chain = update("delta", None, base, n=1)
    one, two = update("delta", None, chain, n=2), update("delta", None, chain, n=3)
    for updates, shared in (
        ([one, two], [chain]),
        ([one, two, base], [chain, base]),
        ([one, one], [one]),
        ([one, base], [base]),
        ([one], []),
    ):
        assert list(shares(updates, update_types()).values()) == shared


def test_updates_that_are_equal_but_not_the_same_are_not_shared(scene: Scene) -> None:
    """For Python 0.0 equals -0.0, and 1 equals true."""
    values = np.full(2000, 1.5, np.float32)
    base = scene.base(values).update
    plus, minus = (update("linear", None, base, weights=(weight,)) for weight in (0.0, -0.0))
    assert plus == minus
    assert list(shares([plus, minus], update_types()).values()) == [base]
    for parts in ([plus, minus], [minus, plus]):
        found = scene.read(update("linear", None, *parts, weights=(1, 1)), Values.of(values).group)
        assert found == bytes(values.nbytes)


def test_files_of_a_reading_that_stops_early_are_closed_at_once(scene: Scene, family: tuple[Any, list[Base]]) -> None:
    """And not when the garbage is collected: of a thousand groups, each has two objects open then."""
    values, bases = family
    opened = []
    opening = scene.store.open

    @contextmanager
    def counting(ref: Any) -> Iterator[Any]:
        with opening(ref) as file:
            opened.append(file)
            yield file

    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scene.store, "open", counting)
            versions = Versions(Values.of(values[0]).group, bases, reader(scene))
            versions.heads()
            assert [file.closed for file in opened] == [False] * 3
            versions.forget()
            assert [file.closed for file in opened] == [True] * 3
            versions.heads()
            del versions
            assert [file.closed for file in opened] == [True] * 6
    finally:
        gc.enable()


def test_another_thread_reads_with_its_own_reader(scene: Scene, family: tuple[Any, list[Base]]) -> None:
    """Readers are not for several threads; that of the thread which looked may be at work."""
    values, bases = family
    mine, other = reader(scene), reader(scene)
    versions = Versions(Values.of(values[0]).group, bases, mine)
    alone = Versions(Values.of(values[0]).group, bases[:1], mine)
    heads = versions.heads(), alone.heads()
    assert joined(versions.rows(other, 1, 2)) == [Values.of(values[place]).data for place in (1, 2)]
    assert b"".join(rows.tobytes() for rows in Version(alone, 0).rows(other)) == Values.of(values[0]).data
    assert (versions.heads(), alone.heads()) == heads, "they were not touched"


@pytest.mark.parametrize("place", [0, BLOCKS - 1], ids=["first", "last"])
@pytest.mark.parametrize("is_alone", [True, False])
def test_base_that_is_not_the_same_any_more_when_it_was_used_is_refused(
    scene: Scene, family: tuple[Any, list[Base]], place: int, is_alone: bool
) -> None:
    """Whatever it is that writes to a buffer in which others read: no difference to such values is kept."""
    values, bases = family
    mine, group = reader(scene), Values.of(values[0]).group
    if is_alone:
        found = Stored(group, bases[0]).rows(mine)
    else:
        found = (rows for (rows,) in Versions(group, bases, mine).rows(mine, 0))
    with pytest.raises(UnusableBaseError, match="promises"):
        deque(_spoilt(found, place))
