"""git theta uninstall: takes back what install did, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = "There was nothing to uninstall.\n"


@pytest.mark.parametrize("options", [["--local"], ["--scope", "repository"], []])
def test_configuration_and_hook_are_as_before(repo: Repo, global_config: Path, options: list[str]) -> None:
    repo.git("config", "--local", "filter.lfs.clean", "git-lfs clean -- %f")
    before = (repo.read(".git/config"), global_config.read_bytes())
    repo.verb("install", *options)
    assert (repo.read(".git/config"), global_config.read_bytes()) != before
    done = repo.verb("uninstall", *options)
    assert done.stdout == f"Git-Theta is uninstalled ({'local' if options else 'global'} configuration).\n"
    assert (repo.read(".git/config"), global_config.read_bytes()) == before
    assert not (repo.path / ".git/hooks/pre-push").exists()


def test_system_configuration(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "system"))
    repo.verb("install", "--system")
    repo.verb("uninstall", "--system")
    assert "theta" not in (tmp_path / "system").read_text()


def test_nothing_installed_is_no_failure(repo: Repo) -> None:
    before = repo.read(".git/config")
    done = repo.verb("uninstall", "--local")
    assert (done.stdout, done.stderr) == (NOTHING, "")
    assert repo.read(".git/config") == before


def test_hook_that_was_there_before_is_back(repo: Repo) -> None:
    hook = repo.write(".git/hooks/pre-push", "#!/bin/sh\necho mine\n")
    hook.chmod(0o755)
    repo.verb("install", "--local")
    repo.verb("uninstall", "--local")
    assert hook.read_text() == "#!/bin/sh\necho mine\n"
    assert [path.name for path in hook.parent.iterdir()] == ["pre-push"]


def test_hook_of_somebody_else_stays(repo: Repo) -> None:
    hook = repo.write(".git/hooks/pre-push", "#!/bin/sh\necho mine\n")
    assert repo.verb("uninstall", "--local").stdout == NOTHING
    assert hook.read_text() == "#!/bin/sh\necho mine\n"


def test_skip_repo_leaves_the_hook(repo: Repo) -> None:
    repo.verb("install", "--local")
    repo.verb("uninstall", "--local", "--skip-repo")
    assert (repo.path / ".git/hooks/pre-push").exists()
    assert repo.git("config", "--local", "--get-regexp", "theta", check=False).stdout == ""


def test_other_scopes_stay(repo: Repo) -> None:
    repo.verb("install", "--local")
    repo.verb("install", "--global")
    repo.verb("uninstall", "--local")
    assert repo.git("config", "--show-scope", "filter.theta.process").stdout == "global\tgit-theta filter-process\n"


def test_outside_a_repository(tmp_path: Path, global_config: Path) -> None:
    before = global_config.read_bytes()
    (tmp_path / "outside").mkdir()
    outside = Repo(tmp_path / "outside")
    outside.verb("install")
    assert outside.verb("uninstall").stdout == "Git-Theta is uninstalled (global configuration).\n"
    assert global_config.read_bytes() == before
    done = outside.verb("uninstall", "--local", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git-theta: not a git repository (or any of the parent directories): .git\n"


def test_conflicting_scopes_are_refused(repo: Repo) -> None:
    repo.verb("install", "--local")
    done = repo.verb("uninstall", "--local", "--global", check=False)
    assert done.returncode == 2
    assert repo.git("config", "--local", "filter.theta.process").stdout == "git-theta filter-process\n"


def test_configuration_that_cannot_be_written_is_a_failure(repo: Repo) -> None:
    repo.verb("install", "--local")
    repo.write(".git/config.lock", "")
    done = repo.verb("uninstall", "--local", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not lock config file" in done.stderr


def test_git_no_longer_calls_us_and_commits_stay_as_they_are(tracked: Repo) -> None:
    tracked.verb("uninstall", "--local")
    tracked.write("new.safetensors", b"raw")
    tracked.commit("without the filter")
    assert tracked.git("cat-file", "blob", "HEAD:new.safetensors").stdout == "raw"
    assert tracked.git("cat-file", "blob", "HEAD~1:model.safetensors").stdout.startswith('{"git-theta":1,')
    assert any(path.is_file() for path in (tracked.path / ".git/theta/objects").rglob("*"))


def test_configuration_that_git_does_not_read_is_a_failure_and_the_hook_stays(tracked: Repo, tmp_path: Path) -> None:
    tracked.git("worktree", "add", "-q", str(tmp_path / "linked"))
    done = tracked.verb("uninstall", "--worktree", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("git-theta: git config failed: --worktree cannot be used")
    assert done.stderr.count("\n") == 1
    assert (tracked.path / ".git/hooks/pre-push").exists()
