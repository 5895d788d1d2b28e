"""`git theta uninstall`: take back what install did."""

from __future__ import annotations

import click

from git_theta.cli.scopes import chosen, repository_for, scope_options
from git_theta.git import drivers, hooks


@click.command("uninstall")
@scope_options
@click.option("--skip-repo", is_flag=True, help="Leave the pre-push hook of this repository.")
def command(scopes: tuple[str, ...], named: str | None, skip_repo: bool) -> None:
    """Remove the filter, the drivers and the merge tool from the git configuration (by default the global one).

    In a repository, also remove its pre-push hook; one that was there before is put back. Objects and commits stay.
    """
    scope = chosen(scopes, named)
    repository = repository_for(scope)
    found = drivers.uninstall(scope)
    if repository is not None and not skip_repo:
        found = hooks.uninstall(repository) or found
    click.echo(f"Git-Theta is uninstalled ({scope} configuration)." if found else "There was nothing to uninstall.")
