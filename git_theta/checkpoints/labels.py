"""What a file says more about its groups than dtype, shape and values; see `checkpoints.Labelled`."""

from __future__ import annotations

from collections.abc import Mapping

from git_theta.checkpoints import Format, Labelled, plugins
from git_theta.registry import Family


def has_labels(formats: Family[Format], name: str) -> bool:
    """Whether files of a format may say more; not if nobody here knows the format."""
    return _labelled(formats, name) is not None


def labels(formats: Family[Format], name: str, skeleton: bytes) -> Mapping[str, str]:
    """What is said more in a file, as short texts by the names of the groups that it is said of.

    Args:
        formats: that there are.
        name: of the file's format.
        skeleton: of the file.

    Raises:
        NotThisFormatError: the skeleton is malformed.
        PluginError: a plug-in failed.
    """
    member = _labelled(formats, name)
    if member is None:
        return {}
    with plugins.guarded_unless_builtin(formats, name, "read the labels of"):
        return member.labels(skeleton)


def _labelled(formats: Family[Format], name: str) -> Labelled | None:
    member: object = formats.get(name) if name in formats.names() else None
    return member if isinstance(member, Labelled) else None
