"""Digests in one pass: the same whatever the pieces are, and only for all the bytes."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.checkpoints import opaque
from git_theta.checkpoints.digests import Digester, Digests, digest_again
from git_theta.errors import ChangedWhileReadingError
from git_theta.layout import Layout, Span
from git_theta.sources import BLOCK, BytesSource

EMPTY = tensors.digest(b"")


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Groups and literals of all lengths, none included, in any order."""
    spans, position = [], 0
    for number in range(draw(st.integers(0, 6))):
        span = Span(f"g{number}", "uint8", (draw(st.integers(0, 12)),), position + draw(st.integers(0, 12)))
        spans.append(span)
        position = span.stop
    return Layout("test", position + draw(st.integers(0, 12)), tuple(spans))


LAYOUT = Layout(
    "test",
    40,
    (
        Span("first", "uint8", (0,), 0),
        Span("a", "float32", (2,), 5),
        Span("b", "int8", (3,), 13),
        Span("empty", "int8", (0, 3), 16),
        Span("c", "uint8", (4, 5), 18),
    ),
)
DATA = random.Random(0).randbytes(40)


def directly(data: bytes, layout: Layout) -> Digests:
    """The digests, computed from the whole file at once."""
    groups = tuple(tensors.digest(data[span.start : span.stop]) for span in layout.spans)
    return Digests(layout.read_skeleton(BytesSource(data)), groups)


def fed(layout: Layout, *pieces: bytes) -> Digester:
    digester = Digester(layout)
    for piece in pieces:
        digester.feed(piece)
    return digester


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(layout=layouts(), cuts=st.lists(st.integers(0, 200), max_size=8), seed=st.integers(0, 9))
def test_any_pieces_give_the_digests_of_the_whole(layout: Layout, cuts: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(layout.size)
    assert fed(layout, *split(data, cuts)).finish() == directly(data, layout)
    assert digest_again(BytesSource(data), layout) == directly(data, layout)


def test_byte_by_byte_gives_the_digests_of_the_whole() -> None:
    assert fed(LAYOUT, *(DATA[place : place + 1] for place in range(40))).finish() == directly(DATA, LAYOUT)


def test_groups_without_values_have_the_digest_of_nothing() -> None:
    digests = fed(LAYOUT, DATA).finish()
    assert digests.groups[0] == digests.groups[3] == EMPTY
    assert len(set(digests.groups)) == 4


def test_file_without_bytes_has_digests_at_once() -> None:
    assert Digester(Layout("test", 0, ())).finish() == Digests(b"", ())
    assert Digester(opaque.layout(0)).finish() == Digests(b"", (EMPTY,))


def test_pieces_of_no_bytes_change_nothing() -> None:
    assert fed(LAYOUT, b"", DATA[:13], b"", b"", DATA[13:], b"").finish() == directly(DATA, LAYOUT)


@pytest.mark.parametrize("length", range(40))
def test_short_input_is_an_error(length: int) -> None:
    with pytest.raises(ChangedWhileReadingError, match="shrunk"):
        fed(LAYOUT, DATA[:length]).finish()


@pytest.mark.parametrize("cut", [0, 5, 39, 40])
def test_long_input_is_an_error(cut: int) -> None:
    with pytest.raises(ChangedWhileReadingError, match="grown"):
        fed(LAYOUT, DATA[:cut], DATA[cut:] + b"x")
    with pytest.raises(ChangedWhileReadingError, match="grown"):
        fed(LAYOUT, DATA, b"x")


def test_long_input_is_an_error_where_a_group_comes_last() -> None:
    layout = opaque.layout(4)
    assert fed(layout, b"1234").finish() == Digests(b"", (tensors.digest(b"1234"),))
    with pytest.raises(ChangedWhileReadingError, match="grown"):
        fed(layout, b"1234", b"5")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(length=st.integers(0, 40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_the_state_is_that_of_the_bytes_and_not_of_the_pieces(length: int, cuts: list[int]) -> None:
    assert fed(LAYOUT, *split(DATA[:length], cuts)).state() == fed(LAYOUT, DATA[:length]).state()


@settings(derandomize=True, deadline=None, max_examples=200)
@given(length=st.integers(1, 40), place=st.integers(0, 39), bit=st.integers(0, 7))
def test_the_state_is_another_if_any_byte_is(length: int, place: int, bit: int) -> None:
    other = bytearray(DATA[:length])
    other[place % length] ^= 1 << bit
    assert fed(LAYOUT, bytes(other)).state() != fed(LAYOUT, DATA[:length]).state()


def test_what_is_fed_may_be_used_again_by_the_one_who_fed_it() -> None:
    buffer = bytearray(DATA)
    digester = fed(LAYOUT, memoryview(buffer)[:20])  # type: ignore[arg-type]
    buffer[:20] = bytes(20)
    digester.feed(bytes(buffer[20:]))
    assert digester.finish() == directly(DATA, LAYOUT)


def test_file_of_many_blocks_is_digested_again() -> None:
    data = random.Random(1).randbytes(3 * BLOCK + 5)
    spans = (Span("a", "uint8", (BLOCK + 1,), 3), Span("b", "uint8", (BLOCK,), 2 * BLOCK - 1))
    layout = Layout("test", len(data), spans)
    assert digest_again(BytesSource(data), layout) == directly(data, layout)
