"""PEFT adapters (LoRA and (IA)^3) as they come: what merging one changes in a checkpoint."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from git_theta.errors import UsageError
from git_theta.updates.sidedata.changes import Targets, Told, check, readings, replacement
from git_theta.updates.sidedata.naming import Modules, listed, plain
from git_theta.updates.sidedata.peft_config import Settings
from git_theta.updates.sidedata.peft_merge import Orientation, Part, merged
from git_theta.updates.sidedata.values import Values

_PREFIX: Final = "base_model.model."

_ADAPTER: Final = re.compile(
    r"(?P<module>.+)\.(?:"
    r"(?P<matrix>lora_[AB])(?:\.[^.]+)?\.(?P<parameter>weight|bias)"
    r"|(?P<vector>lora_embedding_[AB]|ia3_l)(?:\.[^.]+)?"
    r")"
)
"""A name in an adapter; the adapter's own name may follow that of the parameter."""

_FOREIGN: Final = re.compile(r"(?:^|\.)(?:lora_|ia3_|token_adapter\.|trainable_tokens_|original_module\.)")

_ORIGINAL: Final = ".original_module."

_ROLES: Final[Mapping[str, frozenset[frozenset[str]]]] = {
    "LORA": frozenset(
        {
            frozenset({"lora_A.weight", "lora_B.weight"}),
            frozenset({"lora_A.weight", "lora_B.weight", "lora_B.bias"}),
            frozenset({"lora_embedding_A", "lora_embedding_B"}),
        }
    ),
    "IA3": frozenset({frozenset({"ia3_l"})}),
}
"""What an adapter may have for one module."""


def read_peft(config: Mapping[str, object], groups: Mapping[str, Values], targets: Targets) -> list[Told]:
    """What merging an adapter changes.

    Modules are found in the checkpoint by their names; those of the checkpoint may have one prefix more or less
    (`model.`, `transformer.`). Whether a weight is kept as (out, in) or (in, out) is told by its shape, and for a
    square one by `fan_in_fan_out`, which is in doubt if it is wrong for another weight of the same adapter, or the
    biases of the checkpoint tell that it is wrong for matrices like this one.

    Args:
        config: of `parse_config`.
        groups: of the adapter's file, by name.
        targets: the groups of the checkpoint: dtype and shape by name.

    Returns:
        The changes. Those of one group stand together and are to be applied one after the other: values that the
        adapter brings come first. The factors are float32 (float64 if the adapter's are).

    Raises:
        UsageError: the adapter is of another kind, malformed, or not for this checkpoint.
    """
    settings = Settings.of(config)
    if not groups:
        raise UsageError("the adapter has no weights")
    adapted, plain_names = _sorted_out(_without_originals(groups), settings.kind)
    modules = Modules.of(targets)
    unmatched: list[str] = []
    replaced = _once(_replaced(plain_names, modules, unmatched), groups)
    placed = _placed(adapted, modules, unmatched)
    if unmatched:
        raise UsageError(
            f"the adapter is not for this checkpoint, which has no group for: {listed(unmatched)}; if the model keeps "
            "them in other files, name these too; if they are tied to other groups, merge the adapter with PEFT and "
            "add the merged checkpoint"
        )
    _refuse_twice(placed.values())
    _refuse_twice(replaced.values())
    parts = [_part(module, group, adapted[module], groups, targets, settings) for module, group in placed.items()]
    orientation = Orientation.of(parts, targets, settings.transposed)
    changes: list[Told] = [replacement(group, groups[name], *targets[group]) for name, group in replaced.items()]
    for part in parts:
        changes += merged(part, targets, settings, orientation)
    for change in changes:
        for (reading,) in readings([change]):
            check(reading, *targets[change.group])
    order = {group: place for place, group in enumerate(dict.fromkeys(change.group for change in changes))}
    return sorted(changes, key=lambda change: order[change.group])


def _without_originals(groups: Mapping[str, Values]) -> dict[str, Values]:
    """The groups but those that a module of `modules_to_save` replaces: with bias="all", PEFT saves both."""
    names = {plain(name) for name in groups}
    return {
        name: values
        for name, values in groups.items()
        if _ORIGINAL not in plain(name) or plain(name).replace(_ORIGINAL, ".") not in names
    }


def _once(replaced: Mapping[str, str], groups: Mapping[str, Values]) -> dict[str, str]:
    """The same without names whose values are those of another name of their group, as PEFT saves some twice."""
    found: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}
    for name, group in replaced.items():
        values = groups[name]
        found.setdefault((group, values.dtype, values.shape, bytes(values.data)), name)
    return {name: replaced[name] for name in found.values()}


def _sorted_out(groups: Mapping[str, Values], kind: str) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The names of the adapter's weights, by module and role; and those of plain values, with their dotted names."""
    adapted: defaultdict[str, dict[str, str]] = defaultdict(dict)
    plain_names = {}
    wrong = []
    for name in groups:
        dotted = plain(name).removeprefix(_PREFIX)
        match = _ADAPTER.fullmatch(dotted)
        if match and ".base_layer." in match["module"]:
            # One adapter within another. PEFT (seen in 0.21) adds such a product twice when it merges.
            raise UsageError(
                f"the adapter has {name!r}, within an attention module or another adapter: merge it with PEFT and add "
                "the merged checkpoint"
            )
        if match:
            role = match["vector"] or f"{match['matrix']}.{match['parameter']}"
            if adapted[match["module"]].setdefault(role, name) != name:
                raise UsageError(f"the adapter has {role} of {match['module']!r} twice: give one adapter at a time")
        elif _FOREIGN.search(dotted):
            wrong.append(repr(name))
        else:
            plain_names[name] = dotted
    wrong += [
        repr(name) for names in adapted.values() if frozenset(names) not in _ROLES[kind] for name in names.values()
    ]
    if wrong:
        raise UsageError(f"the adapter has weights that are not, or not completely, {kind} ones: {listed(wrong)}")
    return adapted, plain_names


def _replaced(plain_names: Mapping[str, str], modules: Modules, unmatched: list[str]) -> dict[str, str]:
    """The group for each of the plain values; what has none is added to `unmatched`."""
    found = {}
    for name, dotted in plain_names.items():
        # PEFT's wrapper keeps the module that it wraps as `base_layer`.
        bare = dotted.replace(".base_layer.", ".")
        module, _, rest = bare.partition(".modules_to_save.")
        # Older versions of PEFT keep the name of the wrapper, and some that of the adapter after it.
        choices = [f"{module}.{rest}", f"{module}.{rest.partition('.')[2]}"] if rest else [bare]
        group = _only(choices, modules, unmatched, name)
        if group is not None:
            found[name] = group
    return found


def _placed(adapted: Iterable[str], modules: Modules, unmatched: list[str]) -> dict[str, str]:
    """The group of the weight of each module; what has none is added to `unmatched`."""
    found = {}
    for module in adapted:
        group = _only([f"{module}.weight"], modules, unmatched, module)
        if group is not None:
            found[module] = group
    return found


def _only(choices: Iterable[str], modules: Modules, unmatched: list[str], name: str) -> str | None:
    """The one group that the first of the dotted names means that means any."""
    found = next(filter(None, map(modules.find, choices)), [])
    if len(found) == 1:
        return found[0]
    unmatched.append(f"{name!r} (it may be {listed([repr(group) for group in found])})" if found else repr(name))
    return None


def _refuse_twice(groups: Iterable[str]) -> None:
    twice = [repr(group) for group, count in Counter(groups).items() if count > 1]
    if twice:
        raise UsageError(f"the adapter is not for this checkpoint: several of its modules would be {listed(twice)}")


def _part(
    module: str,
    group: str,
    names: Mapping[str, str],
    groups: Mapping[str, Values],
    targets: Targets,
    settings: Settings,
) -> Part:
    values = {role: groups[name] for role, name in names.items()}
    return Part(module, names, values, group, targets[group][1], settings.scales_input(module))
