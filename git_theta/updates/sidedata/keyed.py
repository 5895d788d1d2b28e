"""Update data as a checkpoint whose groups are named `<group>/<key>`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np

from git_theta.errors import UsageError
from git_theta.updates.sidedata.changes import Change, LowRank, Scale, SparseChange, Targets, check, replacement
from git_theta.updates.sidedata.naming import listed, plain
from git_theta.updates.sidedata.values import FLOATS, Values, coarsest, floats, from_bytes, integers

KEYS: Final[Mapping[str, frozenset[str]]] = {
    "low-rank": frozenset({"R", "C"}),
    "sparse": frozenset({"data", "indices", "indptr", "shape"}),
    "ia3": frozenset({"ia3"}),
}
"""The keys that each kind of change has for a group."""

KINDS: Final = ("dense", *KEYS, "auto")

_ALL_KEYS: Final = frozenset[str]().union(*KEYS.values())


def read_keyed(groups: Mapping[str, Values], targets: Targets, kind: str) -> list[Change]:
    """What a file of update data changes.

    Each of its groups is named after a group of the checkpoint and a key, joined by "/": `R` and `C`; `data`,
    `indices`, `indptr` and `shape`; or `ia3`. A dense change has the group's own name. The "/" may be in a key of the
    file (then it is escaped in the name), or stand between keys.

    Args:
        groups: of the update data, by name.
        targets: the groups of the checkpoint: dtype and shape by name.
        kind: a member of KINDS; "auto" takes for each group the kind that its keys tell.

    Returns:
        One change for each group, in the order in which they first appear.

    Raises:
        UsageError: the file is empty, a name is no group and key of this checkpoint, keys are missing, or the data
            does not fit the group.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown type of update {kind!r}; known are: {', '.join(KINDS)}")
    if not groups:
        raise UsageError("the update data has no groups")
    changes: list[Change] = []
    for target, parts in _sorted_out(groups, targets, kind).items():
        change = _change(target, parts, groups, targets[target], kind)
        check(change, *targets[target])
        changes.append(change)
    return changes


def _sorted_out(groups: Mapping[str, Values], targets: Targets, kind: str) -> dict[str, dict[str, str]]:
    """For each group that changes, the names in the update data by key; a dense change has the key ""."""
    by_plain: defaultdict[str, list[str]] = defaultdict(list)
    for target in targets:
        by_plain[plain(target)].append(target)
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    unknown = []
    for name in groups:
        places = _places(name, by_plain, targets, kind)
        if len(places) != 1 or places[0][1] in found[places[0][0]]:
            unknown.append(f"{name!r} (unclear)" if places else repr(name))
        else:
            found[places[0][0]][places[0][1]] = name
    if unknown:
        expected = "a group" if kind == "dense" else "a group and a key such as R"
        raise UsageError(
            f"the update data has names that are not {expected} of this checkpoint: {listed(unknown)}; if the model "
            "is in several files, name all of them"
        )
    return found


def _places(name: str, by_plain: Mapping[str, list[str]], targets: Targets, kind: str) -> list[tuple[str, str]]:
    """The groups and keys that a name may mean."""
    prefix, _, key = plain(name).rpartition("/")
    found = []
    if kind in ("dense", "auto"):
        found += [(name, "")] if name in targets else [(target, "") for target in by_plain.get(plain(name), ())]
    if kind != "dense" and key in KEYS.get(kind, _ALL_KEYS):
        # A name that is spelled as the group's is that group's, even if another one reads the same without escapes.
        own = [name[: -len(joint + key)] for joint in ("/", "~1") if name.endswith(joint + key)]
        exact = [(target, key) for target in own if target in targets]
        found += exact or [(target, key) for target in by_plain.get(prefix, ())]
    return found


def _change(
    target: str, parts: Mapping[str, str], groups: Mapping[str, Values], like: tuple[str, tuple[int, ...]], kind: str
) -> Change:
    if parts.keys() == {""}:
        return replacement(target, groups[parts[""]], *like)
    kind = kind if kind != "auto" else _kind(parts)
    if parts.keys() != KEYS.get(kind, frozenset()):
        need = " or ".join("/".join(sorted(keys)) for name, keys in KEYS.items() if kind in (name, "auto"))
        has = listed([repr(name) for name in parts.values()])
        raise UsageError(f"the update data of the group {target!r} must have the keys {need}, but has {has}")
    found = {key: groups[name] for key, name in parts.items()}
    match kind:
        case "low-rank":
            r, c = (floats(parts[key], found[key]) for key in ("R", "C"))
            return LowRank(target, r, c, coarsest(values.dtype for values in found.values()))
        case "ia3":
            return Scale(target, floats(parts["ia3"], found["ia3"]))
        case _:
            return _sparse(target, parts, found)


def _kind(parts: Mapping[str, str]) -> str:
    return next((kind for kind, keys in KEYS.items() if keys == parts.keys()), "auto")


def _sparse(target: str, names: Mapping[str, str], found: Mapping[str, Values]) -> SparseChange:
    indices, indptr, shape = (integers(names[key], found[key]) for key in ("indices", "indptr", "shape"))
    data_like = found["data"]
    read = floats if data_like.dtype in FLOATS else from_bytes
    data = read(names["data"], data_like)
    if shape.shape != (2,) or shape[0] != 1:
        raise UsageError(f"the update data {names['shape']!r} must be 1 and the number of the group's elements")
    if indices.shape != data.shape or data.ndim != 1 or indptr.tolist() != [0, len(data)]:
        raise UsageError(
            f"the update data of the group {target!r} is no sparse row: its indptr must be 0 and the number of its "
            "data, which must be as many as its indices"
        )
    order = np.argsort(indices, kind="stable")
    return SparseChange(target, data[order], indices[order], (1, int(shape[1])))
