"""git theta untrack: the pattern leaves .gitattributes, commits stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    pass


def test_pattern_is_taken_out_and_all_else_stays(repo: Repo) -> None:
    before = "# mine\n*.txt text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
    repo.write(".gitattributes", before)
    repo.verb("track", "*.safetensors", "my model.pt")
    done = repo.verb("untrack", "*.safetensors", "my model.pt")
    assert (done.stdout, done.stderr) == ('Untracking "*.safetensors"\nUntracking "my model.pt"\n', "")
    assert repo.read(".gitattributes").decode() == before


def test_pattern_that_is_not_there_is_told_and_the_others_are_taken_out(repo: Repo) -> None:
    repo.verb("track", "a", "b")
    done = repo.verb("untrack", "a", "no\x1bsuch", "b", check=False)
    assert done.returncode == 1
    assert done.stdout == 'Untracking "a"\nUntracking "b"\n'
    assert done.stderr == "git-theta: no\\x1bsuch is not tracked here: 'git theta track' lists the patterns that are\n"
    assert repo.read(".gitattributes") == b""


def test_pattern_of_git_lfs_is_not_ours_to_take(repo: Repo) -> None:
    before = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
    repo.write(".gitattributes", before)
    assert repo.verb("untrack", "*.bin", check=False).returncode == 1
    assert repo.read(".gitattributes") == before


def test_filename_finds_what_track_filename_wrote(repo: Repo) -> None:
    for name in ("a[1] *.bin", "b?.bin"):
        repo.verb("track", "--filename", name)
    assert repo.verb("untrack", "b?.bin", check=False).returncode == 1
    repo.verb("untrack", "--filename", "a[1] *.bin", "b?.bin")
    assert repo.read(".gitattributes") == b""


def test_in_a_subdirectory_its_own_file_is_meant(repo: Repo) -> None:
    (repo.path / "sub").mkdir()
    repo.verb("track", "*.bin")
    repo.verb("track", "*.bin", cwd=repo.path / "sub")
    repo.verb("untrack", "*.bin", cwd=repo.path / "sub")
    assert repo.attributes("a.bin")["filter"] == "theta"
    assert repo.read("sub/.gitattributes") == b""


def test_no_pattern_is_a_usage_error(repo: Repo) -> None:
    done = repo.verb("untrack", check=False)
    assert done.returncode == 2
    assert "PATTERNS" in done.stderr


def test_earlier_commits_stay_readable_and_the_next_one_is_raw(tracked: Repo) -> None:
    first, second = safetensors_bytes(model(0)), safetensors_bytes(model(1))
    tracked.verb("untrack", "*.safetensors")
    tracked.write("model.safetensors", second)
    tracked.commit("raw")
    assert tracked.git_bytes("cat-file", "blob", "HEAD:model.safetensors") == second
    tracked.git("checkout", "-q", "HEAD~1")
    assert tracked.read("model.safetensors") == first
    tracked.git("checkout", "-q", "main")
    assert tracked.read("model.safetensors") == second
