"""Where in a model groups stand: the layer, and the kind of group that each layer has one of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

_WHOLE: Final = re.compile(r"(?<![^./:\[\]])[0-9]{1,9}(?![^./:\[\]])")
"""A number that is all of a part of a name: the layer of `h.3.attn.weight`."""

_TAIL: Final = re.compile(r"(?<=[_-])[0-9]{1,9}(?![^./:\[\]])")
"""A number at the end of a part: the layer of `layers_3/attention/kernel`."""

_ALIKE: Final = 4
"""So many groups of a layer that differ in a number are kinds of their own (`mlp.0`, `mlp.2`); more are one kind."""


def places(names: Iterable[str]) -> dict[str, tuple[str, int | None]]:
    """The kind of group and the layer that each name tells.

    The layer is the first number that is all of a part of the name, or else the first at the end of a part. In the
    kind it is "*", as are numbers after it of which there are many.

    Returns:
        Kind and layer by name; a name without such a number is a kind of its own, of no layer.
    """
    found: dict[str, tuple[str, str, int | None]] = {}
    kinds = defaultdict(set)
    for name in names:
        match = _WHOLE.search(name) or _TAIL.search(name)
        if match is None:
            found[name] = (name, name, None)
            continue
        head, rest = f"{name[: match.start()]}*", name[match.end() :]
        near, far = head + rest, head + _WHOLE.sub("*", rest)
        kinds[far].add(near)
        found[name] = (near, far, int(match[0]))
    return {name: (far if len(kinds[far]) > _ALIKE else near, layer) for name, (near, far, layer) in found.items()}
