"""git theta install: which configuration is written, and that git then really calls us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = ("local", "global", "system")
PROCESS = "git-theta filter-process\n"


@pytest.fixture
def system_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's configuration: a file of this test alone."""
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "system"))
    return tmp_path / "system"


@pytest.fixture
def outside(tmp_path: Path) -> Repo:
    """A folder that is in no repository."""
    (tmp_path / "outside").mkdir()
    return Repo(tmp_path / "outside")


def process(repo: Repo, scope: str) -> str:
    return repo.git("config", f"--{scope}", "--get-all", "filter.theta.process", check=False).stdout


@pytest.mark.parametrize(
    ("options", "scope"),
    [
        ([], "global"),
        (["--global"], "global"),
        (["--local"], "local"),
        (["--system"], "system"),
        (["--scope", "global"], "global"),
        (["--scope=user"], "global"),
        (["--scope", "local"], "local"),
        (["--scope", "repository"], "local"),
        (["--scope", "system"], "system"),
        (["--local", "--scope", "repository"], "local"),
        (["--local", "--local"], "local"),
    ],
)
@pytest.mark.usefixtures("system_config")
def test_scope_that_is_asked_for_is_the_one_that_is_written(repo: Repo, options: list[str], scope: str) -> None:
    done = repo.verb("install", *options)
    assert done.stdout == f"Git-Theta is installed ({scope} configuration).\n"
    assert {name: process(repo, name) for name in SCOPES} == dict.fromkeys(SCOPES, "") | {scope: PROCESS}
    assert (
        repo.git("config", f"--{scope}", "merge.theta.driver").stdout
        == "git-theta merge-driver --marker-size %L %O %A %B %P\n"
    )
    assert (repo.path / ".git/hooks/pre-push").exists()


@pytest.mark.parametrize("options", [["--worktree"], ["--scope", "worktree"]])
def test_worktree_scope_is_for_one_of_several_worktrees(repo: Repo, tmp_path: Path, options: list[str]) -> None:
    repo.write("file", "content")
    repo.commit("first")
    repo.git("config", "extensions.worktreeConfig", "true")
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"))
    linked = Repo(tmp_path / "linked")
    linked.verb("install", *options)
    assert linked.git("config", "filter.theta.process").stdout == PROCESS
    assert repo.git("config", "filter.theta.process", check=False).stdout == ""


def test_worktree_scope_that_git_does_not_allow_says_why(repo: Repo, tmp_path: Path) -> None:
    repo.write("file", "content")
    repo.commit("first")
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"))
    done = repo.verb("install", "--worktree", check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--worktree cannot be used with multiple working trees" in done.stderr


@pytest.mark.parametrize("options", [["--local", "--global"], ["--system", "--scope", "user"]])
def test_conflicting_scopes_are_refused(repo: Repo, global_config: Path, options: list[str]) -> None:
    before = global_config.read_bytes()
    done = repo.verb("install", *options, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("git-theta: choose one of --global and --")
    assert process(repo, "local") == ""
    assert global_config.read_bytes() == before


def test_unknown_scope_is_refused_and_the_known_ones_are_named(repo: Repo) -> None:
    done = repo.verb("install", "--scope", "everywhere", check=False)
    assert done.returncode == 2
    for word in ("local", "worktree", "global", "system", "repository", "user"):
        assert f"'{word}'" in done.stderr


@pytest.mark.usefixtures("system_config")
@pytest.mark.parametrize("scope", ["global", "system"])
def test_outside_a_repository_the_user_and_the_system_can_be_set_up(outside: Repo, scope: str) -> None:
    done = outside.verb("install", f"--{scope}")
    assert done.stdout == f"Git-Theta is installed ({scope} configuration).\n"
    assert done.stderr == ""
    assert process(outside, scope) == PROCESS
    assert list(outside.path.iterdir()) == []


@pytest.mark.parametrize("scope", ["local", "worktree"])
def test_outside_a_repository_there_is_no_local_configuration(outside: Repo, scope: str) -> None:
    done = outside.verb("install", f"--{scope}", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git-theta: not a git repository (or any of the parent directories): .git\n"


def test_in_a_subdirectory_and_in_a_bare_repository(repo: Repo, tmp_path: Path) -> None:
    (repo.path / "sub").mkdir()
    repo.verb("install", "--local", cwd=repo.path / "sub")
    assert process(repo, "local") == PROCESS
    assert (repo.path / ".git/hooks/pre-push").exists()
    bare = Repo.init(tmp_path / "bare.git", "--bare")
    bare.verb("install", "--local")
    assert process(bare, "local") == PROCESS


def test_installed_already_stays_so(repo: Repo) -> None:
    repo.verb("install", "--local")
    before = (repo.read(".git/config"), repo.read(".git/hooks/pre-push"))
    repo.verb("install", "--local")
    assert (repo.read(".git/config"), repo.read(".git/hooks/pre-push")) == before


def test_other_setting_under_our_name_is_refused_until_force(repo: Repo) -> None:
    repo.git("config", "--local", "filter.theta.smudge", "cat\x1b[2J")
    before = repo.read(".git/config")
    done = repo.verb("install", "--local", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("git-theta: the local git configuration has filter.theta.smudge = 'cat")
    assert done.stderr.endswith("use --force to replace it\n")
    assert "\x1b" not in done.stderr
    assert repo.read(".git/config") == before
    assert not (repo.path / ".git/hooks").exists()
    repo.verb("install", "--local", "--force")
    assert repo.git("config", "--get-all", "filter.theta.smudge").stdout == "git-theta smudge -- %f\n"


def test_hook_that_was_there_is_told_of(repo: Repo) -> None:
    repo.write(".git/hooks/pre-push", "#!/bin/sh\n").chmod(0o755)
    first = repo.verb("install", "--local")
    assert f"is now {repo.path}/.git/hooks/pre-push.before-theta, and is called before ours" in first.stdout
    assert repo.verb("install", "--local").stdout == "Git-Theta is installed (local configuration).\n"


def test_skip_repo_leaves_the_hooks_alone(repo: Repo) -> None:
    repo.verb("install", "--local", "--skip-repo")
    assert process(repo, "local") == PROCESS
    assert not (repo.path / ".git/hooks").exists()


def test_git_calls_filter_and_merge_driver_afterwards(repo: Repo) -> None:
    repo.verb("install")
    repo.write(".gitattributes", "*.safetensors filter=theta diff=theta merge=theta -text\n")
    repo.write("model.safetensors", safetensors_bytes(model(0)))
    repo.commit("base")
    assert repo.git("cat-file", "blob", "HEAD:model.safetensors").stdout.startswith('{"git-theta":1,')
    repo.git("checkout", "-q", "-b", "side")
    repo.write("model.safetensors", safetensors_bytes(model(0, head_weight=model(1)["head_weight"])))
    repo.commit("side")
    repo.git("checkout", "-q", "main")
    assert repo.read("model.safetensors") == safetensors_bytes(model(0))
    repo.write("model.safetensors", safetensors_bytes(model(0, attn_weight=model(1)["attn_weight"])))
    repo.commit("main")
    repo.git("merge", "-q", "--no-edit", "side")
    both = {name: model(1)[name] for name in ("head_weight", "attn_weight")}
    assert repo.read("model.safetensors") == safetensors_bytes(model(0, **both))


def test_skip_smudge_leaves_metadata_files_until_it_is_switched_off(tracked: Repo) -> None:
    content = tracked.read("model.safetensors")
    tracked.verb("install", "--local", "--skip-smudge")
    (tracked.path / "model.safetensors").unlink()
    tracked.git("checkout", "--", "model.safetensors")
    assert tracked.read("model.safetensors").startswith(b'{"git-theta":1,')
    assert tracked.status() == ""
    tracked.verb("install", "--local")
    (tracked.path / "model.safetensors").unlink()
    tracked.git("checkout", "--", "model.safetensors")
    assert tracked.read("model.safetensors") == content


def test_one_shot_filters_skip_as_well(tracked: Repo) -> None:
    tracked.verb("install", "--local", "--skip-smudge")
    tracked.git("config", "--unset", "filter.theta.process")
    (tracked.path / "model.safetensors").unlink()
    tracked.git("checkout", "--", "model.safetensors")
    assert tracked.read("model.safetensors").startswith(b'{"git-theta":1,')
