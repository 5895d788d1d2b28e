"""A merge driver that asks about made-up conflicts, and writes down what was decided: python driver.py LOG PATH."""

from __future__ import annotations

import sys
from pathlib import Path

from git_theta.cli.prompt import asking
from git_theta.cli.prompt.words import spelled
from git_theta.cli.workspace import Workspace
from tests.cli.prompt.stage import LAYERS

if __name__ == "__main__":
    decisions = asking(Workspace.here(), sys.argv[2])(LAYERS)
    lines = [f"{name}: {spelled(decision)}\n" for name, decision in decisions.items()]
    Path(sys.argv[1]).write_text("".join(lines))
    sys.exit(1)
