"""git theta diff-driver: whatever git hands it, it shows what it can, and never ends git's diff with an error."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from git_theta import tensors
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update
from git_theta.metadata_file import parse, serialize
from tests.conftest import CHECKPOINT
from tests.growth import grows_linearly
from tests.helpers import TIMEOUT, Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD = safetensors_bytes(model(0))
NEW = safetensors_bytes(model(0, head_weight=model(1)["head_weight"]))
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
NOISE = bytes(range(256)) * 40
ZEROS = "0" * 40
DIFFER = f"Binary files a/{CHECKPOINT} and b/{CHECKPOINT} differ"


def put(repo: Repo, content: bytes | str, message: str = "next") -> None:
    """Commit content at the checkpoint's path as it is, past all filters."""
    oid = repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=content).stdout.strip()
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{oid},{CHECKPOINT}")
    repo.git("commit", "-q", "-m", message)


def stored(repo: Repo, revision: str = "HEAD") -> bytes:
    return repo.git_bytes("cat-file", "blob", f"{revision}:{CHECKPOINT}")


def diff(repo: Repo, *arguments: str) -> list[str]:
    done = repo.git("diff", *arguments)
    assert done.stderr == ""
    return done.stdout.splitlines()


@contextmanager
def changed_config(repo: Repo, key: str, value: str) -> Iterator[None]:
    repo.git("config", key, value)
    yield
    repo.git("config", "--unset", key)


def call(repo: Repo, old: Path | str, new: Path | str, path: str = CHECKPOINT) -> list[str]:
    """Call the driver as git does, with files whose blobs have no names."""
    done = repo.verb("diff-driver", path, str(old), ZEROS, "100644", str(new), ZEROS, "100644")
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def _changed(_tracked: Path, isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert isolation
    repo = Repo(tmp_path_factory.mktemp("states") / "changed")
    shutil.copytree(_tracked, repo.path, symlinks=True)
    repo.write(CHECKPOINT, NEW)
    repo.commit("new")
    return repo.path


@pytest.fixture
def changed(_changed: Path, tmp_path: Path) -> Repo:
    """A repository with a second commit that has another head_weight."""
    shutil.copytree(_changed, tmp_path / "changed", symlinks=True)
    return Repo(tmp_path / "changed")


@pytest.fixture(scope="module")
def in_both(_changed: Path, isolation: Path, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """As changed, with a text file that changes with the checkpoint, in a third commit, the index and the worktree.

    For all who only look at it.
    """
    assert isolation
    repo = Repo(tmp_path_factory.mktemp("states") / "in_both")
    shutil.copytree(_changed, repo.path, symlinks=True)
    for step, add in enumerate((["commit", "-aqm", "both"], ["add", "-A"], [])):
        repo.write(CHECKPOINT, safetensors_bytes(model(0, norm_bias=model(step + 2)["norm_bias"])))
        repo.write("plain.txt", f"{step}")
        repo.git("add", "-N", "plain.txt")
        if add:
            repo.git(*add)
    return repo


def test_every_form_of_either_side_gives_the_same_answer(changed: Repo, tmp_path: Path) -> None:
    forms = {"old.theta": stored(changed, "HEAD~1"), "new.theta": stored(changed), "old": OLD, "new": NEW}
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
    answers = {
        tuple(line for line in call(changed, tmp_path / old, tmp_path / new) if not line.startswith("index"))
        for old in ("old", "old.theta")
        for new in ("new", "new.theta")
    }
    (answer,) = answers
    assert answer[-1] == "1 of 8 groups modified, 81.9 kB of 245.5 kB"
    assert "head_weight" in answer[3]


def test_of_the_worktree_names_the_blob_that_an_add_would_make(tracked: Repo) -> None:
    tracked.write(CHECKPOINT, NEW)
    shown = diff(tracked)
    tracked.git("add", CHECKPOINT)
    assert shown[1] == f"index {tracked.rev('HEAD:' + CHECKPOINT)[:7]}..{tracked.rev(':' + CHECKPOINT)[:7]} 100644"
    assert diff(tracked, "--cached") == shown


def test_names_of_blobs_in_a_repository_with_sha256(tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "long", "--object-format=sha256")
    repo.theta("track", "*.safetensors")
    repo.write(CHECKPOINT, OLD)
    repo.commit("old")
    repo.write(CHECKPOINT, NEW)
    shown = diff(repo)
    repo.git("add", CHECKPOINT)
    assert shown[1].startswith(f"index {repo.rev('HEAD:' + CHECKPOINT)[:7]}..{repo.rev(':' + CHECKPOINT)[:7]}")


def test_added_deleted_renamed_and_of_another_mode(tracked: Repo) -> None:
    tracked.git("mv", CHECKPOINT, "moved.safetensors")
    tracked.write("moved.safetensors", NEW)
    tracked.commit("moved")
    shown = diff(tracked, "-M40", "HEAD~1", "HEAD")
    assert shown[0] == "diff --git a/model.safetensors b/moved.safetensors"
    assert "rename from model.safetensors" in shown
    assert "rename to moved.safetensors" in shown
    assert "1 of 8 groups modified, 81.9 kB of 245.5 kB" in shown
    gone = diff(tracked, "--no-renames", "HEAD~1", "HEAD", "--", CHECKPOINT)
    assert gone[1] == "deleted file mode 100644"
    assert gone[-1] == "8 groups removed, 245.5 kB"
    added = diff(tracked, "--no-renames", "HEAD~1", "HEAD", "--", "moved.safetensors")
    assert added[1] == "new file mode 100644"
    assert added[-1] == "8 groups added, 245.5 kB"
    (tracked.path / "moved.safetensors").chmod(0o755)
    assert diff(tracked) == [
        "diff --git a/moved.safetensors b/moved.safetensors",
        "old mode 100644",
        "new mode 100755",
    ]


def test_unmerged_path_is_told_as_git_tells_it(in_merge_conflict: Repo) -> None:
    assert f"* Unmerged path {CHECKPOINT}" in in_merge_conflict.git("diff", "--cached").stdout


@pytest.mark.parametrize("is_old", [True, False])
@pytest.mark.parametrize(
    "content", [POINTER.encode(), NOISE, b"", b"text\n", OLD[:-1]], ids=["pointer", "noise", "empty", "text", "cut"]
)
def test_a_side_that_is_no_checkpoint_is_a_binary_file(
    tracked: Repo, tmp_path: Path, content: bytes, is_old: bool
) -> None:
    for name, data in (("noise", content), ("stored", stored(tracked))):
        (tmp_path / name).write_bytes(data)
    names = ("noise", "stored") if is_old else ("stored", "noise")
    assert call(tracked, *(tmp_path / name for name in names))[-1] == DIFFER
    assert call(tracked, tmp_path / "noise", tmp_path / "noise")[-1] == DIFFER


def test_pointer_that_was_committed_before_is_a_binary_file(tracked: Repo) -> None:
    put(tracked, POINTER)
    shown = diff(tracked, "HEAD~1", "HEAD")
    assert shown[0] == f"diff --git a/{CHECKPOINT} b/{CHECKPOINT}"
    assert shown[2:] == [DIFFER]


def test_checkpoints_that_were_committed_raw_are_compared(tracked: Repo) -> None:
    put(tracked, NEW)
    assert diff(tracked, "HEAD~1", "HEAD")[-1] == "1 of 8 groups modified, 81.9 kB of 245.5 kB"


@pytest.mark.parametrize("damage", ["cut", "edited", "newer", "conflict"])
def test_a_metadata_file_that_does_not_parse_makes_a_warning(changed: Repo, tmp_path: Path, damage: str) -> None:
    data = stored(changed)
    match damage:
        case "cut":
            bad = data[: len(data) // 2]
        case "edited":
            bad = data.replace(b'"dtype":"float32"', b'"dtype":"float33\x1b[31m"')
        case "newer":
            bad = data.replace(b'{"git-theta":1,', b'{"git-theta":2,')
        case _:
            bad = data.replace(b'"groups":[\n', b'"groups":[\n<<<<<<< ours\n')
    for name, content in (("good", data), ("bad", bad)):
        (tmp_path / name).write_bytes(content)
    files = [str(tmp_path / "good"), ZEROS, "100644", str(tmp_path / "bad"), ZEROS, "100644"]
    done = changed.verb("diff-driver", CHECKPOINT, *files)
    assert done.stdout.splitlines()[-1] == DIFFER
    assert done.stderr.startswith(f"git-theta: warning: {CHECKPOINT}: ")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_file_with_conflict_markers_is_a_binary_file(changed: Repo, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"<<<<<<< ours\n" + stored(changed))
    (tmp_path / "old").write_bytes(stored(changed))
    assert call(changed, tmp_path / "old", tmp_path / "new")[-1] == DIFFER


def test_opaque_checkpoint_is_compared_whole(tracked: Repo) -> None:
    tracked.git("rm", "-q", CHECKPOINT)
    tracked.write(CHECKPOINT, NOISE)
    tracked.git("add", CHECKPOINT)
    tracked.git("commit", "-q", "-m", "opaque")
    tracked.write(CHECKPOINT, NOISE[::-1])
    shown = tracked.git("diff").stdout.splitlines()
    assert shown[-1] == "1 of 1 group modified, 10.2 kB of 10.2 kB"
    assert shown[4].split()[:2] == ["file", "modified"]


def test_objects_that_are_missing_or_damaged_end_nothing(changed: Repo) -> None:
    entry = parse(stored(changed)).by_name()["head_weight"]
    assert entry.update.object is not None
    path = changed.objects()[entry.update.object.oid]
    path.chmod(0o644)
    path.write_bytes(b"\xff" * path.stat().st_size)
    done = changed.verb("diff", "HEAD~1", "HEAD")
    assert done.stdout.splitlines()[-1] == "1 of 8 groups modified, 81.9 kB of 245.5 kB"
    assert "the values of group 'head_weight' cannot be read" in done.stderr
    path.unlink()
    done = changed.verb("diff", "HEAD~1", "HEAD")
    assert "≈" in done.stdout
    assert done.stderr == ""


def test_control_characters_in_names_never_reach_the_terminal(tracked: Repo) -> None:
    bad = "a\x1b[2J\x07\nb"
    for seed in (1, 2):
        tracked.write(f"{bad}.safetensors", safetensors_bytes({bad: model(seed)["norm_bias"]}, {bad: f"{bad}{seed}"}))
        tracked.commit(str(seed))
    for arguments in (["HEAD~1", "HEAD"], ["--no-ext-diff", "HEAD~1", "HEAD"]):
        said = tracked.git("diff", *arguments).stdout
        assert all(char.isprintable() or char == "\n" for char in said)
        assert r"a\x1b[2J\x07\nb" in said
    assert r'diff --git "a/a\033[2J\a\nb.safetensors"' in said


def test_paths_that_look_like_options_are_paths(tracked: Repo) -> None:
    for content in (OLD, NEW):
        tracked.write("--help.safetensors", content)
        tracked.write("-h", content)
        tracked.write(".gitattributes", "* filter=theta diff=theta merge=theta -text\n.gitattributes !filter !diff\n")
        tracked.commit("odd")
    for options in ([], ["--no-ext-diff"]):
        said = tracked.git("diff", *options, "HEAD~1", "HEAD").stdout
        assert said.count("diff --git ") == 2
        assert said.count("head_weight") == (2 if not options else 4)


def test_groups_take_time_that_grows_with_their_number(repo: Repo, tmp_path: Path) -> None:
    def version(seed: int, size: int) -> bytes:
        entries = tuple(
            Entry(f"layers.{number}.w", "float32", (4,), tensors.digest(f"{number % 3 and seed} {number}".encode()), 0,
                  Update("dense", ObjectRef(tensors.digest(b"shared"), 1000, number)))
            for number in range(size)
        )  # fmt: skip
        return serialize(Metadata("safetensors", 16 * size, Skeleton(0, tensors.digest(b""), b"", None), entries))

    def show(size: int) -> Callable[[], object]:
        old, new = (tmp_path / f"{size} {seed}" for seed in (1, 2))
        old.write_bytes(version(1, size))
        new.write_bytes(version(2, size))
        shown = call(repo, old, new)
        assert shown[-1].startswith(f"{size // 3 * 2} of {size} groups modified, ")
        assert len(shown) == 6
        return lambda: call(repo, old, new)

    assert grows_linearly(show, 2400)


def test_settings_decide_what_is_shown(changed: Repo, tmp_path: Path) -> None:
    for seed in range(2):
        changed.write(CHECKPOINT, safetensors_bytes({f"h.{n}": model(seed)["norm_bias"] + n for n in range(4)}))
        changed.commit(str(seed))
        (tmp_path / str(seed)).write_bytes(stored(changed))

    def shown(key: str = "theta.other", value: str = "") -> str:
        with changed_config(changed, key, value):
            return "\n".join(call(changed, tmp_path / "0", tmp_path / "1"))

    assert "  h.*    4 modified" in shown()
    assert "  h.3    modified" in shown("theta.diff.fold", "false")
    assert "≈" in shown("theta.diff.stats", "estimate")
    assert "%" not in shown("theta.diff.stats", "none")
    assert "≈" not in shown("theta.diff.stats", "exact")
    changed.git("config", "theta.diff.stats", "perhaps")
    done = changed.verb("diff-driver", CHECKPOINT, *["x", ZEROS, "100644"] * 2, check=False)
    assert done.stderr == ("git-theta: theta.diff.stats is 'perhaps', which is none of auto, exact, estimate, none\n")


def test_same_blob_with_nothing_to_say(changed: Repo) -> None:
    oid = changed.rev(f"HEAD:{CHECKPOINT}")
    done = changed.verb("diff-driver", CHECKPOINT, "x", oid, "100644", "y", oid, "100755")
    assert done.stdout.splitlines()[1:] == ["old mode 100644", "new mode 100755"]


@pytest.mark.parametrize("count", [0, 2, 6, 8, 10])
def test_called_by_hand_it_says_that_it_is_for_git(changed: Repo, count: int) -> None:
    done = changed.verb("diff-driver", *["x"] * count, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "for git to call" in done.stderr


def test_metadata_that_only_keeps_values_in_another_way(changed: Repo, tmp_path: Path) -> None:
    metadata = parse(stored(changed))
    entries = tuple(
        replace(entry, update=replace(entry.update, parameters=(("note", 1),))) if entry.update.object else entry
        for entry in metadata.entries
    )
    (tmp_path / "old").write_bytes(stored(changed))
    (tmp_path / "new").write_bytes(serialize(replace(metadata, entries=entries)))
    shown = call(changed, tmp_path / "old", tmp_path / "new")
    assert shown[-2:] == ["  the same values, kept in another way", "none of 8 groups changed"]


def test_who_reads_nothing_is_told_nothing(changed: Repo) -> None:
    changed.write("other.safetensors", NEW)
    changed.commit("two of them")
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        ["git", "diff", "HEAD~2", "HEAD"], cwd=changed.path, stdout=writing, stderr=subprocess.PIPE
    ) as git:
        os.close(writing)
        assert git.communicate(timeout=TIMEOUT)[1] == b""
    assert git.returncode == 0


def test_who_reads_only_the_beginning_is_told_no_more(repo: Repo) -> None:
    repo.theta("track", "*.safetensors")
    for seed in (1, 2):  # more than a pipe takes without a reader
        values = np.random.default_rng(seed).random((1000, 2), np.float32)
        put(repo, safetensors_bytes({f"a{'b' * place}": two for place, two in enumerate(values)}))
    command = "git -c theta.diff.fold=false diff HEAD~1 HEAD | head -n 1"
    done = repo.run("sh", "-c", command, cwd=repo.path)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_an_external_program_that_is_the_driver_itself_ends(changed: Repo) -> None:
    said = changed.git("diff", "HEAD~1", "HEAD", env={"GIT_EXTERNAL_DIFF": "git-theta diff-driver"}).stdout
    assert said == changed.git("diff", "HEAD~1", "HEAD").stdout


@pytest.mark.parametrize(
    ("options", "no_prefix"),
    [
        ("", True),
        ("--no-prefix", False),
        ("--src-prefix=one/ --dst-prefix=two/", True),
        ("-R --src-prefix=one/", False),
    ],
)
def test_paths_have_the_prefixes_that_git_itself_writes(in_both: Repo, options: str, no_prefix: bool) -> None:
    said = in_both.git("-c", f"diff.noprefix={no_prefix}", "diff", *options.split(), "HEAD~1", "HEAD").stdout
    heads = [line for line in said.splitlines() if line.startswith("diff ")]
    (plain,) = (line for line in heads if "plain.txt" in line)
    assert plain.replace("plain.txt", CHECKPOINT) in heads


@pytest.mark.parametrize("options", ["", "-R --no-prefix"])
def test_commands_for_scripts_do_not_follow_the_settings(in_both: Repo, options: str) -> None:
    command = ["-c", "diff.noprefix=true", "diff-index", "-p", *options.split()]
    ours, gits = (in_both.git(*command, kind, "HEAD").stdout for kind in ("--ext-diff", "--no-ext-diff"))
    assert ours.splitlines()[0] == gits.splitlines()[0]


@pytest.mark.parametrize("arguments", ["", "HEAD", "--cached", "--cached HEAD~1", "HEAD~1 HEAD", "HEAD~1..", "-R HEAD"])
def test_prefixes_that_name_what_is_compared_are_those_that_git_itself_writes(
    in_both: Repo, global_config: Path, arguments: str
) -> None:
    with global_config.open("a") as file:
        file.write("[diff]\n\tmnemonicPrefix = true\n")
    heads = [line for line in diff(in_both, *arguments.split()) if line.startswith("diff ")]
    (plain,) = (line for line in heads if "plain.txt" in line)
    assert plain.replace("plain.txt", CHECKPOINT) in heads
    if not arguments.startswith("-R"):
        assert plain.replace("plain.txt", CHECKPOINT) in in_both.verb("diff", *arguments.split()).stdout


@pytest.mark.parametrize("options", ["-c core.abbrev=12 diff", "diff --abbrev=20", "diff --full-index", "diff"])
def test_names_of_blobs_are_as_long_as_git_itself_writes_them(in_both: Repo, tmp_path: Path, options: str) -> None:
    # A side that is not there has a name of its own.
    without = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    in_both.git("read-tree", "--empty", env=without)
    for arguments, env in (["HEAD~1", "HEAD"], None), (["--cached"], without):
        command = [*options.split(), *arguments, "--", CHECKPOINT]
        gits = in_both.git(*options.split(), "--no-ext-diff", *arguments, "--", CHECKPOINT, env=env).stdout
        (line,) = (line for line in gits.splitlines() if line.startswith("index "))
        assert line in in_both.git(*command, env=env).stdout.splitlines()
