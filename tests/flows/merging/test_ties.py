"""Tied groups of a merge: each has one name in all versions, and no place of one is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from git_theta.flows.merging.plan import Versions
from git_theta.flows.merging.ties import Ties
from tests.flows.merging.scene import digest, model

if TYPE_CHECKING:
    from git_theta.metadata import Metadata


VALUES = {digest(value): value for value in "123"}


def ties(ancestor: Metadata | None, *sides: Metadata, **places: str) -> Ties:
    """The ties of some versions; places: "head" for "emb" says that a group "emb" stands at "head" too."""

    def places_of(metadata: Metadata) -> dict[str, str]:
        known = metadata.by_name()
        pairs = [*places.items(), *((name, place) for place, name in places.items())]
        return {place: name for place, name in pairs if name in known and place not in known}

    return Ties(Versions(ancestor, sides), places_of)


def told(metadata: Metadata | None) -> dict[str, str]:
    assert metadata is not None
    return {entry.name: VALUES[entry.digest] for entry in metadata.entries}


def test_a_tied_group_has_the_name_that_the_ancestor_has_for_it() -> None:
    found = ties(model(emb="1", b="1"), model(emb="2", b="1"), model(head="3", b="1"), head="emb")
    versions = found.untied()
    assert [told(side) for side in versions.sides] == [{"emb": "2", "b": "1"}, {"emb": "3", "b": "1"}]
    assert told(versions.ancestor) == {"emb": "1", "b": "1"}
    entries = versions.sides[1].entries
    assert [[entry.name for entry in found.named(number, entries)] for number in range(3)] == [
        ["emb", "b"],
        ["head", "b"],
        ["emb", "b"],
    ]


def test_without_an_ancestor_the_first_side_gives_the_name() -> None:
    versions = ties(None, model(head="1"), model(emb="2"), model(head="3"), head="emb").untied()
    assert [list(told(side)) for side in versions.sides] == [["head"]] * 3


def test_a_side_that_unties_a_group_does_so_beside_one_that_calls_it_otherwise() -> None:
    found = ties(model(emb="1"), model(emb="1", head="2"), model(head="3"), head="emb")
    versions = found.untied()
    assert told(versions.ancestor) == {"emb": "1", "head": "1"}
    assert [told(side) for side in versions.sides] == [{"emb": "1", "head": "2"}, {"emb": "3", "head": "3"}]
    # In the file of the second side both places are there, and now have values of their own.
    assert [entry.name for entry in found.named(1, versions.sides[0].entries)] == ["emb", "head"]


def test_a_group_that_only_has_the_name_of_a_place_elsewhere_is_another_group() -> None:
    """The ancestor has two; one side tied them, and a group is gone that the other side may have changed."""
    versions = ties(model(emb="1", head="2"), model(emb="1", head="3"), model(head="2"), head="emb").untied()
    assert [told(side) for side in versions.sides] == [{"emb": "1", "head": "3"}, {"head": "2"}]
