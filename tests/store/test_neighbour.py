"""A remote that is a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import StoreError
from git_theta.store.neighbour import store_of
from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("bare", "path"), [("a", "a"), ("a.git", "a"), ("a/.git", "a"), ("a.git/.git", "a"), ("a.git/.git", "a.git")]
)
def test_repository_is_found_by_the_names_that_git_finds_it_by(tmp_path: Path, bare: str, path: str) -> None:
    Repo.init(tmp_path / bare, "--bare")
    assert store_of(tmp_path / path).root == tmp_path / bare / "theta"


def test_path_without_a_repository_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a repository that can be read"):
        store_of(tmp_path / "a")
