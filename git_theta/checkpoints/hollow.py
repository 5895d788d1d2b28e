"""Write a file without its values: the layout and the skeleton that a format gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from git_theta import tensors
from git_theta.checkpoints import Format, Grafting, Mixing, Nested, Ordered, Values
from git_theta.errors import PluginError
from git_theta.layout import Layout
from git_theta.sources import HollowSource

_SMALL: Final = 1 << 12
_LARGEST: Final = 1 << 34
"""Zeros of no more bytes are written for a group: a metadata file can claim any size."""

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Dtype and shape of groups, by name, in file order."""


def write_hollow(
    member: Format,
    shapes: Shapes,
    skeleton: bytes,
    donors: Mapping[str, bytes] | None = None,
    models: Sequence[bytes] = (),
    places: Mapping[str, bytes] | None = None,
) -> tuple[Layout, bytes]:
    """The layout and the skeleton of the file that a format writes for groups of given dtypes and shapes.

    Args:
        member: the format.
        shapes: of the groups.
        skeleton: of a file of the same format, whose other content is kept.
        donors: skeletons that values (that are no groups) are taken from, by name; see `checkpoints.Mixing`.
            Not None, even if there are none, where the maps of a format that has them (`Nested`) shall stay.
        models: skeletons of files whose order of keys is followed, if the format has one; see `checkpoints.Ordered`.
        places: skeletons of files that new groups come from, by their places; see `checkpoints.Grafting`.

    Raises:
        PluginError: the format cannot write such a file, or writes another one.
        NotThisFormatError: a skeleton is malformed.
    """
    largest = max((tensors.nbytes(*shape) for shape in shapes.values()), default=0)
    if largest > _LARGEST:
        raise PluginError(f"a group of {largest} bytes is too large to be put into a new file")
    zeros = memoryview(bytes(largest))
    groups = {name: Values(*shape, zeros[: tensors.nbytes(*shape)]) for name, shape in shapes.items()}
    is_told_all = donors is not None and isinstance(member, Nested)
    if isinstance(member, Grafting) and (donors or places or is_told_all):
        source = _as_source(member.write_grafted(groups, skeleton, donors or {}, places or {}))
    elif donors and isinstance(member, Mixing):
        source = _as_source(member.write_mixed(groups, skeleton, donors))
    elif not donors and models and isinstance(member, Ordered):
        source = _as_source(member.write_ordered(groups, skeleton, models))
    elif not donors:
        source = _as_source(member.write(groups, skeleton))
    else:
        raise PluginError(f"the format {member.name} cannot write a file from several")
    layout = member.scan(source)
    if {span.name: (span.dtype, span.shape) for span in layout.spans} != dict(shapes):
        raise PluginError(f"the format {member.name} does not write the groups that were asked for")
    return layout, layout.read_skeleton(source)


def _as_source(pieces: Iterable[bytes]) -> HollowSource:
    """What was written, of which long runs of zeros at the end of a piece are not kept."""
    known: list[bytes] = []
    holes: list[tuple[int, int]] = []
    position = 0
    for piece in pieces:
        kept = piece if len(piece) < _SMALL else piece.rstrip(b"\0")
        known.append(kept)
        if len(kept) < len(piece):
            holes.append((position + len(kept), len(piece) - len(kept)))
        position += len(piece)
    return HollowSource(b"".join(known), holes)
