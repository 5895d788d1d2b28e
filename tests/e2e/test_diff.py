"""Diff as users of git meet it: every command that shows a change shows groups, and none touches a file.

After each command the files of the worktree have the bytes that they had, and index and HEAD are the same.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import safetensors.numpy

from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUPS = tuple(model(0))
BASE = model(0)
TUNED = model(0, attn_weight=model(1)["attn_weight"], attn_bias=model(1)["attn_bias"])
HEADED = {**TUNED, "head_weight": model(2)["head_weight"]}
VERSIONS = {"base": safetensors_bytes(BASE), "tuned": safetensors_bytes(TUNED), "headed": safetensors_bytes(HEADED)}
EDITED = safetensors_bytes({**HEADED, "embed_weight": model(3)["embed_weight"]})


@pytest.fixture(scope="session")
def _story(_tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = Repo(tmp_path_factory.mktemp("states") / "story")
    shutil.copytree(_tracked, repo.path, symlinks=True)
    repo.write("notes.txt", "one\n")
    repo.git("tag", "base")
    for tag in ("tuned", "headed"):
        repo.write(CHECKPOINT, VERSIONS[tag])
        repo.write("notes.txt", f"{tag}\n")
        repo.commit(tag)
        repo.git("tag", tag)
    _settle(repo)
    return repo.path


def _settle(repo: Repo) -> None:
    """Let git trust the time stamps of the files, in copies of the repository as well."""
    repo.git("config", "core.checkStat", "minimal")
    repo.git("config", "core.trustctime", "false")
    for name in (CHECKPOINT, "notes.txt"):
        os.utime(repo.path / name, (1_700_000_000, 1_700_000_000))
    assert repo.status() == ""


@pytest.fixture
def story(tmp_path: Path, _story: Path) -> Repo:
    """Three commits, each with a tag: "base", "tuned" (attn_*) and "headed" (head_weight)."""
    shutil.copytree(_story, tmp_path / "story", symlinks=True)
    return Repo(tmp_path / "story")


def state(repo: Repo) -> tuple[str, str, dict[str, bytes]]:
    """All that git status depends on. It would start the filter for each file that differs from the index."""
    paths = [path for path in sorted(repo.path.rglob("*")) if ".git" not in path.relative_to(repo.path).parts]
    files = {str(path): path.read_bytes() for path in paths if path.is_file()}
    return repo.git("ls-files", "--stage").stdout, repo.rev("HEAD"), files


@contextmanager
def untouched(repo: Repo) -> Iterator[None]:
    """Make sure that worktree, index and HEAD stay as they are."""
    before = state(repo)
    yield
    assert state(repo) == before


def shown(repo: Repo, *arguments: str, cwd: Path | None = None, status: int = 0) -> str:
    """What a git command prints: text, and nothing that a terminal could take amiss."""
    with untouched(repo):
        done = repo.git(*arguments, check=False, cwd=cwd)
    assert (done.returncode, done.stderr) == (status, "")
    assert all(char.isprintable() or char in "\n\t" for char in done.stdout), done.stdout
    return done.stdout


def told(text: str) -> set[str]:
    """The groups that a text names."""
    return {name for name in GROUPS if name in text}


def marked(text: str) -> set[str]:
    """The groups that a patch adds or takes away."""
    return told("".join(line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")))


TUNING = {"attn_weight", "attn_bias"}


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
