"""One typed table per plug-in family: built-ins first, imported when used, then entry points.

The registry is passed in where it is needed, never a mutable global: tests register a fake on a fresh one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from git_theta.errors import PluginError

Plugin = TypeVar("Plugin")


@dataclass(frozen=True)
class Family(Generic[Plugin]):
    """The members of one plug-in family.

    Attributes:
        kind: what a member is called in messages, such as "checkpoint format".
        group: the entry-point group in which other packages announce members.
        builtins: name to "module:attribute" of the members that ship with Git-Theta.
    """

    kind: str
    group: str
    builtins: Mapping[str, str]
    loaded: dict[str, Plugin] = field(default_factory=dict, compare=False)

    def names(self) -> tuple[str, ...]:
        """Every known name: the built-ins in their order, then the plug-ins sorted."""
        return (*self.builtins, *sorted(set(self._entry_points()) - set(self.builtins)))

    def get(self, name: str) -> Plugin:
        """The member of this name; a built-in cannot be replaced by a plug-in.

        Raises:
            PluginError: the name is unknown, or the plug-in cannot be imported.
        """
        if name not in self.loaded:
            target = self.builtins.get(name) or self._entry_points().get(name)
            if target is None:
                known = ", ".join(self.names())
                raise PluginError(f"unknown {self.kind} {name!r}; known are: {known}")
            self.loaded[name] = self._import(name, target)
        return self.loaded[name]

    def builtin_members(self) -> Iterator[Plugin]:
        """The members that ship with Git-Theta, in the order of their table."""
        return (self.get(name) for name in self.builtins)

    def _entry_points(self) -> dict[str, str]:
        from importlib.metadata import entry_points

        return {point.name: point.value for point in entry_points(group=self.group)}

    def _import(self, name: str, target: str) -> Plugin:
        module, _, attribute = target.partition(":")
        try:
            return cast("Plugin", getattr(importlib.import_module(module), attribute)())
        except Exception as error:
            raise PluginError(f"the {self.kind} {name!r} ({target}) cannot be loaded: {error}") from error
