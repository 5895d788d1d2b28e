"""Keeping a checkpoint: what is kept already stays as it is, and what is new builds on its own earlier versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints import formats
from git_theta.checkpoints.digests import digest_again
from git_theta.checkpoints.scan import scan
from git_theta.errors import ChangedWhileReadingError
from git_theta.flows.intake import Intake
from git_theta.flows.keeping import Keeper, Wish
from git_theta.flows.known import Elsewhere
from git_theta.git.repository import Repository
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update
from git_theta.sources import BytesSource
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group
from git_theta.updates.choose import Limits
from tests.helpers import Repo, safetensors_bytes
from tests.updates.scene import Scene, normal, types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from git_theta.flows.keeping import Kept

PATH = "model.safetensors"

Groups = dict[str, Any]


def intake_of(groups: Groups) -> Intake:
    """A checkpoint that has been read."""
    source = BytesSource(safetensors_bytes(groups))
    found = scan(source, PATH, formats())
    return Intake(source, found, digest_again(source, found.layout))


@dataclass
class Keeping:
    """A repository without a commit, and its store."""

    repo: Repo
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.store = ObjectStore(self.repo.path / ".git" / "theta")
        self.scene = Scene(self.store)

    def keep(
        self, groups: Groups, *before: Metadata, wish: Wish | None = None, skeleton: bytes | None = None
    ) -> dict[str, Kept]:
        """How each group is kept, by name; checks that its values come back."""
        intake = intake_of(groups)
        repository = Repository.discover(self.repo.path)
        keeper = Keeper(repository, self.store, self.limits, Elsewhere(repository))
        kept = keeper.keep(intake, PATH, before, skeleton, wish or Wish())
        for span, digest in zip(intake.scan.layout.spans, intake.digests.groups, strict=True):
            found = self.scene.read(kept[digest].update, Group(span.dtype, span.shape))
            assert tensors.digest(found) == digest
        named = zip(intake.scan.layout.spans, intake.digests.groups, strict=True)
        return {span.name: kept[digest] for span, digest in named} | {
            digest: found for digest, found in kept.items() if digest not in intake.digests.groups
        }

    def version(self, groups: Groups, *before: Metadata) -> Metadata:
        """A metadata file of kept groups."""
        intake, kept = intake_of(groups), self.keep(groups, *before)
        layout, digests = intake.scan.layout, intake.digests
        entries = tuple(
            Entry(span.name, span.dtype, span.shape, digest, lead, kept[span.name].update, kept[span.name].signature)
            for span, lead, digest in zip(layout.spans, layout.leads(), digests.groups, strict=True)
        )
        inline = Skeleton(len(digests.skeleton), tensors.digest(digests.skeleton), digests.skeleton, None)
        return Metadata(layout.format, layout.size, inline, entries)

    def written(self) -> Sequence[str]:
        return sorted(self.repo.objects())


@pytest.fixture
def keeping(repo: Repo) -> Keeping:
    return Keeping(repo)


def edited(array: Any, seed: int = 0) -> Any:
    new = array.copy()
    new.reshape(-1)[np.random.default_rng(seed).choice(array.size, 5, replace=False)] += 1
    return new


def product(array: Any) -> Any:
    return (array + 0.05 * np.outer(np.arange(len(array)) % 7, np.arange(array.shape[1]) % 5)).astype(array.dtype)


BASE = {"a": normal((60, 70)), "b": normal((60, 70), "float16", 1), "n": np.arange(400), "empty": np.zeros((0, 3))}


def test_first_version_is_dense(keeping: Keeping) -> None:
    kept = keeping.keep(BASE)
    assert {tuple(types(found.update)) for found in kept.values()} == {("dense",)}


def test_group_without_changes_keeps_its_entry_and_nothing_is_written(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    written = keeping.written()
    assert keeping.version(BASE, first) == first
    assert keeping.version({**BASE}, keeping.version(BASE, first), first) == first
    assert keeping.written() == written


def test_changed_group_builds_on_its_version_and_others_stay(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    second = keeping.version({**BASE, "a": edited(BASE["a"])}, first)
    new, old = second.by_name(), first.by_name()
    assert new["a"].update.type == "sparse"
    assert new["a"].update.bases == (old["a"].update,)
    assert all(new[name] == old[name] for name in ("b", "n", "empty"))


def test_nearest_of_several_versions_is_built_on(keeping: Keeping) -> None:
    far, near = keeping.version({"a": normal((60, 70), seed=8)}), keeping.version({"a": normal((60, 70), seed=9)})
    new = {"a": edited(normal((60, 70), seed=9))}
    assert keeping.keep(new, near, far)["a"].update.bases == (near.by_name()["a"].update,)


def test_version_in_head_is_built_on_before_all_others(keeping: Keeping) -> None:
    repo = keeping.repo
    repo.theta("track", "*.safetensors")
    repo.write(PATH, safetensors_bytes(BASE))
    repo.commit("base")
    other = keeping.version({**BASE, "a": normal((60, 70), seed=9)})
    kept = keeping.keep({**BASE, "a": edited(BASE["a"])}, other)
    assert types(kept["a"].update) == ["sparse", "dense"]


def test_group_that_moved_to_another_name_keeps_its_update(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    written = keeping.written()
    kept = keeping.keep({"z": BASE["a"], "y": BASE["b"]}, first)
    assert kept["z"].update == first.by_name()["a"].update
    assert kept["y"].update == first.by_name()["b"].update
    assert keeping.written() == written


def test_group_of_another_name_is_not_built_on(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    assert types(keeping.keep({"z": edited(BASE["a"])}, first)["z"].update) == ["dense"]


@pytest.mark.parametrize("change", ["dtype", "shape", "both"])
def test_version_of_another_dtype_or_shape_is_not_built_on(keeping: Keeping, change: str) -> None:
    first = keeping.version(BASE)
    new = edited(BASE["a"])
    new = new.view(np.int32) if change != "shape" else new
    new = new.reshape(70, 60) if change != "dtype" else new
    assert types(keeping.keep({**BASE, "a": new}, first)["a"].update) == ["dense"]


@pytest.mark.parametrize("change", ["dtype", "shape"])
def test_update_with_a_base_is_not_taken_for_the_same_bytes_of_another_dtype_or_shape(
    keeping: Keeping, change: str
) -> None:
    """It would give other values there."""
    first = keeping.version(BASE)
    second = keeping.version({**BASE, "a": product(BASE["a"])}, first)
    assert "low-rank" in types(second.by_name()["a"].update)
    new = product(BASE["a"])
    other = new.view(np.int32) if change == "dtype" else new.reshape(70, 60)
    for groups in ({"a": other}, {"z": other}, {"a": new, "z": other}, {"a": other, "z": new}):
        kept = keeping.keep(groups, second, first)
        assert {tuple(types(found.update)) for found in kept.values()} == {("dense",)}


def test_dense_update_is_taken_for_the_same_bytes_of_another_dtype_or_shape(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    written = keeping.written()
    for other in (BASE["a"].view(np.int32), BASE["a"].reshape(70, 60), BASE["a"].reshape(-1)):
        assert keeping.keep({"z": other}, first)["z"].update == first.by_name()["a"].update
    assert keeping.written() == written


def test_same_new_bytes_in_two_shapes_are_kept_whole_and_once(keeping: Keeping) -> None:
    first = keeping.version({"a": BASE["a"], "z": BASE["a"].reshape(70, 60)})
    new = edited(BASE["a"])
    kept = keeping.keep({"a": new, "z": new.reshape(70, 60)}, first)
    assert kept["a"] == kept["z"]
    assert types(kept["a"].update) == ["dense"]


def test_same_new_bytes_in_one_shape_are_kept_once(keeping: Keeping) -> None:
    first = keeping.version({"a": BASE["a"], "z": BASE["a"]})
    new = edited(BASE["a"])
    kept = keeping.keep({"a": new, "z": new}, first)
    assert kept["a"] == kept["z"]
    assert types(kept["a"].update) == ["sparse", "dense"]


def test_entry_whose_objects_are_lost_is_stored_anew_and_not_built_on(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    for path in keeping.repo.objects().values():
        path.unlink()
    kept = keeping.keep({**BASE, "b": edited(BASE["b"])}, first)
    assert {tuple(types(found.update)) for found in kept.values()} == {("dense",)}


def test_entry_whose_base_is_lost_is_stored_anew(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    new = {**BASE, "a": edited(BASE["a"])}
    second = keeping.version(new, first)
    lost = first.by_name()["a"].update.object
    assert lost is not None
    keeping.store.path(lost.oid).unlink()
    assert types(keeping.keep({"a": new["a"]}, second)["a"].update) == ["dense"]


def test_entry_that_lies_about_its_digest_is_not_built_on(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    other = keeping.version({**BASE, "a": edited(BASE["a"], 5)})
    entries = (replace(first.by_name()["a"], update=other.by_name()["a"].update),)
    lying = replace(first, entries=entries)
    assert types(keeping.keep({"a": edited(BASE["a"])}, lying)["a"].update) == ["dense"]


def test_entry_of_an_unknown_type_of_update_is_not_built_on(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    entry = first.by_name()["a"]
    foreign = replace(entry, update=Update("shear", entry.update.object, (entry.update,)))
    assert types(keeping.keep({"a": edited(BASE["a"])}, replace(first, entries=(foreign,)))["a"].update) == ["dense"]


def test_empty_group_has_no_object_in_any_version(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    second = keeping.version({**BASE, "empty": np.zeros((0, 5))}, first)
    assert second.by_name()["empty"].update == Update("dense", None)


def test_limits_of_chains_are_obeyed(keeping: Keeping) -> None:
    keeping.limits = Limits(1)
    first = keeping.version(BASE)
    second = keeping.version({"a": edited(BASE["a"])}, first)
    third = keeping.version({"a": edited(edited(BASE["a"]), 1)}, second)
    assert [types(found.by_name()["a"].update) for found in (first, second, third)] == [
        ["dense"],
        ["sparse", "dense"],
        ["dense"],
    ]


def test_kind_that_is_wished_for_is_taken(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    new = {**BASE, "a": edited(BASE["a"])}
    assert types(keeping.keep(new, first, wish=Wish("dense"))["a"].update) == ["dense"]
    assert types(keeping.keep(new, first, wish=Wish("sparse"))["a"].update) == ["sparse", "dense"]


def test_kept_update_is_decided_anew_only_if_that_is_wished_for(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    new = {**BASE, "a": edited(BASE["a"])}
    second = keeping.version(new, first)
    assert types(keeping.keep(new, second, wish=Wish("dense"))["a"].update) == ["sparse", "dense"]
    assert types(keeping.keep(new, second, wish=Wish("dense", anew=True))["a"].update) == ["dense"]


def test_large_skeleton_is_kept_like_a_group_and_found_again(keeping: Keeping) -> None:
    skeleton = np.random.default_rng(0).bytes(100_000)
    digest = tensors.digest(skeleton)
    update = keeping.keep(BASE, skeleton=skeleton)[digest].update
    assert keeping.scene.read(update, Group("uint8", (len(skeleton),))) == skeleton
    known = replace(keeping.version(BASE), skeleton=Skeleton(len(skeleton), digest, None, update))
    written = keeping.written()
    assert keeping.keep(BASE, known, skeleton=skeleton)[digest].update == update
    assert keeping.written() == written


def test_values_with_distances_have_signatures_and_their_own(keeping: Keeping) -> None:
    first = keeping.version(BASE).by_name()
    assert first["a"].signature is not None
    assert first["b"].signature is not None
    assert first["a"].signature != first["b"].signature
    same = keeping.keep({"z": BASE["a"].view(np.int32)}, keeping.version(BASE))["z"]
    assert same.signature is None


def test_file_that_changes_meanwhile_is_an_error_and_nothing_wrong_is_kept(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    honest = intake_of({**BASE, "a": edited(BASE["a"])})
    changed = bytearray(honest.source.read(0, honest.source.size))
    (place,) = (span.start for span in honest.scan.layout.spans if span.name == "a")
    changed[place] ^= 1
    repository = Repository.discover(keeping.repo.path)
    keeper = Keeper(repository, keeping.store, Limits(), Elsewhere(repository))
    for before in ((), (first,)):
        with pytest.raises(ChangedWhileReadingError):
            keeper.keep(replace(honest, source=BytesSource(bytes(changed))), PATH, before, None, Wish())


def test_object_of_another_size_counts_as_lost(keeping: Keeping) -> None:
    first = keeping.version(BASE)
    entry = first.by_name()["a"]
    assert entry.update.object is not None
    ref = ObjectRef(entry.update.object.oid, entry.update.object.size + 1, entry.update.object.start)
    wrong = replace(first, entries=(replace(entry, update=replace(entry.update, object=ref)),))
    assert keeping.keep({"a": BASE["a"]}, wrong)["a"].update == entry.update
