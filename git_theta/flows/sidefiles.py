"""Read update data: a checkpoint whose groups are named `<group>/<key>`, or an adapter of PEFT as it comes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from git_theta.checkpoints import Format, Values
from git_theta.checkpoints.labels import labels
from git_theta.checkpoints.scan import scan
from git_theta.errors import UsageError
from git_theta.metadata import Metadata
from git_theta.registry import Family
from git_theta.sources import FileSource
from git_theta.updates.sidedata.changes import Targets, Told
from git_theta.updates.sidedata.keyed import read_keyed
from git_theta.updates.sidedata.peft import read_peft
from git_theta.updates.sidedata.peft_config import parse_config

_CONFIG: Final = "adapter_config.json"
_ADAPTERS: Final = ("adapter_model.safetensors", "adapter_model.bin")


def targets(files: Mapping[str, Metadata]) -> Targets:
    """The groups of a model that is in one or several files.

    Args:
        files: the metadata file of each, by path.

    Raises:
        UsageError: two have groups of one name.
    """
    paths: dict[str, str] = {}
    for path, metadata in files.items():
        for entry in metadata.entries:
            if paths.setdefault(entry.name, path) != path:
                raise UsageError(f"{paths[entry.name]} and {path} both have a group {entry.name!r}: name one of them")
    return {entry.name: (entry.dtype, entry.shape) for metadata in files.values() for entry in metadata.entries}


def read_changes(data: Path, groups: Targets, kind: str, formats: Family[Format]) -> dict[str, Sequence[Told]]:
    """What a file or folder of update data changes in a model, by group.

    Args:
        data: a checkpoint of update data, a PEFT adapter's file beside its adapter_config.json, or its folder.
        groups: of the model.
        kind: of update that the keys of a checkpoint are for; "auto" for what they say.
        formats: of checkpoints.

    Raises:
        UsageError: the data cannot be read, or is not for this model.
    """
    file, config = _adapter(data)
    values = _groups(file, formats)
    changes: Sequence[Told]
    changes = read_keyed(values, groups, kind) if config is None else read_peft(parse_config(config), values, groups)
    found: dict[str, Sequence[Told]] = {}
    for change in changes:
        found[change.group] = [*found.get(change.group, ()), change]
    return found


def _adapter(data: Path) -> tuple[Path, bytes | None]:
    """The file of the weights, and the configuration if it is an adapter's."""
    try:
        if data.is_dir():
            files = [data / name for name in _ADAPTERS if (data / name).is_file()]
            if not files or not (data / _CONFIG).is_file():
                raise UsageError(f"{data} holds no adapter: {_CONFIG} and one of {', '.join(_ADAPTERS)} are expected")
            return files[0], (data / _CONFIG).read_bytes()
        config = data.with_name(_CONFIG)
        return data, config.read_bytes() if data.name in _ADAPTERS and config.is_file() else None
    except OSError as error:
        raise UsageError(f"{data} cannot be read: {error.strerror}") from error


def _check_plain(told: Mapping[str, str]) -> None:
    """Make sure that the groups of update data are what their dtypes and shapes say, for these are computed with.

    Raises:
        UsageError: one is not.
    """
    for name, text in told.items():
        raise UsageError(
            f"{name!r} of the update data is {text}: save a plain copy of it (numpy.ascontiguousarray, or "
            "contiguous().clone() of torch)"
        )


def _groups(file: Path, formats: Family[Format]) -> dict[str, Values]:
    try:
        with file.open("rb") as stream:
            source = FileSource(stream.fileno(), os.fstat(stream.fileno()).st_size)
            found = scan(source, str(file), formats)
            if found.why_opaque is not None:
                raise UsageError(f"{file} is no checkpoint: {found.why_opaque}")
            _check_plain(labels(formats, found.layout.format, found.layout.read_skeleton(source)))
            return {
                span.name: Values(span.dtype, span.shape, source.read(span.start, span.stop))
                for span in found.layout.spans
            }
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
