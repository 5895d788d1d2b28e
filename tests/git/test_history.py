"""Commits that changed files, in real repositories."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git import command, history
from git_theta.git.repository import Repository
from tests.helpers import Repo

if TYPE_CHECKING:
    from collections.abc import Sequence

LINES = "".join(f"{number}\n" for number in range(60))
FIRST = 1_700_000_000


def commit(repo: Repo, message: str, time: int, **files: str | None) -> str:
    """A commit of a second of its own; None removes a file. In names, "_" stands for "."."""
    for name, text in files.items():
        path = name.replace("_", ".").replace("..", "/")
        if text is None:
            (repo.path / path).unlink()
        else:
            repo.write(path, text)
    repo.git("add", "--all")
    stamp = f"{FIRST + time} +0000"
    repo.git("commit", "-qm", message, env={"GIT_COMMITTER_DATE": stamp, "GIT_AUTHOR_DATE": stamp})
    return repo.rev("HEAD")


def merge(repo: Repo, branch: str, time: int, *options: str) -> None:
    stamp = f"{FIRST + time} +0000"
    repo.git("merge", "-qm", "merged", *options, branch, env={"GIT_COMMITTER_DATE": stamp, "GIT_AUTHOR_DATE": stamp})


def changed(line: str) -> str:
    return LINES.replace(f"{line}\n", f"changed {line}\n")


@pytest.fixture(params=[60, 0], ids=["a minute apart", "in one second"])
def forked(repo: Repo, request: pytest.FixtureRequest) -> Repo:
    """ "main" renamed old.txt to new.txt and changed it; "side" changed old.txt; then they were merged."""
    step = int(request.param)
    commit(repo, "base", 0, old_txt=LINES, other_txt="other")
    repo.git("checkout", "-qb", "side")
    commit(repo, "on side", 3 * step, old_txt=changed("50"))
    repo.git("checkout", "-q", "main")
    repo.git("mv", "old.txt", "new.txt")
    commit(repo, "rename", step)
    commit(repo, "on main", 2 * step, new_txt=changed("10"), other_txt="changed")
    merge(repo, "side", 4 * step)
    commit(repo, "after", 5 * step, new_txt=changed("11"))
    return repo


def found(repo: Repo, *pathspecs: str, words: Sequence[str] = (), cwd: Path | None = None) -> list[history.Commit]:
    repository = Repository.discover(cwd or repo.path)
    return list(history.commits(repository, history.revisions(repository, words), pathspecs))


def subjects(repo: Repo, *pathspecs: str, words: Sequence[str] = ()) -> list[str]:
    return [commit.subject for commit in found(repo, *pathspecs, words=words)]


def test_a_file_is_followed_to_the_name_that_it_has_on_each_branch(forked: Repo) -> None:
    seen = subjects(forked, "new.txt")
    assert sorted(seen) == sorted(["after", "merged", "on main", "on side", "rename", "base"])
    # Whatever the clock says, none comes before what was made on it.
    for younger, older in (("after", "merged"), ("merged", "on side"), ("on main", "rename"), ("rename", "base")):
        assert seen.index(younger) < seen.index(older)
    assert seen[-1] == "base"


def test_the_sides_of_a_change_are_told(forked: Repo) -> None:
    commits = {commit.subject: commit for commit in found(forked, "new.txt")}
    (rename,) = commits["rename"].files
    blob = forked.rev("main~3:new.txt")
    assert rename == history.FileChange(history.Side("new.txt", blob), (history.Side("old.txt", blob),))
    (merged,) = commits["merged"].files
    assert merged.new == history.Side("new.txt", forked.rev("main~1:new.txt"))
    assert merged.olds == (
        history.Side("new.txt", forked.rev("main~2:new.txt")),
        history.Side("old.txt", forked.rev("side:old.txt")),
    )
    assert commits["merged"].parents == (forked.rev("main~2"), forked.rev("side"))
    (base,) = commits["base"].files
    assert [side.oid for side in base.olds] == [None]
    assert commits["base"].parents == ()
    assert (commits["base"].author, commits["base"].email) == ("Ada", "ada@example.org")
    assert commits["base"].oid == forked.rev("side~1")


def test_without_a_path_all_files_are_meant_and_each_commit_comes_once(forked: Repo) -> None:
    commits = found(forked)
    assert sorted(commit.subject for commit in commits) == sorted(
        ["after", "merged", "on main", "on side", "rename", "base"]
    )
    (both,) = (commit for commit in commits if commit.subject == "on main")
    assert {change.new.path for change in both.files} == {"new.txt", "other.txt"}


def test_several_paths_are_told_together(forked: Repo) -> None:
    commits = found(forked, "new.txt", "other.txt")
    (both,) = (commit for commit in commits if commit.subject == "on main")
    assert {change.new.path for change in both.files} == {"new.txt", "other.txt"}
    assert len(commits) == 6


def test_a_file_that_is_gone_is_known_up_to_its_renaming(forked: Repo) -> None:
    assert subjects(forked, "old.txt") == ["rename", "base"]


def test_a_pattern_means_what_git_means_by_it(forked: Repo) -> None:
    assert "base" in subjects(forked, "*.txt")
    assert subjects(forked, "*.nothing") == []
    assert "rename" not in subjects(forked, ":(glob)o*er.txt")


def test_only_the_commits_of_a_range_are_looked_at(forked: Repo) -> None:
    assert subjects(forked, "new.txt", words=["main~1..main"]) == ["after"]
    assert "base" not in subjects(forked, "new.txt", words=["main", "^main~2~2"])
    assert subjects(forked, "new.txt", words=["side"]) == []
    assert subjects(forked, "old.txt", words=["side"]) == ["on side", "base"]


def test_all_branches_and_tags_can_be_meant(forked: Repo) -> None:
    forked.git("checkout", "-q", "-b", "third", "side")
    commit(forked, "on third", 1000, old_txt=changed("33"))
    forked.git("tag", "-m", "an annotated tag", "v1")
    forked.git("checkout", "-q", "main")
    forked.git("branch", "-qD", "third")
    repository = Repository.discover(forked.path)
    wanted = history.revisions(repository, (), everything=True)
    seen = [found.subject for found in history.commits(repository, wanted, ())]
    assert len(seen) == 7
    assert "on third" in seen
    only = history.revisions(repository, ("^main",), everything=True)
    assert [found.subject for found in history.commits(repository, only, ())] == ["on third"]


def test_where_no_commit_is_meant_there_is_none(repo: Repo, forked: Repo) -> None:
    assert found(forked, words=["^main"]) == []
    empty = Repository.discover(Repo.init(repo.path.parent / "empty").path)
    assert list(history.commits(empty, history.revisions(empty, (), everything=True), ())) == []
    with pytest.raises(GitError, match=r"^your current branch 'main' does not have any commits yet$"):
        history.revisions(empty, ())


@pytest.mark.parametrize("word", ["nothing", "main..nothing", "--all", "-n1", ""])
def test_what_is_no_revision_is_named(forked: Repo, word: str) -> None:
    with pytest.raises(GitError, match="there is no revision"):
        found(forked, words=[word])


def test_a_merge_that_takes_one_side_is_not_a_change(repo: Repo) -> None:
    commit(repo, "base", 0, file_txt=LINES)
    repo.git("checkout", "-qb", "side")
    commit(repo, "on side", 1, file_txt=changed("5"))
    repo.git("checkout", "-q", "main")
    commit(repo, "on main", 2, other_txt="other")
    merge(repo, "side", 3, "--no-ff")
    assert subjects(repo, "file.txt") == ["on side", "base"]
    assert subjects(repo) == ["on main", "on side", "base"]


def test_a_folder_is_followed_file_by_file(repo: Repo) -> None:
    commit(repo, "base", 0, old__a_txt=LINES, old__b_txt=changed("1"), else_txt="e")
    commit(repo, "change", 1, old__a_txt=changed("7"))
    commit(repo, "elsewhere", 2, else_txt="f")
    repo.git("mv", "old", "new")
    commit(repo, "rename", 3)
    assert subjects(repo, "new") == ["rename", "change", "base"]
    assert subjects(repo, "new/") == ["rename", "change", "base"]
    assert subjects(repo, ".") == ["rename", "elsewhere", "change", "base"]
    inside = repo.path / "new"
    assert [commit.subject for commit in found(repo, "a.txt", cwd=inside)] == ["rename", "change", "base"]
    assert [commit.subject for commit in found(repo, "../else.txt", cwd=inside)] == ["elsewhere", "base"]
    assert [commit.subject for commit in found(repo, str(inside / "a.txt"))] == ["rename", "change", "base"]


def test_a_removed_file_has_no_blob(repo: Repo) -> None:
    commit(repo, "base", 0, file_txt=LINES)
    commit(repo, "gone", 1, file_txt=None)
    first, _ = found(repo, "file.txt")
    assert first.files[0].new == history.Side("file.txt", None)


def test_what_is_no_regular_file_has_no_blob(repo: Repo) -> None:
    commit(repo, "base", 0, file_txt=LINES)
    (repo.path / "file.txt").unlink()
    (repo.path / "file.txt").symlink_to("elsewhere")
    commit(repo, "link", 1)
    assert found(repo, "file.txt")[0].files[0].new.oid is None


def test_odd_names_and_messages_come_as_they_are(repo: Repo) -> None:
    name = os.fsdecode(b"a \n\t\xff:b.txt")
    (repo.path / name).write_text(LINES)
    commit(repo, ":100644 \x1b[31m", 0)
    (first,) = found(repo)
    assert (first.files[0].new.path, first.subject) == (name, ":100644 \x1b[31m")
    assert [commit.oid for commit in found(repo, name)] == [first.oid]


def test_the_users_settings_change_nothing(forked: Repo, global_config: Path) -> None:
    before = found(forked, "new.txt")
    with global_config.open("a") as file:
        file.write(
            "[diff]\n renames = false\n noprefix = true\n relative = true\n external = false\n"
            "[log]\n showRoot = false\n follow = true\n showSignature = true\n decorate = full\n"
            "[color]\n ui = always\n[core]\n quotePath = true\n abbrev = 5\n"
        )
    assert found(forked, "new.txt") == before


def test_a_bare_repository_has_a_history(forked: Repo, tmp_path: Path) -> None:
    bare = Repo.clone(forked.path, tmp_path / "bare", "--bare")
    assert found(bare, "new.txt") == found(forked, "new.txt")


def test_whoever_stops_early_leaves_no_process(forked: Repo) -> None:
    gc.collect()  # What other tests have left ends its own.
    repository = Repository.discover(forked.path)
    commits = history.commits(repository, history.revisions(repository, ()), ("new.txt",))
    assert next(commits).subject == "after"
    commits.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_pipe_whose_first_part_fails_is_an_error(forked: Repo) -> None:
    with (
        pytest.raises(GitError, match=r"rev-list failed: bad object|rev-list failed: .*1234"),
        command.piped(["rev-list", "1234" * 10], ["diff-tree", "--stdin"], cwd=forked.path) as stream,
    ):
        assert stream.read() == b""
