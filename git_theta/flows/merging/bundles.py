"""Groups that mean something only together: the parts of a tensor that is sparse, quantized, or nested.

Their names tell. Groups of somebody's own that are named like those of such a tensor are most likely one as well.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct


class _Kind(Struct, frozen=True):
    """How the parts of a kind of tensor are called: what stands behind a name that they share.

    A dot in front stands for a slash as well, and for nothing where they share no name.

    Attributes:
        needed: the parts that there always are; the first is one that little else is called like.
        more: those that there may be.
    """

    needed: tuple[str, ...]
    more: tuple[str, ...] = ()


_OF_FORMATS: Final = (
    _Kind(("/indices", "/values")),
    _Kind(("/crow_indices", "/col_indices", "/values")),
    _Kind(("/ccol_indices", "/row_indices", "/values")),
    _Kind(("/zero_points", "/scales", "")),
    _Kind(("/storage_offsets", "/buffer", "/sizes", "/strides")),
)
"""What the formats here make of one tensor."""

_STATES: Final = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
_OF_LIBRARIES: Final = (
    _Kind((".qweight", ".scales"), (".qzeros", ".g_idx")),  # GPTQ, AWQ
    _Kind((".absmax", ""), (".quant_map", ".nested_absmax", ".nested_quant_map", *_STATES)),  # bitsandbytes, 4 bits
    _Kind((".SCB", ".weight"), (".weight_format",)),  # bitsandbytes, 8 bits
    _Kind(("_packed", "_scale"), ("_zero_point", "_global_scale", "_g_idx", "_shape")),  # compressed-tensors
    _Kind((".bitmask", ".compressed"), (".row_offsets", ".shape")),
    _Kind(("_scale", ""), ("_zero_point", "_g_idx", "_scale_2")),  # fp8, nvfp4
    _Kind(("_scale_inv", "")),
    _Kind(("_scales", "")),  # EETQ
    _Kind(("_blocks", "_scales")),  # mxfp4
    _Kind((".scales", ".weight"), (".biases", ".zeros")),  # MLX, torchao
    _Kind((".scale", ".weight"), (".zero",)),
    _Kind((".W_q", ".scale"), (".zero",)),  # HQQ
    _Kind(("._data", "._scale"), ("._shift",)),  # quanto
    _Kind((".q_weight", ".q_scale"), (".q_scale_max", ".q_groups", ".q_invperm", ".q_perm")),  # EXL2
    _Kind((".trellis", ".suh", ".svh")),  # EXL3
    _Kind((".codebooks", ".codes", ".scales")),  # AQLM
)
"""What libraries that quantize make of one."""

_NUMBERS: Final = frozenset(
    {
        "qdata",
        "qdata_and_metadata",
        "int_data",
        "float8_data",
        "packed_weight",
        "packed_weights",
        "quantized_data",
        "codes",
        "_data",
        "_qdata",
    }
)
"""What the subclasses of tensors that torchao quantizes with call the quantized numbers. All that stands beside these
and scales, such as `zero_point`, says how they are read; what there is of it is another for each subclass."""

_KINDS: Final = (*_OF_FORMATS, *_OF_LIBRARIES)
_MARKS: Final = {"/": ("/", ""), ".": (".", "/", ""), "_": ("_",)}
"""What stands before a part, of which the first character is this."""

_FIRST: Final = tuple(kind.needed[0][1:] for kind in _KINDS)


Places = Mapping[str, str]
"""The other places of tied groups, as names that groups there would have, and the names of the groups."""


def bundles(names: Mapping[str, object], places: Callable[[], Places] = dict) -> Iterator[tuple[str, ...]]:
    """The groups of each tensor that has several.

    Args:
        names: of all groups.
        places: gives their other places. It takes time, so it is asked only where a part of a tensor is missing.
    """
    known = {name: name for name in names}
    if any(_is_torn(name, names) for name in names):
        known = {**places(), **known}
    for place in known:
        if place.endswith(_FIRST):
            found = (_parts(place, kind, known) for kind in _KINDS)
            yield from (parts for parts in found if len(parts) > 1)
    yield from _of_subclasses(names)


def _of_subclasses(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The groups of each tensor that is of one of torchao's subclasses."""
    beside: dict[str, list[str]] = {}
    for name in names:
        shared, slash, last = name.rpartition("/")
        if slash:
            beside.setdefault(shared, []).append(last)
    for shared, lasts in beside.items():
        if not _NUMBERS.isdisjoint(lasts) and any("scale" in last for last in lasts):
            yield tuple(f"{shared}/{last}" for last in lasts)


def _is_torn(name: str, names: Container[str]) -> bool:
    """Whether a group is named like a part of which there are no others."""
    shared, slash, last = name.rpartition("/")
    kinds = [kind for kind in _OF_FORMATS if f"/{last}" in kind.needed]
    return bool(kinds) and not any(all(_place(shared + slash, part) in names for part in kind.needed) for kind in kinds)


def _parts(place: str, kind: _Kind, known: Mapping[str, str]) -> tuple[str, ...]:
    """The groups of a tensor of a kind, of which a part at this place is called like the first; none if it is not."""
    first = kind.needed[0]
    shared = place.removesuffix(first[1:])
    mark = shared[-1:]
    if shared == place or mark not in _MARKS[first[0]]:
        return ()
    needed, more = ([_place(shared, part) for part in parts] for parts in (kind.needed, kind.more))
    if any(each not in known for each in needed):
        return ()
    return tuple(dict.fromkeys(known[each] for each in (*needed, *more) if each in known))


def _place(shared: str, part: str) -> str:
    return shared + part[1:] if part else shared[:-1]
