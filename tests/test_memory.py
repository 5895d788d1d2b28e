"""Blocks of memory that are used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import numpy as np
from git_theta.memory import keep_freed

if sys.argv[1] == "kept" and not keep_freed():
    sys.exit("the C library cannot be told")
for block in range(104):
    if block == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [np.ones(600_000, np.uint8) for _ in range(8)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library can be told")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    assert faults("kept") < 1000 < faults("as it is")
