"""Putting checkpoints together: the very same bytes, or an error that says what is wrong, where, and what to do."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints import formats, has_checksums, opaque
from git_theta.checkpoints.digests import digest_again
from git_theta.checkpoints.scan import scan
from git_theta.errors import CorruptObjectError, MissingObjectError, ObjectError, PluginError, ThetaError, TransferError
from git_theta.flows.smudge import Smudger
from git_theta.layout import Layout, Span
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update, content_key, values_digest
from git_theta.metadata_file import parse, serialize
from git_theta.registry import Family
from git_theta.sources import BytesSource
from git_theta.store import handover
from git_theta.store.arrays import SHARED_BYTES, Ready
from git_theta.store.cache import MetadataCache
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, Reader, UpdateType, update_types
from git_theta.updates.linear import Linear
from git_theta.updates.payloads import SMALL_BYTES
from git_theta.updates.wanted import Wanted, keep
from tests.helpers import model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PATH = "models/model.safetensors"


class Scene:
    """A store, a cache, and a remote that has objects as well."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(folder / "theta")
        self.cache_directory = folder / "theta" / "cache"
        self.cache = MetadataCache(self.cache_directory)
        self.remote: dict[str, bytes] = {}
        self.fetched: list[list[str]] = []
        self.types = update_types()

    def clean(self, data: bytes, layout: Layout | None = None, *, inline: bool = True) -> Metadata:
        """Keep a checkpoint, by the layout that its format finds unless one is given."""
        source = BytesSource(data)
        found = layout or scan(source, PATH, formats()).layout
        digests = digest_again(source, found)
        wanted = [
            Wanted(source, span.start, span.nbytes, tensors.itemsize(span.dtype), digest)
            for span, digest in zip(found.spans, digests.groups, strict=True)
        ]
        skeleton = tensors.digest(digests.skeleton)
        if not inline:
            wanted.append(Wanted(BytesSource(digests.skeleton), 0, len(digests.skeleton), 1, skeleton))
        kept = keep(wanted, self.store)
        entries = tuple(
            Entry(span.name, span.dtype, span.shape, digest, lead, kept[digest])
            for span, lead, digest in zip(found.spans, found.leads(), digests.groups, strict=True)
        )
        return Metadata(
            found.format,
            found.size,
            Skeleton(
                len(digests.skeleton),
                skeleton,
                digests.skeleton if inline else None,
                None if inline else kept[skeleton],
                values_digest(digests.groups) if has_checksums(formats(), found.format) else None,
            ),
            entries,
        )

    def smudger(self) -> Smudger:
        return Smudger(self.store, self.cache, self.types, self.fetch)

    def fetch(self, refs: Iterable[ObjectRef]) -> None:
        wanted = [ref.oid for ref in refs]
        self.fetched.append(wanted)
        for oid in wanted:
            if oid in self.remote:
                self.write(oid, self.remote[oid])

    def smudge(self, metadata: Metadata) -> bytes:
        return b"".join(bytes(piece) for piece in self.smudger().smudge(metadata, serialize(metadata), PATH))

    def fails(self, metadata: Metadata) -> ThetaError:
        """The error that smudging ends with; the last bytes are kept back, so that the rest is seen to be too short."""
        pieces = self.smudger().smudge(metadata, serialize(metadata), PATH)
        delivered = bytearray()
        with pytest.raises(ThetaError) as caught:
            drain(pieces, delivered)
        assert len(delivered) < max(1, metadata.size)
        assert str(caught.value).isprintable()
        assert not self.cache_directory.exists()
        return caught.value

    def write(self, oid: str, data: bytes) -> None:
        """Put bytes in the place of an object."""
        path = self.store.path(oid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def lose(self, oid: str) -> None:
        """Leave an object to the remote alone."""
        self.remote[oid] = self.store.path(oid).read_bytes()
        self.store.path(oid).unlink()


def drain(pieces: Iterable[bytes | memoryview], delivered: bytearray) -> None:
    """Take pieces one by one, so that what came before an error is seen."""
    for piece in pieces:
        delivered += bytes(piece)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def ref_of(metadata: Metadata, name: str) -> ObjectRef:
    if name == "(skeleton)":
        update = metadata.skeleton.update
    else:
        (update,) = [entry.update for entry in metadata.entries if entry.name == name]
    assert update is not None
    assert update.object is not None
    return update.object


def with_update(metadata: Metadata, name: str, update: Update) -> Metadata:
    """The same metadata, but one group is got in another way."""
    entries = [replace(entry, update=update) if entry.name == name else entry for entry in metadata.entries]
    return replace(metadata, entries=tuple(entries))


def assert_helpful(error: ThetaError, name: str, oid: str) -> None:
    """It names the path, the group, the object, and a command that may help."""
    assert PATH in str(error)
    assert name in str(error)
    assert oid in str(error)
    assert "git theta " in str(error)
    assert str(error).count(PATH) == 1


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


LARGE = np.frombuffer(noise(4 * (SHARED_BYTES // 2)), np.int32)
MIDDLE = np.frombuffer(noise(SMALL_BYTES + 64), np.int16)
CHECKPOINT = safetensors_bytes({**model(0), "large": LARGE, "middle": MIDDLE}, {"comment": "kept"})
GROUPS = ["attn_weight", "attn_bias", "step", "large", "middle"]
every_group = pytest.mark.parametrize("name", GROUPS)


# --- byte for byte --------------------------------------------------------------------------------------------------

FILES = {
    "model": CHECKPOINT,
    "no groups": safetensors_bytes({}, {"only": "a comment"}),
    "only groups without values": safetensors_bytes({"a": np.zeros((0, 3), np.float32), "b": np.zeros(0, np.int8)}),
    "one number": safetensors_bytes({"a": np.array(1.5)}),
    "tied weights": safetensors_bytes({"a": MIDDLE, "b": MIDDLE, "c": MIDDLE[:10], "d": MIDDLE[:10]}),
    "equal bytes of different dtypes": safetensors_bytes({"a": np.zeros(40_000), "b": np.zeros(80_000, np.float32)}),
    "opaque": noise(100_000),
    "opaque and large": noise(SHARED_BYTES + 12345),
    "one byte": b"x",
    "no bytes": b"",
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_checkpoint_is_put_together_byte_for_byte(scene: Scene, data: bytes) -> None:
    metadata = scene.clean(data)
    assert parse(serialize(metadata)) == metadata
    assert scene.smudge(metadata) == data
    assert scene.fetched == []


def test_skeleton_behind_an_update_is_put_in_its_place(scene: Scene) -> None:
    comments = {str(number): noise(100, number).hex() for number in range(1000)}
    data = safetensors_bytes(model(0), comments)
    metadata = scene.clean(data, inline=False)
    assert metadata.skeleton.inline is None
    assert scene.smudge(metadata) == data


@pytest.mark.parametrize("is_damaged", [False, True])
def test_what_a_merge_handed_over_is_verified_and_used_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    monkeypatch.setattr(handover, "_FREE_BYTES", 0)
    monkeypatch.setattr(handover, "MIN_BYTES", 1)
    between = handover.HandOver(scene.store.temporary_directory)
    values = np.frombuffer(noise(3 * BLOCK_ROWS * 4), "<f4").copy()
    values[~np.isfinite(values)] = 0
    data = safetensors_bytes({"whole": values})
    metadata = scene.clean(data)
    (entry,) = metadata.entries
    summed = Update("linear", None, (entry.update,), (("weights", (1.0,)),))
    metadata = with_update(metadata, "whole", summed)
    with between.giving(values.nbytes) as gift:
        assert gift is not None
        gift.write((np.zeros_like(values) if is_damaged else values).view(np.uint8).data)
        gift.complete(entry.digest)
    smudger = replace(scene.smudger(), handover=between)
    if is_damaged:
        with pytest.raises(CorruptObjectError, match="try again"):
            list(smudger.smudge(metadata, serialize(metadata), PATH))
    else:
        monkeypatch.setattr(Linear, "blocks", None)
        assert b"".join(map(bytes, smudger.smudge(metadata, serialize(metadata), PATH))) == data
        monkeypatch.undo()
    assert not list(scene.store.temporary_directory().iterdir())
    assert b"".join(map(bytes, smudger.smudge(metadata, serialize(metadata), PATH))) == data


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    parts=st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from(["uint8", "float16", "int64", "complex128", "float6_e2m3fn"]),
            st.sampled_from([0, 1, 5, 5000]),
        ),
        max_size=8,
    ),
    tail=st.integers(0, 20),
    inline=st.booleans(),
)
def test_any_layout_is_put_together_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, parts: Any, tail: int, inline: bool
) -> None:
    scene = Scene(tmp_path_factory.mktemp("any"))
    spans, position = [], 0
    for number, (lead, dtype, count) in enumerate(parts):
        spans.append(Span(f"g{number}", dtype, (count, 4), position + lead))
        position = spans[-1].stop
    data = noise(position + tail)
    layout = Layout("test", len(data), tuple(spans))
    has_skeleton = tail + sum(lead for lead, _, _ in parts) > 0
    assert scene.smudge(scene.clean(data, layout, inline=inline or not has_skeleton)) == data


@pytest.mark.parametrize(("stored", "count"), [("uint8", 8), ("uint16", 4), ("uint32", 2)])
def test_group_whose_object_has_smaller_elements_does_not_disturb_the_one_before(
    scene: Scene, stored: str, count: int
) -> None:
    """Values of two dtypes may be the same bytes in one object; its blocks are smaller than the group's then."""
    first, second = noise(4 * BLOCK_ROWS * 4), noise(3 * BLOCK_ROWS * 8, 1)
    spans = (
        Span("first", "float32", (len(first) // 4,), 0),
        Span("second", "float64", (len(second) // 8,), len(first)),
    )
    metadata = scene.clean(first + second, Layout("opaque", len(first) + len(second), spans))
    small = Wanted(BytesSource(second), 0, len(second), tensors.itemsize(stored), tensors.digest(second))
    assert small.itemsize * count == 8
    update = keep([small], scene.store)[small.digest]
    assert scene.smudge(with_update(metadata, "second", update)) == first + second


def test_pieces_are_as_git_theta_sends_them_and_the_last_ones_come_late(scene: Scene) -> None:
    """A checkpoint is not held in memory: its first bytes come before its last object is read."""
    metadata = scene.clean(CHECKPOINT)
    pieces = scene.smudger().smudge(metadata, serialize(metadata), PATH)
    first = bytes(next(pieces))
    last = metadata.entries[-1]
    scene.write(ref_of(metadata, last.name).oid, b"")
    assert CHECKPOINT.startswith(first)
    with pytest.raises(ObjectError):
        list(pieces)


def test_the_metadata_file_is_remembered_when_all_bytes_were_right(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    key = content_key(metadata.layout(), metadata.skeleton.digest, tuple(entry.digest for entry in metadata.entries))
    pieces = scene.smudger().smudge(metadata, serialize(metadata), PATH)
    next(pieces)
    assert scene.cache.get(key) is None
    for _ in pieces:
        pass
    assert scene.cache.get(key) == serialize(metadata)


# --- objects that are not right -------------------------------------------------------------------------------------


def missing(scene: Scene, ref: ObjectRef) -> None:
    scene.store.path(ref.oid).unlink()


def emptied(scene: Scene, ref: ObjectRef) -> None:
    scene.write(ref.oid, b"")


def shortened(scene: Scene, ref: ObjectRef) -> None:
    scene.write(ref.oid, scene.store.path(ref.oid).read_bytes()[:-1])


def lengthened(scene: Scene, ref: ObjectRef) -> None:
    scene.write(ref.oid, scene.store.path(ref.oid).read_bytes() + b"x")


def overwritten(scene: Scene, ref: ObjectRef) -> None:
    scene.write(ref.oid, noise(ref.size))


def zeroed(scene: Scene, ref: ObjectRef) -> None:
    scene.write(ref.oid, bytes(ref.size))


def damaged_at(place: float) -> Callable[[Scene, ObjectRef], None]:
    def damage(scene: Scene, ref: ObjectRef) -> None:
        data = bytearray(scene.store.path(ref.oid).read_bytes())
        data[min(len(data) - 1, int(place * len(data)))] ^= 0x10
        scene.write(ref.oid, bytes(data))

    return damage


DAMAGE: dict[str, Callable[[Scene, ObjectRef], None]] = {
    "missing": missing,
    "emptied": emptied,
    "shortened": shortened,
    "lengthened": lengthened,
    "overwritten": overwritten,
    "zeroed": zeroed,
    "first byte": damaged_at(0),
    "middle byte": damaged_at(0.5),
    "late byte": damaged_at(0.9),
    "last byte": damaged_at(1),
}


@every_group
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_object_that_is_not_right_is_an_error_that_helps(
    scene: Scene, damage: Callable[[Scene, ObjectRef], None], name: str
) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, name)
    damage(scene, ref)
    error = scene.fails(metadata)
    assert isinstance(error, MissingObjectError if damage is missing else ObjectError)
    # Groups that share the object may come before the one that was damaged for the test.
    sharing = [entry.name for entry in metadata.entries if entry.update.object and entry.update.object.oid == ref.oid]
    assert_helpful(error, next(other for other in sharing if repr(other) in str(error)), ref.oid)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_object_of_the_skeleton_that_is_not_right_is_an_error_that_helps(
    scene: Scene, damage: Callable[[Scene, ObjectRef], None]
) -> None:
    metadata = scene.clean(CHECKPOINT, inline=False)
    ref = ref_of(metadata, "(skeleton)")
    damage(scene, ref)
    assert_helpful(scene.fails(metadata), "skeleton", ref.oid)


def test_skeleton_that_is_another_is_an_error_though_its_object_is_intact(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT, inline=False)
    wrong = replace(metadata, skeleton=replace(metadata.skeleton, digest="0" * 64))
    error = scene.fails(wrong)
    assert isinstance(error, CorruptObjectError)
    assert_helpful(error, "skeleton", ref_of(metadata, "(skeleton)").oid)
    assert "values" in str(error)


def test_random_damage_is_an_error_or_does_no_harm(scene: Scene) -> None:
    generator = random.Random(0)
    data = safetensors_bytes({"a": np.frombuffer(noise(2000), np.float32), "b": MIDDLE})
    metadata = scene.clean(data)
    good = {ref.oid: scene.store.path(ref.oid).read_bytes() for ref in metadata.objects()}
    errors = 0
    for _ in range(200):
        oid = generator.choice(sorted(good))
        damaged = bytearray(good[oid])
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        scene.write(oid, bytes(damaged))
        try:
            assert scene.smudge(metadata) == data
        except ObjectError:
            errors += 1
        scene.write(oid, good[oid])
    assert errors > 100


def test_two_objects_in_each_others_place_are_an_error(scene: Scene) -> None:
    """Of equal size, and good arrays both: only the digest of the values tells them apart."""
    data = safetensors_bytes({"a": LARGE, "b": LARGE[::-1].copy()})
    metadata = scene.clean(data)
    first, second = ref_of(metadata, "a"), ref_of(metadata, "b")
    assert first.size == second.size
    assert first.oid != second.oid
    one, other = (scene.store.path(ref.oid).read_bytes() for ref in (first, second))
    scene.write(first.oid, other)
    scene.write(second.oid, one)
    error = scene.fails(metadata)
    assert isinstance(error, CorruptObjectError)
    assert_helpful(error, "'a'", first.oid)
    assert "SHA-256" in str(error)


def test_swapped_object_of_another_size_is_an_error(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    first, second = ref_of(metadata, "large"), ref_of(metadata, "middle")
    scene.write(first.oid, scene.store.path(second.oid).read_bytes())
    assert_helpful(scene.fails(metadata), "'large'", first.oid)


@pytest.mark.parametrize(("name", "other"), [("norm_bias", "attn_bias"), ("embed_weight", "head_weight")])
def test_intact_object_with_other_values_is_an_error(scene: Scene, name: str, other: str) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, other)
    wrong = with_update(metadata, name, Update("dense", ref))
    scene.store.verify(ref)
    error = scene.fails(wrong)
    assert isinstance(error, CorruptObjectError)
    assert_helpful(error, repr(name), ref.oid)
    assert "values" in str(error)


@pytest.mark.parametrize("start", [1, 5, 2**40])
@pytest.mark.parametrize("name", ["attn_bias", "large"])
def test_other_rows_of_the_right_object_are_an_error(scene: Scene, name: str, start: int) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, name)
    wrong = with_update(metadata, name, Update("dense", replace(ref, start=ref.start + start)))
    assert_helpful(scene.fails(wrong), repr(name), ref.oid)


def test_size_that_the_metadata_file_has_wrong_is_an_error(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, "large")
    wrong = with_update(metadata, "large", Update("dense", replace(ref, size=ref.size + 1)))
    assert_helpful(scene.fails(wrong), "'large'", ref.oid)


def test_empty_group_with_the_digest_of_something_is_an_error(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    entries = [replace(entry, digest="0" * 64) if not entry.nbytes else entry for entry in metadata.entries]
    error = scene.fails(replace(metadata, entries=tuple(entries)))
    assert PATH in str(error)
    assert "'empty'" in str(error)


def test_object_that_is_damaged_while_it_is_read_is_an_error(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    pieces = scene.smudger().smudge(metadata, serialize(metadata), PATH)
    delivered = bytearray()
    drain((next(pieces) for _ in range(3)), delivered)
    for ref in metadata.objects():
        overwritten(scene, ref)
    with pytest.raises(ObjectError):
        drain(pieces, delivered)
    assert CHECKPOINT.startswith(bytes(delivered))


# --- fetching -------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_fetched_at_once_and_nothing_else(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    lost = [ref_of(metadata, name).oid for name in ("large", "attn_weight")]
    for oid in lost:
        scene.lose(oid)
    assert scene.smudge(metadata) == CHECKPOINT
    assert [sorted(oids) for oids in scene.fetched] == [sorted(lost)]


def test_everything_is_fetched_into_a_store_without_objects(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT, inline=False)
    oids = [ref.oid for ref in metadata.objects()]
    for oid in oids:
        scene.lose(oid)
    assert scene.smudge(metadata) == CHECKPOINT
    assert [sorted(wanted) for wanted in scene.fetched] == [sorted(oids)]


def test_equal_groups_kept_in_different_objects_need_both(scene: Scene) -> None:
    """As after a merge where both sides made a group equal to another."""
    small = np.frombuffer(noise(4000), np.float32)
    one = scene.clean(safetensors_bytes({"a": small}))
    data = safetensors_bytes({"a": small, "b": small})
    metadata = with_update(scene.clean(data), "a", Update("dense", ref_of(one, "a")))
    packed = scene.clean(safetensors_bytes({"z": np.ones(7, np.float32), "b": small}))
    metadata = with_update(metadata, "b", Update("dense", ref_of(packed, "b")))
    assert ref_of(metadata, "a").oid != ref_of(metadata, "b").oid
    scene.lose(ref_of(metadata, "a").oid)
    scene.lose(ref_of(metadata, "b").oid)
    assert scene.smudge(metadata) == data


@every_group
def test_object_that_cannot_be_fetched_is_named_before_anything_is_written(scene: Scene, name: str) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, name)
    missing(scene, ref)
    with pytest.raises(MissingObjectError) as caught:
        next(scene.smudger().smudge(metadata, serialize(metadata), PATH))
    assert ref.oid in str(caught.value)
    assert scene.fetched == [[ref.oid]]


def test_damaged_object_that_a_remote_sends_is_an_error(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, "large")
    scene.lose(ref.oid)
    scene.remote[ref.oid] = scene.remote[ref.oid][:-1]
    assert_helpful(scene.fails(metadata), "'large'", ref.oid)


def test_error_while_fetching_ends_smudging(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(refs: Iterable[ObjectRef]) -> None:  # noqa: ARG001
        raise TransferError("no network")

    metadata = scene.clean(CHECKPOINT)
    missing(scene, ref_of(metadata, "large"))
    monkeypatch.setattr(scene, "fetch", failing)
    assert isinstance(scene.fails(metadata), TransferError)


def test_object_that_was_damaged_is_right_again_after_it_was_fetched_anew(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    ref = ref_of(metadata, "large")
    good = scene.store.path(ref.oid).read_bytes()
    overwritten(scene, ref)
    scene.fails(metadata)
    scene.store.set_aside(ref)
    scene.remote[ref.oid] = good
    assert scene.smudge(metadata) == CHECKPOINT


# --- types of updates -----------------------------------------------------------------------------------------------


class Fake:
    """A type of update that gives the blocks it was told to."""

    name = "fake"
    is_in_step = True

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Ready]:  # noqa: ARG002
        return (Ready(np.frombuffer(block, np.uint8).reshape(-1, 1)) for block in self._blocks)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return group.nbytes

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0


def with_fake(scene: Scene, data: bytes, *blocks: bytes) -> Metadata:
    """An opaque checkpoint whose values come from a fake type of update."""
    metadata = scene.clean(data, opaque.layout(len(data)))
    fakes: dict[str, UpdateType] = {"fake": Fake(*blocks)}
    scene.types = Family("type of update", "no.such.group", {"fake": "not:used"}, fakes)
    return with_update(metadata, opaque.GROUP, Update("fake", ref_of(metadata, opaque.GROUP)))


@pytest.mark.parametrize("blocks", [[b"1234"], [b"12", b"34"], [b"1", b"234"], [b"1", b"2", b"3", b"4"]])
def test_values_may_come_in_any_blocks(scene: Scene, blocks: list[bytes]) -> None:
    assert scene.smudge(with_fake(scene, b"1234", *blocks)) == b"1234"


@pytest.mark.parametrize(
    "blocks",
    [[], [b"123"], [b"12", b"3"], [b"12345"], [b"12", b"345"], [b"1234", b"5"], [b"1243"], [b"34", b"12"]],
    ids=["none", "short", "short blocks", "long", "long blocks", "one too many", "other values", "other order"],
)
def test_update_that_gives_other_values_is_an_error(scene: Scene, blocks: list[bytes]) -> None:
    metadata = with_fake(scene, b"1234", *blocks)
    pieces = scene.smudger().smudge(metadata, serialize(metadata), PATH)
    with pytest.raises(ThetaError):
        list(pieces)
    assert not scene.cache_directory.exists()


def test_update_of_an_unknown_type_is_an_error_that_lists_the_known_ones(scene: Scene) -> None:
    metadata = scene.clean(CHECKPOINT)
    error = scene.fails(with_update(metadata, "large", Update("magic", ref_of(metadata, "large"))))
    assert isinstance(error, PluginError)
    assert "'magic'" in str(error)
    assert "dense" in str(error)
