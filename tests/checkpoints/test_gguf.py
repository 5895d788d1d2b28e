"""The GGUF format, held against the real library."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import safetensors.numpy

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints import gguf as ours
from git_theta.checkpoints.gguf import Gguf
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from git_theta.layout import Layout

    Array = np.ndarray[Any, Any]

DTYPES = ["int8", "int16", "int32", "int64", "float16", "float32", "float64"]
TYPES = list(gguf.GGML_QUANT_SIZES)


def scan(data: bytes) -> Layout:
    """The layout, which depends on the skeleton alone, and with which the same bytes are put together again."""
    source = BytesSource(data)
    layout = Gguf().scan(source)
    skeleton = layout.read_skeleton(source)
    assert Gguf().scan(layout.hollow(skeleton)) == layout
    filled = b""
    position = 0
    for span, lead in zip(layout.spans, layout.leads(), strict=True):
        filled += skeleton[position : position + lead] + data[span.start : span.stop]
        position += lead
    assert filled + skeleton[position:] == data
    return layout


def groups(data: bytes) -> dict[str, Values]:
    return {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in scan(data).spans}


def write(values: dict[str, Values], old: bytes | None = None) -> bytes:
    skeleton = None if old is None else scan(old).read_skeleton(BytesSource(old))
    return b"".join(Gguf().write(values, skeleton))


def make(path: Path, fill: Callable[[gguf.GGUFWriter], object]) -> bytes:
    """A file of the real library."""
    writer = gguf.GGUFWriter(path / "file.gguf", "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (path / "file.gguf").read_bytes()


def read(path: Path, data: bytes) -> gguf.GGUFReader:
    (path / "read.gguf").write_bytes(data)
    return gguf.GGUFReader(path / "read.gguf")


def array(dtype: str, shape: tuple[int, ...]) -> Array:
    size = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    found: Array = np.random.default_rng(0).integers(0, 256, size, np.uint8).view(dtype).reshape(shape)
    return found


# --- files of the real library --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES, ids=[kind.name for kind in TYPES])
def test_every_type_of_the_library_is_known_by_its_name(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = array("uint8", (3, 2 * size))
    plain = {"F32": "float32", "F16": "float16", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32"}
    plain |= {"I64": "int64"}
    value = raw.view(plain[kind.name]) if kind.name in plain else raw
    data = make(tmp_path, lambda writer: writer.add_tensor("a", value, raw_dtype=kind))
    dtype = {**plain, "BF16": "bfloat16"}.get(kind.name, kind.name.lower())
    assert tensors.BLOCKS[dtype] == (elements, size)
    assert groups(data) == {"a": Values(dtype, (3, 2 * elements), raw.tobytes())}
    assert write(groups(data), data) == data
    (tensor,) = read(tmp_path, write(groups(data))).tensors
    assert (tensor.tensor_type, tensor.data.tobytes()) == (kind, raw.tobytes())


def test_the_blocks_of_quantized_types_are_those_of_the_library() -> None:
    names = {kind.name.lower() for kind in TYPES}
    assert {name for name, (elements, _) in tensors.BLOCKS.items() if elements > 4} <= names


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_have_the_shape_of_numpy(dtype: str, tmp_path: Path) -> None:
    arrays = {str(number): array(dtype, shape) for number, shape in enumerate([(3,), (2, 5), (2, 3, 4), (1, 2, 1, 3)])}

    def fill(writer: gguf.GGUFWriter) -> None:
        for name, value in arrays.items():
            writer.add_tensor(f"blk.0/{name}~", value)

    data = make(tmp_path, fill)
    assert groups(data) == {
        f"blk.0~1{name}~0": Values(dtype, value.shape, value.tobytes()) for name, value in arrays.items()
    }
    assert write(groups(data), data) == data
    for tensor, value in zip(read(tmp_path, write(groups(data), data)).tensors, arrays.values(), strict=True):
        assert tensor.data.tobytes() == value.tobytes()
        assert tensor.data.shape == value.shape


def test_same_values_have_the_same_digests_as_in_safetensors(tmp_path: Path) -> None:
    arrays = {dtype: array(dtype, (3, 4)) for dtype in DTYPES}
    theirs = safetensors.numpy.save(arrays)
    digests = {
        span.name: (span.dtype, span.shape, tensors.digest(theirs[span.start : span.stop]))
        for span in Safetensors().scan(BytesSource(theirs)).spans
    }

    def fill(writer: gguf.GGUFWriter) -> None:
        for name, value in arrays.items():
            writer.add_tensor(name, value)

    found = groups(make(tmp_path, fill))
    assert {name: (value.dtype, value.shape, tensors.digest(value.data)) for name, value in found.items()} == digests


def with_everything(writer: gguf.GGUFWriter) -> None:
    writer.add_name("nämé\n")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -32768)
    writer.add_uint32("u32", 2**32 - 1)
    writer.add_int32("i32", -(2**31))
    writer.add_float32("f32", 1e-5)
    writer.add_bool("bool", True)
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float64("f64", 1e-300)
    writer.add_array("tokens", [f"<{number}>" for number in range(1000)])
    writer.add_array("types", [1, 2, 3])
    writer.add_array("scores", [0.5] * 100)
    writer.add_array("nested/~", [[1, 2], [3]])
    writer.add_string("long", "é" * 5000)
    writer.add_custom_alignment(64)
    writer.add_tensor("weight", array("float32", (3, 5)))
    writer.add_tensor("quantized", array("uint8", (2, 36)), raw_dtype=gguf.GGMLQuantizationType.Q4_0)


def test_key_value_pairs_can_be_shown(tmp_path: Path) -> None:
    shown = dict(Gguf().values(BytesSource(make(tmp_path, with_everything))))
    assert len(long := shown.pop("long")) <= 200
    assert "..." in long
    assert shown == {
        "general.architecture": "'llama'",
        "general.name": "'nämé\\n'",
        "u8": "255",
        "i8": "-128",
        "u16": "65535",
        "i16": "-32768",
        "u32": "4294967295",
        "i32": "-2147483648",
        "f32": "1e-05",
        "bool": "True",
        "u64": "18446744073709551615",
        "i64": "-9223372036854775808",
        "f64": "1e-300",
        "tokens": "1000 items: ['<0>', '<1>', '<2>', '<3>', '<4>', '<5>', '<6>', '<7>', …] (1b4c972d)",
        "types": "[1, 2, 3]",
        "scores": "100 items: [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, …] (46f5d612)",
        "nested~1~0": "[[1, 2], [3]]",
        "general.alignment": "64",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x" * 300 + "a" + "x" * 300, "x" * 300 + "b" + "x" * 300),
        ("x" * 5000 + "a", "x" * 5000 + "b"),
        ([f"<{number}>" for number in range(20)], [*(f"<{number}>" for number in range(19)), "<pad>"]),
        ([0.5] * 20, [*[0.5] * 19, 0.25]),
        ([[1, 2, 3], list(range(20))], [[1, 2, 3], [*range(19), 0]]),
        (["\x01" * 50] * 8, [*["\x01" * 50] * 7, "\x02" * 50]),
    ],
    ids=["text", "long text", "words", "numbers", "lists", "escapes"],
)
def test_change_in_what_is_not_shown_of_a_value_shows(tmp_path: Path, old: object, new: object) -> None:
    def shown(value: Any) -> str:
        add = "add_string" if isinstance(value, str) else "add_array"
        data = make(tmp_path, lambda writer: getattr(writer, add)("key", value))
        return Gguf().values(BytesSource(data))["key"]

    assert shown(old) != shown(new)
    assert shown(old) == shown(old)
    assert len(shown(old)) <= 200


def test_key_value_pairs_and_alignment_are_kept(tmp_path: Path) -> None:
    data = make(tmp_path, with_everything)
    assert write(groups(data), data) == data
    new = write({"other": Values("bfloat16", (3,), b"123456"), **groups(data)}, data)
    reader = read(tmp_path, new)
    assert [tensor.name for tensor in reader.tensors] == ["other", "weight", "quantized"]
    assert all(tensor.data_offset % 64 == 0 for tensor in reader.tensors)
    assert Gguf().values(BytesSource(new)) == Gguf().values(BytesSource(data))
    field = reader.get_field("tokens")
    assert field is not None
    assert field.contents(999) == "<999>"


def test_version_two_is_read_and_kept(tmp_path: Path) -> None:
    data = make(tmp_path, with_everything)
    old = data[:4] + b"\2" + data[5:]
    assert groups(old) == groups(data)
    assert write(groups(old), old) == old


def test_file_without_padding_at_the_end_is_read(tmp_path: Path) -> None:
    data = make(tmp_path, lambda writer: writer.add_tensor("a", array("int8", (3,))))
    assert groups(data[:-29]) == groups(data)


def test_new_file_is_loaded_by_the_library(tmp_path: Path) -> None:
    values = {
        name: Values(name, (3, 256 * 7), bytes(tensors.nbytes(name, (3, 256 * 7)))) for name in ours._TYPES.values()
    }
    values |= {"none": Values("float32", (0, 3), b""), "scalar": Values("int64", (), bytes(8))}
    reader = read(tmp_path, write(values))
    assert [tensor.name for tensor in reader.tensors] == list(values)
    assert groups(write(values)) == values
    assert read(tmp_path, write({})).tensors == []
    assert groups(write({})) == {}


@pytest.mark.parametrize("place", ["behind the last tensor", "between two tensors"])
def test_bytes_around_the_tensors_are_not_lost_in_a_new_file(place: str, tmp_path: Path) -> None:
    def fill(writer: gguf.GGUFWriter) -> None:
        for name in "ab":
            writer.add_tensor(name, np.ones(3, np.float32))

    data = bytearray(make(tmp_path, fill))
    first = scan(bytes(data)).spans[0]
    if place == "between two tensors":
        data[first.stop] = 1
    else:
        data += b"more"
    with pytest.raises(PluginError, match="bytes around its tensors"):
        write(groups(bytes(data)), bytes(data))
    skeleton = scan(bytes(data)).read_skeleton(BytesSource(bytes(data)))
    with pytest.raises(PluginError, match="bytes around its tensors"):
        b"".join(Gguf().write_mixed(groups(bytes(data)), skeleton, {}))


def test_groups_that_cannot_be_written_are_an_error_for_the_user() -> None:
    one = Values("int8", (1,), b"1")
    with pytest.raises(PluginError, match="gguf has no dtype bool"):
        write({"a": Values("bool", (1,), b"1")})
    with pytest.raises(PluginError, match="no tensors of dtype q4_0 and shape"):
        write({"a": Values("q4_0", (32, 1), bytes(18))})
    with pytest.raises(PluginError, match="no tensors of"):
        write({"a": Values("int8", (1,) * 9, b"1")})
    with pytest.raises(PluginError, match="same name"):
        write({"a/b": one, "a~1b": one})


# --- files that are refused -----------------------------------------------------------------------------------------


def text(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: bytes | str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def info(name: bytes | str = "a", dims: tuple[int, ...] = (2,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def file(
    pairs: bytes | list[bytes] = b"",
    infos: bytes | list[bytes] = b"",
    size: int = 8,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A file made by hand."""
    kvs = [pairs] if isinstance(pairs, bytes) and pairs else list(pairs) if isinstance(pairs, list) else []
    tensor_infos = [infos] if isinstance(infos, bytes) and infos else list(infos) if isinstance(infos, list) else []
    numbers = (len(tensor_infos), len(kvs)) if counts is None else counts
    head = struct.pack("<4sIQQ", b"GGUF", 3, *numbers) + b"".join(kvs) + b"".join(tensor_infos)
    return head + bytes(-len(head) % 32) + bytes(size)


def items(kind: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + data


GOOD = file(pair("k", 4, bytes(4)), info())
HUGE = 2**64 - 1
REFUSED = {
    "nothing": b"",
    "a magic": b"GGUF",
    "another magic": b"GGML" + GOOD[4:],
    "version 1": GOOD[:4] + b"\1" + GOOD[5:],
    "version 4": GOOD[:4] + b"\4" + GOOD[5:],
    "big-endian": struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
    "tensors of billions": file(counts=(HUGE, 0)),
    "tensors that are missing": file(infos=info(), counts=(2, 0)),
    "keys of billions": file(counts=(0, HUGE)),
    "keys that are missing": file(counts=(0, 5)),
    "a key of billions": file(struct.pack("<Q", HUGE) + b"abc", counts=(0, 1)),
    "a key that is too long": file(pair("k" * 65_536, 4, bytes(4))),
    "a key that is not UTF-8": file(pair(b"\xff", 4, bytes(4))),
    "a key given twice": file([pair("k", 4, bytes(4)), pair("k", 5, bytes(4))]),
    "a type that is unknown": file(pair("k", 13, bytes(8))),
    "a type of billions": file(pair("k", 2**32 - 1, bytes(8))),
    "a string of billions": file(pair("k", 8, struct.pack("<Q", HUGE) + b"abc")),
    "an array of billions": file(pair("k", 9, items(0, HUGE, b"abc"))),
    "an array of billions of words": file(pair("k", 9, items(12, 2**61, b"abc"))),
    "an array of billions of strings": file(pair("k", 9, items(8, HUGE, bytes(1000)))),
    "an array of billions of arrays": file(pair("k", 9, items(9, HUGE, bytes(1000)))),
    "an array of an unknown type": file(pair("k", 9, items(99, 1, b"abc"))),
    "an array of long strings": file(pair("k", 9, items(8, 20, struct.pack("<Q", HUGE) * 20))),
    "arrays in arrays": file(pair("k", 9, items(9, 1) * 100_000)),
    "an alignment of zero": file(pair("general.alignment", 4, bytes(4))),
    "an alignment that is no power": file(pair("general.alignment", 4, struct.pack("<I", 24))),
    "an alignment of another type": file(pair("general.alignment", 10, struct.pack("<Q", 32))),
    "an alignment of text": file(pair("general.alignment", 8, text("32"))),
    "an alignment of billions": file(pair("general.alignment", 4, struct.pack("<I", 2**31)), info()),
    "a name of billions": file(infos=struct.pack("<Q", HUGE) + b"abc", counts=(1, 0)),
    "a name that is not UTF-8": file(infos=info(b"\xff")),
    "a name given twice": file(infos=[info(), info(offset=32)], size=64),
    "many dimensions": file(infos=info(dims=(1,) * 9)),
    "dimensions of billions": file(infos=text("a") + struct.pack("<I", 2**32 - 1), counts=(1, 0)),
    "a type of tensors that is gone": file(infos=info(kind=4)),
    "a type of tensors that is unknown": file(infos=info(kind=99)),
    "a shape of billions": file(infos=info(dims=(10**9, 10**9))),
    "a shape that overflows": file(infos=info(dims=(2**32, 2**32, 2))),
    "a shape that overflows with none": file(infos=info(dims=(2**63, 0))),
    "a row of half a block": file(infos=info(dims=(16, 2), kind=2), size=18),
    "half a block": file(infos=info(dims=(16,), kind=2), size=9),
    "an offset that is not aligned": file(infos=info(offset=4), size=32),
    "an offset beyond": file(infos=info(offset=32)),
    "an offset of billions": file(infos=info(offset=2**64 - 32)),
    "tensors that overlap": file(infos=[info(dims=(16,)), info("b", offset=32)], size=100),
    "tensors in one place": file(infos=[info(), info("b")]),
    "values that are missing": GOOD[:-1],
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_files_are_refused(data: bytes) -> None:
    refuse(data)


def test_too_much_between_the_tensors_is_refused() -> None:
    refuse(file(infos=info(offset=128 << 20), size=(128 << 20) + 8))


def refuse(data: bytes) -> None:
    with pytest.raises(NotThisFormatError) as caught:
        Gguf().scan(BytesSource(data))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_good_files_made_by_hand_are_not_refused() -> None:
    assert list(groups(GOOD)) == ["a"]
    assert groups(file(infos=[info("b", offset=32), info("a"), info("e", (0,), offset=64)], size=64)).keys() == set(
        "abe"
    )
    assert list(groups(file(infos=[info("b", offset=32), info("a")], size=64))) == ["a", "b"]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty strings": lambda: pair("k", 9, items(8, 10_000_000, bytes(80_000_000))),
    "many strings": lambda: pair("k", 9, items(8, 3_999_999, bytes(8 * 3_999_998))),
    "empty arrays": lambda: pair("k", 9, items(9, 8_000_000, bytes(96_000_000))),
    "wide trees of arrays": lambda: pair("k", 9, items(9, 1) * 5 + items(9, 9000, items(8, 9, text("x") * 9) * 8000)),
    "a string that is all": lambda: pair("k", 8, struct.pack("<Q", 1 << 40) + bytes(50_000_000)),
    "many keys": lambda: b"".join(pair(f"{number}", 8, text("é" * 300)) for number in range(65_500)),
    "long keys": lambda: b"".join(pair(f"{number:06}" + "é" * 30_000, 0, b"1") for number in range(1500)),
}
"""Made when they are asked for: each process that collects tests comes by here, and they are hundreds of megabytes."""
COUNTS = {"many keys": 65_536, "long keys": 2000, "many strings": 5}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_little_memory_and_time(name: str) -> None:
    data = file(HOSTILE[name](), counts=(0, COUNTS.get(name, 1)))
    source = BytesSource(data)
    begin = time.thread_time()
    with pytest.raises(NotThisFormatError):
        Gguf().scan(source)
    assert time.thread_time() - begin < 30
    if name == "many strings":
        return  # Tracing takes a minute of these, and they take no memory.
    tracemalloc.start()
    try:
        with pytest.raises(NotThisFormatError):
            Gguf().scan(source)
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()


LONG_NAMES = [f"{number:06}" + "n" * 50_000 for number in range(400)]


@pytest.mark.parametrize(
    "data",
    [file(infos=[info(name, (0,)) for name in LONG_NAMES]), file(pairs=[pair(name, 0, b"1") for name in LONG_NAMES])],
    ids=["tensors", "keys"],
)
def test_long_names_are_refused_together(data: bytes) -> None:
    """They are all kept in memory."""
    with pytest.raises(NotThisFormatError, match="names are too long"):
        Gguf().scan(BytesSource(data))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_array("tokens", ["a", "bc"])
        writer.add_array("nested", [[1, 2], [3]])
        writer.add_float32("eps", 1e-5)
        writer.add_tensor("weight", array("float32", (3, 8)))
        writer.add_tensor("quantized", array("uint8", (2, 18)), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    data = make(tmp_path_factory.mktemp("gguf"), fill)
    return data[: scan(data).spans[-1].stop]


def test_truncated_file_is_refused_everywhere(small: bytes) -> None:
    generator = random.Random(0)
    for length in [*range(20), *(generator.randrange(len(small)) for _ in range(200))]:
        with pytest.raises(NotThisFormatError):
            Gguf().scan(BytesSource(small[:length]))


def test_changing_any_byte_gives_a_layout_or_a_refusal(small: bytes) -> None:
    generator = random.Random(0)
    taken = 0
    for number in range(2000):
        data = bytearray(small)
        for _ in range(1 + number % 3):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            found = groups(bytes(data))
        except NotThisFormatError:
            continue
        taken += 1
        assert len(Gguf().values(BytesSource(bytes(data)))) <= 10
        with contextlib.suppress(PluginError):
            assert write(found, bytes(data))
    assert 0 < taken < 2000
