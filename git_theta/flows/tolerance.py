"""Take a group that moved by less than a tolerance for unchanged, as the paper does. Only for who asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from git_theta import lsh, tensors
from git_theta.checkpoints.digests import Digests
from git_theta.flows.intake import Intake
from git_theta.layout import Span
from git_theta.metadata import Entry, Metadata
from git_theta.signatures import distance as distance_of
from git_theta.sources import Source, blocks
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.tensors import WORKING
from git_theta.updates import Group, update_types
from git_theta.updates.floats import widen
from git_theta.updates.payloads import UnusableBaseError
from git_theta.updates.plans import Base, Stored
from git_theta.updates.reading import Readers

_UNSURE: Final = 100
"""Estimated distances from atol up to this many times atol are decided by the values themselves."""


class Tolerance(Struct, frozen=True):
    """How far a group may move and still count as unchanged.

    Attributes:
        atol: a group whose estimated distance is below it is unchanged; the paper's value is 1e-8.
        rtol: where the estimate leaves it open, every value may differ by atol + rtol * |old value|.
    """

    atol: float
    rtol: float = 1e-5


def tolerate(intake: Intake, before: Sequence[Metadata], store: ObjectStore, tolerance: Tolerance) -> Intake:
    """The same checkpoint, with the digest of the earlier version for each group that moved by less than a tolerance.

    Args:
        intake: the checkpoint.
        before: earlier versions of it; the first that has a group of a name counts.
        store: has their values.
        tolerance: what is taken for unchanged.
    """
    known: dict[str, Entry] = {}
    for metadata in reversed(before):
        known |= metadata.by_name()
    readers = Readers(store, update_types())
    found = _digests(intake, known, readers, store, tolerance)
    return replace(intake, digests=Digests(intake.digests.skeleton, tuple(found)))


def _digests(
    intake: Intake, known: Mapping[str, Entry], readers: Readers, store: ObjectStore, tolerance: Tolerance
) -> Iterator[str]:
    for span, digest in zip(intake.scan.layout.spans, intake.digests.groups, strict=True):
        entry = known.get(span.name)
        is_near = (
            entry is not None
            and entry.digest != digest
            and (entry.dtype, entry.shape) == (span.dtype, span.shape)
            and all(store.has(ref) for ref in entry.update.objects())
            and _is_near(intake.source, span, entry, readers, tolerance)
        )
        yield entry.digest if entry is not None and is_near else digest


def _is_near(source: Source, span: Span, entry: Entry, readers: Readers, tolerance: Tolerance) -> bool:
    if entry.signature is None or not lsh.supports(span.dtype):
        return False
    signer = lsh.Signer(span.dtype)
    size = BLOCK_ROWS * tensors.itemsize(span.dtype)
    for block in blocks(source, span.start, span.stop, size):
        signer.feed(block)
    signature = signer.signature()
    if signature is None:
        return False
    distance = distance_of(signature, entry.signature)
    if distance < tolerance.atol:
        return True
    return distance < _UNSURE * tolerance.atol and _are_close(source, span, entry, readers, tolerance)


def _are_close(source: Source, span: Span, entry: Entry, readers: Readers, tolerance: Tolerance) -> bool:
    if span.dtype not in WORKING:
        return False
    stored = Stored(Group(entry.dtype, entry.shape), Base(entry.update, entry.digest))
    new = blocks(source, span.start, span.stop, BLOCK_ROWS * tensors.itemsize(span.dtype))
    try:
        return all(
            np.allclose(
                widen(np.frombuffer(one, np.uint8), span.dtype),
                widen(two, span.dtype),
                rtol=tolerance.rtol,
                atol=tolerance.atol,
            )
            for one, two in zip(new, stored.rows(readers.mine()), strict=True)
        )
    except UnusableBaseError:
        return False
