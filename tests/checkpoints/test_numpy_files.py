"""NumPy's two formats, held against the real library and unzip."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import time
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.npz import Npz
from git_theta.checkpoints.numpy_files import Npy
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.layout import Layout

    Array = np.ndarray[Any, Any]

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
RAW = [
    ">i2",
    ">u8",
    ">f4",
    ">c16",
    "<U3",
    ">U3",
    "S5",
    "V7",
    "<M8[ns]",
    "<m8[us]",
    ">M8[s]",
    "longdouble",
    "clongdouble",
]
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 5), (4, 0, 2), (0,), (1,) * 30, (2, 3, 4)]


def scan(data: bytes, form: Npy | Npz) -> Layout:
    """The layout, which depends on the skeleton alone, and with which the same bytes are put together again."""
    source = BytesSource(data)
    layout = form.scan(source)
    skeleton = layout.read_skeleton(source)
    assert form.scan(layout.hollow(skeleton)) == layout
    assert form.values(source).keys().isdisjoint(span.name for span in layout.spans)
    filled = b""
    position = 0
    for span, lead in zip(layout.spans, layout.leads(), strict=True):
        filled += skeleton[position : position + lead] + data[span.start : span.stop]
        position += lead
    assert filled + skeleton[position:] == data
    return layout


def groups(data: bytes, form: Npy | Npz) -> dict[str, Values]:
    return {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in scan(data, form).spans}


def write(values: dict[str, Values], form: Npy | Npz, old: bytes | None = None) -> bytes:
    skeleton = None if old is None else scan(old, form).read_skeleton(BytesSource(old))
    return b"".join(form.write(values, skeleton))


def save(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def savez(**arrays: Array) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def array(dtype: object, shape: tuple[int, ...]) -> Array:
    """Any bits, but for booleans and text."""
    kind = np.dtype(dtype)  # type: ignore[call-overload]
    if kind.kind == "U":
        return np.full(shape, "aé", kind)
    count = int(np.prod(shape, dtype=int)) * kind.itemsize
    data = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, count, np.uint8)
    found: Array = data.view(kind).reshape(shape)
    return found


def same(first: Array, second: Array) -> bool:
    return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())


def loaded(data: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(data)) as archive:
        return dict(archive)


# --- .npy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_one_array_is_one_group(dtype: str, shape: tuple[int, ...]) -> None:
    value = array(dtype, shape)
    data = save(value)
    assert groups(data, Npy()) == {"array": Values(dtype, shape, value.tobytes())}
    assert write(groups(data, Npy()), Npy(), data) == data
    assert write(groups(data, Npy()), Npy()) == data


@pytest.mark.parametrize("dtype", RAW)
@pytest.mark.parametrize("shape", SHAPES)
def test_elements_that_have_no_little_endian_name_are_raw_bytes(dtype: str, shape: tuple[int, ...]) -> None:
    value = array(dtype, shape)
    data = save(value)
    assert groups(data, Npy()) == {"array": Values("uint8", (*shape, value.itemsize), value.tobytes())}
    new = write(groups(data, Npy()), Npy(), data)
    assert new == data
    assert same(np.load(io.BytesIO(new)), value)


@pytest.mark.parametrize("dtype", ["float32", "int8", ">f8", "<U3"])
def test_fortran_order_is_the_transpose(dtype: str) -> None:
    value = np.asfortranarray(array(dtype, (2, 3, 4)))
    data = save(value)
    (found,) = groups(data, Npy()).values()
    assert found.data == value.T.tobytes()
    assert found.shape[:3] == (4, 3, 2)
    assert write({"array": found}, Npy(), data) == data
    taller = Values(found.dtype, (5, *found.shape[1:]), bytes(len(found.data) // 4 * 5))
    assert np.load(io.BytesIO(write({"array": taller}, Npy(), data))).shape == (2, 3, 5)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_header_is_read(version: tuple[int, int]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array("float32", (2, 3)), version)
    assert groups(stream.getvalue(), Npy())["array"].data == array("float32", (2, 3)).tobytes()


def test_bfloat16_is_raw_as_numpy_does_not_know_it() -> None:
    value = np.ones(3, ml_dtypes.bfloat16)
    assert groups(save(value), Npy()) == {"array": Values("uint8", (3, 2), value.tobytes())}


def test_one_array_makes_a_file_and_another_number_does_not() -> None:
    one = Values("int8", (1,), b"1")
    assert np.load(io.BytesIO(write({"any/name": one}, Npy()))).tolist() == [49]
    for wrong in ({}, {"a": one, "b": one}):
        with pytest.raises(PluginError, match="exactly one"):
            write(wrong, Npy())
    with pytest.raises(PluginError, match="no dtype bfloat16"):
        write({"a": Values("bfloat16", (1,), b"12")}, Npy())


def test_new_dtype_in_an_old_file_takes_the_new_one() -> None:
    old = save(array(">f4", (2, 3)))
    new = write({"array": Values("float64", (2,), bytes(16))}, Npy(), old)
    assert np.load(io.BytesIO(new)).dtype == np.dtype("<f8")


def npy(
    descr: str = "'<i4'",
    fortran: str = "False",
    shape: str = "(2,)",
    data: bytes = b"12345678",
    text: str | None = None,
) -> bytes:
    """A file made by hand."""
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}" if text is None else text
    encoded = header.encode("latin-1")
    return b"\x93NUMPY\1\0" + len(encoded).to_bytes(2, "little") + encoded + data


GOOD = npy()


def test_headers_may_be_written_in_many_ways() -> None:
    expected = Values("int32", (2,), b"12345678")
    for data in (
        GOOD,
        npy(shape="(2L,)"),
        npy(descr='"<i4"'),
        npy(shape="(2,)" + " " * 1000),
        npy(text="{'shape': (2,), 'fortran_order': False, 'descr': '<i4'}\n"),
        npy(text="  {'shape':(2,),'fortran_order':True,'descr':'<i4'}  "),
    ):
        assert groups(data, Npy()) == {"array": expected}


def test_a_header_that_is_taken_means_what_it_means_to_numpy() -> None:
    rng = random.Random(0)
    pieces = [
        *"{}()[],:'\" 012+-\n#",
        "descr",
        "<i4",
        "True",
        "False",
        "shape",
        "'shape': (2,), ",
        "2,",
        "(2)",
        "0x2",
        "1_0",
    ]
    texts = [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n",
        "{'shape': (1, 2), 'fortran_order': True, 'descr': '<i4'}",
    ]
    taken = 0
    for number in range(4000):
        text = texts[number % 2]
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["", rng.choice(pieces)]) + text[at + rng.randrange(2) :]
        data = npy(text=text)
        try:
            found = groups(data, Npy())["array"]
        except NotThisFormatError:
            continue
        taken += 1
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        assert found.shape == (loaded.T if text.count("True") else loaded).shape
        assert found.dtype == loaded.dtype.name
    assert taken > 100


REFUSED = {
    "nothing": b"",
    "a magic": b"\x93NUMPY",
    "a version": b"\x93NUMPY\1\0",
    "another magic": b"\x93numpy" + GOOD[6:],
    "version 4": GOOD[:6] + b"\4" + GOOD[7:],
    "version 1.1": GOOD[:6] + b"\1\1" + GOOD[8:],
    "header beyond the file": GOOD[:8] + b"\xff\x1f" + GOOD[10:],
    "header of billions": b"\x93NUMPY\2\0\xff\xff\xff\xff" + b"{" * 100,
    "header that is too long": npy(text=" " * 10_001 + "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}"),
    "too few values": GOOD[:-1],
    "too many values": GOOD + b"x",
    "two arrays": GOOD * 2,
    "objects": save(np.array([{}, None], object)),
    "records": save(np.zeros(2, [("a", "i4"), ("b", "f8")])),
    "records in records": npy(descr="[('a', [('b', '<i4')])]"),
    "dtype of python": npy(descr="int"),
    "dtype unknown": npy(descr="'<i3'"),
    "dtype empty": npy(descr="''"),
    "dtype without order": npy(descr="'i4'"),
    "dtype of many": npy(descr="'<i4,<i4'"),
    "dtype with a shape": npy(descr="('<i4', (2,))"),
    "dtype with an order that says nothing": npy(descr="'|i4'"),
    "dtype with a unit": npy(descr="'<i4[ns]'"),
    "dtype object": npy(descr="'|O'"),
    "dtype object with a size": npy(descr="'|O8'"),
    "order as a number": npy(fortran="0"),
    "order as text": npy(fortran="'False'"),
    "order none": npy(fortran="None"),
    "shape as a list": npy(shape="[2]"),
    "shape as a number": npy(shape="(2)"),
    "shape of floats": npy(shape="(2.0,)"),
    "shape of truth": npy(shape="(True, 2)"),
    "shape below zero": npy(shape="(-2,)"),
    "shape of text": npy(shape="('2',)"),
    "shape of billions": npy(shape="(1000000000, 1000000000)"),
    "shape of billions and none": npy(shape="(99999999999999999999, 0)", data=b""),
    "shape of very many digits": npy(shape=f"({'1' * 5000},)"),
    "shape of many extents": npy(shape=f"({'1,' * 65})", data=b"1234"),
    "shape that is computed": npy(shape="(1+1,)"),
    "code": npy(shape="(print(1),)"),
    "code in a key": npy(text="{__import__('os').system('touch canary'): 1}"),
    "one key missing": npy(text="{'descr': '<i4', 'fortran_order': False}"),
    "one key more": npy(text="{'descr': '<i4', 'fortran_order': False, 'shape': (2,), 'more': 1}"),
    "another key": npy(text="{'descr': '<i4', 'fortran': False, 'shape': (2,)}"),
    "a key of lists": npy(text="{['descr']: '<i4', 'fortran_order': False, 'shape': (2,)}"),
    "a list": npy(text="['descr', 'fortran_order', 'shape']"),
    "a set": npy(text="{'descr', 'fortran_order', 'shape'}"),
    "no end": npy(text="{'descr': '<i4'"),
    "parentheses": npy(text="(" * 9999),
    "braces": npy(text="{" * 4000 + "}" * 4000),
    "tuples": npy(text="(" * 90 + "1" + ",)" * 90),
    "signs": npy(text="-" * 9999 + "1"),
    "strings": npy(text="'a'" * 3000),
    "an escape": npy(descr="'<\\x69\\d4'"),
    "a null": npy(shape="(2,)\0"),
    "a comment": npy(shape="(2,)#"),
    "a line feed": npy(text="{'descr': '<i4',\n 'fortran_order': False, 'shape': (2,)}"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_array_is_refused(data: bytes) -> None:
    with pytest.raises(NotThisFormatError) as caught:
        Npy().scan(BytesSource(data))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    with pytest.raises(NotThisFormatError):
        Npz().scan(BytesSource(archive({"a.npy": data})))


# --- .npz -----------------------------------------------------------------------------------------------------------


def archive(members: dict[str, bytes], **settings: Any) -> bytes:
    """A zip archive; settings are given to each member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            for key, value in settings.items():
                setattr(info, key, value)
            written.writestr(info, data)
    return stream.getvalue()


ARRAYS: dict[str, Array] = {
    **{dtype: array(dtype, (2, 3)) for dtype in DTYPES},
    **{f"raw {dtype}": array(dtype, (2,)) for dtype in RAW},
    **{f"shape {number}": array("int16", shape) for number, shape in enumerate(SHAPES)},
    "fortran": np.asfortranarray(array("float32", (2, 3))),
    "params/ünï ~/模型": array("float32", (3,)),
}


def test_each_member_is_a_group() -> None:
    found = groups(savez(**ARRAYS), Npz())
    assert list(found) == [tensors.join_name([name]) for name in ARRAYS]
    for name, value in ARRAYS.items():
        assert found[tensors.join_name([name])].data == (value.T if name == "fortran" else value).tobytes()
    assert scan(savez(**ARRAYS), Npz()).format == "npz"


def test_same_values_have_the_same_digests_as_in_safetensors() -> None:
    arrays = {dtype: array(dtype, (3, 4)) for dtype in DTYPES if dtype != "complex128"}
    theirs = safetensors.numpy.save(arrays)
    digests = {
        span.name: (span.dtype, span.shape, tensors.digest(theirs[span.start : span.stop]))
        for span in Safetensors().scan(BytesSource(theirs)).spans
    }
    found = groups(savez(**arrays), Npz())
    assert {name: (value.dtype, value.shape, tensors.digest(value.data)) for name, value in found.items()} == digests


def test_written_archive_is_loaded_with_the_old_orders_kept(tmp_path: Path) -> None:
    data = savez(**ARRAYS)
    found = groups(data, Npz())
    removed = found.pop("int8")
    new = write(found | {tensors.join_name(["more/~"]): removed}, Npz(), data)
    expected = {**ARRAYS, "more/~": ARRAYS["int8"]}
    del expected["int8"]
    read = loaded(new)
    assert list(read) == list(expected)
    assert all(same(read[name], value) for name, value in expected.items())
    (tmp_path / "new.npz").write_bytes(new)
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", "new.npz"], cwd=tmp_path, check=True, capture_output=True)
    assert zipfile.ZipFile(io.BytesIO(new)).testzip() is None
    assert write(groups(new, Npz()), Npz(), new) == new


def test_arrays_that_another_file_has_otherwise_are_written_as_there() -> None:
    plain, turned = np.arange(9.0).reshape(3, 3), np.asfortranarray(np.arange(9.0).reshape(3, 3))
    mine, yours = savez(a=plain, b=plain), savez(a=turned, c=np.arange(3, dtype=">i4"))
    skeleton, donor = (scan(data, Npz()).read_skeleton(BytesSource(data)) for data in (mine, yours))
    assert Npz().labels(skeleton) == {}
    assert Npz().labels(donor) == {"a": "an array in Fortran order", "c": "an array of >i4"}
    found = groups(mine, Npz()) | groups(yours, Npz())
    read = loaded(b"".join(Npz().write_grafted(found, skeleton, {}, {"a": donor, "c": donor})))
    assert same(read["a"], turned)
    assert same(read["b"], plain)
    assert same(read["c"], np.arange(3, dtype=">i4"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_new_archive_is_loaded_by_the_library(dtype: str) -> None:
    arrays = {str(number): array(dtype, shape) for number, shape in enumerate(SHAPES)}
    values = {name: Values(dtype, value.shape, memoryview(value.tobytes())) for name, value in arrays.items()}
    read = loaded(write(values, Npz()))
    assert list(read) == list(arrays)
    assert all(same(read[name], value) for name, value in arrays.items())


def test_groups_that_cannot_be_written_are_an_error_for_the_user() -> None:
    one = Values("int8", (1,), b"1")
    with pytest.raises(PluginError, match="no dtype bfloat16"):
        write({"a": Values("bfloat16", (1,), b"12")}, Npz())
    with pytest.raises(PluginError, match="the same name"):
        write({"a/b": one, "a~1b": one}, Npz())
    with pytest.raises(PluginError, match="too long"):
        write({"a" * 70_000: one}, Npz())


class Sparse:
    """A huge file of zeros with some bytes in it."""

    def __init__(self, pieces: dict[int, bytes], size: int) -> None:
        self.size = size
        self._pieces = pieces

    def read(self, start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        for begin, piece in self._pieces.items():
            low, high = max(start, begin), min(stop, begin + len(piece))
            if low < high:
                data[low - start : high - start] = piece[low - begin : high - begin]
        return bytes(data)


def test_members_of_more_than_four_gigabytes_are_found() -> None:
    size = 5 << 30
    header = npy("'|u1'", shape=f"({size},)", data=b"")
    first = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, 7, 2**32 - 1, 2**32 - 1, 5, 20) + b"a.npy"
    first += struct.pack("<HHQQ", 1, 16, len(header) + size, len(header) + size) + header
    place = len(first) + size
    second = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, 8, len(GOOD), len(GOOD), 5, 0) + b"b.npy" + GOOD
    directory = place + len(second)
    full = (2**32 - 1, 2**32 - 1)
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 33, 7, *full, 5, 20, 0, 0, 0, 0, 0) + b"a.npy"
    central += struct.pack("<HHQQ", 1, 16, len(header) + size, len(header) + size)
    sizes = (len(GOOD), len(GOOD))
    central += struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 33, 8, *sizes, 5, 12, 0, 0, 0, 0, 2**32 - 1)
    central += b"b.npy" + struct.pack("<HHQ", 1, 8, place)
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(central), directory)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, directory + len(central), 1)
    end += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), 2**32 - 1, 0)
    total = directory + len(central) + len(end)
    layout = Npz().scan(Sparse({0: first, place: second, directory: central + end}, total))
    assert [(span.name, span.nbytes) for span in layout.spans] == [("a", size), ("b", 8)]


def edited(data: bytes, mark: bytes, offset: int, new: bytes, nth: int = 0) -> bytes:
    """Data with some bytes changed, so far behind the nth place where a mark stands."""
    place = -1
    for _ in range(nth + 1):
        place = data.index(mark, place + 1)
    place += offset
    return data[:place] + new + data[place + len(new) :]


TWO = archive({"a.npy": GOOD, "b.npy": GOOD})
LOCAL = b"PK\3\4"
CENTRAL = b"PK\1\2"
END = b"PK\5\6"


def compressed() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.zeros(1000))
    return stream.getvalue()


def streamed() -> bytes:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    stream = Pipe()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("a.npy", GOOD)
    return stream.getvalue()


def duplicate() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("a.npy", GOOD)
        with pytest.warns(UserWarning, match="Duplicate"):
            written.writestr("a.npy", GOOD)
    return stream.getvalue()


BAD_ARCHIVES = {
    "no members": archive({}),
    "compressed": compressed(),
    "compressed with bzip2": archive({"a.npy": GOOD}, compress_type=zipfile.ZIP_BZIP2),
    "encrypted": edited(edited(TWO, LOCAL, 6, b"\1\0"), CENTRAL, 8, b"\1\0"),
    "strongly encrypted": edited(edited(TWO, LOCAL, 6, b"\x41\0"), CENTRAL, 8, b"\x41\0"),
    "encrypted in one place": edited(TWO, CENTRAL, 8, b"\1\0"),
    "encrypted in the other": edited(TWO, LOCAL, 6, b"\1\0"),
    "a link": archive({"a.npy": GOOD}, external_attr=0o120777 << 16),
    "a folder": archive({"a/": b""}),
    "no array but the name": archive({"a.npy": b"hello"}),
    "twice": duplicate(),
    "overlapping": edited(TWO, CENTRAL, 42, bytes(4), 1),
    "another name": edited(TWO, b"a.npy", 0, b"c"),
    "another name in the directory": edited(TWO, b"a.npy", 0, b"c", 1),
    "a name with a null": edited(edited(TWO, b"a.npy", 1, b"\0"), b"a\0npy", 1, b"\0"),
    "another checksum": edited(TWO, LOCAL, 14, b"abcd"),
    "another size": edited(TWO, LOCAL, 22, b"\1"),
    "another packed size": edited(TWO, LOCAL, 18, b"\1"),
    "another size in the directory": edited(TWO, CENTRAL, 24, b"\1"),
    "sizes of billions": edited(TWO, CENTRAL, 20, b"\xfe\xff\xff\x7f" * 2),
    "sizes that are elsewhere": edited(TWO, CENTRAL, 20, b"\xff" * 8),
    "sizes that are elsewhere here": edited(TWO, LOCAL, 18, b"\xff" * 8),
    "another method": edited(TWO, LOCAL, 8, b"\x08"),
    "another magic": edited(TWO, LOCAL, 2, b"\5"),
    "another place": edited(TWO, CENTRAL, 42, b"\xff"),
    "a place beyond": edited(TWO, CENTRAL, 42, b"\xff\xff\xff\x7f"),
    "a directory elsewhere": edited(TWO, END, 16, b"\0"),
    "a directory of billions": edited(TWO, END, 12, b"\xff\xff\xff\x7f"),
    "a directory of no length": edited(TWO, END, 12, bytes(4)),
    "something before": b"x" + TWO,
    "something behind": TWO + b"x",
    "a comment": edited(TWO, END, 20, b"\1") + b"x",
    "another archive before": TWO + TWO,
    "a checkpoint of torch": archive({"archive/data.pkl": b"\x80\2}.", "archive/version": b"3\n"}),
}


@pytest.mark.parametrize("data", BAD_ARCHIVES.values(), ids=BAD_ARCHIVES.keys())
def test_malformed_archive_is_refused(data: bytes) -> None:
    with pytest.raises(NotThisFormatError) as caught:
        Npz().scan(BytesSource(data))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object))
    return stream.getvalue()


def mixed() -> bytes:
    """Arrays among members of every other kind."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("first.npy", objects())
        written.writestr("a.npy", GOOD)
        written.writestr("packed.npy", GOOD * 100, compress_type=zipfile.ZIP_DEFLATED)
        written.writestr("A.npy", GOOD)
        written.writestr("folder/", b"")
        written.writestr("readme.txt", b"hello")
        written.writestr("inner.npy", archive({"b.npy": GOOD}))
    return stream.getvalue()


PARTLY_ARRAYS = {
    "objects": archive({"o.npy": objects(), "a.npy": GOOD}),
    "a text": archive({"a.npy": GOOD, "readme.txt": b"hello"}),
    "an archive": archive({"o.npy": archive({"a.npy": GOOD}), "a.npy": GOOD}),
    "another path": archive({"a.npy": GOOD}, extra=struct.pack("<HHB", 0x7075, 1, 1)),
    "streamed": streamed(),
}


@pytest.mark.parametrize("data", PARTLY_ARRAYS.values(), ids=PARTLY_ARRAYS.keys())
def test_members_that_are_no_plain_arrays_stay_in_the_skeleton(data: bytes) -> None:
    found = groups(data, Npz())
    assert list(found) == ["a"]
    new = write({**found, "b": found["a"]}, Npz(), data)
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(io.BytesIO(new)) as after:
        kept = set(before.namelist()) - {"a.npy"}
        assert set(after.namelist()) == {"a.npy", "b.npy", *kept}
        assert all(after.read(name) == before.read(name) for name in kept)
        assert after.read("b.npy")[-8:] == GOOD[-8:]
        assert after.testzip() is None


def test_arrays_are_found_among_all_else_and_what_is_compressed_is_not_written_anew() -> None:
    data = mixed()
    found = groups(data, Npz())
    assert list(found) == ["a", "A"]
    with pytest.raises(PluginError, match="compressed members"):
        write(found, Npz(), data)


def test_members_that_are_no_groups_are_parts_of_their_own() -> None:
    one, other = (savez(a=np.ones(2), o=np.array([number, None], object)) for number in (1, 2))
    more = PARTLY_ARRAYS["a text"]
    skeletons = [scan(data, Npz()).read_skeleton(BytesSource(data)) for data in (one, other, more)]
    parts = [Npz().parts(skeleton) for skeleton in skeletons]
    assert [list(found) for found in parts] == [["o"], ["o"], ["readme.txt"]]
    assert parts[0] != parts[1]
    assert Npz().values(BytesSource(one)) == parts[0]

    def members(donors: dict[str, bytes]) -> dict[str, bytes]:
        new = b"".join(Npz().write_grafted(groups(one, Npz()), skeletons[0], donors, {}))
        assert Npz().parts(scan(new, Npz()).read_skeleton(BytesSource(new))).keys() >= donors.keys() & {"readme.txt"}
        with zipfile.ZipFile(io.BytesIO(new)) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}

    with zipfile.ZipFile(io.BytesIO(other)) as archive:
        assert members({"o": skeletons[1]})["o.npy"] == archive.read("o.npy")
    assert list(members({"readme.txt": skeletons[2]})) == ["a.npy", "o.npy", "readme.txt"]
    assert list(members({"o": skeletons[2]})) == ["a.npy"]


def test_members_that_differ_in_nothing_but_their_ending_have_no_names_as_parts() -> None:
    stream = io.BytesIO(savez(a=np.ones(2)))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("a", b"text")
    data = stream.getvalue()
    with pytest.raises(PluginError, match="the same name but for"):
        Npz().parts(Npz().scan(BytesSource(data)).read_skeleton(BytesSource(data)))


def test_a_group_cannot_take_the_name_of_a_member_that_stays() -> None:
    data = PARTLY_ARRAYS["objects"]
    with pytest.raises(PluginError, match="the same name"):
        write({"o": Values("int8", (1,), b"1")}, Npz(), data)


def entry(name: bytes, extra: bytes) -> bytes:
    return (
        struct.pack("<4s6H3I5H2I", CENTRAL, 20, 20, 0, 0, 0, 33, 0, 5, 5, len(name), len(extra), *([0] * 5))
        + name
        + extra
    )


HOSTILE = {
    "many members": [entry(b"%d.npy" % number, b"") for number in range(38_000)],
    "many extra fields": [entry(b"%d.npy" % number, struct.pack("<HH", 0x9999, 0) * 16_000) for number in range(32)],
    "a directory that is too large": [entry(b"a.npy", bytes(60_000))] * 50,
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_take_little_memory_and_time(entries: list[bytes]) -> None:
    central = b"".join(entries)
    data = central + struct.pack("<4s4H2IH", END, 0, 0, len(entries), len(entries), len(central), 0, 0)
    begin = time.thread_time()
    with pytest.raises(NotThisFormatError):
        Npz().scan(BytesSource(data))
    assert time.thread_time() - begin < 30
    tracemalloc.start()
    try:
        with pytest.raises(NotThisFormatError):
            Npz().scan(BytesSource(data))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


SMALL: dict[str, tuple[bytes, Npy | Npz]] = {
    "npy": (save(array("float32", (2, 3))), Npy()),
    "npz": (savez(a=array("float32", (2, 3)), b=array(">f8", ()), c=np.asfortranarray(array("int8", (2, 3)))), Npz()),
}


@pytest.mark.parametrize(("original", "form"), SMALL.values(), ids=SMALL.keys())
def test_truncated_file_is_refused_everywhere(original: bytes, form: Npy | Npz) -> None:
    generator = random.Random(0)
    for length in [*range(20), *(generator.randrange(len(original)) for _ in range(200))]:
        with pytest.raises(NotThisFormatError):
            form.scan(BytesSource(original[:length]))


@pytest.mark.parametrize(("original", "form"), SMALL.values(), ids=SMALL.keys())
def test_changing_any_byte_gives_a_layout_or_a_refusal(original: bytes, form: Npy | Npz) -> None:
    generator = random.Random(0)
    taken = 0
    for number in range(2000):
        data = bytearray(original)
        for _ in range(1 + number % 3):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            found = groups(bytes(data), form)
        except NotThisFormatError:
            continue
        taken += 1
        assert write(found, form, bytes(data))
    assert 0 < taken < 2000
