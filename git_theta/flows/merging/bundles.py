"""Groups that mean something only together: the parts of a tensor that is sparse, quantized by channel, or nested.

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

_BY_LAST: Final = {
    last: [parts for parts in _PARTS if parts[-1] == last] for last in sorted({parts[-1] for parts in _PARTS})
}


def bundles(names: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    """The groups of each tensor that has several.

    Args:
        names: of all groups.
    """
    for name in names:
        head, slash, last = name.rpartition("/")
        for parts in _BY_LAST.get(last, ()):
            found = tuple(f"{head}{slash}{part}" if part else head for part in parts)
            if all(part in names for part in found):
                yield found
