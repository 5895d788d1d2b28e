"""Damages small checkpoints in many ways and tells what goes wrong: `python -m tests.checkpoints.fuzz NAME DIR`

Runs in a process of its own, with a bound on its memory and under an audit hook, so that nothing that a damaged or
hostile file brings about can be missed: no import, no compiled text, no opened file, no process.
"""

from __future__ import annotations

import itertools
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_theta.checkpoints import Format, Values, formats
from git_theta.errors import NotThisFormatError, ThetaError
from git_theta.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRUNCATIONS: Final = 200
MUTATIONS: Final = 2000
MEMORY: Final = 200 << 20
SECONDS: Final = 5.0
_INTERESTING: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


_MAX_TOLD: Final = 20
_HARMLESS: Final = ("builtins.id", "object.__getattr__")


class Watch:
    """Counts what happens in the process that the walk over a file must never do."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and event not in _HARMLESS:
            self.is_on = False  # What formatting the arguments may do is no deed of the file.
            self.seen.append(f"{event} {arguments!r:.200}")
            self.is_on = True

    def run(self, action: Callable[[], object], allowed: type[ThetaError] = ThetaError) -> str | None:
        """Do something under watch; returns what is wrong with it. The allowed errors are no wrong."""
        self.seen.clear()
        begin = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, 20)
        self.is_on = True
        try:
            action()
            wrong = None
        except allowed as error:
            wrong = "a message of several lines" if "\n" in str(error) else None
        except BaseException as error:
            self.is_on = False
            at = traceback.extract_tb(error.__traceback__)[-1]
            wrong = f"{type(error).__name__}: {error} in {Path(at.filename).name}:{at.lineno}"
        finally:
            self.is_on = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        if time.thread_time() - begin > SECONDS:
            wrong = f"took {time.thread_time() - begin:.1f} s"
        return self.seen[0] if self.seen else wrong


def damaged(files: list[bytes], seed: str) -> Iterator[bytes]:
    """The truncated and the mutated files."""
    rng = random.Random(seed)
    for number in range(TRUNCATIONS):
        data = files[number % len(files)]
        yield data[: rng.randrange(len(data))]
    for number in range(MUTATIONS):
        data = bytearray(files[number % len(files)])
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _mutate(data, files, rng)
        yield bytes(data)


def _mutate(data: bytearray, files: list[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(6):
        case 0:
            data[at : at + 1] = rng.randbytes(1)
        case 1:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        case 2:
            del data[at : at + rng.randrange(1, 17)]
        case 3:
            other = rng.choice(files)
            begin = rng.randrange(len(other))
            piece = other[begin : begin + rng.randrange(1, 65)]
            data[at : at + len(piece) * rng.randrange(2)] = piece
        case 4:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_INTERESTING) % 2 ** (8 * size)
            data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        case _:
            at = rng.randrange(max(1, len(data)))
            data[at : at + 1] = bytes([(data[at] + rng.choice((1, -1))) % 256]) if data else b"\0"


def attempts(member: Format, data: bytes) -> Iterator[tuple[str, Callable[[], object]]]:
    """All that the house does with a file, by name."""
    source = BytesSource(data)
    values: Any = getattr(member, "values", None)
    yield "scan", lambda: member.scan(source)
    if values is not None:
        yield "values", lambda: values(source)
    try:
        layout = member.scan(source)
    except Exception:
        extra = {"a": Values("float32", (1,), bytes(4))}
        yield "write", lambda: list(itertools.islice(member.write(extra, data), 1000))
        return
    groups = {span.name: Values(span.dtype, span.shape, data[span.start : span.stop]) for span in layout.spans[1:]}
    groups["new/group"] = Values("float32", (1,), bytes(4))
    skeleton = layout.read_skeleton(source)
    yield "write", lambda: list(member.write(groups, skeleton))


def main(name: str, folder: Path, hostile: Path | None = None) -> int:
    """Print what goes wrong, a line each; the number tells the file, as the damage is the same in every run.

    Args:
        name: of the format.
        folder: with good files.
        hostile: with other files, to be read instead of damaged ones.
    """
    member = formats().get(name)
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    small = [data for data in files if len(data) <= 8192]
    bad: Iterator[bytes] = damaged(small, name)
    if hostile is not None:
        bad = (path.read_bytes() for path in sorted(hostile.iterdir()))
    watch = Watch()
    for data in itertools.chain(files, [b"", b"PK\x03\x04"]):
        # Warm up: our own modules, and codecs, are imported when they are first needed.
        for _, attempt in attempts(member, data):
            Watch.run(_Deaf(), attempt)
    limit_memory()
    told: list[str] = []
    for number, data in enumerate(itertools.chain(files, bad)):
        for what, attempt in attempts(member, data):
            # What is no file of the format must be said so, or `git add` would refuse it.
            wrong = watch.run(attempt, ThetaError if what == "write" else NotThisFormatError)
            if wrong is not None and len(told) < _MAX_TOLD:
                told.append(f"{what} of file {number}: {wrong}")
    sys.stdout.write("\n".join(told))
    return 1 if told else 0


class _Deaf(Watch):
    """Watches nothing."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen = []


def limit_memory() -> None:
    """Give this process as much memory as it has, and MEMORY bytes more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
