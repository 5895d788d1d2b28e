"""The one contract that every checkpoint format keeps, with files of the real libraries; none goes without samples."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.checkpoints import Format, Values, formats
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.sources import BytesSource
from tests.checkpoints.samples import KITS, Kit, Sample

if TYPE_CHECKING:
    from pathlib import Path

    from git_theta.layout import Layout

NAMES = formats().names()
WITHOUT_KIT = [name for name in NAMES if name not in KITS]
every_format = pytest.mark.parametrize("name", [name for name in NAMES if name in KITS])
every_sample = pytest.mark.parametrize(
    ("name", "sample"),
    [
        pytest.param(name, sample, id=f"{name}-{title}")
        for name in NAMES
        if name in KITS
        for title, sample in KITS[name].samples().items()
    ],
)


def member_of(name: str) -> Format:
    return formats().get(name)


def scan(name: str, data: bytes) -> Layout:
    return member_of(name).scan(BytesSource(data))


def groups_of(data: bytes, layout: Layout) -> dict[str, Values]:
    return {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in layout.spans}


def put_together(layout: Layout, skeleton: bytes, groups: dict[str, Values]) -> bytes:
    """As a checkout does it: for each group, the bytes that lead to it, then its values; at last the rest."""
    pieces = []
    position = 0
    for span, lead in zip(layout.spans, layout.leads(), strict=True):
        pieces += [skeleton[position : position + lead], bytes(groups[span.name].data)]
        position += lead
    return b"".join([*pieces, skeleton[position:]])


def check_round_trip(name: str, data: bytes) -> Layout:
    """The file is its skeleton and its groups, and the layout depends on the skeleton alone."""
    layout = scan(name, data)
    assert layout.format == name
    assert layout.size == len(data)
    assert list(layout.spans) == sorted(layout.spans, key=lambda span: (span.start, span.stop))
    assert len({span.name for span in layout.spans}) == len(layout.spans)
    for span in layout.spans:
        assert span.stop - span.start == tensors.nbytes(span.dtype, span.shape) == span.nbytes
        assert tensors.join_name(tensors.split_name(span.name)) == span.name
        span.name.encode("utf-8")
    skeleton = layout.read_skeleton(BytesSource(data))
    again = put_together(layout, skeleton, groups_of(data, layout))
    assert again == data
    assert scan(name, again) == layout
    assert member_of(name).scan(layout.hollow(skeleton)) == layout
    return layout


def check_written(name: str, sample: Sample, groups: dict[str, Values], *, is_new: bool = False) -> None:
    """Written into a new file, the groups are found there by us and by the real library."""
    skeleton = None if is_new else scan(name, sample.data).read_skeleton(BytesSource(sample.data))
    written = b"".join(member_of(name).write(groups, skeleton))
    check_zip(written)
    layout = check_round_trip(name, written)
    assert groups_of(written, layout) == groups
    if sample.is_loaded or is_new:
        assert KITS[name].load(written) == groups


def check_zip(data: bytes) -> None:
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None


def turned(values: Values) -> Values:
    """Other values of the same dtype and shape: the blocks in the opposite order."""
    _, size = tensors.BLOCKS[values.dtype]
    data = bytes(values.data)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return Values(values.dtype, values.shape, b"".join(reversed(parts)))


def test_every_format_has_samples() -> None:
    assert not WITHOUT_KIT
    assert all(KITS[name].samples() for name in NAMES)


@every_sample
def test_a_file_is_its_skeleton_and_its_groups(name: str, sample: Sample) -> None:
    check_round_trip(name, sample.data)


@every_sample
def test_the_groups_are_what_the_library_loads(name: str, sample: Sample) -> None:
    if sample.is_loaded:
        assert groups_of(sample.data, scan(name, sample.data)) == KITS[name].load(sample.data)


@every_sample
def test_only_one_format_claims_a_file(name: str, sample: Sample) -> None:
    for other in NAMES:
        if other == name:
            assert scan(other, sample.data).format == name
        else:
            with pytest.raises(NotThisFormatError, match=r"\A.+\Z"):
                scan(other, sample.data)


@every_sample
def test_the_same_groups_are_written_again(name: str, sample: Sample) -> None:
    check_written(name, sample, groups_of(sample.data, scan(name, sample.data)))


@every_sample
def test_changed_values_are_written(name: str, sample: Sample) -> None:
    groups = groups_of(sample.data, scan(name, sample.data))
    check_written(name, sample, {key: turned(values) for key, values in groups.items()})


@every_sample
def test_a_group_is_taken_out(name: str, sample: Sample) -> None:
    groups = groups_of(sample.data, scan(name, sample.data))
    for gone in list(groups)[:: max(1, len(groups) - 1)]:
        fewer = {key: values for key, values in groups.items() if key != gone}
        try:
            check_written(name, sample, fewer)
        except PluginError:
            assert sample.is_whole


@every_sample
def test_a_group_is_added(name: str, sample: Sample) -> None:
    groups = groups_of(sample.data, scan(name, sample.data))
    more = {**groups, "one more": Values("float32", (2, 3), bytes(range(24)))}
    if sample.is_closed:
        with pytest.raises(PluginError):
            check_written(name, sample, more)
    else:
        check_written(name, sample, more)


@every_sample
def test_groups_alone_make_a_file(name: str, sample: Sample) -> None:
    check_written(name, sample, groups_of(sample.data, scan(name, sample.data)), is_new=True)


@every_format
def test_damaged_files_do_no_harm(name: str, tmp_path: Path) -> None:
    for number, sample in enumerate(KITS[name].samples().values()):
        (tmp_path / f"{number:02}").write_bytes(sample.data)
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.fuzz", name, str(tmp_path)],
        capture_output=True,
        check=False,
        timeout=120,
        text=True,
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


@every_format
@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck), database=None)
@given(chosen=st.data())
def test_any_valid_file_keeps_the_contract(name: str, chosen: Any) -> None:
    kit: Kit = KITS[name]
    data = chosen.draw(kit.files)
    layout = check_round_trip(name, data)
    groups = groups_of(data, layout)
    assert groups == kit.load(data)
    check_written(name, Sample(data), groups)
