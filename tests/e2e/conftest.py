"""States for the tests of git's operations: made once, copied for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import _reset
from tests.e2e.forks import Fork

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fork(tmp_path: Path, _forked: Fork) -> Fork:
    """A model, and branches that change it in one step: attn, mlp and head each another group, clash the same as attn.

    "main" is the first commit, and checked out.
    """
    return _forked.copy(tmp_path / "fork")


@pytest.fixture(scope="session")
def _forked(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Fork:
    _reset(isolation)
    fork = Fork.make(tmp_path_factory.mktemp("states") / "author")
    fork.branch("attn", a=1)
    fork.branch("mlp", m=1)
    fork.branch("head", h=1)
    fork.branch("clash", a=2)
    fork.git("checkout", "-q", "main")
    return fork
