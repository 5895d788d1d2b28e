"""The text for git's own tools: a line changes if its group does, and only then."""

from __future__ import annotations

from msgspec.structs import replace

from git_theta.diffs.plain import lines
from git_theta.metadata import Update
from tests.diffs.samples import checkpoint, dense, digest, entry


def test_every_group_has_a_line() -> None:
    metadata = checkpoint(entry("a", "1"), entry("b c", "2", (), "int64"))
    assert list(lines(metadata, {"epoch": "3"})) == [
        "git-theta textconv: safetensors",
        "epoch: 3",
        f"a  float32 [2, 3]  {digest('1')[:16]}",
        f"b c  int64 []  {digest('2')[:16]}",
        f"(bytes outside of the groups)  [6]  {digest('header')[:16]}",
    ]


def test_how_values_are_kept_makes_no_difference() -> None:
    one = checkpoint(entry("a", "1"))
    other = checkpoint(replace(entry("a", "1", update=Update("delta", None, (dense("0"),))), signature=(1,) * 16))
    assert list(lines(one, None)) == list(lines(other, None))


def test_a_change_changes_its_line_alone() -> None:
    one, other = (checkpoint(entry("a", "1"), entry("b", value), entry("c", "3")) for value in "24")
    pairs = zip(lines(one, None), lines(other, None), strict=True)
    assert [number for number, (old, new) in enumerate(pairs) if old != new] == [2]


def test_control_characters_are_escaped() -> None:
    bad = "a\x1b\n\x07"
    assert all(line.isprintable() for line in lines(checkpoint(entry(bad, "1")), {bad: bad}))
