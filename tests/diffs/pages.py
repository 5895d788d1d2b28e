"""Diffs of models made here, measured, as the report shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from git_theta import tensors
from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind, ValueChange
from git_theta.diffs.compare import compare
from git_theta.diffs.statistics import Histogram, Values, histogram, measure
from tests.diffs.samples import checkpoint, entry, raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from git_theta.metadata import Entry, Metadata

Arrays = dict[str, "npt.NDArray[Any]"]

LAYERS = 12


def gpt2(width: int = 32, layers: int = LAYERS) -> Arrays:
    """A model of GPT-2's shape: 12 groups to a layer, and 4 besides."""
    generator = np.random.default_rng(0)

    def normal(*shape: int, middle: float = 0.0, spread: float = 0.02) -> npt.NDArray[np.float32]:
        return (middle + spread * generator.standard_normal(shape)).astype(np.float32)

    arrays: Arrays = {"wte.weight": normal(8 * width, width), "wpe.weight": normal(4 * width, width)}
    for layer in range(layers):
        block = {
            "ln_1.weight": normal(width, middle=1.0),
            "ln_1.bias": normal(width),
            "attn.c_attn.weight": normal(width, 3 * width),
            "attn.c_attn.bias": normal(3 * width),
            "attn.c_proj.weight": normal(width, width),
            "attn.c_proj.bias": normal(width),
            "ln_2.weight": normal(width, middle=1.0),
            "ln_2.bias": normal(width),
            "mlp.c_fc.weight": normal(width, 4 * width),
            "mlp.c_fc.bias": normal(4 * width),
            "mlp.c_proj.weight": normal(4 * width, width),
            "mlp.c_proj.bias": normal(width),
        }
        arrays |= {f"h.{layer}.{name}": array for name, array in block.items()}
    return arrays | {"ln_f.weight": normal(width, middle=1.0), "ln_f.bias": normal(width)}


def tuned(arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """The same model after some training, in which the upper layers moved most; some groups came, went or changed."""
    generator = np.random.default_rng(1)
    found = dict(arrays)
    layers = 1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("h."))
    for name, array in arrays.items():
        if not name.startswith("h.") or (".ln_" in name and "bias" in name):
            continue
        depth = (int(name.split(".")[1]) + 1) / layers
        reach = 10 ** (2.3 * depth - 4.2) * (2.5 if ".attn." in name else 1.0) * (0.2 if "bias" in name else 1.0)
        noise = generator.standard_normal(array.shape).astype(np.float32)
        found[name] = array + np.float32(reach * np.std(array)) * noise
    grown = generator.standard_normal((4, arrays["wte.weight"].shape[1])).astype(np.float32)
    found["wte.weight"] = np.concatenate([arrays["wte.weight"], 0.02 * grown])
    found["ln_f.weight"] = arrays["ln_f.weight"].astype(np.float16)
    found["norm_f.bias"] = found.pop("ln_f.bias")
    found["lm_head.weight"] = arrays["wte.weight"][::-1].copy()
    last = f"h.{layers - 1}"
    del found[f"{last}.mlp.c_proj.bias"]
    return found


def measured(
    old: Mapping[str, npt.NDArray[Any]], new: Mapping[str, npt.NDArray[Any]], path: str = "model.safetensors"
) -> tuple[CheckpointDiff, dict[str, Histogram]]:
    """What changed between two models, with statistics, and the histograms of all that did."""
    diff = compare(_metadata(old), _metadata(new), path, path)
    values = (ValueChange("__metadata__/epoch", "3", "4"), ValueChange("__metadata__/note", None, "after a night"))
    diff = replace(diff, changes=tuple(_measured(change, old, new) for change in diff.changes), values=values)
    changed = [change for change in diff.changes if change.kind is not Kind.RENAMED]
    counted = {change.name: histogram(_values(old, change.old), _values(new, change.new)) for change in changed}
    return diff, {name: found for name, found in counted.items() if found is not None}


def _metadata(arrays: Mapping[str, npt.NDArray[Any]]) -> Metadata:
    items = arrays.items()
    return checkpoint(*(entry(name, tensors.digest(a.tobytes()), a.shape, a.dtype.name) for name, a in items))


def _measured(
    change: GroupChange, old: Mapping[str, npt.NDArray[Any]], new: Mapping[str, npt.NDArray[Any]]
) -> GroupChange:
    if change.old is None or change.new is None or change.kind in (Kind.RENAMED, Kind.RESHAPED):
        return change
    one, two = old[change.old.name], new[change.new.name]
    statistics = measure([raw(one)], [raw(two)], change.old.dtype, change.new.dtype)
    return replace(change, statistics=statistics)


def _values(arrays: Mapping[str, npt.NDArray[Any]], group: Entry | None) -> Values | None:
    if group is None:
        return None
    array = arrays[group.name]
    return Values(array.dtype.name, lambda: [raw(array)])
