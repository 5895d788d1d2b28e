"""How the time that work takes grows with its size: that is the same on a slow machine and on a busy one."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMES = 8
TRIES = 5
LIMIT = 24  # 8 if the work is linear, some 10 if it sorts, 64 if each part looks at each other


def grows_linearly(prepare: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Whether work on 8 times as much as size takes 8 times as long, about: prepare(size) gives what is timed.

    What else runs can only make a try longer, so that one good ratio says more than bad ones before it.
    """
    small, large = prepare(size), prepare(TIMES * size)
    least = [float("inf")] * 2
    for _ in range(TRIES):
        least = [min(best, _seconds(work)) for best, work in zip(least, (small, large), strict=True)]
        if least[1] < LIMIT * least[0]:
            return True
    return False


def _seconds(work: Callable[[], object]) -> float:
    """Of this thread only: what other tests have left running does not count."""
    begin = time.thread_time()
    work()
    return time.thread_time() - begin
