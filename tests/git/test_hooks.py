"""The pre-push hook, called by real git. A stand-in for git-theta writes down what the hook passes on."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest

from git_theta.errors import GitError
from git_theta.git import hooks
from git_theta.git.repository import Repository
from tests.helpers import Repo


@dataclass(frozen=True)
class Scene:
    """A repository with one commit and a remote, and the log that the hooks of a push write."""

    repo: Repo
    remote: Repo
    log: Path

    @property
    def repository(self) -> Repository:
        return Repository.discover(self.repo.path)

    @property
    def folder(self) -> Path:
        return self.repo.path / ".git" / "hooks"

    def user_hook(self, name: str, *, path: Path | None = None, status: int = 0) -> Path:
        """A hook of the user's that writes down its arguments and its input."""
        hook = path or self.folder / "pre-push"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.log}"\ncat >> "{self.log}"\nexit {status}\n')
        hook.chmod(0o755)
        return hook

    def push(self, *arguments: str, cwd: Path | None = None) -> tuple[int, list[str]]:
        """Push; returns the exit status and the lines that the hooks wrote."""
        done = self.repo.git("push", "-q", *(arguments or ("origin", "main")), check=False, cwd=cwd)
        return done.returncode, self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def pushed(self) -> bool:
        return "refs/heads/main" in self.remote.git("for-each-ref").stdout

    def written_by(self, name: str) -> list[str]:
        head = self.repo.rev("HEAD")
        return [f"{name} origin {self.remote.path}", f"refs/heads/main {head} refs/heads/main {'0' * 40}"]


@pytest.fixture
def scene(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    repo.write("file", "content")
    repo.commit("first")
    remote = Repo.init(tmp_path / "remote.git", "--bare")
    repo.git("remote", "add", "origin", str(remote.path))
    scene = Scene(repo, remote, tmp_path / "log")
    stand_in = tmp_path / "bin" / "git-theta"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\necho "theta $*" >> "{scene.log}"\ncat >> "{scene.log}"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(stand_in.parent), prepend=os.pathsep)
    return scene


def as_theta(lines: list[str]) -> list[str]:
    return [lines[0].replace("theta ", "theta pre-push ", 1), *lines[1:]]


def test_no_hook_ours_is_made_and_called_with_what_git_says(scene: Scene) -> None:
    assert not hooks.is_installed(scene.repository)
    assert hooks.install(scene.repository) is None
    assert hooks.is_installed(scene.repository)
    assert scene.push() == (0, as_theta(scene.written_by("theta")))
    assert scene.pushed


def test_ours_fails_the_push_fails(scene: Scene, tmp_path: Path) -> None:
    hooks.install(scene.repository)
    (tmp_path / "bin" / "git-theta").write_text("#!/bin/sh\ncat >/dev/null\nexit 1\n")
    assert scene.push()[0] != 0
    assert not scene.pushed


def test_user_hook_is_moved_and_called_first_with_the_same_arguments_and_input(scene: Scene) -> None:
    content = scene.user_hook("user").read_bytes()
    moved = hooks.install(scene.repository)
    assert moved == scene.folder / "pre-push.before-theta"
    assert moved.read_bytes() == content
    assert scene.push() == (0, scene.written_by("user") + as_theta(scene.written_by("theta")))
    assert scene.pushed


def test_user_hook_that_fails_stops_the_push_before_ours(scene: Scene) -> None:
    scene.user_hook("user", status=7)
    hooks.install(scene.repository)
    status, lines = scene.push()
    assert status != 0
    assert lines == scene.written_by("user")
    assert not scene.pushed


def test_ours_fails_after_the_user_hook_the_push_fails(scene: Scene, tmp_path: Path) -> None:
    scene.user_hook("user")
    hooks.install(scene.repository)
    (tmp_path / "bin" / "git-theta").write_text("#!/bin/sh\ncat >/dev/null\nexit 1\n")
    assert scene.push()[0] != 0
    assert not scene.pushed


def test_user_hook_that_reads_no_input_is_no_failure(scene: Scene) -> None:
    scene.user_hook("user").write_text("#!/bin/sh\nexit 0\n")
    hooks.install(scene.repository)
    head = scene.repo.rev("HEAD")
    created = "".join(f"create refs/heads/{'long-name-' * 20}{number} {head}\n" for number in range(300))
    scene.repo.git("update-ref", "--stdin", stdin=created)
    status, lines = scene.push("--all", "origin")
    assert status == 0
    assert len(lines) == 1 + 301


def test_push_of_nothing_calls_both_with_empty_input(scene: Scene) -> None:
    scene.push()
    scene.user_hook("user")
    hooks.install(scene.repository)
    assert scene.push() == (0, [scene.written_by("user")[0], as_theta(scene.written_by("theta"))[0]])


def test_install_twice_moves_nothing_the_second_time(scene: Scene) -> None:
    content = scene.user_hook("user").read_bytes()
    hooks.install(scene.repository)
    ours = (scene.folder / "pre-push").read_bytes()
    assert hooks.install(scene.repository) is None
    assert (scene.folder / "pre-push").read_bytes() == ours
    assert (scene.folder / "pre-push.before-theta").read_bytes() == content
    assert sorted(path.name for path in scene.folder.iterdir()) == ["pre-push", "pre-push.before-theta"]


def test_uninstall_removes_ours(scene: Scene) -> None:
    hooks.install(scene.repository)
    assert hooks.uninstall(scene.repository)
    assert list(scene.folder.iterdir()) == []
    assert scene.push() == (0, [])


def test_uninstall_puts_the_user_hook_back_as_it_was(scene: Scene) -> None:
    hook = scene.user_hook("user")
    hook.chmod(0o700)
    before = (hook.read_bytes(), hook.stat())
    hooks.install(scene.repository)
    assert hooks.uninstall(scene.repository)
    assert (hook.read_bytes(), hook.stat().st_mode, hook.stat().st_ino) == (
        before[0],
        before[1].st_mode,
        before[1].st_ino,
    )
    assert [path.name for path in scene.folder.iterdir()] == ["pre-push"]
    assert scene.push() == (0, scene.written_by("user"))


def test_uninstall_leaves_a_hook_that_is_not_ours(scene: Scene) -> None:
    content = scene.user_hook("user").read_bytes()
    assert not hooks.uninstall(scene.repository)
    assert (scene.folder / "pre-push").read_bytes() == content


def test_uninstall_of_nothing_says_so(scene: Scene) -> None:
    assert not hooks.uninstall(scene.repository)
    assert not scene.folder.exists()


def test_two_earlier_hooks_are_an_error_and_both_stay(scene: Scene) -> None:
    scene.user_hook("new")
    scene.user_hook("old", path=scene.folder / "pre-push.before-theta")
    before = {path.name: path.read_bytes() for path in scene.folder.iterdir()}
    with pytest.raises(GitError) as refused:
        hooks.install(scene.repository)
    assert f"both {scene.folder}/pre-push and {scene.folder}/pre-push.before-theta exist" in str(refused.value)
    assert {path.name: path.read_bytes() for path in scene.folder.iterdir()} == before


def test_interrupted_install_leaves_the_user_hook_where_git_calls_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = scene.user_hook("user").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(hooks.scripts, "write", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            hooks.install(scene.repository)
    assert (scene.folder / "pre-push").read_bytes() == content
    assert hooks.install(scene.repository) is None
    assert hooks.is_installed(scene.repository)
    assert (scene.folder / "pre-push.before-theta").read_bytes() == content


def test_two_installs_at_once_keep_the_user_hook(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    content = scene.user_hook("user").read_bytes()
    is_ours = hooks._is_ours

    def another_comes_first(hook: Path) -> bool:
        monkeypatch.setattr(hooks, "_is_ours", is_ours)
        found = is_ours(hook)
        hooks.install(scene.repository)
        return found

    monkeypatch.setattr(hooks, "_is_ours", another_comes_first)
    hooks.install(scene.repository)
    assert hooks.is_installed(scene.repository)
    assert (scene.folder / "pre-push.before-theta").read_bytes() == content


def test_file_system_without_links_the_user_hook_is_moved(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    content = scene.user_hook("user").read_bytes()
    monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError))
    assert hooks.install(scene.repository) == scene.folder / "pre-push.before-theta"
    assert hooks.is_installed(scene.repository)
    assert (scene.folder / "pre-push.before-theta").read_bytes() == content


def test_user_hook_that_is_not_executable_is_kept_but_not_called(scene: Scene) -> None:
    """Git does not call it either."""
    hook = scene.user_hook("user")
    hook.chmod(0o644)
    assert scene.push("origin", "main:before") == (0, [])
    assert hooks.install(scene.repository) is not None
    assert scene.push() == (0, as_theta(scene.written_by("theta")))
    hooks.uninstall(scene.repository)
    assert hook.stat().st_mode & 0o777 == 0o644


def test_ours_that_is_not_executable_is_not_installed_and_is_repaired(scene: Scene) -> None:
    hooks.install(scene.repository)
    (scene.folder / "pre-push").chmod(0o644)
    assert not hooks.is_installed(scene.repository)
    assert hooks.install(scene.repository) is None
    assert hooks.is_installed(scene.repository)
    assert scene.push() == (0, as_theta(scene.written_by("theta")))


@pytest.mark.parametrize("target", ["shared-hook", "nowhere"])
def test_user_hook_that_is_a_link_stays_that_link(scene: Scene, target: str) -> None:
    scene.user_hook("user", path=scene.folder / "shared-hook")
    hook = scene.folder / "pre-push"
    hook.symlink_to(target)
    assert hooks.install(scene.repository) is not None
    expected = scene.written_by("user") if target == "shared-hook" else []
    assert scene.push() == (0, expected + as_theta(scene.written_by("theta")))
    assert hooks.uninstall(scene.repository)
    assert hook.readlink() == Path(target)


def test_user_hook_in_another_language_gets_its_own_interpreter(scene: Scene) -> None:
    hook = scene.user_hook("user")
    hook.write_text(f"#!{sys.executable}\nimport sys\nopen({str(scene.log)!r}, 'a').write(sys.stdin.read())\n")
    hooks.install(scene.repository)
    assert scene.push() == (0, scene.written_by("")[1:] + as_theta(scene.written_by("theta")))


@pytest.mark.parametrize("shell", ["/bin/sh", "/usr/bin/env sh", "/bin/bash", "/usr/bin/env bash"])
def test_user_hook_that_looks_at_its_own_name_finds_it(scene: Scene, shell: str) -> None:
    """As husky's do: one script for all hooks, which runs the file of its name in the folder above."""
    scene.repo.git("config", "core.hooksPath", ".husky/_")
    folder = scene.repo.path / ".husky" / "_"
    scene.user_hook("user", path=folder.parent / "pre-push")
    runner = 'hook=$(dirname "$(dirname "$0")")/$(basename "$0")\n[ ! -f "$hook" ] && exit 0\nsh -e "$hook" "$@"\n'
    folder.mkdir()
    (folder / "h").write_text(runner + "exit $?\n")
    (folder / "pre-push").write_text(f'#!{shell}\n. "$(dirname "$0")/h"')
    (folder / "pre-push").chmod(0o755)
    hooks.install(scene.repository)
    assert scene.push() == (0, scene.written_by("user") + as_theta(scene.written_by("theta")))
    scene.user_hook("user", path=folder.parent / "pre-push", status=7)
    assert scene.push("origin", "main:other")[0] != 0


def test_user_hook_that_is_a_program_is_run_without_a_word(scene: Scene) -> None:
    shell = shutil.which("bash")
    assert shell is not None
    hook = scene.folder / "pre-push"
    hook.parent.mkdir()
    shutil.copy("/bin/true", hook)
    hooks.install(scene.repository)
    hook.write_text(hook.read_text().replace("#!/bin/sh", f"#!{shell}"))  # It says most about what it reads.
    done = scene.repo.git("push", "-q", "origin", "main")
    assert done.stderr == ""
    assert scene.pushed


def test_lfs_hook_still_uploads_what_is_kept_with_lfs(scene: Scene) -> None:
    scene.repo.git("lfs", "install", "--local")
    scene.repo.git("lfs", "track", "*.bin")
    scene.repo.write("data.bin", b"kept with git-lfs")
    scene.repo.commit("with git-lfs")
    content = (scene.folder / "pre-push").read_bytes()
    assert hooks.install(scene.repository) == scene.folder / "pre-push.before-theta"
    assert scene.push() == (0, as_theta(scene.written_by("theta")))
    objects = [path for path in (scene.remote.path / "lfs" / "objects").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in objects] == [b"kept with git-lfs"]
    hooks.uninstall(scene.repository)
    assert (scene.folder / "pre-push").read_bytes() == content


def test_lfs_installed_after_us_does_not_take_our_place(scene: Scene) -> None:
    hooks.install(scene.repository)
    scene.repo.git("lfs", "install", "--local", check=False)
    assert hooks.is_installed(scene.repository)


def test_lfs_that_took_our_place_by_force_is_called_before_ours_again(scene: Scene) -> None:
    """`git lfs install` advises to `git lfs update --force` where it finds our hook."""
    scene.repo.git("lfs", "install", "--local")
    content = (scene.folder / "pre-push").read_bytes()
    hooks.install(scene.repository)
    scene.repo.git("lfs", "update", "--force")
    assert not hooks.is_installed(scene.repository)
    assert hooks.install(scene.repository) is None
    assert hooks.is_installed(scene.repository)
    assert (scene.folder / "pre-push.before-theta").read_bytes() == content


@pytest.mark.parametrize("kind", ["relative", "absolute", "home"])
@pytest.mark.parametrize("inside", [".", "sub/folder"])
def test_hooks_path_is_where_the_hook_goes_and_is_called(
    scene: Scene, isolation: Path, tmp_path: Path, kind: str, inside: str
) -> None:
    setting, folder = {
        "relative": (".githooks", scene.repo.path / ".githooks"),
        "absolute": (str(tmp_path / "my hooks"), tmp_path / "my hooks"),
        "home": (f"~/hooks-{tmp_path.name}", isolation / f"hooks-{tmp_path.name}"),
    }[kind]
    scene.repo.git("config", "core.hooksPath", setting)
    cwd = scene.repo.path / inside
    cwd.mkdir(parents=True, exist_ok=True)
    repository = Repository.discover(cwd)
    scene.user_hook("user", path=folder / "pre-push")
    assert hooks.directory(repository) == folder
    assert hooks.install(repository) == folder / "pre-push.before-theta"
    assert hooks.is_installed(repository)
    assert not scene.folder.exists()
    expected = scene.written_by("user") + as_theta(scene.written_by("theta"))
    assert scene.push(cwd=cwd) == (0, expected)
    assert hooks.uninstall(repository)
    assert [path.name for path in folder.iterdir()] == ["pre-push"]


def test_hooks_path_that_is_no_folder_is_an_error_of_ours(scene: Scene) -> None:
    """Some switch hooks off so."""
    scene.repo.git("config", "core.hooksPath", "/dev/null")
    assert not hooks.is_installed(scene.repository)
    with pytest.raises(GitError, match="the pre-push hook cannot be written to /dev/null"):
        hooks.install(scene.repository)
    assert not hooks.uninstall(scene.repository)


def test_linked_worktree_shares_the_hook(scene: Scene, tmp_path: Path) -> None:
    scene.repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    linked = Repository.discover(tmp_path / "linked")
    hooks.install(linked)
    assert hooks.is_installed(scene.repository)
    assert scene.push(cwd=tmp_path / "linked") == (0, as_theta(scene.written_by("theta")))


def test_bare_repository_has_the_hook_in_its_own_folder(scene: Scene) -> None:
    bare = Repository.discover(scene.remote.path)
    hooks.install(bare)
    assert (scene.remote.path / "hooks" / "pre-push").exists()
    assert hooks.is_installed(bare)


def test_folder_with_a_newline_in_its_name(scene: Scene, tmp_path: Path) -> None:
    scene.repo.git("config", "core.hooksPath", str(tmp_path / "two\nlines\n"))
    assert hooks.directory(scene.repository) == tmp_path / "two\nlines\n"


def test_theta_that_is_not_on_the_path_fails_the_push_and_says_what_to_do(scene: Scene, tmp_path: Path) -> None:
    hooks.install(scene.repository)
    folder = tmp_path / "only git"
    folder.mkdir()
    for program in ("git", "sh"):
        (folder / program).symlink_to(str(shutil.which(program)))
    pushed = scene.repo.git("push", "-q", "origin", "main", check=False, env={"PATH": str(folder)})
    assert pushed.returncode != 0
    assert "'git-theta' is not on the PATH" in pushed.stderr
    assert "pip install git-theta" in pushed.stderr
    assert "hooks/pre-push" in pushed.stderr
    assert not scene.pushed
