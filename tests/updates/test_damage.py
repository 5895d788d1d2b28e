"""Whatever is damaged, or changes, while a change is kept: where nothing is damaged, the new values come back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from git_theta.errors import ChangedWhileReadingError
from git_theta.store.decode import Buffers, Reader
from git_theta.store.encode import encode
from git_theta.store.objects import ObjectStore
from git_theta.store.rows import rows_of
from git_theta.updates import choose
from git_theta.updates.choose import Limits
from git_theta.updates.plans import Base, Change
from git_theta.updates.reading import Readers
from tests.updates.scene import Scene, Values, normal, small_blocks, types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from git_theta.metadata import ObjectRef

ROWS: Final = 2048
"""Elements of a block, here."""

WIDTH: Final = 32


@dataclass(repr=False)
class Family:
    """Three versions of a group: one whole, one with a difference to it, and another whole one."""

    values: list[Any]
    bases: list[Base]
    damaged: list[tuple[ObjectRef, bytes]] = field(default_factory=list)
    """Objects of the three, and other bytes of the same size that hold other values."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, ROWS)
        yield Scene(ObjectStore(tmp_path_factory.mktemp("store") / "theta"))


def family_of(scene: Scene, dtype: str, blocks: int) -> Family:
    shape = ((blocks * ROWS - 100 * WIDTH * (blocks > 1)) // WIDTH, WIDTH)
    one = normal(shape, dtype, 1)
    two = (one.astype(np.float32) * (1 + normal(shape, seed=2) * (0.2 if dtype == "bfloat16" else 1e-4))).astype(
        one.dtype
    )
    three = (one.astype(np.float32) + normal(shape, seed=3) * 0.1).astype(one.dtype)
    first = scene.base(one)
    second = scene.base(two, scene.keep(two, first)[0])
    assert types(second.update) == ["delta", "dense"]
    family = Family([one, two, three], [first, second, scene.base(three)])
    for base in family.bases:
        assert base.update.object is not None
        family.damaged.append((base.update.object, spoilt(scene.store, base.update.object)))
    return family


def spoilt(store: ObjectStore, ref: ObjectRef) -> bytes:
    """An object's bytes with the lowest bit of one value flipped, and no other sign of it: they are as many."""
    data = store.path(ref.oid).read_bytes()
    with store.open(ref) as file:
        reader = Reader(file)
        blocks = [bytes(block.result()) for block in reader.blocks(0, reader.rows, Buffers(1))]
        rows = rows_of(bytearray(b"".join(blocks)), reader.itemsize)
    for place in range(len(rows) - 1, 0, -7):
        rows[place, 0] ^= 1
        pieces = (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))
        other = b"".join(encode(pieces, *rows.shape))
        if len(other) == len(data):
            return other
        rows[place, 0] ^= 1
    raise AssertionError("nothing can be changed without another size")


@pytest.fixture(scope="module")
def families(scene: Scene) -> list[Family]:
    return [family_of(scene, dtype, blocks) for dtype in ("float32", "bfloat16") for blocks in (1, 9)]


class Source:
    """The bytes of new values; from the nth reading on, one of them is another."""

    def __init__(self, data: bytes, changes: int | None) -> None:
        self._data, self._changes, self.size = data, changes, len(data)

    def read(self, start: int, stop: int) -> bytes:
        if self._changes is not None:
            self._changes -= 1
            if self._changes == 0:
                self._data = self._data[:-3] + bytes([self._data[-3] ^ 1]) + self._data[-2:]
        return self._data[start:stop]


ODD: Final = (np.nan, -np.nan, -0.0, 0.0, np.inf, -np.inf, 1e-40)


def new_values(family: Family, kind: str, seed: int, odd: int) -> Any:
    rng = np.random.default_rng(seed)
    one, two, three = (version.astype(np.float32) for version in family.values)
    height = len(one)
    new = {
        "few": one,
        "tuned": one * (1 + rng.standard_normal(one.shape, np.float32) * np.float32(0.01)),
        "mean": ((one.astype(np.float64) + three) / 2).astype(np.float32),
        "near": ((two.astype(np.float64) + one) / 2).astype(np.float32),
        "ranked": one + np.outer(rng.standard_normal(height), rng.standard_normal(WIDTH)).astype(np.float32),
        "scaled": one * rng.uniform(0.5, 2, WIDTH).astype(np.float32),
        "else": rng.standard_normal(one.shape, np.float32),
    }[kind].astype(family.values[0].dtype)
    for place, value in zip(rng.choice(new.size, odd, replace=False), ODD * 9, strict=False):
        new.reshape(-1)[place] = value
    return new


KINDS: Final = ("auto", "delta", "sparse", "low-rank", "ia3", "linear", "dense")


@given(
    st.integers(0, 3),
    st.sampled_from(["few", "tuned", "mean", "near", "ranked", "scaled", "else"]),
    st.integers(0, 3),
    st.sampled_from([0, 1, 20]),
    st.sampled_from([(0,), (1,), (0, 2), (2, 0), (1, 0), (1, 2, 0), (0, 1, 2)]),
    st.sampled_from(("auto", *KINDS)),
    st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 3))),
    st.sampled_from([None] * 12 + list(range(1, 25, 4))),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_what_is_kept_gives_the_new_values_where_nothing_is_damaged(
    scene: Scene,
    families: list[Family],
    number: int,
    made: str,
    seed: int,
    odd: int,
    order: tuple[int, ...],
    kind: str,
    damage: tuple[int, int] | None,
    changes: int | None,
) -> None:
    """An object has other values from some opening on, and the file that is added changes at some reading."""
    family = families[number]
    values = Values.of(new_values(family, made, seed, odd))
    assume(values.digest not in [base.digest for base in family.bases])
    wanted = replace(values.wanted(), source=Source(values.data, changes))
    change = Change(values.group, wanted, tuple(family.bases[place] for place in order))
    with contextlib.ExitStack() as stack:
        if damage is not None:
            stack.enter_context(damaging(scene.store, *family.damaged[damage[0]], damage[1]))
        try:
            updates = choose.keep([change], scene.store, Readers(scene.store, scene.types), Limits(), kind)
        except ChangedWhileReadingError:
            assert changes is not None
            event("changed")
            return
    update = updates[values.digest]
    event(f"{types(update)[:2]}")
    assert scene.read(update, values.group) == values.data


@contextlib.contextmanager
def damaging(store: ObjectStore, ref: ObjectRef, other: bytes, opening: int) -> Iterator[None]:
    """Give an object other bytes at its nth opening (0: at once), and the right ones in the end."""
    path, right = store.path(ref.oid), store.path(ref.oid).read_bytes()
    opened = [0]
    original = ObjectStore.open

    def put(data: bytes) -> None:
        path.unlink()
        path.write_bytes(data)

    @contextlib.contextmanager
    def counting(self: ObjectStore, asked: ObjectRef) -> Iterator[Any]:
        if asked.oid == ref.oid:
            opened[0] += 1
            if opened[0] == opening:
                put(other)
        with original(self, asked) as file:
            yield file

    if not opening:
        put(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectStore, "open", counting)
        yield
    put(right)
