"""How the format of a file that is kept by value is named."""

from __future__ import annotations

from typing import Final

MARK: Final = "by-value:"
"""Stands before a plug-in's name where the name of a format is expected."""


def plugin_of(format_name: str) -> str | None:
    """The plug-in that files of such a format are made by; None if they are kept by their bytes."""
    return format_name.removeprefix(MARK) if format_name.startswith(MARK) else None
