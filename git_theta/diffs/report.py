"""The HTML report: one page that loads nothing, with charts, for whoever would rather look than read."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from git_theta.diffs.changes import CheckpointDiff
from git_theta.diffs.report_rows import most_changed, pack
from git_theta.diffs.statistics import Histogram

__all__ = ["html", "most_changed"]

_LIBRARY: Final = "echarts.min.js"
_SCRIPTS: Final = ("text.js", "model.js", "colours.js", "histogram.js", "table.js", "board.js", "map.js", "page.js")
_FIELD: Final = re.compile(r"\{\{([a-z]+)\}\}")
_MARKUP: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def html(diffs: Sequence[CheckpointDiff], histograms: Sequence[Mapping[str, Histogram]], generator: str) -> str:
    """The report as one page of HTML.

    What comes from the checkpoints stands in a block of JSON in which nothing can be taken for markup; the page makes
    text of it, never elements. A content security policy lets nothing run but the page's own scripts, and nothing
    be loaded.

    Args:
        diffs: of the checkpoints that changed, with statistics where they are known.
        histograms: for each diff those that are at hand, by the names of its changes (`most_changed` tells which are
            worth having).
        generator: what made the page.

    Returns:
        The page, to be written as UTF-8.

    Raises:
        ValueError: there are not as many mappings as diffs.
    """
    checkpoints = [pack(diff, counted) for diff, counted in zip(diffs, histograms, strict=True)]
    style, early, library = (_resource(name) for name in ("page.css", "early.js", _LIBRARY))
    script = "(() => {\n'use strict';\n" + "\n".join(_resource(name) for name in _SCRIPTS) + "})();\n"
    fields = {
        "policy": _policy(style, early, library, script),
        "generator": escape(generator),
        "title": "What changed",
        "style": style,
        "data": embedded({"version": 1, "checkpoints": checkpoints}),
        "early": early,
        "library": library,
        "script": script,
    }
    # In one go, so that nothing in what is put in is taken for a place to put something.
    return _FIELD.sub(lambda match: fields[match[1]], _resource("page.html"))


def embedded(document: Any) -> str:
    """JSON for a script element: plain ASCII, in which no name can end the element or begin a comment."""
    return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_MARKUP)


def _policy(style: str, *scripts: str) -> str:
    """What the browser may do: run these scripts, use this style, and nothing else."""
    allowed = " ".join(_source(script) for script in scripts)
    rules = ("default-src 'none'", f"script-src {allowed}", f"style-src {_source(style)}", "base-uri 'none'")
    return escape("; ".join((*rules, "form-action 'none'")))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return (files("git_theta.diffs") / "report_data" / name).read_text(encoding="utf-8")
