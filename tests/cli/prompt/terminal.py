"""A real pseudo-terminal with a terminal emulator behind it: what a program shows there, and keys for it."""

from __future__ import annotations

import os
import time
import warnings
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TIMEOUT = 30.0
CTRL_C, CTRL_D, CTRL_Z, TAB, ENTER, UP = "\x03", "\x04", "\x1a", "\t", "\r", "\x1b[A"


class Terminal:
    """A program on a terminal of its own, which is its controlling terminal."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str | None] | None = None,
        size: tuple[int, int] = (24, 80),
    ) -> None:
        """Start a program; size: lines and columns."""
        variables = {**os.environ, "TERM": "xterm", "GIT_TERMINAL_PROMPT": None, "CI": None, **(env or {})}
        self.screen = pyte.HistoryScreen(size[1], size[0], history=5000, ratio=0.5)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        with warnings.catch_warnings():
            # JAX warns of forks once another test has used it; what is forked here becomes another program at once.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            self._child = pexpect.spawn(
                command[0],
                list(command[1:]),
                cwd=str(cwd),
                env={name: value for name, value in variables.items() if value is not None},
                dimensions=size,
                timeout=TIMEOUT,
            )
        self._child.delaybeforesend = None

    @property
    def text(self) -> str:
        """All lines that were shown, those that have scrolled away included."""
        above = ["".join(line[column].data for column in range(len(line))) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display])

    @property
    def display(self) -> list[str]:
        """The lines of the screen as it is."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def line(self) -> str:
        """The line that the cursor is in."""
        return self.display[self.screen.cursor.y]

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended."""
        return bool(self._child.isalive())

    def press(self, keys: str) -> None:
        """Press keys."""
        self._child.send(keys)

    def type(self, line: str) -> None:
        """Wait for the prompt, type a line, and wait until it is taken."""
        self.wait_for_prompt()
        self.press(line)
        self.wait(lambda: self.line.endswith(line.rstrip()))
        before = self._place
        self.press(ENTER)
        end = time.monotonic() + TIMEOUT
        while self._place == before and self._read():
            if time.monotonic() > end:
                raise AssertionError(f"the line is not taken; the terminal shows:\n{self.text}")

    @property
    def _place(self) -> int:
        """The number of the line that the cursor is in."""
        return len(self.screen.history.top) + int(self.screen.cursor.y)

    @property
    def at_prompt(self) -> bool:
        """Whether the cursor stands behind a prompt with nothing typed."""
        return self.line.endswith(">")

    def wait_for_prompt(self) -> None:
        """Wait until a line can be typed."""
        self.wait(lambda: self.at_prompt)

    def wait_for(self, words: str) -> None:
        """Wait until words are shown."""
        self.wait(lambda: words in self.text)

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + TIMEOUT
        while not is_so():
            if not self._read() or time.monotonic() > end:
                raise AssertionError(f"waited in vain; the terminal shows:\n{self.text}")

    def end(self) -> int:
        """Wait for the program to end; returns its exit status, or that of a shell if a signal ended it."""
        end = time.monotonic() + TIMEOUT
        while self._read():
            if time.monotonic() > end:
                raise AssertionError(f"the program does not end; the terminal shows:\n{self.text}")
        self._child.close()
        return self._child.exitstatus if self._child.exitstatus is not None else 128 + self._child.signalstatus

    def resize(self, lines: int, columns: int) -> None:
        """Give the terminal another size."""
        self.screen.resize(lines, columns)
        self._child.setwinsize(lines, columns)

    def _read(self) -> bool:
        """Take what is shown next; False at the end."""
        try:
            data = self._child.read_nonblocking(65536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True
