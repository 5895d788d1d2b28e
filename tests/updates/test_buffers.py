"""Whatever updates build on each other, and however far they are read: no buffer is lost while it is still used.

Buffers are spoilt as soon as they may be, computations take their time, and all values are compared with those that
whole arrays give.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.errors import CorruptObjectError
from git_theta.registry import Family
from git_theta.store import arrays
from git_theta.store.arrays import Arrays, Lease
from git_theta.store.decode import Buffers
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, update_types
from git_theta.updates.gaps import pack
from git_theta.updates.ia3 import Scaling
from git_theta.updates.linear import weighted_sum
from git_theta.updates.low_rank import Product
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Base, Stored
from git_theta.updates.plugged import Plugged
from git_theta.updates.reading import Reader, ahead, results
from git_theta.updates.single import base_of
from git_theta.updates.versions import Versions
from git_theta.updates.words import add, words_of
from tests.updates.scene import Scene, normal, small_blocks, update

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from git_theta.metadata import ObjectRef, Parameter, Update
    from git_theta.store.arrays import Block
    from git_theta.store.rows import Rows

ROWS: Final = 64
"""Elements of a block, here."""

SPOILT: Final = 0xA5
WIDTH: Final = 8
BLOCKS: Final = (1, 2, 6, 7, 12)
WORDS: Final = words_of("float16")


@dataclass(frozen=True)
class Node:
    """An update, the values that it must give, and the number of the block at which it fails, if it does."""

    update: Update
    values: Rows
    fails: float = float("inf")

    @property
    def base(self) -> Base:
        return Base(self.update, tensors.digest(self.values.tobytes()))


@dataclass(frozen=True)
class Slow:
    """A type of update that gives its base's values, and takes its time; from some block on it fails if told so."""

    name: str = "slow"
    is_in_step: bool = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        compute = reader.computing(group)
        fails = update.parameter("fails")
        for number, block in enumerate(reader.values(base_of(update), group)):
            yield compute(partial(_slowly, block, number == fails), block.nbytes)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0


def _slowly(block: Block, fails: bool, out: memoryview) -> None:
    if fails:
        raise CorruptObjectError("told to fail")
    time.sleep(0.002)
    out[:] = block.result()


@dataclass(frozen=True)
class Passing:
    """A type of update that hands on the very blocks of its base."""

    name: str = "passing"
    is_in_step: bool = True

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        return reader.values(base_of(update), group)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0

    def memory_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002
        return 0


class Same:
    """A plug-in: all of the base is read before the first block comes."""

    def apply(self, base: bytes, settings: Mapping[str, Parameter], payload: bytes, dtype: str, shape: Any) -> bytes:  # noqa: ARG002
        return base

    def fit(self, new: bytes, base: bytes, dtype: str, shape: Any) -> None:
        raise NotImplementedError


@dataclass
class Material:
    """Objects of one group's size, and what is in them."""

    group: Group
    dense: list[tuple[ObjectRef, Rows]]
    codes: list[tuple[ObjectRef, Rows]]
    sparse: list[tuple[ObjectRef, Any, Any]]
    factors: tuple[ObjectRef, Any]
    vector: tuple[ObjectRef, Any]
    nodes: list[Node] = field(default_factory=list)

    @classmethod
    def of(cls, scene: Scene, blocks: int) -> Material:
        count = blocks * ROWS - 3 * WIDTH
        group = Group("float16", (count // WIDTH, WIDTH))
        rng = np.random.default_rng(blocks)
        whole = [normal((count, 1), "float16", blocks * 10 + seed).view(np.uint8) for seed in range(3)]
        codes = [rng.integers(0, 200, (count, 1), np.int16).view(np.uint8) for _ in range(2)]
        changed = [(np.sort(rng.choice(count, 9, replace=False)), rng.integers(0, 99, 9, np.int16)) for _ in range(2)]
        factors, vector = normal((2 * sum(group.shape), 1), seed=1), normal((WIDTH, 1), seed=2)
        return cls(
            group,
            [(scene.put(rows), rows) for rows in whole],
            [(scene.put(rows), rows) for rows in codes],
            [(scene.put(pack(places, code, WORDS)), places, code) for places, code in changed],
            (scene.put(factors), factors.reshape(-1)),
            (scene.put(vector), vector.reshape(-1)),
        )

    def build(self, recipe: list[tuple[str, int, int]]) -> list[Node]:
        """A node for each line of a recipe: a type, and two numbers that say what it is made from."""
        nodes: list[Node] = []
        for kind, one, two in [("dense", 0, 0), *recipe]:
            known = nodes or [Node(update("dense", None), self.dense[0][1])]
            made = self._made(kind, known[one % len(known)], known[two % len(known)], one + two)
            if sum(1 for _ in made.update.nested()) <= 64:
                nodes.append(made)
        return nodes

    def _made(self, kind: str, base: Node, other: Node, number: int) -> Node:
        out = np.empty_like(base.values)
        fails = base.fails
        if kind == "dense":
            ref, values = self.dense[number % 3]
            return Node(update("dense", ref), values)
        if kind == "delta":
            ref, codes = self.codes[number % 2]
            add(WORDS.view(base.values), WORDS.view(codes), WORDS, WORDS.view(out))
            made = update("delta", ref, base.update)
        elif kind == "sparse":
            ref, places, code = self.sparse[number % 2]
            out[:] = base.values
            changed = WORDS.view(out)[places]
            add(changed, code, WORDS, changed)
            WORDS.view(out)[places] = changed
            made = update("sparse", ref, base.update, count=len(places))
        elif kind == "low-rank":
            Product.of(self.factors[1].data.cast("B"), "float32", 2, self.group).add(base.values, 0, out)
            made = update("low-rank", self.factors[0], base.update, dtype="float32", rank=2)
        elif kind == "ia3":
            Scaling.of(self.vector[1], self.group).multiply(base.values, 0, out)
            made = update("ia3", self.vector[0], base.update, dtype="float32", shape=(WIDTH,))
        elif kind == "linear":
            weights = (0.5, (0.0, -0.0, 0.25)[number % 3], -1)
            weighted_sum([base.values, other.values, base.values], weights, "float16", out)
            made = update("linear", None, base.update, other.update, base.update, weights=weights)
            fails = min(base.fails, other.fails)
        elif kind == "failing":
            fails = min(fails, number % 8 + 1)
            return Node(update("slow", None, base.update, fails=number % 8 + 1), base.values, fails)
        else:
            # What a plug-in builds on has to be there as a whole before anything comes.
            fails = fails if kind != "plugged" or fails >= len(self.blocks(base.values)) else 0
            return Node(update(kind, None, base.update), base.values, fails)
        return Node(made, out, fails)

    @staticmethod
    def blocks(values: Rows) -> list[bytes]:
        return [values[start : start + ROWS].tobytes() for start in range(0, len(values), ROWS)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A store whose objects have small blocks, and buffers that are spoilt as soon as they may be."""
    following, ending, taking = Buffers.next, Lease.end, Lease.buffers

    def spoilt(self: Buffers, nbytes: int) -> memoryview:
        buffer = following(self, nbytes)
        buffer[:] = bytes([SPOILT]) * nbytes
        return buffer

    def ended(self: Lease) -> None:
        for buffer in _memory(self._taken):
            buffer[:] = bytes([SPOILT]) * len(buffer)
        ending(self)

    def taken(self: Lease, nbytes: int, block_nbytes: int) -> Buffers:
        buffers = taking(self, nbytes, block_nbytes)
        free = _memory([buffers])
        assert all(set(buffer) <= {SPOILT} for buffer in free), "somebody wrote to a buffer that was free"
        return buffers

    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, ROWS)
        patch.setattr(Buffers, "next", spoilt)
        patch.setattr(Lease, "end", ended)
        patch.setattr(Lease, "buffers", taken)
        types = update_types()
        loaded: dict[str, Any] = {"slow": Slow(), "passing": Passing(), "plugged": Plugged("plugged", Same())}
        family = Family(types.kind, types.group, types.builtins, loaded)
        yield Scene(ObjectStore(tmp_path_factory.mktemp("store") / "theta"), family)


def _memory(taken: list[Buffers]) -> Iterator[bytearray]:
    return (buffer for buffers in taken for buffer in buffers._buffers)


@pytest.fixture(scope="module")
def materials(scene: Scene) -> dict[int, Material]:
    return {blocks: Material.of(scene, blocks) for blocks in BLOCKS}


@pytest.fixture(params=[0, 1 << 22], ids=["large", "small"], autouse=True)
def _shared_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are read block by block, or kept whole in a small memory."""
    monkeypatch.setattr(arrays, "SHARED_BYTES", request.param)


KINDS: Final = (
    "dense",
    "delta",
    "sparse",
    "low-rank",
    "ia3",
    "linear",
    "linear",
    "passing",
    "plugged",
    "slow",
    "failing",
)
numbers = st.integers(0, 30)
recipes = st.lists(st.tuples(st.sampled_from(KINDS), numbers, numbers), min_size=1, max_size=9)


def compared(found: Iterator[bytes], node: Node, count: int) -> None:
    """So many blocks must be the wanted ones; if one fails before, it must have been told to."""
    wanted = Material.blocks(node.values)
    done = 0
    try:
        for data in itertools.islice(found, count):
            assert data == wanted[done]
            done += 1
    except CorruptObjectError:
        assert done >= node.fails - arrays.AHEAD - 1 or node.fails == 0
        return
    assert done == min(count, len(wanted))


def read_values(reader: Reader, node: Node, group: Group, count: int) -> None:
    with reader.reading() as mine, closing(results(mine.values(node.update, group))) as rows:
        compared((block.tobytes() for block in rows), node, count)


def read_stored(reader: Reader, node: Node, group: Group, count: int) -> None:
    rows = Stored(group, node.base).rows(reader)
    try:
        found = [block.tobytes() for block in itertools.islice(rows, count)]
    except UnusableBaseError:
        assert node.fails <= count
        return
    assert found == Material.blocks(node.values)[:count]


def read_versions(reader: Reader, nodes: list[Node], group: Group, count: int) -> None:
    """Look at all, then read some of them."""
    versions = Versions(group, [node.base for node in nodes], reader)
    fails = min(node.fails for node in nodes)
    try:
        for node, head in zip(nodes, versions.heads(), strict=True):
            assert head.tobytes() == Material.blocks(node.values)[0]
        wanted = range(0, len(nodes), 2)
        rows = versions.rows(reader, *wanted)
        found = [tuple(block.tobytes() for block in blocks) for blocks in itertools.islice(rows, count)]
    except UnusableBaseError:
        assert fails <= count
        return
    for number, column in zip(wanted, zip(*found, strict=True), strict=True):
        assert list(column) == Material.blocks(nodes[number].values)[:count]


def read_ahead(reader: Reader, nodes: list[Node], group: Group) -> None:
    """One group after the other, several blocks at a time, as a checkout does."""

    def parts(pool: ThreadPoolExecutor) -> Iterator[tuple[Node, int, Future[memoryview] | Reader]]:
        for node in nodes:
            mine = reader.begin()
            for number, block in enumerate(mine.values(node.update, group)):
                yield node, number, pool.submit(block.result)
            yield node, -1, mine

    try:
        with ThreadPoolExecutor(3) as pool:
            for node, number, part in ahead(parts(pool)):
                if isinstance(part, Reader):
                    part.end()
                else:
                    assert part.result().tobytes() == Material.blocks(node.values)[number]
    except CorruptObjectError:
        assert any(node.fails < float("inf") for node in nodes)


@given(
    recipes,
    st.sampled_from(BLOCKS),
    st.lists(
        st.tuples(st.sampled_from(["values", "stored", "versions", "ahead"]), numbers, st.integers(1, 13)), max_size=6
    ),
)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_values_are_those_of_whole_arrays(
    scene: Scene,
    materials: dict[int, Material],
    recipe: list[tuple[str, int, int]],
    blocks: int,
    readings: list[tuple[str, int, int]],
) -> None:
    """One reader reads one update after the other, some of them not to the end."""
    material = materials[blocks]
    nodes, group = material.build(recipe), material.group
    store = Arrays(scene.store)
    reader = Reader(store, scene.types)
    read_values(reader, nodes[-1], group, 100)
    for kind, number, count in readings:
        some = [nodes[(number + step) % len(nodes)] for step in (0, 1, 5)]
        if kind == "values":
            read_values(reader, some[0], group, count)
        elif kind == "stored":
            read_stored(reader, some[0], group, count)
        elif kind == "versions":
            read_versions(reader, some, group, count)
        else:
            read_ahead(reader, some, group)
    assert all(set(buffer) <= {SPOILT} for buffer in _memory(store._idle)), "somebody wrote to a buffer that was free"
