"""`git theta uninstall`: take back what install did."""

from __future__ import annotations

import click

from git_theta.cli.scopes import chosen, scope_options
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError
from git_theta.git import drivers, hooks


@click.command("uninstall")
@scope_options
@click.option("--skip-repo", is_flag=True, help="Leave the pre-push hook of this repository.")
def command(scopes: tuple[str, ...], named: str | None, skip_repo: bool) -> None:
    """Remove the filter, the merge driver and the merge tool from the git configuration (by default the global one).

    In a repository, also remove its pre-push hook; one that was there before is put back. Objects and commits stay.
    """
    scope = chosen(scopes, named)
    found = drivers.uninstall(scope)
    if not skip_repo:
        try:
            found = hooks.uninstall(Workspace.here().repository) or found
        except GitError:
            if scope in ("local", "worktree"):
                raise
    click.echo(f"Git-Theta is uninstalled ({scope} configuration)." if found else "There was nothing to uninstall.")
