"""Find out which format a file has, and where its groups lie."""

from __future__ import annotations

from msgspec import Struct, field

from git_theta.checkpoints import Format, opaque, plugins
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.layout import Layout
from git_theta.registry import Family, check_name
from git_theta.sources import Source


class Scan(Struct, frozen=True):
    """What was found out about a file.

    Attributes:
        layout: where the groups lie.
        why_opaque: why the layout is the opaque one; None if a format claimed the file.
        by_value: the plug-in that has to load the file, which is kept by value; the layout is the opaque one as well.
    """

    layout: Layout
    why_opaque: str | None
    by_value: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the layout tells nothing but the size of the file."""
        return self.why_opaque is not None or self.by_value is not None


def scan(source: Source, path: str, formats: Family[Format], wanted: str | None = None) -> Scan:
    """Ask the formats. The content decides; where several could claim it, the path's ending does.

    Args:
        source: the file.
        path: of the file, of which only the ending matters.
        formats: those that are known; plug-ins are imported only when no other format claims the file.
        wanted: the only format that is asked, if there is one (theta-format in .gitattributes); "opaque" asks none.

    Raises:
        PluginError: the wanted format is unknown, or a plug-in breaks its contract.
    """
    if wanted is not None:
        return _scan_as(source, wanted, formats)
    members = sorted(formats.builtin_members(), key=lambda member: not path.endswith(member.extensions))
    reasons = _Reasons()
    for member in members:
        try:
            return Scan(member.scan(source), None)
        except NotThisFormatError as error:
            if path.endswith(member.extensions):
                reasons.likely.append(f"not {member.name}: {error}")
    found = _scan_by_plugins(source, path, formats, reasons)
    return found or Scan(opaque.layout(source.size), reasons.told())


class _Reasons(Struct, frozen=True):
    """Why nobody claims a file.

    Attributes:
        likely: what the formats say whose files end so, the likeliest first. What others say is of no help.
        missing: why plug-ins, of which one may be meant, could not be asked.
    """

    likely: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def told(self) -> str:
        """What to tell; of several likely ones all, as of torch's two formats: a cut-off legacy file is no zip file."""
        if self.likely:
            return "; ".join(self.likely)
        more = f", and a plug-in could not be asked: {self.missing[0]}" if self.missing else ""
        return f"no format that is known here claims it{more}"


def _scan_as(source: Source, name: str, formats: Family[Format]) -> Scan:
    if name == opaque.NAME:
        return Scan(opaque.layout(source.size), None)
    member = formats.get(name)
    if plugins.by_value(member):
        check_name(name)
        return Scan(opaque.layout(source.size), None, name)
    try:
        is_builtin = name in formats.builtins
        return Scan(member.scan(source) if is_builtin else plugins.scan(name, member, source), None)
    except NotThisFormatError as error:
        return Scan(opaque.layout(source.size), f"not {name}, as .gitattributes says: {error}")


def _scan_by_plugins(source: Source, path: str, formats: Family[Format], reasons: _Reasons) -> Scan | None:
    """What the plug-ins say, the likeliest asked first; those that can only load and save come last."""
    members: dict[str, Format] = {}
    for name in plugins.names(formats):
        try:
            members[name] = formats.get(name)
        except PluginError as error:
            reasons.missing.append(str(error))
    fits = {name: path.endswith(plugins.extensions(name, member)) for name, member in members.items()}
    for name in sorted(members, key=lambda name: not fits[name]):
        try:
            if not plugins.by_value(members[name]):
                return Scan(plugins.scan(name, members[name], source), None)
        except NotThisFormatError as error:
            if fits[name]:
                reasons.likely.insert(0, f"not {name}: {error}")
    for name, member in members.items():
        if fits[name] and plugins.by_value(member):
            check_name(name)
            return Scan(opaque.layout(source.size), None, name)
    return None
