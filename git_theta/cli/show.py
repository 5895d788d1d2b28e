"""`git theta show`: what a checkpoint is made of, and what a group's values are like."""

from __future__ import annotations

import fnmatch
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from git_theta.cli.filtering import pieces
from git_theta.cli.terminal import say, shows_unicode
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError, UsageError

if TYPE_CHECKING:
    from git_theta.flows.show import Origin, Shown
    from git_theta.flows.smudge import Smudger
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
        for line in tell(shown, entries, in_json=in_json):
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
        yield f"values of {entries[0].dtype} are blocks with scales of their own: there are no figures of them"
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
    found = found or [entry for entry in entries if fnmatch.fnmatchcase(entry.name, str(group))]
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

    workspace = _workspace()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="git-theta-")))
        smudger = _smudger_without_objects(scratch) if workspace is None else workspace.smudger
        oid = None if workspace is None or ":" not in name else show.blob(workspace.repository, name)
        if workspace is not None and oid is not None:
            content = iter([workspace.repository.read_blob(oid)])
            origin = show.Origin(name.partition(":")[2], scratch / "no file")
        else:
            origin = _origin(name, workspace)
            content = pieces(stack.enter_context(origin.file.open("rb")))
        yield stack.enter_context(show.opened(content, origin, smudger, scratch))


def _workspace() -> Workspace | None:
    try:
        return Workspace.here()
    except GitError:
        return None


def _origin(name: str, workspace: Workspace | None) -> Origin:
    """The file of this name; in a worktree, with what is known about its path there."""
    from git_theta.flows.show import Origin, of_worktree

    file = Path(name)
    if not file.is_file():
        raise UsageError(f"there is no file{', and no REV:PATH,' if ':' in name else ''} {name!r} here")
    if workspace is not None and not workspace.repository.is_bare:
        path = os.path.relpath(file.parent.resolve() / file.name, workspace.repository.worktree.resolve())
        if not path.startswith(os.pardir):
            return of_worktree(workspace.repository, path, file)
    return Origin(name, file)


def _smudger_without_objects(scratch: Path) -> Smudger:
    """For a metadata file outside of any repository: it can be read, but its values are not here."""
    from git_theta.flows.smudge import Smudger
    from git_theta.store.cache import MetadataCache
    from git_theta.store.objects import ObjectStore
    from git_theta.updates import update_types

    return Smudger(ObjectStore(scratch), MetadataCache(scratch / "cache"), update_types(), lambda _: None)
