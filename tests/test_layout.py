"""Layouts: a file is its skeleton with the groups in the holes, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.layout import Layout, Span
from git_theta.sources import BLOCK, BytesSource


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Spans with literal bytes before, between and after them; both may be empty."""
    spans, position = [], 0
    for number in range(draw(st.integers(0, 6))):
        start = position + draw(st.integers(0, 9))
        span = Span(f"g{number}", draw(st.sampled_from(["uint8", "float32"])), (draw(st.integers(0, 5)),), start)
        spans.append(span)
        position = span.stop
    return Layout("test", position + draw(st.integers(0, 9)), tuple(spans))


def bytes_of(layout: Layout) -> bytes:
    """A file of that size, no two neighbouring bytes alike."""
    return bytes(number % 251 for number in range(layout.size))


def test_a_span_ends_after_its_values() -> None:
    span = Span("a", "float32", (2, 3), 10)
    assert (span.nbytes, span.stop) == (24, 34)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(layout=layouts())
def test_literals_and_spans_cover_every_byte_once(layout: Layout) -> None:
    pieces = sorted([*layout.literals(), *((span.start, span.stop) for span in layout.spans if span.nbytes)])
    assert all(start < stop for start, stop in pieces)
    assert [start for start, _ in pieces] + [layout.size] == [0] + [stop for _, stop in pieces]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(layout=layouts())
def test_skeleton_leads_and_groups_give_the_file_again(layout: Layout) -> None:
    data = bytes_of(layout)
    skeleton = layout.read_skeleton(BytesSource(data))
    file, position = b"", 0
    for span, lead in zip(layout.spans, layout.leads(), strict=True):
        file += skeleton[position : position + lead] + data[span.start : span.stop]
        position += lead
    assert file + skeleton[position:] == data


def test_a_skeleton_larger_than_a_block_is_read_whole() -> None:
    data = bytes(range(256)) * (BLOCK // 128)
    layout = Layout("test", len(data), (Span("a", "uint8", (10,), BLOCK + 7),))
    assert layout.read_skeleton(BytesSource(data)) == data[: BLOCK + 7] + data[BLOCK + 17 :]


def test_a_layout_without_spans_is_all_skeleton() -> None:
    assert list(Layout("test", 5, ()).literals()) == [(0, 5)]
    assert list(Layout("test", 0, ()).literals()) == []
    assert list(Layout("test", 5, ()).leads()) == []


@pytest.mark.parametrize(
    ("size", "spans", "reason"),
    [
        (9, [Span("a", "uint8", (5,), 0), Span("b", "uint8", (5,), 4)], "'b' overlaps the one before"),
        (9, [Span("b", "uint8", (1,), 4), Span("a", "uint8", (1,), 0)], "'a' overlaps the one before"),
        (9, [Span("a", "uint8", (5,), 0), Span("b", "uint8", (0,), 4)], "'b' overlaps the one before"),
        (9, [Span("a", "uint8", (1,), -1)], "'a' overlaps the one before"),
        (9, [Span("a", "uint8", (5,), 5)], "'a' reaches past the end"),
        (9, [Span("a", "uint8", (0,), 10)], "'a' reaches past the end"),
        (9, [Span("a", "uint8", (1,), 0), Span("a", "uint8", (1,), 1)], "same name"),
        (9, [Span("a", "uint9", (1,), 0)], "unknown dtype"),
        (9, [Span("a", "uint8", (-1,), 0)], "impossible shape"),
    ],
)
def test_spans_that_cannot_be_are_refused(size: int, spans: list[Span], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Layout("test", size, tuple(spans))


def test_empty_groups_may_stand_anywhere_even_at_the_end() -> None:
    spans = (Span("a", "uint8", (0,), 0), Span("b", "uint8", (0, 3), 0), Span("c", "uint8", (2,), 0))
    layout = Layout("test", 2, (*spans, Span("d", "uint8", (0,), 2)))
    assert list(layout.leads()) == [0, 0, 0, 0]
    assert list(layout.literals()) == []


def test_skeleton_stands_for_the_file_with_zeros_for_the_values() -> None:
    layout = Layout(
        "test", 20, (Span("a", "uint8", (4,), 3), Span("b", "uint8", (0,), 9), Span("c", "uint8", (5,), 12))
    )
    data = bytes(range(1, 21))
    source = layout.hollow(layout.read_skeleton(BytesSource(data)))
    expected = data[:3] + bytes(4) + data[7:12] + bytes(5) + data[17:]
    assert source.size == 20
    for start in range(21):
        for stop in range(start, 21):
            assert source.read(start, stop) == expected[start:stop]
