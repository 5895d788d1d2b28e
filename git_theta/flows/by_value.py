"""Keep a file by its values, for a plug-in that can only load and save: its stand-in is kept in its place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from git_theta.checkpoints import Checkpoint, Format, plugins
from git_theta.checkpoints.checkpoint import CheckpointFile
from git_theta.checkpoints.digests import Digests, digest_again
from git_theta.checkpoints.scan import Scan
from git_theta.checkpoints.stand_in import StandIn, nested
from git_theta.errors import PluginError, StoreError
from git_theta.flows.intake import Intake
from git_theta.metadata import Metadata
from git_theta.registry import Family
from git_theta.sources import BLOCK, blocks

_HOW_TO_GET_IT: Final = "install the package that brings it beside git-theta, then check out the file again"

Scratch = Callable[[], Path]


def loaded(intake: Intake, path: str, formats: Family[Format], scratch: Scratch) -> Intake:
    """The intake of the stand-in of a file that was taken in whole.

    The plug-in also saves what it loaded and loads that again: if it does not give the same values, a checkout would
    not, and so the file is refused.

    Args:
        intake: of the file; its scan says which plug-in it needs.
        path: of the file, whose last part is given to the copy that the plug-in gets.
        formats: where the plug-in is found.
        scratch: gives a directory for temporary files.

    Raises:
        PluginError: the plug-in fails, gives something else than arrays, or other values the second time.
        StoreError: there is no room for the temporary files.
    """
    name = intake.scan.by_value
    assert name is not None
    plugin = _plugin(name, formats)
    with _directory(scratch) as directory:
        file = directory / Path(path).name
        _write(file, blocks(intake.source, 0, intake.source.size))
        found, digests = _load(name, plugin, file)
        file.unlink()
        _save(name, plugin, nested(found.layout.spans, _values(found), digests.skeleton), file)
        again, digests_again = _load(name, plugin, file)
    if (again.layout, digests_again) != (found.layout, digests):
        changed = _first_change((found, digests), (again, digests_again))
        raise PluginError(f"the plug-in {name!r} does not give the same values after saving and loading ({changed})")
    return Intake(found, Scan(found.layout, None), digests)


def saved(
    metadata: Metadata, content: Iterable[bytes | memoryview], formats: Family[Format], path: str, scratch: Scratch
) -> Iterator[bytes]:
    """The bytes of the file that the plug-in makes of a stand-in.

    Args:
        metadata: of the stand-in.
        content: the stand-in's bytes.
        formats: where the plug-in is found.
        path: of the file, whose last part is that of the file that the plug-in writes.
        scratch: gives a directory for temporary files.

    Raises:
        PluginError: the plug-in is not installed, or fails.
        StoreError: there is no room for the temporary file.
    """
    name = metadata.format.partition(":")[2]
    plugin = _plugin(name, formats)
    layout = metadata.layout()
    pieces = _Pieces(content)
    values, skeleton = [], bytearray()
    for span, lead in zip(layout.spans, layout.leads(), strict=True):
        skeleton += pieces.take(lead)
        values.append(pieces.take(span.nbytes))
    skeleton += pieces.take(layout.size - layout.spans[-1].stop if layout.spans else layout.size)
    pieces.finish()
    with _directory(scratch) as directory:
        file = directory / Path(path).name
        with plugins.guarded(name, "save"):
            groups = nested(layout.spans, values, bytes(skeleton))
        _save(name, plugin, groups, file)
        with file.open("rb") as stream:
            while piece := stream.read(BLOCK):
                yield piece


class _Pieces:
    """Takes a stream apart into buffers of given sizes."""

    def __init__(self, content: Iterable[bytes | memoryview]) -> None:
        self._content = iter(content)
        self._left = memoryview(b"")

    def take(self, count: int) -> bytearray:
        """The next bytes. Room is made as they come: a count that a metadata file claims may be absurd."""
        data = bytearray()
        while len(data) < count:
            if not self._left:
                # A copy, since whoever gives the blocks may use their memory again.
                self._left = memoryview(bytes(next(self._content)))
            taken = self._left[: count - len(data)]
            data += taken
            self._left = self._left[len(taken) :]
        return data

    def finish(self) -> None:
        """Let the stream end, which is where it makes sure that all was right."""
        for _ in self._content:
            pass


def _plugin(name: str, formats: Family[Format]) -> type[Checkpoint]:
    try:
        member = formats.get(name)
    except PluginError as error:
        raise PluginError(f"the file needs the plug-in {name!r}: {error}; {_HOW_TO_GET_IT}") from error
    plugin = plugins.by_value(member)
    if plugin is None:
        raise PluginError(f"the file needs a plug-in {name!r} that loads and saves, but the one here does not")
    return plugin


def _load(name: str, plugin: type[Checkpoint], file: Path) -> tuple[StandIn, Digests]:
    with plugins.guarded(name, "load"):
        with CheckpointFile(file, "rb") as stream:
            found = StandIn(name, plugin.from_file(stream))
        digests = digest_again(found, found.layout)
    return found, digests


def _save(name: str, plugin: type[Checkpoint], groups: dict[str, object], file: Path) -> None:
    make: Callable[[dict[str, object]], Checkpoint] = plugin
    with plugins.guarded(name, "save"), CheckpointFile(file, "wb+") as stream:
        make(groups).save(stream)


def _values(source: StandIn) -> list[bytearray]:
    return [bytearray(source.read(span.start, span.stop)) for span in source.layout.spans]


def _first_change(*versions: tuple[StandIn, Digests]) -> str:
    """What two stand-ins differ in, in words."""
    before, after = (dict(zip(found.layout.spans, digests.groups, strict=True)) for found, digests in versions)
    changed = [span.name for span in [*before, *after] if before.get(span) != after.get(span)]
    return f"group {min(changed)[:80]!r}" if changed else "a dtype, or a dict that holds nothing"


@contextmanager
def _directory(scratch: Scratch) -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory(dir=scratch()) as directory:
            yield Path(directory)
    except OSError as error:
        raise StoreError(f"no temporary file can be written: {error.strerror or error}") from error


def _write(file: Path, content: Iterable[bytes]) -> None:
    with file.open("wb") as stream:
        for piece in content:
            stream.write(piece)
