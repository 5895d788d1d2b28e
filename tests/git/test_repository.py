"""What a repository has, asked of real git in every place where people call it from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.errors import GitError
from git_theta.git.repository import Repository
from tests.helpers import Repo

if TYPE_CHECKING:
    from pathlib import Path

ODD_NAMES = [
    "two\nlines",
    'say "hi"',
    "modèle-模型-🤖",
    "caf\udce9",
    "-rf",
    "tab\there",
    " space ",
    "[a]*?.bin",
    ":(top)a",
    "sub folder/-x",
    "back\\slash",
]


def blob(repo: Repo, data: bytes) -> str:
    return repo.git("hash-object", "-w", "--stdin", stdin=data).stdout.strip()


class TestDiscover:
    def test_at_the_top(self, repo: Repo) -> None:
        found = Repository.discover(repo.path)
        assert (found.cwd, found.git_dir, found.common_dir) == (repo.path, repo.path / ".git", repo.path / ".git")
        assert found.worktree == repo.path
        assert not found.is_bare
        assert found.theta_dir == repo.path / ".git" / "theta"

    def test_in_a_subdirectory(self, repo: Repo) -> None:
        folder = repo.path / "deep" / "er"
        folder.mkdir(parents=True)
        found = Repository.discover(folder)
        assert (found.cwd, found.git_dir, found.worktree) == (folder, repo.path / ".git", repo.path)

    def test_outside(self, tmp_path: Path) -> None:
        with pytest.raises(GitError, match=r"^not a git repository \(or any of the parent directories\)"):
            Repository.discover(tmp_path)

    def test_bare(self, tmp_path: Path) -> None:
        bare = Repo.init(tmp_path / "bare.git", "--bare")
        found = Repository.discover(bare.path)
        assert found.is_bare
        assert (found.git_dir, found.theta_dir) == (bare.path, bare.path / "theta")
        with pytest.raises(GitError, match=r"^this operation must be run in a work tree$"):
            _ = found.worktree

    def test_inside_the_git_folder_there_is_no_worktree(self, repo: Repo) -> None:
        assert Repository.discover(repo.path / ".git").is_bare

    def test_inside_the_git_folder_attributes_are_those_of_the_index(self, repo: Repo) -> None:
        repo.write(".gitattributes", "*.pt filter=theta theta-format=torch\n")
        repo.commit("first")
        repo.write(".gitattributes", "")
        for folder in (repo.path / ".git", repo.path / ".git" / "refs"):
            found = Repository.discover(folder)
            assert found.tracked(["a.pt", "sub/b.pt", "c"]) == ["a.pt", "sub/b.pt"]
            assert found.attribute("a.pt", "theta-format") == "torch"

    def test_without_a_worktree_only_info_attributes_is_listed(self, repo: Repo) -> None:
        repo.write(".gitattributes", "")
        (repo.path / ".git" / "info").mkdir(exist_ok=True)
        (repo.path / ".git" / "info" / "attributes").write_text("")
        found = Repository.discover(repo.path / ".git")
        assert found.attribute_files() == [repo.path / ".git" / "info" / "attributes"]

    def test_linked_worktree_shares_the_store(self, repo: Repo, tmp_path: Path) -> None:
        repo.write("file", "content")
        repo.commit("first")
        repo.git("worktree", "add", "-q", str(tmp_path / "linked"))
        (tmp_path / "linked" / "sub").mkdir()
        found = Repository.discover(tmp_path / "linked" / "sub")
        assert found.worktree == tmp_path / "linked"
        assert found.git_dir == repo.path / ".git" / "worktrees" / "linked"
        assert found.theta_dir == repo.path / ".git" / "theta"

    def test_submodule_has_a_store_of_its_own(self, repo: Repo, tmp_path: Path) -> None:
        inner = Repo.init(tmp_path / "inner")
        inner.write("file", "content")
        inner.commit("first")
        repo.git("submodule", "--quiet", "add", str(inner.path), "parts/inner")
        found = Repository.discover(repo.path / "parts" / "inner")
        assert found.worktree == repo.path / "parts" / "inner"
        assert found.theta_dir == repo.path / ".git" / "modules" / "parts" / "inner" / "theta"

    @pytest.mark.parametrize("inside", [".", "sub", "sub/deep er"])
    def test_index_and_way_to_the_top(self, repo: Repo, inside: str) -> None:
        folder = repo.path / inside
        folder.mkdir(parents=True, exist_ok=True)
        found = Repository.discover(folder)
        assert (found.index, (folder / found.up).resolve()) == (repo.path / ".git" / "index", repo.path.resolve())

    def test_index_elsewhere(self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other"))
        assert Repository.discover(repo.path).index == tmp_path / "other"

    def test_paths_with_line_breaks_are_not_taken_apart(self, tmp_path: Path) -> None:
        """As lines they would be other paths, and answers that git did not give."""
        repo = Repo.init(tmp_path / "x\n" / "q\ntrue\ntrue\n" / "index\n")
        with pytest.raises(GitError, match=r"^the path of the repository has a line break in it"):
            Repository.discover(repo.path)

    def test_git_dir_elsewhere(self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (repo.path / ".git").rename(tmp_path / "elsewhere")
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        found = Repository.discover(repo.path)
        assert (found.git_dir, found.worktree) == (tmp_path / "elsewhere", repo.path)

    def test_git_dir_and_worktree_elsewhere(self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (repo.path / ".git").rename(tmp_path / "elsewhere")
        (repo.path / "sub").mkdir()
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("GIT_WORK_TREE", str(repo.path))
        found = Repository.discover(repo.path / "sub")
        assert (found.git_dir, found.worktree, found.is_bare) == (tmp_path / "elsewhere", repo.path, False)

    def test_worktree_elsewhere_is_where_git_is_asked(
        self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GIT_DIR", str(repo.path / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(repo.path))
        found = Repository.discover(tmp_path)
        assert (found.cwd, found.worktree, found.is_bare) == (repo.path, repo.path, False)

    @pytest.mark.parametrize("name", ["with space", "caf\udce9", "模型", "line\u2028separator", "carriage\rreturn"])
    def test_folder_with_an_odd_name(self, tmp_path: Path, name: str) -> None:
        repo = Repo.init(tmp_path / name)
        found = Repository.discover(repo.path)
        assert (found.git_dir, found.worktree) == (repo.path / ".git", repo.path)

    def test_folder_with_a_newline_in_its_name_is_an_error_of_ours_if_it_is_one(self, tmp_path: Path) -> None:
        repo = Repo.init(tmp_path / "two\nlines")
        try:
            found = Repository.discover(repo.path)
        except GitError:
            return
        assert (found.git_dir, found.worktree) == (repo.path / ".git", repo.path)


class TestBlobs:
    def test_blob_is_read_as_it_is(self, repo: Repo) -> None:
        data = b"caf\xe9\r\n\0" * 1000
        assert Repository.discover(repo.path).read_blob(blob(repo, data)) == data

    def test_empty_blob_is_empty(self, repo: Repo) -> None:
        assert Repository.discover(repo.path).read_blob(blob(repo, b"")) == b""

    def test_missing_blob_is_an_error_of_ours_and_the_next_one_is_read(self, repo: Repo) -> None:
        repository = Repository.discover(repo.path)
        with pytest.raises(GitError, match=f"blob {'0' * 39}1 cannot be read"):
            repository.read_blob("0" * 39 + "1")
        assert repository.read_blob(blob(repo, b"here")) == b"here"


class TestIndex:
    def test_nothing_staged(self, repo: Repo) -> None:
        repo.write("untracked", "")
        assert Repository.discover(repo.path).index_blobs() == {}
        assert Repository.discover(repo.path).index_blobs("untracked") == {}

    def test_staged_before_the_first_commit(self, repo: Repo) -> None:
        repo.write("a/b", "content")
        repo.git("add", ".")
        assert Repository.discover(repo.path).index_blobs() == {"a/b": [blob(repo, b"content")]}

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_path_with_an_odd_name(self, repo: Repo, name: str) -> None:
        for path in (name, "a", "tab", "sub folder/x", "[a]*?.bin.bin", "ab.bin"):
            repo.write(path, path)
        repo.git("add", ".")
        repository = Repository.discover(repo.path)
        expected = [blob(repo, name.encode(errors="surrogateescape"))]
        assert repository.index_blobs(name) == {name: expected}
        assert repository.index_blobs()[name] == expected
        assert len(repository.index_blobs()) == 6

    def test_conflict_has_every_stage_in_order(self, in_merge_conflict: Repo) -> None:
        found = Repository.discover(in_merge_conflict.path).index_blobs("model.safetensors")
        stages = [in_merge_conflict.rev(f":{stage}:model.safetensors") for stage in (1, 2, 3)]
        assert found == {"model.safetensors": stages}
        assert len(set(stages)) == 3

    def test_links_and_submodules_are_no_blobs_of_files(self, repo: Repo) -> None:
        repo.write("file", "content").chmod(0o755)
        (repo.path / "link").symlink_to("file")
        repo.git("add", ".")
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
        assert list(Repository.discover(repo.path).index_blobs()) == ["file"]

    def test_subdirectory_sees_the_whole_index_with_paths_from_the_top(self, repo: Repo) -> None:
        repo.write("sub/a", "a")
        repo.write("b", "b")
        repo.git("add", ".")
        repository = Repository.discover(repo.path / "sub")
        assert list(repository.index_blobs()) == ["b", "sub/a"]
        assert list(repository.index_blobs("b")) == ["b"]
        assert list(repository.index_blobs("sub/a")) == ["sub/a"]
        assert repository.index_blobs("a") == {}

    def test_bare_repository_has_none(self, tmp_path: Path) -> None:
        bare = Repo.init(tmp_path / "bare.git", "--bare")
        assert Repository.discover(bare.path).index_blobs() == {}
        assert Repository.discover(bare.path).index_blobs("a") == {}

    def test_git_called_with_literal_pathspecs_finds_a_path_all_the_same(
        self, repo: Repo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Filters inherit this from `git --literal-pathspecs add`, which some editors call."""
        repo.write("a[1]", "content")
        repo.git("add", ".")
        monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
        assert list(Repository.discover(repo.path).index_blobs("a[1]")) == ["a[1]"]


class TestTree:
    def test_no_commit_yet(self, repo: Repo) -> None:
        assert Repository.discover(repo.path).tree_blobs("HEAD") == {}
        assert Repository.discover(repo.path).tree_blobs("HEAD", "a") == {}

    def test_commit_branch_and_tag(self, repo: Repo) -> None:
        repo.write("sub/a", "a")
        commit = repo.commit("first")
        repo.git("tag", "-a", "-m", "v1", "v1")
        repo.write("b", "b")
        repo.commit("second")
        repository = Repository.discover(repo.path / "sub")
        for revision in (commit, "v1", "main~1"):
            assert repository.tree_blobs(revision) == {"sub/a": blob(repo, b"a")}
        assert list(repository.tree_blobs("HEAD")) == ["b", "sub/a"]
        assert repository.tree_blobs("HEAD", "b") == {"b": blob(repo, b"b")}
        assert repository.tree_blobs("HEAD", "a") == {}

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_path_with_an_odd_name(self, repo: Repo, name: str) -> None:
        for path in (name, "a", "[a]*?.bin.bin", "ab.bin"):
            repo.write(path, path)
        repo.commit("first")
        repository = Repository.discover(repo.path)
        expected = blob(repo, name.encode(errors="surrogateescape"))
        assert repository.tree_blobs("HEAD", name) == {name: expected}
        assert repository.tree_blobs("HEAD")[name] == expected

    def test_links_and_submodules_are_no_blobs_of_files(self, repo: Repo) -> None:
        (repo.path / "link").symlink_to("file")
        repo.write("file", "content")
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
        repo.git("add", "file", "link")
        repo.git("commit", "-qm", "first")
        assert list(Repository.discover(repo.path).tree_blobs("HEAD")) == ["file"]

    def test_bare_repository_has_its_commits(self, repo: Repo, tmp_path: Path) -> None:
        repo.write("a", "a")
        repo.commit("first")
        bare = Repo.clone(repo.path, tmp_path / "bare.git", "--bare")
        assert list(Repository.discover(bare.path).tree_blobs("main")) == ["a"]


class TestTracked:
    def test_nothing_asked(self, repo: Repo) -> None:
        assert Repository.discover(repo.path).tracked([]) == []

    def test_only_those_with_our_filter_in_their_order(self, repo: Repo) -> None:
        repo.write(".gitattributes", "*.bin filter=theta\n*.pt filter=lfs\nno.bin -filter\n*.x filter\n")
        asked = ["z.bin", "a.pt", "no.bin", "a.x", "a.bin", "plain"]
        assert Repository.discover(repo.path).tracked(asked) == ["z.bin", "a.bin"]

    def test_attributes_of_folders_and_of_the_repository_count(self, repo: Repo) -> None:
        repo.write("sub/.gitattributes", "*.bin filter=theta\n")
        repo.write(".git/info/attributes", "extra filter=theta\n")
        for folder in (repo.path, repo.path / "sub"):
            tracked = Repository.discover(folder).tracked(["a.bin", "sub/a.bin", "extra", "sub/deep/b.bin"])
            assert tracked == ["sub/a.bin", "extra", "sub/deep/b.bin"]

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_path_with_an_odd_name(self, repo: Repo, name: str) -> None:
        repo.write(".gitattributes", "* filter=theta\n")
        assert Repository.discover(repo.path).tracked([name, "a"]) == [name, "a"]

    def test_relative_git_dir_and_worktree(self, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative to where the user is, while some questions are asked from the top."""
        repo.write(".gitattributes", "*.bin filter=theta\n")
        (repo.path / "sub").mkdir()
        monkeypatch.chdir(repo.path / "sub")
        monkeypatch.setenv("GIT_DIR", "../.git")
        monkeypatch.setenv("GIT_WORK_TREE", "..")
        assert Repository.discover(repo.path / "sub").tracked(["a.bin", "b"]) == ["a.bin"]


class TestAttributes:
    def test_only_those_with_a_text_as_value(self, repo: Repo) -> None:
        repo.write(".gitattributes", "*.pt theta-format=torch theta-update -merge !diff eol= other=a:b\n")
        found = Repository.discover(repo.path)
        assert (found.attribute("a.pt", "theta-format"), found.attribute("a.pt", "other")) == ("torch", "a:b")
        for name in ("theta-update", "merge", "diff", "eol", "nowhere"):
            assert found.attribute("a.pt", name) is None
        assert found.attribute("a.bin", "theta-format") is None

    def test_the_path_is_from_the_top_and_the_nearest_file_counts(self, repo: Repo) -> None:
        repo.write(".gitattributes", "* theta-format=npz\n")
        repo.write("sub/.gitattributes", "*.pt theta-format=torch\n")
        for folder in (repo.path, repo.path / "sub"):
            found = Repository.discover(folder)
            assert found.attribute("sub/a.pt", "theta-format") == "torch"
            assert found.attribute("a.pt", "theta-format") == "npz"

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_path_with_an_odd_name(self, repo: Repo, name: str) -> None:
        repo.write(".gitattributes", "* theta-format=torch\n")
        assert Repository.discover(repo.path).attribute(name, "theta-format") == "torch"

    def test_what_is_no_attribute_is_an_error(self, repo: Repo) -> None:
        with pytest.raises(GitError, match="no name"):
            Repository.discover(repo.path).attribute("x", "no name")

    def test_what_changed_before_git_wrote_the_index_is_known(self, repo: Repo) -> None:
        found = Repository.discover(repo.path)
        assert found.attribute("x", "theta-format") is None
        repo.write(".gitattributes", "x theta-format=npz\n")
        repo.git("add", ".gitattributes")
        assert found.attribute("x", "theta-format") == "npz"


class TestBlobsAt:
    PLACES = (":0", ":1", ":2", ":3", "HEAD", "MERGE_HEAD")

    @pytest.mark.parametrize(
        "name", ["file", "sub/a name", "line\nbreak", "-dash", ":0:x", "HEAD~1", "@{0}", "caf\udce9"]
    )
    def test_index_and_commits_in_turn_each_blob_once(self, repo: Repo, name: str) -> None:
        found = Repository.discover(repo.path)
        assert found.blobs_at(name, self.PLACES) == []
        repo.write(name, "one")
        repo.git("add", "-A")
        (one,) = found.blobs_at(name, self.PLACES)
        assert found.read_blob(one) == b"one"
        repo.git("commit", "-qm", "one")
        assert found.blobs_at(name, self.PLACES) == [one]
        repo.write(name, "two")
        repo.git("add", "-A")
        assert [found.read_blob(oid) for oid in found.blobs_at(name, self.PLACES)] == [b"two", b"one"]
        assert found.blobs_at(name, ("HEAD", "MERGE_HEAD")) == [one]

    @pytest.mark.parametrize("name", ["file", "line\nbreak"])
    def test_all_stages_of_a_conflict(self, repo: Repo, name: str) -> None:
        for branch, content in (("main", "old"), ("one", "first"), ("two", "second")):
            repo.git("checkout", "-q", *(["-B", branch] if branch == "main" else ["-b", branch, "main"]))
            repo.write(name, content)
            repo.commit(branch)
        repo.git("merge", "one", check=False)
        found = Repository.discover(repo.path)
        contents = [found.read_blob(oid) for oid in found.blobs_at(name, self.PLACES)]
        assert contents == [b"old", b"second", b"first"]
        assert [found.read_blob(oid) for oid in found.blobs_at(name, ("HEAD", "MERGE_HEAD"))] == [b"second", b"first"]

    @pytest.mark.parametrize("name", ["../file", "sub/../../file", "{outside}/file"])
    def test_file_outside_of_the_worktree_is_in_no_place(self, repo: Repo, tmp_path: Path, name: str) -> None:
        repo.write("file", "content")
        repo.commit("first")
        found = Repository.discover(repo.path)
        assert found.blobs_at(name.format(outside=tmp_path), self.PLACES) == []
        assert len(found.blobs_at("file", self.PLACES)) == 1

    def test_git_that_has_ended_is_no_harm(self, repo: Repo) -> None:
        repo.write("file", "content")
        repo.commit("first")
        found = Repository.discover(repo.path)
        (oid,) = found.blobs_at("file", self.PLACES)
        found._asked.blobs._git._process.kill()
        for _ in range(2):
            assert found.blobs_at("file", self.PLACES) == [oid]

    def test_what_is_no_blob_is_left_out(self, repo: Repo) -> None:
        repo.write("folder/file", "content")
        repo.commit("first")
        assert Repository.discover(repo.path).blobs_at("folder", self.PLACES) == []

    def test_paths_are_from_the_top_in_a_subdirectory(self, repo: Repo) -> None:
        repo.write("sub/file", "content")
        repo.commit("first")
        found = Repository.discover(repo.path / "sub")
        assert [found.read_blob(oid) for oid in found.blobs_at("sub/file", self.PLACES)] == [b"content"]
        assert found.blobs_at("file", self.PLACES) == []


class TestAttributeFiles:
    def test_all_there_are_and_the_strongest_last(self, repo: Repo) -> None:
        for path in (".gitattributes", "sub/.gitattributes", "new/.gitattributes", ".git/info/attributes"):
            repo.write(path, "")
        repo.git("add", "sub")
        repo.write("gone/.gitattributes", "")
        repo.git("add", "gone")
        (repo.path / "gone" / ".gitattributes").unlink()
        found = Repository.discover(repo.path / "sub").attribute_files()
        assert [str(file.relative_to(repo.path)) for file in found] == [
            ".gitattributes",
            "new/.gitattributes",
            "sub/.gitattributes",
            ".git/info/attributes",
        ]

    def test_none(self, repo: Repo) -> None:
        assert Repository.discover(repo.path).attribute_files() == []

    def test_linked_worktree_has_the_info_of_all(self, repo: Repo, tmp_path: Path) -> None:
        repo.write(".gitattributes", "")
        repo.commit("first")
        repo.write(".git/info/attributes", "")
        repo.git("worktree", "add", "-q", str(tmp_path / "linked"))
        found = Repository.discover(tmp_path / "linked").attribute_files()
        assert found == [tmp_path / "linked" / ".gitattributes", repo.path / ".git" / "info" / "attributes"]


class TestSettings:
    def test_none(self, repo: Repo) -> None:
        assert Repository.discover(repo.path).settings() == {}

    def test_names_are_in_lower_case_and_values_as_they_are(self, repo: Repo) -> None:
        repo.git("config", "theta.someThing", " Two\nLines= ")
        repo.git("config", "theta.Sub.Key", "x")
        repo.git("config", "other.strict", "true")
        assert Repository.discover(repo.path).settings() == {"something": " Two\nLines= ", "sub.key": "x"}

    def test_key_without_a_value_is_true_and_an_empty_value_is_empty(self, repo: Repo) -> None:
        with (repo.path / ".git" / "config").open("a") as file:
            file.write("[theta]\n\tstrict\n\tempty =\n")
        assert Repository.discover(repo.path).settings() == {"strict": "true", "empty": ""}

    def test_last_value_and_nearest_scope_win(self, repo: Repo) -> None:
        repo.git("config", "--global", "theta.strict", "global")
        assert Repository.discover(repo.path).settings() == {"strict": "global"}
        repo.git("config", "--add", "theta.strict", "first")
        repo.git("config", "--add", "theta.strict", "last")
        assert Repository.discover(repo.path).settings() == {"strict": "last"}

    @pytest.mark.parametrize(
        ("keys", "pushed", "fetched"),
        [
            ({}, None, None),
            ({"lfs.url": "a"}, "a", "a"),
            ({"lfs.url": "a", "remote.origin.lfsurl": "b"}, "a", "a"),
            ({"remote.origin.lfsurl": "b", "remote.origin.lfspushurl": "c"}, "c", "b"),
            ({"lfs.url": "a", "remote.origin.lfspushurl": "c"}, "a", "a"),
            ({"lfs.url": "a", "lfs.pushurl": "c"}, "c", "a"),
            ({"lfs.pushurl": "c"}, "c", "c"),
            ({"remote.other.lfsurl": "b"}, None, None),
        ],
    )
    @pytest.mark.parametrize("place", [".git/config", ".lfsconfig"])
    def test_lfs_server(
        self, repo: Repo, keys: dict[str, str], pushed: str | None, fetched: str | None, place: str
    ) -> None:
        for key, value in keys.items():
            repo.git("config", "--file", place, key, value)
        repository = Repository.discover(repo.path)
        assert repository.lfs_url("origin", push=True) == pushed
        assert repository.lfs_url("origin", push=False) == fetched


class TestNewBlobs:
    @pytest.fixture
    def history(self, repo: Repo) -> Repo:
        """Three commits, tagged 1 to 3, that each write a file of that name."""
        for number in "123":
            repo.write(number, number)
            repo.commit(number)
            repo.git("tag", number)
        return repo

    @staticmethod
    def contents(repo: Repo, wanted: list[str], known: list[str], remote: str | None = None) -> list[str]:
        repository = Repository.discover(repo.path)
        return sorted(repository.read_blob(oid).decode() for oid in repository.new_blobs(wanted, known, remote))

    def test_nothing_known_all_blobs_of_the_history_come(self, history: Repo) -> None:
        assert self.contents(history, ["3"], []) == ["1", "2", "3"]

    @pytest.mark.parametrize("filtered", ["blob:none", "tree:0"])
    def test_blobs_that_a_partial_clone_lacks_come_too(self, history: Repo, tmp_path: Path, filtered: str) -> None:
        history.git("config", "uploadpack.allowFilter", "true")
        history.git("config", "uploadpack.allowAnySHA1InWant", "true")
        partial = tmp_path / "partial"
        history.git("clone", "-q", "--no-checkout", f"--filter={filtered}", history.path.as_uri(), str(partial))
        assert self.contents(Repo(partial), ["3"], ["1"]) == ["2", "3"]

    def test_known_commits_are_left_out(self, history: Repo) -> None:
        assert self.contents(history, ["3"], ["1"]) == ["2", "3"]
        assert self.contents(history, ["3"], ["2", "1"]) == ["3"]
        assert self.contents(history, ["2"], ["3"]) == []

    def test_known_commits_that_are_not_here_are_passed_over(self, history: Repo) -> None:
        assert self.contents(history, ["3"], ["1" * 40, "2"]) == ["3"]

    def test_tracking_branches_of_the_remote_are_known(self, history: Repo) -> None:
        history.git("update-ref", "refs/remotes/origin/main", "2")
        history.git("update-ref", "refs/remotes/origin-2/main", "3")
        assert self.contents(history, ["3"], [], "origin") == ["3"]
        assert self.contents(history, ["3"], [], "other") == ["1", "2", "3"]
        assert self.contents(history, ["3"], [], None) == ["1", "2", "3"]

    def test_several_commits_that_share_blobs_give_each_once(self, history: Repo) -> None:
        history.git("checkout", "-q", "-b", "side", "1")
        history.write("4", "4")
        history.write("copy of 1", "1")
        history.commit("4")
        assert self.contents(history, ["3", "side"], ["1"]) == ["2", "3", "4"]

    def test_blob_that_came_and_went_is_among_them(self, history: Repo) -> None:
        (history.path / "3").unlink()
        history.commit("without 3")
        assert self.contents(history, ["HEAD"], ["2"]) == ["3"]

    def test_annotated_tag_stands_for_its_commit(self, history: Repo) -> None:
        history.git("tag", "-a", "-m", "release", "release")
        assert self.contents(history, [history.rev("release")], [history.rev("2")]) == ["3"]

    def test_unknown_commit_is_an_error_of_ours(self, history: Repo) -> None:
        with pytest.raises(GitError, match="git rev-list failed"):
            list(Repository.discover(history.path).new_blobs(["1" * 40], [], None))

    def test_has_commit(self, history: Repo) -> None:
        repository = Repository.discover(history.path)
        assert repository.has_commit("2")
        assert repository.has_commit(history.rev("HEAD"))
        assert not repository.has_commit("1" * 40)
        assert not repository.has_commit(history.rev("HEAD:1"))


class TestRefresh:
    def test_index_learns_the_file_as_it_is_now(self, repo: Repo) -> None:
        repo.write("sub/a\nb", "old")
        repo.write("other", "old")
        repo.commit("first")
        repo.write("sub/a\nb", "new!")
        repo.write("other", "new!")
        repository = Repository.discover(repo.path / "sub")
        repository.refresh_index([])
        repository.refresh_index(["sub/a\nb"])
        assert repository.index_blobs("sub/a\nb") == {"sub/a\nb": [blob(repo, b"new!")]}
        assert repo.git("diff", "--name-only").stdout == "other\n"


class TestAncestors:
    @pytest.fixture
    def forked(self, repo: Repo) -> Repo:
        """ "late" and "later" start from the second commit, "early" from the first."""
        repo.git("commit", "-q", "--allow-empty", "-m", "first")
        repo.git("tag", "first")
        repo.git("commit", "-q", "--allow-empty", "-m", "second")
        repo.git("tag", "second")
        for name, start in (("early", "first"), ("late", "second"), ("later", "second")):
            repo.git("checkout", "-q", "-b", name, start)
            repo.git("commit", "-q", "--allow-empty", "-m", name)
        return repo

    def test_of_all_commits(self, forked: Repo) -> None:
        repository = Repository.discover(forked.path)
        commits = [forked.rev(name) for name in ("late", "later", "early")]
        assert repository.merge_bases(commits) == [forked.rev("first")]
        assert repository.merge_bases(commits[:2]) == [forked.rev("second")]

    def test_of_a_commit_and_a_merge_of_others(self, forked: Repo) -> None:
        repository = Repository.discover(forked.path)
        others = [forked.rev(name) for name in ("later", "early")]
        assert repository.bases_with_any(forked.rev("late"), others) == [forked.rev("second")]

    def test_of_strangers(self, forked: Repo) -> None:
        forked.git("checkout", "-q", "--orphan", "island")
        forked.git("commit", "-q", "--allow-empty", "-m", "island")
        repository = Repository.discover(forked.path)
        assert repository.merge_bases([forked.rev("island"), forked.rev("late")]) == []
        assert repository.bases_with_any(forked.rev("island"), [forked.rev("late"), forked.rev("early")]) == []

    def test_commit_that_is_none_is_an_error(self, forked: Repo) -> None:
        repository = Repository.discover(forked.path)
        with pytest.raises(GitError, match="git merge-base failed"):
            repository.bases_with_any(forked.rev("late"), ["1" * 40])


def test_name_of_a_blob_that_is_not_kept(repo: Repo) -> None:
    repository = Repository.discover(repo.path)
    name = repository.blob_name(b"content")
    assert repo.git("cat-file", "-e", name, check=False).returncode != 0
    assert repository.write_blob(b"content") == name
