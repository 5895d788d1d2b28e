"""Two versions of a group are measured from their stored values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.cli.workspace import Workspace
from git_theta.errors import StoreError, UsageError
from git_theta.git.repository import Repository
from git_theta.metadata_file import parse
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from git_theta.metadata import Entry


def entries(repo: Repo, revision: str) -> dict[str, Entry]:
    return parse(repo.git_bytes("cat-file", "blob", f"{revision}:{CHECKPOINT}")).by_name()


@pytest.fixture
def changed(tracked: Repo) -> Repo:
    """A second commit, which changed all groups."""
    tracked.write(CHECKPOINT, safetensors_bytes(model(1, step=np.array([1, 2], np.int64))))
    tracked.commit("changed")
    return tracked


@pytest.mark.parametrize("name", ["embed_weight", "attn_weight", "norm_bias"])
def test_statistics_are_those_of_the_values(changed: Repo, name: str) -> None:
    old, new = (model(seed)[name].astype(np.float64).ravel() for seed in (0, 1))
    measurer = Workspace(Repository.discover(changed.path)).measurer("m")
    found = measurer.measure(entries(changed, "HEAD~1")[name], entries(changed, "HEAD")[name])
    assert found.is_exact
    assert found.relative == pytest.approx(math.dist(old, new) / np.linalg.norm(old))
    assert found.largest == pytest.approx(np.abs(new - old).max())
    assert found.cosine == pytest.approx(old @ new / np.linalg.norm(old) / np.linalg.norm(new))


def test_groups_of_different_sizes_cannot_be_compared(changed: Repo) -> None:
    measurer = Workspace(Repository.discover(changed.path)).measurer("m")
    with pytest.raises(UsageError, match=r"\[\] int64 and \[2\] int64 cannot be compared"):
        measurer.measure(entries(changed, "HEAD~1")["step"], entries(changed, "HEAD")["step"])


def test_values_that_are_gone_are_named(changed: Repo) -> None:
    old, new = (entries(changed, revision)["embed_weight"] for revision in ("HEAD~1", "HEAD"))
    for ref in old.update.objects():
        changed.objects()[ref.oid].unlink()
    measurer = Workspace(Repository.discover(changed.path)).measurer("models/m.pt")
    with pytest.raises(StoreError, match=r"models/m\.pt.*embed_weight"):
        measurer.measure(old, new)
