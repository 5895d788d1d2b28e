"""`git theta merge`: git merge, with a say in how checkpoints are merged."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from git_theta.cli import merge_plan, strategies
from git_theta.cli.strategies import VARIABLE, F, strategy_options
from git_theta.cli.workspace import Workspace
from git_theta.errors import UsageError
from git_theta.git import command as git
from git_theta.git import strategy

_FLAGS: Final = {
    "--no-commit": "Stop before the commit.",
    "--no-ff": "Make a merge commit also where none is needed.",
    "--ff-only": "Refuse to merge where a merge commit is needed.",
    "--squash": "Change index and worktree, and leave the commit to you, as one without other parents.",
    "--no-verify": "Do not run the hooks pre-merge-commit and commit-msg.",
    "--signoff": "Add a Signed-off-by line to the message.",
    "--edit": "Edit the message.",
    "--no-edit": "Take the message as it is.",
    "--allow-unrelated-histories": "Merge histories without a common ancestor.",
    "-q --quiet": "Say little.",
}
"""Options of git merge that are passed on."""

_STAGES: Final = {
    "--abort": "Go back to before the merge that is going on.",
    "--continue": "Conclude the merge after its conflicts are settled.",
    "--quit": "Forget about the merge that is going on, and leave everything as it is.",
}


def _flags(command: F) -> F:
    for kind, table in (("stages", _STAGES), ("flags", _FLAGS)):
        for names, text in reversed(table.items()):
            flag = names.split()
            command = click.option(*flag, kind, flag_value=flag[-1], multiple=True, help=text)(command)
    return command


@click.command("merge")
@strategy_options
@click.option("--dry-run", is_flag=True, help="Print what would happen to each group, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print JSON.")
@click.option("-m", "--message", "messages", multiple=True, metavar="TEXT", help="The message of the commit.")
@_flags
@click.argument("others", nargs=-1, metavar="[OTHER]...")
def command(
    others: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    messages: tuple[str, ...],
    flags: tuple[str, ...],
    stages: tuple[str, ...],
    **options: Any,
) -> int:
    """Merge OTHER branches or commits into the current branch, as git merge does.

    The options say how groups that several sides changed are merged; without them, what is configured counts (the
    attribute theta-merge, theta.merge.method), or you are asked. Several OTHERs make one merge commit. Exits as git
    merge does: 1 if there are conflicts, 2 if nothing was merged.
    """
    said = strategies.asked(options)
    if stages:
        if len(stages) > 1 or others or said or dry_run or messages or flags:
            raise UsageError(f"{stages[0]} stands alone")
        return git.hand_over(["merge", stages[0]])
    if as_json and not dry_run:
        raise UsageError("--json is for --dry-run")
    workspace = Workspace.here()
    if dry_run:
        return merge_plan.show(workspace, others, said, as_json=as_json)
    variables = {} if said is None else {VARIABLE: said.text}
    arguments = [*dict.fromkeys(flags), *(word for message in messages for word in ("-m", message))]
    if len(others) > 1:
        folder = strategy.install(workspace.repository.theta_dir)
        variables["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])
        arguments += ["--strategy", strategy.NAME]
    return git.hand_over(["merge", *arguments, "--", *others], variables=variables)
