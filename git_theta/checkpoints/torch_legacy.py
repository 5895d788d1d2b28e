"""The format of torch before 1.6: a stream of pickles, then the storages one after another.

The pickles are a magic number, the version, a description of the machine, the object, and the list of storage keys.
Each storage is its number of elements (eight bytes) and its values. Both are little-endian on every machine: torch
swaps the bytes when it writes them on a big-endian one. Read without torch; written after what torch 2.13 writes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from git_theta.checkpoints import Values
from git_theta.checkpoints.pickle_objects import Dict, Persistent
from git_theta.checkpoints.pickle_reader import Fuel
from git_theta.checkpoints.pickle_values import plain_values
from git_theta.checkpoints.pickles import Walker
from git_theta.checkpoints.torch_spans import Names, Storages, item_size, layout_of
from git_theta.checkpoints.torch_tree import key_text, storage_id
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, Source

if TYPE_CHECKING:
    from git_theta.checkpoints.torch_writer import Old

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

    def labels(self, skeleton: bytes) -> Mapping[str, str]:
        """How the tensors that are not plain are read from their storages; see `checkpoints.Labelled`."""
        stream = _read(BytesSource(skeleton))
        storages = _storages(stream)
        return storages.labels(_spans(stream, storages))

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the structure and the plain values of the old. See `checkpoints.Format`."""
        return _written(groups, None if skeleton is None else _old(skeleton), skeleton)

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file with plain values and new tensors from others; see `checkpoints.Grafting`."""
        from git_theta.checkpoints.torch_mixing import mixed

        return _written(groups, mixed(_old, skeleton, donors, places), skeleton)

    def write_ordered(self, groups: Mapping[str, Values], skeleton: bytes, models: Sequence[bytes]) -> Iterator[bytes]:
        """The bytes of a new file with its dictionaries in the order of others; see `checkpoints.Ordered`."""
        from git_theta.checkpoints.torch_order import arranged

        old = arranged(_old(skeleton), (_old(model).root for model in models))
        return _written(groups, old, skeleton)


def _old(skeleton: bytes) -> Old:
    """What a new file is made from."""
    from git_theta.checkpoints.torch_writer import Old

    stream = _read(BytesSource(skeleton))
    return Old(stream.root, stream.persistents, _spans(stream, _storages(stream)), stream.protocol)


def _spans(stream: _Stream, storages: Storages) -> dict[str, Span]:
    """The groups, by the keys of their storages, as far as a skeleton tells of them."""
    # The values are not at hand, but the pickle tells their sizes, and any offsets will do.
    spans: dict[str, Span] = {}
    position = 0
    for key in stream.keys:
        use = storages.uses[key]
        spans[key] = storages.span(key, position, use.id.numel * (item_size(use.id.kind) or 1))
        position = spans[key].stop + 1
    return spans


def _written(groups: Mapping[str, Values], old: Old | None, skeleton: bytes | None) -> Iterator[bytes]:
    """The bytes of a file: what is before the object as in the old one, then what `torch.save` writes.

    Raises:
        PluginError: the structure has no room for a group, or cannot lose one, or this format has no such dtype.
    """
    from git_theta.checkpoints.torch_writer import pickled

    made = pickled(groups, old, is_stream=True)
    if skeleton is None:
        head = b"".join(_dumped(part) for part in (_MAGIC, _VERSION, _machine()))
    else:
        head = skeleton[: _read(BytesSource(skeleton)).begin]
    counts = {found.key: found.numel for persistent in made.persistents if (found := storage_id(persistent))}
    if lost := [name for name, key in made.keys.items() if key not in counts]:
        raise PluginError(f"the group {lost[0][:80]!r} has no place in the file's structure")
    sizes = (counts[made.keys[name]].to_bytes(_COUNT, "little") for name in groups)
    values = (bytes(each.data) for each in groups.values())
    storages = itertools.chain.from_iterable(zip(sizes, values, strict=True))
    return itertools.chain((head, made.data, _dumped(list(made.keys.values()))), storages)


def _dumped(value: object) -> bytes:
    from git_theta.checkpoints.pickle_writer import PickleWriter

    return PickleWriter(lambda part: part).dump(value)


def _machine() -> Dict:
    """What torch says of the machine that it runs on, the same for all that it runs on now."""
    sizes = Dict(["short", 2, "int", 4, "long", 4])
    return Dict(["protocol_version", _VERSION, "little_endian", True, "type_sizes", sizes])


class _Stream(Struct, frozen=True):
    """What the pickles of a file say.

    Attributes:
        root: the object.
        persistents: its persistent objects.
        protocol: of its pickle.
        keys: of the storages.
        begin: where the pickle of the object begins.
        stop: where the storages begin.
    """

    root: object
    persistents: list[Persistent]
    protocol: int
    keys: list[str]
    begin: int
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
    names = [key_text(key) for key in keys]
    return _Stream(root, content.persistents, content.protocol, names, machine.position, last.position)


def _storages(stream: _Stream) -> Storages:
    storages = Storages(stream.root, stream.persistents, Names(), are_counted=True)
    if storages.uses.keys() != set(stream.keys) or len(stream.keys) != len(storages.uses):
        raise NotThisFormatError("it does not have the storages that its pickle names")
    return storages
