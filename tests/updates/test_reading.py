"""Reading values through updates: in blocks of one size, whatever the updates below give, or an error of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from git_theta import tensors
from git_theta.errors import CorruptObjectError, MissingObjectError, PluginError
from git_theta.metadata import Entry, Metadata, Skeleton, Update
from git_theta.metadata_file import serialize
from git_theta.registry import Family
from git_theta.store import arrays
from git_theta.store.arrays import AHEAD, Arrays, Ready
from git_theta.store.description import BLOCK_ROWS
from git_theta.updates import Group, update_types
from git_theta.updates.gaps import pack
from git_theta.updates.reading import Reader, ahead, aligned, block_nbytes, memory_nbytes, results
from git_theta.updates.words import words_of
from tests.updates.scene import LARGE, Scene, Values, normal, types, update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from git_theta.store.arrays import Block


def blocks_of(data: bytes, sizes: list[int]) -> Iterator[Block]:
    position = 0
    for size in sizes:
        yield Ready(np.frombuffer(data[position : position + size], np.uint8).reshape(-1, 1))
        position += size


@pytest.mark.parametrize(
    "sizes", [[100], [10] * 10, [7] * 14 + [2], [33, 33, 34], [1] * 100, [99, 1], [60, 40]], ids=str
)
@pytest.mark.parametrize("size", [10, 7, 33, 100, 1000, 60])
def test_blocks_of_any_sizes_come_in_blocks_of_one_size(sizes: list[int], size: int) -> None:
    data = bytes(range(100))
    found = [bytes(block.result()) for block in aligned(blocks_of(data, sizes), 100, size)]
    assert b"".join(found) == data
    assert [len(piece) for piece in found] == [size] * (100 // size) + [100 % size] * bool(100 % size)


def test_blocks_that_fit_are_passed_on_as_they_are() -> None:
    blocks = list(blocks_of(bytes(100), [40, 40, 20]))
    assert list(aligned(iter(blocks), 100, 40)) == blocks


@pytest.mark.parametrize("sizes", [[], [40], [40, 40], [40, 40, 19], [40, 40, 21], [40, 40, 20, 1], [150], [40] * 3])
def test_blocks_that_are_too_few_or_too_many_are_refused(sizes: list[int]) -> None:
    """A plug-in may give anything."""
    with pytest.raises(CorruptObjectError, match=r"100$"):
        list(aligned(blocks_of(bytes(200), sizes), 100, 40))


def test_nothing_comes_in_no_blocks() -> None:
    assert list(aligned(iter(()), 0, 40)) == []


def test_parts_are_begun_ahead_and_come_in_order() -> None:
    begun: list[int] = []

    def parts() -> Iterator[int]:
        for number in range(20):
            begun.append(number)
            yield number

    for number in ahead(parts()):
        assert len(begun) == min(20, number + AHEAD + 1)
    assert begun == list(range(20))


def test_no_block_is_worked_on_before_its_rows_are_asked_for() -> None:
    asked: list[int] = []

    class Recorded(Ready):
        def __init__(self, number: int) -> None:
            super().__init__(np.zeros((1, 1), np.uint8))
            self.number = number

        def result(self) -> Any:
            asked.append(self.number)
            return super().result()

    rows = results(Recorded(number) for number in range(20))
    next(rows)
    assert asked == [0], "many look at the first block alone"
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert asked == [0, 1]


def chain(scene: Scene, shape: tuple[int, ...], dtype: str) -> tuple[Update, Group]:
    """A stored chain of linear, ia3 and low-rank updates with corrections, which all give blocks of their own."""
    group = Group(dtype, shape)
    rows, columns = shape
    one, two = (scene.base(normal(shape, dtype, seed)).update for seed in range(2))
    summed = update("linear", None, one, two, weights=(0.3, 0.7))
    vector = scene.put(normal(columns, seed=3))
    scaled = update("ia3", vector, summed, dtype="float32", shape=(columns,))
    factors = scene.put(normal(3 * (rows + columns), seed=4))
    product = update("low-rank", factors, scaled, dtype="float32", rank=3)
    width = tensors.itemsize(dtype)
    steps = np.random.default_rng(5).integers(0, 4, (rows * columns, width), np.uint8)
    steps[:, 1:] = 0
    return update("delta", scene.put(steps), product), group


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_values_come_in_blocks_of_the_documented_size(scene: Scene, dtype: str) -> None:
    made, group = chain(scene, (LARGE // 500, 500), dtype)
    sizes = [block.nbytes for block in Reader(Arrays(scene.store), scene.types).values(made, group)]
    assert sizes == [block_nbytes(group), group.nbytes - block_nbytes(group)]
    assert block_nbytes(group) == BLOCK_ROWS * tensors.itemsize(dtype)


GROUP = Group("float64", (300, 200))
"""Of 480,000 bytes, which is what its memory is counted as."""


def test_size_that_is_only_claimed_takes_no_memory(scene: Scene) -> None:
    ref = scene.put(normal(100))
    reader = Reader(Arrays(scene.store), scene.types).begin()
    tracemalloc.start()
    try:
        with pytest.raises(CorruptObjectError):
            reader.whole(ref, 1 << 28)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 24


def over_and_over(scene: Scene, kind: str, count: int) -> Update:
    """So many updates of a kind, each of as many values as the group has."""
    rows = pack(np.arange(60_000), np.zeros(60_000, np.uint64), words_of("float64"))
    ref, parameters = {
        "delta": (scene.put(np.zeros(60_000)), {}),
        "sparse": (scene.put(rows), {"count": 60_000}),
        "ia3": (scene.put(np.ones(60_000)), {"dtype": "float64", "shape": (300, 200)}),
        "low-rank": (scene.put(np.ones(500 * 100)), {"dtype": "float64", "rank": 100}),
        "linear": (None, {"weights": (1,)}),
    }[kind]
    made = scene.base(normal(GROUP.shape, GROUP.dtype)).update
    for _ in range(count):
        made = update(kind, ref, made, **parameters)
    return made


KINDS = ("delta", "sparse", "ia3", "low-rank", "linear")


@pytest.mark.parametrize("kind", KINDS)
def test_chain_that_would_take_too_much_memory_is_refused(
    scene: Scene, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its objects may have next to no bytes."""
    monkeypatch.setattr(arrays, "READING_BYTES", 3 << 20)
    assert len(scene.read(over_and_over(scene, kind, 1), GROUP)) == GROUP.nbytes
    with pytest.raises(CorruptObjectError, match="takes more than 3 MiB of memory"):
        scene.read(over_and_over(scene, kind, 20), GROUP)


def test_memory_of_one_reading_is_free_for_the_next(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "READING_BYTES", 3 << 20)
    made, reader = over_and_over(scene, "delta", 2), Reader(Arrays(scene.store), scene.types)
    for _ in range(5):
        with reader.reading() as mine:
            assert len(list(mine.values(made, GROUP))) == 1


def test_versions_side_by_side_have_memory_for_each(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "READING_BYTES", 3 << 20)
    made = [over_and_over(scene, kind, 2) for kind in ("delta", "ia3", "linear")]
    with Reader(Arrays(scene.store), scene.types).reading(3) as mine:
        assert len(list(mine.side_by_side(made, GROUP))) == 1
    with pytest.raises(CorruptObjectError), Reader(Arrays(scene.store), scene.types).reading() as mine:
        list(mine.side_by_side(made, GROUP))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_reading_takes_no_more_memory_than_an_update_tells(
    scene: Scene, kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept by what it tells must never be refused when it is read."""
    made = over_and_over(scene, kind, count)
    told = memory_nbytes(made, GROUP, scene.types)
    monkeypatch.setattr(arrays, "SHARED_BYTES", 0)
    monkeypatch.setattr(arrays, "READING_BYTES", told)
    scene.read(made, GROUP)
    monkeypatch.setattr(arrays, "READING_BYTES", told - 1)
    with pytest.raises(CorruptObjectError, match="of memory"):
        scene.read(made, GROUP)


def test_one_reader_reads_many_groups_after_one_another(scene: Scene) -> None:
    kept = [chain(scene, (30 + number, 40), "float32") for number in range(12)]
    alone = [scene.read(made, group) for made, group in kept]
    reader = Reader(Arrays(scene.store), scene.types)
    assert [b"".join(b.result().tobytes() for b in reader.values(*both)) for both in kept] == alone


def test_object_that_is_missing_below_is_an_error(scene: Scene) -> None:
    made, group = chain(scene, (30, 40), "float32")
    for part in list(made.nested()):
        if part.object is None:
            continue
        path = scene.store.path(part.object.oid)
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(MissingObjectError):
            scene.read(made, group)
        path.write_bytes(data)
    assert len(scene.read(made, group)) == group.nbytes


def test_unknown_type_is_an_error_that_lists_the_known_ones(scene: Scene) -> None:
    base = scene.base(normal((30, 40)))
    with pytest.raises(PluginError, match="unknown type of update 'shear'; known are: dense, delta, sparse"):
        scene.read(update("shear", None, base.update), Group("float32", (30, 40)))


@dataclass
class Liar:
    """A plug-in that gives a wrong number of bytes."""

    sizes: list[int]
    name: str = "liar"
    is_in_step: bool = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:  # noqa: ARG002
        return blocks_of(bytes(100_000), self.sizes)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0


@pytest.mark.parametrize("sizes", [[], [4799], [4801], [4800, 4], [2400]], ids=str)
def test_plug_in_that_gives_a_wrong_number_of_bytes_is_an_error(scene: Scene, sizes: list[int]) -> None:
    group = Group("float32", (30, 40))
    family = update_types()
    scene.types = Family(family.kind, family.group, family.builtins, {"liar": Liar(sizes)})
    lie = update("liar", None)
    steps = scene.put(np.zeros((1200, 4), np.uint8))
    factors = scene.put(normal(70))
    for made in (
        lie,
        update("delta", steps, lie),
        update("linear", None, lie, lie, weights=(1, 1)),
        update("low-rank", factors, lie, dtype="float32", rank=1),
        update("linear", None, scene.base(normal((30, 40))).update, lie, weights=(1, 1)),
    ):
        with pytest.raises(CorruptObjectError):
            scene.read(made, group)


_READ = """
import sys
from pathlib import Path
import git_theta.store.arrays, git_theta.updates as updates
from git_theta import metadata_file, tensors
store, metadata, rows, step = sys.argv[1:]
from git_theta import passes
from git_theta.updates import ia3, payloads, products, reading, residual, sums, wanted
if rows != "0":
    for module in (payloads, reading, residual, wanted):
        assert hasattr(module, "BLOCK_ROWS"), module
        module.BLOCK_ROWS = int(rows)
if step != "0":
    for module in (ia3, passes, products, sums):
        assert hasattr(module, "_STEP"), module
        module._STEP = int(step)
from git_theta.store.objects import ObjectStore
reader = reading.Reader(git_theta.store.arrays.Arrays(ObjectStore(Path(store))), updates.update_types())
for entry in metadata_file.parse(Path(metadata).read_bytes()).entries:
    group = updates.Group(entry.dtype, entry.shape)
    data = b"".join(bytes(block.result()) for block in reader.values(entry.update, group))
    print(tensors.digest(data))
"""


@pytest.mark.parametrize(
    ("block_rows", "step", "variables"),
    [
        (0, 0, {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}),
        (0, 0, {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}),
        (0, 0, {"NPY_DISABLE_CPU_FEATURES": "cpu"}),
        (1 << 18, 1000, {}),
        (1 << 20, 1 << 20, {"OPENBLAS_NUM_THREADS": "2"}),
        (0, 333, {"NPY_DISABLE_CPU_FEATURES": "cpu"}),
    ],
    ids=str,
)
def test_values_are_the_same_in_another_process(
    scene: Scene, tmp_path: Path, block_rows: int, step: int, variables: dict[str, str]
) -> None:
    """Whatever the number of threads, the processor and the sizes of what is worked on at once are."""
    entries = []
    for dtype, rows in (("bfloat16", LARGE // 500), ("float32", 60), ("float16", 61), ("float64", 62)):
        made, group = chain(scene, (rows, 500), dtype)
        digest = Values(group, scene.read(made, group)).digest
        entries.append(Entry(dtype, dtype, group.shape, digest, 0, made))
    size = sum(entry.nbytes for entry in entries)
    metadata = Metadata("opaque", size, Skeleton(0, tensors.digest(b""), b"", None), tuple(entries))
    (tmp_path / "metadata").write_bytes(serialize(metadata))
    if "NPY_DISABLE_CPU_FEATURES" in variables:
        variables = {"NPY_DISABLE_CPU_FEATURES": " ".join(dispatched())}
    command = [sys.executable, "-W", "error", "-c", _READ, str(scene.store.root), str(tmp_path / "metadata")]
    done = subprocess.run(
        [*command, str(block_rows), str(step)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [entry.digest for entry in entries]


def dispatched() -> list[str]:
    """What NumPy uses of this processor beyond its baseline, and can be told not to."""
    script = "import json, numpy; print(json.dumps(numpy.show_config(mode='dicts')['SIMD Extensions']['found']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_chain_for_other_processes_has_all_that_is_computed(scene: Scene) -> None:
    made, _ = chain(scene, (30, 40), "float32")
    assert types(made) == ["delta", "low-rank", "ia3", "linear", "dense", "dense"]
