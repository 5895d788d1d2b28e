"""Metadata of small checkpoints whose values are only named, and of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from git_theta import lsh, tensors
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update

if TYPE_CHECKING:
    import numpy.typing as npt


def digest(text: str) -> str:
    return tensors.digest(text.encode())


def dense(values: str, size: int = 100) -> Update:
    return Update("dense", ObjectRef(digest(f"object {values}"), size))


def entry(
    name: str, values: str, shape: tuple[int, ...] = (2, 3), dtype: str = "float32", update: Update | None = None
) -> Entry:
    """A group; its values are named, and kept whole in an object of their own unless told."""
    return Entry(name, dtype, shape, digest(values), 0, update or dense(values))


def checkpoint(*entries: Entry, skeleton: bytes = b"header", format_name: str = "safetensors") -> Metadata:
    size = len(skeleton) + sum(item.nbytes for item in entries)
    return Metadata(format_name, size, Skeleton(len(skeleton), tensors.digest(skeleton), skeleton, None), entries)


def model(**values: str) -> Metadata:
    return checkpoint(*(entry(name, value) for name, value in values.items()))


def raw(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of an array."""
    return np.frombuffer(array.tobytes(), np.uint8)


def signed(name: str, array: npt.NDArray[Any]) -> Entry:
    """A group of these values, with their signature."""
    signer = lsh.Signer(array.dtype.name)
    signer.feed(raw(array))
    made = entry(name, tensors.digest(array.tobytes()), array.shape, array.dtype.name)
    return replace(made, signature=signer.signature())
