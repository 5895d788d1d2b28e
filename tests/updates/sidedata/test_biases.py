"""The biases of a checkpoint tell how its matrices are kept: of the modules with one name, else of those nearby."""

from __future__ import annotations

from git_theta.updates.sidedata.biases import Biases
from git_theta.updates.sidedata.changes import Targets

PLAIN, TURNED = frozenset({False}), frozenset({True})


def linear(module: str, out: int, inputs: int, *, joint: str = ".", transposed: bool = False) -> Targets:
    """A layer with a bias."""
    shape = (inputs, out) if transposed else (out, inputs)
    return {f"{module}{joint}weight": ("float32", shape), f"{module}{joint}bias": ("float32", (out,))}


def test_modules_of_one_name_are_kept_alike() -> None:
    biases = Biases.of({**linear("h.0.mlp.c_proj", 4, 16, transposed=True), **linear("head", 2, 4)})
    assert biases.transposed("h.0.attn.c_proj.weight") == TURNED
    assert biases.transposed("other.head.weight") == PLAIN


def test_what_is_nearest_tells_where_the_name_does_not() -> None:
    biases = Biases.of(
        {
            **linear("encoder.0.mlp.up", 16, 4),
            **linear("decoder.0.mlp.c_fc", 16, 4, transposed=True),
            **linear("decoder.0/mlp/odd", 16, 4, joint="/"),
        }
    )
    assert biases.transposed("encoder.0.attention.query.weight") == PLAIN
    assert biases.transposed("decoder.0.mlp.query.weight") == TURNED
    assert biases.transposed("decoder.0/mlp/query/weight") == PLAIN
    assert biases.transposed("decoder.0.attention.query.weight") == PLAIN | TURNED
    assert biases.transposed("adapter.query.weight") == PLAIN | TURNED
    assert biases.transposed("query") == frozenset()


def test_nothing_tells_where_no_matrix_beside_a_bias_has_two_extents() -> None:
    targets: Targets = {
        **linear("square", 4, 4),
        "bare.weight": ("float32", (3, 4)),
        "wrong.weight": ("float32", (3, 4)),
        "wrong.bias": ("float32", (5,)),
        "matrix.weight": ("float32", (3, 4)),
        "matrix.bias": ("float32", (3, 4)),
        "conv.weight": ("float32", (3, 4, 1)),
        "conv.bias": ("float32", (3,)),
        "up.kernel": ("float32", (3, 4)),
        "up.bias": ("float32", (3,)),
    }
    assert Biases.of(targets).transposed("square.weight") == frozenset()
