"""What can be shown on the terminal, and how to show it."""

from __future__ import annotations

import select
import sys
from collections.abc import Mapping
from typing import Final

import click

IN_PAGER: Final = "GIT_PAGER_IN_USE"
"""The variable by which git's commands know that their output goes to a pager."""


def shows_unicode(environment: Mapping[str, str]) -> bool:
    """Whether the user's locale is UTF-8. Python itself may write UTF-8 to a terminal that does not know it."""
    names = (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "")
    return locale.lower().replace("-", "").partition("@")[0].endswith("utf8")


def say(line: str) -> None:
    """Print a line; characters that the output cannot encode are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # Whoever made the line has decided on colours: git may want them in a pipe, to its pager.
    click.echo(line.encode(encoding, "backslashreplace").decode(encoding), color=True)


def is_read() -> bool:
    """Whether somebody may still read what goes to standard output: False at the end of a pipe that nobody holds."""
    poll = select.poll()
    poll.register(1, 0)
    return not any(event & select.POLLERR for _, event in poll.poll(0))
