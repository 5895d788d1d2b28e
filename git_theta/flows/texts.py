"""What a checkpoint says beside its groups (epochs, settings, comments), from its skeleton."""

from __future__ import annotations

from collections.abc import Mapping

from git_theta.checkpoints import Format
from git_theta.checkpoints.labels import labels
from git_theta.errors import NotThisFormatError
from git_theta.metadata import Metadata
from git_theta.registry import Family


def texts(metadata: Metadata, skeleton: bytes, formats: Family[Format]) -> Mapping[str, str] | None:
    """Short texts by name (`checkpoints.Format.values`); None if no format that ships with Git-Theta can tell.

    Args:
        metadata: the checkpoint.
        skeleton: its bytes outside of the groups.
        formats: of which the one is asked that the checkpoint has.
    """
    if metadata.format not in formats.builtins:
        return None
    try:
        return formats.get(metadata.format).values(metadata.layout().hollow(skeleton))
    except NotThisFormatError:
        return None


def labels_of(metadata: Metadata, skeleton: bytes, formats: Family[Format]) -> Mapping[str, str]:
    """What a checkpoint says more about its groups, by name (`checkpoints.Labelled`); nothing if no format tells here.

    Args:
        metadata: the checkpoint.
        skeleton: its bytes outside of the groups.
        formats: as for `texts`.
    """
    if metadata.format not in formats.builtins:
        return {}
    try:
        return labels(formats, metadata.format, skeleton)
    except NotThisFormatError:
        return {}
