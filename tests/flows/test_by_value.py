"""Files kept by value: the plug-in is watched, and whatever it gets wrong keeps the file out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from git_theta.checkpoints import Checkpoint, Format, opaque
from git_theta.checkpoints.checkpoint import CheckpointFile
from git_theta.checkpoints.digests import digest_again
from git_theta.checkpoints.scan import Scan
from git_theta.errors import PluginError, StoreError
from git_theta.flows import by_value
from git_theta.flows.intake import Intake
from git_theta.metadata import Entry, Metadata, Skeleton, Update
from git_theta.registry import Family
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = json.dumps({"a": {"b": [1.0, 2.0]}, "c": [3.0]}).encode()


class Good(Checkpoint):
    """Nested lists of numbers as JSON. It uses the file as a file when it reads, and as a path when it writes."""

    seen: ClassVar[list[str]] = []

    @classmethod
    def load(cls, file: Any) -> Any:
        cls.seen.append(Path(file).name)
        return json.loads(file.read())

    @classmethod
    def from_framework(cls, native: Any) -> Checkpoint:
        return cls({key: cls.arrays(value) for key, value in native.items()})

    @classmethod
    def arrays(cls, value: Any) -> Any:
        return cls.from_framework(value) if isinstance(value, dict) else np.array(value)

    def to_framework(self) -> Any:
        return json.loads(json.dumps(self, default=lambda array: array.tolist()))

    def save(self, file: Any) -> None:
        Path(file).write_text(json.dumps(self.to_framework()))


class Forgetful(Good):
    """Loses a group when it saves."""

    def to_framework(self) -> Any:
        return {key: value for key, value in super().to_framework().items() if key != "c"}


class Inexact(Good):
    """Changes a value when it saves."""

    def to_framework(self) -> Any:
        return {**super().to_framework(), "c": [3.5]}


class Unsaving(Good):
    """Cannot save."""

    def save(self, file: Any) -> None:
        raise OSError(f"no\nroom in {type(file).__name__}")


class Unloading(Good):
    """Cannot load."""

    @classmethod
    def load(cls, file: Any) -> Any:
        raise SystemExit(f"goodbye {type(file).__name__}")


class Silly(Good):
    """Gives no arrays."""

    @classmethod
    def from_framework(cls, native: Any) -> Checkpoint:
        return native["c"]  # type: ignore[no-any-return]


def formats(plugin: type[Checkpoint]) -> Family[Format]:
    members: dict[str, Any] = {"plug": plugin()}
    return Family("checkpoint format", "no.such.group", {}, members)


def taken(data: bytes = DATA) -> Intake:
    layout = opaque.layout(len(data))
    source = BytesSource(data)
    return Intake(source, Scan(layout, None, "plug"), digest_again(source, layout))


def loaded(plugin: type[Checkpoint], scratch: Path) -> Intake:
    return by_value.loaded(taken(), "deep/er/model.json", formats(plugin), lambda: scratch)


def metadata_of(intake: Intake) -> Metadata:
    layout, digests = intake.scan.layout, intake.digests
    entries = tuple(
        Entry(span.name, span.dtype, span.shape, digest, lead, Update("dense", None))
        for span, lead, digest in zip(layout.spans, layout.leads(), digests.groups, strict=True)
    )
    return Metadata(layout.format, layout.size, Skeleton(len(digests.skeleton), "", digests.skeleton, None), entries)


def test_values_come_and_go(tmp_path: Path) -> None:
    Good.seen.clear()
    intake = loaded(Good, tmp_path)
    assert intake.scan.layout.format == "by-value:plug"
    assert [(span.name, span.dtype) for span in intake.scan.layout.spans] == [("a/b", "float64"), ("c", "float64")]
    data = intake.source.read(0, intake.source.size)
    content = [memoryview(data)[start : start + 3] for start in range(0, len(data), 3)]
    back = by_value.saved(metadata_of(intake).layout(), content, formats(Good), "deep/model.json", lambda: tmp_path)
    assert json.loads(b"".join(back)) == json.loads(DATA)
    assert list(tmp_path.iterdir()) == []
    assert set(Good.seen) == {"model.json"}


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Forgetful, r"does not give the same values after saving and loading \(group 'c'\)"),
        (Inexact, r"does not give the same values after saving and loading \(group 'c'\)"),
        (Unsaving, "failed to save the file: OSError: no room in CheckpointFile"),
        (Unloading, "failed to load the file: SystemExit: goodbye CheckpointFile"),
        (Silly, "the checkpoint is a list"),
    ],
)
def test_a_plugin_that_gets_it_wrong_is_refused_in_one_line(
    plugin: type[Checkpoint], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(PluginError, match=reason) as caught:
        loaded(plugin, tmp_path)
    assert "'plug'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_content_that_ends_in_an_error_makes_no_file(tmp_path: Path) -> None:
    intake = loaded(Good, tmp_path)

    def content() -> Iterator[bytes]:
        yield intake.source.read(0, intake.source.size)
        raise StoreError("the last group is damaged")

    saving = by_value.saved(metadata_of(intake).layout(), content(), formats(Good), "model.json", lambda: tmp_path)
    with pytest.raises(StoreError):
        next(saving)
    assert list(tmp_path.iterdir()) == []


def test_the_missing_plugin_is_named_and_how_to_get_it(tmp_path: Path) -> None:
    metadata = metadata_of(loaded(Good, tmp_path))
    nobody: Family[Format] = Family("checkpoint format", "no.such.group", {})
    with pytest.raises(PluginError, match=r"needs the plug-in 'plug': unknown checkpoint format 'plug'.*; install"):
        next(by_value.saved(metadata.layout(), [], nobody, "model.json", lambda: tmp_path))


def test_a_plugin_of_the_other_kind_is_not_enough(tmp_path: Path) -> None:
    metadata = metadata_of(loaded(Good, tmp_path))
    members: dict[str, Any] = {"plug": object()}
    others: Family[Format] = Family("checkpoint format", "no.such.group", {}, members)
    with pytest.raises(PluginError, match="loads and saves"):
        next(by_value.saved(metadata.layout(), [], others, "model.json", lambda: tmp_path))


def test_no_room_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no temporary file"):
        loaded(Good, tmp_path / "missing")


def test_the_file_is_a_path_too(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    with CheckpointFile(tmp_path / "x", "rb") as file:
        assert os.fspath(file) == str(tmp_path / "x")
        with Path(file).open("rb") as again:
            assert again.read() == file.read() == b"abc"
