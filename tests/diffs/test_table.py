"""The table of changes: what it says, how it fits, and that nothing in it can hurt a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from git_theta.diffs.changes import CheckpointDiff, GroupChange, Kind, Statistics, ValueChange
from git_theta.diffs.compare import compare, part
from git_theta.diffs.heads import FileSide
from git_theta.diffs.look import Look
from git_theta.diffs.table import lines, patch, summary_line
from git_theta.metadata import Entry, Metadata, Update
from git_theta.printing import width
from tests.diffs.samples import checkpoint, dense, entry, model
from tests.growth import grows_linearly

if TYPE_CHECKING:
    from collections.abc import Callable

COLOURS = {"old": "<R>", "new": "<G>", "changed": "<Y>", "title": "<C>", "head": "<B>", "end": "</>"}
MOVED = Statistics(0.0083, 0.0125, 1.0, 0.99997, is_exact=True)


def gpt(version: str, *layers: int, depth: int = 12) -> Metadata:
    """A model of which some layers have values of this version."""
    parts = {"attn.weight": (64, 192), "mlp.weight": (64, 256)}
    entries = [entry("wte.weight", "w", (500, 64))]
    for layer in range(depth):
        for piece, shape in parts.items():
            values = f"{layer} {piece} {version if layer in layers else ''}"
            entries.append(entry(f"h.{layer}.{piece}", values, shape, update=dense(values, 1000)))
    return checkpoint(*entries)


def measured(diff: CheckpointDiff, *found: Statistics | None) -> CheckpointDiff:
    """The diff with statistics, the last of them for all that is left."""
    changes = [
        replace(change, statistics=found[min(number, len(found) - 1)]) for number, change in enumerate(diff.changes)
    ]
    return replace(diff, changes=tuple(changes))


def shown(diff: CheckpointDiff, look: Look | None = None) -> str:
    return "\n".join(lines(diff, look or Look()))


def test_one_changed_layer() -> None:
    diff = measured(compare(gpt(""), gpt("2", 3), "a", "b"), MOVED, replace(MOVED, relative=0.013, changed=0.9999))
    assert shown(diff).splitlines() == [
        "  group                      change  values     max  cosine  update    kept  where",
        "  h.3.attn.weight  modified  0.83 %   100 %  0.0125  0.9999  dense   1.0 kB  |      ▆             |",
        "  h.3.mlp.weight   modified   1.3 %  99.9 %  0.0125  0.9999  dense   1.0 kB  |      ▁▇            |",
        "2 of 25 groups modified, 114.7 kB of 1.5 MB",
    ]


def test_a_long_model_is_folded_and_its_numbers_are_spans() -> None:
    diff = compare(gpt(""), gpt("2", *range(12)), "a", "b")
    diff = measured(diff, MOVED, MOVED, replace(MOVED, relative=0.013, largest=0.02, changed=0.5, cosine=0.5))
    text = shown(diff)
    assert "h.*.attn.weight  12 modified  0.83-1.3 %  50-100 %  0.02  0.5000  dense   12.0 kB" in text
    assert len(text.splitlines()) == 4
    assert text.splitlines()[-1] == "24 of 25 groups modified, 1.4 MB of 1.5 MB"
    assert len(shown(diff, Look(fold=False)).splitlines()) == 26


def test_estimates_are_marked() -> None:
    diff = measured(compare(gpt(""), gpt("2", 3), "a", "b"), Statistics(0.013, None, None, 0.9, is_exact=False))
    assert "≈1.3 %  ≈0.9000  dense" in shown(diff)
    assert "~1.3 %  ~0.9000  dense" in shown(diff, Look(is_unicode=False))
    assert "max" not in shown(diff)


def test_a_fold_with_an_estimate_is_an_estimate() -> None:
    estimated = Statistics(0.013, None, None, 0.9, is_exact=False)
    diff = measured(compare(gpt(""), gpt("2", 0, 1), "a", "b"), MOVED, MOVED, estimated)
    assert "≈0.83-1.3 %   100 %  0.0125  ≈0.9000" in shown(diff)


def test_numbers_that_are_not_finite_are_shown() -> None:
    diff = measured(
        compare(model(**{"h.0": "1", "h.1": "1"}), model(**{"h.0": "2", "h.1": "2"}), "a", "b"),
        Statistics(float("inf"), float("nan"), 0.5, None, is_exact=True),
        MOVED,
    )
    assert "0.83-inf %  50-100 %  nan  0.9999" in shown(diff)


def test_other_kinds_say_what_is_new() -> None:
    old = checkpoint(*(entry(name, name) for name in ("shape", "type", "both", "was", "gone")))
    new = checkpoint(
        entry("shape", "x", (3, 2)),
        entry("type", "y", dtype="bfloat16"),
        entry("both", "z", (6,), "float16"),
        entry("is", "was"),
        entry("new", "n", ()),
    )
    diff = compare(old, new, "a", "b")
    text = shown(measured(diff, None, MOVED, None))
    assert [line.split("  |")[0].rstrip() for line in text.splitlines()[1:-1]] == [
        "  shape  reshaped  float32 [2, 3] -> float32 [3, 2]  dense   100 bytes",
        "  type   retyped   0.83 %   100 %  0.0125  0.9999    dense   100 bytes",
        "    float32 [2, 3] -> bfloat16 [2, 3]",
        "  both   retyped   float32 [2, 3] -> float16 [6]     dense   100 bytes",
        "  is     renamed   was was",
        "  gone   removed   float32 [2, 3]",
        "  new    added     float32 []                        dense   100 bytes",
    ]
    assert summary_line(diff) == (
        "6 of 6 groups changed (1 added, 1 removed, 1 renamed, 2 retyped, 1 reshaped), 76 bytes of 100 bytes"
    )


def test_folded_groups_name_the_dtypes_and_shapes_that_they_have() -> None:
    new = checkpoint(*(entry(f"h.{size}", str(size), (min(size, 5),)) for size in range(1, 8)))
    assert "h.*    7 added  float32 [1], float32 [2], float32 [3] or 2 more" in shown(compare(None, new, "a", "b"))


def test_renamed_layers_are_folded_with_their_old_names() -> None:
    old, new = (checkpoint(*(entry(f"{name}.{n}.w", str(n)) for n in range(3))) for name in ("x", "y"))
    assert "y.*.w  3 renamed  was x.*.w" in shown(compare(old, new, "a", "b"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, model(a="1", b="2"), "2 groups added, 48 bytes"),
        (model(a="1"), None, "1 group removed, 24 bytes"),
        (model(a="1"), model(a="1"), "none of 1 group changed"),
        (model(a="1", b="1"), model(a="1", c="2"), "2 of 3 groups changed (1 added, 1 removed), 48 bytes of 72 bytes"),
        (model(a="1", b="1"), model(a="2", b="1"), "1 of 2 groups modified, 24 bytes of 48 bytes"),
    ],
)
def test_summary(old: Metadata | None, new: Metadata | None, expected: str) -> None:
    assert summary_line(compare(old, new, "a", "b")) == expected


@pytest.mark.parametrize(
    ("old", "new", "what"), [(None, model(a="1", b="2"), "added"), (model(a="1", b="2"), None, "removed")]
)
def test_summary_of_a_part_of_a_checkpoint_that_is_new_or_gone(
    old: Metadata | None, new: Metadata | None, what: str
) -> None:
    diff = part(compare(old, new, "a", "b"), lambda name: name == "a")
    assert summary_line(diff) == f"1 of 2 groups {what}, 24 bytes of 48 bytes"


def test_values_beside_the_groups() -> None:
    values = (ValueChange("epoch", "3", "4"), ValueChange("lr", None, "0.1"), ValueChange("best", "1", None))
    text = shown(replace(compare(model(a="1"), model(a="1"), "a", "b"), values=values))
    assert text.splitlines() == [
        "  epoch: 3 -> 4",
        "  lr: (none) -> 0.1",
        "  best: 1 -> (none)",
        "none of 1 group changed",
    ]
    many = tuple(ValueChange(str(number), "1", "2") for number in range(60))
    assert "  ... and 10 more values" in shown(replace(compare(None, None, "a", "b"), values=many))


def test_what_is_no_change_of_groups_is_explained() -> None:
    one, other = model(a="1"), checkpoint(entry("a", "1"), skeleton=b"other")
    kept = checkpoint(entry("a", "1", update=Update("delta", None, (dense("0"),))))
    assert "only bytes outside of the groups changed" in shown(compare(one, other, "a", "b"))
    assert "the same values, kept in another way" in shown(compare(one, kept, "a", "b"))
    assert "format: safetensors -> torch" in shown(compare(one, checkpoint(format_name="torch"), "a", "b"))
    unknown = checkpoint(entry("a", "1", update=Update("", None)))
    assert shown(compare(one, unknown, "a", "b")) == "none of 1 group changed"


def test_groups_that_are_kept_nowhere_say_nothing_of_it() -> None:
    diff = compare(model(a="1"), checkpoint(entry("a", "2", update=Update("", None))), "a", "b")
    assert "update" not in shown(diff)
    assert "kept" not in shown(diff)


# --- how it looks -----------------------------------------------------------------------------------------------------


def many_kinds() -> CheckpointDiff:
    old = checkpoint(*(entry(f"a.rather.long.name.of.a.group.{name}", name) for name in "abcd"), entry("g", "1"))
    new = checkpoint(
        entry("a.rather.long.name.of.a.group.a", "2"),
        entry("a.rather.long.name.of.a.group.重", "b"),
        entry("a.rather.long.name.of.a.group.c", "x", (3, 3), "float16"),
        entry("g", "2"),
        entry("new", "y"),
    )
    values = (ValueChange("a long name", "'" + "x" * 100 + "'", "4"),)
    return replace(measured(compare(old, new, "a", "b"), MOVED, None), values=values)


@pytest.mark.parametrize("columns", [*range(1, 120, 7), 80])
def test_lines_fit_into_the_width(columns: int) -> None:
    *table, _summary = lines(many_kinds(), Look(width=columns))
    assert max(map(width, table)) <= max(columns, 1)


def test_columns_are_left_out_one_after_the_other() -> None:
    diff = measured(compare(gpt(""), gpt("2", *range(12)), "a", "b"), MOVED)
    heads = [next(lines(diff, Look(width=columns))).split()[1:] for columns in range(120, 30, -1)]
    assert list(dict.fromkeys(map(tuple, heads))) == [
        ("change", "values", "max", "cosine", "update", "kept", "where"),
        ("change", "values", "max", "cosine", "update", "kept"),
        ("change", "values", "max", "update", "kept"),
        ("change", "values", "update", "kept"),
        ("change", "values", "update"),
        ("change", "values"),
        ("change",),
    ]


def test_without_a_width_nothing_is_left_out() -> None:
    name = "x" * 500
    text = shown(compare(model(), checkpoint(entry(name, "1")), "a", "b"))
    assert name in text
    assert "|" in text


def test_what_happened_and_where_is_coloured() -> None:
    old, new = model(same="1", gone="2", other="3"), model(same="1", other="4", new="5")
    text = shown(compare(old, new, "a", "b"), Look(colours=COLOURS))
    assert text.splitlines()[0].startswith("<C>  group")
    assert text.splitlines()[0].endswith("</>")
    assert "gone   <R>removed</>" in text
    assert "other  <Y>modified</>" in text
    assert "new    <G>added</>" in text
    assert text.count("<G>|") == 1
    assert text.splitlines()[-1] == "<B>3 of 4 groups changed (1 added, 1 removed, 1 modified), 72 bytes of 96 bytes</>"
    plain = shown(compare(old, new, "a", "b"))
    for code in COLOURS.values():
        text = text.replace(code, "")
    assert text == plain


def test_plain_ascii_where_nothing_else_can_be_shown() -> None:
    assert shown(measured(compare(gpt(""), gpt("2", 3), "a", "b"), MOVED), Look(is_unicode=False)).isascii()


def test_bar_shows_where_in_the_file_the_bytes_are() -> None:
    sizes = {"first": 50, "second": 25, "tiny": 0, "last": 25}
    old, new = (
        checkpoint(*(entry(name, f"{name}{values}", (size,)) for name, size in sizes.items())) for values in "12"
    )
    bars = ["|" + line.split("|")[1] + "|" for line in [*lines(compare(old, new, "a", "b"), Look())][1:-1]]
    assert bars == [
        "|██████████          |",
        "|          █████     |",
        "|               ▁    |",
        "|               █████|",
    ]


def test_control_characters_never_reach_the_terminal() -> None:
    bad = "a\x1b[2J\x07\n\u202e"
    old = checkpoint(entry(bad, "1"), entry("was" + bad, "2"), format_name="safetensors")
    update = Update("plug\x1b", None, (dense("1"),))
    new = checkpoint(entry(bad, "3", update=update), entry("is" + bad, "2"), format_name="torch")
    diff = replace(compare(old, new, bad, bad), values=(ValueChange(bad, bad, bad),))
    sides = FileSide(bad, "100644", "1" * 40), FileSide(bad, "100644", "2" * 40)
    for text in (shown(diff), *patch(*sides, [bad], diff, Look())):
        assert all(char.isprintable() or char == "\n" for char in text)
    assert r"a\x1b[2J\x07\n\u202e" in shown(diff)


def test_showing_groups_takes_time_that_grows_with_their_number() -> None:
    def shown(size: int) -> Callable[[], object]:
        names = [f"layers.{number}.w{number % 9}x.重" for number in range(size)]
        diff = measured(compare(None, checkpoint(*(entry(name, "1") for name in names)), "a", "b"), MOVED)
        assert len(list(lines(diff, Look(fold=False, width=100)))) == 2 * size + 2
        assert len(list(lines(diff, Look(width=100)))) == 11 + 9
        return lambda: [*lines(diff, Look(fold=False, width=100)), *lines(diff, Look(width=100))]

    assert grows_linearly(shown, 1000)


# --- the whole of it --------------------------------------------------------------------------------------------------


def test_patch_begins_as_git_does_and_cannot_be_applied() -> None:
    diff = compare(model(a="1"), model(a="2"), "m", "m")
    old, new = FileSide("m", "100644", "1" * 40), FileSide("m", "100644", "2" * 40)
    text = list(patch(old, new, None, diff, Look()))
    assert text[:3] == ["diff --git a/m b/m", "index 1111111..2222222 100644", "Binary files a/m and b/m differ"]
    assert text[-1] == "1 of 1 group modified, 24 bytes of 24 bytes"


def test_patch_of_what_cannot_be_compared_is_what_git_says() -> None:
    old, new = FileSide("m", None), FileSide("m", "100755", "2" * 40)
    assert list(patch(old, new, None, None, Look())) == [
        "diff --git a/m b/m",
        "new file mode 100755",
        "index 0000000..2222222",
        "Binary files /dev/null and b/m differ",
    ]


def test_patch_of_another_mode_is_nothing_but_that() -> None:
    old, new = FileSide("m", "100644", "1" * 40), FileSide("m", "100755", "1" * 40)
    assert list(patch(old, new, None, None, Look(colours=COLOURS))) == [
        "<B>diff --git a/m b/m</>",
        "<B>old mode 100644</>",
        "<B>new mode 100755</>",
    ]


def test_change_without_sides_is_no_change() -> None:
    with pytest.raises(ValueError, match="at least one side"):
        _ = GroupChange(Kind.ADDED, None, None).name


def test_entries_know_their_names() -> None:
    one: Entry = entry("a", "1")
    assert GroupChange(Kind.REMOVED, one, None).name == "a"
