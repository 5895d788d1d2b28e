"""NumPy's .npz files: zip archives of arrays.

A member that is no plain array (one of objects, a compressed one, a text) stays in the skeleton as it is, and the
others are groups. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.numpy_files import Header, labels, npy_header, parse
from git_theta.checkpoints.texts import MAX_VALUES, digest_of
from git_theta.checkpoints.zip_checksums import checksums, with_checksums, without_checksums
from git_theta.checkpoints.zips import (
    STORED,
    Member,
    local_header_size,
    read_directory,
    read_end,
    read_entries,
    write_stored,
)
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout, Span
from git_theta.sources import BytesSource, HollowSource, Source

_NPY: Final = ".npy"
_ALIGNMENT: Final = 64
_MAX_SKELETON: Final = 100_000_000
_MAX_NAMES: Final = 16_000_000
_MAX_NAME: Final = 0xFFFF
_EXACT: Final = 32
"""Digits of digests that tell all members apart, whoever chose them."""


class Npz:
    """The .npz format: a zip archive of arrays, as numpy.savez writes it (not savez_compressed)."""

    name = "npz"
    extensions = (".npz",)
    has_checksums = True

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups; see `checkpoints.Format`."""
        spans = [item.span() for item in _items(source) if item.header is not None]
        if not spans:
            raise NotThisFormatError("there is no array in it that is neither compressed nor one of objects")
        if len({span.name for span in spans}) != len(spans) or sum(len(span.name) for span in spans) > _MAX_NAMES:
            raise NotThisFormatError("two members have the same name, or the names are too long")
        if source.size - sum(span.nbytes for span in spans) > _MAX_SKELETON:
            raise NotThisFormatError("too much lies outside of the arrays")
        return Layout(self.name, source.size, tuple(spans))

    def values(self, source: Source) -> Mapping[str, str]:
        """The members that are no groups, by size and digest.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        self.scan(source)
        others = [item for item in _items(source) if item.header is None]
        return {item.name: _shown(source, item) for item in others[:MAX_VALUES]}

    def checksums(self, layout: Layout, skeleton: bytes) -> Mapping[str, int]:
        """The checksums of the groups' values; see `checkpoints.Checksummed`."""
        return checksums(layout, skeleton)

    def with_checksums(self, layout: Layout, skeleton: bytes, sums: Mapping[str, int]) -> bytes:
        """The skeleton for other values; see `checkpoints.Checksummed`."""
        return with_checksums(layout, skeleton, sums)

    def without_checksums(self, layout: Layout, skeleton: bytes) -> bytes:
        """The skeleton without what depends on values; see `checkpoints.Checksummed`."""
        return without_checksums(layout, skeleton, lambda _: False)

    def labels(self, skeleton: bytes) -> Mapping[str, str]:
        """What the headers say more about the arrays; see `checkpoints.Labelled`."""
        return labels(_Old(skeleton).headers)

    def parts(self, skeleton: bytes) -> Mapping[str, str]:
        """All members that are no groups; see `checkpoints.Nested`.

        Raises:
            PluginError: two members would have the same name without their endings.
        """
        old = _Old(skeleton)
        if len(old.headers.keys() | {item.name for item in old.items}) < len(old.items):
            raise PluginError("two members of an .npz file have the same name but for .npy")
        return {item.name: _shown(old.source, item) for item in old.items if item.header is None}

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file with members of other ones, and arrays as they are there; see `checkpoints.Grafting`.

        Raises:
            PluginError: as in `write`.
        """
        others = {other: _Old(other) for other in {*donors.values(), *places.values()}}
        old = _Old(skeleton)
        headers = old.headers | {
            name: header for name, other in places.items() if (header := others[other].headers.get(name))
        }
        kept = old.kept()
        for name, donor in donors.items():
            found = {member: place for member, place in others[donor].kept().items() if place[1].name == name}
            kept = {member: place for member, place in kept.items() if place[1].name != name or member in found} | found
        return _written(groups, headers, kept)

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the order of elements and of their bytes. See `checkpoints.Format`.

        Members of the old file that are no groups are kept behind the groups.

        Raises:
            PluginError: a group cannot be written, or the old file has members that are compressed.
        """
        old = None if skeleton is None else _Old(skeleton)
        return _written(groups, {} if old is None else old.headers, {} if old is None else old.kept())


class _Old:
    """A file that a new one is made from.

    Attributes:
        source: the file, with zeros for the values of its groups.
        items: its members.
        headers: those of the arrays that are groups, by their names.
    """

    def __init__(self, skeleton: bytes) -> None:
        self.source = _filled(skeleton)
        self.items = _items(self.source)
        self.headers = {item.name: item.header for item in self.items if item.header is not None}

    def kept(self) -> _Kept:
        """The members that are no groups, by the names that they have in the file."""
        return {item.member.name: (self.source, item) for item in self.items if item.header is None}


def _written(groups: Mapping[str, Values], known: Mapping[str, Header], kept: _Kept) -> Iterator[bytes]:
    """The bytes of a new file, in which arrays are as headers say that are known of them, by the names of groups.

    Raises:
        PluginError: as in `Npz.write`.
    """
    names = {name: "/".join(tensors.split_name(name)) + _NPY for name in groups}
    if len(set(names.values())) != len(groups) or not kept.keys().isdisjoint(names.values()):
        raise PluginError("two groups would have the same name in an .npz file")
    if any(item.member.method != STORED for _, item in kept.values()):
        raise PluginError("an .npz file with compressed members cannot be written with other groups")
    for name in names.values():
        if len(name.encode()) > _MAX_NAME:
            raise PluginError(f"{name[:80]!r} is too long a name for an .npz file")
    # Names that come from other formats may be paths, where one key of these has slashes in it.
    headers = {
        name: npy_header(values, known.get(name) or known.get(tensors.join_name([names[name].removesuffix(_NPY)])))
        for name, values in groups.items()
    }

    def members() -> Iterator[tuple[str, bytes]]:
        for name, values in groups.items():
            yield names[name], headers[name] + bytes(values.data)
        for name, (source, item) in kept.items():
            yield name, source.read(item.start, item.start + item.member.size)

    return write_stored(members(), _ALIGNMENT)


def _shown(source: Source, item: _Item) -> str:
    """A member that is no group as short text; no other one has the same."""
    how = "" if item.member.method == STORED else f", compressed to {item.member.packed}"
    digest = digest_of(source, item.start, item.start + item.member.packed)
    return f"{item.member.size} bytes{how} ({digest[:_EXACT]})"


class _Item(Struct, frozen=True):
    """A member of the archive, where its content starts, and the header of the array if it is a plain one."""

    member: Member
    start: int
    header: Header | None

    @property
    def name(self) -> str:
        """Of the group, or of what stands where a group could."""
        return tensors.join_name([self.member.name.removesuffix(_NPY)])

    def span(self) -> Span:
        """The group, which fills the member to its end.

        Raises:
            NotThisFormatError: it does not.
        """
        assert self.header is not None
        span = self.header.span(self.name)
        if span.stop != self.start + self.member.size:
            raise NotThisFormatError(f"{self.member.name[:80]!r} has another number of values than its shape says")
        return span


_Kept = Mapping[str, tuple[Source, _Item]]
"""Members by name, each with the file that it is in."""


def _items(source: Source) -> list[_Item]:
    """The members in file order."""
    placed = read_directory(source, ignore_case=False)
    return [_Item(member, start, _header(source, member, start)) for member, start in placed]


def _header(source: Source, member: Member, start: int) -> Header | None:
    """The header of the array that starts there; None if the member is something else."""
    if member.method != STORED or not member.name.endswith(_NPY):
        return None
    try:
        header = parse(source, start, start + member.size)
        header.span("")
    except NotThisFormatError:
        return None
    return header


def _filled(skeleton: bytes) -> Source:
    """The file that a skeleton is of, with zeros for the values of its groups."""
    source = BytesSource(skeleton)
    holes: list[tuple[int, int]] = []
    shift = 0
    entries = read_entries(source, read_end(source), ignore_case=False)
    for member in sorted(entries, key=lambda member: member.header):
        at = member.header - shift
        header = _header(source, member, at + local_header_size(source, at))
        if header is not None:
            nbytes = header.span("").nbytes
            holes.append((header.stop + shift, nbytes))
            shift += nbytes
    return HollowSource(skeleton, holes)
