"""One typed table per plug-in family: built-ins first, imported when used, then entry points.

The registry is passed in where it is needed, never a mutable global: tests register a fake on a fresh one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from msgspec import Struct, field

from git_theta.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Plugin = TypeVar("Plugin")

PLUG_INS: Final = "git_theta.plugins."
"""What the names of our groups of entry points begin with."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)
"""What can stand in a metadata file."""


class Family(Struct, Generic[Plugin], frozen=True, eq=False, dict=True):
    """The members of one plug-in family.

    Attributes:
        kind: what a member is called in messages, such as "checkpoint format".
        group: the entry-point group in which other packages announce members.
        builtins: name to "module:attribute" of the members that ship with Git-Theta.
        adapt: makes a member of a plug-in's name and what it announces; None if plug-ins announce members.
    """

    kind: str
    group: str
    builtins: Mapping[str, str]
    loaded: dict[str, Plugin] = field(default_factory=dict)
    adapt: Callable[[str, Any], Plugin] | None = None

    def names(self) -> tuple[str, ...]:
        """Every known name: the built-ins in their order, then the plug-ins sorted."""
        return (*self.builtins, *sorted(set(self._entry_points) - set(self.builtins)))

    def get(self, name: str) -> Plugin:
        """The member of this name; a built-in cannot be replaced by a plug-in.

        Raises:
            PluginError: the name is unknown, or the plug-in cannot be loaded.
        """
        if name not in self.loaded:
            self.loaded[name] = self._load(name)
        return self.loaded[name]

    def builtin_members(self) -> Iterator[Plugin]:
        """The members that ship with Git-Theta, in the order of their table."""
        return (self.get(name) for name in self.builtins)

    def _entry_point(self, name: str) -> EntryPoint:
        try:
            point = self._entry_points[name]
        except KeyError:
            known = ", ".join(self.names())
            raise PluginError(f"unknown {self.kind} {name!r}; known are: {known}") from None
        check_name(name)
        return point

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        """What other packages announce. To look through all that are installed takes 15 ms where there are 80."""
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self.group)}

    def _load(self, name: str) -> Plugin:
        is_builtin = name in self.builtins
        # What finds entry points takes long to import, and the built-ins are where they are.
        point = None if is_builtin else self._entry_point(name)
        target = self.builtins[name] if point is None else point.value
        try:
            found = _imported(target) if point is None else point.load()
            # A class is what is announced as a rule; a member that is there already has a name.
            is_member = hasattr(found, "name") and not callable(found)
            made = found if is_member else found()
            return cast(Plugin, made) if self.adapt is None or is_builtin else self.adapt(name, made)
        except (Exception, SystemExit) as error:
            reason = str(error) if isinstance(error, Exception) else f"SystemExit: {error}"
            raise PluginError(f"the {self.kind} {name!r} ({target}) cannot be loaded: {reason}") from error


def has_plug_ins() -> bool:
    """Whether any other package announces a member of any of our families, so that code of others may run."""
    from importlib.metadata import entry_points

    return any(group.startswith(PLUG_INS) for group in entry_points().groups)


def check_name(name: str) -> None:
    """Make sure that a plug-in's name can stand in a metadata file: what could not be read again would be lost.

    Raises:
        PluginError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(f"{name!r} cannot be the name of a plug-in: lower-case letters, digits and '_.-' only")


def _imported(target: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
