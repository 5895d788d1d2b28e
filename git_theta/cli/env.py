"""`git theta env`: what a bug report needs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final

import click

from git_theta import __version__
from git_theta.cli.boundary import printable
from git_theta.cli.workspace import Workspace
from git_theta.errors import GitError
from git_theta.git import command as git
from git_theta.git import drivers, hooks
from git_theta.kernels import native

_PACKAGES: Final = (
    "blake3",
    "click",
    "ml_dtypes",
    "msgpack",
    "msgspec",
    "numpy",
    "prompt_toolkit",
    "tensorstore",
    "torch",
    "safetensors",
    "flax",
    "zstandard",
)
_VARIABLES: Final = (
    "GIT_THETA_MERGE",
    "GIT_THETA_PARAMETER_ATOL",
    "GIT_THETA_PARAMETER_RTOL",
    "GIT_THETA_SKIP_SMUDGE",
    "GIT_THETA_TRACE",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
)


@click.command("env")
def command() -> None:
    """Show versions, settings and paths."""
    for key, value in [*_versions(), *_configuration(), *_repository()]:
        click.echo(f"{key}={printable(value)}")


def _versions() -> Iterator[tuple[str, str]]:
    yield "git-theta", __version__
    yield "git", _said("--version")
    yield "git-lfs", _said("lfs", "version") or "(not installed)"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    yield "kernels", "NumPy (no compiled ones)" if native is None else "compiled"
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "(not installed)"


def _configuration() -> Iterator[tuple[str, str]]:
    for key in drivers.wanted(skip_smudge=False):
        yield key, _said("config", "--show-origin", "--get", key).replace("\t", " ") or "(not set)"
    for name in _VARIABLES:
        if name in os.environ:
            yield name, os.environ[name]


def _repository() -> Iterator[tuple[str, str]]:
    try:
        workspace = Workspace.here()
    except GitError as error:
        yield "repository", f"({error})"
        return
    yield "repository", str(workspace.repository.git_dir)
    yield "objects", str(workspace.store.root / "objects")
    yield "pre-push hook", "installed" if hooks.is_installed(workspace.repository) else "(not installed)"
    for key, value in workspace.repository.settings().items():
        yield f"theta.{key}", value


def _said(*arguments: str) -> str:
    status, output, _ = git.attempt(arguments)
    return os.fsdecode(output).strip() if status == 0 else ""
