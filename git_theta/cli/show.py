"""`git theta show`: what a checkpoint is made of, and what a group's values are like."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec.structs import asdict

from git_theta.cli.comparing import Comparing
from git_theta.cli.pager import paged
from git_theta.cli.terminal import say, shows_unicode
from git_theta.cli.workspace import Workspace
from git_theta.errors import MetadataError, NotThisFormatError, UsageError
from git_theta.flows.clean import FORMAT_ATTRIBUTE
from git_theta.sources import BytesSource
from git_theta.tensors import is_named

if TYPE_CHECKING:
    from git_theta.flows.show import Shown
    from git_theta.metadata import Entry

_VERSION: Final = 1


@click.command("show")
@click.option("--json", "in_json", is_flag=True, help="Print JSON (docs/diff.md).")
@click.argument("checkpoint", metavar="REV:PATH")
@click.argument("group", required=False)
def command(checkpoint: str, group: str | None, in_json: bool) -> None:
    """Show the groups of a checkpoint, or what the values of one GROUP are like.

    REV:PATH is the checkpoint in a commit, :PATH the one in the index, and a plain PATH a file. GROUP is a name or a
    pattern (h.*.bias); if it fits several groups, they are listed. Only a group's values need objects; those that are
    missing are fetched.
    """
    with _opened(checkpoint) as shown:
        entries = _matching(shown, group)
        tell = _groups if group is None or len(entries) > 1 else _group
        # What fetches may ask for a password, so it comes before the pager, whose the terminal is.
        lines = list(tell(shown, entries, in_json=in_json))
    with paged():
        for line in lines:
            say(line)


def _groups(shown: Shown, entries: Sequence[Entry], *, in_json: bool) -> Iterator[str]:
    """The table of some groups; of all, with what is beside them."""
    from git_theta.diffs import listing

    metadata = shown.metadata
    if in_json:
        yield json.dumps(_described(shown) | {"groups": _rows(shown, entries)}, indent=1)
        return
    yield from listing.table(metadata, entries)
    yield listing.total(metadata)
    if len(entries) == len(metadata.entries):
        yield from listing.texts(shown.texts)


def _group(shown: Shown, entries: Sequence[Entry], *, in_json: bool) -> Iterator[str]:
    """One group: its row, and what its values are like."""
    from git_theta.diffs import as_json, listing
    from git_theta.diffs.look import Look
    from git_theta.flows.show import portrait

    found = portrait(shown, entries[0])
    if in_json:
        spread = (
            None
            if found.spread is None
            else {key: as_json.number(value) for key, value in asdict(found.spread).items()}
        )
        histogram = found.histogram and {"edges": list(found.histogram.edges), "counts": list(found.histogram.new)}
        row = _rows(shown, entries)[0] | {"statistics": spread, "histogram": histogram}
        yield json.dumps(_described(shown) | {"groups": [row]}, indent=1)
        return
    yield from listing.table(shown.metadata, entries)
    if found.spread is None:
        yield f"there are no figures of {entries[0].dtype}, whose values cannot be read as numbers here"
        return
    yield from listing.spread_lines(found.spread)
    if found.histogram is not None:
        yield from listing.histogram_lines(found.histogram, Look(is_unicode=shows_unicode(os.environ)))


def _described(shown: Shown) -> dict[str, Any]:
    metadata = shown.metadata
    refs = list(metadata.objects())
    return {
        "version": _VERSION,
        "path": shown.path,
        "format": metadata.format,
        "size": metadata.size,
        "values": [{"name": name, "value": value} for name, value in shown.texts.items()],
        "summary": {
            "groups": len(metadata.entries),
            "bytes": sum(entry.nbytes for entry in metadata.entries),
            "objects": len(refs),
            "kept_bytes": sum(ref.size for ref in refs),
        },
    }


def _rows(shown: Shown, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    from git_theta.diffs import listing

    kept = listing.kept_by_group(shown.metadata)
    return [
        {
            "group": entry.name,
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "nbytes": entry.nbytes,
            "digest": entry.digest,
            "update": listing.chain_text(entry.update) if entry.update.type else None,
            "kept_bytes": kept[entry.name] if entry.update.type else None,
        }
        for entry in entries
    ]


def _matching(shown: Shown, group: str | None) -> Sequence[Entry]:
    """The group of this name, or those that the pattern fits; all if there is none.

    Raises:
        UsageError: there is no such group.
    """
    entries = shown.metadata.entries
    found = [entry for entry in entries if group in (None, entry.name)]
    found = found or [entry for entry in entries if is_named(entry.name, str(group))]
    if group is not None and not found:
        raise UsageError(f"{shown.path} has no group {group!r}: see 'git theta show' without a group")
    return found


@contextmanager
def _opened(name: str) -> Iterator[Shown]:
    """The checkpoint that the user means.

    Raises:
        UsageError: it is neither in the repository nor a file.
    """
    from git_theta.flows import show

    comparing = Comparing.here()
    workspace = comparing.workspace
    smudger = None if workspace is None else workspace.smudger
    with ExitStack() as stack:
        opener = comparing.opener(stack)
        oid = None if workspace is None or ":" not in name else show.blob(workspace.repository, name)
        if workspace is not None and oid is not None:
            path = name.rpartition(":")[2]
            with _naming(path):
                version = opener.source(BytesSource(workspace.repository.read_blob(oid)), path, is_any=True)
            yield show.shown(version, path, opener.formats, {}, smudger)
        else:
            path = _from_top(name, workspace)
            wanted: str | None = None
            kept: Mapping[str, Entry] = {}
            if workspace is not None and not Path(path).is_absolute():
                wanted = workspace.repository.attribute(path, FORMAT_ATTRIBUTE)
                kept = show.kept_at(workspace.repository, path)
            with _naming(name):
                version = opener.file(Path(name), path, wanted, is_any=True)
            yield show.shown(version, name, opener.formats, kept, smudger)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say what it is that is no checkpoint, or a metadata file that cannot be read.

    Raises:
        NotThisFormatError: it is none.
        MetadataError: it is such a file.
    """
    try:
        yield
    except NotThisFormatError as error:
        raise NotThisFormatError(f"{name} is no checkpoint: {error}") from error
    except MetadataError as error:
        raise MetadataError(f"{name}: {error}") from error


def _from_top(name: str, workspace: Workspace | None) -> str:
    """The path of a file from the top of the worktree; an absolute one if it is not in one.

    Raises:
        UsageError: there is no such file.
    """
    file = Path(name)
    if not file.is_file():
        raise UsageError(f"there is no file{', and no REV:PATH,' if ':' in name else ''} {name!r} here")
    absolute = file.parent.resolve() / file.name
    if workspace is None or workspace.repository.is_bare:
        return str(absolute)
    top = workspace.repository.worktree.resolve()
    return str(absolute.relative_to(top) if absolute.is_relative_to(top) else absolute)
