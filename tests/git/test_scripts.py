"""Scripts are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_theta.git import scripts


def test_script_is_executable_and_replaces_an_older_one(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    for text in ("#!/bin/sh\n", "#!/bin/sh\nexit 3\n"):
        scripts.write(script, text)
        assert script.read_text() == text
        assert os.access(script, os.X_OK)
    assert list(tmp_path.iterdir()) == [script]


def test_script_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    with pytest.raises(OSError, match="hook"):
        scripts.write(tmp_path / "hook", "#!/bin/sh\n")
    assert [path.name for path in tmp_path.iterdir()] == ["hook"]
