"""Remotes: what branches they have, when git last looked and now, and how they are named in messages."""

from __future__ import annotations

import os
import re
from typing import Final

from git_theta.git import command
from git_theta.git.repository import Repository

_SECRET: Final = re.compile(r"(?<=://)[^/]*@")

_FETCHED: Final = re.compile(rb"[0-9a-f]+\t[^\t]*\t(?:[^']*'[^ ]*' of )?(?P<url>.+)")
"""A line of FETCH_HEAD. There is no name where a remote's HEAD was fetched."""


def shown(remote: str) -> str:
    """The name or URL of a remote without the user, who may be a password or a token. So git shows it."""
    return _SECRET.sub("", remote, count=1)


def branches_seen(repository: Repository, remote: str) -> dict[str, str]:
    """What the branches of a remote were when git last looked, by their refs over there; none for a URL."""
    prefix = f"refs/remotes/{remote}/"
    listed = command.lines(repository.git("for-each-ref", "--format=%(objectname) %(refname)", prefix))
    pairs = (line.split(" ", 1) for line in listed)
    return {f"refs/heads/{name.removeprefix(prefix)}": oid for oid, name in pairs}


def branches_now(repository: Repository, url: str) -> dict[str, str]:
    """What the branches at a URL are, by their refs; none if it does not answer."""
    status, output, _ = command.attempt(["ls-remote", "--heads", "--", url], cwd=repository.cwd)
    pairs = (line.split("\t", 1) for line in command.lines(output)) if status == 0 else ()
    return {name: oid for oid, name in pairs}


def fetched_from(repository: Repository) -> list[str]:
    """The URLs that git fetched from last, as it notes them (see `noted`). They need be no remotes': `git pull URL`."""
    try:
        lines = (repository.git_dir / "FETCH_HEAD").read_bytes().splitlines()
    except OSError:
        return []
    found = (_FETCHED.fullmatch(line) for line in lines)
    return list(dict.fromkeys(os.fsdecode(match["url"]) for match in found if match))


def noted(url: str) -> str:
    """A URL as git notes it: without the user, slashes at the end and ".git". It is found by that as well."""
    return shown(url).rstrip("/").removesuffix(".git")
