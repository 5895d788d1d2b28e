"""A scene for each test of updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.store.objects import ObjectStore
from tests.updates.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(ObjectStore(tmp_path / "theta"))
