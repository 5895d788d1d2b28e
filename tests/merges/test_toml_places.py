"""Where the keys of a TOML file stand."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.merges.toml_places import end, places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from git_theta.merges.toml_places import Path

TEXT = '''\
# a = 1
seed = 3 # "not" [a] {key}
"odd key" . 'b' = """x = 1
[no]
\\"""" # five quotes
[default]
with = { density = [0.1, { gradient = [
  1,
  2 ] }], "a\\tb" = 'c = [' }

[[rules]]
match = ['a', "]"]
[rules.with]
t = 1979-05-27T07:32:00Z
[[rules]]
  with.t = 0.5
[[rules.deep]]
x = \'\'\'it\'s\'\'\'
'''


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every path of keys in what tomllib read."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("seed",), (2, 1)),
        (("odd key",), (3, 1)),
        (("odd key", "b"), (3, 13)),
        (("default",), (6, 2)),
        (("default", "with"), (7, 1)),
        (("default", "with", "density"), (7, 10)),
        (("default", "with", "density", 1), (7, 26)),
        (("default", "with", "density", 1, "gradient"), (7, 28)),
        (("default", "with", "density", 1, "gradient", 1), (9, 3)),
        (("default", "with", "a\tb"), (9, 11)),
        (("rules",), (11, 3)),
        (("rules", 0, "match", 1), (12, 15)),
        (("rules", 0, "with"), (13, 8)),
        (("rules", 0, "with", "t"), (14, 1)),
        (("rules", 1), (15, 3)),
        (("rules", 1, "with", "t"), (16, 8)),
        (("rules", 1, "deep", 0, "x"), (18, 1)),
    ],
)
def test_key_is_found_at_its_line_and_column(path: Path, place: tuple[int, int]) -> None:
    assert places(TEXT)[path] == place


def test_every_key_has_a_place_and_no_other_path_has_one() -> None:
    assert set(places(TEXT)) == set(paths(tomllib.loads(TEXT)))


def test_windows_line_ends_do_not_move_anything() -> None:
    text = TEXT.replace("\n", "\r\n")
    assert places(text) == places(TEXT)


def test_end_is_behind_the_last_character() -> None:
    assert end("a = 1\nb =") == (2, 4)
    assert end("") == (1, 1)


SCALARS = st.sampled_from(
    ["1", "-0.5e3", "true", "inf", "1979-05-27 07:32:00", "07:32:00", '""', "''", '"a]b"', "'x # y'", '"\\""']
)
STRINGS = st.sampled_from(['""""""', '"""a""b"""', '"""\n]\\""""', "''''''", "'''\n'' }'''", '"""a"""""'])
SPACE = st.sampled_from(["", " ", "\t"])
BREAK = st.sampled_from(["", " ", "\n", " # ] } = ,\n", "\r\n\n"])
KEYS = st.sampled_from(["a", "b-1", "7", '"q.r"', "'s = 1'", '"\\u0041"', '""'])


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> str:
    kind = draw(st.integers(0, 3 if depth < 3 else 1))
    if kind == 0:
        return draw(SCALARS)
    if kind == 1:
        return draw(STRINGS)
    if kind == 2:
        parts = [draw(BREAK) + draw(values(depth=depth + 1)) + draw(BREAK) for _ in range(draw(st.integers(0, 3)))]
        last = draw(st.sampled_from(["", ","])) if parts else ""
        return "[" + ",".join(parts) + last + draw(BREAK) + "]"
    pairs = [
        f"{draw(SPACE)}{key}{draw(SPACE)}={draw(SPACE)}{draw(values(depth=depth + 1))}{draw(SPACE)}"
        for key in draw(st.lists(KEYS, max_size=3, unique=True))
    ]
    return "{" + ",".join(pairs) + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    lines = []
    for number in range(draw(st.integers(1, 4))):
        header = draw(st.sampled_from(["", "[t{}]", "[[u]]", "[ v{} . 'w' ]", "[[u.x]]", "[[x{}.y]]"]))
        if header and (header != "[[u.x]]" or "[[u]]" in lines):
            lines.append(header.format(number))
        for key in draw(st.lists(KEYS, max_size=2, unique=True)):
            dotted = draw(st.sampled_from(["k{}", "k{} . {key}", "k{}.{key}.end"])).format(f"{number}", key=key)
            lines.append(
                f"{draw(SPACE)}{dotted}x{len(lines)}{draw(SPACE)}= {draw(values())}{draw(SPACE)}# c = 1"
                if not dotted.endswith(('"', "'"))
                else f"{dotted} = {draw(values())}"
            )
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(documents())
def test_places_of_any_document_are_those_of_its_keys(text: str) -> None:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # two equal keys
    assert set(places(text)) == set(paths(read))
