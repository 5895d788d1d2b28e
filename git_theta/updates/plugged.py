"""Updates of plug-ins: whole arrays in, whole arrays out, and nothing is believed that was not checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from git_theta.errors import CorruptObjectError, PluginError
from git_theta.metadata import Parameter, Update
from git_theta.store.arrays import Block, Ready
from git_theta.updates.reading import Group, Reader, whole_nbytes
from git_theta.updates.single import base_of, count_parameter

MAX_PAYLOAD: Final = 1 << 28
"""Bytes that a plug-in may keep for one group. Twice as many have to fit into what reading a group may take."""

_PAYLOAD: Final = "payload"

_DEPTH: Final = 32
_BITS: Final = 1 << 10
"""How deep lists of settings may be nested, and how large a whole number may be: no parser of JSON minds these."""

T = TypeVar("T")


class UpdatePlugin(Protocol):
    """What another package announces in the entry-point group `git_theta.plugins.updates`, a class without arguments.

    Values are given and taken as bytes: little-endian in C order.
    """

    def fit(
        self, new: bytes, base: bytes, dtype: str, shape: tuple[int, ...]
    ) -> tuple[Mapping[str, Parameter], bytes] | None:
        """How to get new values from a base's: settings (JSON values) and bytes to keep; None if it does not fit."""

    def apply(
        self, base: bytes, settings: Mapping[str, Parameter], payload: bytes, dtype: str, shape: tuple[int, ...]
    ) -> bytes:
        """The new values. The same bytes must come out on every machine."""


class Plugged(Struct, frozen=True):
    """A plug-in's update as a type of update."""

    name: str
    plugin: UpdatePlugin
    is_in_step: bool = False

    def blocks(self, update: Update, group: Group, reader: Reader) -> Iterator[Block]:
        """The group's values, in one block; see `updates.UpdateType`."""
        base = b"".join(bytes(block.result()) for block in reader.values(base_of(update), group))
        size = self.payload_nbytes(update, group)
        payload = bytes(reader.whole(update.object, size)) if size else b""
        settings = {name: value for name, value in update.parameters if name != _PAYLOAD}
        values = self.applied(base, settings, payload, group)
        if len(values) != group.nbytes:
            raise CorruptObjectError(f"the plug-in {self.name!r} gives {len(values)} bytes instead of {group.nbytes}")
        yield Ready(values)

    def payload_nbytes(self, update: Update, group: Group) -> int:  # noqa: ARG002 - the update alone says it
        """Bytes that the plug-in keeps."""
        return count_parameter(update, _PAYLOAD, MAX_PAYLOAD) if update.object is not None else 0

    def memory_nbytes(self, update: Update, group: Group) -> int:
        """Bytes that the plug-in keeps, as often as they are in memory at once."""
        return whole_nbytes(self.payload_nbytes(update, group))

    def applied(self, base: bytes, settings: Mapping[str, Parameter], payload: bytes, group: Group) -> bytes:
        """What the plug-in makes of a base.

        Raises:
            PluginError: it fails, or gives something else than bytes.
        """
        return self._called(lambda: self.plugin.apply(base, settings, payload, group.dtype, group.shape), bytes)

    def fitted(self, new: bytes, base: bytes, group: Group) -> tuple[tuple[tuple[str, Parameter], ...], bytes] | None:
        """Settings, with the size of the payload among them, and the payload that give new values; None if none do.

        Raises:
            PluginError: the plug-in fails, or what it gives is not what gives the new values.
        """
        found = self._called(lambda: self.plugin.fit(new, base, group.dtype, group.shape), object)
        if found is None:
            return None
        match found:
            case (Mapping() as settings, bytes() as payload) if (
                len(payload) <= MAX_PAYLOAD and _PAYLOAD not in settings
            ):
                pass
            case _:
                raise PluginError(f"the update plug-in {self.name!r} gives no settings and bytes, or too many")
        kept = _settings(self.name, settings)
        if self.applied(base, dict(kept), payload, group) != new:
            raise PluginError(f"the update plug-in {self.name!r} does not give the values that it was asked for")
        sized = {**dict(kept), _PAYLOAD: len(payload)} if payload else dict(kept)
        return tuple(sorted(sized.items())), payload

    def _called(self, call: Callable[[], object], kind: type[T]) -> T:
        try:
            result = call()
        except (Exception, SystemExit) as error:
            raise PluginError(f"the update plug-in {self.name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(result, kind):
            raise PluginError(f"the update plug-in {self.name!r} gives a {type(result).__name__}")
        return result


def _settings(name: str, settings: Mapping[object, object]) -> list[tuple[str, Parameter]]:
    """Settings of a plug-in as an update can hold them."""
    return [(_text(name, key), _parameter(name, value, 1)) for key, value in settings.items()]


def _text(name: str, key: object) -> str:
    if not isinstance(key, str):
        raise PluginError(f"the update plug-in {name!r} has a setting whose name is no text")
    return key


def _parameter(name: str, value: object, depth: int) -> Parameter:
    """A setting as it will be read again, which is what JSON can say."""
    match value:
        case list() | tuple() if depth <= _DEPTH:
            return tuple(_parameter(name, item, depth + 1) for item in value)
        case None | bool() | str():
            return value
        case int() if value.bit_length() <= _BITS:
            return value
        case float() if math.isfinite(value):
            return value
        case list() | tuple() | int() | float():
            raise PluginError(f"the update plug-in {name!r} has a setting that is too deep, too large or no number")
    raise PluginError(f"the update plug-in {name!r} has a setting of type {type(value).__name__}")
