"""Side-load: keep a checkpoint's change as what it was made from (factors, an adapter, a difference, a vector)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from git_theta import tensors
from git_theta.checkpoints import Format, Values, has_checksums
from git_theta.checkpoints.by_value import plugin_of
from git_theta.checkpoints.digests import Digests
from git_theta.checkpoints.labels import labels
from git_theta.errors import ChangedWhileReadingError, StoreError, UsageError
from git_theta.flows import by_value
from git_theta.flows.clean import Cleaner
from git_theta.flows.hints import hint, stored
from git_theta.flows.intake import Intake
from git_theta.flows.keeping import Wish
from git_theta.layout import Span
from git_theta.metadata import Entry, Metadata
from git_theta.registry import Family
from git_theta.replacing import replacing
from git_theta.sources import FileSource, FileState, Source, blocks
from git_theta.updates import update_types
from git_theta.updates.reading import Readers
from git_theta.updates.sidedata.apply import apply_all
from git_theta.updates.sidedata.changes import Change, Either, Told, readings
from git_theta.updates.sidedata.recognise import is_result
from git_theta.updates.sidedata.values import shaped

Bytes = npt.NDArray[np.uint8]
Changes = Mapping[str, Sequence[Told]]
"""What changes, by group; several changes of one group follow one another."""

_BACK: Final = 50_000_000
"""Nanoseconds; longer than a tick of the clock that gives files their times."""


class Decided(Struct, frozen=True):
    """What was decided about a worktree file.

    Attributes:
        data: its metadata file.
        state: of the worktree file that has these values, if whatever is written to it later shows in that.
    """

    data: bytes
    state: FileState | None


class SideLoader(Struct, frozen=True):
    """Applies changes to the checkpoints of one repository."""

    cleaner: Cleaner
    formats: Family[Format]

    def load(self, path: str, base: Metadata, changes: Changes, kind: str) -> Decided:
        """Make the worktree file hold the new values, unless it does, and keep them as what they were made from.

        Args:
            path: of the checkpoint, from the top of the worktree.
            base: the metadata file of the version that is changed; its objects are here.
            changes: that fit its groups.
            kind: of update to keep where there is a choice.

        Raises:
            UsageError: the worktree holds neither the old nor the new values.
            ThetaError: the base's values cannot be had, or the file cannot be written.
        """
        entries = base.by_name()
        with self._taking(path) as (intake, state):
            meant, new = self._new_values(path, intake, base, changes)
            told = {name: found for name, parts in meant.items() if (found := hint(parts, entries[name])) is not None}
            wish = Wish(kind, told, anew=True)
            if not new:
                return Decided(self.cleaner.decide_anew(intake, path, [base], wish), state)
            written = self._rewrite(path, new, intake, state, flush=not _is_kept(intake, base))
        with _saying_that_rewritten(path):
            if written is None:
                return self.decide(path, [base], wish)
            with (self.cleaner.top / path).open("rb") as stream:
                source = FileSource(stream.fileno(), written.file[2])
                rewritten = replace(intake, source=source, digests=_digests(intake, new))
                return Decided(self.cleaner.decide_anew(rewritten, path, [base], wish), written)

    def decide(self, path: str, before: Sequence[Metadata], wish: Wish) -> Decided:
        """Keep the worktree file, decided anew whatever is in the index; see `Cleaner.decide_anew`.

        Raises:
            ThetaError: it cannot be read, or not be kept.
        """
        with self._taking(path) as (intake, state):
            return Decided(self.cleaner.decide_anew(intake, path, before, wish), state)

    @contextmanager
    def _taking(self, path: str) -> Iterator[tuple[Intake, FileState | None]]:
        """Take in the worktree file. Its state is None if a change might not show in it.

        Raises:
            StoreError: it cannot be read.
        """
        file = self.cleaner.top / path
        with ExitStack() as stack:
            try:
                state = FileState.of(file.stat())
                is_settled = state.is_settled()
                intake = stack.enter_context(self.cleaner.taking_file(path))
            except OSError as error:
                raise StoreError(f"{path} cannot be read: {error.strerror}") from error
            yield intake, state if is_settled else None

    def _new_values(
        self, path: str, intake: Intake, base: Metadata, changes: Changes
    ) -> tuple[dict[str, Sequence[Change]], dict[str, Bytes]]:
        """The values that the worktree file is to get, in groups that do not have them, or what is as good, already.

        What it has in groups that do not change is its own affair.

        Returns:
            What is meant by the changes, by group; and the new values by group, none if the file stays as it is.

        Raises:
            UsageError: the file holds neither the old nor the new values, or what is meant cannot be told.
        """
        spans = {span.name: (span, digest) for span, digest in _spanned(intake)}
        entries = base.by_name()
        told = labels(self.formats, intake.scan.layout.format, intake.digests.skeleton)
        meant, new = {}, {}
        for name, parts in changes.items():
            span, digest = spans.get(name, (None, ""))
            entry = entries[name]
            if span is None or (span.dtype, span.shape) != (entry.dtype, entry.shape):
                raise UsageError(f"{path} has another group {name!r} than the version that the data is for")
            if name in told:
                raise UsageError(
                    f"group {name!r} is {told[name]}, and no update data can be applied to that: "
                    "merge it into the checkpoint by its own program, and use 'git add'"
                )
            found = _values(intake.source, span)
            if digest == entry.digest:
                meant[name] = _undoubted(parts)
                new[name] = _applied(meant[name], found, entry)
            else:
                meant[name] = self._merged(path, found, parts, entry)
        return meant, new

    def _merged(self, path: str, found: Bytes, parts: Sequence[Told], entry: Entry) -> Sequence[Change]:
        """The changes that make of the base's values those that were found, which are not the base's, but for rounding.

        Raises:
            UsageError: none do.
        """
        readers = Readers(self.cleaner.store, update_types())
        old = np.frombuffer(b"".join(block.tobytes() for block in stored(entry).rows(readers.mine())), np.uint8)
        for changes in readings(parts):
            if np.array_equal(found, _applied(changes, old, entry)):
                return changes
            if is_result(changes, old, found, entry.dtype, entry.shape):
                return changes
        raise UsageError(
            f"{path} holds neither the old nor the new values of group {entry.name!r}: check out the "
            "version that the update data is for, and try again"
        )

    def _rewrite(
        self, path: str, new: Mapping[str, Bytes], intake: Intake, state: FileState | None, *, flush: bool
    ) -> FileState | None:
        """Put new values into the worktree file, which is replaced when it is whole, if it is still the one taken in.

        Args:
            path: of the checkpoint.
            new: values by group.
            intake: the old file.
            state: of the old file, if it shows every change.
            flush: force the new file to the disk first, as the old has what is nowhere else. Git does not force its
                files: the store has the old values, and soon the new ones.

        Returns:
            The state of the new file if it is like the old but for the values; None if it has to be taken in.
        """
        file = self.cleaner.top / path
        try:
            mode = file.stat().st_mode
            with replacing(file, scratch=self.cleaner.store.scratch) as stream:
                for piece in self._content(intake, new, file):
                    stream.write(piece)
                self._check_unchanged(path, intake, state)
                os.fchmod(stream.fileno(), mode & 0o777)
                modified = _age(stream)
                if flush:
                    os.fsync(stream.fileno())
            written = FileState.of(file.stat())
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error
        return written if written.modified == modified and self._is_spliced(intake) else None

    def _check_unchanged(self, path: str, intake: Intake, state: FileState | None) -> None:
        """Make sure that the worktree file is the one that was taken in, by its bytes if its times cannot tell.

        Raises:
            ChangedWhileReadingError: it is not.
        """
        if state is not None and FileState.of((self.cleaner.top / path).stat()) == state:
            return
        with self._taking(path) as (again, _):
            if again.digests != intake.digests:
                raise ChangedWhileReadingError(f"{path} changed while it was read: try again")

    def _content(self, intake: Intake, new: Mapping[str, Bytes], file: Path) -> Iterator[bytes | memoryview]:
        """The bytes of a file that is like the one taken in, but for the new values."""
        layout = intake.scan.layout
        if self._is_spliced(intake):
            yield from _spliced(intake, new)
        elif plugin_of(layout.format) is not None:
            path, scratch = file.name, self.cleaner.store.temporary_directory
            yield from by_value.saved(layout, _spliced(intake, new), self.formats, path, scratch)
        else:
            groups = {
                span.name: Values(span.dtype, span.shape, new.get(span.name, _values(intake.source, span)).data)
                for span in layout.spans
            }
            yield from self.formats.get(layout.format).write(groups, intake.digests.skeleton)

    def _is_spliced(self, intake: Intake) -> bool:
        """Whether new values change nothing else in the file: there are no checksums, and no program has to save it."""
        name = intake.scan.layout.format
        return plugin_of(name) is None and not has_checksums(self.formats, name)


def _is_kept(intake: Intake, base: Metadata) -> bool:
    """Whether all that a file holds is kept as a part of its base."""
    digests = intake.digests
    groups = {entry.digest for entry in base.entries}
    return groups.issuperset(digests.groups) and tensors.digest(digests.skeleton) == base.skeleton.digest


@contextmanager
def _saying_that_rewritten(path: str) -> Iterator[None]:
    """Say of what fails from now on that it does not leave everything as it was. The same command then goes on."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{error} ({path} has its new values, but they are not staged)") from error


def _age(stream: BinaryIO) -> int:
    """Date a file back a little, so that whatever is written to it from now on shows in its time; returns the time."""
    stream.flush()
    modified = time.time_ns() - _BACK
    os.utime(stream.fileno(), ns=(modified, modified))
    return modified


def _digests(intake: Intake, new: Mapping[str, Bytes]) -> Digests:
    """Those of the file that was taken in, but for the new values."""
    groups = (tensors.digest(new[span.name].data) if span.name in new else digest for span, digest in _spanned(intake))
    return Digests(intake.digests.skeleton, tuple(groups))


def _spliced(intake: Intake, new: Mapping[str, Bytes]) -> Iterator[bytes | memoryview]:
    """The bytes that were taken in, with new values in the place of the old."""
    layout, position = intake.scan.layout, 0
    for span in layout.spans:
        if span.name in new:
            yield from blocks(intake.source, position, span.start)
            yield new[span.name].data
            position = span.stop
    yield from blocks(intake.source, position, layout.size)


def _spanned(intake: Intake) -> Iterator[tuple[Span, str]]:
    return zip(intake.scan.layout.spans, intake.digests.groups, strict=True)


def _values(source: Source, span: Span) -> Bytes:
    return np.frombuffer(source.read(span.start, span.stop), np.uint8)


def _undoubted(parts: Sequence[Told]) -> Sequence[Change]:
    """What the data says.

    Raises:
        UsageError: something contradicts it.
    """
    for part in parts:
        if isinstance(part, Either) and part.doubt:
            raise UsageError(part.doubt)
    return readings(parts)[0]


def _applied(parts: Sequence[Change], old: Bytes, entry: Entry) -> Bytes:
    """The bytes that changes make of a group's."""
    new = apply_all(parts, shaped(old, entry.dtype, entry.shape), entry.dtype, entry.shape)
    return np.ascontiguousarray(new).reshape(-1).view(np.uint8)
