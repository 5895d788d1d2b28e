"""Files that are kept by value merge by their stand-ins, and load in the plug-in's own way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta.checkpoints import Checkpoint
from git_theta.errors import MergeError
from git_theta.registry import Family
from tests.flows.merging.world import World, normal

if TYPE_CHECKING:
    from git_theta.metadata import Metadata
    from tests.helpers import Repo


class Nested(Checkpoint):
    """Nested dicts of arrays as JSON: dtype, shape and bytes."""

    extensions = (".nested",)

    @classmethod
    def load(cls, file: Any) -> Any:
        return json.loads(file.read())

    @classmethod
    def from_framework(cls, native: Any) -> Checkpoint:
        return cls({key: cls.part(value) for key, value in native.items()})

    @classmethod
    def part(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cls.part(part) for key, part in value.items()}
        dtype, shape, data = value
        return np.frombuffer(bytes.fromhex(data), dtype).reshape(shape)

    def to_framework(self) -> Any:
        return tree(self)

    def save(self, file: Any) -> None:
        file.write(json.dumps(self.to_framework()).encode())


class Plugins(Family[Any]):
    """A family of plug-ins that are not installed as packages."""

    def names(self) -> tuple[str, ...]:
        return tuple(self.loaded)


def tree(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: tree(part) for key, part in value.items()}
    return [value.dtype.str, list(value.shape), value.tobytes().hex()]


@pytest.fixture
def world(repo: Repo) -> World:
    return World(repo, "model.nested", Plugins("format", "none", {}, {"nested": Nested()}))


def version(world: World, content: Any) -> Metadata:
    found = world.clean(json.dumps(tree(content)).encode())
    assert found.format == "by-value:nested"
    return found


def content_of(world: World, metadata: Metadata) -> Any:
    return json.loads(world.smudge(metadata))


A, B, C = normal(30, 20, seed=1), normal(400, seed=2), normal(500, seed=3)
TEXT = np.array(["abc", "d"])


def test_values_of_both_sides_are_taken_and_merged(world: World) -> None:
    base, ours, theirs = (
        version(world, {"x": {"a": A + one, "c": C}, "b": B + two}) for one, two in ((0, 0), (1, 0), (2, 1))
    )
    merged = world.merged(base, ours, theirs, by="theirs")
    assert content_of(world, merged) == tree({"x": {"a": A + 2, "c": C}, "b": B + 1})
    merged = world.merged(base, ours, theirs, by="average")
    assert merged.by_name()["x/a"].update.type == "linear"


def test_groups_that_both_added_and_removed_are_laid_out_by_path(world: World) -> None:
    base = version(world, {"a": A, "b": B, "names": TEXT, "none": {}})
    ours = version(world, {"a": A, "names": TEXT, "z": C, "none": {}, "void": {}})
    theirs = version(world, {"a": A + 1, "b": B, "names": TEXT, "m": TEXT[:1], "none": {"c": C}})
    for sides in ((ours, theirs), (theirs, ours)):
        found = content_of(world, world.merged(base, *sides))
        assert found == tree({"a": A + 1, "m": TEXT[:1], "names": TEXT, "none": {"c": C}, "void": {}, "z": C})


def test_group_inside_of_another_is_refused_before_it_is_written(world: World) -> None:
    base, ours, theirs = (version(world, content) for content in ({"b": B}, {"b": B, "a": A}, {"b": B, "a": {"c": C}}))
    with pytest.raises(MergeError, match="'a/c' would lie inside of another group: take all of the file"):
        world.merge(base, ours, theirs)
