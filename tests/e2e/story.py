"""A story of three commits, and what git commands show of it; none of them may touch a file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.conftest import CHECKPOINT, copied
from tests.helpers import Repo, model, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


GROUPS = tuple(model(0))
BASE = model(0)
TUNED = model(0, attn_weight=model(1)["attn_weight"], attn_bias=model(1)["attn_bias"])
HEADED = {**TUNED, "head_weight": model(2)["head_weight"]}
VERSIONS = {"base": safetensors_bytes(BASE), "tuned": safetensors_bytes(TUNED), "headed": safetensors_bytes(HEADED)}
EDITED = safetensors_bytes({**HEADED, "embed_weight": model(3)["embed_weight"]})
TUNING = {"attn_weight", "attn_bias"}


def make(tracked: Path, path: Path) -> Repo:
    """Three commits, each with a tag: "base", "tuned" (attn_*) and "headed" (head_weight)."""
    repo = copied(tracked, path)
    repo.write("notes.txt", "one\n")
    repo.git("tag", "base")
    for tag in ("tuned", "headed"):
        repo.write(CHECKPOINT, VERSIONS[tag])
        repo.write("notes.txt", f"{tag}\n")
        repo.commit(tag)
        repo.git("tag", tag)
    _settle(repo)
    return repo


def state(repo: Repo) -> tuple[str, str, dict[str, bytes]]:
    """All that git status depends on. It would start the filter for each file that differs from the index."""
    paths = [path for path in sorted(repo.path.rglob("*")) if ".git" not in path.relative_to(repo.path).parts]
    files = {str(path): path.read_bytes() for path in paths if path.is_file()}
    return repo.git("ls-files", "--stage").stdout, repo.rev("HEAD"), files


@contextmanager
def untouched(repo: Repo) -> Iterator[None]:
    """Make sure that worktree, index and HEAD stay as they are."""
    before = state(repo)
    yield
    assert state(repo) == before


def shown(repo: Repo, *arguments: str, cwd: Path | None = None, status: int = 0) -> str:
    """What a git command prints: text, and nothing that a terminal could take amiss."""
    with untouched(repo):
        done = repo.git(*arguments, check=False, cwd=cwd)
    assert (done.returncode, done.stderr) == (status, "")
    assert all(char.isprintable() or char in "\n\t" for char in done.stdout), done.stdout
    return done.stdout


def told(text: str) -> set[str]:
    """The groups that a text names."""
    return {name for name in GROUPS if name in text}


def marked(text: str) -> set[str]:
    """The groups that a patch adds or takes away."""
    return told("".join(line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")))


def _settle(repo: Repo) -> None:
    """Let git trust the time stamps of the files, in copies of the repository as well."""
    repo.git("config", "core.checkStat", "minimal")
    repo.git("config", "core.trustctime", "false")
    for name in (CHECKPOINT, "notes.txt"):
        os.utime(repo.path / name, (1_700_000_000, 1_700_000_000))
    assert repo.status() == ""
