"""The metadata file: one canonical text, one line per group, and a parser that takes nothing else."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from git_theta import metadata_file, tensors
from git_theta.errors import MetadataError
from git_theta.layout import MAX_SKELETON
from git_theta.metadata import Entry, MergeRecord, Metadata, ObjectRef, Skeleton, Update, values_digest
from git_theta.metadata_file import MAX_BYTES, PREFIX, is_metadata, parse, serialize

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "data" / "metadata" / "example.theta"
SCHEMA = Path(__file__).parents[1] / "docs" / "metadata.schema.json"
OID = {letter: letter * 64 for letter in "abcdef"}
TEXT = b"0123456789 a skeleton"


def digest(text: str) -> str:
    return tensors.digest(text.encode())


def dense(oid: str, size: int, start: int = 0) -> Update:
    return Update("dense", ObjectRef(oid, size, start))


EXAMPLE = Metadata(
    format="safetensors",
    size=len(TEXT) + 12 + 3072 + 8 + 3,
    skeleton=Skeleton(len(TEXT), tensors.digest(TEXT), TEXT, None),
    entries=(
        Entry("bias", "float32", (3,), digest("bias"), 8, dense(OID["a"], 321, 40)),
        Entry("empty", "float16", (0, 4), tensors.digest(b""), 0, Update("dense", None)),
        Entry("h.0/wéight\n", "bfloat16", (48, 32), digest("weight"), 3, dense(OID["b"], 2345)),
        Entry("packed", "float6_e2m3fn", (2, 2), digest("packed"), 0, dense(OID["a"], 321)),
        Entry("step", "int64", (), digest("step"), 2, dense(OID["c"], 260)),
    ),
)
BEHIND_AN_UPDATE = replace(EXAMPLE, skeleton=Skeleton(len(TEXT), tensors.digest(TEXT), None, dense(OID["d"], 300)))
VALUES = values_digest(entry.digest for entry in EXAMPLE.entries)
WITH_CHECKSUMS = replace(EXAMPLE, skeleton=replace(EXAMPLE.skeleton, values=VALUES))


# --- values that come back ------------------------------------------------------------------------------------------

sizes = st.integers(0, 2**40)
hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
words = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True)
refs = st.builds(ObjectRef, hexes, sizes, sizes)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
parameters = st.dictionaries(st.text(), scalars | st.lists(scalars).map(tuple), max_size=3).map(
    lambda found: tuple(sorted(found.items()))
)
merges = st.none() | st.builds(MergeRecord, words, parameters)


@st.composite
def entries(draw: st.DrawFn, name: str, lead: int) -> Entry:
    dtype = draw(st.sampled_from(list(tensors.BLOCKS)))
    shape = tuple(draw(st.lists(st.integers(0, 100), max_size=4)))
    if tensors.BLOCKS[dtype][0] > 1:
        shape = (*shape, tensors.BLOCKS[dtype][0])
    has_values = 0 not in shape
    update = Update(draw(words), draw(refs) if has_values else None)
    return Entry(name, dtype, shape, draw(hexes), lead, update, merge=draw(merges))


@st.composite
def checkpoints(draw: st.DrawFn) -> Metadata:
    """Any metadata that can be: names of all kinds, every dtype, skeletons inline and behind an update."""
    names = draw(st.lists(st.text(), unique=True, max_size=6))
    inline, values = draw(st.booleans()), draw(st.none() | hexes)
    undecided = tuple(draw(st.lists(st.text(), max_size=2)))
    leads = [draw(st.integers(0, 20 if inline else 2**20)) for _ in names]
    groups = tuple(draw(entries(name, lead)) for name, lead in zip(names, leads, strict=True))
    if inline:
        text = bytes(sum(leads)) + draw(st.binary(max_size=50))
        skeleton = Skeleton(len(text), tensors.digest(text), text, None, values, undecided)
    else:
        size = sum(leads) + draw(st.integers(1, 2**27))
        skeleton = Skeleton(size, draw(hexes), None, Update(draw(words), draw(refs)), values, undecided)
    size = skeleton.size + sum(group.nbytes for group in groups)
    return Metadata(draw(words), size, skeleton, groups)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(metadata=checkpoints())
def test_parsing_what_was_serialized_gives_the_same_metadata(metadata: Metadata) -> None:
    data = serialize(metadata)
    assert parse(data) == metadata
    assert is_metadata(data)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(metadata=checkpoints())
def test_there_is_one_line_per_group_in_file_order(metadata: Metadata) -> None:
    data = serialize(metadata)
    assert data.isascii()
    assert data.endswith(b"\n")
    lines = data.decode().split("\n")[:-1]
    assert len(lines) == 5 + len(metadata.entries)
    assert [json.loads(line.removesuffix(","))["name"] for line in lines[4:-1]] == [
        entry.name for entry in metadata.entries
    ]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(metadata=checkpoints())
def test_every_metadata_file_fits_the_published_schema(metadata: Metadata) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(json.loads(serialize(metadata)))] == []


def test_the_first_line_says_what_the_file_is_and_how_to_get_the_checkpoint() -> None:
    first = serialize(EXAMPLE).split(b"\n")[0].decode()
    assert first.startswith('{"git-theta":1,"about":"')
    assert "model checkpoint" in first
    for command in ("pip install git-theta", "git theta install", "git theta pull"):
        assert command in first


def test_a_change_of_one_group_changes_one_line() -> None:
    changed = replace(EXAMPLE.entries[2], digest=digest("other"), update=dense(OID["e"], 2222))
    other = replace(EXAMPLE, entries=(*EXAMPLE.entries[:2], changed, *EXAMPLE.entries[3:]))
    before, after = serialize(EXAMPLE).splitlines(), serialize(other).splitlines()
    assert [number for number, (old, new) in enumerate(zip(before, after, strict=True), 1) if old != new] == [7]


def test_what_needs_no_saying_is_left_out() -> None:
    lines = serialize(EXAMPLE).decode().splitlines()
    assert '"lead":8' in lines[4]
    assert '"start":40' in lines[4]
    assert '"lead"' not in lines[5]
    assert '"oid"' not in lines[5]
    assert '"start"' not in lines[7]


def test_what_a_merge_made_stands_before_the_update() -> None:
    merge = MergeRecord("ties", (("density", (0.2, 1.0)), ("normalize", False)))
    group = replace(EXAMPLE.entries[0], merge=merge)
    data = serialize(replace(EXAMPLE, entries=(group, *EXAMPLE.entries[1:])))
    text = b'"lead":8,"merge":{"method":"ties","with":{"density":[0.2,1.0],"normalize":false}},"update":{'
    assert data.count(text) == 1
    assert data.replace(text, b'"lead":8,"update":{') == serialize(EXAMPLE)
    assert parse(data).entries[0] == group
    assert b'"merge":{"method":"average"},"update"' in serialize(
        replace(EXAMPLE, entries=(replace(group, merge=MergeRecord("average")), *EXAMPLE.entries[1:]))
    )


@pytest.mark.parametrize(
    "merge",
    [
        '"ties"',
        "{}",
        '{"method":"Ties"}',
        '{"method":""}',
        '{"method":7}',
        '{"method":"ties","with":[]}',
        '{"method":"ties","with":{}}',
        '{"method":"ties","with":{"density":NaN}}',
        '{"method":"ties","with":{"density":{"a":1}}}',
        '{"method":"ties","with":{"weight":1,"density":1}}',
        '{"method":"ties","with":{"density":1,"density":1}}',
        '{"method":"ties","seed":1}',
        '{"with":{"density":1},"method":"ties"}',
        '{"method":"ties", "with":{"density":1}}',
        '{"method":"ties","with":{"density":' + "[" * 100_000 + "]" * 100_000 + "}}",
    ],
    ids=lambda text: text[:60],
)
def test_damaged_record_of_a_merge_is_refused(merge: str) -> None:
    data = serialize(EXAMPLE).replace(b'"lead":8,', f'"lead":8,"merge":{merge},'.encode())
    with pytest.raises(MetadataError, match="line 5"):
        parse(data)


def test_the_golden_file_is_read_and_written_as_ever() -> None:
    """When this fails, commits that people have made can no longer be read, or `git status` is no longer clean."""
    data = GOLDEN.read_bytes()
    assert parse(data) == EXAMPLE
    assert serialize(EXAMPLE) == data


def test_a_skeleton_says_which_layout_it_is_made_for_and_with_checksums_which_values() -> None:
    """As docs/metadata.md has it."""
    layout = (
        'safetensors\n["bias","float32",[3],8]\n["empty","float16",[0,4],0]\n'
        '["h.0/w\\u00e9ight\\n","bfloat16",[48,32],3]\n["packed","float6_e2m3fn",[2,2],0]\n["step","int64",[],2]\n'
    )
    values = "".join(f"{entry.digest}\n" for entry in EXAMPLE.entries)
    made_for = f'"layout":"{digest(layout)}",'
    assert f'{made_for}"base64":' in serialize(EXAMPLE).decode()
    assert f'{made_for}"update":' in serialize(BEHIND_AN_UPDATE).decode()
    assert f'{made_for}"values":"{digest(values)}","base64":' in serialize(WITH_CHECKSUMS).decode()


def test_a_checkpoint_without_groups_is_no_special_case() -> None:
    empty = Metadata("opaque", 0, Skeleton(0, tensors.digest(b""), b"", None), ())
    assert parse(serialize(empty)) == empty
    assert serialize(empty).count(b"\n") == 5


def test_the_largest_group_that_can_be_is_read() -> None:
    largest = Entry("a", "uint8", (2**31, 2**31), digest("a"), 0, dense(OID["a"], 2**62))
    metadata = Metadata("opaque", 2**62, Skeleton(0, tensors.digest(b""), b"", None), (largest,))
    assert parse(serialize(metadata)) == metadata


def test_other_files_are_not_metadata() -> None:
    assert is_metadata(PREFIX)
    for head in (b"", b"{", PREFIX[:-1], b" " + PREFIX, b"version https://git-lfs.github.com/spec/v1\n"):
        assert not is_metadata(head)


def test_skeleton_that_is_nowhere_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="either inline or behind an update"):
        serialize(replace(EXAMPLE, skeleton=Skeleton(5, digest("x"), None, None)))


# --- damage ---------------------------------------------------------------------------------------------------------


def refused(data: bytes, *words: str) -> None:
    """The parser refuses the bytes, in one line that a person may read."""
    with pytest.raises(MetadataError) as caught:
        parse(data)
    message = str(caught.value)
    assert message
    assert message.isprintable()
    assert len(message) < 300
    for word in words:
        assert word in message


def change(old: str | bytes, new: str | bytes, *, example: Metadata = EXAMPLE) -> bytes:
    """The example with the first of something replaced."""
    data = serialize(example)
    before, after = (text.encode() if isinstance(text, str) else text for text in (old, new))
    assert before in data
    return data.replace(before, after, 1)


def lines_of(example: Metadata = EXAMPLE) -> list[bytes]:
    return serialize(example).split(b"\n")


def edit(edit_lines: Callable[[list[bytes]], object]) -> bytes:
    """The example with its lines edited."""
    lines = lines_of()
    edit_lines(lines)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "data",
    [
        change('{"git-theta":1,', '{"git-theta":2,'),
        change('{"git-theta":1,', '{"git-theta":999999999,'),
        b'{"git-theta":2}',
        b'{"git-theta":3,"whatever":[\n\xff\xfe',
    ],
)
def test_future_version_is_said_to_be_of_a_newer_git_theta(data: bytes) -> None:
    refused(data, "newer git-theta", "upgrade")


@pytest.mark.parametrize("version", ["0", "01", "-1", "1.0", "1e0", '"1"', "true", "null", "[1]", "", "9" * 5000])
def test_version_that_is_no_version_is_refused(version: str) -> None:
    refused(change('{"git-theta":1,', f'{{"git-theta":{version},'))


@pytest.mark.parametrize(
    "data", [b"", b"\n", PREFIX, b"{}", b"null", b"\0" * 100, b" " + serialize(EXAMPLE), b"\xef\xbb\xbf{}"]
)
def test_file_that_is_not_a_metadata_file_is_refused(data: bytes) -> None:
    refused(data, "not a Git-Theta metadata file")


HEX = f'"digest":"{EXAMPLE.entries[0].digest}"'
OID_TEXT = f'"oid":"{OID["a"]}"'
FIRST = EXAMPLE.entries[0]

DAMAGE = {
    "digest in upper case": (HEX, HEX.upper().replace("DIGEST", "digest")),
    "digest too short": (HEX, HEX[:-2] + '"'),
    "digest too long": (HEX, HEX[:-1] + '0"'),
    "digest that is not hexadecimal": (HEX, HEX[:-2] + 'g"'),
    "digest that is a number": (HEX, '"digest":1'),
    "digest that is null": (HEX, '"digest":null'),
    "digest with a line feed": (HEX, HEX[:-1] + '\\n"'),
    "digest with full-width digits": (HEX, HEX[:-2] + '\\uff11"'),
    "oid in upper case": (OID_TEXT, OID_TEXT.replace("a" * 64, "A" * 64)),
    "oid too short": (OID_TEXT, OID_TEXT[:-2] + '"'),
    "oid that is a path": (OID_TEXT, '"oid":"../../../../etc/passwd"'),
    "oid that is null": (OID_TEXT, '"oid":null'),
    "oid that is a list": (OID_TEXT, '"oid":[]'),
    "oid without size": (f'{OID_TEXT},"size":321,', f"{OID_TEXT},"),
    "size without oid": (f'{OID_TEXT},"size":321', '"size":321'),
    "start without oid": (f'{OID_TEXT},"size":321,"start":40', '"start":40'),
    "object size that is negative": ('"size":321', '"size":-321'),
    "object size that is a float": ('"size":321', '"size":321.0'),
    "object size with an exponent": ('"size":321', '"size":321e0'),
    "object size that is true": ('"size":321', '"size":true'),
    "object size that is a string": ('"size":321', '"size":"321"'),
    "object size that is null": ('"size":321', '"size":null'),
    "object size that is absurd": ('"size":321', f'"size":{2**62 + 1}'),
    "object size that is huge": ('"size":321', f'"size":1{"0" * 5000}'),
    "object size that is huge but can be read": ('"size":321', f'"size":1{"0" * 4000}'),
    "object size that is NaN": ('"size":321', '"size":NaN'),
    "object size that is infinite": ('"size":321', '"size":Infinity'),
    "object size with a leading zero": ('"size":321', '"size":0321'),
    "object size with a plus": ('"size":321', '"size":+321'),
    "object size that is minus zero": ('"size":321', '"size":-0'),
    "start that need not be said": ('"start":40', '"start":0'),
    "start that is negative": ('"start":40', '"start":-40'),
    "start that is a float": ('"start":40', '"start":4e1'),
    "lead that need not be said": ('"lead":8', '"lead":0'),
    "lead that is negative": ('"lead":8', '"lead":-8'),
    "lead that is a float": ('"lead":8', '"lead":8.0'),
    "lead that is true": ('"lead":8', '"lead":true'),
    "lead that is null": ('"lead":8', '"lead":null'),
    "lead that is more than there is": ('"lead":8', '"lead":17'),
    "extent that is negative": ('"shape":[3]', '"shape":[-3]'),
    "extents that are negative": ('"shape":[3]', '"shape":[-3,-1]'),
    "extent that is a float": ('"shape":[3]', '"shape":[3.0]'),
    "extent that is true": ('"shape":[3]', '"shape":[3,true]'),
    "extent that is null": ('"shape":[3]', '"shape":[null]'),
    "extent that is a string": ('"shape":[3]', '"shape":["3"]'),
    "extent that is a list": ('"shape":[3]', '"shape":[[3]]'),
    "extent that is absurd": ('"shape":[3]', f'"shape":[{2**63}]'),
    "extent that is huge": ('"shape":[3]', f'"shape":[1{"0" * 5000}]'),
    "extent that is NaN": ('"shape":[3]', '"shape":[NaN]'),
    "extents whose product is absurd": ('"shape":[3]', f'"shape":[{2**40},{2**40},{2**40}]'),
    "extents that are too many": ('"shape":[3]', f'"shape":[3{",1" * 64}]'),
    "shape that is a number": ('"shape":[3]', '"shape":3'),
    "shape that is a string": ('"shape":[3]', '"shape":"3"'),
    "shape that is an object": ('"shape":[3]', '"shape":{}'),
    "shape that is null": ('"shape":[3]', '"shape":null'),
    "shape with a trailing comma": ('"shape":[3]', '"shape":[3,]'),
    "shape of another size": ('"shape":[3]', '"shape":[4]'),
    "dtype that is unknown": ('"dtype":"float32"', '"dtype":"float33"'),
    "dtype that is long": ('"dtype":"float32"', f'"dtype":"{"f" * 5000}"'),
    "dtype that is a list": ('"dtype":"float32"', '"dtype":["float32"]'),
    "dtype that is null": ('"dtype":"float32"', '"dtype":null'),
    "dtype with an escape": ('"dtype":"float32"', '"dtype":"\\u0066loat32"'),
    "dtype whose last byte is not full": (
        '"dtype":"float6_e2m3fn","shape":[2,2]',
        '"dtype":"float6_e2m3fn","shape":[2]',
    ),
    "name that is a number": ('"name":"bias"', '"name":1'),
    "name that is null": ('"name":"bias"', '"name":null'),
    "name that is a list": ('"name":"bias"', '"name":["bias"]'),
    "name with an escape that is not needed": ('"name":"bias"', '"name":"\\u0062ias"'),
    "name with an escaped slash": ('"name":"bias"', '"name":"b\\/ias"'),
    "name with an escape in upper case": ("w\\u00e9ight", "w\\u00E9ight"),
    "name with another escape of the line feed": ("ight\\n", "ight\\u000a"),
    "name with a raw control character": ('"name":"bias"', '"name":"b\x01ias"'),
    "name that is not ASCII": ('"name":"bias"', '"name":"biäs"'),
    "name that is not UTF-8": (b'"name":"bias"', b'"name":"bi\xe4s"'),
    "name with a bad escape": ('"name":"bias"', '"name":"\\x62ias"'),
    "name twice in the file": ('"name":"empty"', '"name":"bias"'),
    "update that is a string": ('"update":{"type":"dense"}', '"update":"dense"'),
    "update that is a list": ('"update":{"type":"dense"}', '"update":[]'),
    "update that is null": ('"update":{"type":"dense"}', '"update":null'),
    "update without a type": ('"update":{"type":"dense"}', '"update":{}'),
    "update type that is empty": ('"type":"dense"', '"type":""'),
    "update type that is a path": ('"type":"dense"', '"type":"../dense"'),
    "update type in upper case": ('"type":"dense"', '"type":"Dense"'),
    "update type that is long": ('"type":"dense"', f'"type":"{"d" * 65}"'),
    "update type that is a list": ('"type":"dense"', '"type":["dense"]'),
    "update with another key": ('"type":"dense"', '"type":"dense","more":1'),
    "update with a key twice": ('"type":"dense"', '"type":"dense","type":"dense"'),
    "update with keys in another order": (f'"type":"dense",{OID_TEXT}', f'{OID_TEXT},"type":"dense"'),
    "format that is empty": ('"format":"safetensors"', '"format":""'),
    "format that is a path": ('"format":"safetensors"', '"format":"a/b"'),
    "format in upper case": ('"format":"safetensors"', '"format":"Safetensors"'),
    "format that is null": ('"format":"safetensors"', '"format":null'),
    "format that is missing": ('"format":"safetensors",', ""),
    "format with a line feed": ('"format":"safetensors"', '"format":"safetensors\\n"'),
    "file size that is wrong": (f'"size":{EXAMPLE.size}', f'"size":{EXAMPLE.size + 1}'),
    "file size that is negative": (f'"size":{EXAMPLE.size}', '"size":-1'),
    "file size that is a float": (f'"size":{EXAMPLE.size}', f'"size":{EXAMPLE.size}.0'),
    "file size that is huge": (f'"size":{EXAMPLE.size}', f'"size":1{"0" * 5000}'),
    "file size that is NaN": (f'"size":{EXAMPLE.size}', '"size":NaN'),
    "file size that is missing": (f',"size":{EXAMPLE.size}', ""),
    "file size given twice": (f'"size":{EXAMPLE.size}', f'"size":{EXAMPLE.size},"size":{EXAMPLE.size}'),
    "skeleton that is a list": ('"skeleton":{', '"skeleton":[{'),
    "layout of the skeleton that is of others": ('"layout":"', f'"layout":"{OID["f"]}","more":"'),
    "layout of the skeleton that is no digest": ('"layout":"', '"layout":"F'),
    "layout of the skeleton that is null": ('"layout":', '"layout":null,"more":'),
    "values of the skeleton that are no digest": ('"base64"', '"values":"f","base64"'),
    "values of the skeleton without a layout": ('"layout"', '"values"'),
    "skeleton size that is wrong": (f'"size":{len(TEXT)},"digest"', f'"size":{len(TEXT) + 1},"digest"'),
    "skeleton digest that is wrong": (f'"digest":"{tensors.digest(TEXT)}"', f'"digest":"{OID["f"]}"'),
    "skeleton of other bytes": ('"base64":"M', '"base64":"N'),
    "skeleton that is not base64": ('"base64":"M', '"base64":"!'),
    "skeleton with white space": ('"base64":"M', '"base64":" M'),
    "skeleton with a line feed": ('"base64":"M', '"base64":"\\nM'),
    "skeleton that is a number": ('"base64":"', '"base64":1,"more":"'),
    "skeleton that is nowhere": ('"base64"', '"base65"'),
    "skeleton both inline and behind an update": ('"base64":', '"update":{"type":"dense"},"base64":'),
    "about that is other": ("To get the checkpoint", "To get a checkpoint"),
    "about that is missing": (re.search(rb',"about":".*?"', serialize(EXAMPLE))[0], b""),  # type: ignore[index]
    "another key of the file": ('"format"', '"more":1,"format"'),
    "another key of the skeleton": ('"base64"', '"more":1,"base64"'),
    "another key of a group": ('"name":"bias"', '"more":1,"name":"bias"'),
    "a key of a group twice": ('"name":"bias"', '"name":"bias","name":"bias"'),
    "a key of a group missing": ('"name":"bias",', ""),
    "keys of a group in another order": ('"name":"bias","dtype":"float32"', '"dtype":"float32","name":"bias"'),
    "a space between tokens": ('"name":"bias"', '"name": "bias"'),
    "a space at the end of a line": ('"groups":[\n', '"groups":[ \n'),
    "a tab at the start of a line": ('\n{"name"', '\n\t{"name"'),
    "an empty line": ('"groups":[\n', '"groups":[\n\n'),
    "two groups on a line": ('},\n{"name":"empty"', '},{"name":"empty"'),
    "a group on two lines": (',"dtype"', ',\n"dtype"'),
    "a comma too few": ('},\n{"name":"empty"', '}\n{"name":"empty"'),
    "a comma too many": ("}}\n]}", "}},\n]}"),
    "two commas": ('},\n{"name":"empty"', '},,\n{"name":"empty"'),
    "a group that is a list": ('{"name":"bias"', '[{"name":"bias"'),
    "a comment": ('"groups":[\n', '"groups":[\n// groups\n'),
    "no final line feed": ("]}\n", "]}"),
    "an empty line at the end": ("]}\n", "]}\n\n"),
    "something at the end": ("]}\n", "]}\nmore\n"),
    "a NUL": ('"name":"bias"', '"name":"bias"\0'),
    "a byte order mark": ('"format"', '\ufeff"format"'),
    "a group of values without an object": (f',{OID_TEXT},"size":321,"start":40', ""),
}


@pytest.mark.parametrize(("old", "new"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused(old: str | bytes, new: str | bytes) -> None:
    refused(change(old, new))


@pytest.mark.parametrize("key", ["name", "dtype", "shape", "digest", "update", "format", "size", "skeleton", "type"])
def test_missing_key_is_named(key: str) -> None:
    refused(change(f'"{key}":', f'"{key.upper()}":'), key, "is missing")


def test_group_without_values_that_names_an_object_is_refused() -> None:
    """There is one encoding: what has no values has no object (docs/metadata.md)."""
    group = replace(EXAMPLE.entries[1], update=dense(OID["a"], 321))
    refused(serialize(replace(EXAMPLE, entries=(EXAMPLE.entries[0], group, *EXAMPLE.entries[2:]))))


def test_skeleton_with_bytes_but_neither_inline_nor_in_an_object_is_refused() -> None:
    refused(change(f',"oid":"{OID["d"]}","size":300', "", example=BEHIND_AN_UPDATE), "line 3")


def test_the_line_that_is_damaged_is_named() -> None:
    refused(change('"size":321', '"size":-321'), "line 5 ")
    refused(change('"name":"step"', '"name": "step"'), "line 9 ")
    refused(change('"base64":"M', '"base64":"N'), "line 3 ")
    refused(change('"format":"s', '"format":"S'), "line 2 ")


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 5000])
def test_number_that_json_does_not_have_is_refused(weight: str) -> None:
    refused(change('"type":"dense",', f'"type":"dense","with":{{"a":[{weight}]}},'), "line 5 ")


def test_crlf_is_refused() -> None:
    refused(serialize(EXAMPLE).replace(b"\n", b"\r\n"))
    for number in range(len(lines_of()) - 1):
        refused(edit(lambda lines, number=number: lines.__setitem__(number, lines[number] + b"\r")))


@pytest.mark.parametrize(
    "marker", ["<<<<<<< HEAD", "||||||| 1234567", "=======", ">>>>>>> theirs", "<<<<<<<", "<<< HEAD", "========="]
)
@pytest.mark.parametrize("number", [2, 5, 7, 10, 11])
def test_conflict_marker_is_named_with_its_line(marker: str, number: int) -> None:
    data = edit(lambda lines: lines.insert(number - 1, marker.encode()))
    refused(data, f"line {number} ", "conflict marker", "settle the conflict")


def test_conflict_as_git_writes_it_is_refused_at_its_first_marker() -> None:
    def conflict(lines: list[bytes]) -> None:
        theirs = lines[6].replace(b"b" * 64, b"e" * 64)
        lines[6:7] = [b"<<<<<<< HEAD", lines[6], b"=======", theirs, b">>>>>>> theirs"]

    refused(edit(conflict), "line 7 ", "conflict marker")


def test_name_that_looks_like_a_conflict_marker_is_a_name() -> None:
    groups = tuple(
        replace(group, name=name)
        for group, name in zip(EXAMPLE.entries, ("<<<<<<< HEAD", "=======", ">>>>>>> x", "|||||||", "a"), strict=True)
    )
    metadata = replace(EXAMPLE, entries=groups)
    assert parse(serialize(metadata)) == metadata


def test_groups_that_were_left_out_or_repeated_or_swapped_leave_a_trace() -> None:
    mixed = ("mixes lines of two versions", "git add FILE")
    refused(edit(lambda lines: lines.pop(4)), *mixed)
    refused(edit(lambda lines: lines.insert(5, lines[4])), *mixed)
    refused(edit(lambda lines: lines.insert(5, lines[4].replace(b"bias", b"more"))), *mixed)
    refused(edit(lambda lines: lines.pop(3)))
    refused(edit(lambda lines: lines.reverse()))
    refused(edit(lambda lines: lines.insert(4, lines.pop(5))), *mixed, "or places")


def test_a_file_that_fits_its_skeleton_and_not_itself_is_refused() -> None:
    refused(serialize(replace(EXAMPLE, size=EXAMPLE.size + 1)), "add up")
    twice = replace(EXAMPLE, entries=(*EXAMPLE.entries, EXAMPLE.entries[0]))
    refused(serialize(replace(twice, size=twice.size + twice.entries[0].nbytes)), "twice")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"format":"safetensors"', '"format":"gguf"'),
        ('"name":"bias"', '"name":"gain"'),
        ('"dtype":"float32"', '"dtype":"int32"'),
        ('"shape":[48,32]', '"shape":[32,48]'),
        ('"lead":8', '"lead":7'),
    ],
)
@pytest.mark.parametrize("example", [EXAMPLE, BEHIND_AN_UPDATE, WITH_CHECKSUMS])
def test_a_skeleton_that_is_made_for_another_layout_is_refused(example: Metadata, old: str, new: str) -> None:
    refused(change(old, new, example=example), "mixes lines of two versions", "git checkout COMMIT -- FILE")


def test_other_values_are_taken_and_a_skeleton_with_checksums_is_seen_to_have_those_of_the_old_ones() -> None:
    old, new = EXAMPLE.entries[0].digest, digest("other")
    for example, is_fitted in ((EXAMPLE, True), (BEHIND_AN_UPDATE, True), (WITH_CHECKSUMS, False)):
        assert parse(serialize(example)).is_fitted
        mixed = change(old, new, example=example)
        assert parse(mixed).entries[0].digest == new
        assert parse(mixed).is_fitted is is_fitted
        assert serialize(parse(mixed)) == mixed


BOMBS = {
    "in the place of a shape": change('"shape":[3]', f'"shape":{"[" * 100_000}'),
    "closed": change('"shape":[3]', f'"shape":{"[" * 100_000}{"]" * 100_000}'),
    "of objects": change('"update":{', f'"update":{"{" * 100_000}'),
    "of named objects": change('"update":{"type"', '"update":' + '{"a":' * 100_000 + '{"type"'),
    "in the skeleton": change('"skeleton":{', f'"skeleton":{"[" * 100_000}'),
    "in the line of the file": change('"format":', f'"format":{"[" * 100_000}'),
    "in the version": change('{"git-theta":1', '{"git-theta":' + "[" * 100_000),
    "instead of the groups": change('{"name":"bias"', "[" * 100_000),
    "that is not too deep to read": change('"shape":[3]', f'"shape":{"[" * 200}{"]" * 200}'),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_deep_nesting_is_refused(data: bytes) -> None:
    refused(data)


def test_file_that_could_not_be_read_again_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(serialize(EXAMPLE))
    monkeypatch.setattr(metadata_file, "MAX_BYTES", size)
    assert parse(serialize(EXAMPLE)) == EXAMPLE
    monkeypatch.setattr(metadata_file, "MAX_BYTES", size - 1)
    with pytest.raises(MetadataError, match=r"theta\.maxchain"):
        serialize(EXAMPLE)


def test_skeleton_that_no_memory_could_hold_is_refused() -> None:
    """Its object may be small all the same: zeros compress well."""

    def of(size: int) -> Metadata:
        skeleton = replace(BEHIND_AN_UPDATE.skeleton, size=size)
        return replace(BEHIND_AN_UPDATE, skeleton=skeleton, size=EXAMPLE.size - len(TEXT) + size)

    assert parse(serialize(of(MAX_SKELETON))) == of(MAX_SKELETON)
    refused(serialize(of(MAX_SKELETON + 1)), "line 3", "skeleton is absurdly large")


def test_file_that_is_too_large_is_refused_unread() -> None:
    refused(serialize(EXAMPLE) + b" " * MAX_BYTES, "absurdly large")


@pytest.mark.parametrize("example", [EXAMPLE, BEHIND_AN_UPDATE], ids=["inline", "behind an update"])
def test_truncation_at_every_byte_is_refused(example: Metadata) -> None:
    data = serialize(example)
    assert parse(data) == example
    for length in range(len(data)):
        refused(data[:length])


def assert_canonical_or_refused(data: bytes) -> bool:
    """Parse; anything but our error is a failure, and so is what would be written in another way."""
    try:
        metadata = parse(data)
    except MetadataError:
        return False
    assert serialize(metadata) == data
    return True


@pytest.mark.parametrize("example", [EXAMPLE, BEHIND_AN_UPDATE], ids=["inline", "behind an update"])
def test_changing_any_byte_is_refused_or_another_canonical_file(example: Metadata) -> None:
    generator = random.Random(1)
    data = serialize(example)
    taken = 0
    for _ in range(3000):
        mutated = bytearray(data)
        mutated[generator.randrange(len(data))] = generator.randrange(256)
        taken += assert_canonical_or_refused(bytes(mutated))
    # A digest of another value cannot be told from the right one, so some of them are taken.
    assert 0 < taken < 1500


@settings(derandomize=True, deadline=None, max_examples=300)
@given(place=st.integers(0, 10_000), length=st.integers(0, 30), data=st.binary(max_size=20))
def test_replacing_any_bytes_is_refused_or_another_canonical_file(place: int, length: int, data: bytes) -> None:
    text = serialize(EXAMPLE)
    place %= len(text)
    assert_canonical_or_refused(text[:place] + data + text[place + length :])


keys = st.sampled_from(["name", "dtype", "shape", "digest", "lead", "update", "format", "size", "skeleton"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    line=st.integers(1, 8),
    key=st.sampled_from(["name", "dtype", "shape", "digest", "lead", "update"]),
    value=json_values,
)
def test_any_json_in_any_place_is_refused_or_another_canonical_file(line: int, key: str, value: object) -> None:
    lines = serialize(EXAMPLE).decode().split("\n")
    if line < 4:
        lines[line] = f'"{key}":{json.dumps(value)},'
    else:
        group = {**json.loads(lines[line].removesuffix(",")), key: value}
        lines[line] = json.dumps(group, separators=(",", ":")) + ("," if line < 8 else "")
    assert_canonical_or_refused("\n".join(lines).encode())


@pytest.mark.parametrize("names", ["[]", '""', "[1]", "{}", '["a", "b"]', "null"])
def test_names_of_what_is_undecided_are_a_list_of_texts(names: str) -> None:
    with pytest.raises(MetadataError, match="line 3 of the metadata file"):
        parse(change('"base64"', f'"undecided":{names},"base64"'))


@pytest.mark.parametrize("name", ["safetensors", "torch-legacy", "by-value:my_plugin.2", "by-value:x"])
def test_names_of_formats_and_of_plugins_that_keep_values_are_taken(name: str) -> None:
    empty = Skeleton(0, tensors.digest(b""), b"", None)
    metadata = Metadata(name, 0, empty, ())
    assert parse(serialize(metadata)) == metadata


@pytest.mark.parametrize("name", ["by-value:", "by-value:by-value:x", "other:x", "by-value:X", ":x", "by-value: x"])
def test_other_names_of_formats_are_refused(name: str) -> None:
    empty = Skeleton(0, tensors.digest(b""), b"", None)
    with pytest.raises(MetadataError, match="not the name of a format"):
        parse(serialize(Metadata(name, 0, empty, ())))


def test_lines_that_are_known_give_the_same_groups_and_no_other_file_is_taken_for_that() -> None:
    known: dict[str, Entry] = {}
    data = serialize(EXAMPLE)
    first = parse(data, known)
    assert first == parse(data)
    assert len(known) == len(first.entries)
    again = parse(data, known)
    assert again == first
    assert all(one is other for one, other in zip(first.entries, again.entries, strict=True))
    for damaged, said in (
        (edit(lambda lines: lines.insert(5, lines[4])), "mixes lines"),
        (edit(lambda lines: lines.pop(4)), "mixes lines"),
        (change('"dtype"', '"kind"'), "line 5 of the metadata file is malformed"),
    ):
        with pytest.raises(MetadataError, match=said):
            parse(damaged, known)
