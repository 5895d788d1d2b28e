"""The long-running filter process protocol (gitattributes(5) and git's technical/long-running-process-protocol)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from msgspec import Struct

from git_theta.errors import GitError
from git_theta.git.pktline import FLUSH, MAX_PAYLOAD, EndOfInput, frame, frame_texts, read_packets, read_texts

LIST: Final = "list_available_blobs"
"""The command by which git asks what it can have now of what it was told to wait for."""

_BATCH: Final = 64
_SET_PIPE_SIZE: Final = 1031
_PIPE_BYTES: Final = 1 << 20


class Request(Struct, frozen=True):
    """What git asks for.

    Attributes:
        command: "clean", "smudge" or LIST, or one that is not known.
        path: from the top of the worktree, decoded as file names are.
        content: the file's bytes in pieces; whoever answers must have taken them all.
        may_wait: whether git takes the answer later, when it has been told that it is there.
    """

    command: str
    path: str
    content: Iterator[bytes]
    may_wait: bool = False


class Connection:
    """One conversation with git. Nothing else may write to its output."""

    def __init__(self, incoming: BinaryIO, outgoing: int) -> None:
        """Args: incoming: a buffered stream; outgoing: a file descriptor."""
        self._incoming = incoming
        self._outgoing = outgoing
        for descriptor in (incoming.fileno(), outgoing):
            _enlarge_pipe(descriptor)

    def welcome(self, capabilities: Iterable[str]) -> None:
        """Shake hands.

        Raises:
            GitError: this is not git, or speaks another version.
            EndOfInput: nobody is there.
        """
        greeting = read_texts(self._incoming)
        if greeting[:1] != ["git-filter-client"] or "version=2" not in greeting[1:]:
            raise GitError("filter-process is for git to call: it speaks its filter protocol, version 2")
        self._send_texts("git-filter-server", "version=2")
        offered = set(read_texts(self._incoming))
        self._send_texts(*(name for name in (f"capability={word}" for word in capabilities) if name in offered))

    def requests(self) -> Iterator[Request]:
        """What git asks for, until it ends the conversation."""
        while True:
            try:
                words = dict(text.partition("=")[::2] for text in read_texts(self._incoming))
            except EndOfInput:
                return
            command = words.get("command", "")
            content = iter(()) if command == LIST else read_packets(self._incoming)
            yield Request(command, words.get("pathname", ""), content, words.get("can-delay") == "1")

    def answer(self, content: Iterable[bytes | memoryview]) -> None:
        """Send content as it comes. If producing it fails, git is told to drop what it has, and the error is raised."""
        self._send_texts("status=success")
        try:
            self._send_content(content)
        except BrokenPipeError:
            raise
        except BaseException:
            self._write([FLUSH])
            self._send_texts("status=error")
            raise
        self._write([FLUSH, FLUSH])

    def refuse(self) -> None:
        """Tell git that there is no answer."""
        self._send_texts("status=error")

    def postpone(self) -> None:
        """Tell git to come back for the answer, when it has asked for all else."""
        self._send_texts("status=delayed")

    def announce(self, paths: Iterable[str]) -> None:
        """Tell git what it can have now. If that is nothing, it asks no more."""
        self._send_texts(*(f"pathname={path}" for path in paths))
        self._send_texts("status=success")

    def _send_texts(self, *texts: str) -> None:
        self._write([frame_texts(*texts)])

    def _send_content(self, content: Iterable[bytes | memoryview]) -> None:
        for piece in _gathered(content):
            packets: list[bytes | memoryview] = []
            for start in range(0, len(piece), MAX_PAYLOAD):
                payload = piece[start : start + MAX_PAYLOAD]
                packets += [frame(payload), payload]
                if len(packets) >= _BATCH:
                    self._write(packets)
                    packets = []
            self._write(packets)

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write all pieces with as few calls as the kernel allows."""
        views = [memoryview(piece) for piece in pieces]
        while views:
            written = os.writev(self._outgoing, views)
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]


def _gathered(content: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """The same bytes, those that fit in one packet joined: git is woken up for each piece that it gets."""
    small = bytearray()
    for piece in content:
        view = memoryview(piece).cast("B")
        if small and len(small) + len(view) > MAX_PAYLOAD:
            yield memoryview(bytes(small))
            small.clear()
        if len(view) > MAX_PAYLOAD:
            yield view
        else:
            small += view
    if small:
        yield memoryview(bytes(small))


def _enlarge_pipe(descriptor: int) -> None:
    """Fewer, larger transfers: a checkpoint passes in a fraction of the time. Linux only, and only for pipes."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _PIPE_BYTES)
    except (ImportError, OSError):
        return
