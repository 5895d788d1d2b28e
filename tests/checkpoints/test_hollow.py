"""Files that are written without their values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.checkpoints import Values, formats, hollow
from git_theta.checkpoints.hollow import write_hollow
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.errors import PluginError
from git_theta.sources import BytesSource
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHAPES = {
    "a": ("float32", (300, 7)),
    "empty": ("float32", (0, 3)),
    "b": ("int8", (5000,)),
    "c": ("float32", ()),
}
FORMATS = [name for name in formats().builtins if name != "npy"]


def skeleton_of(format_name: str, data: bytes) -> bytes:
    source = BytesSource(data)
    return formats().get(format_name).scan(source).read_skeleton(source)


@pytest.mark.parametrize("name", FORMATS)
def test_layout_and_skeleton_are_those_of_the_whole_file(name: str) -> None:
    member = formats().get(name)
    generator = np.random.default_rng(0)
    zeros = {key: np.zeros(shape, dtype) for key, (dtype, shape) in SHAPES.items()}
    filled = {key: generator.integers(1, 9, array.shape).astype(array.dtype) for key, array in zeros.items()}
    files = [
        b"".join(member.write({key: Values(*SHAPES[key], array.tobytes()) for key, array in arrays.items()}, None))
        for arrays in (zeros, filled)
    ]
    skeletons = [skeleton_of(name, data) for data in files]
    layout, skeleton = write_hollow(member, SHAPES, skeletons[1])
    assert layout == member.scan(BytesSource(files[0]))
    # What depends on values is as of zeros, whatever file the skeleton was of.
    assert skeleton == skeletons[0]
    assert (skeletons[0] == skeletons[1]) is not getattr(member, "has_checksums", False)


def test_values_beside_the_groups_come_from_where_they_are_wanted() -> None:
    array = {"a": np.zeros((2, 3), np.float32)}
    one, two = (
        skeleton_of("safetensors", safetensors_bytes(array, metadata))
        for metadata in ({"x": "1", "y": "1", "z": "1"}, {"x": "2", "y": "2", "w": "2"})
    )
    donors = {f"__metadata__/{key}": two for key in "xzw"}
    _, skeleton = write_hollow(Safetensors(), {"a": ("float32", (2, 3))}, one, donors)
    assert json.loads(skeleton[8:])["__metadata__"] == {"w": "2", "x": "2", "y": "1"}


class Other(Safetensors):
    """Writes other groups than it is asked for."""

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        return super().write({f"{name}!": values for name, values in groups.items()}, skeleton)


def test_format_that_writes_something_else_is_found_out() -> None:
    skeleton = skeleton_of("safetensors", safetensors_bytes({}))
    with pytest.raises(PluginError, match="does not write the groups that were asked for"):
        write_hollow(Other(), {"a": ("float32", (2,))}, skeleton)


def test_format_that_cannot_mix_says_so() -> None:
    with pytest.raises(PluginError, match=r"there is no value 'a' in an \.npy file"):
        write_hollow(formats().get("npy"), {}, b"", {"a": b""})


def test_absurd_group_takes_no_memory() -> None:
    with pytest.raises(PluginError, match="too large to be put into a new file"):
        write_hollow(Safetensors(), {"a": ("uint8", (hollow._LARGEST + 1,))}, b"")
