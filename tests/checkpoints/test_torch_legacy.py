"""What is particular to the format of torch before 1.6; what it has in common is in test_torch_zip.py."""

from __future__ import annotations

import io
import pickle
import struct
from typing import TYPE_CHECKING, Any

import pytest

from git_theta.checkpoints import Values
from git_theta.checkpoints.torch_legacy import TorchLegacy
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.sources import BytesSource
from tests.checkpoints.test_torch_zip import (
    groups_of,
    load,
    raw,
    save,
    scan,
    shapes,
    skeleton_of,
    storage,
    tensor,
    written,
)

if TYPE_CHECKING:
    from git_theta.layout import Span

torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")

MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def stream(
    content: bytes,
    storages: dict[str, tuple[int, bytes]],
    *,
    keys: object = None,
    magic: object = 0x1950A86A20F9469CFC6C,
    version: object = 1001,
    machine: object = MACHINE,
) -> bytes:
    """A file made by hand; of each storage the number of elements and the values."""
    head = b"".join(pickle.dumps(part, 2) for part in (magic, version, machine))
    tail = pickle.dumps(list(storages) if keys is None else keys, 2)
    return head + content + tail + b"".join(struct.pack("<q", count) + data for count, data in storages.values())


def refuse(data: bytes, reason: str) -> None:
    with pytest.raises(NotThisFormatError, match=reason):
        TorchLegacy().scan(BytesSource(data))


def with_view(key: str, numel: int, view: bytes) -> bytes:
    """The opcodes that name a storage, or (as before torch 0.4) a part of one."""
    return storage(key=key, numel=numel).removesuffix(b"tQ") + view + b"tQ"


ONE = with_view("0", 4, b"N")


def test_files_made_by_hand_are_read() -> None:
    data = stream(tensor(ONE, 0, (2, 2), (2, 1)) + b".", {"0": (4, bytes(16))})
    (span,) = scan(data, "legacy").spans
    assert (span.name, span.dtype, span.shape, span.stop) == ("tensor", "float32", (2, 2), len(data))


def test_storages_are_in_the_order_of_their_keys() -> None:
    value = {str(number): torch.full((number,), float(number)) for number in range(1, 20)}
    data = save(value, "legacy")
    spans = scan(data, "legacy").spans
    assert {span.name for span in spans} == set(value)
    assert all(data[span.start : span.stop] == bytes(value[span.name].untyped_storage()) for span in spans)


def test_a_view_of_a_storage_is_no_group_of_its_own() -> None:
    part = with_view("0", 4, b"(X\x01\0\0\0vK\x01K\x02t")
    data = stream(tensor(part, 0, (2,), (1,)) + b".", {"0": (4, bytes(16))})
    assert shapes(data, "legacy") == {"tensor": ("float32", (4,))}
    groups = groups_of(data, "legacy")
    new = written(groups, skeleton_of(data, "legacy"), "legacy")
    assert load(new).shape == load(data, weights_only=False).shape == (2,)
    groups["tensor"] = Values("float32", (5,), bytes(20))
    with pytest.raises(PluginError, match="has views of"):
        TorchLegacy().write(groups, skeleton_of(data, "legacy"))
    odd = with_view("0", 4, b"K\x07")
    refuse(stream(tensor(odd, 0, (2,), (1,)) + b".", {"0": (4, bytes(16))}), "not known")


def test_a_storage_that_is_named_before_its_tensor_counts_bytes() -> None:
    # By hand: torch 2.13 refuses to write such a file.
    untyped = storage("UntypedStorage", numel=16, module="torch.storage").removesuffix(b"tQ") + b"NtQ"
    weight = torch.arange(4.0)
    data = stream(b"(" + untyped + tensor(ONE, 0, (4,), (1,)) + b"t.", {"0": (16, raw(weight))})
    (span,) = scan(data, "legacy").spans
    assert (span.name, span.dtype, span.shape) == ("1", "uint8", (16,))


def test_other_streams_are_refused() -> None:
    good = tensor(ONE, 0, (4,), (1,)) + b"."
    storages = {"0": (4, bytes(16))}
    scan(stream(good, storages), "legacy")
    refuse(b"", "not a stream")
    refuse(save({"a": 1}), "not a stream")
    refuse(pickle.dumps({"a": 1}), "not one of torch")
    refuse(stream(good, storages, magic=7), "not one of torch")
    refuse(stream(good, storages, magic=[0x1950A86A20F9469CFC6C]), "not one of torch")
    refuse(stream(good, storages, version=1002), "unknown version")
    refuse(stream(good, storages, machine=None), "what machine")
    refuse(stream(good, storages, keys=7), "no list")
    refuse(stream(good, storages, keys=[None]), "no list")
    refuse(stream(good, storages, keys=[]), "does not have")
    refuse(stream(good, storages, keys=["0", "0"]), "does not have")
    refuse(stream(good, storages, keys=["1"]), "does not have")
    refuse(stream(good, {"0": (5, bytes(20))}), "20 bytes, but its pickle says 16")
    refuse(stream(good, {"0": (-1, b"")}), "but its pickle says")
    refuse(stream(good, {"0": (4, bytes(15))}), "storages end at")
    refuse(stream(good, storages) + b"x", "storages end at")
    refuse(stream(good, storages)[:-20], "cut off")
    unknown = storage("FutureStorage").removesuffix(b"tQ") + b"NtQ"
    refuse(stream(unknown + b".", storages), "unknown kind")


def test_what_is_behind_the_pickles_does_not_matter() -> None:
    data = stream(tensor(ONE, 0, (4,), (1,)) + b".", {"0": (4, b"\x80\x02.(((]]}}q\xff.." + bytes(2))})
    layout = scan(data, "legacy")  # which compares with a scan of zeros
    assert layout.spans[0].shape == (4,)


def test_a_new_file_is_what_torch_writes() -> None:
    value = torch.arange(2.0)
    data = written({"a": Values("float32", (2,), raw(value))}, None, "legacy")
    (key,) = load(data)
    assert torch.equal(load(data)[key], value)
    file = io.BytesIO(data)
    assert [pickle.load(file) for _ in range(3)] == [0x1950A86A20F9469CFC6C, 1001, MACHINE]


def test_a_dtype_that_torch_cannot_read_there_is_refused() -> None:
    with pytest.raises(PluginError, match="no dtype float8_e5m2 in its legacy format"):
        TorchLegacy().write({"a": Values("float8_e5m2", (2,), bytes(2))}, None)


def test_a_storage_that_nothing_holds_has_no_place_in_a_new_file() -> None:
    data = stream(ONE + b"0N.", {"0": (4, bytes(16))})
    with pytest.raises(PluginError, match="'storage/0' has no place"):
        TorchLegacy().write(groups_of(data, "legacy"), skeleton_of(data, "legacy"))


def test_whole_modules_keep_their_source() -> None:
    data = save(torch.nn.Linear(2, 3), "legacy")
    new = written(groups_of(data, "legacy"), skeleton_of(data, "legacy"), "legacy")
    assert isinstance(load(new, weights_only=False), torch.nn.Linear)
    assert b"Applies an affine linear transformation" in data
    assert b"Applies an affine linear transformation" in new


def test_the_addresses_that_a_run_gave_storages_do_not_show_in_a_new_file() -> None:
    def made(*keys: str) -> bytes:
        first, second = (tensor(with_view(key, 1, b"N"), 0, (1,), (1,)) for key in keys)
        return stream(b"(" + first + second + b"t.", {key: (1, bytes(4)) for key in sorted(keys)})

    files = [made("94299855096480", "1234"), made("7", "94299855096481")]
    groups = groups_of(files[0], "legacy")
    assert list(groups) == ["1", "0"]
    assert list(groups_of(files[1], "legacy")) == ["0", "1"]
    new = {written(groups, skeleton_of(data, "legacy"), "legacy") for data in files}
    assert len(new) == 1


def test_storage_spans_follow_their_counts() -> None:
    data = save({"a": torch.ones(3, dtype=torch.float64), "b": torch.ones(2, dtype=torch.bool)}, "legacy")

    def count(span: Span) -> int:
        return int(struct.unpack("<q", data[span.start - 8 : span.start])[0])

    assert {span.name: count(span) for span in scan(data, "legacy").spans} == {"a": 3, "b": 2}


def test_storages_without_a_tensor_have_names_that_last() -> None:
    # Their keys are addresses of memory, others in every run.
    def names(*keys: str) -> set[str]:
        opcodes = b"".join(with_view(key, 1, b"N") for key in keys)
        data = stream(b"(" + opcodes + b"t.", {key: (1, bytes(4)) for key in sorted(keys)})
        return {span.name for span in scan(data, "legacy").spans}

    assert names("94299855096480", "1234") == names("7", "94299855096481") == {"storage/0", "storage/1"}


def test_a_large_object_beside_the_tensors_is_refused() -> None:
    data = stream(b"B" + struct.pack("<I", 100_000_000) + bytes(100_000_000) + b".", {})
    refuse(data, "beside its tensors")
