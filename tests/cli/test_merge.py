"""git theta merge: two branches as git merges them, several as one commit, and what would happen, with real git."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

import git_theta
from tests.branches import BRANCHES, MODEL, MODELS, copy, grow, layered, state, values
from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    import numpy.typing as npt

    from tests.helpers import Arrays

ATTN = ["h.0.attn", "h.1.attn", "h.2.attn"]


@pytest.fixture
def repo(branches_on_main: Path, tmp_path: Path) -> Repo:
    """On "main", which is the ancestor of "b1", "b2" and "b3"."""
    return copy(branches_on_main, tmp_path / "repo")


@pytest.fixture
def on_b1(branches_on_b1: Path, tmp_path: Path) -> Repo:
    """The same on "b1"."""
    return copy(branches_on_b1, tmp_path / "repo")


def merged(method: str, name: str, *branches: str, **params: object) -> npt.NDArray[np.generic]:
    """What a group shall be after a merge."""
    inputs = [layered(BRANCHES[branch])[name] for branch in branches]
    return git_theta.merge_arrays(method, inputs, layered()[name], key=name, **params)


def expect(found: Arrays, changed: dict[str, npt.NDArray[np.generic]], *branches: str) -> None:
    """The groups are those of the branches that alone changed them, but for those named."""
    wanted = layered({ending: seed for branch in branches for ending, seed in BRANCHES[branch].items()}) | changed
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def parents(repo: Repo) -> list[str]:
    return repo.git("show", "--no-patch", "--format=%P", "HEAD").stdout.split()


# --- one other -------------------------------------------------------------------------------------------------------


def test_one_other_is_merged_by_git_and_the_method(on_b1: Repo) -> None:
    done = on_b1.theta("merge", "b2", "--method", "ties", "--param", "density=0.5", "--param", "weight=1,2")
    assert "Merge made by the" in done.stdout
    assert parents(on_b1) == [on_b1.rev("b1@{1}"), on_b1.rev("b2")]
    ties = {name: merged("ties", name, "b1", "b2", density=0.5, weight=[1, 2]) for name in ATTN}
    expect(values(on_b1), ties, "b1", "b2")
    kept = on_b1.git("show", "HEAD:model.safetensors").stdout
    assert on_b1.status() == ""
    assert kept.count('"merge":{"method":"ties","with":{"density":0.5,"weight":[1.0,2.0]}}') == 3


def test_without_a_method_git_stops_at_the_conflict_and_abort_goes_back(on_b1: Repo) -> None:
    before = state(on_b1)
    done = on_b1.theta("merge", "b2", check=False)
    assert done.returncode == 1
    assert "CONFLICT (content): Merge conflict in model.safetensors" in done.stdout
    assert done.stderr.count("\n") == 1
    assert on_b1.read(MODEL) == safetensors_bytes(layered(BRANCHES["b1"]))
    on_b1.verb("merge", "--abort")
    assert state(on_b1) == before
    assert on_b1.status() == ""


def test_continue_concludes_a_merge_that_was_settled(on_b1: Repo) -> None:
    on_b1.verb("merge", "b2", check=False)
    on_b1.verb("resolve", "--theirs")
    on_b1.verb("merge", "--continue", env={"GIT_EDITOR": "true"})
    assert len(parents(on_b1)) == 2
    expect(values(on_b1), {}, "b1", "b2")


def test_options_of_git_merge_are_passed_on(repo: Repo) -> None:
    repo.verb("merge", "-q", "--no-ff", "-m", "a subject", "-m", "a body", "b1")
    assert repo.git("log", "-1", "--format=%B").stdout == "a subject\n\na body\n\n"
    assert len(parents(repo)) == 2
    done = repo.theta("merge", "--ff-only", "b2", check=False)
    assert done.returncode == 128
    assert "fast-forward" in done.stderr
    repo.verb("merge", "--no-commit", "--method", "average", "b2")
    assert (repo.path / ".git/MERGE_HEAD").exists()
    assert repo.git("diff", "--name-only", "--cached").stdout == "b2.txt\nmodel.safetensors\n"


@pytest.mark.parametrize("name", ["nowhere", "--nowhere"])
def test_what_git_does_not_know_is_an_error_as_git_has_it(repo: Repo, name: str) -> None:
    done = repo.theta("merge", "--", name, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"merge: {name} - not something we can merge" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["b1", "--method", "tise"], "unknown merge method 'tise'"),
        (["b1", "--method", ""], "the strategy is empty: name a merge method"),
        (["b1", "--method", "ties", "--param", "density=2"], "density must be a number from 0 to 1"),
        (["b1", "--method", "ties", "--param", "density"], "--param 'density': write NAME=VALUE"),
        (["b1", "--method", "ties", "--param", "texts=ours"], "--param 'texts=ours': write NAME=VALUE"),
        (["b1", "--param", "density=1"], "--param is for a method"),
        (["b1", "--seed", "1"], "--seed is for a method or a recipe"),
        (["b1", "--method", "ties", "--recipe", "x.toml"], "choose one of --method and --recipe"),
        (["b1", "--recipe", "x.toml"], "x.toml cannot be read: No such file or directory"),
        (["b1", "--texts", "both"], "texts must be one of ours, theirs, ancestor, conflict, not 'both'"),
        (["b1", "--json"], "--json is for --dry-run"),
        (["--abort", "b1"], "--abort stands alone"),
        (["--abort", "--quit"], "--abort stands alone"),
        (["--dry-run"], "name what to merge"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_happens(
    repo: Repo, arguments: list[str], message: str
) -> None:
    before = state(repo)
    done = repo.verb("merge", *arguments, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert state(repo) == before


# --- who decides -----------------------------------------------------------------------------------------------------


def planned(repo: Repo, *options: str, env: dict[str, str | None] | None = None) -> list[dict[str, object]]:
    """What a merge of "b2" would do to the attention layers."""
    done = repo.verb("merge", "--dry-run", "--json", "b2", *options, env=env, check=False)
    groups = json.loads(done.stdout)["checkpoints"][0]["groups"]
    return [group for group in groups if group["name"] in ATTN]


@pytest.mark.parametrize(
    ("variable", "attribute", "setting", "decides"),
    [
        ("theirs", "ours", "ours", "theirs"),
        (None, "theirs", "ours", "theirs"),
        (None, None, "theirs", "theirs"),
        ("conflict", "theirs", "theirs", None),
        (" ", "theirs", None, "theirs"),
        (None, "prompt", "theirs", None),
        (None, None, None, None),
    ],
)
def test_environment_goes_before_the_attribute_and_that_before_the_setting(
    on_b1: Repo, variable: str | None, attribute: str | None, setting: str | None, decides: str | None
) -> None:
    if attribute is not None:
        on_b1.write(".git/info/attributes", f"*.safetensors theta-merge={attribute}\n")
    if setting is not None:
        on_b1.git("config", "theta.merge.method", setting)
    assert {group.get("method") for group in planned(on_b1, env={"GIT_THETA_MERGE": variable})} == {decides}
    assert {group["method"] for group in planned(on_b1, "--method", "average")} == {"average"}


def test_plain_git_merge_is_settled_by_the_environment(on_b1: Repo) -> None:
    on_b1.write(".git/info/attributes", "*.safetensors theta-merge=ours\n")
    on_b1.git("merge", "-q", "--no-edit", "b2", env={"GIT_THETA_MERGE": "theirs"})
    expect(values(on_b1), {}, "b1", "b2")


def test_attribute_takes_parameters_after_semicolons(on_b1: Repo) -> None:
    on_b1.write(".git/info/attributes", "*.safetensors theta-merge=linear;weight=3,1\n")
    assert [group["with"] for group in planned(on_b1)] == [{"weight": [3, 1]}] * 3


RECIPE = """\
[default]
method = "average"
[[rules]]
match = "h.*.attn"
method = "slerp"
with = { t = { gradient = [0.0, 1.0] } }
"""


def test_recipe_is_read_from_where_the_user_is(on_b1: Repo) -> None:
    on_b1.write("merging/my recipe.toml", RECIPE)
    on_b1.verb("merge", "b2", "--recipe", "my recipe.toml", cwd=on_b1.path / "merging")
    slerp = {name: merged("slerp", name, "b1", "b2", t=t) for name, t in zip(ATTN, (0.0, 0.5, 1.0), strict=True)}
    expect(values(on_b1), slerp, "b1", "b2")


@pytest.mark.parametrize("how", ["attribute", "setting"])
def test_recipe_that_is_configured_is_read_from_the_top_of_the_worktree(on_b1: Repo, how: str) -> None:
    on_b1.write("merging/recipe.toml", RECIPE)
    if how == "attribute":
        on_b1.write(".git/info/attributes", "*.safetensors theta-merge=merging/recipe.toml\n")
    else:
        on_b1.git("config", "theta.merge.method", "recipe:merging/recipe.toml")
    assert [group["with"] for group in planned(on_b1)] == [{"t": 0.0}, {"t": 0.5}, {"t": 1.0}]


@pytest.mark.parametrize("path", ["../outside.toml", "link.toml", "/dev/zero"])
def test_attribute_names_no_file_outside_of_the_repository(on_b1: Repo, path: str) -> None:
    (on_b1.path.parent / "outside.toml").write_text(RECIPE)
    (on_b1.path / "link.toml").symlink_to("../outside.toml")
    on_b1.write(".git/info/attributes", f"*.safetensors theta-merge=recipe:{path}\n")
    done = on_b1.verb("merge", "--dry-run", "b2", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"git-theta: the attribute theta-merge: the recipe {path} is outside of the repository\n"


def test_recipe_that_is_no_file_is_not_read(on_b1: Repo) -> None:
    os.mkfifo(on_b1.path / "pipe")
    for name in ("pipe", ".git"):
        done = on_b1.verb("merge", "b2", "--recipe", str(on_b1.path / name), check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{name} is no file" in done.stderr


def test_broken_recipe_leaves_a_conflict_with_one_line(on_b1: Repo) -> None:
    on_b1.write(".git/recipe.toml", RECIPE.replace("slerp", "slurp"))
    on_b1.git("config", "theta.merge.method", "recipe:.git/recipe.toml")
    done = on_b1.git("merge", "--no-edit", "b2", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "recipe.toml, line 5, column 1: unknown merge method 'slurp'" in done.stderr
    assert on_b1.read(MODEL) == safetensors_bytes(layered(BRANCHES["b1"]))
    assert sorted(line[:2] for line in on_b1.status().splitlines()) == ["A ", "UU"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPE.replace("h.*.attn", "g.*"), "recipe.toml, line 4, column 1: no group of the checkpoint matches 'g.*'"),
        (RECIPE.replace("]]", "]"), "recipe.toml, line 3, column 8: "),
        (None, "recipe.toml cannot be read: No such file or directory"),
    ],
)
def test_broken_recipe_is_an_error_that_says_who_named_it(on_b1: Repo, recipe: str | None, message: str) -> None:
    if recipe is not None:
        on_b1.write(".git/recipe.toml", recipe)
    on_b1.git("config", "theta.merge.method", "recipe:.git/recipe.toml")
    done = on_b1.verb("merge", "--dry-run", "b2", check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr


def test_method_that_does_not_fit_a_group_says_why(on_b1: Repo) -> None:
    grow(on_b1, "mine", "b1", {MODEL: "b1-step5"})
    grow(on_b1, "other", "b2", {MODEL: "b2-step6"})
    on_b1.git("checkout", "-q", "mine")
    done = on_b1.theta("merge", "other", "--method", "average", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "both sides changed " in done.stderr
    why = "average cannot merge int64 values: say whether to take ours or theirs"
    assert f"both sides changed step ({why}); the worktree" in done.stderr
    on_b1.verb("merge", "--abort")
    on_b1.verb("merge", "other", "--method", "average", "--otherwise", "theirs")
    assert int(values(on_b1)["step"]) == 6


# --- several others --------------------------------------------------------------------------------------------------


def test_several_others_make_one_commit_with_all_parents(repo: Repo) -> None:
    repo.verb("merge", "b1", "b2", "b3", "--method", "ties", "--param", "weight=1,2,3", "--param", "density=0.5")
    assert parents(repo) == [repo.rev(name) for name in BRANCHES]
    assert repo.git("log", "-1", "--format=%s").stdout == "Merge branches 'b1', 'b2' and 'b3'\n"
    ties = {name: merged("ties", name, *BRANCHES, weight=[1, 2, 3], density=0.5) for name in ATTN}
    expect(values(repo), ties, *BRANCHES)
    assert repo.status() == ""
    assert {f"{name}.txt" for name in BRANCHES} <= {file.name for file in repo.path.iterdir()}


def test_our_own_commits_count_as_one_more_side(on_b1: Repo) -> None:
    on_b1.verb("merge", "b2", "b3", "--method", "linear", "--param", "weight=1,2,3")
    assert parents(on_b1) == [on_b1.rev("b1@{1}"), on_b1.rev("b2"), on_b1.rev("b3")]
    linear = {name: merged("linear", name, *BRANCHES, weight=[1, 2, 3]) for name in ATTN}
    expect(values(on_b1), linear, *BRANCHES)


def test_side_that_left_a_group_alone_has_no_say_in_it(repo: Repo) -> None:
    repo.git("commit", "-q", "--allow-empty", "-m", "so that main is no ancestor")
    repo.verb("merge", "b1", "b2", "--method", "linear", "--param", "weight=9,1,2")
    assert len(parents(repo)) == 3
    linear = {name: merged("linear", name, "b1", "b2", weight=[1, 2]) for name in ATTN}
    expect(values(repo), linear, "b1", "b2")


def test_branch_that_another_one_contains_is_no_parent(repo: Repo) -> None:
    repo.git("branch", "early", "b1")
    grow(repo, "b1", "early", {"late.txt": "late"})
    repo.verb("merge", "early", "b1", "b2", "--method", "average")
    assert parents(repo) == [repo.rev("b1"), repo.rev("b2")]
    expect(values(repo), {name: merged("average", name, "b1", "b2") for name in ATTN}, "b1", "b2")


def test_several_others_without_a_method_change_nothing(repo: Repo) -> None:
    before = state(repo)
    done = repo.theta("merge", "b1", "b2", "b3", check=False)
    assert done.returncode == 2
    (line,) = said(done)
    assert line == (
        "git-theta: model.safetensors: several sides changed h.0.attn, h.1.attn, h.2.attn; nothing is merged: say how "
        "with --method or --recipe, and --otherwise for what no method merges, or merge one branch after the other"
    )
    assert state(repo) == before
    assert repo.status() == ""


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of ours."""
    return [line for line in done.stderr.splitlines() if line.startswith("git-theta: ")]


def test_method_that_does_not_fit_several_others_is_said_in_the_same_line(repo: Repo) -> None:
    done = repo.theta("merge", "b1", "b2", "b3", "--method", "linear", "--param", "weight=1,2", check=False)
    assert done.returncode == 2
    (line,) = said(done)
    assert "h.2.attn (h.0.attn: the parameter weight has 2 values for 3 inputs: give one each, and 2 more); " in line


def test_conflict_of_another_file_changes_nothing(repo: Repo) -> None:
    for name in ("b1", "b3"):
        grow(repo, name, name, {"notes.txt": f"one\n{name}\nthree\n"})
    before = state(repo)
    done = repo.theta("merge", "b1", "b2", "b3", "--method", "average", check=False)
    assert done.returncode == 2
    assert said(done) == [
        "git-theta: notes.txt: git cannot merge it; nothing is merged: merge one branch after the other"
    ]
    assert state(repo) == before


def test_file_that_became_a_checkpoint_on_several_sides_is_a_conflict_of_git(repo: Repo) -> None:
    """It had been committed as it was, before Git-Theta came. None of the sides may win without a word."""
    grow(repo, "raw", "main", {MODEL: "not a checkpoint yet"})
    for number in (1, 2, 3):
        grow(repo, f"x{number}", "raw", {MODEL: f"b{number}"})
    repo.git("checkout", "-q", "x1")
    before = state(repo)
    done = repo.theta("merge", "x2", "x3", "--method", "average", check=False)
    assert done.returncode == 2
    assert f"git-theta: {MODEL}: git cannot merge it; nothing is merged: " in done.stderr
    assert state(repo) == before


def test_other_files_are_merged_line_by_line(repo: Repo) -> None:
    for name, text in (("b1", "ONE\ntwo\nthree\n"), ("b2", "one\ntwo\nTHREE\n")):
        grow(repo, name, name, {"notes.txt": text})
    repo.verb("merge", "b1", "b2", "--method", "average")
    assert repo.read("notes.txt") == b"ONE\ntwo\nTHREE\n"


def test_changes_of_the_worktree_that_are_not_in_the_way_stay(repo: Repo) -> None:
    repo.write("notes.txt", "mine")
    repo.write("untracked", "mine")
    repo.verb("merge", "b1", "b2", "--method", "average")
    assert repo.status() == " M notes.txt\n?? untracked\n"
    assert repo.read("notes.txt") == b"mine"


@pytest.mark.parametrize("path", [MODEL, "b2.txt"])
def test_changes_of_the_worktree_that_are_in_the_way_stop_the_merge(repo: Repo, path: str) -> None:
    repo.write(path, safetensors_bytes(layered({"head": 8})) if path == MODEL else "untracked")
    before = state(repo)
    done = repo.theta("merge", "b1", "b2", "--method", "average", check=False)
    assert done.returncode == 2
    assert path in done.stderr
    assert state(repo) == before


def test_what_is_staged_stops_the_merge(repo: Repo) -> None:
    repo.write("notes.txt", "mine")
    repo.git("add", "notes.txt")
    before = state(repo)
    done = repo.theta("merge", "b1", "b2", "--method", "average", check=False)
    assert done.returncode == 2
    assert "notes.txt is staged" in done.stderr
    assert state(repo) == before


def test_hooks_are_called_as_git_merge_calls_them(repo: Repo) -> None:
    for hook in ("pre-merge-commit", "commit-msg", "post-merge", "prepare-commit-msg"):
        repo.write(f".git/hooks/{hook}", f"#!/bin/sh\necho {hook} >> '{repo.path}/called'\n").chmod(0o755)
    repo.verb("merge", "b1", "b2", "--method", "average")
    assert repo.read("called").split() == [b"pre-merge-commit", b"prepare-commit-msg", b"commit-msg", b"post-merge"]


def test_no_commit_leaves_the_commit_to_the_user(repo: Repo) -> None:
    repo.verb("merge", "--no-commit", "b1", "b2", "b3", "--method", "average")
    assert repo.git("diff", "--name-only").stdout == ""
    assert len(repo.read(".git/MERGE_HEAD").split()) == 3
    repo.git("commit", "--no-edit", "-q")
    assert parents(repo) == [repo.rev(name) for name in BRANCHES]
    expect(values(repo), {name: merged("average", name, *BRANCHES) for name in ATTN}, *BRANCHES)


def test_no_commit_can_be_aborted(repo: Repo) -> None:
    before = state(repo)
    repo.verb("merge", "--no-commit", "b1", "b2", "--method", "average")
    repo.verb("merge", "--abort")
    assert state(repo) == before


def test_checkpoint_that_one_side_renamed_is_merged_under_its_new_name(repo: Repo) -> None:
    grow(repo, "b3", "main", {MODEL: None, "renamed.safetensors": repo.git("show", f"main:{MODEL}").stdout})
    repo.verb("merge", "b1", "b2", "b3", "--method", "average")
    assert not (repo.path / MODEL).exists()
    average = {name: merged("average", name, "b1", "b2") for name in ATTN}
    expect(values(repo, "renamed.safetensors"), average, "b1", "b2")


def test_checkpoint_with_two_names_is_a_problem(repo: Repo) -> None:
    content = repo.git("show", f"main:{MODEL}").stdout
    for branch, name in (("b1", "one"), ("b2", "two")):
        grow(repo, branch, "main", {MODEL: None, f"{name}.safetensors": content})
    before = state(repo)
    done = repo.theta("merge", "b1", "b2", "--method", "ours", check=False)
    assert done.returncode == 2
    assert "safetensors: " in done.stderr
    assert state(repo) == before


def test_checkpoint_that_is_new_on_two_of_three_sides_merges_with_their_values(repo: Repo) -> None:
    grow(repo, "b1", "b1", {"new.safetensors": "head7"})
    grow(repo, "b3", "b3", {"new.safetensors": "head8"})
    repo.verb("merge", "b1", "b2", "b3", "--method", "linear", "--param", "weight=1,2,3")
    linear = git_theta.merge_arrays("linear", [MODELS[name]["w"] for name in ("head7", "head8")], weight=[1, 3])
    np.testing.assert_array_equal(values(repo, "new.safetensors")["w"], linear)


def test_missing_objects_of_one_side_change_nothing(repo: Repo) -> None:
    for file in repo.objects().values():
        file.chmod(0o644)
        file.unlink()
    before = state(repo)
    done = repo.theta("merge", "b1", "b2", "--method", "average", check=False)
    assert done.returncode == 2
    assert "model.safetensors" in done.stderr
    assert state(repo) == before


def test_strategy_called_by_hand_says_how_to_merge(repo: Repo) -> None:
    for arguments in (["main"], ["--ours", "--", "main", "b1"], ["--", "HEAD"]):
        done = repo.verb("merge-strategy", "--", *arguments, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# --- histories without a common ancestor -----------------------------------------------------------------------------


@pytest.fixture
def strangers(repo: Repo) -> Repo:
    """On "main"; "x" and "y" have histories of their own, and a model in them."""
    for branch, name in (("x", "attn5"), ("y", "attn6")):
        grow(repo, branch, "main", {MODEL: name}, orphan=True)
    return repo


@pytest.mark.parametrize("others", [["x"], ["x", "y"]])
def test_strangers_merge_by_methods_that_need_no_ancestor(strangers: Repo, others: list[str]) -> None:
    refused = strangers.theta("merge", *others, "--method", "average", check=False)
    assert refused.returncode == 128
    assert "refusing to merge unrelated histories" in refused.stderr
    needed = strangers.theta(
        "merge", "--allow-unrelated-histories", *others, "--method", "ties", "--otherwise", "conflict", check=False
    )
    assert needed.returncode == len(others)
    assert "ties needs a common ancestor" in needed.stderr
    strangers.git("reset", "-q", "--hard")
    strangers.verb("merge", "--allow-unrelated-histories", *others, "--method", "average")
    sides = [layered(), *(layered({"attn": seed}) for seed in (5, 6)[: len(others)])]
    found = values(strangers)
    for name in ATTN:
        np.testing.assert_array_equal(found[name], git_theta.merge_arrays("average", [side[name] for side in sides]))
    assert len(parents(strangers)) == len(others) + 1


# --- what would happen -----------------------------------------------------------------------------------------------


def loose(repo: Repo) -> int:
    return sum(file.is_file() for file in (repo.path / ".git/objects").rglob("*"))


def test_dry_run_prints_the_plan_folded_and_changes_nothing(on_b1: Repo) -> None:
    before, objects = state(on_b1), loose(on_b1)
    done = on_b1.verb("merge", "--dry-run", "b2", "--method", "ties", "--param", "density=0.2")
    assert done.stdout.splitlines()[1:] == [
        "model.safetensors: 4 taken, 3 merged, 1 unchanged",
        "  step          from b1",
        "  h.*.attn (3)  ties density=0.2",
        "  h.*.mlp (3)   from b2",
        "All other files merge.",
    ]
    assert done.stdout.startswith(f"Merge of b1 and b2, from the common ancestor {on_b1.rev('main')[:10]}\n")
    assert (state(on_b1), loose(on_b1)) == (before, objects)


def test_dry_run_says_what_would_be_in_conflict_and_exits_with_1(on_b1: Repo) -> None:
    grow(on_b1, "b3", "b3", {"notes.txt": None})
    grow(on_b1, "b1", "b1", {"notes.txt": "mine"})
    done = on_b1.verb("merge", "--dry-run", "b2", "b3", check=False)
    assert done.returncode == 1
    assert "  h.*.attn (3)  conflict: changed differently\n" in done.stdout
    assert done.stdout.endswith("notes.txt: conflict: git cannot merge it\n")


def test_dry_run_as_json_says_all_of_every_group(on_b1: Repo) -> None:
    done = on_b1.verb("merge", "--dry-run", "--json", "b2", "--method", "linear", "--param", "weight=1,2")
    plan = json.loads(done.stdout)
    assert plan["sides"] == [{"name": name, "commit": on_b1.rev(name)} for name in ("b1", "b2")]
    assert plan["ancestor"] == on_b1.rev("main")
    assert plan["ancestors"] == [on_b1.rev("main")]
    (checkpoint,) = plan["checkpoints"]
    assert (checkpoint["path"], checkpoint["outcome"]) == (MODEL, "merged")
    groups = {group.pop("name"): group for group in checkpoint["groups"]}
    clash = "changed differently"
    assert groups["h.1.attn"] == {"outcome": "merged", "clash": clash, "method": "linear", "with": {"weight": [1, 2]}}
    assert groups["h.1.mlp"] == {"outcome": "taken", "side": "b2"}
    assert groups["head"] == {"outcome": "unchanged"}
    assert plan["problems"] == []


def test_dry_run_of_a_recipe_that_does_not_fit_says_why(on_b1: Repo) -> None:
    on_b1.write("r.toml", '[[rules]]\nmatch = "h.*.attn"\nmethod = "rows"\n')
    done = on_b1.verb("merge", "--dry-run", "b2", "--recipe", "r.toml", check=False)
    assert "conflict: changed differently (only groups that differ in the number of rows can be merged" in done.stdout


def test_dry_run_where_there_is_nothing_to_merge(repo: Repo) -> None:
    assert repo.verb("merge", "--dry-run", "b1").stdout == "Fast-forward to b1.\n"
    repo.git("symbolic-ref", "HEAD", "refs/heads/b1")
    assert repo.verb("merge", "--dry-run", "main").stdout == "Already up to date.\n"
    done = repo.verb("merge", "--dry-run", "nowhere", check=False)
    assert done.stderr == "git-theta: there is no revision 'nowhere' here\n"


def test_dry_run_names_checkpoints_that_one_side_changed_or_removed(repo: Repo) -> None:
    grow(repo, "x", "main", {"x.safetensors": "head7"})
    grow(repo, "main", "main", {MODEL: None})
    done = repo.verb("merge", "--dry-run", "x")
    assert "model.safetensors: removed by main\n" in done.stdout
    assert "x.safetensors: from x\n" in done.stdout


def test_dry_run_is_what_then_happens(on_b1: Repo) -> None:
    plan = json.loads(on_b1.verb("merge", "--dry-run", "--json", "b2", "b3", "--method", "average").stdout)
    on_b1.verb("merge", "b2", "b3", "--method", "average")
    found = values(on_b1)
    versions = {side["name"]: layered(BRANCHES[side["name"]]) for side in plan["sides"]}
    for group in plan["checkpoints"][0]["groups"]:
        name = group["name"]
        taken = (
            layered()[name] if group["outcome"] == "unchanged" else versions.get(group.get("side", ""), {}).get(name)
        )
        if group["outcome"] == "merged":
            taken = merged("average", name, "b1", "b2", "b3")
        np.testing.assert_array_equal(found[name], taken)
