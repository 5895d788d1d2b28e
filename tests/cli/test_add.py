"""git theta add: as git add, or with a say in how what changed is kept."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from git_theta.metadata_file import parse
from tests.conftest import CHECKPOINT
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from git_theta.metadata import Metadata

    Arrays = dict[str, npt.NDArray[Any]]

DATA = "data.safetensors"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def lora(group: str = "embed_weight", rows: int = 160, columns: int = 128, rank: int = 4) -> Arrays:
    generator = np.random.default_rng(1)
    r = generator.standard_normal((rows, rank), np.float32)
    return {f"{group}/R": r, f"{group}/C": generator.standard_normal((rank, columns), np.float32) / 512}


def changed() -> bytes:
    """The model of the fixtures with `lora()` merged, as NumPy does it."""
    data = lora()
    return safetensors_bytes(
        model(0, embed_weight=model(0)["embed_weight"] + data["embed_weight/R"] @ data["embed_weight/C"])
    )


def index(repo: Repo) -> str:
    return repo.git("ls-files", "--stage").stdout


def staged(repo: Repo, path: str = CHECKPOINT) -> Metadata:
    return parse(repo.git_bytes("cat-file", "blob", f":{path}"))


def types(repo: Repo, group: str, path: str = CHECKPOINT) -> list[str]:
    return [update.type for update in staged(repo, path).by_name()[group].update.nested()]


def refused(repo: Repo, *arguments: str, code: int = 2, cwd: Path | None = None) -> str:
    """What is said, in one line, when nothing is done."""
    before = index(repo), repo.read(CHECKPOINT)
    done = repo.verb("add", *arguments, check=False, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("git-theta: ")
    assert done.stderr.count("\n") == 1
    assert (index(repo), repo.read(CHECKPOINT)) == before
    return done.stderr.removeprefix("git-theta: ").removesuffix("\n")


def test_without_options_it_is_git_add(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    tracked.write("notes.txt", "text")
    done = tracked.verb("add", CHECKPOINT, "notes.txt")
    assert (done.stdout, done.stderr) == ("", "")
    assert tracked.status() == f"M  {CHECKPOINT}\nA  notes.txt\n"
    ours = tracked.rev(f":{CHECKPOINT}")
    tracked.git("reset", "-q")
    tracked.git("add", CHECKPOINT)
    assert tracked.rev(f":{CHECKPOINT}") == ours


def test_without_options_a_path_that_is_not_there_is_git_s_error(tracked: Repo) -> None:
    assert "'nothing.bin'" in refused(tracked, "nothing.bin", code=1)


def test_data_is_told_of_per_group(tracked: Repo) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    done = tracked.verb("add", CHECKPOINT, "--update-data", DATA)
    first, last = done.stdout.splitlines()
    kept = "low-rank + sparse" if types(tracked, "embed_weight")[0] == "sparse" else "low-rank"
    assert (first, last) == (f"embed_weight: {kept}", f"1 of 8 groups: 1 {kept}")
    assert done.stderr == ""
    assert tracked.read(CHECKPOINT) == changed()


def test_change_on_top_of_another_is_told_by_its_own_type_alone(tracked: Repo) -> None:
    tracked.write(DATA, safetensors_bytes({"embed_weight/ia3": np.full((1, 128), 3, np.float32)}))
    for _ in range(2):
        done = tracked.verb("add", CHECKPOINT, "--update-data", DATA)
        tracked.git("commit", "-q", "-m", "scaled")
        assert done.stdout.splitlines()[0] == "embed_weight: ia3"
    assert types(tracked, "embed_weight", CHECKPOINT) == ["ia3", "ia3", "dense"]


def test_file_whose_name_is_a_pattern_for_git_is_that_file(tracked: Repo) -> None:
    name = ":(top)x.safetensors"
    tracked.write(name, changed())
    done = tracked.verb("add", name, "--update-type", "dense")
    assert done.stdout.splitlines()[-1].endswith(" dense")
    assert tracked.status() == f"A  {name}\n"


def test_type_that_fits_is_used_and_told_of(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    done = tracked.verb("add", CHECKPOINT, "--update-type", "delta")
    assert done.stdout == "embed_weight: delta\n1 of 8 groups: 1 delta\n"
    assert types(tracked, "embed_weight") == ["delta", "dense"]
    done = tracked.verb("add", CHECKPOINT, "--update-type", "auto")
    assert types(tracked, "embed_weight")[-2:] == ["low-rank", "dense"]
    assert done.stdout.startswith("embed_weight: low-rank")


def test_data_is_kept_even_if_the_merged_values_were_staged_as_dense_before(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    tracked.verb("add", CHECKPOINT, "--update-type", "dense")
    assert types(tracked, "embed_weight") == ["dense"]
    tracked.write(DATA, safetensors_bytes(lora()))
    tracked.verb("add", CHECKPOINT, "--update-data", DATA)
    assert types(tracked, "embed_weight")[-2:] == ["low-rank", "dense"]
    assert tracked.read(CHECKPOINT) == changed()


def test_type_that_does_not_fit_gives_way(tracked: Repo) -> None:
    bias = model(0)["attn_bias"].copy()
    bias[7] = 1
    tracked.write(CHECKPOINT, safetensors_bytes(model(0, attn_bias=bias, head_weight=model(1)["head_weight"])))
    done = tracked.verb("add", CHECKPOINT, "--update-type", "low-rank")
    told = dict(line.split(": ") for line in done.stdout.splitlines()[:-1])
    assert told.keys() == {"attn_bias", "head_weight"}
    assert told["head_weight"] == types(tracked, "head_weight")[0] == "dense"
    assert "low-rank" not in types(tracked, "attn_bias")


def test_several_paths_with_a_type(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    tracked.write("second one.safetensors", safetensors_bytes(model(5)))
    done = tracked.verb("add", "--update-type", "dense", CHECKPOINT, "second one.safetensors")
    assert done.stdout.splitlines()[1:2] == ["1 of 8 groups: 1 dense"]
    assert done.stdout.splitlines()[-1].endswith("8 dense")
    tracked.git("commit", "-q", "-m", "both")
    assert tracked.status() == ""


def test_dense_ends_a_chain_and_the_values_stay(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    tracked.commit("low rank")
    assert len(types(tracked, "embed_weight")) > 1
    before = staged(tracked)
    done = tracked.verb("add", CHECKPOINT, "--update-type", "dense")
    assert done.stdout == "embed_weight: dense\n1 of 8 groups: 1 dense\n"
    assert types(tracked, "embed_weight") == ["dense"]
    assert [entry.digest for entry in staged(tracked).entries] == [entry.digest for entry in before.entries]
    blob = tracked.rev(f":{CHECKPOINT}")
    tracked.status()
    tracked.commit("collapsed")
    assert tracked.rev(f"HEAD:{CHECKPOINT}") == blob
    (tracked.path / CHECKPOINT).unlink()
    tracked.git("checkout", "-q", "--", CHECKPOINT)
    assert tracked.read(CHECKPOINT) == changed()


def test_nothing_changed_is_said(tracked: Repo) -> None:
    before = index(tracked)
    assert tracked.verb("add", CHECKPOINT, "--update-type", "auto").stdout == "0 of 8 groups: nothing changed\n"
    assert index(tracked) == before


def test_subdirectory_spaces_and_brackets(tracked: Repo) -> None:
    path = "some models/my [1] model.safetensors"
    tracked.write(path, safetensors_bytes(model(0)))
    tracked.commit("elsewhere")
    tracked.write("update data/my data.safetensors", safetensors_bytes(lora()))
    below = tracked.path / "some models"
    done = tracked.verb(
        "add", "my [1] model.safetensors", "--update-data", "../update data/my data.safetensors", cwd=below
    )
    assert "low-rank" in done.stdout
    assert tracked.read(path) == changed()
    assert tracked.read(CHECKPOINT) == safetensors_bytes(model(0))
    assert tracked.git("diff", "--cached", "--name-only").stdout == f"{path}\n"


@pytest.fixture
def sharded(tracking: Repo) -> Repo:
    """A repository with a model in two files, of which the first has embed_weight."""
    for path, groups in zip(SHARDS, shards(model(0)), strict=True):
        tracking.write(path, safetensors_bytes(groups))
    tracking.commit("base")
    return tracking


def shards(groups: Arrays) -> tuple[Arrays, Arrays]:
    first = [name for name in groups if name < "f"]
    assert "embed_weight" in first
    assert "head_weight" not in first
    return {name: groups[name] for name in first}, {name: groups[name] for name in groups if name not in first}


@pytest.mark.parametrize("paths", [SHARDS, SHARDS[::-1]])
def test_model_in_two_files_is_changed_in_both(sharded: Repo, paths: Sequence[str]) -> None:
    head = model(0)["head_weight"] * np.float32(3)
    ia3 = np.full((1, head.shape[1]), 3, np.float32)
    sharded.write(DATA, safetensors_bytes({**lora(), "head_weight/ia3": ia3}))
    said = sharded.verb("add", *paths, "--update-data", DATA).stdout
    assert "head_weight: ia3" in said
    new = shards({**model(0), "embed_weight": safetensors.numpy.load(changed())["embed_weight"], "head_weight": head})
    for path, groups in zip(SHARDS, new, strict=True):
        assert sharded.read(path) == safetensors_bytes(groups)
    sharded.git("commit", "-q", "-m", "side-loaded")
    assert sharded.status() == f"?? {DATA}\n"
    assert types(sharded, "head_weight", SHARDS[1])[0] == "ia3"


def test_file_of_a_model_that_the_data_changes_nothing_in_stays(sharded: Repo) -> None:
    sharded.write(DATA, safetensors_bytes(lora()))
    before = sharded.read(SHARDS[1])
    sharded.verb("add", *SHARDS, "--update-data", DATA)
    assert sharded.git("diff", "--cached", "--name-only").stdout == f"{SHARDS[0]}\n"
    assert sharded.read(SHARDS[1]) == before


def test_file_with_other_values_is_named_and_the_same_command_goes_on_when_they_are_back(sharded: Repo) -> None:
    ia3 = np.full((1, 160), 3, np.float32)
    sharded.write(DATA, safetensors_bytes({**lora(), "head_weight/ia3": ia3}))
    before = sharded.read(SHARDS[1])
    sharded.write(SHARDS[1], safetensors_bytes(shards(model(0, head_weight=model(1)["head_weight"]))[1]))
    done = sharded.verb("add", *SHARDS, "--update-data", DATA, check=False)
    assert f"{SHARDS[1]} holds neither the old nor the new values of group 'head_weight'" in done.stderr
    sharded.write(SHARDS[1], before)
    sharded.verb("add", *SHARDS, "--update-data", DATA)
    assert sharded.git("diff", "--cached", "--name-only").stdout.split() == list(SHARDS)


def test_file_of_a_model_whose_other_files_the_data_is_for_is_told_so(sharded: Repo) -> None:
    sharded.write(DATA, safetensors_bytes(lora()))
    said = sharded.verb("add", SHARDS[1], "--update-data", DATA, check=False).stderr
    assert "'embed_weight~1C', 'embed_weight~1R'; if the model is in several files, name all of them" in said


def test_two_files_with_one_group_are_refused(sharded: Repo) -> None:
    sharded.write("copy.safetensors", sharded.read(SHARDS[0]))
    sharded.commit("copy")
    sharded.write(DATA, safetensors_bytes(lora()))
    done = sharded.verb("add", SHARDS[0], "copy.safetensors", "--update-data", DATA, check=False)
    assert done.returncode == 2
    assert f"{SHARDS[0]} and copy.safetensors both have a group" in done.stderr
    assert sharded.git("diff", "HEAD").stdout == ""


def test_first_version_that_is_only_staged_can_be_changed(repo: Repo) -> None:
    repo.verb("track", "*.safetensors")
    repo.write(CHECKPOINT, safetensors_bytes(model(0)))
    repo.git("add", "--all")
    repo.write(DATA, safetensors_bytes(lora()))
    repo.verb("add", CHECKPOINT, "--update-data", DATA)
    assert repo.read(CHECKPOINT) == changed()


def test_command_works_as_a_program(tracked: Repo) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    tracked.git("theta", "add", CHECKPOINT, "--update-data", DATA, "--update-type", "low-rank")
    tracked.git("commit", "-q", "-m", "side-loaded")
    assert tracked.git("status", "--porcelain", CHECKPOINT).stdout == ""
    assert tracked.read(CHECKPOINT) == changed()


def _changed(name: str, array: npt.NDArray[Any] | None) -> Arrays:
    data = {**lora(), name: array}
    return {key: value for key, value in data.items() if value is not None}


SPARSE = {
    "data": np.ones(1, np.float32),
    "indices": np.array([160 * 128]),
    "indptr": np.array([0, 1]),
    "shape": np.array([1, 160 * 128]),
}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lora("other_weight"), ["'other_weight~1R'", "'other_weight~1C'"]),
        (lora() | lora("more"), ["'more~1R'", "'more~1C'"]),
        (lora(rank=0), ["'embed_weight'", "rank 0"]),
        (lora(rows=128, columns=160), ["'embed_weight'", "[128, 160]", "[160, 128]"]),
        (_changed("embed_weight/C", np.zeros((3, 128), np.float32)), ["'embed_weight'", "[3, 128]"]),
        (_changed("embed_weight/C", None), ["'embed_weight'", "R", "C"]),
        (lora("step", 1, 1), ["'step'", "int64"]),
        ({"norm_bias/ia3": np.ones(3, np.float32)}, ["'norm_bias'", "[3]"]),
        ({f"embed_weight/{key}": array for key, array in SPARSE.items()}, ["'embed_weight'", "20480"]),
        ({"embed_weight": np.zeros((2, 2), np.float32)}, ["'embed_weight'", "[2, 2]"]),
        ({"step": np.array(1.5, np.float32)}, ["'step'", "int64"]),
        ({}, ["no groups"]),
    ],
)
def test_data_that_does_not_fit_is_refused(tracked: Repo, data: Arrays, words: list[str]) -> None:
    tracked.write(DATA, safetensors_bytes(data))
    said = refused(tracked, CHECKPOINT, "--update-data", DATA)
    assert [word for word in words if word not in said] == []


def test_data_of_another_kind_than_the_one_named_is_refused(tracked: Repo) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    assert "'embed_weight~1R'" in refused(tracked, CHECKPOINT, "--update-data", DATA, "--update-type", "ia3")


def test_data_that_is_no_checkpoint_or_not_there_is_refused(tracked: Repo) -> None:
    tracked.write("notes.txt", "no checkpoint at all")
    (tracked.path / "empty").mkdir()
    assert "notes.txt is no checkpoint" in refused(tracked, CHECKPOINT, "--update-data", "notes.txt")
    assert "'missing.pt'" in refused(tracked, CHECKPOINT, "--update-data", "missing.pt")
    assert "empty holds no adapter" in refused(tracked, CHECKPOINT, "--update-data", "empty")


def test_ignored_file_is_not_staged_as_git_add_does_not_unless_git_has_it(tracked: Repo) -> None:
    tracked.write(".gitignore", "*.safetensors\n")
    tracked.write("new.safetensors", safetensors_bytes(lora()))
    assert "new.safetensors is ignored" in refused(tracked, "new.safetensors", "--update-type", "dense")
    assert "new.safetensors" not in tracked.git("ls-files").stdout
    tracked.theta("add", CHECKPOINT, "--update-type", "dense")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((CHECKPOINT, "--update-data", DATA, "--update-type", "linear"), "of dense, sparse, low-rank, ia3, auto"),
        ((CHECKPOINT, "--update-data", DATA, "--update-type", "delta"), "of dense, sparse, low-rank, ia3, auto"),
        (("--update-type", "dense"), "PATHS"),
        (("notes.txt", "--update-type", "dense"), "notes.txt is not kept by Git-Theta"),
        ((CHECKPOINT, "notes.txt", "--update-type", "dense"), "notes.txt is not kept by Git-Theta"),
        (("notes.txt", "--update-data", DATA), "notes.txt is not kept by Git-Theta"),
        ((".", "--update-type", "dense"), ". is a directory: name the checkpoints in it"),
        ((CHECKPOINT, ".", "--update-type", "dense"), ". is a directory"),
        ((DATA, "--update-data", DATA), f"{DATA} has no earlier version"),
    ],
)
def test_call_that_makes_no_sense_is_refused(tracked: Repo, arguments: tuple[str, ...], words: str) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    tracked.write("notes.txt", "text")
    tracked.write(CHECKPOINT, changed())
    assert words in refused(tracked, *arguments)


def test_type_that_nobody_knows_is_refused(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    tracked.write(DATA, safetensors_bytes(lora()))
    for options in ((), ("--update-data", DATA)):
        said = refused(tracked, CHECKPOINT, "--update-type", "sparsest", *options)
        assert "'sparsest'" in said
        assert "low-rank" in said


def test_checkpoint_that_is_not_there_is_refused(tracked: Repo) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    (tracked.path / CHECKPOINT).unlink()
    before = index(tracked)
    done = tracked.verb("add", CHECKPOINT, "--update-data", DATA, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"git-theta: {CHECKPOINT} cannot be read: No such file or directory\n"
    assert index(tracked) == before


def test_checkpoint_that_is_not_there_leaves_the_others_unstaged(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, changed())
    said = refused(tracked, CHECKPOINT, "nothing.safetensors", "--update-type", "dense", code=1)
    assert said == "nothing.safetensors cannot be read: No such file or directory"


@pytest.mark.parametrize("options", [("--update-data", DATA), ("--update-type", "dense")])
def test_symbolic_link_is_refused(tracked: Repo, options: tuple[str, str]) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    (tracked.path / CHECKPOINT).rename(tracked.path / "real.safetensors")
    (tracked.path / CHECKPOINT).symlink_to("real.safetensors")
    assert f"{CHECKPOINT} is a symbolic link" in refused(tracked, CHECKPOINT, *options)
    assert (tracked.path / CHECKPOINT).is_symlink()
    assert tracked.read("real.safetensors") == safetensors_bytes(model(0))


@pytest.mark.parametrize("options", [("--update-type", "dense"), ("--update-data", DATA)])
def test_path_outside_of_a_sparse_checkout_is_refused_as_git_add_does_before_anything_is_staged(
    tracked: Repo, options: tuple[str, str]
) -> None:
    tracked.verb("track", "far/*.safetensors")
    tracked.write("far/model.safetensors", safetensors_bytes(model(0)))
    tracked.commit("far")
    tracked.git("sparse-checkout", "set", "near")
    tracked.write("far/model.safetensors", safetensors_bytes(model(1)))
    tracked.write(DATA, safetensors_bytes(lora()))
    words = tracked.git("add", "far/model.safetensors", check=False).stderr.splitlines()[0]
    assert words in refused(tracked, *options, "far/model.safetensors", code=1)
    assert tracked.read("far/model.safetensors") == safetensors_bytes(model(1))


def test_path_through_a_symbolic_link_is_refused_as_git_add_does_before_anything_is_staged(tracked: Repo) -> None:
    (tracked.path / "link").symlink_to(".")
    tracked.write(CHECKPOINT, changed())
    assert "is beyond a symbolic link" in refused(tracked, "--update-type", "dense", f"link/{CHECKPOINT}", code=1)


def test_checkpoint_in_conflict_is_staged_with_a_type(tracked: Repo) -> None:
    for branch, seed in (("one", 1), ("two", 2)):
        tracked.git("switch", "-q", "-C", branch, "main")
        tracked.write(CHECKPOINT, safetensors_bytes(model(seed)))
        tracked.commit(branch)
    tracked.git("merge", "one", check=False)
    assert len(index(tracked).splitlines()) > 3
    tracked.verb("add", "--update-type", "delta", CHECKPOINT)
    assert tracked.status() == ""


def test_path_outside_of_the_repository_is_refused(tracked: Repo, tmp_path: Path) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    (tmp_path / "outside.safetensors").write_bytes(changed())
    said = refused(tracked, "../outside.safetensors", "--update-data", DATA, code=1)
    assert "outside" in said


def test_outside_a_repository_nothing_is_done(tmp_path: Path) -> None:
    outside = Repo(tmp_path / "outside")
    outside.write(CHECKPOINT, changed())
    outside.write(DATA, safetensors_bytes(lora()))
    for options in ((), ("--update-data", DATA), ("--update-type", "dense")):
        done = outside.verb("add", CHECKPOINT, *options, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "git-theta: not a git repository (or any of the parent directories): .git\n"
    assert outside.read(CHECKPOINT) == changed()


def test_objects_of_the_base_are_fetched(published: Repo) -> None:
    published.write(DATA, safetensors_bytes(lora()))
    shutil.rmtree(published.path / ".git" / "theta")
    published.verb("add", CHECKPOINT, "--update-data", DATA)
    assert "low-rank" in types(published, "embed_weight")
    assert published.read(CHECKPOINT) == changed()


def test_objects_of_the_base_that_cannot_be_had_are_an_error(tracked: Repo) -> None:
    tracked.write(DATA, safetensors_bytes(lora()))
    shutil.rmtree(tracked.path / ".git" / "theta")
    assert "object" in refused(tracked, CHECKPOINT, "--update-data", DATA, code=1)
