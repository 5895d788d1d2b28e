"""Make realistic checkpoints: GPT-2-shaped ones of any size, and the successors that training makes of them.

    python scripts/make_checkpoints.py OUT_DIR --width 768 --depth 12 --dtype float32 --successors block,sparse

writes base.safetensors, block.safetensors and sparse.safetensors. The same seed gives the same files. One group is in
memory at a time, so a file may be larger than that.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click
import ml_dtypes
import numpy as np
import numpy.typing as npt

from git_theta import tensors
from git_theta.checkpoints import Values
from git_theta.checkpoints.safetensors import Safetensors
from git_theta.layout import Span
from git_theta.sources import FileSource

DTYPES: Final[Mapping[str, npt.DTypeLike]] = {
    "float32": np.float32,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
}
"""The dtypes that a checkpoint can have."""

LORA_RANK: Final = 8
LORA_SCALE: Final = 2.0
"""What the product of the factors is multiplied with (PEFT's lora_alpha divided by the rank)."""

_STD: Final = 0.02
_BLOCK_NOISE: Final = 0.5
_FINETUNE_NOISE: Final = 0.01
_SPARSE_FRACTION: Final = 0.001
_NORM: Final = re.compile(r"(^|\.)ln_\w\.weight$")
_LORA_TARGET: Final = ".attn.c_attn.weight"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Architecture:
    """The extents of a GPT-2-shaped model; by default, those of GPT-2 small.

    Attributes:
        width: of the embeddings and of the residual stream.
        depth: number of blocks.
        vocabulary: number of tokens.
        context: number of positions.
        dtype: one of `DTYPES`.
    """

    width: int = 768
    depth: int = 12
    vocabulary: int = 50257
    context: int = 1024
    dtype: str = "float32"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each group by its name, in file order."""
        found: dict[str, tuple[int, ...]] = {
            "wte.weight": (self.vocabulary, self.width),
            "wpe.weight": (self.context, self.width),
        }
        for block in range(self.depth):
            found |= _block_shapes(f"h.{block}", self.width)
        return found | _with_bias("ln_f", (self.width,))


@dataclass(frozen=True, slots=True)
class Task:
    """What a change needs to know.

    Attributes:
        seed: of everything random.
        block: the number of the block to retrain.
        dtype: of the checkpoint.
    """

    seed: int
    block: int
    dtype: str


Change = Callable[[str, Floats, Task], Floats | None]
"""From a group's name and values to its new values, or to None if the group stays as it is."""


def make_base(target: Path, architecture: Architecture, seed: int = 0) -> None:
    """Write a checkpoint of random weights.

    Args:
        target: the file, which appears when it is complete.
        architecture: the extents and the dtype.
        seed: another seed gives other weights.
    """
    shapes = architecture.shapes()
    with _writing(target, architecture.dtype, shapes) as output:
        for name, shape in shapes.items():
            values = _normal(_generator(seed, name), shape, _STD)
            if _NORM.search(name):
                values += 1
            output.write(_raw(values, architecture.dtype))


def make_successor(kind: str, base: Path, target: Path, seed: int = 1, block: int = 0) -> None:
    """Write what training makes of a checkpoint.

    Args:
        kind: one of `SUCCESSORS`: "block" (every group of one block has moved), "sparse" (a thousandth of each
            matrix has changed), "lora" (a product of low rank is merged into every attention's c_attn.weight, see
            `make_lora_factors`) or "finetune" (every value has moved by about 1 % of its group's standard deviation;
            in half precision, that is lost in rounding where the values are around 1, in the ln weights).
        base: the checkpoint, as `make_base` writes it.
        target: the file, which appears when it is complete.
        seed: another seed gives other changes.
        block: for "block", the number of the one that has moved.
    """
    change = SUCCESSORS[kind]
    with base.open("rb") as file:
        source = _source(file)
        spans = Safetensors().scan(source).spans
        task = Task(seed, block, _dtype(spans))
        with _writing(target, task.dtype, {span.name: span.shape for span in spans}) as output:
            for span in spans:
                data = source.read(span.start, span.stop)
                changed = change(span.name, _floats(data, task.dtype).reshape(span.shape), task)
                output.write(data if changed is None else _raw(changed, task.dtype))


def make_lora_factors(base: Path, target: Path, seed: int = 1) -> None:
    """Write the factors of the successor "lora", named and laid out as PEFT does.

    What was added to a weight is the product lora_B @ lora_A, transposed and multiplied with `LORA_SCALE`.

    Args:
        base: the checkpoint that the successor was made of.
        target: the file, which appears when it is complete.
        seed: the one that the successor was made with.
    """
    with base.open("rb") as file:
        spans = Safetensors().scan(_source(file)).spans
    dtype = _dtype(spans)
    factors = {
        f"{span.name.removesuffix('.weight')}.lora_{letter}.weight": factor
        for span in spans
        if span.name.endswith(_LORA_TARGET)
        for letter, factor in zip("AB", _factors(span.name, span.shape, Task(seed, 0, dtype)), strict=True)
    }
    with _writing(target, dtype, {name: factor.shape for name, factor in factors.items()}) as output:
        for factor in factors.values():
            output.write(_raw(factor, dtype))


def _retrain_block(name: str, values: Floats, task: Task) -> Floats | None:
    if not name.startswith(f"h.{task.block}."):
        return None
    return values + _normal(_generator(task.seed, name), values.shape, _BLOCK_NOISE * _STD)


def _change_sparsely(name: str, values: Floats, task: Task) -> Floats | None:
    """Changes are of about the size of the values, so that none is lost in rounding."""
    if values.ndim < 2:
        return None
    generator = _generator(task.seed, name)
    count = max(1, round(_SPARSE_FRACTION * values.size))
    places = generator.choice(values.size, count, replace=False, shuffle=False)
    values.reshape(-1)[places] += generator.choice([-_STD, _STD], count) * generator.uniform(0.5, 1.5, count)
    return values


def _merge_lora(name: str, values: Floats, task: Task) -> Floats | None:
    if not name.endswith(_LORA_TARGET):
        return None
    down, up = _factors(name, values.shape, task)
    return values + np.float32(LORA_SCALE) * (up @ down).T


def _finetune(name: str, values: Floats, task: Task) -> Floats:
    return values + _normal(_generator(task.seed, name), values.shape, _FINETUNE_NOISE * float(values.std()))


SUCCESSORS: Final[Mapping[str, Change]] = {
    "block": _retrain_block,
    "sparse": _change_sparsely,
    "lora": _merge_lora,
    "finetune": _finetune,
}
"""The kinds of successors; see `make_successor`."""


def _block_shapes(block: str, width: int) -> dict[str, tuple[int, ...]]:
    return (
        _with_bias(f"{block}.ln_1", (width,))
        | _with_bias(f"{block}.attn.c_attn", (width, 3 * width))
        | _with_bias(f"{block}.attn.c_proj", (width, width))
        | _with_bias(f"{block}.ln_2", (width,))
        | _with_bias(f"{block}.mlp.c_fc", (width, 4 * width))
        | _with_bias(f"{block}.mlp.c_proj", (4 * width, width))
    )


def _with_bias(layer: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{layer}.weight": shape, f"{layer}.bias": shape[-1:]}


def _factors(name: str, shape: tuple[int, ...], task: Task) -> tuple[Floats, Floats]:
    """The factors lora_A and lora_B for a weight of shape (in, out), with values that the dtype can hold."""
    generator = _generator(task.seed, name)
    down = _normal(generator, (LORA_RANK, shape[0]), _STD)
    up = _normal(generator, (shape[1], LORA_RANK), _STD)
    return _rounded(down, task.dtype), _rounded(up, task.dtype)


def _generator(seed: int, name: str) -> np.random.Generator:
    """One for each group, so that a group's values depend on nothing else."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _normal(generator: np.random.Generator, shape: tuple[int, ...], std: float) -> Floats:
    values = generator.standard_normal(shape, dtype=np.float32)
    values *= std
    return values


def _floats(data: bytes, dtype: str) -> Floats:
    return np.frombuffer(data, DTYPES[dtype]).astype(np.float32)


def _raw(values: Floats, dtype: str) -> bytes:
    return values.astype(DTYPES[dtype], copy=False).tobytes()


def _rounded(values: Floats, dtype: str) -> Floats:
    return values.astype(DTYPES[dtype]).astype(np.float32)


def _source(file: BinaryIO) -> FileSource:
    return FileSource(file.fileno(), file.seek(0, 2))


def _dtype(spans: tuple[Span, ...]) -> str:
    """The dtype that all groups have."""
    found = {span.dtype for span in spans}
    if len(found) != 1 or not found <= DTYPES.keys():
        raise click.ClickException(f"the checkpoint has groups of dtype {sorted(found)}, not of one of {list(DTYPES)}")
    return found.pop()


@contextmanager
def _writing(target: Path, dtype: str, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[BinaryIO]:
    """A new safetensors file whose header is written; the values follow, group by group."""
    # Arrays of any size that occupy one byte: the header needs their lengths only.
    groups = {
        name: Values(dtype, shape, np.broadcast_to(np.uint8(0), tensors.nbytes(dtype, shape)).data)
        for name, shape in shapes.items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.part")
    with unfinished.open("wb") as file:
        file.write(next(Safetensors().write(groups, None)))
        yield file
    unfinished.replace(target)


def _successors(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    kinds = [kind.strip() for kind in value.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in SUCCESSORS:
            raise click.BadParameter(f"{kind!r} is not one of {', '.join(SUCCESSORS)}")
    return kinds


@click.command()
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--width", default=768, show_default=True, type=click.IntRange(1), help="Of the residual stream.")
@click.option("--depth", default=12, show_default=True, type=click.IntRange(0), help="Number of blocks.")
@click.option("--vocabulary", default=50257, show_default=True, type=click.IntRange(1), help="Number of tokens.")
@click.option("--context", default=1024, show_default=True, type=click.IntRange(1), help="Number of positions.")
@click.option("--dtype", default="float32", show_default=True, type=click.Choice(list(DTYPES)))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Successors use the next one.")
@click.option(
    "--successors", default="", callback=_successors, metavar="KIND,...", help=f"Any of {', '.join(SUCCESSORS)}."
)
@click.option("--block", default=0, show_default=True, type=click.IntRange(0), help="The block that 'block' retrains.")
@click.option("--lora-factors", is_flag=True, help="Also write lora_factors.safetensors.")
def main(
    out_dir: Path,
    width: int,
    depth: int,
    vocabulary: int,
    context: int,
    dtype: str,
    seed: int,
    successors: list[str],
    block: int,
    lora_factors: bool,
) -> None:
    """Write base.safetensors, and a file for each kind of successor, to OUT_DIR."""
    if block >= depth and "block" in successors:
        raise click.BadParameter(f"there is no block {block} among {depth}", param_hint="--block")
    base = out_dir / "base.safetensors"
    make_base(base, Architecture(width, depth, vocabulary, context, dtype), seed)
    _tell(base)
    for kind in successors:
        target = out_dir / f"{kind}.safetensors"
        make_successor(kind, base, target, seed + 1, block)
        _tell(target)
    if lora_factors:
        target = out_dir / "lora_factors.safetensors"
        make_lora_factors(base, target, seed + 1)
        _tell(target)


def _tell(file: Path) -> None:
    click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
