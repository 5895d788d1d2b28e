"""`git theta diff --html`: the page is written, of what was asked for, with the histograms that can be had."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path


def data(file: Path) -> list[dict[str, Any]]:
    """What the page holds."""
    block = (
        file.read_text(encoding="utf-8").split('<script type="application/json" id="data">')[1].split("</script>")[0]
    )
    found: list[dict[str, Any]] = json.loads(block)["checkpoints"]
    return found


def changed(checkpoint: dict[str, Any]) -> dict[str, list[Any]]:
    """The rows of what changed, by name, and under "histograms" the names of those that have one."""
    return {row[0]: row for row in checkpoint["groups"] if row[3] != "unchanged"}


def with_histograms(checkpoint: dict[str, Any]) -> set[str]:
    return {checkpoint["groups"][int(index)][0] for index in checkpoint["histograms"]}


@pytest.fixture
def retrained(tracked: Repo) -> Repo:
    """The model of "tracked", of which the head has changed in the worktree."""
    moved = model(0)["head_weight"] * np.float32(1.5)
    tracked.write(CHECKPOINT, safetensors_bytes(model(0, head_weight=moved, extra=np.ones(3, np.int32))))
    return tracked


def test_page_of_the_worktree_has_statistics_and_histograms_of_what_changed(retrained: Repo) -> None:
    said = retrained.verb("diff", "--html", "report.html").stdout
    assert said == "report.html: 1 changed checkpoint\n"
    (checkpoint,) = data(retrained.path / "report.html")
    rows = changed(checkpoint)
    assert rows.keys() == {"head_weight", "extra"}
    assert rows["head_weight"][6] == 0.5
    assert rows["head_weight"][10] is True
    assert with_histograms(checkpoint) == {"head_weight", "extra"}
    assert [sum(side) for side in next(iter(checkpoint["histograms"].values()))[1:]] == [128 * 160, 128 * 160]


def test_page_of_commits_reads_values_from_the_store(retrained: Repo) -> None:
    retrained.commit("moved")
    retrained.write(CHECKPOINT, b"")
    retrained.verb("diff", "HEAD~1", "HEAD", "--html", "report.html")
    (checkpoint,) = data(retrained.path / "report.html")
    assert changed(checkpoint)["head_weight"][6] == 0.5
    assert with_histograms(checkpoint) == {"head_weight", "extra"}


def test_page_without_the_objects_has_estimates_and_no_histograms(retrained: Repo) -> None:
    retrained.commit("moved")
    for path in retrained.objects().values():
        path.unlink()
    retrained.verb("diff", "HEAD~1", "HEAD", "--html", "report.html")
    (checkpoint,) = data(retrained.path / "report.html")
    assert changed(checkpoint)["head_weight"][10] is False
    assert with_histograms(checkpoint) == set()


def test_page_has_only_the_groups_that_were_asked_for(retrained: Repo) -> None:
    retrained.verb("diff", "--groups", "head_*", "--html", "report.html")
    (checkpoint,) = data(retrained.path / "report.html")
    assert {row[0] for row in checkpoint["groups"]} == {"head_weight", "head_bias"}


def test_page_of_two_files_outside_of_a_repository(tmp_path: Path) -> None:
    folder = Repo(tmp_path)
    folder.write("a.safetensors", safetensors_bytes(model(0)))
    folder.write("b.safetensors", safetensors_bytes(model(0, step=np.array(9, np.int64))))
    folder.verb("diff", "a.safetensors", "b.safetensors", "--html", "report.html")
    (checkpoint,) = data(tmp_path / "report.html")
    assert [checkpoint["old_path"], checkpoint["new_path"]] == ["a.safetensors", "b.safetensors"]
    assert changed(checkpoint)["step"][11:] == []


def test_page_is_written_when_nothing_changed_and_exit_codes_are_those_of_git(retrained: Repo) -> None:
    assert retrained.verb("diff", "--exit-code", "--html", "some.html", check=False).returncode == 1
    retrained.commit("moved")
    assert retrained.verb("diff", "--exit-code", "--html", "none.html").returncode == 0
    assert data(retrained.path / "none.html") == []
    assert len(data(retrained.path / "some.html")) == 1


def test_page_replaces_an_older_one_and_is_found_from_a_subdirectory(retrained: Repo) -> None:
    retrained.write("sub/report.html", "older")
    retrained.verb("diff", "--html", "report.html", cwd=retrained.path / "sub")
    assert len(data(retrained.path / "sub" / "report.html")) == 1


def test_page_that_cannot_be_written_is_one_line(retrained: Repo) -> None:
    done = retrained.verb("diff", "--html", "no/such/report.html", check=False)
    assert done.returncode == 128
    assert "there is no directory no/such" in done.stderr
    assert done.stderr.count("\n") == 1
    done = retrained.verb("diff", "--html", "/dev/full", check=False)
    assert done.returncode == 128
    assert f"the report cannot be written: /dev/full: {os.strerror(28)}" in done.stderr


@pytest.mark.parametrize("other", ["--stat", "--json"])
def test_page_goes_with_no_other_output(retrained: Repo, other: str) -> None:
    done = retrained.verb("diff", other, "--html", "report.html", check=False)
    assert done.returncode == 129
    assert "--html goes without --stat and --json" in done.stderr
    assert not (retrained.path / "report.html").exists()
