"""git theta ls-files: which checkpoints there are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

FILE = "model.safetensors"


def names(repo: Repo, *arguments: str, cwd: Path | None = None) -> list[str]:
    return repo.verb("ls-files", "--name-only", *arguments, cwd=cwd).stdout.splitlines()


def test_nothing_committed_nothing_listed(repo: Repo) -> None:
    done = repo.verb("ls-files")
    assert (done.stdout, done.stderr) == ("", "")


def test_checkpoint_is_there_or_its_metadata_file_or_neither(tracked: Repo) -> None:
    assert tracked.verb("ls-files").stdout == f"safetensors  * {FILE}\n"
    tracked.write(FILE, tracked.git_bytes("cat-file", "blob", f"HEAD:{FILE}"))
    assert tracked.verb("ls-files").stdout == f"safetensors  - {FILE}\n"
    (tracked.path / FILE).unlink()
    assert tracked.verb("ls-files").stdout == f"safetensors  - {FILE}\n"


def test_sizes_names_and_json(tracked: Repo) -> None:
    size = len(tracked.read(FILE))
    assert tracked.verb("ls-files", "--size").stdout == f"safetensors  * {FILE} ({size} bytes, 8 groups)\n"
    assert tracked.verb("ls-files", "-n").stdout == f"{FILE}\n"
    assert json.loads(tracked.verb("ls-files", "--json").stdout) == {
        "files": [{"path": FILE, "format": "safetensors", "size": size, "groups": 8, "checked_out": True}]
    }


def test_files_of_other_kinds_are_not_listed(tracked: Repo) -> None:
    metadata_file = tracked.git_bytes("cat-file", "blob", f"HEAD:{FILE}")
    tracked.write("copy.txt", metadata_file)
    tracked.write("empty.safetensors", b"")
    tracked.git("add", ".")
    raw = tracked.git("hash-object", "-w", "--stdin", "--no-filters", stdin=b"raw").stdout.strip()
    tracked.git("update-index", "--add", "--cacheinfo", f"100644,{raw},raw.safetensors")
    assert names(tracked) == [FILE]


def test_file_that_no_format_claims_is_listed_as_such(tracked: Repo) -> None:
    tracked.write("odd.safetensors", np.random.default_rng(0).bytes(1000))
    tracked.git("add", ".")
    assert (
        tracked.verb("ls-files", "-s").stdout.splitlines()[1] == "opaque       * odd.safetensors (1000 bytes, 1 groups)"
    )


def test_revision_shows_what_was_committed_there(tracked: Repo) -> None:
    tracked.git("mv", FILE, "renamed.safetensors")
    assert names(tracked) == ["renamed.safetensors"]
    assert names(tracked, "HEAD") == [FILE]
    tracked.commit("renamed")
    assert names(tracked, "HEAD") == ["renamed.safetensors"]
    assert names(tracked, "main~1") == [FILE]


def test_revision_that_tracks_while_the_worktree_does_not(tracked: Repo) -> None:
    """What is tracked in a commit is what that commit's own .gitattributes say."""
    tracked.git("checkout", "-q", "--orphan", "code")
    tracked.git("rm", "-rq", "--cached", ".")
    (tracked.path / ".gitattributes").unlink()
    (tracked.path / FILE).unlink()
    tracked.write("train.py", "")
    tracked.commit("code alone")
    assert names(tracked) == []
    assert names(tracked, "main") == [FILE]


def test_revision_in_a_bare_repository(tracked: Repo, tmp_path: Path) -> None:
    bare = Repo.clone(tracked.path, tmp_path / "bare.git", "--bare")
    assert bare.verb("ls-files", "main").stdout == f"safetensors  - {FILE}\n"


def test_unknown_revision_is_a_failure(tracked: Repo) -> None:
    done = tracked.verb("ls-files", "nosuch", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("git-theta: ")
    assert "nosuch" in done.stderr
    assert done.stderr.count("\n") == 1


def test_in_a_subdirectory_all_are_listed_with_paths_from_the_top(tracked: Repo) -> None:
    tracked.write("sub/small.safetensors", safetensors_bytes({"a": np.zeros(3, np.float32)}))
    tracked.git("add", ".")
    assert names(tracked, cwd=tracked.path / "sub") == [FILE, "sub/small.safetensors"]
    assert names(tracked, "HEAD", cwd=tracked.path / "sub") == [FILE]


@pytest.mark.parametrize("setting", [("color.ui", "always"), ("grep.patternType", "fixed")], ids="=".join)
def test_what_the_user_has_set_for_git_changes_nothing(tracked: Repo, setting: tuple[str, str]) -> None:
    tracked.git("mv", FILE, "modèle.safetensors")
    tracked.commit("renamed")
    tracked.git("config", "--global", *setting)
    assert names(tracked) == ["modèle.safetensors"]
    assert names(tracked, "HEAD") == ["modèle.safetensors"]
    assert names(tracked, "HEAD~1") == [FILE]


def test_conflicted_checkpoint_is_listed_once(in_merge_conflict: Repo) -> None:
    assert names(in_merge_conflict) == [FILE]


def test_control_characters_in_names_are_not_sent_to_the_terminal(tracked: Repo) -> None:
    tracked.git("mv", FILE, "a\x1b[31m\nb.safetensors")
    assert names(tracked) == [r"a\x1b[31m\nb.safetensors"]
    listed = json.loads(tracked.verb("ls-files", "--json").stdout)
    assert [file["path"] for file in listed["files"]] == ["a\x1b[31m\nb.safetensors"]


def test_metadata_file_that_cannot_be_read_is_named_and_the_others_are_listed(tracked: Repo) -> None:
    blob = tracked.git("hash-object", "-w", "--stdin", "--no-filters", stdin=b'{"git-theta":99,').stdout.strip()
    tracked.git("update-index", "--add", "--cacheinfo", f"100644,{blob},new\x1b.safetensors")
    tracked.git("commit", "-qm", "of a newer git-theta")
    for arguments in ([], ["HEAD"], ["--json"]):
        done = tracked.verb("ls-files", *arguments, check=False)
        assert done.returncode == 1
        assert FILE in done.stdout
        assert done.stderr.startswith("git-theta: new\\x1b.safetensors: ")
        assert done.stderr.count("\n") == 1
        assert "newer git-theta" in done.stderr


def test_model_of_the_tests_has_groups_of_every_kind(tracked: Repo) -> None:
    """The other tests lean on this: large groups in objects of their own, small ones together, one without values."""
    groups = json.loads(tracked.git("cat-file", "blob", f"HEAD:{FILE}").stdout)["groups"]
    objects = {group["name"]: group["update"].get("oid") for group in groups}
    assert set(objects) == set(model(0))
    assert objects["empty"] is None
    large = {objects[name] for name in ("embed_weight", "attn_weight", "head_weight")}
    assert len(large) == 3
    assert objects["attn_bias"] == objects["norm_bias"]
    assert objects["attn_bias"] not in large
