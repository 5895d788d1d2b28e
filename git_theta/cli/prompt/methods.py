"""What the merge methods do, in half a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ABOUT: Final[Mapping[str, str]] = {
    "ours": "our side as it is",
    "theirs": "their side as it is",
    "ancestor": "as it was before both changed it",
    "rows": "each row from the side that changed or added it, ours first",
    "average": "the mean of the sides",
    "linear": "their weighted mean",
    "task_arithmetic": "the changes of all sides added up",
    "ties": "at each place only the changes of the elected sign",
    "dare_linear": "changes thinned out at random and rescaled, then added up",
    "dare_ties": "changes thinned out at random, then only the elected sign",
    "della_linear": "as dare_linear, small changes dropped more often",
    "della": "as dare_ties, small changes dropped more often",
    "breadcrumbs": "without the largest and the smallest changes, then added up",
    "breadcrumbs_ties": "the same, then only the elected sign",
    "slerp": "a point on the arc between both",
    "nuslerp": "the same by weights, of the changes",
    "multislerp": "a point on the sphere between several",
    "karcher": "the point of the sphere nearest to all",
    "model_stock": "the mean, trusted as far as the changes agree",
    "sce": "where the changes vary most, those of the elected sign",
    "nearswap": "ours, moved towards theirs where both are close",
    "arcee_fusion": "ours, with what stands out in theirs",
    "ram": "what one side changed whole, what both changed averaged",
    "ramplus_tl": "as ram, what one side changed made stronger",
    "magmax": "at each place the largest change",
    "emr": "the largest change of the elected sign",
    "tsv_m": "the main directions of each change, made orthogonal",
    "iso_c": "the sum of changes, all its directions equally strong",
    "expo": "further in the direction of the mean change",
    "passthrough": "one side, scaled",
}


def about(method: str) -> str:
    """What a method does; of a plug-in's, that it is one."""
    return _ABOUT.get(method, "a method of a plug-in")
