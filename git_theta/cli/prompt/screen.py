"""The screens of a prompt: one with editing and completion, and one for terminals that know nothing but lines.

Both write plain lines from top to bottom and never take the whole screen, so that they can be read aloud and scrolled
back. While they are open, Ctrl-C is a key that is read, and not a signal that would kill git.
"""

from __future__ import annotations

import locale
import os
import signal
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TextIO

from git_theta.cli.boundary import printable
from git_theta.cli.prompt.dialogue import Complete, Left, Screen
from git_theta.cli.prompt.text import STYLES, Text, for_encoding, plain

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.data_structures import Size

_MAX_WIDTH: Final = 100
_MIN_WIDTH: Final = 30
_SCREEN: Final = os.terminal_size((80, 24))
_LFLAG: Final = 3
_CC: Final = 6
_LONGEST: Final = 4096
_CTRL_C: Final = "\x03"
_PASTE_OFF: Final = "\x1b[?2004l"
_DUMB: Final = ("", "dumb", "unknown")


@contextmanager
def opened(descriptor: int, environment: Mapping[str, str]) -> Iterator[Screen]:
    """A screen on a terminal, which is left as it was found, whatever happens.

    Args:
        descriptor: of the terminal.
        environment: TERM tells what it can; NO_COLOR that it shall not.
    """
    is_dumb = environment.get("TERM", "").lower() in _DUMB
    with (
        _restored(descriptor, echoes=is_dumb),
        _hangup_leaves(),
        _text(descriptor, "r") as reading,
        _text(descriptor, "w") as writing,
    ):
        if is_dumb:
            yield LineScreen(descriptor, writing)
            return
        try:
            yield EditingScreen(descriptor, reading, writing, environment)
        finally:
            with suppress(OSError):
                writing.write(_PASTE_OFF)
                writing.flush()


class LineScreen:
    """Shows lines, and reads lines as the terminal itself lets them be edited."""

    def __init__(self, descriptor: int, writing: TextIO) -> None:
        """Args: descriptor: of a terminal; writing: on it."""
        self._descriptor = descriptor
        self._writing = writing

    @property
    def width(self) -> int:
        """Columns, as they are now."""
        return _width(self._descriptor)

    def say(self, text: Text) -> None:
        """Show text."""
        try:
            self._writing.write(for_encoding(plain(text), self._writing.encoding))
            self._writing.flush()
        except OSError as error:
            raise Left from error

    def ask(self, question: str, complete: Complete) -> str:  # noqa: ARG002 - there is no completion here
        """A line that the user types; see `dialogue.Screen`."""
        self.say((("", question),))
        try:
            # The terminal gives a line at a time. Not through a file, which would go on to read behind Ctrl-C.
            typed = os.read(self._descriptor, _LONGEST).decode(self._writing.encoding, "replace")
        except OSError as error:
            raise Left from error
        if not typed or _CTRL_C in typed:
            self.say((("", "\n"),))
            raise Left
        return typed.removesuffix("\n")


class EditingScreen:
    """Shows text in colours; lines that are typed can be edited, repeated and completed."""

    def __init__(self, descriptor: int, reading: TextIO, writing: TextIO, environment: Mapping[str, str]) -> None:
        """Args: descriptor: of a terminal; reading, writing: on it; environment: see `opened`."""
        from prompt_toolkit.output.vt100 import Vt100_Output
        from prompt_toolkit.styles import Style

        self._descriptor = descriptor
        self._encoding = writing.encoding
        is_plain = bool(environment.get("NO_COLOR"))
        self._style = Style.from_dict({} if is_plain else STYLES)
        self._output = Vt100_Output(
            writing, self._size, term=environment.get("TERM"), enable_bell=False, enable_cpr=False
        )
        self._session = self._begin(reading)
        self._pasted: list[str] = []

    @property
    def width(self) -> int:
        """Columns, as they are now."""
        return _width(self._descriptor)

    def say(self, text: Text) -> None:
        """Show text."""
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import FormattedText

        pieces = [(f"class:{style}" if style else "", for_encoding(part, self._encoding)) for style, part in text]
        try:
            print_formatted_text(FormattedText(pieces), end="", style=self._style, output=self._output)
        except OSError as error:
            raise Left from error

    def ask(self, question: str, complete: Complete) -> str:
        """A line that the user types; see `dialogue.Screen`. Lines that were pasted at once are taken in turn."""
        if self._pasted:
            typed = self._pasted.pop(0)
            self.say((("", f"{question}{printable(typed)}\n"),))
            return typed
        try:
            typed = self._session.prompt(question, completer=_completer(complete))
        except (KeyboardInterrupt, EOFError, OSError) as error:
            raise Left from error
        # The key that ended the paste is the end of its last line.
        first, *self._pasted = typed.removesuffix("\n").split("\n")
        return first

    def _size(self) -> Size:
        from prompt_toolkit.data_structures import Size

        columns, rows = _measured(self._descriptor)
        return Size(rows=rows, columns=columns)

    def _begin(self, reading: TextIO) -> PromptSession[str]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.input.vt100 import Vt100Input
        from prompt_toolkit.shortcuts import CompleteStyle

        return PromptSession(
            input=Vt100Input(reading),
            output=self._output,
            style=self._style,
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            reserve_space_for_menu=0,
            enable_suspend=True,
        )


def _completer(complete: Complete) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Words(Completer):
        """Completes the last word of a line."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002 - the signature is prompt_toolkit's
            line = document.text_before_cursor
            last = line.rpartition(" ")[2]
            return (Completion(word, start_position=-len(last)) for word in complete(line))

    return Words()


@contextmanager
def _text(descriptor: int, mode: Literal["r", "w"]) -> Iterator[TextIO]:
    """The terminal as a text file, which stays open when that is closed."""
    file = os.fdopen(descriptor, mode, encoding=locale.getencoding(), errors="replace", closefd=False)
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _restored(descriptor: int, *, echoes: bool) -> Iterator[None]:
    """Put the terminal's settings back at the end. Meanwhile no key is a signal, and Ctrl-C ends a line.

    Args:
        descriptor: of the terminal.
        echoes: whether the terminal shall show what is typed. An editor shows it itself, when it comes to it.
    """
    before = termios.tcgetattr(descriptor)
    during = [*before[:_CC], list(before[_CC])]
    during[_LFLAG] &= ~(termios.ISIG if echoes else termios.ISIG | termios.ECHO)
    during[_CC][termios.VEOL] = _CTRL_C.encode()
    termios.tcsetattr(descriptor, termios.TCSADRAIN, during)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _hangup_leaves() -> Iterator[None]:
    """Take the signals that end a process for the wish to leave, so that the terminal is put back first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> NoReturn:
        raise Left

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _width(descriptor: int) -> int:
    return max(_MIN_WIDTH, min(_measured(descriptor).columns, _MAX_WIDTH))


def _measured(descriptor: int) -> os.terminal_size:
    """The size of the terminal; the usual one where it does not tell."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return _SCREEN
    return size if size.columns and size.lines else _SCREEN
