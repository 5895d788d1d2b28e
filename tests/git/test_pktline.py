"""Git's pkt-line framing."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.errors import GitError
from git_theta.git.pktline import FLUSH, MAX_PAYLOAD, EndOfInput, frame, frame_texts, read_packets, read_texts


def packets(data: bytes) -> list[bytes]:
    return list(read_packets(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("payload", "head"), [(b"a", b"0005"), (b"x" * 12, b"0010"), (b"", b"0004"), (bytes(MAX_PAYLOAD), b"fff0")]
)
def test_length_counts_itself(payload: bytes, head: bytes) -> None:
    assert frame(payload) == head
    assert frame(memoryview(payload)) == head


def test_texts_end_with_a_newline_and_a_flush() -> None:
    assert frame_texts("version=2", "é") == b"000eversion=2\n0007\xc3\xa9\n0000"
    assert frame_texts() == b"0000"


def test_text_keeps_bytes_that_are_not_utf8() -> None:
    assert frame_texts("caf\udce9") == b"0009caf\xe9\n0000"
    assert read_texts(io.BytesIO(b"0009caf\xe9\n0000")) == ["caf\udce9"]


def test_text_may_lack_its_newline_or_hold_others() -> None:
    assert read_texts(io.BytesIO(b"0005a0007b\n\n0008c\nd\n0000")) == ["a", "b\n", "c\nd"]


def test_packets_are_read_up_to_the_flush_and_no_further() -> None:
    stream = io.BytesIO(b"0006ab0004" + FLUSH + b"0005c" + FLUSH + b"rest")
    assert list(read_packets(stream)) == [b"ab", b""]
    assert list(read_packets(stream)) == [b"c"]
    assert stream.read() == b"rest"


def test_length_may_be_in_capitals() -> None:
    assert packets(b"000Aabcdef" + FLUSH) == [b"abcdef"]


@pytest.mark.parametrize("data", [b"", b"0005a", b"0", b"00", b"000", b"0006", b"0006a", b"0005a000"])
def test_stream_that_ends_early_is_the_end(data: bytes) -> None:
    with pytest.raises(EndOfInput):
        packets(data)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\xff\xff\xff\xff", b"{\n\n}", b"0x05a", b" +5a", b"-001", b"0_5a"]
)
def test_other_bytes_are_no_packets(data: bytes) -> None:
    with pytest.raises(GitError, match="pkt-line"):
        packets(data + b"0000")


@pytest.mark.parametrize("data", [b"0001", b"0002", b"0003"])
def test_special_packets_of_other_protocols_are_no_end_of_the_conversation(data: bytes) -> None:
    with pytest.raises(GitError, match="pkt-line"):
        packets(data + b"0000")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=300)))
def test_property_what_is_framed_is_read(payloads: list[bytes]) -> None:
    data = b"".join(frame(payload) + payload for payload in payloads) + FLUSH
    assert packets(data) == payloads


@settings(derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=20).map(lambda data: data.decode(errors="surrogateescape"))))
def test_property_what_is_said_is_read(texts: list[str]) -> None:
    assert read_texts(io.BytesIO(frame_texts(*texts))) == texts


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=40))
def test_property_any_bytes_are_packets_or_an_error_of_ours(data: bytes) -> None:
    try:
        assert all(isinstance(packet, bytes) for packet in packets(data))
    except (EndOfInput, GitError):
        return
