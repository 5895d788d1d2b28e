"""What all tests share: they see no git configuration but their own, and start from named states of a repository."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import branches
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKPOINT = "model.safetensors"


def pytest_configure() -> None:
    """Let programs be interrupted: a shell that runs the tests in the background has that ignored, by them as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_CONFIGURATION = """\
[user]
\tname = Ada
\temail = ada@example.org
[init]
\tdefaultBranch = main
[protocol "file"]
\tallow = always
[core]
\teditor = true
[gc]
\tauto = 0
[advice]
\taddIgnoredFile = false
\tdetachedHead = false
\tignoredHook = false
\tpushUpdateRejected = false
\tresolveConflict = false
\tstatusHints = false
"""


@pytest.fixture(autouse=True, scope="session")
def isolation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing of the user's own git comes in: no configuration, no templates, no variables. Returns the home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_", "LC_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
        # Not /dev/null: a test that writes there by mistake, as root, would replace the device by a file.
        patch.setenv("GIT_CONFIG_SYSTEM", str(home / "system-gitconfig"))
        patch.setenv("GIT_TEMPLATE_DIR", "")
        patch.setenv("GIT_TERMINAL_PROMPT", "0")
        patch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp()))
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.setenv("LC_ALL", "C.UTF-8")
        yield home


@pytest.fixture(autouse=True)
def global_config(isolation: Path) -> Path:
    """The user's git configuration, as new for each test; the system's is empty."""
    _reset(isolation)
    return isolation / "gitconfig"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository without a commit."""
    return Repo.init(tmp_path / "repo")


@pytest.fixture
def tracked(tmp_path: Path, _tracked: Path) -> Repo:
    """A repository whose one commit tracks *.safetensors and has a model; Git-Theta is installed for it alone."""
    return copied(_tracked, tmp_path / "tracked")


@pytest.fixture
def tracking(tmp_path: Path, _tracking: Path) -> Repo:
    """A repository whose one commit tracks *.safetensors, of which there are none."""
    return copied(_tracking, tmp_path / "tracking")


@pytest.fixture
def in_merge_conflict(tmp_path: Path, _in_merge_conflict: Path) -> Repo:
    """A repository in the middle of a merge of "theirs" into "main": both changed attn_weight."""
    return copied(_in_merge_conflict, tmp_path / "conflict")


@pytest.fixture
def published(tmp_path: Path, _published: Path) -> Repo:
    """Like "tracked", and on "origin" with all objects; its branch "side" has another head_weight."""
    shutil.copytree(_published, tmp_path / "published", symlinks=True)
    return Repo(tmp_path / "published" / "author")


@pytest.fixture
def remote(published: Repo) -> Repo:
    """The bare repository that is the "origin" of "published" and of "clone"."""
    return Repo(published.path.parent / "remote.git")


@pytest.fixture
def clone(published: Repo) -> Repo:
    """A clone of "remote" that was made when git did not know Git-Theta: metadata files, no objects, no filter."""
    return Repo(published.path.parent / "clone")


@pytest.fixture(scope="session")
def _tracking(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _reset(isolation)
    repo = Repo.init(tmp_path_factory.mktemp("states") / "tracking")
    repo.theta("track", "*.safetensors")
    repo.commit("track")
    return repo.path


@pytest.fixture(scope="session")
def _tracked(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _reset(isolation)
    repo = Repo.init(tmp_path_factory.mktemp("states") / "tracked")
    repo.theta("track", "*.safetensors")
    repo.write(CHECKPOINT, safetensors_bytes(model(0)))
    repo.commit("base")
    return repo.path


@pytest.fixture(scope="session")
def _in_merge_conflict(isolation: Path, _tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _reset(isolation)
    repo = copied(_tracked, tmp_path_factory.mktemp("states") / "conflict")
    repo.git("checkout", "-q", "-b", "theirs")
    for branch, seed in (("theirs", 1), ("main", 2)):
        repo.git("checkout", "-q", branch)
        repo.write(CHECKPOINT, safetensors_bytes(model(0, attn_weight=model(seed)["attn_weight"])))
        repo.commit(branch)
    assert repo.git("merge", "-q", "theirs", check=False).returncode == 1
    return repo.path


@pytest.fixture(scope="session")
def _published(isolation: Path, _tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _reset(isolation)
    folder = tmp_path_factory.mktemp("states")
    author = copied(_tracked, folder / "author")
    Repo.init(folder / "remote.git", "--bare")
    author.git("remote", "add", "origin", "../remote.git")
    author.git("checkout", "-q", "-b", "side")
    author.write(CHECKPOINT, safetensors_bytes(model(0, head_weight=model(1)["head_weight"])))
    author.commit("side")
    author.git("push", "-q", "origin", "main", "side")
    author.git("checkout", "-q", "main")
    clone = Repo.clone(folder / "remote.git", folder / "clone", "--branch", "main")
    clone.git("remote", "set-url", "origin", "../remote.git")
    return folder


@pytest.fixture(scope="session")
def branches_on_main(isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On "main", which is the ancestor of "b1", "b2" and "b3" (`branches.make`). To be copied."""
    _reset(isolation)
    repo = Repo.init(tmp_path_factory.mktemp("branches") / "main")
    branches.make(repo)
    return repo.path


@pytest.fixture(scope="session")
def branches_on_b1(branches_on_main: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on "b1". To be copied."""
    repo = copied(branches_on_main, tmp_path_factory.mktemp("branches") / "b1")
    repo.git("checkout", "-q", "b1")
    return repo.path


@pytest.fixture(scope="session")
def branches_in_conflict(branches_on_b1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped in the merge of "b2" into "b1": both changed the attention layers. To be copied."""
    repo = copied(branches_on_b1, tmp_path_factory.mktemp("branches") / "conflict")
    assert repo.git("merge", "-q", "b2", check=False).returncode == 1
    return repo.path


def _reset(home: Path) -> None:
    """Make the configuration as new; states that tests share are made when the first of them asks, after others ran."""
    (home / "system-gitconfig").write_text("")
    (home / "gitconfig").write_text(_CONFIGURATION)


def copied(template: Path, target: Path) -> Repo:
    """A copy of a repository that was made once for several tests."""
    shutil.copytree(template, target, symlinks=True)
    return Repo(target)
