"""The verbs of the `git-theta` command, by name."""

from __future__ import annotations

import importlib
from typing import Final

import click

from git_theta import __version__

_VERBS: Final = {
    "add": "Stage checkpoints, and say how their changed groups shall be kept.",
    "clean": "Filter: a checkpoint on stdin to its metadata file (git calls it).",
    "demo": "Make a small repository and walk through the whole story.",
    "diff": "Show what changed in checkpoints, by parameter group.",
    "diff-driver": "Show what changed in one checkpoint (git calls it).",
    "env": "Show versions, settings and paths, for bug reports.",
    "fetch": "Bring the objects of checkpoints into the local store.",
    "filter-process": "Filter: clean and smudge for one git command (git calls it).",
    "install": "Make git call Git-Theta, and set up the pre-push hook.",
    "log": "Show the commits that changed groups, and by how much.",
    "ls-files": "List the checkpoints that Git-Theta keeps.",
    "merge": "Merge branches, with a say in how checkpoints are merged.",
    "merge-driver": "Merge three metadata files (git calls it).",
    "merge-strategy": "Merge several branches at once (git calls it).",
    "pre-push": "Upload the objects of commits being pushed (git calls it).",
    "pull": "Fetch, then put the checkpoints into the worktree.",
    "push": "Upload the objects of commits to a remote.",
    "resolve": "Settle the conflicts of checkpoints.",
    "show": "Show the groups of a checkpoint, or what the values of one are like.",
    "smudge": "Filter: a metadata file on stdin to the checkpoint (git calls it).",
    "textconv": "Write a line of text for each parameter group (git calls it).",
    "track": "Keep the files that match a pattern with Git-Theta, or list the patterns.",
    "uninstall": "Take back what install did.",
    "untrack": "No longer keep the files that match a pattern with Git-Theta.",
}


class _Verbs(click.Group):
    """Imports a verb's module only when it is called, so that none pays for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """The names of all verbs."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click passes it
        """The verb of this name."""
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"git_theta.cli.{cmd_name.replace('-', '_')}")
        verb: click.Command = module.command
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click passes it
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", message="git-theta/%(version)s")
def cli() -> None:
    """Git-Theta: develop machine-learning models with plain Git.

    After `git theta track '*.safetensors'`, git add, commit, push, merge and diff work on a checkpoint's parameter
    groups.
    """
