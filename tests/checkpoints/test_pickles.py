"""The inert walk over a pickle, its limits, the plain values it finds, and the pickles that are written from it."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copyreg
import io
import os
import pickle
import pickletools
import random
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import tensors
from git_theta.checkpoints.pickle_objects import Bag, Dict, Global, Persistent, Record, Unread
from git_theta.checkpoints.pickle_reader import Fuel
from git_theta.checkpoints.pickle_values import plain_values
from git_theta.checkpoints.pickle_writer import PickleWriter
from git_theta.checkpoints.pickles import Walker
from git_theta.checkpoints.torch_tree import walk as walk_tree
from git_theta.errors import NotThisFormatError, PluginError
from git_theta.sources import BytesSource

MANY = 3_000_000


def walk(data: bytes) -> Any:
    return Walker(BytesSource(data), 0, len(data), Fuel(len(data))).walk()


def write(root: object) -> bytes:
    return PickleWriter(lambda part: part).dump(root)


def plain(value: Any) -> Any:
    """What a walked value of plain parts stands for."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, Dict):
        return {plain(key): plain(part) for key, part in zip(value.entries[::2], value.entries[1::2], strict=True)}
    if isinstance(value, Bag):
        return (frozenset if value.frozen else set)(plain(part) for part in value.elements)
    if isinstance(value, Unread):
        data = value.source.read(value.start, value.stop)
        return data.decode() if value.is_text else data
    return called(value) if isinstance(value, Record) else value


def called(record: Record) -> Any:
    assert isinstance(record.maker, Global)
    known: dict[str, Any] = {"set": set, "frozenset": frozenset, "bytearray": bytearray, "bytes": bytes}
    known["encode"] = str.encode
    return known[record.maker.name](*plain(record.args))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


class Custom:
    def __init__(self, **attributes: object) -> None:
        self.__dict__ |= attributes


class Slotted:
    __slots__ = ("__dict__", "left", "right")


# --- what it understands --------------------------------------------------------------------------------------------


@given(VALUES, st.integers(0, 5))
@settings(deadline=None)
def test_plain_values_are_walked_as_python_reads_them(value: object, protocol: int) -> None:
    if protocol == 0 and any(opcode.name == "UNICODE" for opcode, _, _ in pickletools.genops(pickle.dumps(value, 0))):
        return  # escapes of protocol 0 are left as they are
    assert plain(walk(pickle.dumps(value, protocol))) == value


@given(VALUES, st.integers(1, 5))
@settings(deadline=None)
def test_a_walked_pickle_is_written_again(value: object, protocol: int) -> None:
    written = write(walk(pickle.dumps(value, protocol)))
    assert pickle.loads(written) == value
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(written)) <= 2


@pytest.mark.parametrize("protocol", range(2, 6))
def test_objects_are_written_again(protocol: int) -> None:
    shared = [1, "two", b"three"]
    loop: list[object] = []
    loop.append(loop)
    slotted = Slotted()
    slotted.left, slotted.right, slotted.other = 1, shared, 3.5  # type: ignore[attr-defined]
    value = {
        "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.999), nested=argparse.Namespace(a=1)),
        "ordered": collections.OrderedDict(a=1, b=shared),
        "default": collections.defaultdict(list, x=[1]),
        "counter": collections.Counter("abca"),
        "deque": collections.deque([1, 2]),
        "array": np.arange(6).reshape(2, 3),
        "scalar": np.float32(1.5),
        "shared": [shared, shared, loop],
        "custom": Custom(a=1, b={"c": 2}),
        "slotted": slotted,
        "class": Custom,
        "bytearray": bytearray(b"abc"),
        "complex": 1 + 2j,
        "large": "x" * 100_000,
        "large bytes": bytes(100_000),
        "numbers": [2**31, -(2**31), 2**200, -(2**3000), 255, 256, -1, float("inf")],
    }
    again = pickle.loads(write(walk(pickle.dumps(value, protocol))))
    assert again["args"] == value["args"]
    assert again["ordered"] == value["ordered"]
    assert again["default"].default_factory is list
    assert again["counter"] == value["counter"]
    assert again["deque"] == value["deque"]
    assert np.array_equal(again["array"], value["array"])  # type: ignore[arg-type]
    assert again["scalar"] == 1.5
    assert again["shared"][0] is again["shared"][1]
    assert again["shared"][2] is again["shared"][2][0]
    assert vars(again["custom"]) == {"a": 1, "b": {"c": 2}}
    assert (again["slotted"].left, again["slotted"].right, again["slotted"].other) == (1, shared, 3.5)
    assert again["class"] is Custom
    for name in ("bytearray", "complex", "large", "large bytes", "numbers"):
        assert again[name] == value[name]


def test_opcodes_that_pickles_of_old_have() -> None:
    data = b"(I01\nI00\nI7\nL8L\nF1.5\nS'a'\nVb\n(lp0\ng0\n(dp1\n(i__builtin__\nset\nPid\n(c__builtin__\nlist\no210."
    root = Walker(BytesSource(data), 0, len(data), Fuel(0))
    with pytest.raises(NotThisFormatError):
        root.walk()  # the marks are popped, and nothing is left
    found = walk(data[:-4] + b"t.")
    assert found[:7] == (True, False, 7, 8, 1.5, "'a'", "b")
    assert found[7] is found[8] == []
    assert isinstance(found[9], Dict)
    assert isinstance(found[10], Record)
    assert found[10].maker.path == "__builtin__.set"  # type: ignore[attr-defined]
    assert isinstance(found[11], Persistent)
    assert found[11].id == "id"
    assert found[12].maker.path == "__builtin__.list"


def test_the_strings_of_python_2_are_text_if_they_can_be() -> None:
    assert walk(b"U\x03abcU\x01\xff\x86.") == ("abc", b"\xff")


def test_lone_surrogates_become_visible() -> None:
    assert walk(pickle.dumps("a\ud800")) == "a\\xed\\xa0\\x80"


def test_a_long_string_is_passed_over() -> None:
    data = pickle.dumps(["x" * 1_000_000, 7], 4)

    class Counting(BytesSource):
        total = 0

        def read(self, start: int, stop: int) -> bytes:
            self.total += stop - start
            return super().read(start, stop)

    source = Counting(data)
    root: Any = Walker(source, 0, len(data), Fuel(0)).walk()
    assert isinstance(root[0], Unread)
    assert root[1] == 7
    assert source.total < 200_000


def test_a_walk_stays_in_its_place() -> None:
    data = b"\xff\xff" + pickle.dumps([1, 2]) + pickle.dumps("next")
    first = Walker(BytesSource(data), 2, len(data), Fuel(0))
    assert first.walk() == [1, 2]
    assert Walker(BytesSource(data), first.position, len(data), Fuel(0)).walk() == "next"
    with pytest.raises(NotThisFormatError, match="cut off"):
        Walker(BytesSource(data), 2, first.position - 1, Fuel(0)).walk()


# --- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"N",
        b"\xff.",
        b"\x80\x06N.",
        b"h\x00.",
        b"g12345678901234567890123\n.",
        b"t.",
        b"a.",
        b"NNa.",
        b"NNNs.",
        b"]NNs.",
        b"(NNNd.",
        b"(N}u.",
        b"NR.",
        b"NNR.",
        b"Nb.",
        b"NNb.",
        b"N\x85\x86.",
        b"NN\x93.",
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x84\x01\x00\x00\x00.",
        b"\x97.",
        b"(o.",
        b"NN)\x92.",
        b"Inot a number\n.",
        b"I" + b"1" * 5000 + b"\n.",
        b"L" + b"1" * 1000 + b"L\n.",
        b"\x8b\xff\xff\xff\x7f.",
        b"X\xff\xff\xff\xffabc.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"T\xff\xff\xff\xffabc.",
        b"c" + b"a" * 10_000 + b"\nb\n.",
        b"cno newline",
    ],
)
def test_malformed_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(NotThisFormatError):
        walk(data)


def large_memo_indices(count: int) -> bytes:
    """Opcodes that put the same value into the memo, under numbers that go down from the largest."""
    puts = np.zeros(count, [("opcode", "S1"), ("index", "<u4")])
    puts["opcode"] = b"r"
    puts["index"] = 2**32 - 1 - np.arange(count)
    return puts.tobytes()


BOMBS = {
    "lists": b"]" * MANY,
    "dictionaries": b"}K\x01K\x01s" * MANY,
    "nested tuples": b")" + b"\x85" * MANY,
    "nested lists": b"]" * (MANY // 10) + b"a" * (MANY // 10 - 1) + b".",
    "nested records": b"ca\nb\n" + b")R" * (MANY // 10) + b".",
    "nested arguments": b"ca\nb\nq\x00)" + b"h\x00q\x010q\x020h\x00h\x02R\x85" * (MANY // 10) + b".",
    "nested states": b"ca\nb\nq\x000" + b"h\x00)R" * (MANY // 20) + b"b" * (MANY // 20 - 1) + b".",
    "nested dictionaries of pairs": b"ccollections\nOrderedDict\nq\x000)" + b"q\x01h\x00h\x01R0" * 9 + b"h\x01.",
    "nested sets": b"c__builtin__\nset\nq\x000]" + b"\x85q\x010h\x00h\x01R" * (MANY // 20) + b".",
    "marks": b"(" * MANY,
    "memo": b"N" + b"\x94" * MANY,
    "large memo indices": b"N" + large_memo_indices(MANY // 2),
    "one huge memo index": b"Nr\xff\xff\xff\xffp99999999999999999999\n.",
    "strings": b"X\x01\x00\x00\x00a" * MANY,
    "broken strings": (b"X\x00\x70\x00\x00" + b"\xff" * 0x7000) * 2000,
    "broken lines": (b"V" + b"\xff" * 4000 + b"\n") * 10_000,
    "numbers": (b"\x8b\x00\x02\x00\x00" + b"\x7f" * 512) * 30_000,
    "written numbers": (b"I" + b"7" * 500 + b"\n") * 30_000,
    "calls": b"ca\nb\n" + b")R" * MANY,
    "globals": b"ca\nb\n" * MANY,
    "nested persistent ids": b"N" + b"Q" * MANY,
    "copies": b"]" + b"2" * MANY,
    "a list in itself": b"]q\x00(" + b"h\x00" * 900_000 + b"e.",
    "laughs": b"]q\x00"
    + b"".join(b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(200))
    + b".",
    "dictionaries of laughs": b"}q\x00"
    + b"".join(
        b"}(" + b"".join(b"K" + bytes([k]) + b"h" + bytes([i]) for k in range(10)) + b"uq" + bytes([i + 1])
        for i in range(200)
    )
    + b".",
    "laughing strings": b"X\x00\x70\x00\x00" + b"a" * 0x7000 + b"q\x000](" + b"h\x00" * 100_000 + b"e.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_hang(name: str) -> None:
    began = time.thread_time()
    with contextlib.suppress(NotThisFormatError):
        look_at_everything(BOMBS[name], 3)
    assert time.thread_time() - began < 5  # half a second, mostly


@pytest.mark.parametrize(
    "name", ["memo", "lists", "dictionaries", "globals", "nested persistent ids", "broken strings", "laughing strings"]
)
def test_bombs_take_little_memory(name: str) -> None:
    # With an eighth of the fuel an eighth of the 200 MB: so this takes an eighth of the time.
    tracemalloc.start()
    try:
        look_at_everything(BOMBS[name], 8)
    except NotThisFormatError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200e6 / 8


def look_at_everything(data: bytes, share: int = 1) -> None:
    """Walk a pickle with a share of the fuel, then all that it holds."""
    fuel = Fuel(0)
    fuel.burn((1 << 27) - (1 << 27) // share)
    root = Walker(BytesSource(data), 0, len(data), fuel).walk()
    for _ in walk_tree(root):
        pass
    plain_values(root)


def test_what_cannot_be_written_is_refused() -> None:
    # A tuple in a list in the same tuple: no order of opcodes gives that without calling something twice.
    inner: list[object] = []
    outer = (inner,)
    inner.append(outer)
    with pytest.raises(PluginError, match="refers to itself"):
        write(Record(Global("a", "b"), outer, b"R"))


def test_laughs_are_written_as_short_as_they_were() -> None:
    assert len(write(walk(BOMBS["laughs"]))) < 20_000
    assert len(write(walk(BOMBS["laughing strings"]))) < 400_000


# --- nothing runs ---------------------------------------------------------------------------------------------------


class Audit:
    """What the interpreter does while `events` is a list: imports, calls of the system, unpickling."""

    events: list[str] | None = None
    FORBIDDEN = ("import", "exec", "compile", "os.", "subprocess.", "pickle.", "marshal.", "open", "shutil.", "socket.")

    @classmethod
    def hook(cls, event: str, _: object) -> None:
        if cls.events is not None and event.startswith(cls.FORBIDDEN):
            cls.events.append(event)


sys.addaudithook(Audit.hook)


class Evil:
    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def gadgets(canary: Path) -> dict[str, object]:
    """Objects that make a file when they are unpickled; all but "chain", which only gets hold of what could."""
    code = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Evil(os.system, (f"touch {canary}",)),
        "eval": Evil(eval, (code,)),
        "exec": Evil(exec, (code,)),
        "open": Evil(open, (str(canary), "w")),
        "state": Evil(Custom, (), {"x": Evil(exec, (code,))}),
        "elements": Evil(list, (), None, iter([Evil(exec, (code,))])),
        "entries": Evil(dict, (), None, None, iter([("k", Evil(exec, (code,)))])),
        "chain": Evil(getattr, (Evil(__import__, ("os",)), Evil(str, (b"system", "ascii")))),
        "nested": [{"a": (Evil(exec, (code,)),)}],
        "key": {Evil(os.system, (f"touch {canary}",)): 1},
        "pickle in a pickle": Evil(pickle.loads, (pickle.dumps(Evil(exec, (code,))),)),
        "apply": Evil(copyreg._reconstructor, (Custom, object, None), {"y": Evil(eval, (code,))}),  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", gadgets(Path("/nowhere")))
def test_nothing_runs(name: str, protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps(gadgets(canary)[name], protocol)
    look_at_everything(data)
    write(walk(data))
    Audit.events = []
    try:
        look_at_everything(data)
        write(walk(data))
    finally:
        seen, Audit.events = Audit.events, None
    assert not seen
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore")  # "open" leaves its file open
@pytest.mark.parametrize("name", sorted(gadgets(Path("/nowhere")).keys() - {"chain"}))
def test_the_canary_is_real(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(gadgets(canary)[name]))
    assert canary.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(X\x06\x00\x00\x00touch tR.",
        b"(ios\nsystem\n.",
        b"(cos\nsystem\nX\x01\x00\x00\x00ao.",
        b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93)R.",
        b"cos\nsystem\n)}\x92.",
        b"cos\nsystem\n)\x81}b.",
        b"cos\nsystem\n)RQ.",
        b"Pcos\nsystem\n)R.",
    ],
)
def test_every_opcode_that_calls_only_makes_a_record(data: bytes) -> None:
    Audit.events = []
    try:
        assert isinstance(walk(data), Record | Persistent | str)
    except NotThisFormatError:
        pass
    finally:
        seen, Audit.events = Audit.events, None
    assert not seen


def test_damaged_pickles_are_walked_or_refused() -> None:
    value = {"a": [1, 2.5, "x", b"y", None, True, 2**70], "b": collections.OrderedDict(c=Custom(d=(1, 2, 3)))}
    seeds = [pickle.dumps(value, protocol) for protocol in range(6)]
    dice = random.Random(7)
    for number in range(3000):
        data = bytearray(seeds[number % 6])
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            look_at_everything(bytes(data))
            write(walk(bytes(data)))
        except (NotThisFormatError, PluginError):
            pass


# --- plain values ---------------------------------------------------------------------------------------------------


def shown(value: object, protocol: int = 2) -> dict[str, str]:
    return plain_values(walk(pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", range(1, 6))
def test_plain_values_are_shown_by_path(protocol: int) -> None:
    value = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.001, name="x", flags=[True, None]),
        "best": np.float64(0.75),
        "steps": np.int64(12),
        "history": [{"loss": 1.5}, {"loss": 1.25}],
        "a/b": {"c~d": "e"},
        1: "one",
        (1, 2): "pair",
        None: 0,
        "empty": {},
        "none": [],
        "one": (1,),
        "kind": collections.OrderedDict,
    }
    assert shown(value, protocol) == {
        "epoch": "3",
        "args/lr": "0.001",
        "args/name": "'x'",
        "args/flags": "[True, None]",
        "best": "0.75",
        "steps": "12",
        "history/0/loss": "1.5",
        "history/1/loss": "1.25",
        "a~1b/c~0d": "'e'",
        "1": "'one'",
        "(1, 2)": "'pair'",
        "None": "0",
        "empty": "{}",
        "none": "[]",
        "one": "(1,)",
        "kind": "collections.OrderedDict",
    }


def test_a_lone_value_has_a_name() -> None:
    assert shown(7) == {"value": "7"}


def test_long_values_are_cut_but_differ() -> None:
    one, other = list(range(1000)), [*range(999), 7]
    assert shown([one]) != shown([other])
    assert all(len(text) <= 200 for text in shown([one, "x" * 300]).values())
    assert shown({"a": "x" * 100_000}) != shown({"a": "x" * 99_999 + "y"})
    assert len(shown({"a": "x" * 100_000})["a"]) < 200


def test_shared_values_are_shown_at_every_path() -> None:
    shared = {"lr": 0.1}
    assert shown([shared, shared]) == {"0/lr": "0.1", "1/lr": "0.1"}


def test_no_more_than_ten_thousand_values_are_shown() -> None:
    assert len(shown({str(number): number for number in range(20_000)})) == 10_000


def test_numbers_of_numpy_are_read() -> None:
    scalars: list[Any] = [np.float32(0.5), np.float16(2), np.int32(-5), np.int8(3), np.bool_(True)]
    for value in scalars:
        text = shown(value)["value"]
        assert text == repr(value.item())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_bytes_are_shown_alike_in_all_protocols(protocol: int) -> None:
    value = {
        "few": np.arange(3, dtype=np.int32),
        "many": np.arange(40_000, dtype=np.float64).reshape(4, -1),
        "other": np.arange(1, 40_001, dtype=np.float64).reshape(4, -1),
        "bytes": bytes(range(256)) * 200,
        "short": b"\xff",
        "set": [set(), {"a"}],
    }
    shown = plain_values(walk(pickle.dumps(value, protocol)))
    digests = {name: tensors.digest(part.tobytes())[:8] for name, part in value.items() if isinstance(part, np.ndarray)}
    assert shown == {
        "few": f"<array i4 (3,)> ({digests['few']})",
        "many": f"<array f8 (4, 10000)> ({digests['many']})",
        "other": f"<array f8 (4, 10000)> ({digests['other']})",
        "bytes": f"<51200 bytes> ({tensors.digest(value['bytes'])[:8]})",
        "short": "b'\\xff'",
        "set/0": "set()",
        "set/1/0": "'a'",
    }


def test_arrays_of_objects_are_shown_by_their_parts() -> None:
    shown = plain_values(walk(pickle.dumps(np.array([1, "x"], dtype=object), 2)))
    assert {"1", "'x'"} <= set(shown.values()) or any("1, 'x'" in text for text in shown.values())


def test_the_share_of_large_files_is_bounded() -> None:
    fuel = Fuel(10**15)
    fuel.burn((1 << 30) + (1 << 27))
    with pytest.raises(NotThisFormatError, match="too large"):
        fuel.burn(1)


def test_the_tail_of_the_memo_is_not_needed() -> None:
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 2)
    pickler.fast = True
    pickler.dump({"a": [1, 2]})
    assert plain(walk(stream.getvalue())) == {"a": [1, 2]}
