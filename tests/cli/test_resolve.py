"""git theta resolve and git mergetool --tool=theta: conflicts that a merge left, settled from the index's stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import git_theta
from tests.branches import BRANCHES, MODEL, copy, grow, layered, state, values
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

HOW = "--ours, --theirs, --method or --recipe, and --otherwise for what no method merges"
ATTN = ["h.0.attn", "h.1.attn", "h.2.attn"]
MERGED = {ending: seed for branch in ("b1", "b2") for ending, seed in BRANCHES[branch].items() if ending != "attn"}


@pytest.fixture
def quiet(branches_on_b1: Path, tmp_path: Path) -> Repo:
    """On "b1", without anything going on."""
    return copy(branches_on_b1, tmp_path / "quiet")


@pytest.fixture
def repo(branches_in_conflict: Path, tmp_path: Path) -> Repo:
    """Stopped in the merge of "b2" into "b1": both changed the attention layers."""
    return copy(branches_in_conflict, tmp_path / "repo")


def expect(repo: Repo, attention: dict[str, object], path: str = MODEL) -> None:
    """The file is settled, with these attention layers, and all else as the branches changed it."""
    assert repo.git("ls-files", "--unmerged").stdout == ""
    found = values(repo, path)
    for name, array in (layered(MERGED) | attention).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def average() -> dict[str, object]:
    sides = [layered(BRANCHES[branch]) for branch in ("b1", "b2")]
    return {name: git_theta.merge_arrays("average", [side[name] for side in sides]) for name in ATTN}


@pytest.mark.parametrize(("option", "version"), [("--ours", "b1"), ("--theirs", "b2"), ("--ancestor", None)])
def test_side_is_taken_of_what_is_in_conflict_and_the_rest_is_merged(
    repo: Repo, option: str, version: str | None
) -> None:
    done = repo.verb("resolve", option, MODEL)
    assert done.stdout == f"model.safetensors: settled (3 by {option.removeprefix('--')})\n"
    chosen = layered(BRANCHES[version] if version else {})
    expect(repo, {name: chosen[name] for name in ATTN})


def test_method_settles_and_the_merge_can_be_committed(repo: Repo) -> None:
    repo.verb("resolve", MODEL, "--method", "average")
    expect(repo, average())
    assert repo.status() == "A  b2.txt\nM  model.safetensors\n"
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""
    assert repo.git("show", "--no-patch", "--format=%P").stdout.split() == [repo.rev("b1~1"), repo.rev("b2")]


def test_recipe_settles_from_a_subdirectory(repo: Repo) -> None:
    repo.write("sub/r.toml", '[default]\nmethod = "average"\n')
    repo.verb("resolve", "--recipe", "r.toml", "../model.safetensors", cwd=repo.path / "sub")
    expect(repo, average())


@pytest.mark.parametrize("how", ["environment", "attribute", "setting"])
def test_without_options_what_is_configured_counts(repo: Repo, how: str) -> None:
    if how == "attribute":
        repo.write(".git/info/attributes", "*.safetensors theta-merge=average\n")
    if how == "setting":
        repo.git("config", "theta.merge.method", "average")
    repo.verb("resolve", env={"GIT_THETA_MERGE": "average"} if how == "environment" else {})
    expect(repo, average())


def test_without_a_word_from_anybody_nothing_changes(repo: Repo) -> None:
    before = state(repo)
    done = repo.verb("resolve", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"git-theta: model.safetensors: h.0.attn, h.1.attn, h.2.attn still in conflict: say how with {HOW}\n"
    )
    assert state(repo) == before


def test_method_that_does_not_fit_is_said_in_the_same_line(repo: Repo) -> None:
    done = repo.verb("resolve", "--method", "linear", "--param", "weight=1,2,3", check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "git-theta: model.safetensors: h.0.attn, h.1.attn, h.2.attn still in conflict (h.0.attn: the parameter weight "
        f"has 3 values for 2 inputs: give one each, and 2 more): say how with {HOW}\n"
    )


def test_half_of_a_settlement_is_none(repo: Repo) -> None:
    before = state(repo)
    repo.write(".git/r.toml", '[[rules]]\nmatch = "h.0.attn"\nmethod = "ours"\n')
    done = repo.verb("resolve", "--recipe", ".git/r.toml", check=False)
    assert done.returncode == 1
    assert "h.1.attn, h.2.attn still in conflict" in done.stderr
    assert state(repo) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--ours", "--theirs"], 2, "choose one of --ours, --theirs"),
        (["--ours", "--method", "average"], 2, "choose one of --ours, --theirs"),
        (["--method", "slerp"], 2, "slerp needs the parameter t"),
        (["--ours", "notes.txt"], 1, "no checkpoint is in conflict at notes.txt: there is nothing to resolve"),
        (["--ours", MODEL, "nowhere"], 1, "no checkpoint is in conflict at nowhere"),
        (["--ours", "../elsewhere"], 1, "../elsewhere is outside of the repository"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    repo: Repo, arguments: list[str], code: int, message: str
) -> None:
    before = state(repo)
    done = repo.verb("resolve", *arguments, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert message in done.stderr
    assert state(repo) == before


def test_nothing_to_resolve_is_an_error(quiet: Repo) -> None:
    done = quiet.verb("resolve", "--ours", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "git-theta: no checkpoint is in conflict: there is nothing to resolve\n",
    )


def test_file_that_was_changed_by_hand_is_not_lost(repo: Repo) -> None:
    mine = safetensors_bytes(layered({"head": 9}))
    repo.write(MODEL, mine)
    done = repo.verb("resolve", "--ours", check=False)
    assert done.returncode == 1
    assert "model.safetensors has been changed in the worktree and is as on no side" in done.stderr
    assert repo.read(MODEL) == mine
    repo.verb("resolve", "--ours", "--force")
    expect(repo, {name: layered(BRANCHES["b1"])[name] for name in ATTN})


@pytest.mark.parametrize("what", ["theirs", "nothing"])
def test_file_that_is_as_on_a_side_or_not_there_is_replaced(repo: Repo, what: str) -> None:
    if what == "theirs":
        repo.git("checkout", "-q", "--theirs", MODEL)
    else:
        (repo.path / MODEL).unlink()
    repo.verb("resolve", "--method", "average")
    expect(repo, average())


def test_abort_after_resolve_goes_back(repo: Repo, quiet: Repo) -> None:
    repo.verb("resolve", "--method", "average")
    repo.git("update-index", "--refresh", check=False)  # a copy's files are other files to git
    repo.git("merge", "--abort")
    assert state(repo)[1:3] == state(quiet)[1:3]
    assert repo.status() == ""


def test_several_paths_are_settled_together_in_folders(quiet: Repo) -> None:
    paths = ("a/x.safetensors", "a/b/y.safetensors", "z.safetensors")
    ancestor = quiet.git("show", "main:model.safetensors").stdout
    grow(quiet, "old", "main", dict.fromkeys(paths, ancestor))
    for branch, model in (("left", "attn5"), ("right", "attn6")):
        grow(quiet, branch, "old", dict.fromkeys(paths, model))
    quiet.git("checkout", "-q", "left")
    assert quiet.git("merge", "-q", "right", check=False).returncode == 1
    done = quiet.verb("resolve", "--theirs", "a")
    assert done.stdout.count("settled (3 by theirs)") == 2
    assert quiet.git("ls-files", "--unmerged", "--full-name").stdout.count("z.safetensors") == 3
    done = quiet.verb("resolve", "--ours", cwd=quiet.path / "a")
    assert done.stdout == "z.safetensors: settled (3 by ours)\n"
    for path, seed in zip(paths, (6, 6, 5), strict=True):
        np.testing.assert_array_equal(values(quiet, path)["h.0.attn"], layered({"attn": seed})["h.0.attn"])


def test_model_that_both_added_has_no_ancestor(quiet: Repo) -> None:
    for branch, model in (("left", "attn5"), ("right", "attn6")):
        grow(quiet, branch, "main", {"new.safetensors": model})
    quiet.git("checkout", "-q", "left")
    assert quiet.git("merge", "-q", "right", check=False).returncode == 1
    done = quiet.verb("resolve", "--method", "ties", check=False)
    assert done.returncode == 1
    assert "ties needs a common ancestor" in done.stderr
    done = quiet.verb("resolve", "--ancestor", check=False)
    assert "the common ancestor does not have it" in done.stderr
    quiet.verb("resolve", "--method", "average")
    sides = [layered({"attn": seed})["h.0.attn"] for seed in (5, 6)]
    np.testing.assert_array_equal(
        values(quiet, "new.safetensors")["h.0.attn"], git_theta.merge_arrays("average", sides)
    )
    assert quiet.git("ls-files", "--unmerged").stdout == ""


@pytest.mark.parametrize(("removed_by", "take"), [("ours", "ours"), ("ours", "ancestor"), ("theirs", "ours")])
def test_model_that_one_side_removed_is_kept_or_removed_as_a_whole(quiet: Repo, removed_by: str, take: str) -> None:
    grow(quiet, "gone", "main", {MODEL: None})
    grow(quiet, "changed", "main", {MODEL: "attn5"})
    ours, theirs = ("gone", "changed") if removed_by == "ours" else ("changed", "gone")
    quiet.git("checkout", "-q", ours)
    assert quiet.git("merge", "-q", theirs, check=False).returncode == 1
    refused = quiet.verb("resolve", "--method", "average", check=False)
    assert refused.returncode == 1
    assert "(file)" in refused.stderr
    done = quiet.verb("resolve", f"--{take}")
    assert quiet.git("ls-files", "--unmerged").stdout == ""
    if take == removed_by:
        assert done.stdout == "model.safetensors: removed\n"
        assert not (quiet.path / MODEL).exists()
        assert quiet.git("ls-files", MODEL).stdout == ""
    else:
        seeds = {} if take == "ancestor" else {"attn": 5}
        np.testing.assert_array_equal(values(quiet)["h.0.attn"], layered(seeds)["h.0.attn"])


def test_file_that_is_a_checkpoint_on_one_side_only_is_left_to_git(quiet: Repo) -> None:
    grow(quiet, "left", "main", {MODEL: "attn5"})
    grow(quiet, "right", "main", {MODEL: "no model at all"})
    quiet.git("checkout", "-q", "left")
    quiet.git("merge", "-q", "right", check=False)
    before = state(quiet)
    done = quiet.verb("resolve", "--ours", check=False)
    assert done.returncode == 2
    assert "model.safetensors is kept by Git-Theta on one side only" in done.stderr
    assert state(quiet) == before


def test_missing_objects_leave_the_conflict_as_it_is(repo: Repo) -> None:
    for file in repo.objects().values():
        file.chmod(0o644)
        file.unlink()
    before = state(repo)
    done = repo.verb("resolve", "--theirs", "--force", check=False)
    assert done.returncode == 1
    assert "object" in done.stderr
    assert state(repo) == before


def test_executable_bit_is_merged(quiet: Repo) -> None:
    quiet.git("checkout", "-q", "-b", "x", "b1")
    quiet.git("update-index", "--chmod=+x", MODEL)
    quiet.git("commit", "-q", "-m", "x")
    quiet.git("reset", "-q", "--hard")
    quiet.git("checkout", "-q", "b2")
    assert quiet.git("merge", "-q", "x", check=False).returncode == 1
    quiet.verb("resolve", "--ours")
    assert quiet.git("ls-files", "--stage", MODEL).stdout.startswith("100755 ")


def test_mergetool_settles_by_what_is_configured(repo: Repo) -> None:
    repo.git("config", "mergetool.keepBackup", "false")
    failed = repo.git("mergetool", "--tool=theta", "--no-prompt", check=False)
    assert failed.returncode == 1
    assert repo.git("ls-files", "--unmerged").stdout != ""
    repo.git("mergetool", "--tool=theta", "--no-prompt", env={"GIT_THETA_MERGE": "average"})
    expect(repo, average())
    assert repo.status() == "A  b2.txt\nM  model.safetensors\n"
