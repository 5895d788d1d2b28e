"""Skeletons with the checksums of other values: a checkout mends them, or says who could."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from git_theta.checkpoints import Checksummed, Format, formats
from git_theta.checkpoints.npz import Npz
from git_theta.errors import CorruptObjectError, PluginError
from git_theta.flows.checksums import are_alike, refitted
from git_theta.flows.merging.values import Inputs
from git_theta.metadata_file import serialize
from git_theta.registry import Family
from git_theta.updates.reading import Readers
from tests.checkpoints.samples import array, npz
from tests.flows.test_smudge import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.metadata import Metadata

OLD, NEW = (npz({"a": array("float32", 2, 3, seed=seed), "b": array("int8", 4)}) for seed in (1, 2))


def mixed(scene: Scene, *, inline: bool = True) -> Metadata:
    """The new groups behind the old skeleton."""
    return replace(scene.clean(OLD, inline=inline), entries=scene.clean(NEW).entries)


def inputs(scene: Scene) -> Inputs:
    return Inputs("model.npz", Readers(scene.store, scene.types))


def only(member: object) -> Family[Format]:
    members: dict[str, Any] = {"npz": member}
    return Family("checkpoint format", "no.such.group", {}, members)


@pytest.mark.parametrize("inline", [True, False])
def test_checkout_of_new_values_behind_an_old_skeleton_is_the_new_file(tmp_path: Path, inline: bool) -> None:
    scene = Scene(tmp_path)
    metadata = mixed(scene, inline=inline)
    assert not metadata.is_fitted
    assert scene.smudge(metadata) == NEW
    assert not scene.cache_directory.exists()


def test_skeletons_that_differ_in_checksums_alone_are_alike(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    metadata, new = mixed(scene), scene.clean(NEW).skeleton.inline
    old = metadata.skeleton.inline
    assert old is not None
    assert new is not None
    assert old != new
    assert are_alike(metadata, old, new, formats())
    stamp = new.index(b"PK\3\4") + 10
    other = new[:stamp] + bytes([new[stamp] ^ 1]) + new[stamp + 1 :]
    assert not are_alike(metadata, old, other, formats())


def test_format_that_cannot_tell_where_its_checksums_are_is_named_with_what_to_do(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    member = SimpleNamespace(name="npz", has_checksums=True)
    assert not isinstance(member, Checksummed)
    with pytest.raises(PluginError, match=r"the format npz cannot tell where they are: take one version whole"):
        refitted(mixed(scene), b"", inputs(scene), only(member))


def test_plug_in_that_fails_is_named(tmp_path: Path) -> None:
    class Failing(Npz):
        def with_checksums(self, *_: object) -> bytes:
            raise OSError("no luck")

    scene = Scene(tmp_path)
    with pytest.raises(PluginError, match="the plug-in 'npz' failed to put checksums into the file: OSError: no luck"):
        refitted(mixed(scene), b"", inputs(scene), only(Failing()))


def test_values_that_are_damaged_stop_the_checkout_before_its_first_byte(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    metadata = mixed(scene)
    for ref in metadata.objects():
        scene.write(ref.oid, scene.store.path(ref.oid).read_bytes()[:-1] + b"?")
    delivered = scene.smudger().smudge(metadata, serialize(metadata), "model.npz")
    with pytest.raises(CorruptObjectError, match=r"model\.npz: group 'a'"):
        next(delivered)
