"""A repository with branches of a model to merge, for the tests of git theta merge and resolve."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from tests.helpers import Repo, safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers import Arrays

MODEL = "model.safetensors"

BRANCHES: Mapping[str, Mapping[str, int]] = {
    "b1": {"attn": 1, "step": 1},
    "b2": {"attn": 2, "mlp": 2},
    "b3": {"attn": 3},
}
"""For each branch, the endings of the names of the groups that it changed, and the seed of the change."""


def layered(changes: Mapping[str, int] | None = None) -> Arrays:
    """The groups of a model of three layers.

    Args:
        changes: endings of names, and the seed of the change of all groups that end so.
    """
    generator = np.random.default_rng(0)
    arrays: Arrays = {
        f"h.{layer}.{kind}": generator.standard_normal((24, 24), dtype=np.float32)
        for layer in range(3)
        for kind in ("attn", "mlp")
    }
    arrays |= {"head": generator.standard_normal((4, 24), dtype=np.float32), "step": np.array(0, np.int64)}
    for ending, seed in (changes or {}).items():
        drawn = np.random.default_rng(seed)
        for name in arrays:
            if name == "step" == ending:
                arrays[name] = np.array(seed, np.int64)
            elif name.endswith(ending):
                arrays[name] = arrays[name] + 0.1 * drawn.standard_normal(arrays[name].shape, dtype=np.float32)
    return arrays


MODELS: Mapping[str, Arrays] = {
    "base": layered(),
    **{name: layered(changes) for name, changes in BRANCHES.items()},
    "attn5": layered({"attn": 5}),
    "attn6": layered({"attn": 6}),
    "b1-step5": layered({**BRANCHES["b1"], "step": 5}),
    "b2-step6": layered({**BRANCHES["b2"], "step": 6}),
    "head7": {"w": layered({"head": 7})["head"]},
    "head8": {"w": layered({"head": 8})["head"]},
}
"""The checkpoints that `grow` knows by name."""


def make(repo: Repo) -> None:
    """Fill a repository: "main" has the model, and each of `BRANCHES` changed it and added a text file.

    All models are added at once, on the branch "models", and the other branches are made of what came of that: so
    git starts the filter a few times, and not a few dozen times.
    """
    repo.verb("install", "--local")
    repo.verb("track", "*.safetensors")
    repo.git("checkout", "-q", "-b", "models")
    repo.commit("attributes")
    for name, arrays in MODELS.items():
        repo.write(f"{name}.safetensors", safetensors_bytes(arrays))
    repo.commit("models")
    grow(repo, "main", "models~1", {MODEL: "base", "notes.txt": "one\ntwo\nthree\n"})
    for name in BRANCHES:
        grow(repo, name, "main", {MODEL: name, f"{name}.txt": f"of {name}"})
    repo.git("checkout", "-q", "main")


def grow(repo: Repo, branch: str, start: str, files: Mapping[str, str | None], *, orphan: bool = False) -> None:
    """Make a branch of a commit on top of another one, past worktree and filters.

    Args:
        repo: where.
        branch: is made, or moved.
        start: the commit that it builds on.
        files: what is at each path: a text, a name of `MODELS`, or (None) nothing.
        orphan: whether it has no parent.
    """
    env = {"GIT_INDEX_FILE": str(repo.path / ".git" / "index-to-grow")}
    repo.git("read-tree", start, env=env)
    for path, content in files.items():
        if content is None:
            repo.git("update-index", "--force-remove", "--", path, env=env)
            continue
        known = content in MODELS
        blob = (
            repo.rev(f"models:{content}.safetensors")
            if known
            else repo.git("hash-object", "-w", "--stdin", "--no-filters", stdin=content).stdout.strip()
        )
        repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
    tree = repo.git("write-tree", env=env).stdout.strip()
    parents = () if orphan else ("-p", start)
    commit = repo.git("commit-tree", tree, *parents, "-m", branch).stdout.strip()
    repo.git("update-ref", f"refs/heads/{branch}", commit)


def copy(template: Path, target: Path) -> Repo:
    """A copy to work in."""
    shutil.copytree(template, target, symlinks=True)
    return Repo(target)


def values(repo: Repo, path: str = MODEL) -> Arrays:
    """The groups in the worktree, read by the real library."""
    return dict(safetensors.numpy.load_file(repo.path / path))


def state(repo: Repo) -> tuple[object, ...]:
    """All that a command must not change if it fails: refs, index, worktree, and what git knows to be going on."""
    files = {
        str(file.relative_to(repo.path)): file.read_bytes()
        for file in repo.path.rglob("*")
        if file.is_file() and ".git" not in file.relative_to(repo.path).parts
    }
    heads = sorted(file.name for file in (repo.path / ".git").iterdir() if file.name.endswith(("_HEAD", "_MSG")))
    ours = [name for name in heads if name not in ("ORIG_HEAD", "COMMIT_EDITMSG")]
    return repo.git("for-each-ref").stdout, repo.git("ls-files", "--stage").stdout, files, ours, repo.rev("HEAD")
