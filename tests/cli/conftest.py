"""States that the tests of several commands start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli import branches
from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path

_CONFIGURATION = """\
[user]
\tname = Ada
\temail = ada@example.org
[init]
\tdefaultBranch = main
[core]
\teditor = true
"""


@pytest.fixture(scope="session")
def branches_on_main(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On "main", which is the ancestor of "b1", "b2" and "b3" (`branches.make`). To be copied."""
    (isolation / "gitconfig").write_text(_CONFIGURATION)
    repo = Repo.init(tmp_path_factory.mktemp("branches") / "main")
    branches.make(repo)
    return repo.path


@pytest.fixture(scope="session")
def branches_on_b1(branches_on_main: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on "b1". To be copied."""
    repo = branches.copy(branches_on_main, tmp_path_factory.mktemp("branches") / "b1")
    repo.git("checkout", "-q", "b1")
    return repo.path


@pytest.fixture(scope="session")
def branches_in_conflict(branches_on_b1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped in the merge of "b2" into "b1": both changed the attention layers. To be copied."""
    repo = branches.copy(branches_on_b1, tmp_path_factory.mktemp("branches") / "conflict")
    assert repo.git("merge", "-q", "b2", check=False).returncode == 1
    return repo.path
