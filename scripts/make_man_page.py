"""Write docs/man/man1/git-theta.1, which `git theta --help` shows: git asks for a page of the manual there.

A test compares the file with what this makes.
"""

from __future__ import annotations

from pathlib import Path

import click

from git_theta.cli.verbs import cli

TARGET = Path(__file__).parents[1] / "docs" / "man" / "man1" / "git-theta.1"

_SEE_ALSO = ("git(1)", "git-lfs(1)", "gitattributes(5)", "git-merge(1)", "git-diff(1)")


def page() -> str:
    """The page, in the language of man(7)."""
    context = click.Context(cli, info_name="git theta", max_content_width=78, terminal_width=78, **cli.context_settings)
    parts = [
        '.TH GIT\\-THETA 1 "" "Git\\-Theta" "Git\\-Theta Manual"',
        ".SH NAME",
        _escaped("git-theta - develop machine-learning models with Git: checkpoints kept by parameter group"),
        ".SH SYNOPSIS",
        _preformatted("git theta track PATTERN...\ngit theta COMMAND [OPTIONS] [ARGUMENTS]..."),
        ".SH DESCRIPTION",
        _preformatted(cli.get_help(context)),
        ".SH COMMANDS",
    ]
    for name in cli.list_commands(context):
        verb = cli.get_command(context, name)
        assert verb is not None
        if not verb.hidden:
            parts += [f".SS git theta {_escaped(name)}", _preformatted(_help(verb, name, context))]
    parts += [".SH SEE ALSO", _escaped(", ".join(_SEE_ALSO))]
    return "\n".join(parts) + "\n"


def _help(verb: click.Command, name: str, context: click.Context) -> str:
    return verb.get_help(click.Context(verb, info_name=name, parent=context))


def _preformatted(text: str) -> str:
    return f".nf\n{_escaped(text)}\n.fi"


def _escaped(text: str) -> str:
    """Text in which nothing is a command or an escape. A plain "-" would become a hyphen that no shell takes."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").split("\n")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


if __name__ == "__main__":
    TARGET.write_text(page())
