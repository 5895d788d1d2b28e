"""`git theta log`: what it prints, and what it is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from git_theta.metadata_file import serialize
from tests.conftest import CHECKPOINT
from tests.diffs.samples import checkpoint, entry
from tests.helpers import Repo, safetensors_bytes
from tests.helpers import model as arrays

if TYPE_CHECKING:
    from collections.abc import Mapping

LAYERS = [f"h.{number}.weight" for number in range(3)]


def put(repo: Repo, message: str, values: Mapping[str, str], path: str = "m.json") -> str:
    repo.write(path, serialize(checkpoint(*(entry(name, value) for name, value in values.items()))))
    return repo.commit(message)


@pytest.fixture
def told(repo: Repo) -> Repo:
    """Four commits: a base, a layer, all layers, and a file that is no checkpoint."""
    base = dict.fromkeys([*LAYERS, "bias"], "1")
    put(repo, "base", base)
    put(repo, "one layer", {**base, "h.1.weight": "2"})
    put(repo, "all layers \x1b[31m", dict.fromkeys([*LAYERS, "bias"], "3") | {"bias": "1"})
    repo.write("notes.txt", "text")
    repo.commit("notes")
    return repo


def subjects(text: str) -> list[str]:
    return [line.partition(": ")[2] for line in text.splitlines() if not line.startswith(" ")]


def test_a_commit_has_a_line_and_a_table_folded_by_layer(told: Repo) -> None:
    text = told.verb("log").stdout
    assert subjects(text) == ["all layers \\x1b[31m", "one layer", "base"]
    assert "\x1b" not in text
    first = text.splitlines()[0]
    assert first.startswith(f"{told.rev('HEAD~1')[:10]} 20")
    assert " Ada: all layers" in first
    assert "  m.json: 3 of 4 groups modified, 72 bytes of 96 bytes" in text
    assert "h.*.weight  3 modified" in text
    assert "  m.json: 4 groups added, 96 bytes" in text


def test_a_number_is_the_most_that_is_shown(told: Repo) -> None:
    assert subjects(told.verb("log", "-n", "1").stdout) == ["all layers \\x1b[31m"]
    assert told.verb("log", "-n", "0").stdout == ""


def test_groups_are_chosen_by_pattern(told: Repo) -> None:
    assert subjects(told.verb("log", "--group", "h.0.*").stdout) == ["all layers \\x1b[31m", "base"]
    text = told.verb("log", "-g", "h.1.weight", "-g", "bias").stdout
    assert subjects(text) == ["all layers \\x1b[31m", "one layer", "base"]
    assert "h.0.weight" not in text
    assert "bias" in text
    assert told.verb("log", "-g", "nothing").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("HEAD~2",), 2),
        (("HEAD~2..",), 1),
        (("HEAD", "^HEAD~2"), 1),
        (("--", "m.json"), 3),
        (("m.json",), 3),
        (("HEAD~2", "--", "m.json"), 2),
        (("HEAD~2", "m.json"), 2),
        (("--", "*.json"), 3),
        (("--", "notes.txt"), 0),
        (("--", "-n1"), 0),
    ],
)
def test_revisions_and_paths_are_told_apart(told: Repo, arguments: tuple[str, ...], count: int) -> None:
    assert len(subjects(told.verb("log", *arguments).stdout)) == count


@pytest.mark.parametrize("arguments", [("nothing",), ("nothing", "--"), ("HEAD..nothing",), ("m.json", "HEAD")])
def test_what_is_neither_is_named(told: Repo, arguments: tuple[str, ...]) -> None:
    done = told.verb("log", *arguments, check=False)
    assert done.returncode in (1, 2)
    assert "is no revision" in done.stderr or "there is no revision" in done.stderr
    assert done.stdout == ""


def test_a_renamed_file_has_a_line(told: Repo) -> None:
    told.git("mv", "m.json", "n.json")
    told.commit("rename")
    lines = told.verb("log", "-n", "1").stdout.splitlines()
    assert lines[1:] == ["  m.json -> n.json: none of 4 groups changed"]


def test_all_branches_can_be_meant(told: Repo) -> None:
    told.git("checkout", "-q", "--detach", "HEAD~3")
    assert len(subjects(told.verb("log").stdout)) == 1
    assert len(subjects(told.verb("log", "--all").stdout)) == 3


def test_without_a_commit_there_is_no_history(repo: Repo) -> None:
    done = repo.verb("log", check=False)
    assert done.returncode == 1
    assert "your current branch 'main' does not have any commits yet" in done.stderr


def test_in_json(told: Repo) -> None:
    found = json.loads(told.verb("log", "--json", "-g", "h.1.weight").stdout)
    assert found["version"] == 1
    assert [commit["subject"] for commit in found["commits"]] == ["all layers \x1b[31m", "one layer", "base"]
    one = found["commits"][1]
    assert (one["commit"], one["parents"]) == (told.rev("HEAD~2"), [told.rev("HEAD~3")])
    assert (one["author"], one["email"]) == ("Ada", "ada@example.org")
    (checkpoint_,) = one["checkpoints"]
    (change,) = checkpoint_["changes"]
    assert (change["group"], change["kind"]) == ("h.1.weight", "modified")
    assert "unchanged" not in checkpoint_


def test_a_real_checkpoint_is_told_of_and_stays_as_it_is(tracked: Repo) -> None:
    data = safetensors_bytes(arrays(0, attn_bias=arrays(1)["attn_bias"]))
    tracked.write(CHECKPOINT, data)
    tracked.commit("tuned")
    found = json.loads(tracked.verb("log", "--json").stdout)["commits"]
    assert [commit["subject"] for commit in found] == ["tuned", "base"]
    (change,) = found[0]["checkpoints"][0]["changes"]
    assert change["relative"] == pytest.approx(1.4, rel=0.5)
    assert (tracked.read(CHECKPOINT), tracked.status()) == (data, "")


def test_in_a_clone_without_objects_it_estimates(clone: Repo) -> None:
    found = json.loads(clone.verb("log", "--json", "origin/side").stdout)["commits"]
    (change,) = found[0]["checkpoints"][0]["changes"]
    assert (change["group"], change["exact"]) == ("head_weight", False)
    assert change["relative"] == pytest.approx(1.4, rel=0.5)
    assert clone.objects() == {}


def test_in_a_bare_repository_and_in_a_folder(told: Repo, remote: Repo) -> None:
    assert len(subjects(remote.verb("log", "side").stdout)) == 2
    (told.path / "folder").mkdir()
    done = told.verb("log", "--", "../m.json", cwd=told.path / "folder")
    assert len(subjects(done.stdout)) == 3
