"""Which commits changed which groups, told from metadata files that real git has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.checkpoints import formats
from git_theta.diffs.changes import Kind
from git_theta.flows import log as flow
from git_theta.flows.diff import Differ, How
from git_theta.git import history
from git_theta.git.repository import Repository
from git_theta.metadata_file import serialize
from tests.diffs.samples import checkpoint, entry, model, signed
from tests.helpers import Repo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from git_theta.diffs.changes import CheckpointDiff
    from git_theta.metadata import Metadata

PATH = "m.safetensors"
WIDE = {f"filler.{number}": "same" for number in range(12)}
"""Groups that never change, so that git sees a renamed file for what it is."""


def commit(repo: Repo, message: str, metadata: Metadata | bytes | None, path: str = PATH) -> str:
    if metadata is None:
        (repo.path / path).unlink()
    else:
        repo.write(path, metadata if isinstance(metadata, bytes) else serialize(metadata))
    return repo.commit(message)


def logged(repo: Repo, *patterns: str, paths: Sequence[str] = (), words: Sequence[str] = ()) -> list[flow.Logged]:
    repository = Repository.discover(repo.path)
    commits = history.commits(repository, history.revisions(repository, words), paths)
    followed = flow.Followed(patterns)
    differ = Differ(formats(), None, How.AUTO, pytest.fail)
    return list(flow.log(repository, commits, followed, differ, all_files=bool(paths)))


def told(entries: list[flow.Logged]) -> list[tuple[str, dict[str, str]]]:
    """Subject of each commit, and what happened to groups by name."""
    return [(found.commit.subject, happened(*found.diffs)) for found in entries]


def happened(*diffs: CheckpointDiff) -> dict[str, str]:
    return {change.name: str(change.kind) for diff in diffs for change in diff.changes}


@pytest.fixture
def grown(repo: Repo) -> Repo:
    """A model whose groups changed one after the other; then the file, and then a group, got another name."""
    commit(repo, "base", model(a="1", b="1", **WIDE))
    commit(repo, "tune a", model(a="2", b="1", **WIDE))
    repo.write("other.txt", "nothing")
    repo.commit("elsewhere")
    repo.git("mv", PATH, "n.safetensors")
    repo.commit("rename file")
    commit(repo, "rename a", model(z="2", b="1", **WIDE), "n.safetensors")
    commit(repo, "tune z", model(z="3", b="1", **WIDE), "n.safetensors")
    commit(repo, "tune b", model(z="3", b="2", **WIDE), "n.safetensors")
    return repo


def test_each_commit_tells_what_it_changed(grown: Repo) -> None:
    found = told(logged(grown))
    assert found[:4] == [
        ("tune b", {"b": "modified"}),
        ("tune z", {"z": "modified"}),
        ("rename a", {"z": "renamed"}),
        ("rename file", {}),
    ]
    assert found[4] == ("tune a", {"a": "modified"})
    assert (found[5][0], set(found[5][1].values())) == ("base", {"added"})
    assert len(found) == 6


def test_a_group_is_followed_under_its_names_and_its_files_names(grown: Repo) -> None:
    for paths in ((), ("n.safetensors",)):
        subjects = [subject for subject, _ in told(logged(grown, "z", paths=paths))]
        assert subjects == ["tune z", "rename a", "tune a", "base"]
    assert [subject for subject, _ in told(logged(grown, "b"))] == ["tune b", "base"]


def test_a_pattern_means_several_groups(grown: Repo) -> None:
    assert told(logged(grown, "[bz]"))[:2] == [("tune b", {"b": "modified"}), ("tune z", {"z": "modified"})]
    assert told(logged(grown, "nothing")) == []


def test_a_name_that_looks_like_a_pattern_is_itself(repo: Repo) -> None:
    commit(repo, "base", checkpoint(entry("a[0]", "1"), entry("a0", "1")))
    commit(repo, "tune", checkpoint(entry("a[0]", "2"), entry("a0", "1")))
    assert [subject for subject, _ in told(logged(repo, "a[0]"))] == ["tune", "base"]


def test_the_paths_of_a_renamed_file_are_told(grown: Repo) -> None:
    (rename,) = (found for found in logged(grown) if found.commit.subject == "rename file")
    assert [(diff.old_path, diff.new_path) for diff in rename.diffs] == [(PATH, "n.safetensors")]


def test_a_merge_tells_only_what_it_has_from_no_parent(repo: Repo) -> None:
    commit(repo, "base", model(a="1", b="1", c="1"))
    repo.git("checkout", "-qb", "side")
    commit(repo, "side", model(a="2", b="2", c="1"))
    repo.git("checkout", "-q", "main")
    commit(repo, "main", model(a="3", b="1", c="1"))
    repo.git("merge", "-q", "--no-commit", "-s", "ours", "side")
    commit(repo, "merged", model(a="4", b="2", c="1"))
    entries = logged(repo)
    assert told(entries)[0] == ("merged", {"a": "modified"})
    assert entries[0].diffs[0].changes[0].old == model(a="3").entries[0]
    assert [subject for subject, _ in told(logged(repo, "b"))] == ["side", "base"]


def test_a_merge_of_what_either_parent_has_is_not_told(repo: Repo) -> None:
    commit(repo, "base", model(a="1", b="1"))
    repo.git("checkout", "-qb", "side")
    commit(repo, "side", model(a="2", b="1"))
    repo.git("checkout", "-q", "main")
    commit(repo, "main", model(a="1", b="2"))
    repo.git("merge", "-q", "--no-commit", "-s", "ours", "side")
    commit(repo, "merged", model(a="2", b="2"))
    assert {subject for subject, _ in told(logged(repo))} == {"side", "main", "base"}


def test_a_file_that_comes_and_goes(repo: Repo) -> None:
    commit(repo, "base", model(a="1"))
    commit(repo, "gone", None)
    commit(repo, "back", model(a="1"))
    assert told(logged(repo)) == [("back", {"a": "added"}), ("gone", {"a": "removed"}), ("base", {"a": "added"})]


def test_a_file_that_became_executable_did_not_change(repo: Repo) -> None:
    commit(repo, "base", model(a="1"))
    (repo.path / PATH).chmod(0o755)
    repo.commit("mode")
    assert [subject for subject, _ in told(logged(repo))] == ["base"]


def test_a_file_that_became_tracked_and_was_untracked(repo: Repo) -> None:
    commit(repo, "raw", b"\x00raw bytes" * 50)
    commit(repo, "tracked", model(a="1"))
    commit(repo, "tuned", model(a="2"))
    commit(repo, "untracked", b"\x00other bytes" * 50)
    expected = [("untracked", {"a": "removed"}), ("tuned", {"a": "modified"}), ("tracked", {"a": "added"})]
    assert told(logged(repo)) == expected
    assert told(logged(repo, paths=(PATH,))) == expected
    (untracked,), (), (tracked,) = (found.problems for found in logged(repo))
    assert untracked == f"{PATH}: git-theta no longer keeps this file; what is in it now is not looked at"
    assert tracked == f"{PATH}: git-theta did not keep this file before; what was in it is not looked at"


def test_files_that_are_no_checkpoints_are_passed_over(repo: Repo) -> None:
    for number in range(3):
        repo.write("code.py", f"print({number})\n")
        repo.commit(f"code {number}")
    assert logged(repo) == []
    assert logged(repo, paths=("code.py",)) == []


def test_a_version_that_cannot_be_read_is_named_and_the_others_are_told(repo: Repo) -> None:
    commit(repo, "base", model(a="1"))
    commit(repo, "broken", serialize(model(a="2")).replace(b'"shape"', b'"sha"'))
    commit(repo, "mended", model(a="3"))
    commit(repo, "tuned", model(a="4"))
    entries = logged(repo)
    assert [found.commit.subject for found in entries] == ["tuned", "mended", "broken", "base"]
    assert [len(found.diffs) for found in entries] == [1, 0, 0, 1]
    assert entries[1].problems[0].startswith(f"{PATH}: line 5 of the metadata file is malformed")
    assert told(logged(repo, "a")) == [("tuned", {"a": "modified"}), ("base", {"a": "added"})]


def test_how_much_is_estimated_from_signatures(repo: Repo) -> None:
    values = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    moved = values + 0.1 * np.random.default_rng(1).standard_normal(values.shape).astype(np.float32)
    commit(repo, "base", checkpoint(signed("w", values)))
    commit(repo, "tuned", checkpoint(signed("w", moved)))
    (change,) = logged(repo)[0].diffs[0].changes
    assert change.kind is Kind.MODIFIED
    assert change.statistics is not None
    assert not change.statistics.is_exact
    assert change.statistics.relative == pytest.approx(0.1, rel=0.5)


def test_what_one_commit_does_to_several_files(repo: Repo) -> None:
    repo.write("a.safetensors", serialize(model(a="1")))
    commit(repo, "base", model(b="1"), "b.safetensors")
    repo.write("a.safetensors", serialize(model(a="2")))
    commit(repo, "both", model(b="2"), "b.safetensors")
    (both, _) = logged(repo)
    assert [diff.new_path for diff in both.diffs] == ["a.safetensors", "b.safetensors"]
    (only, _) = logged(repo, paths=("b.safetensors",))
    assert happened(*only.diffs) == {"b": "modified"}
