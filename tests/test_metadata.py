"""What a metadata file says, as values: its objects, its layout, and the key of its content."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from git_theta import tensors
from git_theta.layout import Layout, Span
from git_theta.metadata import Entry, Metadata, ObjectRef, Skeleton, Update, content_key

INLINE = Skeleton(10, tensors.digest(b"0123456789"), b"0123456789", None)


def ref(number: int, start: int = 0) -> ObjectRef:
    return ObjectRef(f"{number:064x}", 100 + number, start)


def entry(name: str, values: str, kept: ObjectRef | None, *, lead: int = 0, shape: tuple[int, ...] = (2,)) -> Entry:
    return Entry(name, "float32", shape, tensors.digest(values.encode()), lead, Update("dense", kept))


def metadata(*entries: Entry, skeleton: Skeleton = INLINE) -> Metadata:
    return Metadata("test", skeleton.size + sum(item.nbytes for item in entries), skeleton, entries)


def oids(checkpoint: Metadata) -> list[str]:
    return [found.oid for found in checkpoint.objects()]


def test_an_entry_knows_its_bytes() -> None:
    assert entry("a", "A", ref(1), shape=(2, 3)).nbytes == 24


def test_what_nobody_chose_in_the_skeleton_makes_all_of_it_undecided() -> None:
    assert metadata(entry("a", "A", ref(1))).is_decided
    assert not metadata(entry("a", "A", ref(1)), skeleton=replace(INLINE, undecided=("epoch",))).is_decided


def test_objects_come_in_file_order() -> None:
    checkpoint = metadata(entry("b", "B", ref(2)), entry("a", "A", ref(1)), entry("c", "C", ref(3)))
    assert oids(checkpoint) == [ref(2).oid, ref(1).oid, ref(3).oid]


def test_object_that_several_groups_share_comes_once() -> None:
    checkpoint = metadata(entry("a", "A", ref(1, 0)), entry("b", "B", ref(2)), entry("c", "C", ref(1, 2)))
    assert oids(checkpoint) == [ref(1).oid, ref(2).oid]


def test_groups_without_values_have_no_object() -> None:
    assert oids(metadata(entry("a", "", None, shape=(0,)), entry("b", "B", ref(2)))) == [ref(2).oid]


def test_the_object_of_the_skeleton_is_one_of_them() -> None:
    skeleton = Skeleton(5, tensors.digest(b"skeleton"), None, Update("dense", ref(9)))
    assert sorted(oids(metadata(entry("a", "A", ref(1)), skeleton=skeleton))) == [ref(1).oid, ref(9).oid]


def test_equal_groups_in_different_objects_need_both_objects() -> None:
    """As after a merge of two branches that made two groups equal: each side has stored the values by itself."""
    checkpoint = metadata(entry("a", "same", ref(1)), entry("b", "same", ref(2)))
    assert sorted(oids(checkpoint)) == [ref(1).oid, ref(2).oid]


def test_group_equal_to_the_skeleton_does_not_hide_its_object() -> None:
    skeleton = Skeleton(4, tensors.digest(b"same"), None, Update("dense", ref(9)))
    assert sorted(oids(metadata(entry("a", "same", ref(1)), skeleton=skeleton))) == [ref(1).oid, ref(9).oid]


def test_the_layout_puts_each_group_after_its_lead() -> None:
    checkpoint = metadata(
        entry("a", "A", ref(1), lead=7), entry("b", "", None, shape=(0, 3)), entry("c", "C", ref(2), lead=1)
    )
    assert checkpoint.layout() == Layout(
        "test",
        26,
        (Span("a", "float32", (2,), 7), Span("b", "float32", (0, 3), 15), Span("c", "float32", (2,), 16)),
    )
    assert list(checkpoint.layout().leads()) == [7, 0, 1]


def test_metadata_cannot_be_changed() -> None:
    checkpoint = metadata(entry("a", "A", ref(1)))
    with pytest.raises(AttributeError):
        checkpoint.size = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        checkpoint.entries[0].lead = 1  # type: ignore[misc]


LAYOUT = Layout("test", 30, (Span("a", "float32", (2,), 4), Span("b", "float32", (1, 2), 14)))
DIGESTS = (tensors.digest(b"A"), tensors.digest(b"B"))
SKELETON = tensors.digest(b"skeleton")


def span(number: int, **changes: object) -> Layout:
    spans = [replace(item, **changes) if place == number else item for place, item in enumerate(LAYOUT.spans)]
    return replace(LAYOUT, spans=tuple(spans))


def test_equal_content_has_an_equal_key() -> None:
    assert content_key(LAYOUT, SKELETON, DIGESTS) == content_key(replace(LAYOUT), SKELETON, tuple(DIGESTS))
    assert len(content_key(LAYOUT, SKELETON, DIGESTS)) == 64


@pytest.mark.parametrize(
    ("layout", "skeleton", "digests"),
    [
        (replace(LAYOUT, format="other"), SKELETON, DIGESTS),
        (LAYOUT, tensors.digest(b"other"), DIGESTS),
        (LAYOUT, SKELETON, DIGESTS[::-1]),
        (LAYOUT, SKELETON, (DIGESTS[0], tensors.digest(b"other"))),
        (span(0, name="c"), SKELETON, DIGESTS),
        (span(0, dtype="int32"), SKELETON, DIGESTS),
        (span(1, shape=(2, 1)), SKELETON, DIGESTS),
        (span(1, shape=(2,)), SKELETON, DIGESTS),
        (span(0, start=3), SKELETON, DIGESTS),
        (span(1, start=15), SKELETON, DIGESTS),
        (replace(LAYOUT, spans=LAYOUT.spans[:1]), SKELETON, DIGESTS[:1]),
    ],
)
def test_the_key_depends_on_everything(layout: Layout, skeleton: str, digests: tuple[str, ...]) -> None:
    assert content_key(layout, skeleton, digests) != content_key(LAYOUT, SKELETON, DIGESTS)


def test_a_name_cannot_pretend_to_be_another_group() -> None:
    """As it could if names were joined to the rest without being quoted."""
    empty, digest = tensors.digest(b""), tensors.digest(b"A")
    two = Layout("test", 4, (Span("a", "uint8", (0,), 0), Span("b", "float32", (1,), 0)))
    one = Layout("test", 4, (Span(f'a" uint8 (0,) 0 {empty}\n"b', "float32", (1,), 0),))
    assert content_key(two, SKELETON, (empty, digest)) != content_key(one, SKELETON, (digest,))


def test_names_beyond_ascii_have_keys_of_their_own() -> None:
    keys = [content_key(span(0, name=name), SKELETON, DIGESTS) for name in ("é", "e", "\\u00e9", "\ud800", "🤖", "")]
    assert len(set(keys)) == len(keys)


def test_a_digest_too_few_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        content_key(LAYOUT, SKELETON, DIGESTS[:1])
