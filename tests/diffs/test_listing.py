"""The groups of a checkpoint as text."""

from __future__ import annotations

import pytest

from git_theta.diffs import listing
from git_theta.diffs.spread import Spread
from git_theta.metadata import ObjectRef, Update
from tests.diffs.samples import checkpoint, dense, digest, entry


def built(kind: str, *bases: Update) -> Update:
    return Update(kind, ObjectRef(digest(kind), 10), bases)


DENSE = dense("base", 1000)


@pytest.mark.parametrize(
    ("update", "text"),
    [
        (DENSE, "dense"),
        (built("sparse", DENSE), "sparse on dense"),
        (built("delta", built("delta", built("delta", DENSE))), "3 x delta on dense"),
        (built("sparse", built("low-rank", built("delta", DENSE))), "low-rank + sparse on delta on dense"),
        (Update("linear", None, (DENSE, built("delta", DENSE))), "linear on (dense; delta on dense)"),
        (built("delta", Update("linear", None, (DENSE, DENSE))), "linear + delta on (dense; dense)"),
        (Update("", None), "(not kept yet)"),
    ],
)
def test_a_chain_is_told_from_the_outside_inwards(update: Update, text: str) -> None:
    assert listing.chain_text(update) == text


def test_a_line_for_each_group() -> None:
    metadata = checkpoint(
        entry("h.0.weight", "a", (768, 2304), update=built("delta", DENSE)), entry("step", "b", (), "int64")
    )
    assert listing.table(metadata, metadata.entries) == [
        "group       dtype       shape     size       kept  as              digest",
        f"h.0.weight  float32  768x2304   7.1 MB     1.0 kB  delta on dense  {digest('a')[:12]}",
        f"step        int64      scalar  8 bytes  100 bytes  dense           {digest('b')[:12]}",
    ]
    assert listing.total(metadata) == "2 groups, 7.1 MB (safetensors); 3 objects, 1.1 kB kept"


def test_names_cannot_control_the_terminal_and_stand_in_line() -> None:
    metadata = checkpoint(entry("a\x1b[31m\n", "a"), entry("模型", "b"), entry("plain", "c"))
    lines = listing.table(metadata, metadata.entries)
    assert lines[1].startswith("a\\x1b[31m\\n  float32")
    assert lines[2].startswith("模型         float32")
    assert lines[3].startswith("plain        float32")
    assert listing.texts({"a\x07": "\x1b"}) == ["a\\x07: \\x1b"]


def test_names_that_nobody_would_see_are_in_quotes() -> None:
    metadata = checkpoint(entry("", "a"), entry(" x", "b"), entry("a b", "c"))
    lines = listing.table(metadata, metadata.entries)
    assert [line.split("  float32")[0].rstrip() for line in lines[1:]] == ['""', '" x"', "a b"]


def test_what_is_kept_in_shares_is_told_in_shares() -> None:
    shared = dense("shared", 1000)
    metadata = checkpoint(entry("a", "a", (1,), update=shared), entry("b", "b", (3,), update=shared))
    assert listing.kept_by_group(metadata) == {"a": 250, "b": 750}
    assert listing.total(metadata) == "2 groups, 22 bytes (safetensors); 1 object, 1.0 kB kept"


def test_what_is_not_kept_takes_nothing() -> None:
    metadata = checkpoint(entry("a", "a", update=Update("", None)))
    assert "(not kept yet)" in listing.table(metadata, metadata.entries)[1]
    assert listing.total(metadata).endswith("0 objects, 0 bytes kept")


def test_figures_are_told() -> None:
    lines = listing.spread_lines(Spread(8, -1.5, 2**63, 0.25, 1.0, 3.0, 2, 1, 0))
    assert lines[0] == "values:          8"
    assert "minimum:         -1.5" in lines
    assert "maximum:         9223372036854775808" in lines
    assert "zeros:           2 (25 %)" in lines
    empty = listing.spread_lines(Spread(0, None, None, None, None, 0.0, 0, 0, 0))
    assert "mean:            none" in empty
