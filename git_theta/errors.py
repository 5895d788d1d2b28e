"""The one tree of errors that users may see.

Every class carries the exit code of the command that ends with it (docs/errors.md lists them). A message is one line:
what is wrong, where, and what to do.
"""

from __future__ import annotations


class ThetaError(Exception):
    """Something expected went wrong; the message is for the user."""

    exit_code = 1


class UsageError(ThetaError):
    """The command was called in a way that makes no sense."""

    exit_code = 2


class CompareError(ThetaError):
    """Checkpoints could not be compared. Its exit code is git's, since 1 says there that something differs."""

    exit_code = 128


class NoSuchFileError(CompareError):
    """One of two files outside of a repository is not there. Git exits with 1 then, and so does whoever calls it."""

    exit_code = 1


class CompareUsageError(UsageError):
    """`git theta diff` was called in a way that makes no sense. Its exit code is git's, too."""

    exit_code = 129


class MetadataError(ThetaError):
    """A metadata file is malformed, or was written by a newer git-theta."""


class GitError(ThetaError):
    """A git command failed."""


class ChangedWhileReadingError(ThetaError):
    """A file changed under our hands, so what was read of it fits no single state of it."""


class StoreError(ThetaError):
    """The object store could not be read or written (disk full, permissions)."""


class ObjectError(StoreError):
    """One object of the store cannot be used."""


class MissingObjectError(ObjectError):
    """The object is not in the local store."""


class CorruptObjectError(ObjectError):
    """The object's bytes are not the ones that its name or its reader promise."""


class UnreadableObjectError(ObjectError):
    """The object is here, but the system does not let us read it, which is no reason to think it damaged."""


class TransferError(ThetaError):
    """Objects could not be fetched from or pushed to a remote."""


class PluginError(ThetaError):
    """A plug-in is unknown, cannot be imported, or breaks its contract."""


class MergeError(ThetaError):
    """Arrays cannot be merged in the way that was asked."""


class NotThisFormatError(ThetaError):
    """The bytes are not a well-formed file of the format that was asked; the message says why."""
