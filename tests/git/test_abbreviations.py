"""How many digits of a blob's name are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.git.abbreviations import USUAL, WHOLE, digits, from_options
from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("diff", None),
        ("diff --full-index", WHOLE),
        ("diff --abbrev=12 --full-index", WHOLE),
        ("diff --abbrev=12 --abbrev=9", 9),
        ("diff --abbrev=1", 4),
        ("diff --abbrev=x --abbrev", None),
        ("diff -- --full-index", None),
    ],
)
def test_options_say_how_many(words: str, wanted: int | None) -> None:
    assert from_options(words.split()) == wanted


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_else_the_configuration_does(tmp_path: Path, form: str) -> None:
    repo = Repo.init(tmp_path / "repo", f"--object-format={form}")
    assert digits((), repo.path) == USUAL
    repo.git("config", "core.abbrev", "13")
    assert digits((), repo.path) == 13
    assert digits(("diff", "--abbrev=5"), repo.path) == 5


def test_outside_of_a_repository_as_many_as_usual(tmp_path: Path) -> None:
    assert digits((), tmp_path) == USUAL
