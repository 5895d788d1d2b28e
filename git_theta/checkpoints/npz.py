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
from git_theta.checkpoints.numpy_files import Header, labels, npy_header, parse, refuse_values
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
        """Nothing: there are no values but the arrays.

        Raises:
            NotThisFormatError: as in `scan`.
        """
        self.scan(source)
        return {}

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
        return labels(_headers(skeleton))

    def write_mixed(
        self, groups: Mapping[str, Values], skeleton: bytes, donors: Mapping[str, bytes]
    ) -> Iterator[bytes]:
        """The bytes of a new file; there are no values but the arrays. See `checkpoints.Mixing`."""
        return self.write_grafted(groups, skeleton, donors, {})

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file, with some arrays as they are in other ones; see `checkpoints.Grafting`."""
        refuse_values(donors)
        others = {other: _headers(other) for other in set(places.values())}
        headers = {name: others[other].get(name) for name, other in places.items()}
        return self._write(groups, skeleton, headers)

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file; keeps the order of elements and of their bytes. See `checkpoints.Format`.

        Members of the old file that are no groups are kept behind the groups.

        Raises:
            PluginError: a group cannot be written, or the old file has members that are compressed.
        """
        return self._write(groups, skeleton, {})

    def _write(
        self, groups: Mapping[str, Values], skeleton: bytes | None, others: Mapping[str, Header | None]
    ) -> Iterator[bytes]:
        """See `write`; others are headers that count instead of those of the old file."""
        source = None if skeleton is None else _filled(skeleton)
        old = {} if source is None else {item.member.name: item for item in _items(source)}
        named = {"/".join(tensors.split_name(name)) + _NPY: values for name, values in groups.items()}
        kept = {name: item for name, item in old.items() if item.header is None}
        if len(named) != len(groups) or named.keys() & kept.keys():
            raise PluginError("two groups would have the same name in an .npz file")
        if any(item.member.method != STORED for item in kept.values()):
            raise PluginError("an .npz file with compressed members cannot be written with other groups")
        for name in named:
            if len(name.encode()) > _MAX_NAME:
                raise PluginError(f"{name[:80]!r} is too long a name for an .npz file")
        known = {member: item.header for member, item in old.items()}
        headers = {
            member: npy_header(values, others[name] if name in others else known.get(member))
            for (member, values), name in zip(named.items(), groups, strict=True)
        }

        def members() -> Iterator[tuple[str, bytes]]:
            for name, values in named.items():
                yield name, headers[name] + bytes(values.data)
            for name, item in kept.items():
                assert source is not None
                yield name, source.read(item.start, item.start + item.member.size)

        return write_stored(members(), _ALIGNMENT)


class _Item(Struct, frozen=True):
    """A member of the archive, where its content starts, and the header of the array if it is a plain one."""

    member: Member
    start: int
    header: Header | None

    @property
    def name(self) -> str:
        """Of the group."""
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


def _items(source: Source) -> list[_Item]:
    """The members in file order."""
    placed = read_directory(source, ignore_case=False)
    return [_Item(member, start, _header(source, member, start)) for member, start in placed]


def _headers(skeleton: bytes) -> dict[str, Header]:
    """The headers of the arrays that are groups, by their names."""
    return {item.name: item.header for item in _items(_filled(skeleton)) if item.header is not None}


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
