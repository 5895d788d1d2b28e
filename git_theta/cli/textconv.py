"""`git theta textconv`: what git's own diff, log -p and blame show of a checkpoint."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from git_theta.cli.boundary import printable
from git_theta.errors import GitError, MetadataError, NotThisFormatError
from git_theta.metadata import INLINE_BYTES, Metadata
from git_theta.metadata_file import MAX_BYTES, is_metadata, parse

if TYPE_CHECKING:
    from git_theta.flows.versions import Version

_HEAD: Final = 64


@click.command(
    "textconv", add_help_option=False, context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("file", type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, file: str) -> None:
    """Write a line of text for each parameter group of FILE, a checkpoint or a metadata file.

    It has the group's name, dtype, shape and the beginning of its digest. What cannot be read is described in a line.
    """
    if file in ("-h", "--help") and not Path(file).exists():
        click.echo(ctx.get_help())
        return
    with Path(file).open("rb") as stream:
        head = stream.read(_HEAD)
        data = head + stream.read(MAX_BYTES) if is_metadata(head) else b""
    lines = _of_metadata(data) if data else _of_checkpoint(Path(file))
    # Git takes the text as UTF-8, whatever the locale is.
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))


def _of_metadata(data: bytes) -> Iterable[str]:
    from git_theta.diffs import plain

    try:
        metadata = parse(data)
    except MetadataError as error:
        return [f"({error})", *map(printable, data.decode(errors="backslashreplace").splitlines())]
    return plain.lines(metadata, _values(metadata))


def _of_checkpoint(file: Path) -> Iterator[str]:
    from git_theta.diffs import plain

    with ExitStack() as stack:
        try:
            version = _opened(file, stack)
        except NotThisFormatError:
            yield from map(printable, file.read_bytes().decode(errors="backslashreplace").splitlines())
            return
        assert version.metadata is not None
        yield from plain.lines(version.metadata, _values(version.metadata))


def _opened(file: Path, stack: ExitStack) -> Version:
    """A file that git took from the worktree, or one that it wrote to a temporary folder."""
    from git_theta.checkpoints import formats
    from git_theta.cli.workspace import Workspace
    from git_theta.flows.clean import FORMAT_ATTRIBUTE
    from git_theta.flows.versions import Opener

    wanted = None
    if not file.is_absolute():
        with contextlib.suppress(GitError):
            wanted = Workspace.here().repository.attribute(str(file), FORMAT_ATTRIBUTE)
    return Opener(formats(), stack).file(file, str(file), wanted, is_any=True)


def _values(metadata: Metadata) -> Mapping[str, str] | None:
    """What it says beside its groups, if its metadata file tells that: not what depends on which objects are here."""
    from git_theta.checkpoints import formats
    from git_theta.flows.texts import texts

    skeleton = metadata.skeleton
    if skeleton.inline is None or skeleton.size > INLINE_BYTES:
        return None
    return texts(metadata, skeleton.inline, formats())
