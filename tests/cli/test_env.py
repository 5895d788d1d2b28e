"""git theta env: what a bug report needs."""

from __future__ import annotations

import platform
import re
import tomllib
from pathlib import Path

import git_theta
from git_theta import __version__
from tests.helpers import Repo


def shown(repo: Repo, env: dict[str, str | None] | None = None) -> dict[str, str]:
    done = repo.verb("env", env=env)
    assert done.stderr == ""
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_repository_in_use(tracked: Repo) -> None:
    tracked.git("config", "theta.strict", "true")
    found = shown(tracked)
    assert found["git-theta"] == __version__
    assert found["git"] == tracked.git("--version").stdout.strip()
    assert found["git-lfs"].startswith("git-lfs/")
    assert found["python"].startswith(platform.python_version())
    assert found["numpy"][0].isdigit()
    assert found["torch"] == "(not installed)" or found["torch"][0].isdigit()
    assert found["filter.theta.process"] == "file:.git/config git-theta filter-process"
    assert found["merge.theta.driver"] == "file:.git/config git-theta merge-driver --marker-size %L %O %A %B %P"
    assert found["repository"] == str(tracked.path / ".git")
    assert found["objects"] == str(tracked.path / ".git/theta/objects")
    assert found["pre-push hook"] == "installed"
    assert found["theta.strict"] == "true"


def test_every_package_that_we_need_is_shown(repo: Repo) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    assert "numpy" in needed
    assert needed <= set(shown(repo))


def test_nothing_installed(repo: Repo) -> None:
    found = shown(repo)
    assert found["filter.theta.process"] == "(not set)"
    assert found["pre-push hook"] == "(not installed)"
    assert not (repo.path / ".git/theta").exists()


def test_outside_a_repository(tmp_path: Path) -> None:
    found = shown(Repo(tmp_path))
    assert found["git-theta"] == __version__
    assert found["repository"] == "(not a git repository (or any of the parent directories): .git)"
    assert "objects" not in found


def test_variables_that_matter_are_shown_and_no_others(repo: Repo) -> None:
    found = shown(repo, {"GIT_THETA_TRACE": "1\x1b", "GIT_DIR": str(repo.path / ".git"), "GIT_TOKEN": "secret"})
    assert found["GIT_THETA_TRACE"] == "1\\x1b"
    assert found["GIT_DIR"] == str(repo.path / ".git")
    assert "secret" not in "".join(found.values())
    assert "GIT_THETA_SKIP_SMUDGE" not in found


def test_every_variable_of_ours_is_shown(repo: Repo) -> None:
    package = Path(git_theta.__file__).parent
    texts = [file.read_text() for file in package.rglob("*.py")]
    names = {name for text in texts for name in re.findall(r"\bGIT_THETA_[A-Z_]*[A-Z]\b", text)}
    values: dict[str, str | None] = dict.fromkeys(names, "0")
    assert "GIT_THETA_MERGE" in names
    assert names <= set(shown(repo, values))


def test_without_git_lfs_it_says_so(repo: Repo, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").symlink_to(Repo.run("which", "git", cwd=tmp_path).stdout.strip())
    (folder / "git-theta").symlink_to(Repo.run("which", "git-theta", cwd=tmp_path).stdout.strip())
    assert shown(repo, {"PATH": str(folder)})["git-lfs"] == "(not installed)"
