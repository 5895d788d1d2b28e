"""Plain files: lines "PLAIN name count comment", each followed by so many little-endian float32 numbers.

A plug-in that finds spans: Git-Theta keeps the file byte for byte, and checks it out without this plug-in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import Source

_LINE = re.compile(rb"PLAIN (\S{1,100}) ([0-9]{1,12}) ?([^\n]{0,100})\n")
_MAX_LINE = 250
_MAX_ARRAYS = 100_000


class Plain:
    """The format."""

    name = "plain"
    extensions = (".plain",)

    def scan(self, source: Source) -> Layout:
        """Find the vectors; reads only the lines before them."""
        spans = [span for span, _ in self._vectors(source)]
        if len({span.name for span in spans}) != len(spans):
            raise NotThisFormatError("two vectors have the same name")
        return Layout(self.name, source.size, tuple(spans))

    def values(self, source: Source) -> Mapping[str, str]:
        """The comments."""
        return {span.name: comment for span, comment in self._vectors(source) if comment}

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:  # noqa: ARG002
        """A file of these vectors, without comments."""
        for name, values in groups.items():
            if values.dtype != "float32" or len(values.shape) != 1:
                raise PluginError(f"a plain file has vectors of float32 only, and {name!r} is none")
            key = "/".join(tensors.split_name(name))
            yield f"PLAIN {key} {values.shape[0]}\n".encode()
            yield bytes(values.data)

    def _vectors(self, source: Source) -> Iterator[tuple[Span, str]]:
        position = count = 0
        while position < source.size or not count:
            found = _LINE.match(source.read(position, min(source.size, position + _MAX_LINE)))
            count += 1
            if found is None or count > _MAX_ARRAYS:
                raise NotThisFormatError("a line does not begin with PLAIN, a name and a number")
            name = tensors.join_name([found[1].decode("utf-8", "replace")])
            span = Span(name, "float32", (int(found[2]),), position + found.end())
            if span.stop > source.size:
                raise NotThisFormatError(f"{name!r} reaches past the end of the file")
            yield span, found[3].decode("utf-8", "replace")
            position = span.stop
