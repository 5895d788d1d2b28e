"""`git theta add`: stage a checkpoint, and say how its changed groups shall be kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from git_theta.cli.boundary import printable
from git_theta.cli.paths import from_top
from git_theta.cli.workspace import Workspace
from git_theta.diffs.compare import update_text
from git_theta.errors import PluginError, StoreError, UsageError
from git_theta.flows import known
from git_theta.flows.fetch import fetch
from git_theta.git.staging import check_addable, stage_as_cleaned
from git_theta.metadata import Metadata
from git_theta.metadata_file import parse
from git_theta.updates import update_types
from git_theta.updates.choose import AUTO

if TYPE_CHECKING:
    from git_theta.flows.sideload import Decided

_WITH_DATA: Final = ("dense", "sparse", "low-rank", "ia3", "auto")


@click.command("add")
@click.option(
    "--update-type",
    metavar="TYPE",
    help="How to keep changed groups, where it fits: auto, dense, delta, sparse, low-rank, ia3, linear or a plug-in's.",
)
@click.option(
    "--update-data",
    type=click.Path(exists=True, path_type=Path),
    help="What the change is made from: a checkpoint with groups named <group>/<key>, or an adapter of PEFT.",
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(paths: tuple[Path, ...], update_type: str | None, update_data: Path | None) -> None:
    """Stage PATHS as git add does.

    With --update-type, changed groups are kept as an update of this type where it fits; dense keeps every group whole,
    which ends a chain of updates. With --update-data, a checkpoint, or a model that is in several files, is changed as
    the data says, unless the worktree holds the new values already, and the data is what is kept.
    """
    workspace = Workspace.here()
    if update_type not in (None, AUTO):
        try:
            update_types().get(str(update_type))
        except PluginError as error:
            raise UsageError(str(error)) from error
    if update_data is not None and (update_type or AUTO) not in _WITH_DATA:
        raise UsageError(f"--update-data is for a type of {', '.join(_WITH_DATA)}")
    is_decided_here = update_type is not None or update_data is not None
    if is_decided_here:
        # All are looked at before the first is staged: an error changes nothing.
        checkpoints = [_checkpoint(workspace, path) for path in paths]
        check_addable(workspace.repository, map(str, paths))
        if update_data is not None:
            _side_load(workspace, checkpoints, update_type or AUTO, update_data)
        else:
            for path in checkpoints:
                _decide(workspace, path, update_type or AUTO)
    # Then these are files, whatever their names mean to git, and not patterns.
    literally = ("--literal-pathspecs",) if is_decided_here else ()
    workspace.repository.git(*literally, "add", "--", *map(str, paths))


def _decide(workspace: Workspace, path: str, kind: str) -> None:
    """Decide anew about a checkpoint, put that into the index, and tell what was done."""
    from git_theta.flows.keeping import Wish

    heads, staged = _versions(workspace, path)
    kept = workspace.side_loader.decide(path, heads or staged, Wish(kind, anew=True))
    _stage(workspace, path, kept, heads[0] if heads else None)


def _side_load(workspace: Workspace, paths: Sequence[str], kind: str, data: Path) -> None:
    """Change checkpoints, each as the data says of its groups, put them into the index, and tell what was done."""
    from git_theta.flows.sidefiles import read_changes, targets

    loader = workspace.side_loader
    bases = {path: _earlier(workspace, path) for path in paths}
    changes = read_changes(data, targets(bases), kind, loader.formats)
    own = {path: {name: changes[name] for name in base.by_name() if name in changes} for path, base in bases.items()}
    changed = {path: base for path, base in bases.items() if own[path]}
    # All that may be missing is brought before the first file is changed.
    fetch(workspace.transfer, [ref for base in changed.values() for ref in base.objects()])
    for path, base in changed.items():
        _stage(workspace, path, loader.load(path, base, own[path], kind), base)


def _versions(workspace: Workspace, path: str) -> tuple[Sequence[Metadata], Sequence[Metadata]]:
    """The versions of a checkpoint that are committed, and those in the index."""
    repository = workspace.repository
    return list(known.heads(repository, path)), [metadata for _, metadata in known.at_path(repository, path)]


def _earlier(workspace: Workspace, path: str) -> Metadata:
    """The version of a checkpoint that data changes.

    Raises:
        UsageError: there is none.
    """
    heads, staged = _versions(workspace, path)
    if not heads and not staged:
        raise UsageError(f"{path} has no earlier version that the data could change: commit it first")
    return (heads or staged)[0]


def _stage(workspace: Workspace, path: str, kept: Decided, base: Metadata | None) -> None:
    """Put what was decided into the index, and tell how groups are kept that were not in the base, or otherwise."""
    repository = workspace.repository
    repository.stage(path, kept.data)
    if kept.state is not None:
        stage_as_cleaned(repository, path, kept.data, kept.state, workspace.store.temporary_directory())
    _tell(base, parse(kept.data))


def _tell(base: Metadata | None, new: Metadata) -> None:
    """A line for each group that is kept in another way than before, and one that sums up."""
    before = {} if base is None else base.by_name()
    counts: Counter[str] = Counter()
    for entry in new.entries:
        old = before.get(entry.name)
        if old is None or (old.digest, old.update) != (entry.digest, entry.update):
            words = update_text(entry.update)
            counts[words] += 1
            click.echo(f"{printable(entry.name)}: {words}")
    summary = ", ".join(f"{count} {words}" for words, count in counts.items()) or "nothing changed"
    click.echo(f"{sum(counts.values())} of {len(new.entries)} groups: {summary}")


def _checkpoint(workspace: Workspace, path: Path) -> str:
    """The path from the top of a file that Git-Theta keeps.

    Raises:
        UsageError: it is something else.
        StoreError: there is none.
    """
    found = from_top(workspace, path)
    if path.is_dir():
        raise UsageError(f"{found} is a directory: name the checkpoints in it")
    if workspace.repository.tracked([found]) != [found]:
        raise UsageError(f"{found} is not kept by Git-Theta: run 'git theta track' first")
    if workspace.repository.is_ignored(found):
        raise UsageError(f"{found} is ignored (.gitignore): run 'git add -f' first, if you want it nevertheless")
    if path.is_symlink():
        raise UsageError(f"{found} is a symbolic link: name the file that it leads to")
    try:
        path.stat()
    except OSError as error:
        raise StoreError(f"{found} cannot be read: {error.strerror}") from error
    return found
