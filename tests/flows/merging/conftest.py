"""Where merges are tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flows.merging.world import World

if TYPE_CHECKING:
    from tests.helpers import Repo


@pytest.fixture
def world(repo: Repo) -> World:
    """An empty repository."""
    return World(repo)
