"""The door to plug-ins: whatever one of them does wrong is an error of one line that names it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from git_theta.checkpoints import Checkpoint, Format
from git_theta.errors import ChangedWhileReadingError, NotThisFormatError, PluginError
from git_theta.layout import MAX_SKELETON, Layout
from git_theta.registry import Family, check_name
from git_theta.sources import Source

_SHOWN: Final = 200


def names(formats: Family[Format]) -> list[str]:
    """The formats that do not ship with Git-Theta."""
    return [name for name in formats.names() if name not in formats.builtins]


def by_value(member: object) -> type[Checkpoint] | None:
    """The class of a member that can only load and save; None for one that finds spans."""
    return type(member) if isinstance(member, Checkpoint) else None


def extensions(name: str, member: Format | Checkpoint) -> tuple[str, ...]:
    """The endings that a plug-in says its files have.

    Raises:
        PluginError: it says something else.
    """
    found = getattr(member, "extensions", ())
    if not isinstance(found, tuple) or not all(isinstance(ending, str) and ending for ending in found):
        raise PluginError(f"the extensions of the plug-in {name!r} are not a tuple of strings")
    return found


def scan(name: str, member: Format, source: Source) -> Layout:
    """Ask a plug-in where the groups lie.

    Raises:
        NotThisFormatError: it does not claim the file.
        PluginError: it breaks its contract.
    """
    check_name(name)
    with guarded(name, "scan"):
        layout = member.scan(source)
        if not isinstance(layout, Layout) or layout.size != source.size:
            raise PluginError("it did not return the layout of the file")
        # Nothing of it is believed: this looks at every span once more.
        checked = Layout(name, source.size, tuple(layout.spans))
    if checked.skeleton_nbytes > MAX_SKELETON:
        raise NotThisFormatError(f"it has {checked.skeleton_nbytes} bytes beside its groups, more than {MAX_SKELETON}")
    return checked


@contextmanager
def guarded(name: str, action: str) -> Iterator[None]:
    """Run a plug-in. What it prints goes to standard error: standard output is git's.

    Raises:
        PluginError: it raised something, in one line.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (NotThisFormatError, ChangedWhileReadingError):
        raise
    except PluginError as error:
        raise PluginError(f"the plug-in {name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        raise PluginError(f"the plug-in {name!r} failed to {action} the file: {reason}") from error


def guarded_unless_builtin(formats: Family[Format], name: str, action: str) -> AbstractContextManager[None]:
    """Run a format: `guarded` if it is a plug-in's."""
    return contextlib.nullcontext() if name in formats.builtins else guarded(name, action)
