"""With theta.atol, a group that moved by less than that counts as unchanged; without it, everything is exact."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.helpers import Repo, safetensors_bytes

WEIGHT = np.random.default_rng(5).standard_normal((30, 40)) * 0.02


def commit(repo: Repo, weight: Any) -> None:
    repo.write("model.safetensors", safetensors_bytes({"weight": weight, "bias": np.ones(5, np.float32)}))
    repo.git("commit", "-qam", "a version", "--allow-empty")


def digest(repo: Repo, revision: str = "HEAD") -> str:
    groups = json.loads(repo.git_bytes("cat-file", "blob", f"{revision}:model.safetensors"))["groups"]
    found: str = next(group["digest"] for group in groups if group["name"] == "weight")
    return found


def moved(by: float) -> Any:
    weight = WEIGHT.copy()
    weight[3, 4] += by
    return weight


def test_move_of_two_billionths_is_kept_exactly_by_default(tracked: Repo) -> None:
    commit(tracked, WEIGHT)
    commit(tracked, moved(2e-9))
    assert digest(tracked) != digest(tracked, "HEAD~1")
    tracked.git("checkout", "-q", "HEAD~1")
    tracked.git("checkout", "-q", "-")
    assert (tracked.path / "model.safetensors").read_bytes() == safetensors_bytes(
        {"weight": moved(2e-9), "bias": np.ones(5, np.float32)}
    )


@pytest.mark.parametrize("way", ["config", "environment"])
def test_move_below_the_tolerance_keeps_the_old_entry(tracked: Repo, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    commit(tracked, WEIGHT)
    if way == "config":
        tracked.git("config", "theta.atol", "1e-8")
    else:
        monkeypatch.setenv("GIT_THETA_PARAMETER_ATOL", "1e-8")
    before = tracked.git("rev-parse", "HEAD:model.safetensors").stdout
    commit(tracked, moved(2e-9))
    assert tracked.git("rev-parse", "HEAD:model.safetensors").stdout == before
    assert tracked.git("status", "--short").stdout == ""


def test_values_decide_where_the_estimate_leaves_it_open(tracked: Repo) -> None:
    commit(tracked, WEIGHT)
    tracked.git("config", "theta.atol", "1e-8")
    spread = WEIGHT + 3e-9  # far enough apart to be unsure, but no value has moved by more than 1e-8
    commit(tracked, spread)
    assert digest(tracked) == digest(tracked, "HEAD~1")
    zero = WEIGHT.copy()
    zero[3, 4] = 0
    commit(tracked, zero)
    one = zero.copy()
    one[3, 4] = 1e-7  # as far apart, but all of it in one value
    commit(tracked, one)
    assert digest(tracked) != digest(tracked, "HEAD~1")


def test_relative_tolerance_is_a_part_of_each_value(tracked: Repo) -> None:
    large = WEIGHT.copy()
    large[3, 4] = 1
    commit(tracked, large)
    tracked.git("config", "theta.atol", "1e-8")
    near = large.copy()
    near[3, 4] += 2e-7
    commit(tracked, near)
    assert digest(tracked) == digest(tracked, "HEAD~1"), "within 1e-8 + 1e-5 * 1"
    tracked.git("config", "theta.rtol", "1e-9")
    near[3, 4] += 1e-7
    commit(tracked, near)
    assert digest(tracked) != digest(tracked, "HEAD~1")


def test_move_beyond_the_tolerance_is_kept(tracked: Repo) -> None:
    commit(tracked, WEIGHT)
    tracked.git("config", "theta.atol", "1e-8")
    commit(tracked, moved(1e-4))
    assert digest(tracked) != digest(tracked, "HEAD~1")


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_tolerance_that_is_none_is_an_error(tracked: Repo, text: str) -> None:
    tracked.git("config", "theta.atol", text)
    tracked.write("model.safetensors", safetensors_bytes({"weight": moved(1)}))
    done = tracked.git("add", "model.safetensors", check=False)
    assert done.returncode
    assert "no tolerance" in done.stderr
