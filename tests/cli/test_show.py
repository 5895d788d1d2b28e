"""`git theta show`: groups of checkpoints wherever they are, and the values of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.metadata_file import serialize
from tests.conftest import CHECKPOINT
from tests.diffs.samples import checkpoint, entry
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from pathlib import Path

BASE = model(0)
TUNED = model(0, head_weight=model(1)["head_weight"])


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table by the name of the group."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()[1 : 1 + len(BASE)]}


def shown(repo: Repo, *arguments: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(repo.verb("show", "--json", *arguments).stdout)
    return found


class TestTheTable:
    @pytest.mark.parametrize("name", [f"HEAD:{CHECKPOINT}", f":{CHECKPOINT}", CHECKPOINT, f"./{CHECKPOINT}"])
    def test_has_a_line_for_each_group(self, tracked: Repo, name: str) -> None:
        text = tracked.verb("show", name).stdout
        assert rows(text).keys() == BASE.keys()
        assert rows(text)["embed_weight"][:4] == ["float32", "160x128", "81.9", "kB"]
        assert rows(text)["step"][:2] == ["int64", "scalar"]
        assert "dense" in rows(text)["attn_bias"]
        last = text.splitlines()[-1]
        assert last.startswith(f"8 groups, 246.1 kB (safetensors); {len(tracked.objects())} objects, ")

    def test_tells_how_a_group_is_kept_in_each_version(self, tracked: Repo) -> None:
        sparse = np.array(BASE["embed_weight"])
        sparse[3, 5] += 1
        tracked.write(CHECKPOINT, safetensors_bytes({**BASE, "embed_weight": sparse}))
        before = rows(tracked.verb("show", CHECKPOINT).stdout)["embed_weight"]
        assert before[4:7] == ["(not", "kept", "yet)"]
        tracked.git("add", CHECKPOINT)
        for name in (f":{CHECKPOINT}", CHECKPOINT):
            assert "sparse on dense" in " ".join(rows(tracked.verb("show", name).stdout)["embed_weight"])
        assert "sparse" not in tracked.verb("show", f"HEAD:{CHECKPOINT}").stdout

    def test_needs_no_objects_and_no_filter(self, clone: Repo) -> None:
        assert rows(clone.verb("show", f"origin/side:{CHECKPOINT}").stdout).keys() == BASE.keys()
        assert rows(clone.verb("show", CHECKPOINT).stdout).keys() == BASE.keys()
        assert clone.objects() == {}

    def test_of_a_pattern_has_what_it_fits(self, tracked: Repo) -> None:
        text = tracked.verb("show", CHECKPOINT, "attn_*").stdout
        assert [line.split()[0] for line in text.splitlines()[1:-1]] == ["attn_bias", "attn_weight"]

    def test_comes_with_what_is_beside_the_groups(self, tracked: Repo) -> None:
        tracked.write(CHECKPOINT, safetensors_bytes(BASE, {"epoch": "3", "note": "a\x1b[2Jb"}))
        text = tracked.verb("show", CHECKPOINT).stdout
        assert "__metadata__/epoch: '3'" in text
        assert "\x1b" not in text
        found = shown(tracked, CHECKPOINT)["values"]
        assert {"name": "__metadata__/epoch", "value": "'3'"} in found  # type: ignore[operator]

    def test_escapes_names(self, repo: Repo) -> None:
        repo.write("m.safetensors", serialize(checkpoint(entry("evil\x1b]0;\n", "a"), entry("\ud800", "b"))))
        repo.commit("base")
        text = repo.verb("show", "HEAD:m.safetensors").stdout
        assert "evil\\x1b]0;\\n" in text
        assert "\\ud800" in text

    def test_of_a_side_of_a_conflict(self, in_merge_conflict: Repo) -> None:
        ours, theirs = (in_merge_conflict.verb("show", f":{side}:{CHECKPOINT}").stdout for side in (2, 3))
        assert rows(ours)["attn_weight"] != rows(theirs)["attn_weight"]
        assert rows(ours)["attn_bias"] == rows(theirs)["attn_bias"]

    def test_of_files_outside_any_repository(self, tmp_path: Path) -> None:
        place = Repo(tmp_path)
        place.write("m.safetensors", safetensors_bytes(BASE))
        text = place.verb("show", "m.safetensors").stdout
        assert rows(text).keys() == BASE.keys()
        assert "(not kept yet)" in text
        assert "values:          40000" in place.verb("show", "m.safetensors", "attn_weight").stdout
        place.write("m.json", serialize(checkpoint(entry("a", "a"))))
        assert "1 group" in place.verb("show", "m.json").stdout
        assert place.verb("show", "m.json", "a", check=False).returncode == 1

    def test_of_a_commit_from_before_it_was_tracked(self, repo: Repo) -> None:
        repo.write(CHECKPOINT, safetensors_bytes(BASE))
        repo.commit("raw")
        assert rows(repo.verb("show", f"HEAD:{CHECKPOINT}").stdout).keys() == BASE.keys()
        assert "values:          40000" in repo.verb("show", f"HEAD:{CHECKPOINT}", "attn_weight").stdout

    def test_of_a_file_that_no_format_claims_is_one_group(self, repo: Repo) -> None:
        repo.write("notes.txt", "hello")
        assert "(opaque)" in repo.verb("show", "notes.txt").stdout

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"version https://git-lfs.github.com/spec/v1\n", "is no checkpoint: it is a pointer of Git LFS"),
            (b'{"git-theta":1,', ": the metadata file is incomplete"),
        ],
    )
    def test_of_what_cannot_be_shown_names_it(self, repo: Repo, data: bytes, reason: str) -> None:
        repo.write(CHECKPOINT, data)
        repo.commit("bad")
        for name in (CHECKPOINT, f"HEAD:{CHECKPOINT}"):
            done = repo.verb("show", name, check=False)
            assert done.returncode == 1
            assert done.stderr.startswith(f"git-theta: {CHECKPOINT}")
            assert reason in done.stderr

    def test_in_json(self, tracked: Repo) -> None:
        found = shown(tracked, f"HEAD:{CHECKPOINT}")
        assert (found["version"], found["path"], found["format"], found["size"]) == (
            1,
            CHECKPOINT,
            "safetensors",
            len(safetensors_bytes(BASE)),
        )
        groups = {group["group"]: group for group in found["groups"]}  # type: ignore[attr-defined]
        assert groups["attn_weight"]["shape"] == [200, 200]
        assert groups["attn_weight"]["update"] == "dense"
        assert len(groups["attn_weight"]["digest"]) == 64
        summary = found["summary"]
        assert summary["groups"] == 8  # type: ignore[index]
        assert summary["kept_bytes"] == sum(file.stat().st_size for file in tracked.objects().values())  # type: ignore[index]
        assert sum(group["kept_bytes"] for group in groups.values()) <= summary["kept_bytes"]  # type: ignore[index]


class TestAGroup:
    @pytest.mark.parametrize("name", [f"HEAD:{CHECKPOINT}", CHECKPOINT])
    def test_has_figures_and_a_histogram(self, tracked: Repo, name: str) -> None:
        array = BASE["embed_weight"].astype(np.float64)
        text = tracked.verb("show", name, "embed_weight").stdout
        assert f"minimum:         {array.min():.4g}" in text
        assert f"std. deviation:  {array.std():.4g}" in text
        assert "█" in text
        (group,) = shown(tracked, name, "embed_weight")["groups"]  # type: ignore[misc]
        assert group["statistics"]["mean"] == pytest.approx(array.mean())
        assert group["statistics"]["norm"] == pytest.approx(np.linalg.norm(array))
        counts, edges = np.histogram(array, bins=np.array(group["histogram"]["edges"]))
        assert group["histogram"]["counts"] == counts.tolist()
        assert edges[0] == array.min()

    def test_is_drawn_in_ascii_where_the_locale_is(self, tracked: Repo) -> None:
        text = tracked.verb("show", CHECKPOINT, "embed_weight", env={"LC_ALL": "C"}).stdout
        assert text.isascii()
        assert "#" in text

    def test_what_is_not_finite_is_counted(self, tracked: Repo) -> None:
        values = np.array([1, np.nan, np.inf, -np.inf, 0, 0], np.float32)
        tracked.write(CHECKPOINT, safetensors_bytes(model(0, attn_bias=values)))
        tracked.git("add", CHECKPOINT)
        text = tracked.verb("show", f":{CHECKPOINT}", "attn_bias").stdout
        assert "NaN:             1" in text
        assert "infinite:        2" in text
        assert "zeros:           2 (33.3 %)" in text
        (group,) = shown(tracked, f":{CHECKPOINT}", "attn_bias")["groups"]  # type: ignore[misc]
        assert group["statistics"]["nans"] == 1

    def test_without_values_has_no_figures(self, tracked: Repo) -> None:
        text = tracked.verb("show", f"HEAD:{CHECKPOINT}", "empty").stdout
        assert "minimum:         none" in text

    @pytest.mark.parametrize("dtype", ["iq4_nl", "float6_e2m3fn"])
    def test_that_is_no_numbers_has_no_figures(self, repo: Repo, dtype: str) -> None:
        repo.write("m.gguf", serialize(checkpoint(entry("w", "a", (32,), dtype))))
        text = repo.verb("show", "m.gguf", "w").stdout
        assert f"there are no figures of {dtype}" in text
        assert json.loads(repo.verb("show", "--json", "m.gguf", "w").stdout)["groups"][0]["statistics"] is None

    def test_fetches_what_it_needs_and_no_more(self, clone: Repo) -> None:
        text = clone.verb("show", f"origin/side:{CHECKPOINT}", "head_weight").stdout
        assert f"minimum:         {TUNED['head_weight'].min():.4g}" in text
        assert len(clone.objects()) == 1

    def test_that_cannot_be_had_is_named(self, clone: Repo, remote: Repo) -> None:
        for file in remote.objects().values():
            file.unlink()
        done = clone.verb("show", f"HEAD:{CHECKPOINT}", "head_weight", check=False)
        assert done.returncode == 1
        assert "head_weight" in done.stderr
        assert "is not in the local store" in done.stderr
        assert done.stdout == ""

    def test_that_is_damaged_is_named(self, tracked: Repo) -> None:
        for file in tracked.objects().values():
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.chmod(0o644)
            file.write_bytes(data)
        done = tracked.verb("show", f"HEAD:{CHECKPOINT}", "head_weight", check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "head_weight" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("HEAD:nothing",), "there is no file, and no REV:PATH, 'HEAD:nothing' here"),
        (("nothing",), "there is no file 'nothing' here"),
        (("HEAD",), "there is no file 'HEAD' here"),
        (("HEAD:",), "'HEAD:' is a tree and no file: say REV:PATH"),
        ((CHECKPOINT, "nothing"), f"{CHECKPOINT} has no group 'nothing'"),
        ((), "Missing argument"),
    ],
)
def test_what_is_not_there_is_named(tracked: Repo, arguments: tuple[str, ...], said: str) -> None:
    done = tracked.verb("show", *arguments, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stdout == ""


def test_metadata_that_cannot_be_read_is_named(repo: Repo) -> None:
    repo.write("m.safetensors", serialize(checkpoint(entry("a", "a"))).replace(b"shape", b"sha"))
    repo.commit("broken")
    done = repo.verb("show", "HEAD:m.safetensors", check=False)
    assert done.returncode == 1
    assert "m.safetensors: line 5 of the metadata file is malformed" in done.stderr
