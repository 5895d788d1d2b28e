"""What the tests of merges share: checkpoints whose values are but named, and ones that are there."""

from __future__ import annotations

from git_theta import tensors
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update


def digest(text: str) -> str:
    return tensors.digest(text.encode())


def entry(
    name: str, values: str, *, shape: tuple[int, ...] = (2, 3), dtype: str = "float32", lead: int = 0, oid: str = ""
) -> Entry:
    """A group; its values are named, and kept in an object of their own unless told."""
    kept = ObjectRef(digest(f"object {oid or values}"), 100)
    return Entry(name, dtype, shape, digest(values), lead, Update("dense", kept))


def checkpoint(*entries: Entry, comment: str = "", format_name: str = "safetensors") -> Metadata:
    """A checkpoint whose skeleton says, as a header does, which groups there are."""
    text = repr([(item.name, item.dtype, item.shape) for item in entries]) + comment
    text = text.ljust(max(500, len(text)))
    skeleton = Skeleton(len(text), digest(text), text.encode(), None)
    return Metadata(format_name, len(text) + sum(item.nbytes for item in entries), skeleton, entries)


def model(**values: str) -> Metadata:
    """A checkpoint of groups of one shape."""
    return checkpoint(*(entry(name, value) for name, value in values.items()))
