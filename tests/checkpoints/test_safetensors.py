"""The safetensors format, held against the specification and the real library."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.errors import NotThisFormatError, PluginError, ThetaError
from git_theta.flows.merging.plan import Lineage
from git_theta.flows.merging.texts import merge_texts
from git_theta.layout import Layout
from git_theta.sources import BytesSource, FileSource

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

THEIRS = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
}
BY_LIBRARY = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32"]
BY_LIBRARY += ["float64", "complex64"]
BEYOND_NUMPY = ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]


@dataclass(frozen=True)
class Verdict:
    """What a reader makes of a file: the groups, or why it refuses it."""

    groups: dict[str, tuple[str, tuple[int, ...], bytes]] | None
    reason: str = ""


def ours(data: bytes) -> Verdict:
    try:
        layout = scan(data)
    except NotThisFormatError as error:
        return Verdict(None, str(error))
    groups = {}
    for span in layout.spans:
        (name,) = tensors.split_name(span.name)
        groups[name] = span.dtype, span.shape, data[span.start : span.stop]
    return Verdict(groups)


def library(data: bytes) -> Verdict:
    try:
        found = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        return Verdict(None, str(error))
    groups = {name: (THEIRS[info["dtype"]], tuple(info["shape"]), bytes(info["data"])) for name, info in found}
    return Verdict(groups)


def scan(data: bytes) -> Layout:
    """The layout of bytes, which must be the same whether they are in memory or in a file."""
    layout = Safetensors().scan(BytesSource(data))
    assert layout.size == len(data)
    return layout


def file(header: str | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file made by hand; its header length is the right one unless another is given."""
    text = header.encode() if isinstance(header, str) else header
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def info(dtype: str = '"F32"', shape: str = "[1]", offsets: str = "[0,4]", more: str = "") -> str:
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def one(dtype: str = '"F32"', shape: str = "[1]", offsets: str = "[0,4]", more: str = "", size: int = 4) -> bytes:
    """A file with one group, "a"."""
    return file(f'{{"a":{info(dtype, shape, offsets, more)}}}', bytes(size))


def named(key: str | bytes) -> bytes:
    """A file with one group, its key as it stands in the header."""
    text = key.encode() if isinstance(key, str) else key
    return file(b"{" + text + b":" + info().encode() + b"}", bytes(4))


def arrays(*dtypes: str) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of many shapes and any bits: not-a-numbers, negative zeros and denormals included."""
    generator = np.random.default_rng(0)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for dtype in dtypes:
        for number, shape in enumerate([(), (3,), (2, 5), (4, 0, 2), (0,)]):
            if dtype == "bool":
                array = generator.integers(0, 2, shape).astype(bool)
            else:
                count = int(np.prod(shape))
                array = np.frombuffer(generator.bytes(count * np.dtype(dtype).itemsize), dtype).reshape(shape)
            found[f"{dtype}.{number}"] = np.asarray(array)
    return found


# --- files of the real library --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BY_LIBRARY)
def test_what_the_library_writes_is_found_group_by_group(dtype: str) -> None:
    values = arrays(dtype)
    data = safetensors.numpy.save(values)
    verdict = ours(data)
    assert verdict == library(data)
    assert verdict.groups == {name: (dtype, array.shape, array.tobytes()) for name, array in values.items()}


def test_all_dtypes_in_one_file_are_found() -> None:
    data = safetensors.numpy.save(arrays(*BY_LIBRARY), metadata={"format": "pt", "note": "ünï"})
    assert ours(data) == library(data)
    assert len(scan(data).spans) == 5 * len(BY_LIBRARY)


@pytest.mark.parametrize("dtype", BEYOND_NUMPY)
def test_dtypes_beyond_numpy_are_found_as_the_library_writes_them(dtype: str) -> None:
    size = tensors.itemsize(dtype)
    values = np.arange(6 * size, dtype=np.uint8)
    spec = safetensors.TensorSpec(dtype=dtype, shape=[2, 3], data_ptr=values.ctypes.data, data_len=values.nbytes)
    data = safetensors.serialize({"a": spec})
    assert ours(data).groups == {"a": (dtype, (2, 3), values.tobytes())}


@pytest.mark.parametrize(("theirs", "name"), THEIRS.items())
def test_every_dtype_of_the_specification_is_known_by_its_name(theirs: str, name: str) -> None:
    size = tensors.nbytes(name, (4, 2))
    values = bytes(range(1, size + 1))
    data = file(f'{{"a":{info(json.dumps(theirs), "[4,2]", f"[0,{size}]")}}}', values)
    assert ours(data).groups == {"a": (name, (4, 2), values)}
    assert library(data) == ours(data)


def test_spans_lie_where_the_values_are_in_file_order() -> None:
    header = json.dumps(
        {
            "z": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
            "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        }
    )
    layout = scan(file(header, bytes(11)))
    begin = 8 + len(header)
    assert [(span.name, span.start, span.stop) for span in layout.spans] == [
        ("a", begin, begin + 3),
        ("z", begin + 3, begin + 11),
    ]
    assert layout.format == "safetensors"
    assert layout.read_skeleton(BytesSource(file(header, bytes(11)))) == file(header)


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}',
        '{"a":{"shape":[1],"data_offsets":[0,4],"dtype":"F32"},"__metadata__":{"a":"b"}}',
        '{ "a" :\n{ "dtype" : "F32" , "shape" : [ 1 ] , "data_offsets" : [ 0 , 4 ] } }',
        f'{{"a":{info()}}}' + " " * 1000,
        f'{{"a":{info()}}}\n\t\r ',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":{"any":[1,null,"thing"]}}}',
        '{"a":{"dtype":"F3\\u0032","shape":[1],"data_offsets":[0,4]}}',
        f'{{"__metadata__":{{}},"a":{info()}}}',
        f'{{"__metadata__":{{"dtype":"F32","":"","ünï":"\\ud83e\\udd16"}},"a":{info()}}}',
    ],
    ids=["keys", "metadata last", "white space", "padding", "other padding", "more", "escape", "empty", "metadata"],
)
def test_headers_may_be_written_in_many_ways(header: str) -> None:
    data = file(header, b"1234")
    assert ours(data).groups == {"a": ("float32", (1,), b"1234")}
    assert library(data) == ours(data)


@pytest.mark.parametrize("name", ["a/b", "~", "~1/~0", "", " ", "ünï.模型.🤖", "\x7f", "a\nb\t\0", '"\\', "__meta__"])
def test_names_of_all_kinds_are_one_key(name: str) -> None:
    data = safetensors.numpy.save({name: np.ones(2, np.float32), "other": np.zeros(3, np.int8)})
    assert [span.name for span in scan(data).spans] == [tensors.join_name([name]), "other"]
    assert ours(data) == library(data)


def test_file_without_groups_is_all_skeleton() -> None:
    assert scan(file("{}")).spans == ()
    assert scan(file('{"__metadata__":{"a":"b"}}')).spans == ()
    assert library(file("{}")) == ours(file("{}"))


def test_empty_groups_may_stand_at_every_edge_but_not_inside() -> None:
    full = f'"b":{info(shape="[2]", offsets="[0,8]")}'
    for place, allowed in ((0, True), (8, True), (4, False), (9, False)):
        data = file(f'{{"a":{info(shape="[0]", offsets=f"[{place},{place}]")},{full}}}', bytes(8))
        assert (ours(data).groups is not None) == allowed, place
        assert (library(data).groups is not None) == allowed, place


def test_groups_without_values_in_the_same_place_come_in_the_order_of_the_header() -> None:
    empty = info(shape="[0]", offsets="[0,0]")
    assert [span.name for span in scan(file(f'{{"b":{empty},"a":{empty}}}')).spans] == ["b", "a"]


# --- files that are refused -----------------------------------------------------------------------------------------

GOOD = one()
TWO = '{{"a":{},"b":{}}}'
HUGE = "1" + "0" * 5000

REFUSED = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "no header": bytes(8),
    "no header but bytes": bytes(100),
    "header length beyond the file": file("{}", length=3),
    "header length that is huge": file("{}", length=2**64 - 1),
    "header length just too large": file("{}", length=100_000_001),
    "header that begins in another way": file(f'x{{"a":{info()}}}', bytes(4)),
    "header with a byte order mark": file(f'\ufeff{{"a":{info()}}}', bytes(4)),
    "header that is not UTF-8": named(b'"\xe9"'),
    "header with surrogates in UTF-8": named(b'"\xed\xa0\x80"'),
    "header with a half surrogate in a name": named('"\\ud800"'),
    "header with the other half": named('"\\udc00"'),
    "header with a control character": named('"\x01"'),
    "header with a raw tab in a name": named('"\t"'),
    "header with a bad escape": named('"\\x61"'),
    "header that is a list": file("[]"),
    "header that is null": file("null"),
    "header that is a string": file('"a"'),
    "header that ends too early": file(f'{{"a":{info()}', bytes(4)),
    "header with something behind": file(f'{{"a":{info()}}}x', bytes(4)),
    "header padded with NUL": file(f'{{"a":{info()}}}\0\0', bytes(4)),
    "header with a comment": file(f'{{"a":{info()}}}//', bytes(4)),
    "header with a trailing comma": file(f'{{"a":{info()},}}', bytes(4)),
    "header with single quotes": file(f'{{"a":{info()}}}'.replace('"', "'"), bytes(4)),
    "nesting of lists": file('{"a":' + "[" * 100_000),
    "nesting of objects": file('{"a":' * 100_000),
    "nesting that is closed": file('{"a":' + "[" * 50_000 + "]" * 50_000 + "}"),
    "trailing bytes": GOOD + b"x",
    "bytes behind no groups": file("{}", b"x"),
    "missing bytes": GOOD[:-1],
    "missing values": GOOD[:-4],
    "hole before": one(offsets="[4,8]", size=8),
    "hole between": file(TWO.format(info(), info(offsets="[8,12]")), bytes(12)),
    "overlap": file(TWO.format(info(shape="[2]", offsets="[0,8]"), info(offsets="[4,8]")), bytes(8)),
    "two groups in one place": file(TWO.format(info(), info()), bytes(4)),
    "reversed offsets": one(offsets="[4,0]"),
    "reversed offsets of the second": file(TWO.format(info(), info(offsets="[8,4]")), bytes(8)),
    "size too large for the dtype": one(offsets="[0,8]", size=8),
    "size too small for the dtype": one(offsets="[0,2]", size=2),
    "size zero for a scalar": one(shape="[]", offsets="[0,0]", size=0),
    "size for no elements": one(shape="[0]"),
    "dtype unknown": one(dtype='"F128"'),
    "dtype in lower case": one(dtype='"f32"'),
    "dtype of NumPy": one(dtype='"float32"'),
    "dtype empty": one(dtype='""'),
    "dtype number": one(dtype="32"),
    "dtype null": one(dtype="null"),
    "dtype missing": file('{"a":{"shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "complex128": one(dtype='"C128"', offsets="[0,16]", size=16),
    "half a byte": one(dtype='"F4"', offsets="[0,1]", size=1),
    "three half bytes": one(dtype='"F4"', shape="[3]", offsets="[0,2]", size=2),
    "six bits": one(dtype='"F6_E2M3"', offsets="[0,1]", size=1),
    "twelve bits": one(dtype='"F6_E3M2"', shape="[2]", offsets="[0,2]", size=2),
    "shape missing": file('{"a":{"dtype":"F32","data_offsets":[0,4]}}', bytes(4)),
    "shape null": one(shape="null"),
    "shape number": one(shape="1"),
    "shape string": one(shape='"1"'),
    "shape object": one(shape="{}"),
    "shape negative": one(shape="[-1]"),
    "shape negative twice": one(shape="[-1,-1]"),
    "shape float": one(shape="[1.0]"),
    "shape with an exponent": one(shape="[1e0]"),
    "shape true": one(shape="[true]"),
    "shape null inside": one(shape="[null]"),
    "shape string inside": one(shape='["1"]'),
    "shape list inside": one(shape="[[1]]"),
    "shape huge": one(shape=f"[{HUGE}]"),
    "shape beyond 64 bits": one(shape=f"[{2**64},0]", offsets="[0,0]", size=0),
    "shape overflow": one(shape=f"[{2**40},{2**40}]", offsets="[0,0]", size=0),
    "shape overflow to the right size": one(shape=f"[{2**62},4,1]", offsets="[0,0]", size=0),
    "shape overflow in bits": one(shape=f"[{2**62 - 1}]"),
    "shape overflow before a zero": one(shape=f"[{2**40},{2**40},0]", offsets="[0,0]", size=0),
    "shape minus zero": one(shape="[-0]", offsets="[0,0]", size=0),
    "offsets missing": file('{"a":{"dtype":"F32","shape":[1]}}', bytes(4)),
    "offsets null": one(offsets="null"),
    "offsets of one": one(offsets="[4]"),
    "offsets of three": one(offsets="[0,4,4]"),
    "offsets of none": one(offsets="[]"),
    "offsets object": one(offsets='{"0":0,"1":4}'),
    "offsets negative": one(offsets="[-4,0]"),
    "offsets float": one(offsets="[0,4.0]"),
    "offsets with an exponent": one(offsets="[0,4e0]"),
    "offsets true": one(offsets="[false,4]"),
    "offsets string": one(offsets='["0","4"]'),
    "offsets huge": one(offsets=f"[0,{HUGE}]"),
    "offsets beyond 64 bits": one(offsets=f"[0,{2**64 + 4}]"),
    "offsets beyond the file": one(offsets=f"[{2**63},{2**63 + 4}]"),
    "offsets with leading zeros": one(offsets="[00,4]"),
    "offsets with a plus": one(offsets="[+0,4]"),
    "offsets with minus zero": one(offsets="[-0,4]"),
    "offsets NaN": one(offsets="[NaN,4]"),
    "group null": file('{"a":null}'),
    "group number": file('{"a":1}'),
    "group string": file('{"a":"b"}'),
    "group empty": file('{"a":{}}'),
    "metadata list": file('{"__metadata__":[]}'),
    "metadata string": file('{"__metadata__":"a"}'),
    "metadata of numbers": file('{"__metadata__":{"a":1}}'),
    "metadata of nulls": file('{"__metadata__":{"a":null}}'),
    "metadata of objects": file('{"__metadata__":{"a":{}}}'),
    "metadata like a group": file(f'{{"__metadata__":{info()}}}', bytes(4)),
    "metadata given twice": file(f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{info()}}}', bytes(4)),
    "metadata with a half surrogate": file('{"__metadata__":{"a":"\\ud800"}}'),
    "metadata with a half surrogate in a key": file('{"__metadata__":{"\\udfff":"a"}}'),
    "key of a group given twice": file(
        '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)
    ),
    "another key with NaN": one(more=',"more":NaN'),
    "another key with infinity": one(more=',"more":-Infinity'),
    "another key with a number beyond floats": one(more=',"more":1e999'),
    "another key with a huge number": one(more=f',"more":{HUGE}'),
    "another key with a half surrogate": one(more=',"more":"\\ud800"'),
    "another key deeper than the library goes": one(more=f',"more":{"[" * 200}{"]" * 200}'),
}
"""Files that the library refuses, and so do we."""

STRICTER = {
    "group given twice": file(f'{{"a":{info()},"a":{info()}}}', bytes(4)),
    "key of the metadata given twice": file('{"__metadata__":{"a":"1","a":"2"}}'),
    "another key given twice": one(more=',"more":1,"more":2'),
    "white space first": file(f' {{"a":{info()}}}', bytes(4)),
    "metadata null": file('{"__metadata__":null}'),
    "group as a list": file('{"a":["F32",[1],[0,4]]}', bytes(4)),
    "dtype as an object": one(dtype='{"F32":null}'),
    "more extents than NumPy has": one(shape=f"[{','.join(['1'] * 65)}]"),
    "shape overflow behind a zero": one(shape=f"[0,{2**40},{2**40}]", offsets="[0,0]", size=0),
    "extent that no memory holds": one(shape=f"[{2**63},0]", offsets="[0,0]", size=0),
}
"""Files that the library reads although the specification forbids them, or that are beyond what anyone needs."""


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_file_that_the_library_refuses_is_refused(data: bytes) -> None:
    assert library(data).groups is None, "the library takes it: it does not belong into this table"
    with pytest.raises(NotThisFormatError) as caught:
        scan(data)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_files_are_refused_by_the_library_as_their_bytes_are(tmp_path: Path) -> None:
    """Most people open files with `safe_open`, so what `deserialize` refuses is worth nothing if that takes it."""
    for data in REFUSED.values():
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(safetensors.SafetensorError):
            safetensors.safe_open(tmp_path / "file", framework="np").__enter__()


@pytest.mark.parametrize("data", STRICTER.values(), ids=STRICTER.keys())
def test_file_that_the_specification_forbids_is_refused_though_the_library_takes_it(data: bytes) -> None:
    assert library(data).groups is not None, "the library refuses it as well: it belongs into the other table"
    assert ours(data).groups is None


@pytest.mark.parametrize("data", [*REFUSED.values(), *STRICTER.values()], ids=[*REFUSED.keys(), *STRICTER.keys()])
def test_verdict_on_a_file_is_that_on_its_bytes(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    expected = ours(data)
    with (tmp_path / "file").open("rb") as stream:
        source = FileSource(stream.fileno(), len(data))
        if expected.groups is None:
            with pytest.raises(NotThisFormatError):
                Safetensors().scan(source)
        else:
            assert Safetensors().scan(source) == scan(data)


def test_largest_header_is_read() -> None:
    header = f'{{"a":{info()}}}'
    padded = header + " " * (100_000_000 - len(header))
    assert ours(file(padded, b"1234")).groups == {"a": ("float32", (1,), b"1234")}
    with pytest.raises(NotThisFormatError, match="larger than the format allows"):
        scan(file(padded + " ", b"1234"))


def test_long_comment_takes_no_more_memory_than_its_length() -> None:
    header = f'{{"__metadata__":{{"comment":"{"x" * (1 << 22)}"}},"a":{info()}}}'
    data = file(header, b"1234")
    tracemalloc.start()
    try:
        scan(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(header)


SMALL = safetensors.numpy.save(
    {"a/b": np.arange(3, dtype=np.float32), "ü": np.ones((2, 2), np.int8), "e": np.zeros((0, 3), np.float64)},
    metadata={"note": "x"},
)


def test_truncated_file_is_refused_everywhere() -> None:
    generator = random.Random(0)
    for length in [*range(20), *(generator.randrange(len(SMALL)) for _ in range(200))]:
        assert ours(SMALL[:length]).groups is None


def test_changing_any_byte_gives_a_layout_or_a_refusal_and_never_more_than_the_library() -> None:
    generator = random.Random(0)
    header = 8 + int.from_bytes(SMALL[:8], "little")
    taken = 0
    for number in range(2000):
        data = bytearray(SMALL)
        for _ in range(1 + number % 3):
            data[generator.randrange(header if number % 4 else len(SMALL))] = generator.randrange(256)
        verdict = ours(bytes(data))
        if verdict.groups is not None:
            taken += 1
            assert verdict == library(bytes(data))
    assert 0 < taken < 1000


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda text: file(b"{" + text)))
def test_any_bytes_give_a_layout_or_a_refusal(data: bytes) -> None:
    assert ours(data).groups is None or library(data).groups is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.sampled_from(["F32", "U8", "", "F4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "a", "__metadata__"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(header=json_values, size=st.integers(0, 8))
def test_any_json_gives_a_layout_or_a_refusal(header: object, size: int) -> None:
    data = file(json.dumps(header), bytes(size))
    assert ours(data).groups is None or library(data).groups is not None


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    offsets=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=4),
    size=st.integers(0, 12),
    packed=st.booleans(),
)
def test_the_library_and_we_agree_on_where_groups_may_lie(
    offsets: list[tuple[int, int]], size: int, packed: bool
) -> None:
    position = 0
    header = {}
    for number, (start, length) in enumerate(offsets):
        begin = position if packed else start
        header[f"g{number}"] = {"dtype": "U8", "shape": [length], "data_offsets": [begin, begin + length]}
        position += length
    data = file(json.dumps(header), bytes(position if packed else size))
    assert ours(data).groups == library(data).groups


# --- writing --------------------------------------------------------------------------------------------------------


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Values:
    return Values(dtype, shape, random.Random(seed).randbytes(tensors.nbytes(dtype, shape)))


def written(groups: dict[str, Values], skeleton: bytes | None = None) -> bytes:
    """A new file, keys given as they are to stand in the header."""
    return b"".join(Safetensors().write({tensors.join_name([key]): value for key, value in groups.items()}, skeleton))


@pytest.mark.parametrize("name", THEIRS.values())
def test_what_is_written_is_read_by_the_library_with_equal_values(name: str) -> None:
    groups = {"a": values(name, (3, 4)), "b": values(name, (0, 4)), "c": values(name, (4,), 1)}
    expected = {key: (name, value.shape, value.data) for key, value in groups.items()}
    assert library(written(groups)).groups == expected
    assert ours(written(groups)).groups == expected


def test_arrays_written_are_loaded_by_the_library() -> None:
    expected = arrays(*BY_LIBRARY)
    groups = {name: Values(array.dtype.name, array.shape, array.tobytes()) for name, array in expected.items()}
    found = safetensors.numpy.load(written(groups))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_values_may_be_views_of_memory() -> None:
    data = bytes(range(8))
    assert written({"a": Values("int16", (4,), memoryview(data))}) == written({"a": Values("int16", (4,), data)})


def test_values_are_aligned_to_their_elements() -> None:
    mixed = {f"{number}.{name}": values(name, (4, 1 + number % 3)) for number, name in enumerate(THEIRS.values())}
    layout = scan(written(mixed))
    assert len(layout.spans) == len(THEIRS)
    assert [span.name for span in layout.spans if span.start % min(8, tensors.itemsize(span.dtype))] == []


def test_metadata_of_the_old_file_is_kept(tmp_path: Path) -> None:
    comments = {"format": "pt", "ünï/~": 'a "quote"\n', "": ""}
    old = safetensors.numpy.save({"old": np.ones(3, np.float32)}, metadata=comments)
    skeleton = scan(old).read_skeleton(BytesSource(old))
    (tmp_path / "new").write_bytes(written({"new": values("float32", (2,))}, skeleton))
    with safetensors.safe_open(tmp_path / "new", framework="np") as opened:
        assert opened.metadata() == comments
        assert list(opened.keys()) == ["new"]


def test_old_file_without_metadata_gives_none(tmp_path: Path) -> None:
    old = safetensors.numpy.save({"old": np.ones(3, np.float32)})
    (tmp_path / "new").write_bytes(written({"a": values("int8", (1,))}, scan(old).read_skeleton(BytesSource(old))))
    with safetensors.safe_open(tmp_path / "new", framework="np") as opened:
        assert opened.metadata() is None


def test_what_a_header_says_more_of_a_tensor_is_not_lost_in_a_new_file() -> None:
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":"x"}}'
    skeleton = len(header).to_bytes(8, "little") + header
    for new in (Safetensors().write, lambda groups, old: Safetensors().write_mixed(groups, old, {})):
        with pytest.raises(PluginError, match="a header that says 'note' of 'a' cannot be written anew"):
            list(new({"a": Values("uint8", (1,), b"x")}, skeleton))


def test_no_groups_make_a_file_all_the_same() -> None:
    assert library(written({})).groups == {}
    assert ours(written({})).groups == {}


def test_dtype_that_the_format_lacks_is_an_error_for_the_user() -> None:
    with pytest.raises(ThetaError, match="complex128"):
        written({"a": values("complex128", (1,))})


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    groups=st.dictionaries(
        names,
        st.builds(
            values,
            st.sampled_from(list(THEIRS.values())),
            st.lists(st.integers(0, 4), max_size=3).map(lambda shape: (*shape, 4)),
            st.integers(0, 9),
        ),
        max_size=6,
    )
)
def test_writing_and_scanning_gives_the_groups_again(groups: dict[str, Values]) -> None:
    data = written(groups)
    expected = {name: (value.dtype, value.shape, value.data) for name, value in groups.items()}
    assert ours(data).groups == expected
    assert library(data).groups == expected


def test_comments_are_the_values() -> None:
    comments = {"format": "pt", "a/b": "x" * 1000, "line\n": "\x1b"}
    data = safetensors.numpy.save({"a": np.ones(2, np.float32)}, comments)
    shown = Safetensors().values(BytesSource(data))
    assert shown["__metadata__/format"] == "'pt'"
    assert shown["__metadata__/a~1b"].startswith("'xxx")
    assert len(shown["__metadata__/a~1b"]) <= 200
    assert shown["__metadata__/line\n"] == "'\\x1b'"
    assert Safetensors().values(BytesSource(safetensors.numpy.save({"a": np.ones(2, np.float32)}))) == {}
    many = {str(number): "" for number in range(12_000)}
    assert len(Safetensors().values(BytesSource(safetensors.numpy.save({}, many)))) == len(many)


EMPTY_MAPS = {
    # the __metadata__ of ancestor, ours and theirs, and of the merged file (None: there is none)
    "in the ancestor": ({}, {"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
    "in no version": (None, {"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
    "added by one side": (None, {}, {"b": "2"}, {"b": "2"}),
    "removed by one side": ({}, None, {"b": "2"}, {"b": "2"}),
    "emptied by one side": ({"a": "1", "b": "1"}, {}, {"b": "1"}, {}),
    "removed whole by one side": ({"a": "1", "b": "1"}, None, {"b": "1"}, None),
}


@pytest.mark.parametrize(("old", "mine", "yours", "merged"), EMPTY_MAPS.values(), ids=EMPTY_MAPS.keys())
def test_empty_metadata_is_taken_from_the_side_that_has_it(
    old: dict[str, str] | None, mine: dict[str, str] | None, yours: dict[str, str] | None, merged: dict[str, str] | None
) -> None:
    known = [file(json.dumps({} if each is None else {"__metadata__": each})) for each in (old, mine, yours)]
    texts = [Safetensors().values(BytesSource(each)) for each in known]
    taken = merge_texts(texts[1:] + texts[:1], Lineage(2, 2), [()] * 3)
    assert taken.conflicts == ()
    donors = {name: (*known[1:], known[0])[number] for name, number in taken.sides.items()}
    data = b"".join(Safetensors().write_mixed({}, known[1], donors))
    assert json.loads(data[8:]) == ({} if merged is None else {"__metadata__": merged})
