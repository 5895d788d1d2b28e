"""`git theta demo`: the whole story in a minute, with real git in a folder of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from git_theta.errors import GitError, UsageError

_WIDTH: Final = 512
_VOCABULARY: Final = 4096
_BLOCKS: Final = 2
_FILE: Final = "model.safetensors"

Model = dict[str, npt.NDArray[np.float32]]


@click.command("demo")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def command(directory: Path | None) -> None:
    """Make a small repository in DIRECTORY (by default a new temporary one), printing each command that is run.

    Your own git configuration is neither used nor changed.
    """
    place = directory or Path(tempfile.mkdtemp(prefix="git-theta-demo-"))
    if place.exists() and any(place.iterdir()):
        raise UsageError(f"{place} is not empty: name a folder that is not there yet")
    place.mkdir(parents=True, exist_ok=True)
    _tell(_Stage(place.resolve()))


class _Stage(Struct, frozen=True):
    """A folder in which commands are shown and run."""

    place: Path

    def say(self, text: str) -> None:
        click.echo(f"\n# {text}")

    def run(self, *words: str, at: str = "model") -> str:
        """Print a command, run it, and print what it says.

        Raises:
            GitError: it failed.
        """
        click.echo(f"{at}$ {shlex.join(words)}")
        done = subprocess.run(
            words, cwd=self.place / at, env=self._environment(), capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        if output.strip():
            click.echo(output.rstrip())
        if done.returncode:
            raise GitError(f"the demo stops here: {words[0]} exited with status {done.returncode}")
        return output

    def train(self, what: str, model: Model, *prefixes: str) -> Model:
        """Move the groups whose names begin so, and save the model."""
        click.echo(f"model$ # (train: {what})")
        generator = np.random.default_rng(len(what))
        changed = {
            name: values + 0.01 * generator.standard_normal(values.shape, dtype=np.float32)
            if name.startswith(prefixes)
            else values
            for name, values in model.items()
        }
        self.save(changed)
        return changed

    def save(self, model: Model) -> None:
        from git_theta.checkpoints import Values
        from git_theta.checkpoints.safetensors import Safetensors

        groups = {name: Values("float32", array.shape, array.tobytes()) for name, array in model.items()}
        (self.place / "model" / _FILE).write_bytes(b"".join(Safetensors().write(groups, None)))

    def digest(self, folder: str) -> str:
        return sha256((self.place / folder / _FILE).read_bytes()).hexdigest()

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return {
            **kept,
            # This very git-theta is the one that git calls, wherever it is installed.
            "PATH": os.pathsep.join([str(Path(sys.argv[0]).resolve().parent), os.environ.get("PATH", "")]),
            "GIT_CONFIG_GLOBAL": str(self.place / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }


def _tell(stage: _Stage) -> None:
    (stage.place / "model").mkdir()
    (stage.place / "gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n[advice]\n\tdetachedHead = false\n"
    )
    stage.say("Make git call Git-Theta, and say which files are checkpoints.")
    stage.run("git", "theta", "install")
    stage.run("git", "init", "--quiet", "--initial-branch=main")
    stage.run("git", "theta", "track", "*.safetensors")
    stage.say("Commit a model. Git keeps a small text file; the values are kept once, by parameter group.")
    base = _base()
    stage.save(base)
    stage.run("git", "add", ".gitattributes", _FILE)
    stage.run("git", "commit", "--quiet", "-m", "base")
    stage.run("git", "theta", "ls-files", "--size")
    stage.say("Two people train different layers, on two branches.")
    stage.run("git", "checkout", "--quiet", "-b", "tune")
    stage.train("block 1", base, "h.1.")
    stage.run("git", "commit", "--quiet", "-am", "tune block 1")
    tuned = stage.digest("model")
    stage.run("git", "checkout", "--quiet", "main")
    stage.train("the output head", base, "head.")
    stage.run("git", "commit", "--quiet", "-am", "train the head")
    stage.say("What changed, layer by layer.")
    stage.run("git", "diff", "HEAD~1", "HEAD")
    stage.say("Merge: each layer comes from the branch that changed it.")
    stage.run("git", "merge", "--no-edit", "tune")
    stage.run("git", "status", "--short")
    stage.say("Push to a remote, clone it, and get the very same bytes.")
    stage.run("git", "init", "--quiet", "--bare", "--initial-branch=main", "remote.git", at=".")
    stage.run("git", "remote", "add", "origin", "../remote.git")
    stage.run("git", "push", "--quiet", "--set-upstream", "origin", "main", "tune")
    stage.run("git", "clone", "--quiet", "remote.git", "clone", at=".")
    _compare("the clone's main is the merged model", stage.digest("clone"), stage.digest("model"))
    stage.run("git", "checkout", "--quiet", "tune", at="clone")
    _compare("the clone's tune is the tuned model", stage.digest("clone"), tuned)
    stage.say("What was installed above is for the demo alone: let both repositories know of Git-Theta without it.")
    for folder in ("model", "clone"):
        stage.run("git", "theta", "install", "--local", at=folder)
    _sum_up(stage)


def _base() -> Model:
    generator = np.random.default_rng(0)
    shapes = {"embedding.weight": (_VOCABULARY, _WIDTH), "head.weight": (_WIDTH, _WIDTH), "head.bias": (_WIDTH,)}
    for block in range(_BLOCKS):
        shapes |= {
            f"h.{block}.attention.weight": (_WIDTH, 3 * _WIDTH),
            f"h.{block}.mlp.weight": (_WIDTH, 4 * _WIDTH),
            f"h.{block}.norm.weight": (_WIDTH,),
        }
    return {name: 0.02 * generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def _compare(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise GitError(f"the demo found a difference where there must be none: {what}")
    click.echo(f"# SHA-256 {found[:16]}...: {what}")


def _sum_up(stage: _Stage) -> None:
    size = (stage.place / "model" / _FILE).stat().st_size
    kept = sum(path.stat().st_size for path in (stage.place / "model/.git/theta/objects").rglob("*") if path.is_file())
    click.echo(
        f"\nFour versions of a {size / 1e6:.1f} MB model are kept in {kept / 1e6:.1f} MB. "
        f"Look around in {stage.place}; remove it when you are done."
    )
