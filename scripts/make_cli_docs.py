"""Write docs/cli.md: what `git theta VERB -h` says. A test compares the file with what this makes."""

from __future__ import annotations

from pathlib import Path

import click

from git_theta.cli.verbs import cli

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"


def text() -> str:
    """The page."""
    context = click.Context(
        cli, info_name="git-theta", max_content_width=100, terminal_width=100, **cli.context_settings
    )
    parts = ["# Commands\n\nMade by `scripts/make_cli_docs.py`; do not edit.\n", _section("git-theta", cli, context)]
    for name in cli.list_commands(context):
        verb = cli.get_command(context, name)
        assert verb is not None
        parts.append(_section(f"git-theta {name}", verb, click.Context(verb, info_name=name, parent=context)))
    return "\n".join(parts)


def _section(name: str, command: click.Command, context: click.Context) -> str:
    return f"## {name}\n\n```\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(text())
