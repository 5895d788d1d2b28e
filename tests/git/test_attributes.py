"""What track and untrack do to .gitattributes, and whether git understands it so."""

from __future__ import annotations

import os
import resource
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.errors import GitError, UsageError
from git_theta.git import attributes

if TYPE_CHECKING:
    from tests.helpers import Repo

OURS = "filter=theta diff=theta merge=theta -text"
TRACKED = {"filter": "theta", "diff": "theta", "merge": "theta", "text": "unset"}
UNTRACKED = dict.fromkeys(TRACKED, "unspecified")

PATTERNS = {
    "by ending": ("*.safetensors", "deep/er/model.safetensors", "model.bin"),
    "in a folder": ("models/*.bin", "models/a.bin", "a.bin"),
    "from the top": ("/model.bin", "model.bin", "models/model.bin"),
    "all below a folder": ("models/**", "models/deep/er.bin", "model"),
    "with a space": ("my model.bin", "my model.bin", "my"),
    "with a space at the end": ("model ", "model ", "model"),
    "with quotes": ('say "hi".bin', 'say "hi".bin', "hi"),
    "with a quote first": ('"hi".bin', '"hi".bin', "hi.bin"),
    "with a newline": ("two\nlines.bin", "two\nlines.bin", "lines.bin"),
    "with a tab and a carriage return": ("a\tb\r.bin", "a\tb\r.bin", "a"),
    "with an escaped backslash": (r"back\\slash.bin", r"back\slash.bin", "backslash.bin"),
    "with a backslash, a space and a quote": (r"a\\ b".replace(" ", ' "'), r'a\ "b', "a"),
    "with letters beyond ASCII": ("modèle-模型-🤖.bin", "modèle-模型-🤖.bin", "modele.bin"),
    "with a space beyond ASCII": ("a\u00a0b\u3000c.bin", "a\u00a0b\u3000c.bin", "a"),
    "with bytes that are not UTF-8": ("caf\udce9.bin", "caf\udce9.bin", "caf.bin"),
    "with a number sign first": ("#1.bin", "#1.bin", "1.bin"),
    "with a dash first": ("-rf.bin", "-rf.bin", "rf.bin"),
    "with an escaped exclamation mark first": (r"\!odd.bin", "!odd.bin", "odd.bin"),
    "with a set of characters": ("[ab]*.bin", "b1.bin", "c1.bin"),
    "with an equals sign": ("filter=theta", "filter=theta", "filter"),
}

patterns = pytest.mark.parametrize(("pattern", "path", "other"), PATTERNS.values(), ids=PATTERNS.keys())


@patterns
def test_git_gives_the_attributes_to_a_file_that_the_pattern_means(
    repo: Repo, pattern: str, path: str, other: str
) -> None:
    assert attributes.track(repo.path / ".gitattributes", pattern)
    assert repo.attributes(path) == TRACKED
    assert repo.attributes(other) == UNTRACKED


@patterns
@pytest.mark.parametrize("before", ["", "# a comment\n*.txt text\n"], ids=["alone", "among others"])
def test_untrack_takes_back_what_track_did(repo: Repo, pattern: str, path: str, other: str, before: str) -> None:
    file = repo.write(".gitattributes", before)
    attributes.track(file, pattern)
    assert repo.attributes(path) == TRACKED
    assert attributes.untrack(file, pattern)
    assert repo.attributes(path) == UNTRACKED
    assert repo.attributes(other) == UNTRACKED
    assert repo.read(".gitattributes").decode() == before


@patterns
def test_tracked_pattern_is_known_again(tmp_path: Path, pattern: str, path: str, other: str) -> None:
    file = tmp_path / ".gitattributes"
    attributes.track(file, pattern)
    content = file.read_bytes()
    assert attributes.tracked_patterns(file) == [pattern]
    assert not attributes.track(file, pattern)
    assert not attributes.untrack(file, path + other)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "name",
    ["a[1]*?.bin", "back\\slash.bin", "#1.bin", "[attr]x.bin", "-x y.bin", "two\nlines*.bin", "caf\udce9?.bin", "!odd"],
)
def test_literal_pattern_means_its_path(repo: Repo, name: str) -> None:
    attributes.track(repo.path / ".gitattributes", attributes.literal(name))
    assert repo.attributes(name) == TRACKED


@pytest.mark.parametrize(
    ("name", "other"),
    [("a[1].bin", "a1.bin"), ("*.bin", "model.bin"), ("a?.bin", "ab.bin"), ("a\\b.bin", "ab.bin")],
)
def test_literal_pattern_means_no_other_name(repo: Repo, name: str, other: str) -> None:
    attributes.track(repo.path / ".gitattributes", attributes.literal(name))
    assert repo.attributes(name) == TRACKED
    assert repo.attributes(other) == UNTRACKED


def test_no_file_yet_one_is_made_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / ".gitattributes"
    assert attributes.tracked_patterns(file) == []
    assert not attributes.untrack(file, "*.bin")
    assert not file.exists()
    assert attributes.track(file, "*.bin")
    assert file.read_text() == f"*.bin {OURS}\n"


def test_comments_blank_lines_and_other_patterns_stay_as_they_are(repo: Repo) -> None:
    before = "# models\n\n  \n*.txt   text\teol=lf\n\t*.png binary\n#*.bin filter=theta\n"
    file = repo.write(".gitattributes", before)
    attributes.track(file, "*.bin")
    assert repo.read(".gitattributes").decode() == f"{before}*.bin {OURS}\n"
    attributes.untrack(file, "*.bin")
    assert repo.read(".gitattributes").decode() == before


def test_no_final_newline_the_new_line_is_a_line_of_its_own(repo: Repo) -> None:
    file = repo.write(".gitattributes", "*.txt text")
    attributes.track(file, "*.bin")
    assert repo.read(".gitattributes").decode() == f"*.txt text\n*.bin {OURS}\n"
    assert repo.attributes("a.bin") == TRACKED
    assert repo.attributes("a.txt")["text"] == "set"


def test_windows_line_ends_are_kept_and_used(repo: Repo) -> None:
    file = repo.write(".gitattributes", "# hello\r\n*.txt text\r\n*.pt filter=lfs\r\n")
    attributes.track(file, "*.bin")
    attributes.track(file, "*.pt")
    assert repo.read(".gitattributes") == f"# hello\r\n*.txt text\r\n*.pt {OURS}\r\n*.bin {OURS}\r\n".encode()
    assert repo.attributes("a.bin") == TRACKED
    assert repo.attributes("a.pt") == TRACKED
    assert not attributes.track(file, "*.bin")
    attributes.untrack(file, "*.bin")
    assert repo.attributes("a.bin") == UNTRACKED
    assert repo.read(".gitattributes") == f"# hello\r\n*.txt text\r\n*.pt {OURS}\r\n".encode()


def test_bytes_that_are_not_utf8_stay_as_they_are(repo: Repo) -> None:
    before = b"# caf\xe9\n*.\xff\xfe text\n"
    file = repo.write(".gitattributes", before)
    attributes.track(file, "*.bin")
    assert repo.read(".gitattributes") == before + f"*.bin {OURS}\n".encode()
    attributes.untrack(file, "*.bin")
    assert repo.read(".gitattributes") == before


@pytest.mark.parametrize(
    "line",
    [
        "*.bin filter=lfs diff=lfs merge=lfs -text lockable",
        "*.bin lockable filter=lfs diff=lfs merge=lfs -text",
        "  *.bin\tlockable !filter -diff merge text=auto",
        '"*.bin" lockable -filter',
        '"\\052.bin" lockable filter',
    ],
)
def test_line_of_the_pattern_is_taken_over_and_its_other_attributes_stay(repo: Repo, line: str) -> None:
    file = repo.write(".gitattributes", f"*.txt text\n{line}\n*.pt lockable\n")
    assert attributes.track(file, "*.bin")
    lines = repo.read(".gitattributes").decode().splitlines()
    assert (lines[0], len(lines), lines[2]) == ("*.txt text", 3, "*.pt lockable")
    assert repo.attributes("a.bin") == TRACKED
    assert repo.attributes("a.bin", "lockable") == {"lockable": "set"}
    attributes.untrack(file, "*.bin")
    assert repo.attributes("a.bin") == UNTRACKED
    assert repo.attributes("a.bin", "lockable") == {"lockable": "set"}


def test_line_with_a_macro_that_says_otherwise_is_overruled(repo: Repo) -> None:
    """The macro "binary" is -diff -merge -text, and the last word of a line wins."""
    file = repo.write(".gitattributes", "*.bin binary\n")
    attributes.track(file, "*.bin")
    assert repo.attributes("a.bin") == TRACKED


def test_earlier_and_later_lines_of_other_patterns_do_not_matter_to_a_new_one(repo: Repo) -> None:
    file = repo.write(".gitattributes", "* text=auto\n*.bin filter=lfs diff=lfs merge=lfs -text\n")
    attributes.track(file, "model.*")
    assert repo.attributes("model.bin") == TRACKED
    assert repo.attributes("other.bin")["filter"] == "lfs"


def test_several_lines_of_the_pattern_the_last_one_that_git_obeys_is_changed(repo: Repo) -> None:
    file = repo.write(".gitattributes", f"*.bin {OURS}\n*.txt text\n*.bin filter=lfs -diff lockable\n")
    assert attributes.track(file, "*.bin")
    assert repo.attributes("a.bin") == TRACKED
    assert attributes.untrack(file, "*.bin")
    assert repo.attributes("a.bin") == UNTRACKED
    assert repo.attributes("a.bin", "lockable") == {"lockable": "set"}
    assert attributes.tracked_patterns(file) == []


def test_line_that_says_so_in_part_is_completed(repo: Repo) -> None:
    file = repo.write(".gitattributes", "*.bin filter=theta\n")
    assert attributes.track(file, "*.bin")
    assert repo.read(".gitattributes").decode() == f"*.bin {OURS}\n"


def test_tracked_already_the_file_is_not_touched(repo: Repo) -> None:
    file = repo.write(".gitattributes", f"*.bin {OURS} lockable")
    os.utime(file, ns=(0, 0))
    assert not attributes.track(file, "*.bin")
    assert not attributes.untrack(file, "*.pt")
    assert file.stat().st_mtime_ns == 0


def test_untrack_leaves_lines_that_others_wrote(repo: Repo) -> None:
    before = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.bin -text\n"
    file = repo.write(".gitattributes", before)
    assert not attributes.untrack(file, "*.bin")
    assert repo.read(".gitattributes").decode() == before


def test_macro_definition_is_no_pattern(repo: Repo) -> None:
    before = f"[attr]checkpoint {OURS}\n*.pt checkpoint\n"
    file = repo.write(".gitattributes", before)
    assert attributes.tracked_patterns(file) == []
    assert not attributes.untrack(file, "[attr]checkpoint")
    attributes.track(file, "*.bin")
    assert repo.read(".gitattributes").decode() == f"{before}*.bin {OURS}\n"
    assert repo.attributes("a.pt") == TRACKED


def test_pattern_that_git_takes_for_a_macro_definition_is_not_said_to_be_tracked(repo: Repo) -> None:
    try:
        attributes.track(repo.path / ".gitattributes", "[attr]x.bin")
    except UsageError:
        assert not (repo.path / ".gitattributes").exists()
    else:
        assert repo.attributes("ax.bin") == TRACKED


@pytest.mark.parametrize("blank", ["\u00a0", "\x0c"])
def test_only_gits_own_blanks_part_words(repo: Repo, blank: str) -> None:
    """Git splits at space, tab and line ends; Python's str.split() and \\s know many more."""
    file = repo.write(".gitattributes", f"a{blank}b.bin filter=theta note=x{blank}y\n")
    assert repo.attributes(f"a{blank}b.bin", "note") == {"note": f"x{blank}y"}
    assert attributes.track(file, f"a{blank}b.bin")
    assert repo.attributes(f"a{blank}b.bin") == TRACKED
    assert repo.attributes(f"a{blank}b.bin", "note") == {"note": f"x{blank}y"}
    assert attributes.untrack(file, f"a{blank}b.bin")
    assert repo.attributes(f"a{blank}b.bin") == UNTRACKED


def test_byte_order_mark_is_no_part_of_the_first_pattern(repo: Repo) -> None:
    file = repo.write(".gitattributes", b"\xef\xbb\xbf" + f"*.bin {OURS}\n".encode())
    assert repo.attributes("a.bin") == TRACKED
    assert attributes.tracked_patterns(file) == ["*.bin"]
    assert attributes.untrack(file, "*.bin")
    assert repo.attributes("a.bin") == UNTRACKED


def test_tracked_patterns_come_unquoted_and_in_order(repo: Repo) -> None:
    file = repo.write(
        ".gitattributes",
        f'# {OURS}\n"b b" {OURS}\n*.a lockable filter=theta\n*.c filter=lfs\n'
        f'"\\303\\251" {OURS}\r\n*.d filter=theta2\n',
    )
    assert attributes.tracked_patterns(file) == ["b b", "*.a", "é"]


@pytest.mark.parametrize("pattern", ["!*.bin", "!", ""])
def test_negative_or_empty_pattern_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="no pattern"):
        attributes.track(tmp_path / ".gitattributes", pattern)
    assert not (tmp_path / ".gitattributes").exists()


@pytest.mark.parametrize(("pattern", "better"), [("models/", "models/**"), ("/", "/**"), ("a b/", "a b/**")])
def test_pattern_with_a_trailing_slash_is_refused_and_a_better_one_is_named(
    repo: Repo, pattern: str, better: str
) -> None:
    with pytest.raises(UsageError) as refused:
        attributes.track(repo.path / ".gitattributes", pattern)
    assert repr(better) in str(refused.value)
    assert not (repo.path / ".gitattributes").exists()
    attributes.track(repo.path / ".gitattributes", better)
    assert repo.attributes(f"{pattern.lstrip('/')}model.bin") == TRACKED


def test_file_that_is_a_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / ".gitattributes").mkdir()
    with pytest.raises(GitError, match="cannot be read"):
        attributes.track(tmp_path / ".gitattributes", "*.bin")
    with pytest.raises(GitError, match="cannot be read"):
        attributes.tracked_patterns(tmp_path / ".gitattributes")


def test_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="cannot be written"):
        attributes.track(tmp_path / "gone" / ".gitattributes", "*.bin")


def test_disk_is_full_the_lines_that_were_there_stay(tmp_path: Path) -> None:
    file = tmp_path / ".gitattributes"
    file.write_text("*.txt text\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(GitError, match="cannot be written"):
            attributes.track(file, "*.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "*.txt text\n"
    assert list(tmp_path.iterdir()) == [file]


def test_mode_of_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / ".gitattributes"
    file.touch(0o640)
    attributes.track(file, "*.bin")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_symbolic_link_is_refused(repo: Repo, tmp_path: Path) -> None:
    """Git does not follow a .gitattributes that is a link, so nothing would be tracked; and the target is not ours."""
    target = tmp_path / "elsewhere"
    target.write_text("precious\n")
    (repo.path / ".gitattributes").symlink_to(target)
    with pytest.raises(GitError):
        attributes.track(repo.path / ".gitattributes", "*.bin")
    assert target.read_text() == "precious\n"


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("!", "[attr]")) and not name.endswith("/")
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(names)
def test_property_any_pattern_can_be_written_found_and_taken_back(pattern: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, ".gitattributes")
        assert attributes.track(file, pattern)
        assert attributes.tracked_patterns(file) == [pattern]
        assert not attributes.track(file, pattern)
        assert attributes.untrack(file, pattern)
        assert file.read_bytes() == b""


lines = st.lists(
    st.one_of(
        st.sampled_from(
            [b"", b"# note", b"*.txt text", b'"a b" -diff', b'"torn', b"[attr]m -diff", b"\xff\xfe x", b" "]
        ),
        st.binary(max_size=8).map(lambda data: data.replace(b"\n", b"").replace(b"*", b"")),
    ),
    max_size=5,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(lines, st.booleans())
def test_property_whatever_else_the_file_holds_stays(before: list[bytes], final_newline: bool) -> None:
    text = b"\n".join(before)
    ended = text if not text or text.endswith(b"\n") else text + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, ".gitattributes")
        file.write_bytes(ended if final_newline else text)
        assert attributes.track(file, "*.bin")
        assert file.read_bytes().startswith(ended)
        assert attributes.untrack(file, "*.bin")
        assert file.read_bytes() == ended
