"""States for the tests of git's operations: made once, copied for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import _reset, copied
from tests.e2e import story as stories
from tests.e2e.forks import Fork

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Repo


@pytest.fixture
def fork(tmp_path: Path, _forked: Fork) -> Fork:
    """A model, and branches that start from it; "main" is checked out, which is the first commit.

    Each of attn, mlp, head and key changes another group, clash the same as attn; story has four commits, each of which
    changes another group.
    """
    return _forked.copy(tmp_path / "fork")


@pytest.fixture(scope="session")
def _forked(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Fork:
    _reset(isolation)
    fork = Fork.make(tmp_path_factory.mktemp("states") / "author")
    for name, letter in (("attn", "a"), ("mlp", "m"), ("head", "h"), ("key", "k")):
        fork.branch(name, **{letter: 1})
    fork.branch("clash", a=2)
    fork.branch("story", message="one", a=3)
    fork.branch("story", start="story", message="two", a=3, m=3)
    fork.branch("story", start="story", message="three", a=3, m=3, h=3)
    fork.branch("story", start="story", message="four", a=3, m=3, h=3, k=3)
    return fork


@pytest.fixture
def story(tmp_path: Path, _story: Path) -> Repo:
    """Three commits, each with a tag: "base", "tuned" (attn_*) and "headed" (head_weight)."""
    return copied(_story, tmp_path / "story")


@pytest.fixture(scope="session")
def _story(_tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stories.make(_tracked, tmp_path_factory.mktemp("states") / "story").path
