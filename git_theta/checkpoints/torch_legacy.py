"""The format of torch before 1.6: a stream of pickles, then the storages one after another.

The pickles are a magic number, the version, a description of the machine, the object, and the list of storage keys.
Each storage is its number of elements (eight bytes) and its values. Both are little-endian on every machine: torch
swaps the bytes when it writes them on a big-endian one. Read without torch; written after what torch 2.13 writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from git_theta.checkpoints import Values
from git_theta.checkpoints.pickle_objects import Dict, Persistent
from git_theta.checkpoints.pickle_reader import Fuel
from git_theta.checkpoints.pickle_values import plain_values
from git_theta.checkpoints.pickles import Walker
from git_theta.checkpoints.torch_spans import Names, Storages, item_size, layout_of
from git_theta.checkpoints.torch_tree import key_text
from git_theta.errors import NotThisFormatError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, Source

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_MAGIC_ROOM: Final = 64
"""Bytes in which the pickle of the magic number ends, whatever the protocol."""

_VERSION: Final = 1001
_COUNT: Final = 8


class TorchLegacy:
    """What `torch.save` wrote before 1.6, and still does on request."""

    name = "torch-legacy"
    extensions = (".pt", ".pth", ".bin", ".ckpt")

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`.

        The pickles do not say where they end, so up to 64 KiB behind them may be read, and are not looked at.
        """
        stream = _read(source)
        storages = _storages(stream)
        spans: list[Span] = []
        position = stream.stop
        for key in stream.keys:
            size = item_size(storages.uses[key].id.kind)
            if size is None or position + _COUNT > source.size:
                raise NotThisFormatError("its storages are cut off, or of an unknown kind")
            count = int.from_bytes(source.read(position, position + _COUNT), "little")
            spans.append(storages.span(key, position + _COUNT, count * size))
            position = spans[-1].stop
        if position != source.size:
            raise NotThisFormatError(f"{source.size} bytes, but its storages end at {position}")
        return layout_of(self.name, source.size, spans)

    def ties(self, source: Source) -> Mapping[str, str]:
        """The other places of groups; see `checkpoints.Tied`."""
        return _storages(_read(source)).ties()

    def values(self, source: Source) -> Mapping[str, str]:
        """The plain values beside the tensors, by path, shortened; for comparisons.

        Raises:
            NotThisFormatError: see `scan`.
        """
        return plain_values(_read(source).root)

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file, in the zip format, which has succeeded this one. See `checkpoints.Format`."""
        from git_theta.checkpoints.torch_writer import Old, write_archive

        if skeleton is None:
            return write_archive(groups, None)
        source = BytesSource(skeleton)
        stream = _read(source)
        storages = _storages(stream)
        # The values are not at hand, but the pickle tells their sizes, and any offsets will do.
        spans = []
        position = 0
        for key in stream.keys:
            use = storages.uses[key]
            spans.append(storages.span(key, position, use.id.numel * (item_size(use.id.kind) or 1)))
            position = spans[-1].stop + 1
        keys = {span.start: key for span, key in zip(spans, stream.keys, strict=True)}
        return write_archive(groups, Old(stream.root, stream.persistents, spans, keys, stream.protocol))


@dataclass(frozen=True, slots=True)
class _Stream:
    """What the pickles of a file say.

    Attributes:
        root: the object.
        persistents: its persistent objects.
        protocol: of its pickle.
        keys: of the storages.
        stop: where these begin.
    """

    root: object
    persistents: list[Persistent]
    protocol: int
    keys: list[str]
    stop: int


def _read(source: Source) -> _Stream:
    if source.size < 2 or source.read(0, 1) != b"\x80":
        raise NotThisFormatError("not a stream of pickles")
    fuel = Fuel(source.size)
    # Other people's pickles, however long, are told apart by their first bytes.
    magic = Walker(source, 0, min(source.size, _MAGIC_ROOM), fuel)
    if magic.walk() != _MAGIC:
        raise NotThisFormatError("a pickle, but not one of torch")
    version = Walker(source, magic.position, source.size, fuel)
    if version.walk() != _VERSION:
        raise NotThisFormatError("an unknown version")
    machine = Walker(source, version.position, source.size, fuel)
    if not isinstance(machine.walk(), Dict):
        raise NotThisFormatError("it does not say what machine it is from")
    content = Walker(source, machine.position, source.size, fuel)
    root = content.walk()
    last = Walker(source, content.position, source.size, fuel)
    keys = last.walk()
    if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
        raise NotThisFormatError("it has no list of storages")
    return _Stream(root, content.persistents, content.protocol, [key_text(key) for key in keys], last.position)


def _storages(stream: _Stream) -> Storages:
    storages = Storages(stream.root, stream.persistents, Names(), are_counted=True)
    if storages.uses.keys() != set(stream.keys) or len(stream.keys) != len(storages.uses):
        raise NotThisFormatError("it does not have the storages that its pickle names")
    return storages
