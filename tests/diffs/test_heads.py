"""The lines above a diff: the very ones that git writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_theta.diffs.heads import FileSide, differ_line, head_lines, quoted, rename_lines

if TYPE_CHECKING:
    from tests.helpers import Repo

NAMES = ["m.bin", "with space", 'quo"te', "back\\slash", "tab\there", "größe", "a\x1b[31m\x7f", "new\nline", "\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted_as_git_quotes_them(repo: Repo, name: str) -> None:
    repo.write(name, b"\0one")
    repo.commit("one")
    repo.write(name, b"\0two")
    said = repo.git("diff").stdout.split("\n")
    old, new = (FileSide(name, "100644", repo.git("hash-object", "--no-filters", "--stdin", stdin=data).stdout.strip())
                for data in (b"\0one", b"\0two"))  # fmt: skip
    assert [*head_lines(old, new), differ_line(old, new), ""] == said


@pytest.mark.parametrize("what", ["added", "deleted", "mode", "renamed"])
def test_lines_are_those_of_git(repo: Repo, what: str) -> None:
    first, second = "".join(f"{n}\n" for n in range(50)), "".join(f"{n}\n" for n in range(51))
    ids = [repo.git("hash-object", "-w", "--stdin", stdin=text).stdout.strip() for text in (first, second)]
    repo.write("other", "x")
    if what != "added":
        repo.write("a file", first)
    repo.commit("one")
    more = None
    old, new = FileSide("a file", "100644", ids[0]), FileSide("a file", "100644", ids[1])
    match what:
        case "added":
            repo.write("a file", second)
            old = FileSide("a file", None)
        case "deleted":
            (repo.path / "a file").unlink()
            new = FileSide("a file", None)
        case "mode":
            repo.write("a file", second).chmod(0o755)
            new = FileSide("a file", "100755", ids[1])
        case _:
            (repo.path / "a file").unlink()
            repo.write("b\tfile", second)
            new = FileSide("b\tfile", "100644", ids[1])
    repo.git("add", "--all")
    said = repo.git("diff", "--cached", "-M").stdout.split("\n--- ")[0].split("\n")
    if what == "renamed":
        more = list(rename_lines(old, new, int(said[1].split()[2].removesuffix("%"))))
    assert list(head_lines(old, new, more)) == said


def test_plain_names_stay_plain() -> None:
    assert quoted("a/b c-1.safetensors") == "a/b c-1.safetensors"


def test_unknown_names_of_blobs_are_not_made_up() -> None:
    old, new = FileSide("a", "100644"), FileSide("b", "100644")
    assert list(head_lines(old, new)) == ["diff --git a/a b/b"]
    assert list(head_lines(FileSide("a", "100644", "1" * 40), FileSide("a", "100644", "0" * 40)))[1:] == [
        "index 1111111..0000000 100644"
    ]
