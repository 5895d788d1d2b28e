"""git theta track: patterns go to .gitattributes, and what is there already becomes modified."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

OURS = "filter=theta diff=theta merge=theta -text"


def test_pattern_is_written_and_files_that_match_are_kept_so(repo: Repo) -> None:
    done = repo.verb("track", "*.safetensors")
    assert (done.stdout, done.stderr) == ('Tracking "*.safetensors"\n', "")
    assert repo.read(".gitattributes").decode() == f"*.safetensors {OURS}\n"
    repo.write("sub/model.safetensors", safetensors_bytes(model(0)))
    repo.commit("first")
    assert repo.git("cat-file", "blob", "HEAD:sub/model.safetensors").stdout.startswith('{"git-theta":1,')


def test_several_patterns_at_once(repo: Repo) -> None:
    done = repo.verb("track", "*.safetensors", "my models/*.bin", "*.safetensors")
    assert done.stdout == 'Tracking "*.safetensors"\nTracking "my models/*.bin"\n"*.safetensors" already supported\n'
    assert repo.read(".gitattributes").decode() == f'*.safetensors {OURS}\n"my models/*.bin" {OURS}\n'


def test_tracked_already_nothing_is_changed(tracked: Repo) -> None:
    done = tracked.verb("track", "*.safetensors")
    assert done.stdout == '"*.safetensors" already supported\n'
    assert tracked.status() == ""


def test_no_argument_lists_the_patterns_of_all_files(repo: Repo) -> None:
    repo.verb("track", "*.safetensors", "two\nlines")
    (repo.path / "sub" / "deep").mkdir(parents=True)
    repo.verb("track", "my model.bin", cwd=repo.path / "sub")
    repo.write(".git/info/attributes", f"*.pt {OURS}\n*.bin filter=lfs\n")
    listed = [
        "Listing tracked patterns",
        "    *.safetensors (.gitattributes)",
        r"    two\nlines (.gitattributes)",
        "    my model.bin (sub/.gitattributes)",
        "    *.pt (.git/info/attributes)",
    ]
    assert repo.verb("track").stdout.splitlines() == listed
    below = [line.replace("(", "(../../").replace("../../sub", "..") for line in listed]
    assert repo.verb("track", cwd=repo.path / "sub" / "deep").stdout.splitlines() == below


def test_no_argument_and_nothing_tracked_changes_nothing(repo: Repo) -> None:
    before = repo.read(".git/config")
    assert repo.verb("track").stdout == "Listing tracked patterns\n"
    assert repo.status() == ""
    assert repo.read(".git/config") == before


def test_in_a_subdirectory_the_pattern_is_for_what_is_below(repo: Repo) -> None:
    (repo.path / "sub").mkdir()
    repo.verb("track", "/model.bin", cwd=repo.path / "sub")
    assert not (repo.path / ".gitattributes").exists()
    assert repo.attributes("sub/model.bin")["filter"] == "theta"
    assert repo.attributes("model.bin")["filter"] == "unspecified"


def test_outside_a_repository_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    done = Repo(tmp_path / "outside").verb("track", "*.bin", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git-theta: not a git repository (or any of the parent directories): .git\n"
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("place", ["bare", "inside .git"])
def test_without_a_worktree_nothing_is_written(repo: Repo, tmp_path: Path, place: str) -> None:
    folder = Repo.init(tmp_path / "bare.git", "--bare").path if place == "bare" else repo.path / ".git"
    before = (folder / "config").read_bytes()
    done = repo.verb("track", "*.bin", check=False, cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "git-theta: this operation must be run in a work tree\n"
    assert not (folder / ".gitattributes").exists()
    assert (folder / "config").read_bytes() == before


@pytest.mark.parametrize(("name", "other"), [("a[1]*.bin", "a1x.bin"), ("#1 ?.bin", "#1 x.bin"), ("-rf.bin", "rf.bin")])
def test_filename_is_taken_as_it_is(repo: Repo, name: str, other: str) -> None:
    repo.verb("track", "--filename", "--", name)
    assert repo.attributes(name)["filter"] == "theta"
    assert repo.attributes(other)["filter"] == "unspecified"


def test_filename_may_begin_with_an_exclamation_mark(repo: Repo) -> None:
    repo.verb("track", "--filename", "!best.bin")
    assert repo.attributes("!best.bin")["filter"] == "theta"
    assert repo.attributes("best.bin")["filter"] == "unspecified"


def test_pattern_without_filename_is_a_pattern(repo: Repo) -> None:
    repo.verb("track", "a[1]*.bin")
    assert repo.attributes("a1x.bin")["filter"] == "theta"
    assert repo.attributes("a[1]*.bin")["filter"] == "unspecified"


@pytest.mark.parametrize(
    ("pattern", "hint"), [("!*.bin", "negation is not possible"), ("models/", r"try 'models/**'"), ("", "no pattern")]
)
def test_pattern_that_git_could_not_match_is_refused(repo: Repo, pattern: str, hint: str) -> None:
    done = repo.verb("track", pattern, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("git-theta: ")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (repo.path / ".gitattributes").exists()


def test_control_characters_are_not_sent_to_the_terminal(repo: Repo) -> None:
    done = repo.verb("track", "a\x1b]31m\nb")
    assert done.stdout == 'Tracking "a\\x1b]31m\\nb"\n'
    assert repo.attributes("a\x1b]31m\nb")["filter"] == "theta"


def test_files_committed_raw_become_modified_and_are_kept_with_the_next_commit(repo: Repo) -> None:
    content = safetensors_bytes(model(0))
    for path in ("model.safetensors", "sub/model.safetensors", "other.bin"):
        os.utime(repo.write(path, content), (1e9, 1e9))  # Long ago, so that git has no reason to look into them again.
    repo.commit("raw")
    assert repo.status() == ""
    repo.verb("track", "*.safetensors")
    assert repo.status() == " M model.safetensors\n M sub/model.safetensors\n?? .gitattributes\n"
    repo.commit("kept")
    for path in ("model.safetensors", "sub/model.safetensors"):
        assert repo.git("cat-file", "blob", f"HEAD:{path}").stdout.startswith('{"git-theta":1,')
        assert repo.read(path) == content
    assert repo.git_bytes("cat-file", "blob", "HEAD:other.bin") == content
    assert repo.status() == ""


def test_file_that_lfs_kept_is_ours_from_now_on(repo: Repo) -> None:
    content = safetensors_bytes(model(0))
    repo.git("lfs", "install", "--local")
    repo.git("lfs", "track", "--lockable", "*.safetensors")
    repo.write("model.safetensors", content).chmod(0o644)
    repo.commit("with git-lfs")
    repo.verb("track", "*.safetensors")
    assert repo.read(".gitattributes").decode().count("\n") == 1
    assert repo.attributes("model.safetensors", "filter", "lockable") == {"filter": "theta", "lockable": "set"}
    repo.commit("with Git-Theta")
    assert repo.git("cat-file", "blob", "HEAD:model.safetensors").stdout.startswith('{"git-theta":1,')
    repo.git("checkout", "-q", "HEAD~1")
    assert repo.read("model.safetensors") == content
    repo.git("checkout", "-q", "main")
    assert repo.read("model.safetensors") == content
    assert repo.status() == ""


def test_not_installed_yet_it_is_installed_for_this_repository(repo: Repo, global_config: Path) -> None:
    before = global_config.read_bytes()
    repo.verb("track", "*.bin")
    assert repo.git("config", "--local", "filter.theta.process").stdout == "git-theta filter-process\n"
    assert (repo.path / ".git/hooks/pre-push").exists()
    assert global_config.read_bytes() == before


def test_installed_for_the_user_the_repository_needs_only_the_hook(repo: Repo) -> None:
    repo.verb("install", "--skip-repo")
    before = repo.read(".git/config")
    assert not (repo.path / ".git/hooks/pre-push").exists()
    repo.verb("track", "*.bin")
    assert repo.read(".git/config") == before
    assert (repo.path / ".git/hooks/pre-push").exists()


def test_hook_that_cannot_be_written_is_a_warning(repo: Repo) -> None:
    repo.git("config", "core.hooksPath", "/dev/null")
    done = repo.verb("track", "*.bin")
    assert done.stdout == 'Tracking "*.bin"\n'
    assert done.stderr.startswith("git-theta: warning: the pre-push hook cannot be written to /dev/null")
    assert done.stderr.count("\n") == 1


def test_tracked_by_an_earlier_version_the_diff_driver_is_set_up(tracked: Repo, global_config: Path) -> None:
    tracked.write(".gitattributes", "*.safetensors filter=theta merge=theta -text\n")
    for key in ("command", "textconv"):
        tracked.git("config", "--local", "--unset", f"diff.theta.{key}")
    before = global_config.read_bytes()
    tracked.verb("track", "*.safetensors")
    assert tracked.read(".gitattributes").decode() == f"*.safetensors {OURS}\n"
    assert tracked.git("config", "--local", "diff.theta.command").stdout == "git-theta diff-driver\n"
    assert tracked.git("config", "--local", "diff.theta.textconv").stdout == "git-theta textconv\n"
    assert global_config.read_bytes() == before


def test_settings_of_the_user_stay_when_the_diff_driver_is_set_up(repo: Repo) -> None:
    repo.verb("install", "--skip-smudge", "--skip-repo")
    repo.git("config", "--global", "--unset", "diff.theta.textconv")
    repo.git("config", "--global", "diff.theta.command", "mine")
    repo.verb("track", "*.bin")
    assert repo.git("config", "filter.theta.process").stdout == "git-theta filter-process --skip\n"
    assert repo.git("config", "diff.theta.command").stdout == "mine\n"
    assert repo.git("config", "--local", "diff.theta.textconv").stdout == "git-theta textconv\n"
