"""What is wrong with some of many files, told line by line while the others go on."""

from __future__ import annotations

from git_theta.cli.boundary import complain
from git_theta.errors import ThetaError


class Problems:
    """Complains of each problem once, and knows whether there was any."""

    def __init__(self) -> None:
        """Start without any."""
        self._told: set[str] = set()

    def report(self, problem: str) -> None:
        """Complain of a problem, if that was not done yet: two revisions may have it."""
        if problem not in self._told:
            self._told.add(problem)
            complain(problem)

    @property
    def exit_code(self) -> int:
        """What to exit with at the end."""
        return ThetaError.exit_code if self._told else 0
