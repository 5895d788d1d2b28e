"""The two plug-ins of docs/plugins.md, installed by pip as anybody's would be, in the hands of real git."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.metadata_file import parse, serialize
from tests.helpers import Repo

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = str(Path(__file__).parents[2])
PACKAGES = Path(__file__).parents[1] / "data" / "plugins"
SETUP = "*.lines filter=theta\n*.plain filter=theta\n*.txt filter=theta theta-format=lines\n"
LINES = b"""# a comment
[["encoder", "weight"], "float32", [2, 2], [1.5, 2.5, 3.5, 4.5]]

[["encoder", "bias"], "float16", [2], [1.0, 2.0]]
[["step"], "int64", [], [7]]
"""
PLAIN = b"PLAIN a 3 first\n" + np.arange(3, dtype="<f4").tobytes() + b"PLAIN b/c 0\n"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment in which both plug-ins are installed."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(PACKAGES, folder / "source")
    target = str(folder / "site")
    options = ["--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--target", target]
    packages = [str(folder / "source" / kind) for kind in ("spans", "values")]
    Repo.run(sys.executable, "-m", "pip", "install", *options, *packages, cwd=folder)
    return {"PYTHONPATH": os.pathsep.join([target, *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture
def plugged(repo: Repo, installed: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository where files of both plug-ins are tracked, and both are installed."""
    monkeypatch.setenv("PYTHONPATH", installed["PYTHONPATH"])
    repo.theta("install", "--local")
    repo.write(".gitattributes", SETUP)
    return repo


def metadata_of(repo: Repo, path: str) -> bytes:
    return repo.git_bytes("cat-file", "blob", f":{path}")


class TestSpans:
    def test_file_is_kept_by_group_and_checked_out_without_the_plugin(self, plugged: Repo) -> None:
        plugged.write("model.plain", PLAIN)
        plugged.commit("base")
        found = parse(metadata_of(plugged, "model.plain"))
        assert found.format == "plain"
        assert [(entry.name, entry.shape) for entry in found.entries] == [("a", (3,)), ("b~1c", (0,))]
        (plugged.path / "model.plain").unlink()
        plugged.git("checkout", "--", "model.plain", env={"PYTHONPATH": ROOT})
        assert plugged.read("model.plain") == PLAIN

    def test_the_content_decides_and_not_the_ending(self, plugged: Repo) -> None:
        plugged.write(".gitattributes", "* filter=theta\n")
        plugged.write("model", PLAIN)
        plugged.git("add", "model")
        assert parse(metadata_of(plugged, "model")).format == "plain"

    def test_what_it_does_not_claim_is_kept_whole(self, plugged: Repo) -> None:
        plugged.write("model.plain", b"something else")
        done = plugged.git("add", "model.plain")
        assert "not plain: a line does not begin with PLAIN" in done.stderr
        assert parse(metadata_of(plugged, "model.plain")).format == "opaque"


class TestValues:
    @pytest.mark.parametrize("path", ["model.lines", "folder/any.txt"])
    def test_values_make_the_round_trip_and_status_is_clean(self, plugged: Repo, path: str) -> None:
        plugged.write(path, LINES)
        plugged.commit("base")
        data = metadata_of(plugged, path)
        found = parse(data)
        assert serialize(found) == data
        assert found.format == "by-value:lines"
        assert [(entry.name, entry.dtype, entry.shape) for entry in found.entries] == [
            ("encoder/bias", "float16", (2,)),
            ("encoder/weight", "float32", (2, 2)),
            ("step", "int64", ()),
        ]
        assert plugged.read(path) == LINES
        assert plugged.status() == ""
        (plugged.path / path).unlink()
        plugged.git("checkout", "--", path)
        lines = [json.loads(line) for line in plugged.read(path).splitlines()]
        assert lines[1] == [["encoder", "weight"], "float32", [2, 2], [1.5, 2.5, 3.5, 4.5]]
        assert plugged.status() == ""
        shutil.rmtree(plugged.path / ".git" / "theta" / "cache")
        (plugged.path / path).touch()
        plugged.git("add", "--renormalize", ".")
        assert plugged.status() == ""
        assert metadata_of(plugged, path) == data

    def test_a_change_stores_the_group_that_changed(self, plugged: Repo) -> None:
        plugged.write("model.lines", LINES)
        plugged.commit("base")
        before = parse(metadata_of(plugged, "model.lines"))
        plugged.write("model.lines", LINES.replace(b"4.5", b"5.5"))
        assert plugged.status() == " M model.lines\n"
        plugged.commit("changed")
        after = parse(metadata_of(plugged, "model.lines"))
        same = [old == new for old, new in zip(before.entries, after.entries, strict=True)]
        assert same == [True, False, True]

    def test_branches_merge_group_by_group(self, plugged: Repo) -> None:
        plugged.write(".gitattributes", SETUP.replace("filter=theta", "filter=theta merge=theta"))
        plugged.write("model.lines", LINES)
        plugged.commit("base")
        plugged.git("checkout", "-q", "-b", "side")
        plugged.write("model.lines", LINES.replace(b"4.5", b"5.5"))
        plugged.commit("side")
        plugged.git("checkout", "-q", "main")
        plugged.write("model.lines", LINES.replace(b"[7]", b"[8]"))
        plugged.commit("main")
        plugged.git("merge", "-q", "--no-edit", "side")
        text = plugged.read("model.lines")
        assert b"5.5" in text
        assert b"[8]" in text
        assert plugged.status() == ""

    def test_checkout_without_the_plugin_says_what_is_needed(self, plugged: Repo) -> None:
        plugged.write("model.lines", LINES)
        plugged.commit("base")
        (plugged.path / "model.lines").unlink()
        without = {"PYTHONPATH": ROOT}
        done = plugged.git("checkout", "--", "model.lines", env=without, check=False)
        assert done.returncode != 0
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("git-theta:")]
        assert "needs the plug-in 'lines'" in line
        assert "install the package" in line
        assert not (plugged.path / "model.lines").exists()

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"nonsense", "the plug-in 'lines' failed to load the file: JSONDecodeError"),
            (b"", None),
            (b"# nothing\n", "there is no array"),
            (b'[["a"], "object", [1], ["x"]]', "cannot be kept"),
        ],
    )
    def test_what_the_plugin_cannot_load_is_refused_in_one_line(
        self, plugged: Repo, content: bytes, reason: str | None
    ) -> None:
        plugged.write("model.lines", content)
        done = plugged.git("add", "model.lines", check=False)
        if reason is None:
            assert done.returncode == 0
            return
        assert done.returncode != 0
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("git-theta:")]
        assert reason in line
        assert plugged.git("ls-files", "model.lines").stdout == ""
        assert plugged.objects() == {}

    def test_a_builtin_format_is_asked_before_any_plugin(self, plugged: Repo) -> None:
        stream = io.BytesIO()
        np.save(stream, np.ones(3))
        plugged.write("array.lines", stream.getvalue())
        plugged.git("add", "array.lines")
        assert parse(metadata_of(plugged, "array.lines")).format == "npy"

    def test_pull_fills_a_clone_that_was_made_without_git_theta(self, plugged: Repo, tmp_path: Path) -> None:
        plugged.write("model.lines", LINES)
        plugged.commit("base")
        clone = Repo.clone(plugged.path, tmp_path / "clone")
        assert clone.read("model.lines").startswith(b'{"git-theta":1,')
        clone.theta("install", "--local")
        clone.theta("pull")
        assert clone.read("model.lines").splitlines()[1].startswith(b'[["encoder", "weight"], "float32"')
        assert clone.status() == ""
