"""Tools that work on lines mix two versions of a metadata file: what comes of that is refused, or right to the name.

`git add -p`, `git apply`, a merge on a machine without the merge driver, and an editor know nothing of skeletons. So
all files are tried that can be made of the lines of two versions, and real libraries say what the checkpoints hold.
"""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.serialization
import numpy as np
import pytest
import torch

from git_theta import tensors
from git_theta.errors import MetadataError
from git_theta.metadata_file import parse, serialize
from tests.checkpoints.samples import KITS, gguf_bytes, npy, npz, torch_save
from tests.flows.test_smudge import Scene
from tests.test_metadata_file import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from git_theta.metadata import Metadata
    from tests.checkpoints.samples import Array

    Save = Callable[[Mapping[str, Any]], bytes]


def numbers(seed: int, dtype: str = "float32", shape: tuple[int, ...] = (2, 3)) -> Array:
    return np.random.default_rng(seed).integers(1, 99, shape).astype(dtype)


X, Y, Z, V, W = map(numbers, range(5))
TALL, INTEGERS = numbers(0, shape=(3, 2)), X.view("int32")

PAIRS: dict[str, tuple[dict[str, Array], dict[str, Array]]] = {
    "in another order": ({"a": X, "b": Y, "c": Z}, {"b": Y, "a": X, "c": Z}),
    "all in other places": ({"a": X, "b": Y, "c": Z}, {"c": Z, "a": X, "b": Y}),
    "renamed": ({"a": X, "b": Y, "c": Z}, {"a": X, "d": Y, "c": Z}),
    "swapped values": ({"a": X, "b": Y, "c": Z}, {"a": Y, "b": X, "c": Z}),
    "other values of one": ({"a": X, "b": Y, "c": Z}, {"a": V, "b": Y, "c": Z}),
    "other values of two": ({"a": X, "b": Y, "c": Z}, {"a": V, "b": Y, "c": W}),
    "other values of one, in another order": ({"a": X, "b": Y, "c": Z}, {"b": Y, "a": V, "c": Z}),
    "another dtype": ({"a": X, "b": Y, "c": Z}, {"a": INTEGERS, "b": Y, "c": Z}),
    "swapped dtypes": ({"a": INTEGERS, "b": Y, "c": Z}, {"a": X, "b": Y.view("int32"), "c": Z}),
    "another shape": ({"a": X, "b": Y, "c": Z}, {"a": TALL, "b": Y, "c": Z}),
    "swapped shapes": ({"a": TALL, "b": X, "c": Z}, {"a": X, "b": TALL, "c": Z}),
}


def _safetensors(arrays: Mapping[str, Array]) -> bytes:
    """In the order given, which the library would sort."""
    header, values = {}, b""
    for name, array in arrays.items():
        dtype = {"float32": "F32", "int32": "I32"}[array.dtype.name]
        place = [len(values), len(values) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": place}
        values += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + values


def _torch(arrays: Mapping[str, Array], *, is_zip: bool) -> bytes:
    """Arrays that are one in memory are tied tensors."""
    made = {id(array): torch.from_numpy(array.copy()) for array in arrays.values()}
    return torch_save({name: made[id(array)] for name, array in arrays.items()}, is_zip=is_zip)


SAVES: dict[str, Save] = {
    "safetensors": _safetensors,
    "torch": partial(_torch, is_zip=True),
    "torch-legacy": partial(_torch, is_zip=False),
    "npy": lambda arrays: npy(arrays["a"]),
    "npz": npz,
    "gguf": gguf_bytes,
    "flax": flax.serialization.msgpack_serialize,
}
CHECKSUMMED = ("torch", "npz")
every_format = pytest.mark.parametrize("name", SAVES)


def test_no_format_is_left_out() -> None:
    assert SAVES.keys() == KITS.keys()


@every_format
@pytest.mark.parametrize(("before", "after"), PAIRS.values(), ids=PAIRS)
def test_lines_of_two_versions_are_refused_or_a_checkpoint_with_each_groups_own_values(
    tmp_path: Path, name: str, before: dict[str, Array], after: dict[str, Array]
) -> None:
    check(tmp_path, name, SAVES[name](before), SAVES[name](after))


@pytest.mark.parametrize("name", ["torch", "torch-legacy"])
def test_lines_of_two_versions_that_tie_other_groups_are_refused(tmp_path: Path, name: str) -> None:
    save = SAVES[name]
    check(tmp_path, name, save({"a": X, "b": X, "c": Y}), save({"a": X, "b": Y, "c": Y}))


@pytest.mark.parametrize("name", [name for name in SAVES if name != "npy"])
def test_values_of_different_groups_mix_whatever_skeleton_they_have(tmp_path: Path, name: str) -> None:
    before, after = PAIRS["other values of two"]
    heads = 2 if name in CHECKSUMMED else 1
    assert check(tmp_path, name, SAVES[name](before), SAVES[name](after)) >= 4 * heads


def test_a_skeleton_before_groups_of_another_order_is_refused_with_what_to_do(tmp_path: Path) -> None:
    before, after = (serialize(Scene(tmp_path).clean(_safetensors(arrays))) for arrays in PAIRS["in another order"])
    for one, other in itertools.permutations((before, after)):
        mixed = one.replace(one.split(b"\n")[2], other.split(b"\n")[2])
        refused(mixed, "mixes lines of two versions", "names, dtypes, shapes or places", "git checkout COMMIT -- FILE")


def check(folder: Path, name: str, before: bytes, after: bytes) -> int:
    """Try every mixture; returns the number of those that were taken."""
    scene = Scene(folder)
    versions = [scene.clean(data) for data in (before, after)]
    assert {version.format for version in versions} == {name}
    taken = 0
    for mixture in mixtures(*map(serialize, versions)):
        try:
            metadata = parse(mixture)
        except MetadataError:
            continue
        taken += 1
        assert_holds_what_it_says(name, scene.smudge(metadata), metadata)
    assert taken >= len({before, after})
    return taken


def mixtures(before: bytes, after: bytes) -> Iterator[bytes]:
    """Whatever can be made of the lines of two metadata files, in any order, with commas where they belong."""
    old, new = (data.decode().split("\n") for data in (before, after))
    groups = list(dict.fromkeys(line.removesuffix(",") for line in (*old[4:-2], *new[4:-2])))
    heads = list(itertools.product(*(dict.fromkeys(pair) for pair in zip(old[:4], new[:4], strict=True))))
    for count in range(max(len(old), len(new)) - 5):
        for lines in itertools.permutations(groups, count):
            for head in heads:
                yield "\n".join([*head, *",\n".join(lines).split("\n"), "]}", ""]).encode()


def assert_holds_what_it_says(name: str, data: bytes, metadata: Metadata) -> None:
    """What the real library finds under each name is what the line of that name promises."""
    found = KITS[name].load(data)
    assert {key: (values.dtype, values.shape, tensors.digest(values.data)) for key, values in found.items()} == {
        entry.name: (entry.dtype, entry.shape, entry.digest) for entry in metadata.entries
    }
    if name in CHECKSUMMED:
        assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
