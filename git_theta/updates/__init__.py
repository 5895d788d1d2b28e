"""Updates: how a parameter group's values are kept, each type a way to get them from a small object and from bases."""

from __future__ import annotations

from typing import Final

from git_theta.registry import PLUG_INS, Family
from git_theta.updates.handlers import get_update_handler
from git_theta.updates.plugged import Plugged, UpdatePlugin
from git_theta.updates.reading import Group, Reader, UpdateType

__all__ = ["Group", "Reader", "UpdatePlugin", "UpdateType", "get_update_handler", "update_types"]


def update_types() -> Family[UpdateType]:
    """The family of update types."""
    return Family("type of update", f"{PLUG_INS}updates", _BUILTINS, adapt=Plugged)


_BUILTINS: Final = {
    "dense": "git_theta.updates.dense:Dense",
    "delta": "git_theta.updates.delta:Delta",
    "sparse": "git_theta.updates.sparse:Sparse",
    "low-rank": "git_theta.updates.low_rank:LowRank",
    "ia3": "git_theta.updates.ia3:Ia3",
    "linear": "git_theta.updates.linear:Linear",
}
