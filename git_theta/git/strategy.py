"""The executable by which git calls us to merge more than two branches (`git merge -s theta`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from git_theta.errors import GitError
from git_theta.git import scripts

NAME: Final = "theta"
MERGED: Final = 10
"""With what the verb exits that has merged: by 0, nobody could be told from a plug-in that ended its process."""

_SCRIPT: Final = f"""#!/bin/sh
# Written by git-theta, for 'git theta merge' of several branches.
git-theta merge-strategy -- "$@"
# Any other exit, be it with 0, is that of somebody who ended it half-way.
test $? -eq {MERGED} && exit 0
# To git, 1 would mean that there are conflicts in the index; 2 is that the merge was not made at all.
exit 2
"""


def install(theta_dir: Path) -> Path:
    """Write the executable; returns the folder that has to be on the PATH.

    Args:
        theta_dir: Git-Theta's folder in the repository.

    Raises:
        GitError: it cannot be written.
    """
    folder = theta_dir / "bin"
    program = folder / f"git-merge-{NAME}"
    try:
        if program.is_file() and program.read_text() == _SCRIPT and os.access(program, os.X_OK):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        scripts.write(program, _SCRIPT)
    except OSError as error:
        raise GitError(f"{program} cannot be written: {error.strerror}") from error
    return folder
