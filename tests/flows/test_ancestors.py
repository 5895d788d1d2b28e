"""What several common ancestors of a merge are together: no decision of a side of that merge may be lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from git_theta.flows.ancestors import merge_ancestors
from git_theta.flows.merging.plan import Versions
from git_theta.metadata_file import parse, serialize
from tests.flows.merging.world import PATH, World, normal

if TYPE_CHECKING:
    from git_theta.metadata import Metadata
    from tests.flows.merging.world import Array
    from tests.helpers import Repo

A, B = normal(40, 30, seed=1), normal(50, seed=2)


@pytest.fixture
def world(repo: Repo) -> World:
    """An empty repository."""
    return World(repo)


def together(world: World, old: Metadata | None, one: Metadata, two: Metadata) -> Metadata:
    merged = merge_ancestors(world.merger, Versions(old, (one, two)), PATH)
    assert parse(serialize(merged)) == merged
    return merged


def asked(world: World, ancestor: Metadata, ours: Metadata, theirs: Metadata) -> list[str]:
    """What is in conflict in the merge proper, in either direction."""
    names = []
    for sides in ((ours, theirs), (theirs, ours)):
        world.merge(ancestor, *sides)
        names.append([conflict.name for conflict in world.asked])
    assert names[0] == names[1]
    return names[0]


def model(world: World, epoch: int, **arrays: Array) -> Metadata:
    return world.model({"epoch": str(epoch)}, **{"a": A, "b": B, **arrays})


def test_ancestors_without_a_clash_are_decided(world: World) -> None:
    old, one, two = model(world, 1), model(world, 2, a=A + 1), model(world, 1, b=B + 1)
    merged = together(world, old, one, two)
    assert merged.is_decided
    assert merged == model(world, 2, a=A + 1, b=B + 1)


def test_text_that_clashed_is_changed_on_every_side(world: World) -> None:
    merged = together(world, *(model(world, epoch) for epoch in (1, 2, 3)))
    assert merged.skeleton.undecided == ("__metadata__/epoch",)
    for mine, yours in ((1, 2), (2, 3), (4, 1)):
        sides = [model(world, epoch) for epoch in (mine, yours)]
        assert asked(world, merged, *sides) == ["__metadata__/epoch"]
        assert world.merged(merged, *sides, by="ancestor") == model(world, 1)
    for both in (1, 2, 4):
        sides = [model(world, both, b=B + step) for step in (0, 1)]
        assert asked(world, merged, *sides) == []
        result = world.merged(merged, *sides)
        assert result == sides[1]


def test_text_that_clashed_stays_so_beside_a_third_ancestor(world: World) -> None:
    """The third has it as it was, or not; the first two are its ours."""
    old = model(world, 1)
    two = together(world, old, *(model(world, epoch) for epoch in (2, 3)))
    for epoch in (1, 2, 5):
        three = together(world, old, two, model(world, epoch, b=B + 1))
        sides = [model(world, number, b=B + 1) for number in (epoch, 7)]
        assert asked(world, three, *sides) == ["__metadata__/epoch"]


def test_ancestors_that_clash_as_a_whole_are_undecided_altogether(world: World) -> None:
    """One has a format that is not installed. Which group came of what, nobody can tell."""
    old, one, two = world.model(a=A, b=B), replace(world.model(a=A + 1, b=B), format="gone"), world.model(a=A + 2, b=B)
    merged = together(world, old, one, two)
    assert asked(world, merged, world.model(a=A, b=B), world.model(a=A + 3, b=B)) == ["a"]
    assert asked(world, merged, world.model(a=A, b=B), world.model(a=A, b=B)) == []
    gone = replace(world.model(a=A, b=B + 1), format="gone")
    assert asked(world, merged, world.model(a=A, b=B), gone) == ["(structure)"]


def test_group_that_clashed_is_a_conflict_with_what_became_of_the_whole(world: World) -> None:
    merged = together(world, *(world.model(a=A + step, b=B) for step in range(3)))
    gone = replace(world.model(a=A + 1, b=B), format="gone")
    assert asked(world, merged, world.model(a=A, b=B), gone) == ["(structure)"]


def test_group_that_was_added_in_two_ways_and_removed_since_is_still_there(world: World) -> None:
    """Else it would count as added by the side of the merge that has it, against the one that decided for none."""
    first = together(world, world.model(a=A), world.model(a=A, b=B), world.model(a=A, b=B + 1))
    second = together(world, first, world.model(a=A), world.model(a=A, b=B + 2))
    assert asked(world, second, world.model(a=A), world.model(a=A, b=B + 2)) == ["b"]
