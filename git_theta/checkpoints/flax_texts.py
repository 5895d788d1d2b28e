"""What a Flax file consists of besides its groups, as short texts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from git_theta import tensors
from git_theta.checkpoints import ARRAY, MAP
from git_theta.checkpoints.flax_reader import COMPLEX, NDARRAY, RAW, UNPACKED, Token, token_at
from git_theta.checkpoints.flax_tree import CHUNKS, MARK, SHAPE, Node
from git_theta.checkpoints.texts import MAX_TEXT, SHOWN_BYTES, digest_of, quoted_beginning, with_digest
from git_theta.errors import NotThisFormatError
from git_theta.sources import BytesSource, Source

_EXACT: Final = 32
"""Digits of digests that tell all values apart, whoever chose them."""

_MOST_SHOWN: Final = 8


def shown(source: Source, token: Token) -> str:
    """A leaf as short text."""
    text, is_whole = _text(source, token)
    return text if is_whole else with_digest(text, digest_of(source, token.start, token.body + token.length))


def parts(top: Node) -> dict[str, str]:
    """All that a tree consists of besides its groups, by name: see `checkpoints.Nested`.

    Lists are one part with all that is no group in them, as their places mean nothing by themselves. Of an array, it is
    a part what a group does not say.

    Raises:
        NotThisFormatError: it is no map.
    """
    if top.kind != "map":
        raise NotThisFormatError("it is no map")
    found: dict[str, str] = {}
    waiting: list[tuple[tuple[str, ...], Node]] = [((), top)]
    while waiting:
        path, node = waiting.pop()
        text = _part(node)
        if path and text is not None:
            found[tensors.join_name(path)] = text
        if text == MAP:
            waiting += [((*path, key), child) for key, child in reversed(node.children.items())]
    return found


def labels(top: Node) -> dict[str, str]:
    """What a tree says more about its arrays, by their names: see `checkpoints.Labelled`."""
    found: dict[str, str] = {}
    waiting: list[tuple[tuple[str, ...], Node]] = [((), top)]
    while waiting:
        path, node = waiting.pop()
        text = _label(node)
        if text is not None:
            found[tensors.join_name(path)] = text
        waiting += [((*path, key), child) for key, child in node.children.items()]
    return found


def _part(node: Node) -> str | None:
    if node.kind == "leaf":
        return _exact(node)
    if node.kind == "list":
        return _list(node)
    if node.kind == "map":
        return MAP if not is_chunked_array(node) else f"{ARRAY} in chunks ({_digest(node.children[SHAPE])})"
    return _label(node)


def _label(node: Node) -> str | None:
    if node.old is None:
        return None
    name = node.old.flax_name
    is_plain = name not in UNPACKED and name.partition("[")[0] not in RAW
    if is_plain and node.code == NDARRAY:
        return None
    return f"{ARRAY} of {name}" if node.code == NDARRAY else f"{ARRAY} that is a number of {name}"


def is_chunked_array(node: Node) -> bool:
    """Whether a map stands for an array in chunks, and holds nothing else."""
    if not node.is_chunked or node.children.keys() != {MARK, SHAPE, CHUNKS}:
        return False
    chunks = node.children[CHUNKS]
    return chunks.kind == "map" and all(chunk.kind == "array" for chunk in chunks.children.values())


def _list(node: Node) -> str:
    items = list(node.children.values())
    if len(items) <= _MOST_SHOWN and all(item.kind == "leaf" for item in items):
        text = f"[{', '.join(_exact(item) for item in items)}]"
        if len(text) <= MAX_TEXT:
            return text
    return f"a list of {len(items)} ({_digest(node)})"


def _exact(leaf: Node) -> str:
    """A leaf as short text; no other one has the same."""
    source = BytesSource(leaf.raw)
    token = token_at(source, 0)
    text, is_whole = _text(source, token)
    if is_whole and (token.kind != "str" or _is_text(leaf.raw[token.body :])):
        return text
    return f"{text[: MAX_TEXT // 2]} ({tensors.digest(leaf.raw)[:_EXACT]})"


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(source: Source, token: Token) -> tuple[str, bool]:
    """What is shown of a leaf, and whether that is all of it."""
    if token.kind == "number":
        return str(token.value), True
    # Flax writes a native complex number as a list of two doubles.
    if (token.kind, token.code, token.length) == ("ext", COMPLEX, 19):
        real, imaginary = struct.unpack(">2xdxd", source.read(token.body, token.body + token.length))
        return str(complex(real, imaginary)), True
    if token.kind == "str":
        beginning = source.read(token.body, token.body + min(token.length, SHOWN_BYTES))
        return quoted_beginning(beginning, token.length)
    return f"{token.length} bytes", False


def _digest(node: Node) -> str:
    return tensors.digest("\n".join(_lines(node)).encode("utf-8"))[:_EXACT]


def _lines(node: Node, prefix: str = "") -> Iterator[str]:
    """All that is in a part of the tree, the headers of arrays included; it is not deeper than Python can recurse."""
    array = (node.old.dtype, node.old.shape, node.old.flax_name) if node.old is not None else ()
    yield f"{prefix!r} {node.kind} {node.code} {array} {node.raw.hex() if node.kind == 'leaf' else ''}"
    for key, child in node.children.items():
        yield from _lines(child, tensors.join_name([prefix, key]))
