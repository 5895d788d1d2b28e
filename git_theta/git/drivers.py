"""The configuration that makes git call Git-Theta."""

from __future__ import annotations

import re
from typing import Final

from git_theta.errors import GitError
from git_theta.git import command

_SECTIONS: Final = ("filter.theta", "merge.theta", "mergetool.theta", "diff.theta")
_DIFFS: Final = {"diff.theta.command": "git-theta diff-driver", "diff.theta.textconv": "git-theta textconv"}


def wanted(*, skip_smudge: bool) -> dict[str, str]:
    """Key and value of each setting."""
    skip = " --skip" if skip_smudge else ""
    return {
        "filter.theta.clean": "git-theta clean -- %f",
        "filter.theta.smudge": f"git-theta smudge{skip} -- %f",
        "filter.theta.process": f"git-theta filter-process{skip}",
        "filter.theta.required": "true",
        "merge.theta.name": "merge model checkpoints by parameter group (Git-Theta)",
        "merge.theta.driver": "git-theta merge-driver --marker-size %L %O %A %B %P",
        # Git adds what is in the worktree when this exits with 0, and a plug-in may end its process so.
        "mergetool.theta.cmd": 'git-theta resolve -- "$MERGED" && '
        'test -z "$(git --literal-pathspecs ls-files --unmerged -- "$MERGED")"',
        "mergetool.theta.trustExitCode": "true",
        **_DIFFS,
    }


def are_installed() -> bool:
    """Whether git would call us, by whatever scope."""
    return all(_get(key) is not None for key in ("filter.theta.process", "merge.theta.driver"))


def skips_smudge() -> bool:
    """Whether checkpoints are left as metadata files in the worktree (`install --skip-smudge`)."""
    return "--skip" in (_get("filter.theta.process") or "").split()


def show_diffs() -> bool:
    """Whether git has some driver for our diffs, by whatever scope: ours, or one that the user wants instead."""
    return all(_get(key) is not None for key in _DIFFS)


def are_diffs_ours() -> bool:
    """Whether it is Git-Theta, and nobody else, whom git gives files to that have our diff driver."""
    return all(_get(key) == value for key, value in _DIFFS.items())


def install_diffs(scope: str) -> None:
    """Write the settings of the diff driver that are missing: an earlier Git-Theta did not.

    Raises:
        GitError: the configuration cannot be written.
    """
    for key, value in _DIFFS.items():
        if _get(key) is None:
            command.run(["config", f"--{scope}", key, value])


def install(scope: str, *, skip_smudge: bool, force: bool) -> None:
    """Write the settings.

    Raises:
        GitError: the configuration cannot be written, or holds other settings and force is False.
    """
    settings = wanted(skip_smudge=skip_smudge)
    known = (settings, wanted(skip_smudge=not skip_smudge))
    for key in settings:
        value = _get(key, scope)
        if value is not None and not force and value not in [choice[key] for choice in known]:
            raise GitError(f"the {scope} git configuration has {key} = {value!r}: use --force to replace it")
    for key, value in settings.items():
        command.run(["config", f"--{scope}", "--replace-all", key, value])


def uninstall(scope: str) -> bool:
    """Remove the settings; False if there were none.

    Raises:
        GitError: the configuration cannot be read or written.
    """
    found = [section for section in _SECTIONS if _has(section, scope)]
    for section in found:
        command.run(["config", f"--{scope}", "--remove-section", section])
    return bool(found)


def _has(section: str, scope: str) -> bool:
    asked = ["config", f"--{scope}", "--name-only", "--get-regexp", rf"^{re.escape(section)}\."]
    status, _, complaint = command.attempt(asked)
    if status > 1:
        raise GitError(f"git config failed: {command.reason(complaint)}")
    return status == 0


def _get(key: str, scope: str | None = None) -> str | None:
    status, output, _ = command.attempt(["config", "--null", *([f"--{scope}"] if scope else []), "--get", key])
    return command.fields(output)[0] if status == 0 else None
