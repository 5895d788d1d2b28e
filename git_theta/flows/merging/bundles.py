"""Groups that mean something only together: the parts of a tensor that is sparse, quantized, or nested.

Their names tell. A dictionary of somebody's own that is named like such a tensor is most likely one as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

_PARTS: Final = (
    ("indices", "values"),
    ("crow_indices", "col_indices", "values"),
    ("ccol_indices", "row_indices", "values"),
    ("", "scales", "zero_points"),
    ("buffer", "sizes", "strides", "storage_offsets"),
)
"""The names of parts behind that of their tensor. A part without one has the tensor's own."""

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

_BY_LAST: Final = {
    last: [parts for parts in _PARTS if parts[-1] == last] for last in sorted({parts[-1] for parts in _PARTS})
}


def bundles(names: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    """The groups of each tensor that has several.

    Args:
        names: of all groups.
    """
    beside: dict[str, list[str]] = {}
    for name in names:
        head, slash, last = name.rpartition("/")
        beside.setdefault(head, []).append(last)
        for parts in _BY_LAST.get(last, ()):
            found = tuple(f"{head}{slash}{part}" if part else head for part in parts)
            if all(part in names for part in found):
                yield found
    beside.pop("", None)
    for head, lasts in beside.items():
        if not _NUMBERS.isdisjoint(lasts) and any("scale" in last for last in lasts):
            yield tuple(f"{head}/{last}" for last in lasts)
