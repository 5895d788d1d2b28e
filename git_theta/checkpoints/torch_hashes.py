"""Hashes that objects of torch remember, such as the mesh and the spec of a DTensor: other processes have others."""

from __future__ import annotations

from typing import Final

from git_theta.checkpoints.pickle_objects import Record
from git_theta.checkpoints.torch_tree import dictionaries, maker_of, walk

_MODULES: Final = "torch.distributed."
_HASH: Final = "_hash"


def forget_hashes(root: object) -> None:
    """Take the hashes out of what a pickle holds, which is changed: torch makes those anew that are None.

    Every process has its own seed for hashes. With them, two sides that trained alike would differ everywhere.

    Args:
        root: what the pickle holds.
    """
    for _, value in walk(root):
        if not isinstance(value, Record) or not maker_of(value).startswith(_MODULES):
            continue
        for entries in dictionaries(value):
            for index in range(0, len(entries), 2):
                if entries[index] == _HASH and isinstance(entries[index + 1], int):
                    entries[index + 1] = None
