"""`git theta install`: make git call Git-Theta."""

from __future__ import annotations

import click

from git_theta.cli.boundary import printable
from git_theta.cli.scopes import chosen, repository_for, scope_options
from git_theta.git import drivers, hooks


@click.command("install")
@scope_options
@click.option("--skip-smudge", is_flag=True, help="Leave metadata files in the worktree; 'git theta pull' fills them.")
@click.option("--skip-repo", is_flag=True, help="Do not set up the pre-push hook of this repository.")
@click.option("--force", is_flag=True, help="Replace other settings under our names.")
def command(scopes: tuple[str, ...], named: str | None, skip_smudge: bool, skip_repo: bool, force: bool) -> None:
    """Write the filter, the drivers and the merge tool to the git configuration (by default the global one).

    In a repository, also set up its pre-push hook.
    """
    scope = chosen(scopes, named)
    repository = repository_for(scope)
    drivers.install(scope, skip_smudge=skip_smudge, force=force)
    if repository is not None and not skip_repo:
        moved = hooks.install(repository)
        if moved is not None:
            click.echo(f"The pre-push hook that was there is now {printable(str(moved))}, and is called before ours.")
    click.echo(f"Git-Theta is installed ({scope} configuration).")
