"""Publish objects while others are made: to wait until the disk has one takes longer than to write it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Final

from git_theta.metadata import ObjectRef
from git_theta.store.objects import ObjectWriter

_THREADS: Final = 4
"""What several write to the disk at once, it takes in one go."""

_PENDING: Final = 32
"""Objects that may wait to be published; each is an open file."""


class Publisher:
    """Takes objects that are written, and publishes them; see `publishing`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Args: pool: the threads that wait for the disk."""
        self._pool = pool
        self._room = BoundedSemaphore(_PENDING)
        self._begun: list[Future[ObjectRef]] = []

    def publish(self, writer: ObjectWriter) -> ObjectRef:
        """Publish an object soon; nothing more can be written to it.

        Returns:
            What it will be known by. It can be relied on once `publishing` is over.

        Raises:
            RuntimeError: it is over already, and the object is whose it was.
        """
        self._room.acquire()
        try:
            self._begun.append(self._pool.submit(self._published, writer))
        except RuntimeError:
            self._room.release()
            raise
        return writer.pass_on()

    def _published(self, writer: ObjectWriter) -> ObjectRef:
        try:
            return writer.publish()
        finally:
            writer.discard()
            self._room.release()

    def wait(self) -> None:
        """Wait until all are published.

        Raises:
            StoreError: one could not be.
        """
        for future in self._begun:
            future.result()


@contextmanager
def publishing() -> Iterator[Publisher]:
    """A publisher. All that was given to it is published, durably, when the context ends.

    Raises:
        StoreError: an object could not be written.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        publisher = Publisher(pool)
        yield publisher
        publisher.wait()
