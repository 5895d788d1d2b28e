"""Find out which format a file has, and where its groups lie."""

from __future__ import annotations

from dataclasses import dataclass

from git_theta.checkpoints import Format, opaque
from git_theta.errors import NotThisFormatError
from git_theta.layout import Layout
from git_theta.registry import Family
from git_theta.sources import Source


@dataclass(frozen=True, slots=True)
class Scan:
    """A layout, and why it is the opaque one (None if a format claimed the file)."""

    layout: Layout
    why_opaque: str | None


def scan(source: Source, path: str, formats: Family[Format]) -> Scan:
    """Ask the formats, those that the path's ending suggests first; the first that claims the bytes wins."""
    members = sorted(formats.builtin_members(), key=lambda member: not path.endswith(member.extensions))
    reasons = []
    for member in members:
        try:
            return Scan(member.scan(source), None)
        except NotThisFormatError as error:
            reasons.append(f"not {member.name}: {error}")
    return Scan(opaque.layout(source.size), reasons[0] if reasons else "no format is installed")
