"""Checkpoint formats: each knows where in a file the parameter groups lie, and how to write a new file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from msgspec import Struct

from git_theta.checkpoints.checkpoint import Checkpoint
from git_theta.layout import Layout
from git_theta.registry import PLUG_INS, Family
from git_theta.sources import Source

__all__ = [
    "ARRAY",
    "MAP",
    "Checkpoint",
    "Checksummed",
    "Format",
    "Grafting",
    "Labelled",
    "Mixing",
    "Nested",
    "Ordered",
    "Tied",
    "Values",
    "formats",
    "has_checksums",
]


class Values(Struct, frozen=True):
    """The values of one parameter group.

    Attributes:
        dtype: a name of `tensors.BLOCKS`.
        shape: extents, outermost first.
        data: the values, little-endian in C order, `tensors.nbytes(dtype, shape)` bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


class Format(Protocol):
    """A checkpoint format: a port with three methods on plain bytes. It runs no code that a file brings.

    A format whose files hold checksums of the values, outside of them, says so with `has_checksums = True`: other
    values are then put into a file by `write`, not in their place.
    """

    name: str
    extensions: tuple[str, ...]

    def scan(self, source: Source) -> Layout:
        """Find the parameter groups.

        Raises:
            NotThisFormatError: the bytes are not a well-formed file of this format; says why in half a sentence.
        """

    def values(self, source: Source) -> Mapping[str, str]:
        """What the file says beside its groups (epochs, settings, comments), as short texts by path, for comparisons.

        Returns:
            By name (`tensors.join_name`), at most 65,536 texts of some 200 characters. Of what is longer, the beginning
            and a digest of all, so that values that differ have texts that differ (`checkpoints.texts`).

        Raises:
            NotThisFormatError: as in `scan`.
        """

    def write(self, groups: Mapping[str, Values], skeleton: bytes | None) -> Iterator[bytes]:
        """The bytes of a new file with these groups, for when the structure changes.

        Args:
            groups: by name (`tensors.join_name`), in the order wanted.
            skeleton: of a file of the same format, whose other content (comments, settings) is kept where it can be.
        """


@runtime_checkable
class Mixing(Protocol):
    """What a format may have besides: new files with values (that are no groups) from several old ones."""

    def write_mixed(
        self, groups: Mapping[str, Values], skeleton: bytes, donors: Mapping[str, bytes]
    ) -> Iterator[bytes]:
        """The bytes of a new file, as `Format.write` makes it, but for some values that are no groups.

        Args:
            groups: by name, in the order wanted.
            skeleton: of a file of the same format, whose other content is kept.
            donors: for each value (by its name in `Format.values`) that is taken from elsewhere, the skeleton of the
                file that it is taken from; where that has none, it is left out.

        Raises:
            PluginError: a value cannot be taken out of its place, or put there.
        """


@runtime_checkable
class Grafting(Protocol):
    """What a format may have instead of `Mixing` if the name of a group does not tell all of its place.

    That is of what kinds the dictionaries are that it lies in, and their keys.
    """

    def write_grafted(
        self,
        groups: Mapping[str, Values],
        skeleton: bytes,
        donors: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> Iterator[bytes]:
        """The bytes of a new file, as `Mixing.write_mixed` makes it, with groups that lie as they do in other files.

        Args:
            groups: by name, in the order wanted.
            skeleton: of a file of the same format, whose other content is kept.
            donors: as for `write_mixed`.
            places: for each group that the file has not, and for each other place of such a group (`Tied`), the
                skeleton of a file that has it.

        Raises:
            PluginError: a value or a group cannot be taken out of its place, or put there.
        """


@runtime_checkable
class Labelled(Grafting, Protocol):
    """What a format may have besides if dtype, shape and values do not tell all of what a group means.

    The extents may be in another order in the file, or the elements be of a kind that no dtype stands for. Such a
    group comes into another file only with what says so there: by `write_grafted`, also in the place of another one.
    """

    def labels(self, skeleton: bytes) -> Mapping[str, str]:
        """What a file says more about its groups, as short texts by their names; nothing of those that are plain.

        Groups of the same dtype, shape, values and text mean the same, also in files of two formats. A text is about no
        values. A tied group has it at all of its places (`Tied`).

        Raises:
            NotThisFormatError: the skeleton is malformed.
        """


MAP: Final = "{}"
"""What stands for a map in `Nested.parts`."""

ARRAY: Final = "array"
"""What the texts of parts begin with, and no other ones, that only say more about a group."""


@runtime_checkable
class Nested(Labelled, Protocol):
    """What a format may have besides if its files are maps within maps, of which each may hold nothing.

    What is in such a file besides its groups is then merged part by part, and `write_grafted` gets the names of parts
    as donors, and empty ones too: maps stay in the file unless they are taken out and nothing else lies in them.
    """

    def parts(self, skeleton: bytes) -> Mapping[str, str]:
        """All that a file consists of besides its groups, as short texts by path.

        Args:
            skeleton: of the file.

        Returns:
            By name (`tensors.join_name`), what holds others first: MAP for a map, and for other parts texts of some
            200 characters, which are the same only if the parts are. What only says more about groups is a part that
            begins with ARRAY; it comes and goes with them.

        Raises:
            NotThisFormatError: the skeleton is malformed, or the file is no map.
        """


@runtime_checkable
class Ordered(Protocol):
    """What a format may have besides if its files have an order of keys that is not the order of the groups."""

    def write_ordered(self, groups: Mapping[str, Values], skeleton: bytes, models: Sequence[bytes]) -> Iterator[bytes]:
        """The bytes of a new file, as `Format.write` makes it, but with its keys in the order of other files'.

        Args:
            groups: by the names that they have in that order, in the order wanted.
            skeleton: of a file of the same format, whose other content is kept.
            models: skeletons of the files whose order is followed, one after the other: the last counts most. Keys that
                one does not have stay behind those that they are behind.
        """


@runtime_checkable
class Checksummed(Protocol):
    """What a format with checksums may have besides, so that merges need not read values that they do not change."""

    def checksums(self, layout: Layout, skeleton: bytes) -> Mapping[str, int]:
        """The checksum of each group's values in a file, by name; groups without values are left out.

        It is the CRC-32 of the bytes of the values, and depends on nothing else.

        Raises:
            NotThisFormatError: the skeleton is not one of this layout.
        """

    def with_checksums(self, layout: Layout, skeleton: bytes, sums: Mapping[str, int]) -> bytes:
        """The skeleton, of the same length and layout, for other values of some groups.

        Args:
            layout: of a file.
            skeleton: of the same file.
            sums: checksums of the new values, by name of the group.

        Raises:
            NotThisFormatError: the skeleton is not one of this layout.
        """

    def without_checksums(self, layout: Layout, skeleton: bytes) -> bytes:
        """What files that differ in nothing but values have in common: not to be written, but to be compared.

        Raises:
            NotThisFormatError: the skeleton is not one of this layout.
        """


@runtime_checkable
class Tied(Protocol):
    """What a format may have besides if its files can have one group at several places."""

    def ties(self, source: Source) -> Mapping[str, str]:
        """The other places of groups, as names that groups there would have, and the names of the groups.

        Raises:
            NotThisFormatError: as in `Format.scan`.
        """


def formats() -> Family[Format]:
    """The family of checkpoint formats."""
    return Family("checkpoint format", f"{PLUG_INS}checkpoints", _BUILTINS)


def has_checksums(family: Family[Format], name: str) -> bool:
    """Whether files of a format hold checksums of their values; those of a format that is not here count as without."""
    is_here = name in family.builtins or name in family.names()
    return is_here and bool(getattr(family.get(name), "has_checksums", False))


_BUILTINS: Final = {
    "safetensors": "git_theta.checkpoints.safetensors:Safetensors",
    "torch": "git_theta.checkpoints.torch_zip:TorchZip",
    "torch-legacy": "git_theta.checkpoints.torch_legacy:TorchLegacy",
    "npy": "git_theta.checkpoints.numpy_files:Npy",
    "npz": "git_theta.checkpoints.npz:Npz",
    "gguf": "git_theta.checkpoints.gguf:Gguf",
    "flax": "git_theta.checkpoints.flax_msgpack:FlaxMsgpack",
}
"""In the order in which they are asked. Flax's files have no mark in front, so that format is the last."""
