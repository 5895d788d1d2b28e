"""Metadata files that programs put together by lines, from several versions: right, or refused."""

from __future__ import annotations

import io
import json
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers import Repo

A, B = np.arange(1000, dtype=np.float32), -np.arange(1000, dtype=np.float32)
REFUSED = "mixes lines of several versions that do not belong together"


def safetensors_in_order(groups: Mapping[str, Any]) -> bytes:
    header, body = {}, b""
    for name, values in groups.items():
        place = [len(body), len(body) + values.nbytes]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": place}
        body += values.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def saved_by_torch(groups: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save({name: torch.from_numpy(values) for name, values in groups.items()}, stream)
    return stream.getvalue()


def saved_by_numpy(groups: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **groups)
    return stream.getvalue()


def half_added(repo: Repo, path: str, old: bytes, new: bytes, kept: str) -> None:
    """Commit a checkpoint, and stage of another version only the lines that match, as `git add -p` does."""
    repo.theta("track", path)
    repo.write(path, old)
    repo.commit("old")
    lines = repo.git("show", f":{path}").stdout.splitlines(keepends=True)
    repo.write(path, new)
    repo.commit("new")
    others = repo.git("show", f":{path}").stdout.splitlines(keepends=True)
    assert len(lines) == len(others)
    mixed = [two if re.match(kept, two) else one for one, two in zip(lines, others, strict=True)]
    oid = repo.git("hash-object", "-w", "--stdin", stdin="".join(mixed)).stdout.strip()
    repo.git("update-index", "--cacheinfo", f"100644,{oid},{path}")
    repo.git("commit", "-qm", "mixed")


@pytest.mark.parametrize("save", [safetensors_in_order, saved_by_torch, saved_by_numpy])
@pytest.mark.parametrize("kept", ['"skeleton"', '"format"', '"(format|skeleton)"', '{"name"'])
def test_values_never_come_under_the_names_of_others(repo: Repo, save: Any, kept: str) -> None:
    half_added(repo, "model.bin", save({"a": A, "b": B}), save({"b": B, "a": A}), kept)
    done = repo.git("checkout", "-f", "HEAD", "--", "model.bin", check=False)
    assert done.returncode != 0
    assert f"git-theta: model.bin: the metadata file {REFUSED}: " in done.stderr
    repo.git("checkout", "-q", "-f", "HEAD~1")
    assert repo.read("model.bin") == save({"b": B, "a": A})


def test_values_of_single_groups_are_taken_from_any_version(repo: Repo) -> None:
    old, new = ({"a": A * factor, "b": B * factor} for factor in (1, 3))
    save = safetensors.numpy.save
    half_added(repo, "model.bin", save(old), save(new), '{"name":"b"')
    repo.git("checkout", "-f", "HEAD", "--", "model.bin")
    assert repo.read("model.bin") == save({"a": A, "b": B * 3})
    assert repo.status() == ""


@pytest.mark.parametrize("save", [saved_by_torch, saved_by_numpy])
def test_checksums_of_other_values_are_never_checked_out(repo: Repo, save: Any) -> None:
    old, new = ({"a": A * factor, "b": B * factor} for factor in (1, 3))
    half_added(repo, "model.bin", save(old), save(new), '{"name":"b"')
    done = repo.git("checkout", "-f", "HEAD", "--", "model.bin", check=False)
    assert done.returncode != 0
    assert REFUSED in done.stderr
    repo.write("model.bin", save(new))
    repo.commit("whole")
    repo.git("checkout", "-q", "-f", "HEAD~2")
    repo.git("checkout", "-q", "-f", "main")
    assert repo.read("model.bin") == save(new)
