"""The long-running filter process protocol, spoken to ourselves as git would speak it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from git_theta.errors import GitError
from git_theta.git.filter_protocol import Connection
from git_theta.git.pktline import EndOfInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FLUSH = b"0000"
LARGEST = 65516

Talk = tuple[Connection, "Callable[[], bytes]"]


def packet(data: bytes) -> bytes:
    return b"%04x%s" % (len(data) + 4, data)


def texts(*lines: bytes) -> bytes:
    return b"".join(packet(line + b"\n") for line in lines) + FLUSH


def unpacked(data: bytes) -> list[bytes | None]:
    """The payloads, None for a flush."""
    found: list[bytes | None] = []
    position = 0
    while position < len(data):
        length = int(data[position : position + 4], 16)
        assert length == 0 or 4 < length <= LARGEST + 4
        found.append(data[position + 4 : position + length] if length else None)
        position += length or 4
    return found


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[[bytes], Talk]]:
    """Open a connection whose other side says the given bytes; also returns how to see what was answered."""
    said = (tmp_path / "said").open("w+b")
    answered = (tmp_path / "answered").open("w+b")

    def begin(data: bytes) -> Talk:
        said.write(data)
        said.seek(0)
        return Connection(said, answered.fileno()), (tmp_path / "answered").read_bytes

    yield begin
    said.close()
    answered.close()


GREETING = texts(b"git-filter-client", b"version=2")
OFFER = texts(b"capability=clean", b"capability=smudge", b"capability=delay")


def test_handshake_agrees_on_version_2_and_what_both_can_do(talk: Callable[[bytes], Talk]) -> None:
    connection, answer = talk(GREETING + OFFER)
    connection.welcome(("clean", "smudge"))
    assert answer() == texts(b"git-filter-server", b"version=2") + texts(b"capability=clean", b"capability=smudge")


def test_handshake_promises_nothing_that_git_did_not_offer(talk: Callable[[bytes], Talk]) -> None:
    connection, answer = talk(GREETING + texts(b"capability=smudge", b"capability=new"))
    connection.welcome(("clean", "smudge"))
    assert answer().endswith(FLUSH + texts(b"capability=smudge"))


def test_handshake_takes_version_2_among_others(talk: Callable[[bytes], Talk]) -> None:
    connection, answer = talk(texts(b"git-filter-client", b"version=3", b"version=2") + OFFER)
    connection.welcome(("clean",))
    assert unpacked(answer())[:3] == [b"git-filter-server\n", b"version=2\n", None]


@pytest.mark.parametrize(
    "greeting",
    [
        texts(b"git-filter-server", b"version=2"),
        texts(b"git-filter-client", b"version=3"),
        texts(b"git-filter-client", b"version=20"),
        texts(b"version=2", b"git-filter-client"),
        texts(),
        b"hello, is this the filter?\n",
    ],
)
def test_wrong_greeting_is_an_error_and_gets_no_answer(talk: Callable[[bytes], Talk], greeting: bytes) -> None:
    connection, answer = talk(greeting + OFFER)
    with pytest.raises(GitError):
        connection.welcome(("clean", "smudge"))
    assert answer() == b""


@pytest.mark.parametrize("said", [b"", GREETING[:9], GREETING])
def test_nobody_there_is_the_end(talk: Callable[[bytes], Talk], said: bytes) -> None:
    with pytest.raises(EndOfInput):
        talk(said)[0].welcome(("clean",))


def test_several_requests_come_with_their_own_content(talk: Callable[[bytes], Talk]) -> None:
    connection, answer = talk(
        texts(b"command=clean", b"pathname=a")
        + packet(b"one ")
        + packet(b"two")
        + FLUSH
        + texts(b"command=smudge", b"pathname=b/c", b"ref=refs/heads/main", b"treeish=0123")
        + FLUSH
        + texts(b"command=clean", b"pathname=d")
        + packet(b"three")
        + FLUSH
    )
    seen = []
    for request in connection.requests():
        seen.append((request.command, request.path, b"".join(request.content)))
        connection.answer([request.path.encode()])
    assert seen == [("clean", "a", b"one two"), ("smudge", "b/c", b""), ("clean", "d", b"three")]
    success = [b"status=success\n", None]
    assert unpacked(answer()) == [
        *success, b"a", None, None, *success, b"b/c", None, None, *success, b"d", None, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [b"two\nlines", b"ends with a newline\n", b"caf\xe9", b"\xff\xfe", b"a=b=c", "模型 🤖".encode(), b" -x\t", b"="],
)
def test_path_is_read_as_it_is(talk: Callable[[bytes], Talk], name: bytes) -> None:
    connection, _ = talk(texts(b"command=clean", b"pathname=" + name) + FLUSH)
    request = next(connection.requests())
    assert os.fsencode(request.path) == name
    assert list(request.content) == []


def test_request_without_command_or_path_has_empty_ones(talk: Callable[[bytes], Talk]) -> None:
    connection, _ = talk(texts(b"can-delay=1") + FLUSH)
    request = next(connection.requests())
    assert (request.command, request.path) == ("", "")


def test_conversation_ends_when_git_closes_it(talk: Callable[[bytes], Talk]) -> None:
    connection, _ = talk(b"")
    assert list(connection.requests()) == []


def test_git_that_goes_away_in_the_middle_of_content_is_the_end_of_it(talk: Callable[[bytes], Talk]) -> None:
    connection, _ = talk(texts(b"command=clean", b"pathname=a") + packet(b"half"))
    request = next(connection.requests())
    assert next(request.content) == b"half"
    with pytest.raises(EndOfInput):
        next(request.content)


def test_empty_answer_is_a_success(talk: Callable[[bytes], Talk]) -> None:
    connection, answer = talk(b"")
    connection.answer([b"", memoryview(b"")])
    assert unpacked(answer()) == [b"status=success\n", None, None, None]


@pytest.mark.parametrize("error", [GitError("no"), ValueError("bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("pieces", [[], [b"half of it" * LARGEST, b"and more" * LARGEST]])
def test_error_in_the_middle_of_content_is_told_after_the_flush_and_raised(
    talk: Callable[[bytes], Talk], pieces: list[bytes], error: BaseException
) -> None:
    def content() -> Iterator[bytes]:
        yield from pieces
        raise error

    connection, answer = talk(b"")
    with pytest.raises(type(error)):
        connection.answer(content())
    said = unpacked(answer())
    assert b"".join(part for part in said[2:-3] if part is not None) == b"".join(pieces)
    assert [*said[:2], *said[-3:]] == [b"status=success\n", None, None, b"status=error\n", None]
    connection.answer([b"next"])
    assert unpacked(answer())[-5:] == [b"status=success\n", None, b"next", None, None]


@pytest.mark.parametrize("size", [1, LARGEST - 1, LARGEST, LARGEST + 1, 5 * LARGEST, 9_000_001])
def test_large_content_is_cut_into_packets_that_git_takes(talk: Callable[[bytes], Talk], size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    connection, answer = talk(b"")
    connection.answer([data])
    found = unpacked(answer())
    assert b"".join(part for part in found[2:-2] if part is not None) == data
    assert len(found) == 2 + -(-size // LARGEST) + 2


def test_small_pieces_go_together_and_all_stay_in_order(talk: Callable[[bytes], Talk]) -> None:
    generator = np.random.default_rng(0)
    sizes = [*generator.integers(0, 3000, 100), LARGEST - 1, 2, LARGEST, 1, 3 * LARGEST, 1, 1, LARGEST + 1, 0, 7]
    pieces = [generator.bytes(size) for size in sizes]
    connection, answer = talk(b"")
    connection.answer(pieces)
    found = unpacked(answer())[2:-2]
    assert b"".join(part for part in found if part is not None) == b"".join(pieces)
    assert len(found) < 20


def test_small_piece_may_be_lost_when_the_next_is_asked_for(talk: Callable[[bytes], Talk]) -> None:
    def content() -> Iterator[memoryview]:
        room = bytearray(4)
        for number in range(4):
            room[:] = bytes([number]) * 4
            yield memoryview(room)

    connection, answer = talk(b"")
    connection.answer(content())
    assert unpacked(answer())[2:-2] == [b"\0\0\0\0\1\1\1\1\2\2\2\2\3\3\3\3"]


def test_content_may_be_arrays_of_numbers(talk: Callable[[bytes], Talk]) -> None:
    array = np.arange(6, dtype="<u2").reshape(2, 3)
    connection, answer = talk(b"")
    connection.answer([memoryview(array)])
    assert unpacked(answer())[2:-2] == [array.tobytes()]


def test_kernel_that_takes_little_at_a_time_gets_all(
    talk: Callable[[bytes], Talk], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 3
    connection, answer = talk(b"")
    monkeypatch.setattr(os, "writev", lambda descriptor, views: os.write(descriptor, b"".join(views)[:7]))
    connection.answer([data, data])
    assert unpacked(answer()) == [b"status=success\n", None, data + data, None, None]


def test_large_content_passes_both_ways_through_pipes() -> None:
    """Pipes take a part of a write only; the reader is slow, and so is the writer."""
    data = np.random.default_rng(0).bytes(3_000_000)
    to_us, from_git = os.pipe()
    to_git, from_us = os.pipe()
    heard = bytearray()

    def speak() -> None:
        with os.fdopen(from_git, "wb") as stream:
            stream.write(texts(b"command=clean", b"pathname=a"))
            for start in range(0, len(data), 1000):
                stream.write(packet(data[start : start + 1000]))
            stream.write(FLUSH)

    def listen() -> None:
        with os.fdopen(to_git, "rb", buffering=0) as stream:
            while piece := stream.read(70_000):
                heard.extend(piece)

    threads = [threading.Thread(target=speak), threading.Thread(target=listen)]
    for thread in threads:
        thread.start()
    with os.fdopen(to_us, "rb") as incoming:
        connection = Connection(incoming, from_us)
        for request in connection.requests():
            connection.answer([b"".join(request.content)])
    os.close(from_us)
    for thread in threads:
        thread.join()
    assert b"".join(part for part in unpacked(bytes(heard))[2:-2] if part is not None) == data


def test_git_that_no_longer_listens_breaks_the_pipe(tmp_path: Path) -> None:
    to_git, from_us = os.pipe()
    os.close(to_git)
    (tmp_path / "said").touch()
    with (tmp_path / "said").open("rb") as incoming, pytest.raises(BrokenPipeError):
        Connection(incoming, from_us).answer([b"x"])
    os.close(from_us)


def test_git_that_stops_listening_in_the_middle_of_content_breaks_the_pipe(tmp_path: Path) -> None:
    to_git, from_us = os.pipe()
    taken = []

    def content() -> Iterator[bytes]:
        for number in range(3):
            taken.append(number)
            if number == 1:
                os.close(to_git)
            yield bytes(2 * LARGEST)

    (tmp_path / "said").touch()
    with (tmp_path / "said").open("rb") as incoming, pytest.raises(BrokenPipeError):
        Connection(incoming, from_us).answer(content())
    os.close(from_us)
    assert taken == [0, 1]


def test_request_that_may_wait_is_told_from_one_that_may_not(talk: Callable[[bytes], Talk]) -> None:
    connection, answer = talk(
        texts(b"command=smudge", b"pathname=a", b"can-delay=1")
        + packet(b"one")
        + FLUSH
        + texts(b"command=list_available_blobs")
        + texts(b"command=smudge", b"pathname=a")
        + FLUSH
    )
    seen = [(r.command, r.path, b"".join(r.content), r.may_wait) for r in connection.requests()]
    assert seen == [
        ("smudge", "a", b"one", True),
        ("list_available_blobs", "", b"", False),
        ("smudge", "a", b"", False),
    ]
    connection.postpone()
    connection.announce(["a", "b/c"])
    connection.announce([])
    connection.refuse()
    done = texts(b"status=success")
    assert answer() == (
        texts(b"status=delayed") + texts(b"pathname=a", b"pathname=b/c") + done + FLUSH + done + texts(b"status=error")
    )
