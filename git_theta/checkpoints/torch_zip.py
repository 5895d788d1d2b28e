"""The zip format of torch >= 1.6: a pickle without the values, and every storage as a member of its own.

Read without torch. Written after what torch 2.13 writes, and checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from git_theta.checkpoints import Values
from git_theta.checkpoints.pickle_reader import Fuel
from git_theta.checkpoints.pickle_values import plain_values
from git_theta.checkpoints.pickles import Walker
from git_theta.checkpoints.torch_hashes import forget_hashes
from git_theta.checkpoints.torch_spans import Names, Storages, layout_of
from git_theta.checkpoints.zip_checksums import checksums, with_checksums, without_checksums
from git_theta.checkpoints.zips import STORED, Member, local_header_size, read_directory, read_end, read_entries
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, HollowSource, Source

if TYPE_CHECKING:
    from git_theta.checkpoints.torch_writer import Old

_PICKLES: Final = {"data": (), "constants": ("constants",)}
"""The pickles of an archive, `NAME.pkl`, whose storages are `NAME/KEY`, and what stands before the names of their
groups. Only TorchScript has constants."""

_MEMBER: Final = 512
_VERSIONS: Final = ("version", ".data/version")
_IDENTITY: Final = ".data/serialization_id"
"""What torch makes of the checksums of all members, and nobody compares."""

_OWN: Final = {*_VERSIONS, "data.pkl", "byteorder", ".format_version", ".storage_alignment", _IDENTITY}
"""What torch itself puts beside the storages; a new file has its own."""


class TorchZip:
    """What `torch.save` and `torch.jit.save` write."""

    name = "torch"
    extensions = (".pt", ".pth", ".bin", ".ckpt")
    has_checksums = True

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`. Reads nothing of the storages."""
        spans = (span for _, found in _groups(Archive(source), source.size) for span in found.values())
        return layout_of(self.name, source.size, spans)

    def ties(self, source: Source) -> Mapping[str, str]:
        """The other places of groups; see `checkpoints.Tied`."""
        archive, found = Archive(source), dict[str, str]()
        fuel, names = Fuel(source.size), Names()
        for folder in archive.folders:
            walker = archive.walker(folder, fuel)
            found |= Storages(walker.walk(), walker.persistents, names, prefix=_PICKLES[folder]).ties()
        return found

    def values(self, source: Source) -> Mapping[str, str]:
        """The plain values beside the tensors, by path, shortened; for comparisons.

        Raises:
            NotThisFormatError: see `scan`.
        """
        root = Archive(source).walker("data", Fuel(source.size)).walk()
        forget_hashes(root)
        return plain_values(root)

    def labels(self, skeleton: bytes) -> Mapping[str, str]:
        """How the tensors that are not plain are read from their storages; see `checkpoints.Labelled`."""
        source, told = fill_with_zeros(skeleton), dict[str, str]()
        archive = Archive(source)
        for storages, spans in _groups(archive, source.size):
            told |= storages.labels(spans, is_raw=archive.is_big_endian)
        return told

    def checksums(self, layout: Layout, skeleton: bytes) -> Mapping[str, int]:
        """The checksums of the groups' values; see `checkpoints.Checksummed`."""
        return checksums(layout, skeleton)

    def with_checksums(self, layout: Layout, skeleton: bytes, sums: Mapping[str, int]) -> bytes:
        """The skeleton for other values; see `checkpoints.Checksummed`."""
        return with_checksums(layout, skeleton, sums)

    def without_checksums(self, layout: Layout, skeleton: bytes) -> bytes:
        """The skeleton without what depends on values; see `checkpoints.Checksummed`."""
        return without_checksums(layout, skeleton, lambda name: name.partition("/")[2] == _IDENTITY)

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the structure and the plain values of the old. See `checkpoints.Format`."""
        from git_theta.checkpoints.torch_writer import write_archive

        return write_archive(groups, None if skeleton is None else self._old(skeleton))

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file with plain values and new tensors from others; see `checkpoints.Grafting`."""
        from git_theta.checkpoints.torch_mixing import mixed
        from git_theta.checkpoints.torch_writer import write_archive

        return write_archive(groups, mixed(self._old, skeleton, donors, places))

    def write_ordered(self, groups: Mapping[str, Values], skeleton: bytes, models: Sequence[bytes]) -> Iterator[bytes]:
        """The bytes of a new file with its dictionaries in the order of others; see `checkpoints.Ordered`."""
        from git_theta.checkpoints.torch_order import arranged
        from git_theta.checkpoints.torch_writer import write_archive

        return write_archive(groups, arranged(self._old(skeleton), (self._old(model).root for model in models)))

    def _old(self, skeleton: bytes) -> Old:
        """What a new file is made from.

        Raises:
            PluginError: there cannot be a new file like it.
        """
        from git_theta.checkpoints.torch_writer import Old

        source = fill_with_zeros(skeleton)
        archive = Archive(source)
        if archive.is_big_endian or len(archive.folders) > 1:
            raise PluginError("a torch file that is big-endian or has code cannot be written with other groups")
        walker = archive.walker("data", Fuel(source.size))
        root = walker.walk()
        forget_hashes(root)
        keys = archive.keys()
        storages = {keys[span.start]: span for span in self.scan(source).spans}
        return Old(root, walker.persistents, storages, walker.protocol, archive.others())


class Archive:
    """The members of a torch file that matter here.

    Attributes:
        folders: those of `_PICKLES` that it has.
        is_big_endian: the order of bytes in its values.
        cost: what the members take of the `Fuel` for the pickles.
    """

    def __init__(self, source: Source) -> None:
        """Read the directory.

        Raises:
            NotThisFormatError: this is no torch file.
        """
        self._source = source
        self._members = _without_top(read_directory(source))
        if "data.pkl" not in self._members or not any(name in self._members for name in _VERSIONS):
            raise NotThisFormatError("a zip file, but not one of torch")
        self.folders = [folder for folder in _PICKLES if f"{folder}.pkl" in self._members]
        self.cost = _MEMBER * len(self._members)
        order = "little"
        if "byteorder" in self._members:
            start, stop = self._content("byteorder")
            order = source.read(start, min(stop, start + 8)).decode("latin-1")
        if order not in ("little", "big"):
            raise NotThisFormatError("it has an unknown order of bytes")
        self.is_big_endian = order == "big"

    def walker(self, folder: str, fuel: Fuel) -> Walker:
        """Walks the pickle whose storages are in a folder."""
        return Walker(self._source, *self._content(f"{folder}.pkl"), fuel)

    def storages(self, folder: str) -> dict[str, tuple[int, int]]:
        """The start and the size of each storage in a folder, by key, in file order."""
        found = {}
        for name in self._members:
            if name.startswith(f"{folder}/") and name != f"{folder}/":
                start, stop = self._content(name)
                found[name.removeprefix(f"{folder}/")] = start, stop - start
        return found

    def keys(self) -> dict[int, str]:
        """The key of the storage that starts at each offset."""
        return {start: key for key, (start, _) in self.storages("data").items()}

    def others(self) -> list[tuple[str, bytes]]:
        """The members that torch has no use for, and their contents.

        Raises:
            PluginError: one is compressed, and may be of any size.
        """
        found = []
        for name, (member, start) in self._members.items():
            if name and not name.startswith("data/") and name not in _OWN:
                if member.method != STORED:
                    raise PluginError(f"a torch file cannot be written again with its compressed member {name[:80]!r}")
                found.append((name, self._source.read(start, start + member.size)))
        return found

    def _content(self, name: str) -> tuple[int, int]:
        member, start = self._members[name]
        if member.method != STORED:
            raise NotThisFormatError(f"{name[:80]!r} is compressed")
        return start, start + member.size


def _groups(archive: Archive, size: int) -> Iterator[tuple[Storages, dict[str, Span]]]:
    """What each pickle of an archive says of its storages, and the groups that these are, by key.

    Args:
        archive: a torch file.
        size: bytes of the file.

    Raises:
        NotThisFormatError: a storage is missing, or the pickle says something else of it.
    """
    fuel, names = Fuel(size), Names()
    fuel.burn(archive.cost)
    for folder in archive.folders:
        walker = archive.walker(folder, fuel)
        storages = Storages(walker.walk(), walker.persistents, names, prefix=_PICKLES[folder])
        places = archive.storages(folder)
        if missing := storages.uses.keys() - places.keys():
            raise NotThisFormatError(f"storage {min(missing)[:80]!r} is missing")
        is_raw = archive.is_big_endian
        yield (
            storages,
            {key: storages.span(key, start, nbytes, is_raw=is_raw) for key, (start, nbytes) in places.items()},
        )


def _without_top(members: list[tuple[Member, int]]) -> dict[str, tuple[Member, int]]:
    """The members by their names within the one folder that holds them all."""
    found = {}
    tops = set()
    for member, start in members:
        top, slash, name = member.name.partition("/")
        if not slash:
            raise NotThisFormatError("a zip file, but not one of torch")
        tops.add(top)
        found[name] = member, start
    if len(tops) != 1:
        raise NotThisFormatError("a zip file, but not one of torch")
    return found


def fill_with_zeros(skeleton: bytes) -> Source:
    """A source that scans as the file did which the skeleton is of.

    The directory is at the end of the skeleton as of the file, and says where the storages were.

    Raises:
        NotThisFormatError: it is not the skeleton of a torch file.
    """
    source = BytesSource(skeleton)
    holes: list[tuple[int, int]] = []
    shift = 0
    folders = tuple(f"{folder}/" for folder in _PICKLES)
    for member in sorted(read_entries(source, read_end(source)), key=lambda member: member.header):
        if member.size and member.name.partition("/")[2].startswith(folders):
            start = member.header + local_header_size(source, member.header - shift)
            if start - shift > source.size or (holes and start < sum(holes[-1])):
                raise NotThisFormatError("the members of the zip file are not where they can be")
            holes.append((start, member.size))
            shift += member.size
    return HollowSource(skeleton, holes)
