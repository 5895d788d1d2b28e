"""git theta diff: between commits, the index, the worktree and files, in its three forms, with git's exit codes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from git_theta.flows.diff import How
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

OLD = safetensors_bytes(model(0))
NEW = safetensors_bytes(model(0, head_weight=model(1)["head_weight"]), {"epoch": "2"})
NEWEST = safetensors_bytes(model(0, head_weight=model(2)["head_weight"], norm_bias=None), {"epoch": "3"})
STAT = f" {CHECKPOINT} | 1 of 8 groups modified, 81.9 kB of 245.5 kB\n"


@pytest.fixture(scope="module")
def _changed(_tracked: Path, isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert isolation
    repo = Repo(tmp_path_factory.mktemp("states") / "changed")
    shutil.copytree(_tracked, repo.path, symlinks=True)
    repo.write(CHECKPOINT, NEW)
    repo.write("notes.txt", "text")
    repo.commit("new")
    repo.write(CHECKPOINT, NEWEST)
    repo.write("notes.txt", "other")
    return repo.path


@pytest.fixture
def changed(_changed: Path, tmp_path: Path) -> Repo:
    """Two commits, OLD and NEW, with other files; NEWEST in the worktree."""
    shutil.copytree(_changed, tmp_path / "changed", symlinks=True)
    return Repo(tmp_path / "changed")


@pytest.fixture
def files(tmp_path: Path) -> Repo:
    """A folder outside of any repository with a safetensors and a torch file."""
    folder = tmp_path / "files"
    folder.mkdir()
    repo = Repo(folder)
    repo.write("old.safetensors", OLD)
    repo.write("new.safetensors", NEW)
    groups = {name: torch.tensor(array) for name, array in model(0).items()}
    torch.save({**groups, "epoch": 7}, folder / "old.pt")
    return repo


def kinds(repo: Repo, *arguments: str) -> dict[str, str]:
    done = repo.verb("diff", "--json", *arguments, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["checkpoints"]
    return {change["group"]: change["kind"] for checkpoint in found for change in checkpoint["changes"]}


def test_what_is_compared_is_what_git_compares(changed: Repo) -> None:
    one, two = {"head_weight": "modified"}, {"head_weight": "modified", "norm_bias": "removed"}
    assert kinds(changed) == two
    assert kinds(changed, "HEAD~1") == two
    assert kinds(changed, "HEAD~1", "HEAD") == one
    assert kinds(changed, "HEAD~1..HEAD") == one
    assert kinds(changed, "--cached", "HEAD~1") == one
    assert kinds(changed, "--cached") == {}
    changed.git("add", CHECKPOINT)
    assert kinds(changed, "--staged") == two
    assert kinds(changed) == {}


def test_inside_the_git_folder_the_index_and_commits_are_compared(changed: Repo) -> None:
    inside = Repo(changed.path / ".git")
    assert kinds(inside, "HEAD~1", "HEAD") == kinds(inside, "--cached", "HEAD~1") == {"head_weight": "modified"}
    assert inside.git("diff", "--cached", "HEAD~1").stdout == changed.git("diff", "--cached", "HEAD~1").stdout
    done = inside.verb("diff", check=False)
    assert done.returncode == inside.git("diff", check=False).returncode == 128
    assert done.stderr == "git-theta: git diff failed: this operation must be run in a work tree\n"


def test_worktree_is_found_from_elsewhere(changed: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = changed.verb("diff").stdout
    monkeypatch.setenv("GIT_DIR", str(changed.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(changed.path))
    assert Repo(tmp_path).verb("diff").stdout == here
    assert Repo(tmp_path).verb("diff", "--", CHECKPOINT).stdout == here
    assert kinds(Repo(tmp_path), "--cached", "HEAD~1") == {"head_weight": "modified"}
    assert kinds(Repo(tmp_path), "HEAD~1", "HEAD") == {"head_weight": "modified"}
    done = Repo(tmp_path).verb("diff", "HEAD", "../nowhere", check=False)
    assert (done.returncode, done.stderr) == (1, "git-theta: there is no file HEAD\n")


def test_other_files_that_differ_start_no_git_each(changed: Repo, tmp_path: Path) -> None:
    for number in range(100):
        changed.write(f"code/{number}.py", f"{number}\n")
    changed.commit("code")
    done = changed.verb("diff", "HEAD~1", "HEAD", env={"GIT_TRACE": str(tmp_path / "trace")})
    assert CHECKPOINT in done.stdout
    started = (tmp_path / "trace").read_text().count("built-in: git")
    assert started < 40


def test_paths_choose_checkpoints(changed: Repo) -> None:
    assert kinds(changed, "HEAD~1", "HEAD", "--", "sub", "notes.txt") == {}
    assert kinds(changed, "HEAD~1", "HEAD", "--", CHECKPOINT) == {"head_weight": "modified"}
    assert kinds(changed, "HEAD~1", CHECKPOINT).keys() == {"head_weight", "norm_bias"}
    assert kinds(changed, "HEAD~1", "HEAD", "--", "*.safetensors") == {"head_weight": "modified"}
    (changed.path / "sub").mkdir()
    done = changed.verb("diff", "--stat", "HEAD~1", "HEAD", "--", "..", cwd=changed.path / "sub")
    assert done.stdout == STAT


def test_text_is_that_of_git_diff(changed: Repo) -> None:
    for arguments in (["HEAD~1", "HEAD"], [], ["--cached", "HEAD~1"]):
        assert changed.verb("diff", *arguments).stdout == changed.git("diff", *arguments, "--", CHECKPOINT).stdout


def test_in_short_no_value_is_read(changed: Repo) -> None:
    changed.git("checkout", "-q", CHECKPOINT)
    for path in changed.objects().values():
        path.chmod(0o644)
        path.write_bytes(b"\xff" * path.stat().st_size)
    done = changed.verb("diff", "--stat", "HEAD~1", "HEAD")
    assert (done.stdout, done.stderr) == (STAT, "")


def test_json_has_everything(changed: Repo) -> None:
    done = changed.verb("diff", "--json", "HEAD~1")
    (checkpoint,) = json.loads(done.stdout)["checkpoints"]
    (head, norm) = checkpoint["changes"]
    assert (head["exact"], head["changed"]) == (True, 1.0)
    assert (norm["kind"], norm["new"], norm["relative"]) == ("removed", None, None)
    assert checkpoint["values"] == [{"name": "__metadata__/epoch", "old": None, "new": "'3'"}]
    assert len(checkpoint["unchanged"]) == 6
    assert json.loads(changed.verb("diff", "--json", "HEAD", "HEAD").stdout) == {"version": 1, "checkpoints": []}


@pytest.mark.parametrize("how", How)
def test_every_way_to_have_statistics_can_be_set(changed: Repo, how: How) -> None:
    changed.git("config", "theta.diff.stats", how.upper())
    done = changed.verb("diff", "--json", "HEAD~1", "HEAD")
    (change,) = json.loads(done.stdout)["checkpoints"][0]["changes"]
    assert change["exact"] == {How.AUTO: True, How.EXACT: True, How.ESTIMATE: False, How.NONE: None}[how]


def test_group_whose_name_has_brackets_can_be_chosen_by_it(files: Repo) -> None:
    for number, file in enumerate(("one.safetensors", "two.safetensors")):
        files.write(file, safetensors_bytes({"h[0].weight": np.full(9, number, np.float32)}))
    assert kinds(files, "--groups", "h[0].weight", "one.safetensors", "two.safetensors") == {"h[0].weight": "modified"}


def test_groups_can_be_chosen(changed: Repo) -> None:
    assert kinds(changed, "--groups", "head_*", "HEAD~1") == {"head_weight": "modified"}
    assert kinds(changed, "--groups", "nothing", "HEAD~1") == {}
    done = changed.verb("diff", "--groups", "attn_*", "--exit-code", "HEAD~1")
    assert (done.returncode, done.stdout) == (0, "")
    assert changed.verb("diff", "--groups", "head_*", "--stat", "HEAD~1", "HEAD").stdout == STAT


@pytest.mark.parametrize("form", [[], ["--stat"], ["--json"]])
def test_exit_codes_are_those_of_git_diff(changed: Repo, form: list[str]) -> None:
    for arguments in (["HEAD", "HEAD"], ["HEAD~1", "HEAD"], ["nonsense"]):
        for options in ([], ["--exit-code"]):
            ours = changed.verb("diff", *form, *options, *arguments, check=False)
            gits = changed.git("diff", *options, *arguments, "--", CHECKPOINT, check=False)
            assert ours.returncode == gits.returncode


def test_error_is_a_line(changed: Repo) -> None:
    done = changed.verb("diff", "nonsense", check=False)
    assert (done.returncode, done.stdout) == (128, "")
    assert done.stderr.startswith("git-theta: git diff failed: ambiguous argument 'nonsense'")
    assert done.stderr.count("\n") == 1


def test_error_of_the_filter_is_told_instead_of_that_it_failed(changed: Repo) -> None:
    stored = changed.git_bytes("cat-file", "blob", f"HEAD:{CHECKPOINT}")
    changed.write(CHECKPOINT, stored[: len(stored) // 2])
    done = changed.verb("diff", check=False)
    assert (done.returncode, done.stdout) == (128, "")
    assert done.stderr.startswith(f"git-theta: git diff failed: {CHECKPOINT}: the metadata file is incomplete")
    assert done.stderr.count("\n") == 1


def test_files_that_became_tracked_or_untracked_are_compared(repo: Repo) -> None:
    repo.write(CHECKPOINT, OLD)
    repo.commit("raw")
    repo.theta("track", "*.safetensors")
    repo.write(CHECKPOINT, NEW)
    repo.commit("tracked")
    assert kinds(repo, "HEAD~1", "HEAD") == {"head_weight": "modified"}
    repo.theta("untrack", "*.safetensors")
    repo.write(CHECKPOINT, NEWEST)
    repo.commit("raw again")
    assert kinds(repo, "HEAD~1", "HEAD") == {"head_weight": "modified", "norm_bias": "removed"}


def test_added_deleted_and_renamed_checkpoints(changed: Repo) -> None:
    changed.git("checkout", "-q", CHECKPOINT)
    changed.git("mv", CHECKPOINT, "moved.safetensors")
    changed.commit("moved")
    assert changed.verb("diff", "--stat", "HEAD~1", "HEAD").stdout == (
        f" {CHECKPOINT} => moved.safetensors | none of 8 groups changed\n"
    )
    assert "rename to moved.safetensors" in changed.verb("diff", "HEAD~2", "HEAD").stdout
    changed.git("rm", "-q", "moved.safetensors")
    assert changed.verb("diff", "--cached", "--stat").stdout == " moved.safetensors | 8 groups removed, 245.5 kB\n"


def test_what_cannot_be_compared_is_told(changed: Repo) -> None:
    changed.write(CHECKPOINT, "version https://git-lfs.github.com/spec/v1\n")
    assert changed.verb("diff").stdout.splitlines()[-1].startswith("Binary files ")
    assert changed.verb("diff", "--stat").stdout == f" {CHECKPOINT} | cannot be compared\n"
    done = changed.verb("diff", "--json", "--exit-code", check=False)
    assert json.loads(done.stdout)["checkpoints"] == []
    assert done.stderr == f"git-theta: warning: {CHECKPOINT} cannot be compared, and is left out\n"
    assert done.returncode == 1


def test_conflict_is_told(in_merge_conflict: Repo) -> None:
    assert f"* Unmerged path {CHECKPOINT}\n" in in_merge_conflict.verb("diff").stdout
    assert f" {CHECKPOINT} | unmerged\n" in in_merge_conflict.verb("diff", "--stat").stdout
    done = in_merge_conflict.verb("diff", "--json")
    assert json.loads(done.stdout)["checkpoints"] == []
    assert f"{CHECKPOINT} cannot be compared, and is left out" in done.stderr


def test_links_are_not_followed(changed: Repo, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.safetensors").write_bytes(OLD)
    (changed.path / CHECKPOINT).unlink()
    (changed.path / CHECKPOINT).symlink_to(tmp_path / "elsewhere.safetensors")
    assert changed.verb("diff", "--stat").stdout == f" {CHECKPOINT} | 8 groups removed, 245.5 kB\n"


def test_checkpoint_that_became_a_link_is_gone_and_comes_again(changed: Repo) -> None:
    (changed.path / CHECKPOINT).unlink()
    (changed.path / CHECKPOINT).symlink_to("elsewhere")
    changed.commit("link")
    for revisions, kind, line in ((["HEAD~1", "HEAD"], "removed", "deleted"), (["HEAD", "HEAD~1"], "added", "new")):
        assert set(kinds(changed, *revisions).values()) == {kind}
        done = changed.verb("diff", "--exit-code", *revisions, check=False)
        assert done.returncode == 1
        lines = changed.git("diff", *revisions).stdout.splitlines()
        ours = done.stdout.splitlines()
        assert f"{line} file mode 100644" in ours
        assert set(ours) <= set(lines)


# --- two files --------------------------------------------------------------------------------------------------------


def differing(repo: Repo, *arguments: str) -> str:
    """What is said of two files that differ; git's exit code says so, too, without being asked."""
    done = repo.verb("diff", *arguments, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout


def test_two_files_outside_of_a_repository(files: Repo) -> None:
    said = differing(files, "old.safetensors", "new.safetensors").splitlines()
    assert said[0] == "diff --git a/old.safetensors b/new.safetensors"
    assert said[-1] == "1 of 8 groups modified, 81.9 kB of 245.5 kB"
    assert differing(files, "--stat", "--", "old.safetensors", "new.safetensors").startswith(" old.safet")


@pytest.mark.parametrize("form", [[], ["--stat"], ["--json"], ["--exit-code"]])
@pytest.mark.parametrize("other", ["old.safetensors", "new.safetensors"])
def test_exit_codes_of_two_files_are_those_of_git_diff(files: Repo, form: list[str], other: str) -> None:
    gits = files.git("diff", "old.safetensors", other, check=False)
    assert files.verb("diff", *form, "old.safetensors", other, check=False).returncode == gits.returncode


def test_two_files_of_different_formats(files: Repo) -> None:
    (checkpoint,) = json.loads(differing(files, "--json", "old.pt", "old.safetensors"))["checkpoints"]
    assert checkpoint["changes"] == []
    assert {"name": "epoch", "old": "7", "new": None} in checkpoint["values"]
    assert (checkpoint["old"]["format"], checkpoint["new"]["format"]) == ("torch", "safetensors")
    assert kinds(files, "old.pt", "new.safetensors") == {"head_weight": "modified"}
    assert "  format: torch -> safetensors" in differing(files, "old.pt", "new.safetensors")


def test_a_quantized_file_is_compared_with_what_it_was_made_from(files: Repo) -> None:
    weight = np.random.default_rng(0).standard_normal((20, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    blocks = gguf.quants.quantize(weight, kind)
    for name, array, raw in (("plain", weight, None), ("quantized", blocks, kind)):
        writer = gguf.GGUFWriter(files.path / f"{name}.gguf", "test")
        writer.add_tensor("weight", array, raw_dtype=raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    (checkpoint,) = json.loads(differing(files, "--json", "plain.gguf", "quantized.gguf"))["checkpoints"]
    (change,) = checkpoint["changes"]
    moved = gguf.quants.dequantize(blocks, kind).astype(np.float64) - weight
    assert (change["kind"], change["exact"], change["new"]["dtype"]) == ("retyped", True, "q8_0")
    assert change["relative"] == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(weight))
    assert change["largest"] == np.abs(moved).max()


def test_files_that_are_the_same_say_nothing(files: Repo) -> None:
    files.write("copy.safetensors", OLD)
    done = files.verb("diff", "old.safetensors", "copy.safetensors")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_file_against_none(files: Repo) -> None:
    assert set(kinds(files, "/dev/null", "old.safetensors").values()) == {"added"}
    assert set(kinds(files, "old.safetensors", "/dev/null").values()) == {"removed"}
    said = differing(files, "/dev/null", "old.safetensors").splitlines()
    assert said[:2] == ["diff --git a/old.safetensors b/old.safetensors", "new file mode 100644"]
    assert files.verb("diff", "/dev/null", "/dev/null").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "two files or directories are compared"),
        (["old.safetensors"], "two files or directories are compared"),
        (["--cached", "old.safetensors", "new.safetensors"], "two files have no index"),
        (["--nonsense", "old.safetensors", "new.safetensors"], "Try 'git theta diff -h'."),
    ],
)
def test_call_that_makes_no_sense_is_told_with_the_exit_code_of_git(
    files: Repo, arguments: list[str], reason: str
) -> None:
    done = files.verb("diff", *arguments, check=False)
    assert done.returncode == files.git("diff", *arguments, check=False).returncode == 129
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["old.safetensors", "noise"], "noise is no checkpoint that can be compared: no format that is known here"),
        (["old.safetensors", "cut"], "cut: the metadata file is incomplete"),
        (["old.safetensors", "pipe"], "pipe is no plain file"),
    ],
)
def test_files_that_cannot_be_compared(files: Repo, arguments: list[str], reason: str) -> None:
    files.write("noise", b"noise" * 99)
    files.write("cut", b'{"git-theta":1,')
    (files.path / "folder").mkdir()
    os.mkfifo(files.path / "pipe")
    done = files.verb("diff", *arguments, check=False)
    assert done.returncode == 128
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_in_and_outside_of_a_repository(changed: Repo, files: Repo) -> None:
    outside = str(files.path / "old.safetensors")
    assert kinds(changed, outside, CHECKPOINT) == {"head_weight": "modified", "norm_bias": "removed"}
    changed.write("copy.safetensors", OLD)
    assert kinds(changed, "--no-index", "copy.safetensors", CHECKPOINT).keys() == {"head_weight", "norm_bias"}
    assert kinds(changed, CHECKPOINT, "copy.safetensors").keys() == {"head_weight", "norm_bias"}


@pytest.mark.parametrize("form", [["{}", CHECKPOINT], [CHECKPOINT, "{}"], ["--", CHECKPOINT, "{}"], ["HEAD", "{}"]])
def test_a_file_that_is_not_there_ends_as_with_git(changed: Repo, files: Repo, form: list[str]) -> None:
    arguments = [word.format(files.path / "nowhere") for word in form]
    done = changed.verb("diff", *arguments, check=False)
    assert done.returncode == changed.git("diff", *arguments, check=False).returncode == 1
    assert done.stderr == f"git-theta: there is no file {'HEAD' if 'HEAD' in form else files.path / 'nowhere'}\n"


def test_a_file_that_is_not_there_ends_as_with_git_outside_of_a_repository(files: Repo) -> None:
    done = files.verb("diff", "--json", "old.safetensors", "nowhere", check=False)
    assert done.returncode == files.git("diff", "old.safetensors", "nowhere", check=False).returncode == 1
    assert (done.stdout, done.stderr) == ("", "git-theta: there is no file nowhere\n")


def test_of_a_directory_the_file_of_that_name_is_compared(changed: Repo, files: Repo) -> None:
    files.write(CHECKPOINT, OLD)
    assert kinds(changed, str(files.path), CHECKPOINT) == {"head_weight": "modified", "norm_bias": "removed"}
    assert kinds(changed, CHECKPOINT, str(files.path)) == {"head_weight": "modified", "norm_bias": "added"}
    assert kinds(changed, "--no-index", CHECKPOINT, ".") == {}


# --- two directories ----------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path) -> Repo:
    """A folder outside of any repository with two versions of a model that lies in several files, "old" and "new"."""
    repo = Repo(tmp_path / "parts")
    for folder, one, config in (("old", OLD, b"{}"), ("new", NEW, b'{"a": 1}')):
        repo.write(f"{folder}/model-00001-of-00002.safetensors", one)
        repo.write(f"{folder}/model-00002-of-00002.safetensors", NEWEST)
        repo.write(f"{folder}/model.safetensors.index.json", config)
    repo.write("new/adapters/one.safetensors", OLD)
    return repo


def compared(repo: Repo, *arguments: str) -> list[tuple[str, str]]:
    """The paths that are said to differ."""
    done = repo.verb("diff", "--json", *arguments, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    return [(found["old_path"], found["new_path"]) for found in json.loads(done.stdout)["checkpoints"]]


def test_files_of_the_same_name_in_two_directories_are_compared_as_git_pairs_them(parts: Repo) -> None:
    said = differing(parts, "old", "new/").splitlines()
    gits = parts.git("diff", "--no-index", "old", "new/", check=False).stdout.splitlines()
    heads = [line for line in said if line.startswith(("diff --git", "new file"))]
    assert heads == [line for line in gits if line.startswith(("diff --git", "new file")) and "json" not in line]
    assert heads[0] == "diff --git a/new/adapters/one.safetensors b/new/adapters/one.safetensors"
    assert "1 of 8 groups modified, 81.9 kB of 245.5 kB" in said
    assert parts.verb("diff", "old", "old").stdout == ""


def test_repository_in_a_directory_and_links_to_directories_are_not_looked_into(parts: Repo, tmp_path: Path) -> None:
    parts.write("new/.git/one.safetensors", OLD)
    (parts.path / "new/again").symlink_to(parts.path / "old")
    (parts.path / "new/nothing").symlink_to("nowhere")
    os.mkfifo(parts.path / "new/pipe")
    cached = tmp_path / "cached.safetensors"
    (parts.path / "new/adapters/one.safetensors").rename(cached)
    (parts.path / "new/adapters/one.safetensors").symlink_to(cached)
    assert compared(parts, "old", "new") == [
        ("new/adapters/one.safetensors", "new/adapters/one.safetensors"),
        ("old/model-00001-of-00002.safetensors", "new/model-00001-of-00002.safetensors"),
    ]


def test_directories_are_compared_in_a_repository_if_asked_for(tracked: Repo, parts: Repo) -> None:
    outside = str(parts.path / "new/adapters")
    shutil.copytree(parts.path / "old", tracked.path / "here")
    assert len(compared(tracked, "here", outside)) == 3
    shutil.copytree(parts.path / "new", tracked.path / "there")
    assert len(compared(tracked, "--no-index", "here", "there")) == 2
    assert compared(tracked, "--", "here", "there") == []


def test_what_should_be_a_checkpoint_and_is_none_is_told(parts: Repo) -> None:
    for folder in ("old", "new"):
        parts.write(f"{folder}/same.safetensors", b"noise")
        parts.write(f"{folder}/cut.safetensors", OLD[: 99 + len(folder) * (folder == "new")])
        parts.write(f"{folder}/became", OLD if folder == "old" else b"noise")
    done = parts.verb("diff", "--stat", "old", "new", check=False)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["warning:"] * 2
    assert [line for line in done.stdout.splitlines() if "cannot" in line] == [
        " old/became => new/became | cannot be compared",
        " old/cut.safetensors => new/cut.safetensors | cannot be compared",
    ]
    assert "same" not in done.stdout


def test_a_file_does_not_differ_from_itself_where_it_is_tracked(changed: Repo) -> None:
    changed.git("add", CHECKPOINT)
    done = changed.verb("diff", "--no-index", CHECKPOINT, CHECKPOINT, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_files_of_which_one_can_be_executed_differ(files: Repo) -> None:
    shutil.copy(files.path / "old.safetensors", files.path / "copy.safetensors")
    (files.path / "copy.safetensors").chmod(0o755)
    said = differing(files, "old.safetensors", "copy.safetensors").splitlines()
    assert (said[1:3], said[-1]) == (["old mode 100644", "new mode 100755"], "none of 8 groups changed")


def test_two_revisions_against_the_index_make_no_sense(changed: Repo) -> None:
    done = changed.verb("diff", "--cached", "HEAD", "HEAD", check=False)
    assert done.returncode == changed.git("diff", "--cached", "HEAD", "HEAD", check=False).returncode == 129
    assert done.stderr == "git-theta: git diff compares no such revisions with each other. Try 'git theta diff -h'.\n"


def test_files_are_compared_in_a_bare_repository(files: Repo) -> None:
    files.git("init", "-q", "--bare", "bare.git")
    bare = Repo(files.path / "bare.git")
    assert kinds(bare, "../old.safetensors", "../new.safetensors") == {"head_weight": "modified"}
    assert kinds(bare, str(files.path / "old.safetensors"), "../new.safetensors") == {"head_weight": "modified"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("form", [[], ["--stat"], ["--json"]])
def test_output_that_cannot_be_written_is_no_difference(changed: Repo, form: list[str]) -> None:
    done = changed.run(
        "sh", "-c", 'git theta diff "$@" HEAD~1 HEAD > /dev/full', "sh", *form, cwd=changed.path, check=False
    )
    assert (done.returncode, done.stderr) == (128, "git-theta: the output: No space left on device\n")


def test_metadata_files_can_be_compared_as_files(changed: Repo, files: Repo) -> None:
    files.write("stored", changed.git_bytes("cat-file", "blob", f"HEAD~1:{CHECKPOINT}"))
    found: dict[str, Any] = json.loads(differing(files, "--json", "stored", "new.safetensors"))
    (change,) = found["checkpoints"][0]["changes"]
    assert (change["group"], change["exact"]) == ("head_weight", None)


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    bad = "a\x1b[2J\nb"
    repo = Repo.init(tmp_path / "odd")
    for seed in (1, 2):
        repo.write(f"{seed}{bad}", safetensors_bytes({bad: model(seed)["norm_bias"]}))
    for form in ([], ["--stat"], ["--json"]):
        said = differing(repo, *form, "--no-index", f"1{bad}", f"2{bad}")
        assert all(char.isprintable() or char == "\n" for char in said)
