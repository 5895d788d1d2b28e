"""Flax's msgpack streams: nested maps with string keys, whose arrays are extension types that hold msgpack themselves.

Written after flax/serialization.py of google/flax and the specification of msgpack, and checked against Flax 0.12. An
array of more than 1 GiB lies there in chunks, in a map that says so; each chunk is a group of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from git_theta.checkpoints import Values
from git_theta.checkpoints.flax_reader import COMPLEX, Token, walk
from git_theta.checkpoints.texts import MAX_VALUES, SHOWN_BYTES, digest_of, quoted_beginning, with_digest
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
        shown: dict[str, str] = {}
        for item in walk(source):
            if item.token.kind not in ("map", "list", "end") and item.array is None:
                shown[item.name] = _shown(source, item.token)
                if len(shown) == MAX_VALUES:
                    break
        return shown

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the other leaves of the old one. See `checkpoints.Format`."""
        from git_theta.checkpoints import flax_writer

        return flax_writer.write(groups, skeleton)

    def write_mixed(
        self, groups: Mapping[str, Values], skeleton: bytes, donors: Mapping[str, bytes]
    ) -> Iterator[bytes]:
        """The bytes of a new file with leaves from several old ones; see `checkpoints.Mixing`."""
        from git_theta.checkpoints import flax_writer

        return flax_writer.write(groups, skeleton, donors)


def _shown(source: Source, token: Token) -> str:
    """A leaf as short text."""
    if token.kind == "number":
        return str(token.value)
    # Flax writes a native complex number as a list of two doubles.
    if (token.kind, token.code, token.length) == ("ext", COMPLEX, 19):
        real, imaginary = struct.unpack(">2xdxd", source.read(token.body, token.body + token.length))
        return str(complex(real, imaginary))
    shown, is_whole = f"{token.length} bytes", False
    if token.kind == "str":
        beginning = source.read(token.body, token.body + min(token.length, SHOWN_BYTES))
        shown, is_whole = quoted_beginning(beginning, token.length)
    return shown if is_whole else with_digest(shown, digest_of(source, token.start, token.body + token.length))
