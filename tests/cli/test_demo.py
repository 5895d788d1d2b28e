"""git theta demo: it runs to its end, and leaves repositories to look around in."""

from __future__ import annotations

from pathlib import Path

from tests.helpers import Repo

FILE = "model.safetensors"


def test_demo_runs_and_its_repositories_can_be_used_afterwards(isolation: Path, tmp_path: Path) -> None:
    configuration = (isolation / "gitconfig").read_text()
    told = Repo(tmp_path).theta("demo", "place").stdout
    assert "the clone's main is the merged model" in told
    assert (isolation / "gitconfig").read_text() == configuration
    for folder in ("model", "clone"):
        repo = Repo(tmp_path / "place" / folder)
        (repo.path / FILE).touch()
        assert repo.status() == ""
        for branch in ("main", "tune"):
            repo.git("checkout", "-q", branch)
            assert repo.theta("ls-files").stdout == f"safetensors  * {FILE}\n"
    assert "group" in repo.git("diff", "origin/main", "tune").stdout
    assert "git-theta: " in Repo(tmp_path).theta("demo", "place", check=False).stderr
