"""The files of the merge driver: what it writes into that of ours, and when it leaves it as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.metadata_file import parse
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    import subprocess

    from git_theta.metadata import Metadata

FILES = ("ancestor", "ours", "theirs")


def put(repo: Repo, *versions: bytes) -> None:
    """The files that git gives to the driver."""
    for name, data in zip(FILES, versions, strict=True):
        repo.write(name, data)


def cleaned(repo: Repo, **changes: object) -> bytes:
    """A metadata file whose objects are in the store."""
    oid = repo.git("hash-object", "-w", f"--path={CHECKPOINT}", "--stdin", stdin=saved(**changes)).stdout.strip()
    return repo.git_bytes("cat-file", "blob", oid)


def saved(**changes: object) -> bytes:
    return safetensors_bytes(model(0, **changes))  # type: ignore[arg-type]


def drive(repo: Repo, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return repo.verb("merge-driver", *options, *FILES, CHECKPOINT, check=check)


def ours(repo: Repo) -> Metadata:
    return parse(repo.read("ours"))


@pytest.fixture
def versions(tracked: Repo) -> tuple[bytes, bytes, bytes]:
    """An ancestor, and two sides that both changed attn_weight; theirs changed head_weight, too."""
    return (
        cleaned(tracked),
        cleaned(tracked, attn_weight=model(1)["attn_weight"]),
        cleaned(tracked, attn_weight=model(2)["attn_weight"], head_weight=model(2)["head_weight"]),
    )


def test_what_one_side_changed_is_written_into_ours(tracked: Repo, versions: tuple[bytes, bytes, bytes]) -> None:
    base, _, theirs = versions
    put(tracked, base, base, theirs)
    assert drive(tracked).stderr == ""
    assert tracked.read("ours") == theirs
    assert sorted(path.name for path in tracked.path.iterdir()) == [
        ".git",
        ".gitattributes",
        *sorted([*FILES, CHECKPOINT]),
    ]


def test_many_conflicts_are_counted(tracked: Repo) -> None:
    put(tracked, cleaned(tracked), *(cleaned(tracked, **model(seed)) for seed in (1, 2)))
    assert "and 2 more; " in drive(tracked, check=False).stderr


def test_old_configuration_without_a_marker_size_works(tracked: Repo, versions: tuple[bytes, bytes, bytes]) -> None:
    base, mine, _ = versions
    put(tracked, base, mine, base)
    drive(tracked)
    assert tracked.read("ours") == mine


def test_file_that_only_one_side_keeps_with_git_theta_is_a_conflict(
    tracked: Repo, versions: tuple[bytes, bytes, bytes]
) -> None:
    for files in ((versions[0], versions[1], b"plain"), (versions[0], b"plain", versions[1])):
        put(tracked, *files)
        done = drive(tracked, check=False)
        assert done.returncode == 1
        assert "only one side is kept by Git-Theta" in done.stderr
        assert tracked.read("ours") == files[1]


def test_without_ancestor_what_is_equal_or_on_one_side_only_merges(
    tracked: Repo, versions: tuple[bytes, bytes, bytes]
) -> None:
    put(tracked, b"", versions[0], cleaned(tracked, head_weight=None, new=model(5)["head_bias"]))
    drive(tracked)
    assert set(ours(tracked).by_name()) == {*model(0), "new"}


def test_damaged_side_is_a_conflict_that_names_the_file(tracked: Repo, versions: tuple[bytes, bytes, bytes]) -> None:
    put(tracked, versions[0], versions[1], versions[2].replace(b'"shape"', b'"shepa"', 1))
    done = drive(tracked, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"git-theta: {CHECKPOINT}: ")
    assert tracked.read("ours") == versions[1]


def test_result_that_cannot_be_written_leaves_ours(
    tracked: Repo, versions: tuple[bytes, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _, theirs = versions
    put(tracked, base, base, theirs)
    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    done = drive(tracked, check=False)
    assert done.returncode == 1
    assert "ours cannot be written: No space left on device" in done.stderr
    assert tracked.read("ours") == base


def full_disk(*_: object) -> int:
    raise OSError(28, "No space left on device")
