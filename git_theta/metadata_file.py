"""The metadata file: the small text that stands in Git for a checkpoint (specified in docs/metadata.md).

There is one canonical encoding, one line per parameter group. The parser is strict: it accepts a line only if encoding
what it understood gives that very line again.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final, TypeVar

from git_theta import signatures, tensors
from git_theta.errors import MetadataError
from git_theta.layout import MAX_SKELETON
from git_theta.metadata import Entry, MergeRecord, Metadata, ObjectRef, Parameter, Skeleton, Update

VERSION: Final = 1
PREFIX: Final = b'{"git-theta":'
MAX_BYTES: Final = 1 << 26
"""A metadata file larger than this is refused: 200,000 groups fit in it."""

MAX_NESTED: Final = 64
"""Updates that one group's values may take, the bases of bases included."""

_ABOUT: Final = (
    "This stands for a model checkpoint that Git-Theta keeps. "
    "To get the checkpoint itself: pip install git-theta && git theta install && git theta pull"
)
_HEAD: Final = f'{{"git-theta":{VERSION},"about":{quote(_ABOUT)},'
_SHOWN: Final = 200
_GROUPS: Final = '"groups":['
_END: Final = "]}"
_VERSION: Final = re.compile(rb'\{"git-theta":(\d{1,9})[,}]')
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)
_FORMAT: Final = re.compile(rf"(?:by-value:)?{_WORD.pattern}", re.ASCII)
_MARKER: Final = re.compile(r"(<+|\|+|=+|>+)( |$)")
"""Of any length: the attribute conflict-marker-size sets it."""

_FIRST_MARKER: Final = re.compile(rb"<+ ")

_MIXED: Final = (
    "the metadata file mixes lines of two versions: its skeleton is for groups of other names, dtypes, shapes or "
    "places; take one version whole, with 'git add FILE' from the worktree or 'git checkout COMMIT -- FILE'"
)

T = TypeVar("T")


def is_metadata(head: bytes) -> bool:
    """Whether a file that begins so is meant to be a metadata file."""
    return head.startswith(PREFIX)


def is_in_conflict(head: bytes) -> bool:
    """Whether a file that begins so is two metadata files between git's conflict markers."""
    return _FIRST_MARKER.match(head) is not None and b"\n" + PREFIX in head


def serialize(metadata: Metadata) -> bytes:
    """The canonical encoding.

    Raises:
        MetadataError: it is larger than what `parse` reads.
    """
    skeleton = _skeleton_text((metadata.skeleton, metadata.layout_digest()))
    lines = [_HEAD, _file_text((metadata.format, metadata.size)), skeleton, _GROUPS]
    last = len(metadata.entries) - 1
    lines += [_entry_line(entry) + ("," if number < last else "") for number, entry in enumerate(metadata.entries)]
    data = "\n".join([*lines, _END, ""]).encode("ascii")
    if len(data) > MAX_BYTES:
        raise MetadataError(
            f"{len(metadata.entries)} groups need a metadata file of {len(data)} bytes, more than {MAX_BYTES}: "
            "set theta.maxchain to a smaller number, or split the checkpoint"
        )
    return data


def parse(data: bytes, known: dict[str, Entry] | None = None) -> Metadata:
    """Read a metadata file.

    Args:
        data: the file.
        known: the groups by the lines that were read before, for whoever reads many versions: most lines of two
            versions are the same. The lines of this one are added.

    Raises:
        MetadataError: it is malformed, not in the canonical encoding, or of a newer version.
    """
    _check_version(data)
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MetadataError(f"the metadata file has a byte that is not ASCII at offset {error.start}") from None
    for number, line in enumerate(lines, 1):
        if line.startswith(("<", "|", "=", ">")) and _MARKER.match(line):
            raise MetadataError(f"line {number} of the metadata file is a conflict marker: settle the conflict first")
    if len(lines) < 6 or lines[0] != _HEAD or lines[3] != _GROUPS or lines[-2:] != [_END, ""]:
        raise MetadataError("the metadata file is incomplete or was edited: check out the file again")
    format_name, size = _checked(lines[1], 2, _read_file, _file_text)
    skeleton, layout = _checked(lines[2], 3, _read_skeleton, _skeleton_text)
    texts = lines[4:-2]
    commas = [text[-1:] == "," for text in texts]
    if commas != [True] * (len(texts) - 1) + [False] * min(len(texts), 1):
        raise MetadataError("the metadata file lacks or repeats a comma between two groups")
    entries = tuple(_entry(text.removesuffix(","), number, known) for number, text in enumerate(texts, 5))
    metadata = Metadata(format_name, size, skeleton, entries)
    if layout != metadata.layout_digest():
        raise MetadataError(_MIXED)
    _check_whole(metadata)
    return metadata


def _entry(text: str, number: int, known: dict[str, Entry] | None) -> Entry:
    """The group of a line, which is read only if it is not known yet."""
    if known is None:
        return _checked(text, number, _read_entry, _entry_line)
    if text not in known:
        known[text] = _checked(text, number, _read_entry, _entry_line)
    return known[text]


def _check_version(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise MetadataError(f"the metadata file is absurdly large ({len(data)} bytes)")
    found = _VERSION.match(data)
    if found is None:
        raise MetadataError("this is not a Git-Theta metadata file")
    if int(found[1]) > VERSION:
        raise MetadataError(
            f"the metadata file was written by a newer git-theta (format {int(found[1])}, this one reads {VERSION}): "
            "upgrade git-theta"
        )


def _check_whole(metadata: Metadata) -> None:
    entries = metadata.entries
    if len({entry.name for entry in entries}) != len(entries):
        raise MetadataError("the metadata file names a group twice")
    if metadata.skeleton.size + sum(entry.nbytes for entry in entries) != metadata.size:
        raise MetadataError("the sizes in the metadata file do not add up")
    if sum(entry.lead for entry in entries) > metadata.skeleton.size:
        raise MetadataError("the groups in the metadata file claim more of the skeleton than there is")


def _checked(text: str, number: int, read: Callable[[Mapping[str, Any]], T], write: Callable[[T], str]) -> T:
    """Read one line; lines 2 and 3 are members of the outermost JSON object, the others objects of their own."""
    try:
        value = read(_object(json.loads(f"{{{text.removesuffix(',')}}}" if number <= 3 else text)))
        is_canonical = write(value) == text
    except (ValueError, KeyError, RecursionError) as error:
        raise MetadataError(f"line {number} of the metadata file is malformed: {_reason(error)}") from None
    if not is_canonical:
        raise MetadataError(f"line {number} of the metadata file is not in the canonical encoding")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (str(error) or type(error).__name__)[:_SHOWN]


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object is expected")
    return value


def _integer(value: object) -> int:
    if type(value) is not int or not 0 <= value <= tensors.MAX_BYTES:
        raise ValueError("a number is out of range")
    return value


def _string(value: object, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"not {what}")
    return value


def _read_file(value: Mapping[str, Any]) -> tuple[str, int]:
    return _string(value["format"], _FORMAT, "the name of a format"), _integer(value["size"])


def _file_text(file: tuple[str, int]) -> str:
    return f'"format":{quote(file[0])},"size":{file[1]},'


def _read_skeleton(members: Mapping[str, Any]) -> tuple[Skeleton, str]:
    """The skeleton, and the layout that it is made for."""
    value = _object(members["skeleton"])
    size, digest = _integer(value["size"]), _string(value["digest"], _HEX, "a digest")
    if size > MAX_SKELETON:
        raise ValueError("the skeleton is absurdly large")
    layout = _string(value["layout"], _HEX, "a digest")
    values = _string(value["values"], _HEX, "a digest") if "values" in value else None
    undecided = _names(value.get("undecided", []))
    if "base64" not in value:
        update = _read_update(value["update"])
        if not any(update.objects()):
            raise ValueError("a skeleton that is not inline needs an object")
        return Skeleton(size, digest, None, update, values, undecided), layout
    inline = base64.b64decode(str(value["base64"]), validate=True)
    if len(inline) != size or tensors.digest(inline) != digest:
        raise ValueError("the skeleton is not the one that its digest names")
    return Skeleton(size, digest, inline, None, values, undecided), layout


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("not a list of names")
    return tuple(value)


def _skeleton_text(found: tuple[Skeleton, str]) -> str:
    skeleton, layout = found
    if skeleton.inline is not None:
        kept = f'"base64":"{base64.b64encode(skeleton.inline).decode()}"'
    elif skeleton.update is not None:
        kept = f'"update":{_update_text(skeleton.update)}'
    else:
        raise ValueError("a skeleton is either inline or behind an update")
    names = ",".join(map(quote, skeleton.undecided))
    made_for = f'"layout":"{layout}",' + (f'"values":"{skeleton.values}",' if skeleton.values is not None else "")
    undecided = f'"undecided":[{names}],' if names else ""
    return f'"skeleton":{{"size":{skeleton.size},"digest":"{skeleton.digest}",{made_for}{undecided}{kept}}},'


def _read_entry(value: Mapping[str, Any]) -> Entry:
    name, shape = value["name"], value["shape"]
    if not isinstance(name, str) or not isinstance(shape, list) or not isinstance(value["dtype"], str):
        raise ValueError("a group needs a name, a dtype and a shape")
    entry = Entry(
        name=name,
        dtype=value["dtype"],
        shape=tuple(_integer(extent) for extent in shape),
        digest=_string(value["digest"], _HEX, "a digest"),
        lead=_integer(value.get("lead", 0)),
        update=_read_update(value["update"]),
        signature=signatures.decode(value["signature"]) if "signature" in value else None,
        merge=_read_merge(value["merge"]) if "merge" in value else None,
    )
    if any(entry.update.objects()) is (entry.nbytes == 0):
        raise ValueError("a group with values needs an object, and one without has none")
    return entry


def _read_merge(value: object) -> MergeRecord:
    members = _object(value)
    return MergeRecord(_string(members["method"], _WORD, "the name of a merge method"), _settings(members))


def _read_update(value: object) -> Update:
    update = _read_nested(value, [])
    for part in update.nested():
        if not part.bases and part.object is None and part is not update:
            raise ValueError("an update builds on nothing")
    return update


def _read_nested(value: object, read: list[None]) -> Update:
    """Read an update; `read` counts those that were read before in this group."""
    read.append(None)
    if len(read) > MAX_NESTED:
        raise ValueError("too many updates build on each other")
    members = _object(value)
    kind = _string(members["type"], _WORD, "a type of update")
    ref = None
    if "oid" in members:
        oid = _string(members["oid"], _HEX, "an object's name (64 hexadecimal digits)")
        ref = ObjectRef(oid, _integer(members["size"]), _integer(members.get("start", 0)))
    bases = members.get("bases", [])
    if not isinstance(bases, list):
        raise ValueError("bases are a list")
    return Update(
        type=kind,
        object=ref,
        bases=tuple(_read_nested(base, read) for base in bases),
        parameters=_settings(members),
    )


def _settings(members: Mapping[str, Any]) -> tuple[tuple[str, Parameter], ...]:
    """The member "with", sorted by name."""
    found = _object(members["with"]) if "with" in members else {}
    return tuple(sorted((name, _parameter(item)) for name, item in found.items()))


def _parameter(value: object) -> Parameter:
    if isinstance(value, list):
        return tuple(_parameter(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError("a setting of an update is neither a number nor a text nor a list")


def _entry_line(entry: Entry) -> str:
    shape = ",".join(map(str, entry.shape))
    lead = f'"lead":{entry.lead},' if entry.lead else ""
    signature = f'"signature":"{signatures.encode(entry.signature)}",' if entry.signature is not None else ""
    merge = f'"merge":{_merge_text(entry.merge)},' if entry.merge is not None else ""
    return (
        f'{{"name":{quote(entry.name)},"dtype":"{entry.dtype}","shape":[{shape}],"digest":"{entry.digest}",'
        f'{signature}{lead}{merge}"update":{_update_text(entry.update)}}}'
    )


def _merge_text(merge: MergeRecord) -> str:
    return f'{{"method":"{merge.method}"{_settings_text(merge.parameters)}}}'


def _settings_text(parameters: tuple[tuple[str, Parameter], ...]) -> str:
    return f',"with":{json.dumps(dict(parameters), separators=(",", ":"), allow_nan=False)}' if parameters else ""


def _update_text(update: Update) -> str:
    text = f'"type":"{update.type}"{_settings_text(update.parameters)}'
    ref = update.object
    if ref is not None:
        text += f',"oid":"{ref.oid}","size":{ref.size}'
        text += f',"start":{ref.start}' if ref.start else ""
    if update.bases:
        text += f',"bases":[{",".join(map(_update_text, update.bases))}]'
    return f"{{{text}}}"
