"""Diff as users of git meet it: every command that shows a change shows groups, and none touches a file.

After each command the files of the worktree have the bytes that they had, and index and HEAD are the same.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CHECKPOINT
from tests.e2e.story import BASE, EDITED, GROUPS, HEADED, TUNING, VERSIONS, marked, shown, told, untouched
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path


class TestGitDiff:
    def test_of_the_worktree(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        assert told(shown(story, "diff")) == {"embed_weight"}
        assert story.status() == f" M {CHECKPOINT}\n"

    def test_of_a_clean_worktree_is_nothing(self, story: Repo) -> None:
        (story.path / CHECKPOINT).touch()
        assert shown(story, "diff") == ""

    def test_of_the_index(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        story.git("add", CHECKPOINT)
        assert shown(story, "diff") == ""
        assert told(shown(story, "diff", "--cached")) == {"embed_weight"}
        assert told(shown(story, "diff", "HEAD")) == {"embed_weight"}

    def test_of_two_commits(self, story: Repo) -> None:
        text = shown(story, "diff", "base", "tuned")
        assert told(text) == TUNING
        assert "-one\n+tuned\n" in text or "new file" in text
        assert told(shown(story, "diff", "base..headed", "--", CHECKPOINT)) == {*TUNING, "head_weight"}
        assert told(shown(story, "diff", "base", "headed", "--", "notes.txt")) == set()

    def test_the_other_way_round(self, story: Repo) -> None:
        assert told(shown(story, "diff", "-R", "base", "tuned", "--", CHECKPOINT)) == TUNING

    def test_of_a_commit_and_the_worktree(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        assert told(shown(story, "diff", "tuned")) == {"head_weight", "embed_weight"}

    def test_of_blobs(self, story: Repo) -> None:
        assert told(shown(story, "diff", f"base:{CHECKPOINT}", f"tuned:{CHECKPOINT}")) == TUNING

    def test_in_short(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        assert CHECKPOINT in shown(story, "diff", "--stat", "base", "tuned")
        assert "1 file changed" in shown(story, "diff", "--stat")
        assert shown(story, "diff", "--name-status", "base", "tuned", "--", CHECKPOINT) == f"M\t{CHECKPOINT}\n"
        assert shown(story, "diff", "--name-only") == f"{CHECKPOINT}\n"

    def test_exit_codes(self, story: Repo) -> None:
        assert shown(story, "diff", "--quiet") == ""
        assert shown(story, "diff", "--exit-code") == ""
        story.write(CHECKPOINT, EDITED)
        assert shown(story, "diff", "--quiet", status=1) == ""
        assert told(shown(story, "diff", "--exit-code", status=1)) == {"embed_weight"}
        assert told(shown(story, "diff", "--exit-code", "base", "tuned", status=1)) == TUNING

    def test_in_a_subdirectory(self, story: Repo) -> None:
        folder = story.path / "deep" / "er"
        folder.mkdir(parents=True)
        story.write(CHECKPOINT, EDITED)
        assert told(shown(story, "diff", cwd=folder)) == {"embed_weight"}
        assert told(shown(story, "diff", "base", "tuned", "--", f"../../{CHECKPOINT}", cwd=folder)) == TUNING

    def test_of_a_file_in_a_subdirectory(self, story: Repo) -> None:
        story.write(f"deep/{CHECKPOINT}", VERSIONS["base"])
        story.commit("deep")
        story.write(f"deep/{CHECKPOINT}", VERSIONS["tuned"])
        for options in ((), ("--relative", "--no-prefix")):
            assert told(shown(story, "diff", *options, cwd=story.path / "deep")) == TUNING
        story.git("commit", "-qam", "deeper")
        assert told(shown(story, "diff", "HEAD~1", "HEAD", cwd=story.path / "deep")) == TUNING

    def test_with_settings_that_people_have(self, story: Repo) -> None:
        settings = {
            "diff.noprefix": "true",
            "diff.wordRegex": ".",
            "diff.renames": "copies",
            "diff.algorithm": "histogram",
            "diff.colorMoved": "zebra",
            "diff.context": "0",
            "core.pager": "false",
            "core.quotePath": "true",
            "diff.external": "false",
        }
        for setting in settings.items():
            story.git("config", *setting)
        assert told(shown(story, "diff", "base", "tuned", "--", CHECKPOINT)) == TUNING
        story.git("config", "--unset", "diff.noprefix")
        story.git("config", "diff.mnemonicPrefix", "true")
        assert told(shown(story, "diff", "base", "tuned", "--", CHECKPOINT)) == TUNING
        assert marked(shown(story, "show", "tuned", "--", CHECKPOINT)) == TUNING

    def test_with_options_of_text(self, story: Repo) -> None:
        options = ("--word-diff", "--unified=0", "-w", "--minimal", "--no-ext-diff")
        for some in (options[:4], options):
            assert told(shown(story, "diff", *some, "base", "tuned", "--", CHECKPOINT)) >= TUNING

    def test_without_our_driver_it_is_a_line_for_each_group(self, story: Repo) -> None:
        for options in (("--no-ext-diff",), ("--no-ext-diff", "--no-textconv")):
            assert marked(shown(story, "diff", *options, "base", "tuned", "--", CHECKPOINT)) == TUNING

    def test_the_patch_that_is_metadata_can_be_applied(self, story: Repo) -> None:
        patch = story.git("diff", "--no-ext-diff", "--no-textconv", "headed", "base", "--", CHECKPOINT).stdout
        assert story.status() == ""
        story.git("apply", "--index", stdin=patch)
        assert story.read(CHECKPOINT) == VERSIONS["base"]

    def test_what_is_shown_is_no_patch(self, story: Repo) -> None:
        text = story.git("diff", "base", "tuned", "--", CHECKPOINT).stdout
        with untouched(story):
            done = story.git("apply", "--check", check=False, stdin=text)
        assert done.returncode == 1
        assert f"cannot apply binary patch to '{CHECKPOINT}'" in done.stderr

    def test_of_added_removed_and_renamed_files(self, story: Repo) -> None:
        story.git("mv", CHECKPOINT, "other.safetensors")
        assert shown(story, "diff", "--cached", "--name-status", "-M") == f"R100\t{CHECKPOINT}\tother.safetensors\n"
        assert "other.safetensors" in shown(story, "diff", "--cached", "-M")
        story.commit("rename")
        story.write("other.safetensors", EDITED)
        story.commit("edit")
        assert told(shown(story, "diff", "-M", "headed", "HEAD")) == {"embed_weight"}
        story.git("rm", "-q", "other.safetensors")
        text = shown(story, "diff", "--cached")
        assert "other.safetensors" in text
        assert "removed" in text or "deleted" in text

    def test_of_a_file_that_changes_its_mode(self, story: Repo) -> None:
        (story.path / CHECKPOINT).chmod(0o755)
        assert told(shown(story, "diff")) == set()
        assert "755" in shown(story, "diff", "--summary") + shown(story, "diff")

    def test_of_another_worktree(self, story: Repo, tmp_path: Path) -> None:
        story.git("worktree", "add", "-q", str(tmp_path / "second"), "tuned")
        second = Repo(tmp_path / "second")
        assert second.read(CHECKPOINT) == VERSIONS["tuned"]
        assert shown(second, "diff") == ""
        second.write(CHECKPOINT, VERSIONS["headed"])
        assert told(shown(second, "diff")) == {"head_weight"}
        assert told(shown(second, "diff", "HEAD~1", "HEAD", "--", CHECKPOINT)) == TUNING

    def test_in_a_bare_repository(self, story: Repo, tmp_path: Path) -> None:
        bare = Repo.clone(story.path, tmp_path / "bare.git", "--bare")
        shutil.copytree(story.path / ".git" / "theta", bare.path / "theta")
        for line in story.git("config", "--local", "--get-regexp", r"^(filter|diff|merge)\.theta").stdout.splitlines():
            bare.git("config", *line.split(" ", 1))
        done = bare.git("diff", "base", "tuned", "--", CHECKPOINT)
        assert done.stderr == ""
        # Git reads no attributes there unless they are in info/attributes.
        assert marked(done.stdout) == TUNING
        (bare.path / "info").mkdir(exist_ok=True)
        (bare.path / "info" / "attributes").write_text("*.safetensors filter=theta diff=theta merge=theta -text\n")
        done = bare.git("diff", "base", "tuned", "--", CHECKPOINT)
        assert (told(done.stdout), done.stderr) == (TUNING, "")

    def test_of_files_outside_the_repository(self, story: Repo, tmp_path: Path) -> None:
        (tmp_path / "a.safetensors").write_bytes(VERSIONS["base"])
        (tmp_path / "b.safetensors").write_bytes(VERSIONS["tuned"])
        done = story.git("diff", "--no-index", "../a.safetensors", "../b.safetensors", check=False)
        assert (done.returncode, told(done.stdout), done.stderr) == (1, TUNING, "")
        (story.path / "below").mkdir()
        paths = ("../../a.safetensors", "../../b.safetensors")
        done = story.git("diff", *paths, check=False, cwd=story.path / "below")
        assert (done.returncode, told(done.stdout), done.stderr) == (1, TUNING, "")


class TestMerges:
    @pytest.fixture
    def merged(self, in_merge_conflict: Repo) -> Repo:
        """A merge in which both sides changed attn_weight, and the commit has a third version of it."""
        self.settle(in_merge_conflict)
        in_merge_conflict.git("commit", "-qm", "merged")
        return in_merge_conflict

    def settle(self, repo: Repo) -> None:
        repo.write(CHECKPOINT, safetensors_bytes(model(0, attn_weight=model(7)["attn_weight"])))
        repo.git("add", CHECKPOINT)

    def test_a_conflict_is_shown(self, in_merge_conflict: Repo) -> None:
        with untouched(in_merge_conflict):
            done = in_merge_conflict.git("diff")
        assert (done.returncode, done.stderr) == (0, "")
        assert CHECKPOINT in done.stdout
        for side in ("--ours", "--theirs", "--base"):
            with untouched(in_merge_conflict):
                done = in_merge_conflict.git("diff", side)
            assert done.stderr == ""
            assert told(done.stdout) <= {"attn_weight"}
        assert "attn_weight" in in_merge_conflict.git("diff", "--theirs").stdout

    def test_between_the_sides_of_a_conflict(self, in_merge_conflict: Repo) -> None:
        assert told(shown(in_merge_conflict, "diff", "HEAD", "MERGE_HEAD")) == {"attn_weight"}
        assert told(shown(in_merge_conflict, "diff", "HEAD...MERGE_HEAD")) == {"attn_weight"}

    def test_a_merge_commit(self, merged: Repo) -> None:
        assert told(shown(merged, "diff", "HEAD^1", "HEAD")) == {"attn_weight"}
        text = shown(merged, "show", "HEAD")
        assert "diff --cc" in text
        assert [line for line in text.splitlines() if line.startswith(("++", "--")) and "attn_weight" in line]
        for options in (("-c",), ("-m", "--first-parent")):
            assert CHECKPOINT in shown(merged, "log", "-1", "-p", *options)
        # This one merges once more, and our merge driver says what it says then.
        with untouched(merged):
            assert CHECKPOINT in merged.git("show", "--remerge-diff", "HEAD").stdout

    def test_a_merge_of_different_groups_is_no_news(self, tracked: Repo) -> None:
        tracked.git("checkout", "-q", "-b", "side")
        tracked.write(CHECKPOINT, VERSIONS["tuned"])
        tracked.commit("side")
        tracked.git("checkout", "-q", "main")
        tracked.write(CHECKPOINT, safetensors_bytes({**BASE, "head_weight": HEADED["head_weight"]}))
        tracked.commit("main")
        tracked.git("merge", "-q", "--no-edit", "side")
        assert tracked.read(CHECKPOINT) == VERSIONS["headed"]
        # Each line is from one of the parents; a line from neither has two marks.
        lines = shown(tracked, "show", "HEAD").splitlines()
        assert not [line for line in lines if line.startswith(("++", "--")) and line[:3] not in ("+++", "---")]


class TestBlame:
    def lines(self, repo: Repo, *options: str, file: str = CHECKPOINT) -> dict[str, str]:
        """For each group, the subject of the commit that blame names."""
        text = shown(repo, "blame", "--porcelain", *options, "--", file)
        subjects: dict[str, str] = {}
        found: dict[str, str] = {}
        oid = ""
        for line in text.splitlines():
            if line.startswith("summary "):
                subjects[oid] = line.removeprefix("summary ")
            elif line.startswith("\t"):
                found |= {name: subjects[oid] for name in GROUPS if name in line}
            elif len(line.split(" ")[0]) == 40:
                oid = line.split(" ")[0]
        return found

    def test_each_group_has_the_commit_that_changed_it_last(self, story: Repo) -> None:
        expected = dict.fromkeys(GROUPS, "base") | dict.fromkeys(TUNING, "tuned") | {"head_weight": "headed"}
        assert self.lines(story) == expected
        assert self.lines(story, "tuned") == expected | {"head_weight": "base"}

    def test_across_a_rename(self, story: Repo) -> None:
        story.git("mv", CHECKPOINT, "other.safetensors")
        story.commit("rename")
        story.write("other.safetensors", EDITED)
        story.commit("edited")
        expected = dict.fromkeys(GROUPS, "base") | dict.fromkeys(TUNING, "tuned") | {"head_weight": "headed"}
        assert self.lines(story, file="other.safetensors") == expected | {"embed_weight": "edited"}

    def test_changes_in_the_worktree_are_not_committed_yet(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        found = self.lines(story)
        assert found["embed_weight"].startswith("Version of model.safetensors from")
        assert found["attn_weight"] == "tuned"

    def test_a_group_that_came_back_is_of_the_commit_that_brought_it_back(self, story: Repo) -> None:
        story.write(CHECKPOINT, VERSIONS["base"])
        story.commit("reverted")
        assert self.lines(story) == dict.fromkeys(GROUPS, "base") | dict.fromkeys((*TUNING, "head_weight"), "reverted")

    def test_of_lines(self, story: Repo) -> None:
        text = shown(story, "blame", "-L", "/attn_weight/,+1", "--", CHECKPOINT)
        assert told(text) == {"attn_weight"}
