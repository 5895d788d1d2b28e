"""Taking in what git pipes: its bytes are what counts, whatever the worktree file is or becomes meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta import tensors
from git_theta.checkpoints import formats
from git_theta.checkpoints.digests import digest_again
from git_theta.checkpoints.scan import Scan, scan
from git_theta.errors import ChangedWhileReadingError, StoreError
from git_theta.flows.intake import Intake, take
from git_theta.sources import BLOCK, BytesSource, FileSource, Source
from git_theta.store.arrays import Arrays
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, update_types
from git_theta.updates.reading import Reader
from git_theta.updates.wanted import Wanted, keep
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path


def model(seed: int, *, scale: int = 1) -> bytes:
    """A checkpoint of a few kilobytes (times the scale), as large for every seed."""
    generator = np.random.default_rng(seed)
    return safetensors_bytes(
        {
            "weight": generator.standard_normal((16 * scale, 32), dtype=np.float32),
            "bias": generator.standard_normal(33, dtype=np.float32),
            "empty": np.zeros((0, 3), np.float32),
            "step": np.array(seed, np.int64),
        }
    )


DATA = model(0)
OTHER = model(1)
LARGE = model(0, scale=1200)
NOISE = random.Random(0).randbytes(5000)


def header_size(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def swapped(data: bytes) -> bytes:
    """The same values as integers: another layout in a file of the same size."""
    return data.replace(b'"F32"', b'"I32"')


assert len(DATA) == len(OTHER) == len(swapped(DATA))


def scanned(source: Source) -> Scan:
    return scan(source, "model.safetensors", formats())


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@dataclass(frozen=True)
class Scene:
    """A worktree file, a directory for temporary files, and a store."""

    file: Path
    scratch: Path
    store: ObjectStore

    def take(
        self, content: Iterator[bytes], use: Callable[[Intake], bytes], scanner: Callable[[Source], Scan] = scanned
    ) -> bytes:
        with take(content, self.file, scanner, lambda: self.scratch) as intake:
            return use(intake)

    def taken(self, content: Iterator[bytes], scanner: Callable[[Source], Scan] = scanned) -> bytes:
        """What the source holds after taking in, once it was checked that layout and digests are those of it."""

        def whole(intake: Intake) -> bytes:
            data = intake.source.read(0, intake.source.size)
            assert intake.scan == scanned(BytesSource(data))
            assert intake.digests == digest_again(BytesSource(data), intake.scan.layout)
            return data

        return self.take(content, whole, scanner)

    def stored(self, content: Iterator[bytes], scanner: Callable[[Source], Scan] = scanned) -> bytes:
        """What would be committed: the file put together from the digested skeleton and the stored values."""
        return self.take(content, self._stored, scanner)

    def _stored(self, intake: Intake) -> bytes:
        layout, digests = intake.scan.layout, intake.digests
        wanted = [
            Wanted(intake.source, span.start, span.nbytes, tensors.itemsize(span.dtype), digest)
            for span, digest in zip(layout.spans, digests.groups, strict=True)
        ]
        kept = keep(wanted, self.store)
        file, position = b"", 0
        for span, lead, digest in zip(layout.spans, layout.leads(), digests.groups, strict=True):
            file += digests.skeleton[position : position + lead]
            position += lead
            blocks = Reader(Arrays(self.store), update_types()).values(kept[digest], Group(span.dtype, span.shape))
            file += b"".join(block.result().tobytes() for block in blocks)
        return file + digests.skeleton[position:]

    def assert_clean(self) -> None:
        """No temporary file is left."""
        assert list(self.scratch.iterdir()) == []


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "scratch").mkdir()
    return Scene(tmp_path / "model.safetensors", tmp_path / "scratch", ObjectStore(tmp_path / "theta"))


every_size = pytest.mark.parametrize("size", [1, 7, 4096, 65516, 1 << 20])


# --- a file that stays as it is -------------------------------------------------------------------------------------


@every_size
@pytest.mark.parametrize("data", [DATA, NOISE], ids=["safetensors", "opaque"])
def test_file_equal_to_the_content_is_used_as_it_is(scene: Scene, data: bytes, size: int) -> None:
    scene.file.write_bytes(data)

    def is_the_file(intake: Intake) -> bytes:
        assert isinstance(intake.source, FileSource)
        assert os.fstat(intake.source.descriptor).st_ino == scene.file.stat().st_ino
        return b""

    scene.take(pieces(data, size), is_the_file)
    assert scene.taken(pieces(data, size)) == data
    assert scene.stored(pieces(data, size)) == data


def test_no_temporary_file_is_made_for_a_file_equal_to_the_content(scene: Scene) -> None:
    scene.file.write_bytes(DATA)

    def never() -> Path:
        raise AssertionError("a temporary file was asked for")

    with take(pieces(DATA, 100), scene.file, scanned, never) as intake:
        assert intake.source.size == len(DATA)


@pytest.mark.parametrize("size", [65516, 1 << 20, 1 << 24])
def test_large_file_equal_to_the_content_is_taken(scene: Scene, size: int) -> None:
    assert len(LARGE) > 2 * BLOCK
    scene.file.write_bytes(LARGE)
    assert scene.taken(pieces(LARGE, size)) == LARGE


PLACES = {
    "first byte": 0,
    "in the header length": 7,
    "in the header": 40,
    "first value": header_size(DATA),
    "middle": len(DATA) // 2,
    "last byte": len(DATA) - 1,
}


@every_size
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_content_that_differs_from_the_file_is_what_counts(scene: Scene, place: int, size: int) -> None:
    other = bytearray(DATA)
    other[place] ^= 1
    for file, content in ((DATA, bytes(other)), (bytes(other), DATA)):
        scene.file.write_bytes(file)
        assert scene.taken(pieces(content, size)) == content
        assert scene.stored(pieces(content, size)) == content
        scene.assert_clean()


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 5, len(LARGE) - 1])
def test_content_that_differs_from_a_large_file_is_what_counts(scene: Scene, place: int) -> None:
    other = bytearray(LARGE)
    other[place] ^= 1
    scene.file.write_bytes(other)
    assert scene.taken(pieces(LARGE, 65516)) == LARGE


@every_size
@pytest.mark.parametrize("cut", [1, 8, header_size(DATA) - 1, header_size(DATA), len(DATA) // 2, len(DATA) - 1])
def test_file_longer_or_shorter_than_the_content_does_not_count(scene: Scene, cut: int, size: int) -> None:
    for file, content in ((DATA, DATA[:cut]), (DATA[:cut], DATA)):
        scene.file.write_bytes(file)
        assert scene.taken(pieces(content, size)) == content
        assert scene.stored(pieces(content, size)) == content


def test_content_longer_than_the_file_at_a_boundary_of_pieces_is_what_counts(scene: Scene) -> None:
    scene.file.write_bytes(DATA)
    assert scene.taken(iter([DATA, b"more"])) == DATA + b"more"
    assert scene.taken(iter([DATA, b"", b"", b"m"])) == DATA + b"m"


def test_pieces_without_bytes_change_nothing(scene: Scene) -> None:
    scene.file.write_bytes(DATA)
    assert scene.taken(iter([b"", DATA[:10], b"", DATA[10:], b""])) == DATA


def test_content_without_bytes_is_a_file_without_bytes(scene: Scene) -> None:
    for exists in (False, True):
        if exists:
            scene.file.write_bytes(DATA)
        assert scene.taken(iter([])) == b""


# --- no such file ---------------------------------------------------------------------------------------------------


def no_file(file: Path) -> None:
    assert not file.exists()


def empty_file(file: Path) -> None:
    file.touch()


def folder(file: Path) -> None:
    file.mkdir()


def link_to_other(file: Path) -> None:
    file.with_name("target").write_bytes(OTHER)
    file.symlink_to("target")


def link_to_equal(file: Path) -> None:
    file.with_name("target").write_bytes(DATA)
    file.symlink_to("target")


def broken_link(file: Path) -> None:
    file.symlink_to("nowhere")


def fifo(file: Path) -> None:
    os.mkfifo(file)


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


NO_FILE = [no_file, empty_file, folder, link_to_other, link_to_equal, broken_link, fifo, device]


@pytest.mark.parametrize("make", NO_FILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("size", [7, 65516])
def test_where_there_is_no_regular_file_the_content_is_spooled(
    scene: Scene, make: Callable[[Path], None], size: int
) -> None:
    make(scene.file)
    assert scene.taken(pieces(DATA, size)) == DATA
    assert scene.stored(pieces(DATA, size)) == DATA
    scene.assert_clean()


def test_folder_that_is_missing_is_no_hindrance(scene: Scene) -> None:
    with take(pieces(DATA, 100), scene.file / "deep" / "er", scanned, lambda: scene.scratch) as intake:
        assert intake.source.read(0, intake.source.size) == DATA


# --- a file that changes meanwhile ----------------------------------------------------------------------------------


def overwrite(data: bytes, place: int = 0) -> Callable[[Path], None]:
    def meddle(file: Path) -> None:
        with file.open("r+b") as stream:
            stream.seek(place)
            stream.write(data)

    return meddle


def truncate(size: int) -> Callable[[Path], None]:
    return lambda file: os.truncate(file, size)


def append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")


def replace(file: Path) -> None:
    new = file.with_name("new")
    new.write_bytes(OTHER)
    new.replace(file)


def unlink(file: Path) -> None:
    file.unlink()


MEDDLING: dict[str, Callable[[Path], None]] = {
    "another model": overwrite(OTHER),
    "another layout": overwrite(swapped(DATA)),
    "another header": overwrite(swapped(DATA)[: header_size(DATA)]),
    "first byte": overwrite(b"x"),
    "first value": overwrite(b"xxxx", header_size(DATA)),
    "middle": overwrite(b"xxxx", len(DATA) // 2),
    "end": overwrite(b"xxxx", len(DATA) - 4),
    "second half": overwrite(OTHER[len(OTHER) // 2 :], len(DATA) // 2),
    "truncated to nothing": truncate(0),
    "truncated to the header": truncate(header_size(DATA)),
    "truncated by a byte": truncate(len(DATA) - 1),
    "grown by zeros": truncate(len(DATA) + 5),
    "grown": append,
    "replaced": replace,
    "removed": unlink,
}

MOMENTS = {
    "before the first piece": 0,
    "after the first piece": 1,
    "in the header": header_size(DATA) - 1,
    "in the middle": len(DATA) // 2,
    "before the last piece": len(DATA) - 1,
    "after the last piece": len(DATA),
}


def meddled(data: bytes, size: int, moment: int, meddle: Callable[[], None]) -> Iterator[bytes]:
    """The content; once so many bytes have been taken, somebody writes to the file."""
    done = False
    for start in range(0, len(data), size):
        if start >= moment and not done:
            meddle()
            done = True
        yield data[start : start + size]
    if not done:
        meddle()


def git_bytes_or_error(run: Callable[[], bytes], expected: bytes) -> str:
    """Whether taking in gave exactly git's bytes, or the one error that it may give."""
    try:
        found = run()
    except ChangedWhileReadingError:
        return "error"
    assert found == expected, "a mixture"
    return "git's bytes"


@pytest.mark.parametrize("size", [7, 500, 1 << 20])
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING.keys())
def test_file_that_changes_gives_the_content_of_git_or_an_error(
    scene: Scene, meddle: Callable[[Path], None], moment: int, size: int
) -> None:
    scene.file.write_bytes(DATA)
    content = meddled(DATA, size, moment, lambda: meddle(scene.file))
    git_bytes_or_error(lambda: scene.stored(content), DATA)
    scene.assert_clean()


@pytest.mark.parametrize("size", [7, 500])
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING.keys())
def test_file_that_changes_and_differs_gives_the_content_of_git_or_an_error(
    scene: Scene, meddle: Callable[[Path], None], moment: int, size: int
) -> None:
    """As when git has read the file while it was being written: a state that the file never had."""
    content_bytes = DATA[: len(DATA) // 3] + OTHER[len(DATA) // 3 :]
    scene.file.write_bytes(DATA)
    content = meddled(content_bytes, size, moment, lambda: meddle(scene.file))
    git_bytes_or_error(lambda: scene.stored(content), content_bytes)


@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING.keys())
@pytest.mark.parametrize("before", [DATA, NOISE[: len(DATA)], swapped(DATA)], ids=["same", "opaque", "other layout"])
def test_file_that_changes_right_after_it_was_scanned_gives_the_content_of_git_or_an_error(
    scene: Scene, before: bytes, meddle: Callable[[Path], None]
) -> None:
    for content in (DATA, OTHER, swapped(DATA), before, NOISE):
        scene.file.write_bytes(before)
        times = []

        def scanning(source: Source, times: list[int] = times) -> Scan:
            found = scanned(source)
            if not times:
                meddle(scene.file)
            times.append(1)
            return found

        git_bytes_or_error(
            lambda content=content, scanning=scanning: scene.stored(pieces(content, 500), scanning), content
        )


def test_layout_of_a_file_that_became_another_is_not_believed(scene: Scene) -> None:
    """Scanned as floats, then overwritten: git's bytes are equal to the file again, but are integers."""
    scene.file.write_bytes(DATA)

    def scanning(source: Source) -> Scan:
        found = scanned(source)
        overwrite(swapped(DATA))(scene.file)
        return found

    with pytest.raises(ChangedWhileReadingError):
        scene.taken(pieces(swapped(DATA), 500), scanning)


def test_opaque_file_that_became_a_checkpoint_is_not_kept_as_opaque(scene: Scene) -> None:
    scene.file.write_bytes(NOISE[: len(DATA)])

    def scanning(source: Source) -> Scan:
        found = scanned(source)
        overwrite(DATA)(scene.file)
        return found

    with pytest.raises(ChangedWhileReadingError):
        scene.taken(pieces(DATA, 500), scanning)


def test_compared_part_that_changes_before_it_is_spooled_is_an_error(scene: Scene) -> None:
    """The first half was equal and let go; the second differs, so that the first would have to be read again."""
    scene.file.write_bytes(DATA)
    half = 1000  # between two pieces
    content = meddled(DATA[:half] + OTHER[half:], 500, half, lambda: overwrite(OTHER[:half])(scene.file))
    with pytest.raises(ChangedWhileReadingError, match="try again"):
        scene.taken(content)
    scene.assert_clean()


def test_file_that_is_written_to_and_equal_again_is_taken(scene: Scene) -> None:
    scene.file.write_bytes(DATA)

    def meddle() -> None:
        overwrite(OTHER)(scene.file)
        overwrite(DATA)(scene.file)

    assert scene.stored(meddled(DATA, 500, len(DATA) // 2, meddle)) == DATA


def test_random_meddling_never_gives_a_mixture(scene: Scene) -> None:
    generator = random.Random(0)
    outcomes = []
    for _ in range(150):
        scene.file.write_bytes(DATA)
        places = [generator.randrange(len(DATA)) for _ in range(3)]
        moments = sorted(generator.randrange(len(DATA) + 1) for _ in range(2))

        def meddle(places: list[int] = places) -> None:
            for place in places:
                overwrite(generator.randbytes(generator.randrange(1, 9)), place)(scene.file)

        content = meddled(DATA, generator.choice([13, 500, 5000]), moments[0], meddle)
        outcomes.append(git_bytes_or_error(lambda content=content: scene.stored(content), DATA))
    assert {"error", "git's bytes"} == set(outcomes)


# --- ends -----------------------------------------------------------------------------------------------------------


def open_files() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a Path would open it once more


@pytest.mark.parametrize("file", [DATA, OTHER, None], ids=["equal", "different", "no file"])
def test_source_can_be_read_until_the_context_ends_and_no_file_stays_open(scene: Scene, file: bytes | None) -> None:
    if file is not None:
        scene.file.write_bytes(file)
    before = open_files()
    with take(pieces(DATA, 500), scene.file, scanned, lambda: scene.scratch) as intake:
        scene.file.unlink(missing_ok=True)
        assert intake.source.read(5, 500) == DATA[5:500]
    assert open_files() == before
    with pytest.raises(OSError, match="descriptor"):
        intake.source.read(0, 1)
    scene.assert_clean()


class BrokenError(Exception):
    """What the one who gives the content raises."""


@pytest.mark.parametrize("file", [DATA, OTHER, None], ids=["equal", "different", "no file"])
def test_content_that_breaks_off_leaves_nothing(scene: Scene, file: bytes | None) -> None:
    def breaking() -> Iterator[bytes]:
        yield DATA[:1000]
        raise BrokenError

    if file is not None:
        scene.file.write_bytes(file)
    before = open_files()
    with pytest.raises(BrokenError):
        scene.taken(breaking())
    assert open_files() == before
    scene.assert_clean()


def test_temporary_file_that_cannot_be_made_is_an_error_of_the_store(scene: Scene) -> None:
    with (
        pytest.raises(StoreError, match="no temporary file") as caught,
        take(pieces(DATA, 500), scene.file, scanned, lambda: scene.scratch / "missing"),
    ):
        pass
    assert str(caught.value).isprintable()
