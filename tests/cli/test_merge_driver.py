"""The merge driver, called as git calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from git_theta.flows.merging.plan import unmarked
from git_theta.metadata import ObjectRef, Skeleton, Update
from git_theta.metadata_file import parse, serialize
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from git_theta.metadata import Metadata

FILES = ("ancestor", "ours", "theirs")


def drive(repo: Repo, contents: dict[str, bytes], marker_size: int, **env: str) -> tuple[int, bytes, str]:
    """The exit status, what OURS is afterwards, and what was said."""
    for name in FILES:
        repo.write(f".merge_{name}", contents[name])
    files = [f".merge_{name}" for name in FILES]
    done = repo.verb("merge-driver", "--marker-size", str(marker_size), *files, CHECKPOINT, check=False, env=env)
    return done.returncode, repo.read(".merge_ours"), done.stderr


@pytest.fixture
def contents(in_merge_conflict: Repo) -> dict[str, bytes]:
    """The metadata files of a merge in which both sides changed attn_weight."""
    return {
        name: in_merge_conflict.git_bytes("cat-file", "blob", f":{stage}:{CHECKPOINT}")
        for stage, name in enumerate(FILES, 1)
    }


def marked(metadata: Metadata) -> list[str]:
    return [entry.name for entry in metadata.entries if entry.merge is not None and entry.merge.method == "undecided"]


@pytest.mark.parametrize("marker_size", [7, 8])
def test_conflict_leaves_ours(in_merge_conflict: Repo, contents: dict[str, bytes], marker_size: int) -> None:
    """By one, git makes conflict markers longer where it merges what was renamed on both sides."""
    code, ours, said = drive(in_merge_conflict, contents, marker_size)
    assert code == 1
    assert ours == contents["ours"]
    assert said.startswith(f"git-theta: {CHECKPOINT}: both sides changed attn_weight; the worktree keeps ours")
    code, ours, said = drive(in_merge_conflict, contents, marker_size, GIT_THETA_MERGE="theirs")
    assert (code, said) == (0, "")
    assert ours == contents["theirs"]


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ("passthrough", "passthrough takes 1 input, not 2"),
        ("linear weight=1,2,3", "the parameter weight has 3 values for 2 inputs: give one each"),
        ("conflict", "left to be settled by hand"),
    ],
)
def test_conflict_that_a_strategy_leaves_is_one_line(
    in_merge_conflict: Repo, contents: dict[str, bytes], strategy: str, why: str
) -> None:
    code, ours, said = drive(in_merge_conflict, contents, 7, GIT_THETA_MERGE=strategy)
    assert code == 1
    assert ours == contents["ours"]
    assert said.startswith(f"git-theta: {CHECKPOINT}: both sides changed attn_weight ({why}); ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("marker_size", "attribute"), [(9, ""), (11, ""), (22, "conflict-marker-size=20")])
def test_ancestors_are_merged_without_asking(
    in_merge_conflict: Repo, contents: dict[str, bytes], marker_size: int, attribute: str
) -> None:
    """Git makes conflict markers longer by two then, and goes on with what it gets as the ancestor of the merge."""
    in_merge_conflict.write(".git/info/attributes", f"{CHECKPOINT} {attribute}\n")
    code, ours, said = drive(in_merge_conflict, contents, marker_size, GIT_THETA_MERGE="average")
    assert (code, said) == (0, "")
    merged, old = parse(ours), parse(contents["ancestor"])
    assert marked(merged) == ["attn_weight"]
    assert merged.by_name()["attn_weight"].digest == old.by_name()["attn_weight"].digest


@pytest.mark.parametrize("broken", [b"", b"raw", b'{"git-theta":1,\n', safetensors_bytes(model(3))])
def test_ancestors_that_cannot_be_merged_are_none(
    in_merge_conflict: Repo, contents: dict[str, bytes], broken: bytes
) -> None:
    """Else git would take ours for what both sides of the merge come from, and theirs for a change of it."""
    code, ours, said = drive(in_merge_conflict, {**contents, "theirs": broken}, 9)
    assert code == 1
    assert ours == b""
    assert said.count("\n") == 1


def test_ancestors_that_are_there_and_cannot_be_merged_decide_nothing(
    in_merge_conflict: Repo, contents: dict[str, bytes]
) -> None:
    """With none, a group that one side of the merge removed would come back as added by the other one."""
    old, lost = parse(contents["ancestor"]), dict(contents)
    for digit, side in enumerate(("ours", "theirs"), 1):
        skeleton = Skeleton(old.skeleton.size, str(digit) * 64, None, Update("dense", ObjectRef("3" * 64, 100)))
        lost[side] = serialize(replace(parse(contents[side]), skeleton=skeleton))
    code, ours, said = drive(in_merge_conflict, lost, 9)
    assert code == 1
    assert "3" * 64 in said
    merged = parse(ours)
    assert marked(merged) == [entry.name for entry in old.entries]
    assert merged.skeleton.undecided == ("(structure)",)
    assert unmarked(merged) == old


def test_leftovers(in_merge_conflict: Repo, contents: dict[str, bytes]) -> None:
    """OURS is replaced at once, from a file beside it that is gone afterwards."""
    drive(in_merge_conflict, contents, 7, GIT_THETA_MERGE="average")
    names = {path.name for path in in_merge_conflict.path.iterdir() if path.name.startswith(".merge_")}
    assert names == {f".merge_{name}" for name in FILES}
