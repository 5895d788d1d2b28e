"""Other commands that show a change, or may be taken for one: log, patches, hunks, and what needs the real files."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import safetensors.numpy

from tests.conftest import CHECKPOINT
from tests.e2e.story import BASE, EDITED, GROUPS, HEADED, TUNING, VERSIONS, marked, shown, told, untouched
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path


class TestOtherCommands:
    def test_a_commit_is_shown_by_its_groups(self, story: Repo) -> None:
        commands = [
            ("show", "tuned"),
            ("show", "--ext-diff", "tuned"),
            ("log", "-p", "-1", "tuned"),
            ("log", "-p", "-U0", "--no-textconv", "-1", "tuned"),
            ("whatchanged", "-p", "-1", "tuned"),
            ("diff-tree", "-p", "tuned"),
            ("diff-tree", "-p", "--textconv", "tuned"),
            ("diff-tree", "-p", "--ext-diff", "tuned"),
        ]
        with untouched(story):
            for command in commands:
                done = story.git(*command, "--", CHECKPOINT)
                assert told(done.stdout) >= TUNING, command
                assert "embed_weight" not in marked(done.stdout), command
                assert done.stderr == "", command

    def test_series_of_commits_are_compared(self, story: Repo) -> None:
        text = shown(story, "range-diff", "--no-color", "base..tuned", "base..tuned~0")
        assert text.startswith("1:")
        assert "=" in text

    def test_log_in_short(self, story: Repo) -> None:
        assert shown(story, "log", "--stat", "-1", "tuned").count(CHECKPOINT) == 1
        assert CHECKPOINT in shown(story, "log", "--raw", "-1")
        assert shown(story, "log", "--format=%s", "-Sattn_weight", "--", CHECKPOINT).split() == ["base"]
        text = shown(story, "log", "-p", "--follow", "--format=commit %s", "--", CHECKPOINT)
        assert [line for line in text.splitlines() if line.startswith("commit ")] == [
            "commit headed",
            "commit tuned",
            "commit base",
        ]

    def test_a_stash(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        story.git("stash", "-q")
        assert story.read(CHECKPOINT) == VERSIONS["headed"]
        assert "embed_weight" in told(shown(story, "stash", "show", "-p"))
        assert CHECKPOINT in shown(story, "stash", "show")
        for options in (["-p", "--ext-diff"], ["--ext-diff"]):
            table = shown(story, "-c", "stash.showPatch=true", "stash", "show", *options)
            assert told(table) == {"embed_weight"}
            assert "1 of 8 groups modified" in table
        assert marked(shown(story, "stash", "show", "-p", "--textconv")) == {"embed_weight"}
        assert "1 of 8 groups modified" in shown(story, "diff", "stash^", "stash")
        story.git("stash", "pop", "-q")
        assert story.read(CHECKPOINT) == EDITED

    def test_textconv_of_a_blob(self, story: Repo) -> None:
        assert told(shown(story, "cat-file", "--textconv", f"tuned:{CHECKPOINT}")) == set(GROUPS)
        assert "attn_weight" in shown(story, "grep", "--textconv", "attn_weight", "--", CHECKPOINT)

    def test_commit_verbosely(self, story: Repo, tmp_path: Path) -> None:
        story.write(CHECKPOINT, EDITED)
        keep = f"sh -c 'cp \"$1\" {tmp_path}/message' --"
        story.git("commit", "-qav", "-m", "edit", "-e", env={"GIT_EDITOR": keep})
        assert "embed_weight" in (tmp_path / "message").read_text()

    def test_interactive_add_sees_one_change(self, story: Repo) -> None:
        story.write(CHECKPOINT, EDITED)
        done = story.git("add", "-p", stdin="n\n", check=False)
        assert story.status() == f" M {CHECKPOINT}\n", done.stderr
        story.git("add", "-p", stdin="y\n")
        assert (story.status(), story.read(CHECKPOINT)) == (f"M  {CHECKPOINT}\n", EDITED)
        assert told(shown(story, "diff", "--cached")) == {"embed_weight"}


class TestPatches:
    """A patch by mail is one of the metadata: it can be applied wherever the objects can be had."""

    def test_names_what_it_needs(self, story: Repo) -> None:
        patch = shown(story, "format-patch", "-1", "--stdout", "tuned")
        assert marked(patch) == TUNING
        new = [line for line in patch.splitlines() if line.startswith('+{"name":')]
        assert all('"oid":"' in line for line in new)
        assert f"From {story.rev('tuned')}" in patch

    def test_is_applied_where_the_objects_are(self, story: Repo) -> None:
        patch = story.git("format-patch", "-1", "--stdout", "headed").stdout
        story.git("checkout", "-q", "-b", "other", "tuned")
        story.git("am", "-q", stdin=patch)
        assert (story.read(CHECKPOINT), story.status()) == (VERSIONS["headed"], "")
        assert story.rev(f"HEAD:{CHECKPOINT}") == story.rev(f"headed:{CHECKPOINT}")

    def test_can_say_in_its_last_lines_what_changed(self, story: Repo) -> None:
        summary = story.theta("diff", "--stat", "tuned", "headed").stdout
        patch = story.git("format-patch", "-1", "--stdout", f"--signature={summary}", "headed").stdout
        assert "1 of 8 groups modified" in patch
        story.git("checkout", "-q", "-b", "other", "tuned")
        story.git("am", "-q", stdin=patch)
        assert (story.read(CHECKPOINT), story.status()) == (VERSIONS["headed"], "")

    def test_for_people_says_that_it_cannot_be_applied_and_is_refused(self, story: Repo) -> None:
        patch = shown(story, "format-patch", "-1", "--stdout", "--ext-diff", "headed")
        assert f"From {story.rev('headed')}" in patch
        assert "1 of 8 groups modified" in patch
        assert "\n(this cannot be applied: git format-patch without --ext-diff makes a patch that can)\n" in patch
        story.git("checkout", "-q", "-b", "other", "tuned")
        for options in ([], ["-3"]):
            done = story.git("am", *options, stdin=patch, check=False)
            assert done.returncode != 0
            story.git("am", "--abort")
            assert (story.read(CHECKPOINT), story.status()) == (VERSIONS["tuned"], "")

    def test_is_merged_with_other_changes(self, story: Repo) -> None:
        patch = story.git("format-patch", "-1", "--stdout", "headed", "--", CHECKPOINT).stdout
        story.git("checkout", "-q", "-b", "other", "base")
        story.git("am", "-q", "-3", stdin=patch)
        wanted = safetensors_bytes({**BASE, "head_weight": HEADED["head_weight"]})
        assert (story.read(CHECKPOINT), story.status()) == (wanted, "")

    def test_fetches_what_is_missing(self, published: Repo, clone: Repo) -> None:
        clone.theta("install", "--local")
        clone.theta("pull")
        patch = published.git("format-patch", "-1", "--stdout", "side").stdout
        clone.git("am", "-q", stdin=patch)
        assert clone.read(CHECKPOINT) == safetensors_bytes(model(0, head_weight=model(1)["head_weight"]))

    def test_without_the_objects_it_names_them_and_can_be_given_up(self, published: Repo, clone: Repo) -> None:
        clone.theta("install", "--local")
        clone.theta("pull")
        published.write(CHECKPOINT, VERSIONS["tuned"])
        published.commit("not pushed")
        patch = published.git("format-patch", "-1", "--stdout").stdout
        done = clone.git("am", stdin=patch, check=False)
        assert done.returncode != 0
        assert "attn_bias" in done.stderr
        assert "it is not in the local store" in done.stderr
        clone.git("am", "--abort")
        clone.git("checkout", "--", CHECKPOINT)
        assert (clone.read(CHECKPOINT), clone.status()) == (VERSIONS["base"], "")


TOOL = f"""\
#!{sys.executable}
import sys
from pathlib import Path
import safetensors.numpy

out = Path(__file__).parent
for number, file in enumerate(sys.argv[1:]):
    files = [found for found in Path(file).rglob("*.safetensors")] if Path(file).is_dir() else [Path(file)]
    for found in files:
        safetensors.numpy.load_file(found)
        (out / f"side{{number}}").write_bytes(found.read_bytes())
"""


class TestRealFiles:
    """Whoever is not our own reader gets checkpoints."""

    @pytest.fixture
    def tool(self, tmp_path: Path) -> str:
        """A program that wants two checkpoints, loads them, and keeps copies beside the repository."""
        script = tmp_path / "tool.py"
        script.write_text(TOOL)
        script.chmod(0o755)
        return str(script)

    def sides(self, tmp_path: Path) -> tuple[bytes, bytes]:
        return (tmp_path / "side0").read_bytes(), (tmp_path / "side1").read_bytes()

    @pytest.mark.parametrize("options", [(), ("--dir-diff",)], ids=" ".join)
    def test_difftool(self, story: Repo, tmp_path: Path, tool: str, options: tuple[str, ...]) -> None:
        with untouched(story):
            story.git("difftool", "-y", *options, "-x", tool, "base", "tuned", "--", CHECKPOINT)
        assert self.sides(tmp_path) == (VERSIONS["base"], VERSIONS["tuned"])

    def test_difftool_of_the_worktree(self, story: Repo, tmp_path: Path, tool: str) -> None:
        story.git("config", "difftool.mine.cmd", f'{tool} "$LOCAL" "$REMOTE"')
        story.write(CHECKPOINT, EDITED)
        with untouched(story):
            story.git("difftool", "-y", "-t", "mine")
        assert self.sides(tmp_path) == (VERSIONS["headed"], EDITED)

    def test_another_program_for_one_command(self, story: Repo, tmp_path: Path, tool: str) -> None:
        script = tmp_path / "external"
        script.write_text(f'#!/bin/sh\n{tool} "$2" "$5"\n')
        script.chmod(0o755)
        with untouched(story):
            story.git("diff", "base", "tuned", "--", CHECKPOINT, env={"GIT_EXTERNAL_DIFF": str(script)})
        assert self.sides(tmp_path) == (VERSIONS["base"], VERSIONS["tuned"])

    @pytest.mark.parametrize("how", ["setting", "option", "attribute"])
    def test_another_driver(self, story: Repo, tmp_path: Path, tool: str, how: str) -> None:
        script = tmp_path / "external"
        script.write_text(f'#!/bin/sh\n{tool} "$2" "$5"\n')
        script.chmod(0o755)
        options: tuple[str, ...] = ()
        if how == "setting":
            story.git("config", "diff.theta.command", str(script))
        elif how == "option":
            options = ("-c", f"diff.theta.command={script}")
        else:
            story.git("config", "diff.mine.command", str(script))
            (story.path / ".git" / "info").mkdir(exist_ok=True)
            (story.path / ".git" / "info" / "attributes").write_text("*.safetensors diff=mine\n")
        with untouched(story):
            story.git(*options, "diff", "base", "tuned", "--", CHECKPOINT)
        assert self.sides(tmp_path) == (VERSIONS["base"], VERSIONS["tuned"])

    @pytest.mark.parametrize("how", ["setting", "attribute"])
    def test_another_textconv(self, story: Repo, how: str) -> None:
        convert = f"{sys.executable} -c 'import safetensors.numpy as s, sys; print(len(s.load_file(sys.argv[1])))'"
        name = "theta" if how == "setting" else "mine"
        story.git("config", f"diff.{name}.textconv", convert)
        if how == "attribute":
            (story.path / ".git" / "info").mkdir(exist_ok=True)
            (story.path / ".git" / "info" / "attributes").write_text("*.safetensors diff=mine\n")
        assert story.git("cat-file", "--textconv", f"tuned:{CHECKPOINT}").stdout == f"{len(GROUPS)}\n"
        assert story.git("log", "-p", "-1", "tuned", "--", CHECKPOINT, check=False).returncode == 0

    def test_filters_of_a_blob(self, story: Repo) -> None:
        assert story.git_bytes("cat-file", "--filters", f"tuned:{CHECKPOINT}") == VERSIONS["tuned"]

    def test_an_archive(self, story: Repo, tmp_path: Path) -> None:
        (tmp_path / "archive.tar").write_bytes(story.git_bytes("archive", "tuned"))
        shutil.unpack_archive(tmp_path / "archive.tar", tmp_path / "unpacked")
        assert (tmp_path / "unpacked" / CHECKPOINT).read_bytes() == VERSIONS["tuned"]


def load(repo: Repo) -> bytes:
    data = repo.read(CHECKPOINT)
    safetensors.numpy.load(data)
    return data


@pytest.fixture
def confusing(story: Repo) -> Repo:
    """A repository in which branches, folders, files, aliases and settings are called like git's own commands."""
    for name, version in {"diff": "base", "show": "tuned", "log": "base", "blame": "headed"}.items():
        story.git("branch", name, version)
    for name in ("diff", "show"):
        (story.path / "folder" / name).mkdir(parents=True)
    story.git("config", "alias.df", "diff")
    story.git("config", "alias.differ", "!git checkout -q tuned -- . && echo diff")
    story.git("config", "alias.see", "checkout -q")
    return story


class TestWhatIsCalledDiff:
    """The real bytes are written by whatever writes files, whatever it is called."""

    def test_a_checkout(self, confusing: Repo) -> None:
        commands = {
            ("-c", "core.pager=diff", "-c", "diff.external=diff", "--no-pager", "checkout", "-q", "diff"): "base",
            ("restore", "--source=show", "--staged", "--worktree", "--", CHECKPOINT): "tuned",
            ("checkout", "-q", "log", "--", CHECKPOINT): "base",
            ("reset", "-q", "--hard", "blame"): "headed",
            ("switch", "-q", "--detach", "show"): "tuned",
            ("--git-dir", ".git", "--work-tree", ".", "checkout", "-q", "blame"): "headed",
            ("see", "log"): "base",
        }
        for command, version in commands.items():
            confusing.git(*command)
            assert load(confusing) == VERSIONS[version], command
        confusing.git("checkout", "-q", "tuned", "--", f"../../{CHECKPOINT}", cwd=confusing.path / "folder" / "diff")
        assert load(confusing) == VERSIONS["tuned"]

    def test_an_alias_that_calls_git(self, confusing: Repo) -> None:
        confusing.git("differ")
        assert load(confusing) == VERSIONS["tuned"]

    def test_an_alias_for_diff(self, confusing: Repo) -> None:
        confusing.write(CHECKPOINT, EDITED)
        assert told(shown(confusing, "df")) == {"embed_weight"}

    def test_a_script(self, confusing: Repo, tmp_path: Path) -> None:
        for name in ("diff", "git-diff", "git show"):
            script = tmp_path / name
            script.write_text(f"#!/bin/sh\ngit cat-file --filters base:{CHECKPOINT} > {tmp_path}/written\n")
            script.chmod(0o755)
            Repo.run(str(script), "diff", cwd=confusing.path)
            assert (tmp_path / "written").read_bytes() == VERSIONS["base"]
            (tmp_path / "written").unlink()

    def test_an_external_command(self, confusing: Repo, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        script = tmp_path / "bin" / "git-diffing"
        script.write_text(f"#!/bin/sh\ngit cat-file --filters base:{CHECKPOINT}\n")
        script.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
            assert confusing.git_bytes("diffing") == VERSIONS["base"]

    def test_a_program_that_git_diff_calls(self, confusing: Repo, tmp_path: Path) -> None:
        """Git diff is among the ancestors of this git, which is no git diff."""
        script = tmp_path / "external"
        script.write_text(f"#!/bin/sh\ngit cat-file --filters base:{CHECKPOINT} > {tmp_path}/written\n")
        script.chmod(0o755)
        confusing.git("config", "diff.mine.command", str(script))
        confusing.write(".gitattributes", "*.safetensors filter=theta diff=theta merge=theta -text\n*.txt diff=mine\n")
        confusing.git("diff", "base", "tuned", "--", "notes.txt")
        assert (tmp_path / "written").read_bytes() == VERSIONS["base"]

    @pytest.mark.parametrize("hook", ["pre-commit", "post-checkout"])
    def test_a_hook(self, confusing: Repo, tmp_path: Path, hook: str) -> None:
        script = confusing.path / "folder" / "diff" / hook
        script.write_text(
            f"#!/bin/sh\ngit cat-file --filters base:{CHECKPOINT} > {tmp_path}/written\ngit diff --quiet\nexit 0\n"
        )
        script.chmod(0o755)
        confusing.git("config", "core.hooksPath", "folder/diff")
        if hook == "post-checkout":
            confusing.git("checkout", "-q", "diff")
            assert load(confusing) == VERSIONS["base"]
        else:
            confusing.git("commit", "-q", "--allow-empty", "-m", "diff")
        assert (tmp_path / "written").read_bytes() == VERSIONS["base"]

    def test_a_worktree(self, confusing: Repo, tmp_path: Path) -> None:
        confusing.git("worktree", "add", "-q", str(tmp_path / "diff"), "diff")
        assert load(Repo(tmp_path / "diff")) == VERSIONS["base"]

    def test_a_clone(self, confusing: Repo, tmp_path: Path) -> None:
        Repo.run("git-theta", "install", "--global", cwd=tmp_path)
        clone = Repo.clone(confusing.path, tmp_path / "diff", "--branch", "diff")
        assert load(clone) == VERSIONS["base"]

    def test_a_stash(self, confusing: Repo) -> None:
        confusing.write(CHECKPOINT, EDITED)
        confusing.git("stash", "push", "-q", "-m", "diff")
        assert load(confusing) == VERSIONS["headed"]
        confusing.git("stash", "pop", "-q")
        assert load(confusing) == EDITED

    def test_a_rebase_that_runs_diff(self, confusing: Repo) -> None:
        confusing.git("rebase", "-q", "--exec", "git diff HEAD~1 HEAD >/dev/null", "base", "headed")
        assert load(confusing) == VERSIONS["headed"]


class TestHunks:
    """What git asks hunk by hunk are questions about groups: the lines of metadata files are theirs."""

    ONE = safetensors_bytes({**HEADED, "head_weight": BASE["head_weight"]})
    BOTH = safetensors_bytes({**HEADED, "attn_weight": BASE["attn_weight"], "head_weight": BASE["head_weight"]})
    FIRST, SECOND = "s\ny\nn\n", "s\nn\ny\n"
    """Split the hunk, and say yes to head_weight, which comes first in the file, or to attn_weight."""

    def test_one_of_two_groups_is_added(self, story: Repo) -> None:
        story.write(CHECKPOINT, self.BOTH)
        story.git("add", "-p", stdin=self.FIRST)
        assert told(shown(story, "diff", "--cached")) == {"head_weight"}
        assert told(shown(story, "diff")) == {"attn_weight"}
        assert (story.path / CHECKPOINT).read_bytes() == self.BOTH
        story.git("commit", "-m", "one of two")
        story.git("checkout", "--", CHECKPOINT)
        assert (story.path / CHECKPOINT).read_bytes() == self.ONE

    @pytest.mark.parametrize("verb", [["checkout", "-p"], ["restore", "-p"]])
    def test_one_of_two_groups_is_put_back(self, story: Repo, verb: list[str]) -> None:
        story.write(CHECKPOINT, self.BOTH)
        story.git(*verb, stdin=self.SECOND)
        assert (story.path / CHECKPOINT).read_bytes() == self.ONE
        assert told(shown(story, "diff")) == {"head_weight"}

    def test_one_of_two_groups_is_stashed(self, story: Repo) -> None:
        story.write(CHECKPOINT, self.BOTH)
        story.git("stash", "-p", stdin=self.SECOND)
        assert (story.path / CHECKPOINT).read_bytes() == self.ONE
        story.git("checkout", "--", CHECKPOINT)
        story.git("stash", "pop")
        assert told(shown(story, "diff")) == {"attn_weight"}
