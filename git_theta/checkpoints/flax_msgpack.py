"""Flax's msgpack streams: nested maps with string keys, whose arrays are extension types that hold msgpack themselves.

Written after flax/serialization.py of google/flax and the specification of msgpack, and checked against Flax 0.12. An
array of more than 1 GiB lies there in chunks, in a map that says so; each chunk is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from git_theta.checkpoints import Values
from git_theta.checkpoints.flax_reader import walk
from git_theta.checkpoints.flax_texts import labels, parts, shown
from git_theta.checkpoints.flax_tree import tree
from git_theta.checkpoints.texts import MAX_VALUES
from git_theta.errors import NotThisFormatError
from git_theta.layout import Layout, Span
from git_theta.sources import Source

_MAX_GROUPS: Final = 100_000
_MAX_NAMES: Final = 16_000_000


class FlaxMsgpack:
    """The format of `flax.serialization`. Many of its files have no extension (checkpoint_123): the content decides."""

    name = "flax"
    extensions = (".msgpack",)

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`."""
        spans = []
        names = 0
        for item in walk(source):
            if item.array is not None:
                spans.append(Span(item.name, item.array.dtype, item.array.shape, item.array.start))
                names += len(item.name)
            if len(spans) > _MAX_GROUPS or names > _MAX_NAMES:
                raise NotThisFormatError("there are too many arrays")
        if not spans:
            raise NotThisFormatError("there is no array in it")
        return Layout(self.name, source.size, tuple(spans))

    def values(self, source: Source) -> Mapping[str, str]:
        """The leaves that are no arrays, as short text.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        texts: dict[str, str] = {}
        for item in walk(source):
            if item.token.kind not in ("map", "list", "end") and item.array is None:
                texts[item.name] = shown(source, item.token)
                if len(texts) == MAX_VALUES:
                    break
        return texts

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the other leaves of the old one. See `checkpoints.Format`."""
        from git_theta.checkpoints import flax_writer

        return flax_writer.write(groups, skeleton)

    def parts(self, skeleton: bytes) -> Mapping[str, str]:
        """All that the file consists of besides its groups; see `checkpoints.Nested`."""
        return parts(tree(skeleton))

    def labels(self, skeleton: bytes) -> Mapping[str, str]:
        """What is said more about groups; see `checkpoints.Labelled`."""
        return labels(tree(skeleton))

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file with parts and new arrays of several old ones; see `checkpoints.Grafting`."""
        from git_theta.checkpoints import flax_writer

        return flax_writer.write_grafted(groups, skeleton, donors, places)
