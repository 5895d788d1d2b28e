"""What the tests of updates share: a store in a temporary folder, and values that are kept in it and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from git_theta import tensors
from git_theta.metadata import ObjectRef, Update
from git_theta.sources import BytesSource
from git_theta.store.arrays import Arrays
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.encode import encode
from git_theta.store.objects import ObjectStore
from git_theta.updates import Group, choose, update_types
from git_theta.updates.choose import Limits
from git_theta.updates.plans import Base, Change
from git_theta.updates.reading import Reader, Readers
from git_theta.updates.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pytest

    from git_theta.metadata import Parameter
    from git_theta.registry import Family
    from git_theta.updates import UpdateType

    Array = npt.NDArray[Any]

NUMPY: dict[str, Any] = {"bfloat16": ml_dtypes.bfloat16}
"""NumPy's types for the dtypes whose names it does not know."""

LARGE = BLOCK_ROWS + 75_712
"""Elements of a group that has more than one block: 600,000."""


@dataclass(frozen=True)
class Values:
    """A group's values: their dtype and shape, and their bytes."""

    group: Group
    data: bytes

    @classmethod
    def of(cls, array: Array) -> Values:
        """From an array."""
        return cls(Group(array.dtype.name, array.shape), np.ascontiguousarray(array).tobytes())

    @property
    def digest(self) -> str:
        """Of the bytes."""
        return tensors.digest(self.data)

    @property
    def array(self) -> Array:
        """The values as an array that may be changed."""
        dtype = NUMPY.get(self.group.dtype, self.group.dtype)
        return np.frombuffer(self.data, dtype).reshape(self.group.shape).copy()

    def wanted(self) -> Wanted:
        """As values to keep."""
        size = len(self.data)
        return Wanted(BytesSource(self.data), 0, size, tensors.itemsize(self.group.dtype), self.digest)


@dataclass
class Scene:
    """A store, and what the update types make of values in it."""

    store: ObjectStore
    types: Family[UpdateType] = field(default_factory=update_types)

    def keep(
        self, new: Values | Array, *bases: Base, kind: str = "auto", limits: Limits | None = None
    ) -> tuple[Update, bytes]:
        """Keep values on top of bases; returns the update, and the bytes that are read back with it."""
        values = new if isinstance(new, Values) else Values.of(new)
        change = Change(values.group, values.wanted(), bases)
        kept = choose.keep([change], self.store, Readers(self.store, self.types), limits or Limits(), kind)
        assert kept.keys() == {values.digest}
        update = kept[values.digest]
        return update, self.read(update, values.group)

    def base(self, values: Values | Array, update: Update | None = None) -> Base:
        """Values that are stored, as what others may build on: whole, or as the update says."""
        values = values if isinstance(values, Values) else Values.of(values)
        return Base(update or self.keep(values, kind="dense")[0], values.digest)

    def change(self, old: Array, new: Array, kind: str = "auto") -> Update:
        """How new values are kept where there are old ones; what comes back must be the new ones to the bit."""
        update, data = self.keep(new, self.base(old), kind=kind)
        assert data == Values.of(new).data
        return update

    def read(self, update: Update, group: Group) -> bytes:
        """What an update gives."""
        blocks = Reader(Arrays(self.store), self.types).values(update, group)
        return b"".join(block.result().tobytes() for block in blocks)

    def put(self, rows: Array) -> ObjectRef:
        """Write an array of shape (rows, itemsize) as an object."""
        flat = np.ascontiguousarray(rows)
        rows = flat.view(np.uint8).reshape(len(flat), -1)
        blocks = (rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS))
        with self.store.writing() as writer:
            for piece in encode(blocks, *rows.shape):
                writer.write(piece)
            return writer.publish()

    def lose(self, update: Update) -> None:
        """Remove an update's own object."""
        assert update.object is not None
        self.store.path(update.object.oid).unlink()

    def spoil(self, update: Update) -> None:
        """Damage an update's own object, keeping its size."""
        assert update.object is not None
        path = self.store.path(update.object.oid)
        data = bytearray(path.read_bytes())
        data[len(data) // 3 :] = bytes(len(data) - len(data) // 3)
        path.chmod(0o644)
        path.write_bytes(bytes(data))


def small_blocks(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Make blocks and chunks so small that a short array has many of them."""
    for module in ("payloads", "reading", "residual", "wanted"):
        patch.setattr(f"git_theta.updates.{module}.BLOCK_ROWS", rows)
    for module in ("decode", "description", "encode"):
        patch.setattr(f"git_theta.store.{module}.CHUNK_ROWS", rows)
    patch.setattr("tests.updates.scene.BLOCK_ROWS", rows)


def update(kind: str, ref: ObjectRef | None, *bases: Update, **parameters: Parameter) -> Update:
    """An update by hand; "_" in the name of a setting stays."""
    return Update(kind, ref, bases, tuple(sorted(parameters.items())))


def types(of: Update) -> list[str]:
    """The types of an update and all that it builds on, from the outside inwards."""
    return [part.type for part in of.nested()]


def cost(of: Update) -> int:
    """Bytes of the objects that an update has beyond its bases that are whole."""
    return sum({part.object.oid: part.object.size for part in of.nested() if part.object and part.bases}.values())


def normal(shape: tuple[int, ...] | int, dtype: str = "float32", seed: int = 0) -> Array:
    """Values as weights have them: normal ones around 0, of deviation 0.05 (complex ones in both parts)."""
    generator = np.random.default_rng(seed)
    if dtype.startswith("complex"):
        values = generator.standard_normal((*np.atleast_1d(shape), 2)) * 0.05
        return values.view(np.complex128)[..., 0].astype(dtype)
    return (generator.standard_normal(shape) * 0.05).astype(NUMPY.get(dtype, dtype))


def bits(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Values:
    """Any bits at all as values of any dtype."""
    size = tensors.nbytes(dtype, shape)
    return Values(Group(dtype, shape), np.random.default_rng(seed).bytes(size))


def parameters(of: Update) -> Mapping[str, Parameter]:
    """The settings of an update."""
    return dict(of.parameters)
