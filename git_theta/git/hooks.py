"""The pre-push hook: it uploads objects before git pushes the commits that need them.

A hook that is there already is never lost: it is moved aside and called first, with the same arguments and input.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from git_theta.errors import GitError
from git_theta.git import scripts
from git_theta.git.repository import Repository

_NAME: Final = "pre-push"
_CHAINED: Final = "pre-push.before-theta"
_MARK: Final = "# Written by git-theta"
_SCRIPT: Final = f"""#!/bin/sh
{_MARK}: uploads the objects of model checkpoints before a push.
# A hook that was here before lies beside this one as {_CHAINED} and runs first.
# "git theta uninstall" puts it back.
if ! command -v git-theta >/dev/null 2>&1; then
    echo "This repository keeps checkpoints with Git-Theta, but 'git-theta' is not on the PATH." >&2
    echo "Install it (pip install git-theta) or remove the hook: $0" >&2
    exit 2
fi
chained="$(dirname "$0")/{_CHAINED}"
if [ ! -x "$chained" ]; then
    exec git-theta pre-push "$@"
fi
# Some hooks look at their own name (husky): what a shell reads is read under the name that it had.
chained() {{
    case "$(head -c 40 "$chained" | tr -d '\\000' | head -n 1)" in
    "#!/bin/sh" | "#!/usr/bin/env sh") sh -c 'theta="$1"; shift; . "$theta"' "$0" "$chained" "$@" ;;
    "#!/bin/bash" | "#!/usr/bin/env bash") bash -c 'theta="$1"; shift; . "$theta"' "$0" "$chained" "$@" ;;
    *) "$chained" "$@" ;;
    esac
}}
updates="$(cat; echo .)"
updates="${{updates%.}}"
printf '%s' "$updates" | chained "$@" || exit $?
printf '%s' "$updates" | git-theta pre-push "$@"
"""


def directory(repository: Repository) -> Path:
    """Where git looks for hooks (core.hooksPath is honoured)."""
    output = repository.git("rev-parse", "--path-format=absolute", "--git-path", "hooks")
    return Path(os.fsdecode(output).removesuffix("\n"))


def is_installed(repository: Repository) -> bool:
    """Whether the hook is there and will be called."""
    hook = directory(repository) / _NAME
    return _is_ours(hook) and os.access(hook, os.X_OK)


def install(repository: Repository) -> Path | None:
    """Write the hook; returns where an earlier hook was moved to, if there was one.

    Raises:
        GitError: the directory cannot be written, or two earlier hooks compete.
    """
    folder = directory(repository)
    hook, chained = folder / _NAME, folder / _CHAINED
    moved = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_ours(hook) and os.path.lexists(hook):
            moved = chained if _keep(hook, chained) else None
        scripts.write(hook, _SCRIPT)
    except OSError as error:
        raise GitError(f"the pre-push hook cannot be written to {folder}: {error.strerror}") from error
    return moved


def uninstall(repository: Repository) -> bool:
    """Remove the hook and put back the one that was there before; False if ours was not there."""
    folder = directory(repository)
    hook, chained = folder / _NAME, folder / _CHAINED
    if not _is_ours(hook):
        return False
    try:
        if os.path.lexists(chained):
            chained.replace(hook)
        else:
            hook.unlink()
    except OSError as error:
        raise GitError(f"the pre-push hook in {folder} cannot be removed: {error.strerror}") from error
    return True


def _keep(hook: Path, chained: Path) -> bool:
    """Give an earlier hook the name that ours calls it by; False if it had it already.

    Git finds it where it was until ours takes its place, whoever is killed meanwhile, or does the same.

    Raises:
        GitError: another hook has that name.
        OSError: the directory cannot be written.
    """
    try:
        os.link(hook, chained, follow_symlinks=False)
    except FileExistsError:
        # `git lfs update --force` writes the hook anew that we call already; and somebody may just have installed ours.
        if not _are_same(hook, chained) and not _is_ours(hook):
            raise GitError(f"both {hook} and {chained} exist: remove the one you do not need and try again") from None
        return False
    except OSError:
        hook.replace(chained)  # Not every file system has links.
    return True


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _is_ours(hook: Path) -> bool:
    try:
        return _MARK.encode() in hook.read_bytes()
    except OSError:
        return False
