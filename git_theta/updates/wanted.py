"""Keep values as they are (dense updates): those that are wanted, read from a source and verified on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from blake3 import blake3
from msgspec import Struct, field
from msgspec.structs import replace

from git_theta.errors import ChangedWhileReadingError
from git_theta.lsh import Signer
from git_theta.metadata import ObjectRef, Update
from git_theta.signatures import Signature
from git_theta.sources import Source, blocks
from git_theta.store.description import BLOCK_ROWS
from git_theta.store.objects import ObjectStore
from git_theta.store.rows import Rows, rows_of
from git_theta.updates.dense import Dense
from git_theta.updates.payloads import Payload, encode_batch, keep_payloads, starts


class Wanted(Struct, frozen=True, eq=False):
    """Values to keep, a payload: nbytes of a source from start on, whose digest is known.

    Attributes:
        sign: the dtype that a signature is made for; None where none is wanted.
        signatures: by digest; the signature is put there once all values have been read.
    """

    source: Source
    start: int
    nbytes: int
    itemsize: int
    digest: str
    sign: str | None = None
    signatures: MutableMapping[str, Signature | None] = field(default_factory=dict)

    def head(self) -> Rows:
        """The first block of the values, as it is now: for a first look."""
        stop = self.start + min(self.nbytes, BLOCK_ROWS * self.itemsize)
        return rows_of(self.source.read(self.start, stop), self.itemsize)

    def rows(self) -> Iterator[Rows]:
        """The values; fails after the last block, before an object of them is published, if they are not the ones."""
        hasher = blake3()
        signer = Signer(self.sign) if self.sign and self.digest not in self.signatures else None
        stop = self.start + self.nbytes
        for block in blocks(self.source, self.start, stop, BLOCK_ROWS * self.itemsize):
            hasher.update(block)
            if signer is not None:
                signer.feed(block)
            yield rows_of(block, self.itemsize)
        if hasher.hexdigest() != self.digest:
            raise ChangedWhileReadingError("the file changed while it was added: try again when nothing writes to it")
        if signer is not None:
            self.signatures[self.digest] = signer.signature()


def keep(values: Iterable[Wanted], store: ObjectStore) -> Mapping[str, Update]:
    """Store values; returns the update for each digest.

    What is stored is read again and digested on its way, so that an object never holds other values than its digest
    says, whatever happens to the source meanwhile.

    Raises:
        ChangedWhileReadingError: the source no longer has the values that were digested.
        StoreError: the store cannot be written.
    """
    distinct = {wanted.digest: wanted for wanted in values}
    kept = keep_payloads(distinct.values(), store)
    return {digest: Update(Dense.name, kept.get(wanted)) for digest, wanted in distinct.items()}


def restore(ref: ObjectRef, values: Mapping[int, Wanted], store: ObjectStore) -> bool:
    """Make an object that was lost anew; False if these values do not give it, since others were in it too.

    Args:
        ref: the object; its `start` does not matter.
        values: by the row of the object's array at which they begin.
        store: where the object belongs.

    Raises:
        ChangedWhileReadingError: the source no longer has the values that were digested.
        StoreError: the store cannot be written.
    """
    # A group of another dtype may have found its bytes in the object, so any of the itemsizes may be the object's.
    for itemsize in dict.fromkeys(wanted.itemsize for wanted in values.values()):
        batch: list[Payload] = [replace(values[start], itemsize=itemsize) for start in sorted(values)]
        if any(wanted.nbytes % itemsize for wanted in values.values()) or list(starts(batch)) != sorted(values):
            continue
        with store.writing() as writer:
            encode_batch(batch, writer)
            if writer.oid == ref.oid:
                writer.publish()
                return True
    return False
