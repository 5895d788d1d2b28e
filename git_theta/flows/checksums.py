"""Checksums of values in a skeleton, made right where a tool that works on lines has put other values behind it.

`git add -p` and its like can take the new values of a group and leave the skeleton as it was. Where the format keeps
checksums there, they are those of the old values then: no value is wrong, but the file would be a broken one.
"""

from __future__ import annotations

import zlib
from typing import Final

from git_theta.checkpoints import Checksummed, Format, plugins
from git_theta.errors import PluginError
from git_theta.flows.merging.values import Inputs
from git_theta.metadata import Entry, Metadata
from git_theta.registry import Family

_ACTION: Final = "put checksums into"


def refitted(metadata: Metadata, skeleton: bytes, inputs: Inputs, formats: Family[Format]) -> bytes:
    """A skeleton with the checksums of the values that the groups have. All values are read; they must be here.

    Args:
        metadata: of the checkpoint.
        skeleton: its own.
        inputs: gives the values.
        formats: that know where the checksums are.

    Raises:
        PluginError: the format is not installed, or cannot tell.
        CorruptObjectError: values cannot be had.
    """
    sums = {entry.name: checksum(entry, inputs) for entry in metadata.entries if entry.nbytes}
    member = _checksummed(metadata, formats)
    with plugins.guarded_unless_builtin(formats, metadata.format, _ACTION):
        return member.with_checksums(metadata.layout(), skeleton, sums)


def are_alike(metadata: Metadata, old: bytes, new: bytes, formats: Family[Format]) -> bool:
    """Whether two skeletons of one layout differ in no more than the checksums. No values are read."""
    member, layout = _checksummed(metadata, formats), metadata.layout()
    with plugins.guarded_unless_builtin(formats, metadata.format, _ACTION):
        return member.with_checksums(layout, old, member.checksums(layout, new)) == new


def checksum(entry: Entry, inputs: Inputs) -> int:
    """The CRC-32 of a group's values.

    Raises:
        CorruptObjectError: they cannot be had.
    """
    crc = 0
    for block in inputs.rows(entry):
        crc = zlib.crc32(block.reshape(-1).data, crc)
    return crc


def _checksummed(metadata: Metadata, formats: Family[Format]) -> Checksummed:
    member = formats.get(metadata.format)
    if not isinstance(member, Checksummed):
        raise PluginError(
            f"the checksums in the file are of other values, and the format {metadata.format} cannot tell where they "
            "are: take one version whole, with 'git add FILE' from the worktree or 'git checkout COMMIT -- FILE'"
        )
    return member
