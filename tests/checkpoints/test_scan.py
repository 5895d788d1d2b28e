"""Which format a file has: the first that claims it, the likeliest asked first; else it is kept whole."""

from __future__ import annotations

import io
import pickle
import random
from typing import TYPE_CHECKING

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.checkpoints import Format, Values, formats, opaque
from git_theta.checkpoints.scan import scan
from git_theta.errors import ChangedWhileReadingError, NotThisFormatError
from git_theta.layout import Layout, Span
from git_theta.registry import Family
from git_theta.sources import BytesSource, Source
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Fake:
    """A format that claims what begins with its own first letter."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name = name
        self.extensions: tuple[str, ...] = (f".{name}", f".{name}s")
        self._asked = asked

    def scan(self, source: Source) -> Layout:
        self._asked.append(self.name)
        if source.read(0, 1) != self.name[:1].encode():
            raise NotThisFormatError(f"no {self.name[:1]} in front")
        return Layout(self.name, source.size, ())

    def values(self, source: Source) -> Mapping[str, str]:  # noqa: ARG002
        return {}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:  # noqa: ARG002
        return iter(())


class Failing(Fake):
    """A format that finds the file changed."""

    def scan(self, source: Source) -> Layout:  # noqa: ARG002
        raise ChangedWhileReadingError("the file was truncated while it was read")


class Scene:
    """Formats "alpha", "beta" and "gamma", and the order in which they were asked."""

    def __init__(self, **replaced: type[Fake]) -> None:
        self.asked: list[str] = []
        names = ("alpha", "beta", "gamma")
        fakes: dict[str, Format] = {name: replaced.get(name, Fake)(name, self.asked) for name in names}
        self.family = Family("fake", "no.such.group", dict.fromkeys(names, "not:used"), fakes)


def test_the_first_format_that_claims_the_bytes_wins() -> None:
    scene = Scene()
    found = scan(BytesSource(b"bytes"), "model.bin", scene.family)
    assert found.layout.format == "beta"
    assert found.why_opaque is None
    assert scene.asked == ["alpha", "beta"]


@pytest.mark.parametrize("path", ["model.gamma", "deep/er/model.gammas", ".gamma"])
def test_the_format_that_the_ending_suggests_is_asked_first(path: str) -> None:
    scene = Scene()
    assert scan(BytesSource(b"g"), path, scene.family).layout.format == "gamma"
    assert scene.asked == ["gamma"]


def test_a_wrong_ending_does_no_harm() -> None:
    scene = Scene()
    assert scan(BytesSource(b"alpha"), "model.gamma", scene.family).layout.format == "alpha"
    assert scene.asked == ["gamma", "alpha"]


def test_what_no_format_claims_is_one_group_of_bytes_and_the_likeliest_says_why() -> None:
    scene = Scene()
    found = scan(BytesSource(b"12345"), "model.beta", scene.family)
    assert found.layout == Layout("opaque", 5, (Span("file", "uint8", (5,), 0),))
    assert found.why_opaque == "not beta: no b in front"
    assert scene.asked == ["beta", "alpha", "gamma"]


def test_what_all_formats_of_an_ending_say_is_told() -> None:
    file = io.BytesIO()
    torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    found = scan(BytesSource(file.getvalue()[:-1]), "model.pth", formats())
    assert found.why_opaque is not None
    assert found.why_opaque.startswith("not torch: not a zip file; not torch-legacy: ")
    assert "storages end at" in found.why_opaque


def test_what_a_format_says_of_files_that_do_not_end_as_its_own_is_not_told() -> None:
    found = scan(BytesSource(b'{"a": 1}'), "model.json", formats())
    assert found.why_opaque == "no format that is known here claims it"


def test_without_formats_everything_is_kept_whole() -> None:
    found = scan(BytesSource(b"12345"), "model.bin", Family("fake", "no.such.group", {}))
    assert found.layout == opaque.layout(5)
    assert found.why_opaque == "no format that is known here claims it"


def test_file_that_changes_is_an_error_and_not_another_format() -> None:
    scene = Scene(alpha=Failing)
    with pytest.raises(ChangedWhileReadingError):
        scan(BytesSource(b"beta"), "model.bin", scene.family)


@pytest.mark.parametrize("path", ["model.safetensors", "model.bin", "model"])
def test_safetensors_is_known_by_its_bytes_whatever_the_path(path: str) -> None:
    found = scan(BytesSource(safetensors_bytes({"a": np.ones(3, np.float32)})), path, formats())
    assert found.layout.format == "safetensors"
    assert [span.name for span in found.layout.spans] == ["a"]
    assert found.why_opaque is None


def test_damaged_safetensors_is_kept_whole_and_the_reason_is_given() -> None:
    data = safetensors_bytes({"a": np.ones(3, np.float32)})[:-1]
    found = scan(BytesSource(data), "model.safetensors", formats())
    assert found.layout == opaque.layout(len(data))
    assert found.why_opaque is not None
    assert found.why_opaque.startswith("not safetensors: ")
    assert "\n" not in found.why_opaque


class Watched:
    """A source that counts the bytes that are read of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.read_bytes = 0

    def read(self, start: int, stop: int) -> bytes:
        self.read_bytes += stop - start
        return self._data[start:stop]


RANDOM = random.Random(0)
OTHERS = {
    "text": b"Once upon a time\n" * 100_000,
    "json": b'{"weights": [1, 2, 3]}' + b" " * 1_000_000,
    "yaml": b"---\na: 1\n" * 100_000,
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + RANDOM.randbytes(1_000_000),
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF" + RANDOM.randbytes(1_000_000),
    "gzip": b"\x1f\x8b\x08" + RANDOM.randbytes(1_000_000),
    "elf": b"\x7fELF\2\1\1" + bytes(1_000_000),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(1_000_000),
    "onnx": b"\x08\x07\x12\x07pytorch" + RANDOM.randbytes(1_000_000),
    "pdf": b"%PDF-1.7\n" + RANDOM.randbytes(1_000_000),
    "zeros": bytes(1_000_000),
    "ones": b"\xff" * 1_000_000,
    "a pickle": pickle.dumps({"a": list(range(100_000))}),
    "msgpack without arrays": msgpack.packb({"a": [1, 2, {"b": b"c"}]}),
    "metadata": b'{"git-theta":1,"about":"..."}\n' * 10_000,
    **{f"noise {seed}": random.Random(seed).randbytes(1_000_000) for seed in range(20)},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("ending", ["", ".msgpack", ".pt"])
def test_what_is_no_checkpoint_is_claimed_by_nobody_who_has_read_but_little(name: str, ending: str) -> None:
    source = Watched(OTHERS[name])
    assert scan(source, f"file{ending}", formats()).why_opaque is not None
    assert source.read_bytes < 300_000


@settings(derandomize=True, deadline=None, max_examples=200)
@given(data=st.binary(max_size=100), path=st.sampled_from(["model.safetensors", "model.bin"]))
def test_any_bytes_have_a_layout_that_covers_them(data: bytes, path: str) -> None:
    layout = scan(BytesSource(data), path, formats()).layout
    assert layout.size == len(data)
    assert len(layout.read_skeleton(BytesSource(data))) + sum(span.nbytes for span in layout.spans) == len(data)


@pytest.mark.parametrize("name", formats().builtins)
def test_every_format_reads_what_it_writes_and_refuses_the_rest(name: str) -> None:
    member = formats().get(name)
    assert member.name == name
    assert isinstance(member.extensions, tuple)
    assert all(extension.startswith(".") for extension in member.extensions)
    groups = {"array": Values("float32", (2,), bytes(range(8)))}
    data = b"".join(member.write(groups, None))
    found = scan(BytesSource(data), "file", formats()).layout
    assert found.format == name
    assert {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in found.spans} == groups
    assert formats().get(found.format).values(BytesSource(data)) == {}
    for other in (b"", b"x", b"this is no checkpoint", b'{"a": 1}', bytes(100)):
        with pytest.raises(NotThisFormatError):
            member.scan(BytesSource(other))
