"""The report as text; what it looks like in a browser is tested in test_report_page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from fnmatch import fnmatch
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import git_theta
from git_theta.diffs.compare import compare
from git_theta.diffs.report import embedded, html
from tests.diffs.pages import gpt2, measured, tuned
from tests.diffs.samples import model

PACKAGE = Path(git_theta.__file__).parent
DATA = PACKAGE / "diffs" / "report_data"
texts = st.text(st.characters(exclude_categories=[]))


def policy(page: str) -> dict[str, list[str]]:
    content = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert content
    rules = (rule.split() for rule in unescape(content[1]).split(";"))
    return {name: values for name, *values in rules}


def blocks(page: str, opening: str) -> list[str]:
    """The contents of the elements that begin so, as a browser cuts them out."""
    closing = "</" + re.match(r"<(\w+)", opening)[1]  # type: ignore[index]
    return [part.split(closing)[0] for part in page.split(opening)[1:]]


def test_policy_allows_the_scripts_and_the_style_that_the_page_has_and_nothing_else() -> None:
    page = html([], [], "test")

    def hashes(opening: str) -> list[str]:
        digests = (hashlib.sha256(text.encode()).digest() for text in blocks(page, opening))
        return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]

    assert policy(page) == {
        "default-src": ["'none'"],
        "script-src": hashes("<script>"),
        "style-src": hashes("<style>"),
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }


def test_page_asks_for_no_other_file() -> None:
    page = html([], [], "test")
    for block in [*blocks(page, "<script>"), *blocks(page, "<style>")]:
        page = page.replace(block, "")
    assert not re.search(r"\b(src|href|srcset|action|data)=[\"'][^#]", page)
    assert "url(" not in (DATA / "page.css").read_text()


@given(texts)
def test_no_text_gets_out_of_its_block(text: str) -> None:
    made = embedded({text: [text]})
    assert made.isascii()
    assert not set("<>&") & set(made)
    assert json.loads(made) == {text: [text]}


def test_name_that_looks_like_a_field_of_the_template_is_left_alone() -> None:
    page = html([compare(model(**{"{{script}}": "1"}), model(), "{{style}}", "m")], [{}], "test")
    (data,) = blocks(page, '<script type="application/json" id="data">')
    assert json.loads(data)["checkpoints"][0]["groups"][0][0] == "{{script}}"
    assert json.loads(data)["checkpoints"][0]["old_path"] == "{{style}}"


def test_histograms_of_another_number_of_diffs_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        html([compare(model(), model(), "m", "m")], [], "test")


def test_page_of_a_model_stays_below_a_megabyte() -> None:
    old = gpt2()
    diff, histograms = measured(old, tuned(old))
    assert len(html([diff], [histograms], "test").encode()) < 1_000_000


def test_files_of_the_page_are_in_the_package() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["git_theta"]
    for file in DATA.iterdir():
        assert any(fnmatch(str(file.relative_to(PACKAGE)), pattern) for pattern in patterns)


def test_every_script_of_the_page_is_used() -> None:
    page = html([], [], "test")
    assert all(file.read_text() in page for file in DATA.glob("*.js"))


def test_notices_of_the_library_are_in_the_page() -> None:
    page = html([], [], "test")
    assert "Copyright 2017-2026 The Apache Software Foundation" in page
    assert "Copyright (c) 2017, Baidu Inc." in page
