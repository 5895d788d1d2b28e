"""Versions of checkpoints in every form that they have: metadata files, checkpoints, and what is neither."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from git_theta.checkpoints import formats
from git_theta.diffs import plain
from git_theta.errors import MetadataError, NotThisFormatError, StoreError
from git_theta.flows.versions import ABSENT, NOT_KEPT, Opener
from git_theta.sources import BytesSource
from git_theta.store.cache import MetadataCache
from git_theta.store.objects import ObjectStore
from git_theta.updates import update_types
from git_theta.updates.reading import Readers
from tests.conftest import CHECKPOINT
from tests.flows.test_by_value import DATA, Good
from tests.flows.test_by_value import formats as plugged
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = safetensors_bytes(model(0))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def opener(stack: ExitStack) -> Opener:
    return Opener(formats(), stack)


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def committed(repo: Repo, path: str = CHECKPOINT) -> bytes:
    return repo.git_bytes("cat-file", "blob", f"HEAD:{path}")


def test_metadata_file_and_checkpoint_are_the_same_version(tracked: Repo, opener: Opener) -> None:
    (tracked.path / "as metadata").write_bytes(committed(tracked))
    one = opener.file(tracked.path / "as metadata", CHECKPOINT)
    other = opener.file(tracked.path / CHECKPOINT, CHECKPOINT)
    assert one.metadata is not None
    assert other.metadata is not None
    assert list(plain.lines(one.metadata, None)) == list(plain.lines(other.metadata, None))
    assert one.metadata.layout() == other.metadata.layout()
    assert {entry.update for entry in other.metadata.entries} == {NOT_KEPT}
    assert (one.data, other.data) == (committed(tracked), None)


def test_checkpoint_that_was_seen_here_is_known_to_be_kept(tracked: Repo, stack: ExitStack) -> None:
    cache = MetadataCache(tracked.path / ".git" / "theta" / "cache")
    version = Opener(formats(), stack, cache).file(tracked.path / CHECKPOINT, CHECKPOINT)
    assert version.data == committed(tracked)
    assert version.metadata is not None
    assert NOT_KEPT not in {entry.update for entry in version.metadata.entries}


def test_cache_with_nonsense_is_no_help_and_no_harm(tracked: Repo, stack: ExitStack) -> None:
    folder = tracked.path / ".git" / "theta" / "cache"
    for file in folder.iterdir():
        file.write_bytes(b"nonsense")
    version = Opener(formats(), stack, MetadataCache(folder)).file(tracked.path / CHECKPOINT, CHECKPOINT)
    assert version.metadata is not None
    assert {entry.update for entry in version.metadata.entries} == {NOT_KEPT}


@pytest.mark.parametrize("where", ["store", "file", "known file"])
def test_values_are_read_from_wherever_they_are(tracked: Repo, opener: Opener, where: str) -> None:
    match where:
        case "store":
            version = opener.metadata_file(committed(tracked))
        case "file":
            version = opener.file(tracked.path / CHECKPOINT, CHECKPOINT)
        case _:
            version = opener.known_file(tracked.path / CHECKPOINT, committed(tracked))
    readers = Readers(ObjectStore(tracked.path / ".git" / "theta"), update_types()) if where == "store" else None
    assert version.metadata is not None
    for entry in version.metadata.entries:
        data = b"".join(rows.tobytes() for rows in version.rows(entry, readers))
        assert data == np.ascontiguousarray(model(0)[entry.name]).tobytes()


def test_known_file_of_another_size_is_not_read(tracked: Repo, opener: Opener) -> None:
    tracked.write(CHECKPOINT, MODEL + b"x")
    assert opener.known_file(tracked.path / CHECKPOINT, committed(tracked)).source is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than a header"),
        (b"\x00\x01noise" * 100, "not safetensors"),
        (POINTER, "pointer of Git LFS"),
        (b'<<<<<<< HEAD\n{"git-theta":1,', "conflict markers"),
        (b'<<<<<<<<<<<< HEAD\n{"git-theta":1,', "conflict markers"),
        (MODEL[:-1], "not safetensors"),
    ],
)
def test_what_is_no_checkpoint_is_refused(opener: Opener, tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(NotThisFormatError, match=reason):
        opener.file(tmp_path / "m.safetensors", "m.safetensors")


def test_what_no_format_claims_can_be_taken_whole(opener: Opener) -> None:
    version = opener.source(BytesSource(b"noise" * 9), "m.bin", is_any=True)
    assert version.metadata is not None
    assert [(entry.name, entry.nbytes) for entry in version.metadata.entries] == [("file", 45)]
    assert version.texts(formats(), None) is None


def test_format_that_is_asked_for_is_the_only_one(opener: Opener) -> None:
    assert opener.source(BytesSource(MODEL), "m", "opaque").metadata is not None
    with pytest.raises(NotThisFormatError, match="npz"):
        opener.source(BytesSource(MODEL), "m.safetensors", "npz")


def test_metadata_file_that_does_not_parse_is_an_error(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b'{"git-theta":1,"nonsense')
    with pytest.raises(MetadataError):
        opener.file(tmp_path / "m", "m")


def test_file_that_cannot_be_opened_is_an_error(opener: Opener, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened: No such file"):
        opener.file(tmp_path / "m", "m")


def test_files_are_closed_with_the_stack(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(MODEL)
    before = open_files()
    with ExitStack() as stack:
        Opener(formats(), stack).file(tmp_path / "m.safetensors", "m.safetensors")
        assert open_files() == before + 1
    assert open_files() == before


def test_values_beside_the_groups_are_found_in_small_and_large_skeletons(repo: Repo, opener: Opener) -> None:
    repo.theta("track", "*.pt")
    for name, note in (("small", "x"), ("large", "".join(map(chr, range(0x4E00, 0x9E00))) * 2)):
        torch.save({"w": torch.ones(3), "epoch": 3, "note": note}, repo.path / f"{name}.pt")
    repo.commit("both")
    store = ObjectStore(repo.path / ".git" / "theta")
    readers = Readers(store, update_types())
    for name in ("small", "large"):
        version = opener.metadata_file(committed(repo, f"{name}.pt"))
        assert version.metadata is not None
        assert (version.metadata.skeleton.inline is None) == (name == "large")
        for known in (version, opener.file(repo.path / f"{name}.pt", "x.pt")):
            texts = known.texts(formats(), readers)
            assert texts is not None
            assert texts["epoch"] == "3"
        assert (version.texts(formats(), None) is None) == (name == "large")
    assert version.metadata is not None
    assert version.metadata.skeleton.update is not None
    for ref in version.metadata.skeleton.update.objects():
        store.path(ref.oid).unlink()
    assert version.texts(formats(), Readers(store, update_types())) is None


def test_file_kept_by_value_is_loaded_and_has_the_groups_of_its_plugin(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(DATA)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    opener = Opener(plugged(Good), stack, scratch=lambda: scratch)
    version = opener.file(tmp_path / "m.json", "m.json", "plug")
    assert version.metadata is not None
    assert version.metadata.format == "by-value:plug"
    values = {
        entry.name: [np.frombuffer(rows, np.float64).tolist() for rows in version.rows(entry, None)]
        for entry in version.metadata.entries
    }
    assert values == {"a/b": [[1.0, 2.0]], "c": [[3.0]]}
    assert list(scratch.iterdir()) == []


def test_nothing_has_nothing_to_say() -> None:
    assert ABSENT.texts(formats(), None) is None
