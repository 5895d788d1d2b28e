"""What is kept already is kept once, and what is said of it belongs to the group that it is said of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from git_theta import lsh
from git_theta.metadata_file import parse
from tests.helpers import safetensors_bytes

if TYPE_CHECKING:
    from tests.helpers import Repo


def test_same_bytes_of_another_dtype_do_not_take_over_the_signature(tracked: Repo) -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    tracked.write("one.safetensors", safetensors_bytes({"weight": values}))
    tracked.commit("one")
    tracked.write("two.safetensors", safetensors_bytes({"other": values.view(np.float16)}))
    tracked.commit("two")
    (one,) = parse(tracked.git_bytes("cat-file", "blob", "HEAD:one.safetensors")).entries
    (two,) = parse(tracked.git_bytes("cat-file", "blob", "HEAD:two.safetensors")).entries
    assert one.update == two.update
    assert one.signature is not None
    signer = lsh.Signer("float16")
    signer.feed(values.tobytes())
    assert two.signature in (None, signer.signature())
