"""Make the adapters that the tests read: PEFT itself trains nothing, but saves them and merges them.

    pip install peft transformers
    python scripts/make_adapters.py tests/data/peft

writes for each case a folder with the adapter as PEFT saves it, `base.safetensors` (the model before) and
`merged.safetensors` (after PEFT merged the adapter). The same seed gives the same values.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D


class Mixed(nn.Module):
    """One of each kind of module that an adapter can be for."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.expand = Conv1D(8, 6)
        self.image = nn.Conv2d(3, 4, (3, 2))
        self.sound = nn.Conv1d(3, 4, 3)
        self.point = nn.Conv2d(3, 4, 1)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 5), nn.Linear(8, 5)])
        self.head = nn.Linear(5, 2)


class Transposed(nn.Module):
    """Modules that keep their weights as (in, out), as GPT-2 does; one of them square."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.transformer = nn.ModuleDict({"c_attn": Conv1D(18, 6), "c_proj": Conv1D(6, 6)})


class Scaled(nn.Module):
    """Modules that (IA)^3 can be for."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.key = nn.Linear(6, 6)
        self.value = nn.Linear(6, 4, bias=False)
        self.up = nn.Linear(6, 6)
        self.image = nn.Conv2d(3, 4, 2)
        self.down = nn.Conv2d(4, 3, 2)
        self.head = nn.Linear(6, 2)


CASES: dict[str, tuple[type[nn.Module], torch.dtype, PeftConfig]] = {
    "lora": (
        Mixed,
        torch.float32,
        LoraConfig(
            r=2,
            lora_alpha=3,
            target_modules=["embed", "expand", "image", "sound", "point", "layers.1", "layers.2"],
            modules_to_save=["head"],
            bias="lora_only",
            rank_pattern={r"layers\.[2-9]": 3, "image": 1},
            alpha_pattern={"layers.2": 5, "sound": 7},
            init_lora_weights=False,
        ),
    ),
    "transposed": (
        Transposed,
        torch.float32,
        LoraConfig(
            r=3,
            lora_alpha=4,
            target_modules=["c_attn", "c_proj"],
            fan_in_fan_out=True,
            use_rslora=True,
            lora_bias=True,
            init_lora_weights=False,
        ),
    ),
    "bfloat16": (
        Mixed,
        torch.bfloat16,
        LoraConfig(
            r=2, lora_alpha=4, target_modules=["embed", "image", "layers.0", "layers.1"], init_lora_weights=False
        ),
    ),
    "ia3": (
        Scaled,
        torch.float32,
        IA3Config(
            target_modules=["key", "value", "up", "image", "down"],
            feedforward_modules=["up", "down"],
            modules_to_save=["head"],
            init_ia3_weights=False,
        ),
    ),
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write all cases below FOLDER."""
    for number, (case, (kind, dtype, config)) in enumerate(CASES.items()):
        torch.manual_seed(number)
        model = kind().to(dtype)
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        out = folder / case
        out.mkdir(parents=True, exist_ok=True)
        save_file({name: value.clone() for name, value in model.state_dict().items()}, out / "base.safetensors")
        adapted = get_peft_model(model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_" not in name and parameter.requires_grad:
                nn.init.normal_(parameter)
        adapted.save_pretrained(out)
        (out / "README.md").unlink(missing_ok=True)
        _merge(adapted, out / "merged.safetensors")


def _merge(adapted: PeftModel, file: Path) -> None:
    merged = adapted.merge_and_unload().state_dict()
    save_file({name: value.clone().contiguous() for name, value in merged.items()}, file)


if __name__ == "__main__":
    main()
