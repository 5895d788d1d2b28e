"""Versions of a group side by side: looked at without decoding twice, verified, and what they share is read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.registry import Family
from git_theta.store.arrays import Arrays
from git_theta.store.serialize import BLOCK_ROWS
from git_theta.updates import Group, update_types
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.reading import Reader, shares
from git_theta.updates.single import base_of
from git_theta.updates.versions import Version, Versions
from tests.updates.scene import Scene, Values, normal, update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from git_theta.metadata import Update
    from git_theta.store.arrays import Block
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


@pytest.fixture
def family(scene: Scene) -> tuple[Any, list[Base]]:
    """Values of an ancestor and two deltas on top of it, and how they are kept, the ancestor last."""
    old = normal(SHAPE, "bfloat16")
    base = scene.base(old)
    one, first = tuned(scene, old, 1, base)
    two, second = tuned(scene, old, 2, base)
    return [one, two, old], [first, second, base]


def reader(scene: Scene) -> Reader:
    return Reader(Arrays(scene.store), scene.types)


def joined(parts: Iterator[tuple[Any, ...]]) -> list[bytes]:
    return [
        b"".join(column) for column in zip(*(tuple(rows.tobytes() for rows in part) for part in parts), strict=True)
    ]


def test_versions_come_as_they_are_and_what_they_share_is_read_once(
    scene: Scene, family: tuple[Any, list[Base]], opened: Counter[str]
) -> None:
    values, bases = family
    found = joined(Versions(Values.of(values[0]).group, bases, reader(scene)).rows(0, 1, 2))
    assert found == [Values.of(value).data for value in values]
    assert set(opened.values()) == {1}


def test_first_look_is_not_decoded_again(scene: Scene, family: tuple[Any, list[Base]], opened: Counter[str]) -> None:
    values, bases = family
    versions = Versions(Values.of(values[0]).group, bases, reader(scene))
    for head, value in zip(versions.heads(), values, strict=True):
        assert head.tobytes() == Values.of(value[:BLOCK_ROWS]).data
    assert versions.heads() is versions.heads()
    assert joined(versions.rows(1, 0)) == [Values.of(values[1]).data, Values.of(values[0]).data]
    assert set(opened.values()) == {1}


def test_versions_can_be_read_twice(scene: Scene, family: tuple[Any, list[Base]]) -> None:
    values, bases = family
    versions = Versions(Values.of(values[0]).group, bases, reader(scene))
    first = versions.rows(0)
    next(first)
    next(first)
    assert joined(versions.rows(2)) == [Values.of(values[2]).data]
    assert b"".join(rows.tobytes() for rows in Version(versions, 1).rows(reader(scene))) == Values.of(values[1]).data


@pytest.mark.parametrize("number", range(3))
def test_version_with_other_values_than_its_digest_is_refused_if_it_is_wanted(
    scene: Scene, family: tuple[Any, list[Base]], number: int
) -> None:
    values, bases = family
    bases[number] = replace(bases[number], digest="0" * 64)
    versions = Versions(Values.of(values[0]).group, bases, reader(scene))
    with pytest.raises(UnusableBaseError):
        joined(versions.rows(number))
    others = [other for other in range(3) if other != number]
    assert joined(versions.rows(*others)) == [Values.of(values[other]).data for other in others]


def test_missing_version_is_unusable(scene: Scene, family: tuple[Any, list[Base]]) -> None:
    values, bases = family
    scene.lose(bases[1].update)
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


@dataclass
class Eager:
    """A type of update that reads all of its base before it gives anything: others get ahead, or fall behind."""

    name: str = "eager"

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        return iter(list(_copied(reader.values(base_of(update), group))))

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0


def _copied(blocks: Iterator[Block]) -> Iterator[Block]:
    from git_theta.store.arrays import Ready

    for block in blocks:
        yield Ready(block.result().copy())


@pytest.mark.parametrize("first", [True, False])
def test_parts_that_read_at_another_pace_get_the_right_values(
    scene: Scene, family: tuple[Any, list[Base]], first: bool
) -> None:
    values, (one, _, base) = family
    types = update_types()
    scene.types = Family(types.kind, types.group, types.builtins, {"eager": Eager()})
    group = Values.of(values[0]).group
    parts = [update("eager", None, base.update), one.update]
    made = update("linear", None, *(parts if first else parts[::-1]), weights=(0.5, 0.5))
    sums = (values[0].astype(np.float64) + values[2].astype(np.float64)) / 2
    assert scene.read(made, group) == Values.of(sums.astype(values[0].dtype)).data


def test_updates_that_several_have_are_shared() -> None:
    base = update("dense", None, oid="a")
    chain = update("delta", None, base, n=1)
    one, two = update("delta", None, chain, n=2), update("delta", None, chain, n=3)
    assert shares([one, two], ()) == {chain: 2}
    assert shares([one, two, base], ()) == {chain: 2, base: 2}
    assert shares([one, one], ()) == {one: 2}
    assert shares([one, two], {chain}) == {}
    assert shares([one, base], ()) == {base: 2}
