"""The settings of a PEFT adapter: what its `adapter_config.json` says about merging it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from msgspec import Struct

from git_theta.errors import UsageError
from git_theta.updates.sidedata.naming import listed
from git_theta.updates.sidedata.patterns import PatternError, Patterns

_PLAIN_STARTS: Final = (None, True, False, "gaussian", "orthogonal", "eva")
"""How LoRA weights may begin; all other ways change the weights of the model as well, or how the adapter is merged."""

_NOT_LOW_RANK: Final = ("alora_invocation_tokens", "layer_replication", "target_parameters", "trainable_token_indices")

_HARMLESS: Final = frozenset(
    {"use_rslora", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_config", "runtime_config"}
)
"""Settings whose names look like those of LoRA's variants, but that do not change how an adapter is merged."""


def parse_config(data: bytes) -> Mapping[str, object]:
    """The content of an `adapter_config.json`.

    Raises:
        UsageError: it is no JSON object.
    """
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"adapter_config.json is not JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(config, dict):
        raise UsageError("adapter_config.json is not a JSON object")
    return config


class Settings(Struct, frozen=True, dict=True):
    """What matters of an adapter's configuration.

    Attributes:
        kind: "LORA" or "IA3".
        rank: of the factors, where no pattern says another.
        alpha: numerator of the scale, where no pattern says another.
        ranks: rank by pattern of module names.
        alphas: alpha by pattern of module names.
        rank_stabilized: the scale is alpha / sqrt(rank), not alpha / rank.
        transposed: weights are kept as (in, out), as far as their shape does not say it.
        feedforward: modules whose input is scaled instead of their output: endings of names, or one pattern.
    """

    kind: str
    rank: int
    alpha: float
    ranks: Mapping[str, float]
    alphas: Mapping[str, float]
    rank_stabilized: bool
    transposed: bool
    feedforward: tuple[str, ...] | str

    @cached_property
    def patterns(self) -> Patterns:
        """Matches the patterns."""
        return Patterns()

    @classmethod
    def of(cls, config: Mapping[str, object]) -> Settings:
        """Read the settings; what is missing has PEFT's default.

        Raises:
            UsageError: they are malformed, or ask for more than sums of low rank and scales.
        """
        kind = config.get("peft_type")
        if kind not in ("LORA", "IA3"):
            raise UsageError(
                f"adapter_config.json has the peft_type {kind!r}; only LORA and IA3 can be loaded: merge it with PEFT, "
                "where that can be done, and add the merged checkpoint"
            )
        _refuse_variants(config)
        rank = _number(config.get("r", 8), "r")
        if rank < 1 or rank != int(rank):
            raise UsageError(f"adapter_config.json has r = {rank:g}; it must be a whole number from 1 on")
        return cls(
            kind=str(kind),
            rank=int(rank),
            alpha=_number(config.get("lora_alpha", 8), "lora_alpha"),
            ranks=_numbers(config, "rank_pattern"),
            alphas=_numbers(config, "alpha_pattern"),
            rank_stabilized=bool(config.get("use_rslora")),
            transposed=bool(config.get("fan_in_fan_out")),
            feedforward=_names(config.get("feedforward_modules")),
        )

    def scaling(self, module: str, rank: int) -> float:
        """The scale of a module's low-rank factors.

        Args:
            module: its name in the model.
            rank: of its factors.

        Raises:
            UsageError: the configuration says another rank, or has a bad pattern.
        """
        wanted = self._number_of(module, self.ranks, "rank_pattern", self.rank)
        if rank != wanted:
            raise UsageError(f"the adapter's weights of {module!r} have rank {rank}, its configuration says {wanted:g}")
        alpha = self._number_of(module, self.alphas, "alpha_pattern", self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def scales_input(self, module: str) -> bool:
        """Whether (IA)^3 scales what goes into the module.

        Raises:
            UsageError: the configuration has a bad pattern.
        """
        if isinstance(self.feedforward, str):
            with _naming_pattern("feedforward_modules", self.feedforward):
                return self.patterns.match_whole(self.feedforward, module)
        return module.endswith(self.feedforward)

    def _number_of(self, module: str, table: Mapping[str, float], name: str, otherwise: float) -> float:
        """The number of the first pattern that the module's name, or its end from a dot on, matches as a whole."""
        for pattern, value in table.items():
            with _naming_pattern(name, pattern):
                if self.patterns.match_ending(pattern, module):
                    return value
        return otherwise


@contextmanager
def _naming_pattern(name: str, pattern: str) -> Iterator[None]:
    """Say of which pattern an error is."""
    try:
        yield
    except PatternError as error:
        raise UsageError(
            f"adapter_config.json has a pattern in {name!r} that {error}: {pattern[:80]!r}; if PEFT can read it, merge "
            "the adapter with PEFT and add the merged checkpoint"
        ) from None


def _refuse_variants(config: Mapping[str, object]) -> None:
    start = config.get("init_lora_weights")
    if not any(start is plain or start == plain for plain in _PLAIN_STARTS):
        raise UsageError(
            f"the adapter began with init_lora_weights = {start!r}, which changes the weights that it is for: "
            "convert it to a plain LoRA adapter with PEFT (path_initial_model_for_weight_conversion)"
        )
    # New variants of LoRA bring a setting of their own, which PEFT names use_... or ..._config.
    variants = [
        name
        for name, value in config.items()
        if value and name not in _HARMLESS and (name in _NOT_LOW_RANK or name.startswith("use_") or "_config" in name)
    ]
    if variants:
        raise UsageError(
            f"the adapter uses {listed([repr(name) for name in variants])}, so it is more than a sum of low rank or a "
            "scale: merge it with PEFT and add the merged checkpoint"
        )


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise UsageError(f"adapter_config.json has {name!r} = {repr(value)[:80]}, which is no usable number")
    return value


def _numbers(config: Mapping[str, object], name: str) -> Mapping[str, float]:
    table = config.get(name) or {}
    if not isinstance(table, Mapping):
        raise UsageError(f"adapter_config.json has a {name!r} that is no object")
    return {key: _number(value, f"{name}/{key}") for key, value in table.items()}


def _names(value: object) -> tuple[str, ...] | str:
    if isinstance(value, str):
        return value
    names = value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError("adapter_config.json has 'feedforward_modules' that are no names")
    return tuple(names)
