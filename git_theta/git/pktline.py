"""Git's pkt-line framing (git's technical/protocol-common): four hexadecimal digits of length, then the payload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from git_theta.errors import GitError

MAX_PAYLOAD: Final = 65516
FLUSH: Final = b"0000"
_LENGTH: Final = re.compile(rb"[0-9a-fA-F]{4}")


class EndOfInput(Exception):  # noqa: N818 - it is how every conversation ends, not an error
    """The other side has closed the conversation."""


def frame(payload: bytes | memoryview) -> bytes:
    """The length that goes before a payload."""
    return b"%04x" % (len(payload) + 4)


def frame_texts(*texts: str) -> bytes:
    """Packets of one line of text each, and a flush packet."""
    packets = ((text + "\n").encode(errors="surrogateescape") for text in texts)
    return b"".join(frame(packet) + packet for packet in packets) + FLUSH


def read_packets(stream: BinaryIO) -> Iterator[bytes]:
    """The payloads up to the next flush packet.

    Raises:
        EndOfInput: the stream ends.
        GitError: this is not pkt-line framing.
    """
    while (packet := _read_packet(stream)) is not None:
        yield packet


def read_texts(stream: BinaryIO) -> list[str]:
    """The lines of text up to the next flush packet."""
    return [packet.removesuffix(b"\n").decode(errors="surrogateescape") for packet in read_packets(stream)]


def _read_packet(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    if len(head) < 4:
        raise EndOfInput
    length = int(head, 16) if _LENGTH.fullmatch(head) else -1
    if length == 0:
        return None
    if length < 4:
        raise GitError("what was received is not git's pkt-line protocol")
    payload = stream.read(length - 4)
    if len(payload) != length - 4:
        raise EndOfInput
    return payload
