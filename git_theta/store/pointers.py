"""The pointers of Git LFS: small texts that stand for files which git-lfs keeps."""

from __future__ import annotations

import re
from typing import Final

from git_theta.metadata import ObjectRef

_PREFIX: Final = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER: Final = re.compile(_PREFIX + rb"(?:ext-\d[^\n]*\n)*oid sha256:[0-9a-f]{64}\nsize \d+\n")


def pointer(ref: ObjectRef) -> bytes:
    """The one that stands for an object."""
    return _PREFIX + f"oid sha256:{ref.oid}\nsize {ref.size}\n".encode()


def is_pointer(data: bytes) -> bool:
    """Whether the bytes are a whole pointer."""
    return _POINTER.fullmatch(data) is not None
