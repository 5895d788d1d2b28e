"""The report in a real browser: it is read, sorted, searched and looked at as people do, with mouse, finger or keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace
from selenium.webdriver.common.keys import Keys

from git_theta.diffs.changes import CheckpointDiff, Statistics, ValueChange
from git_theta.diffs.compare import compare
from git_theta.diffs.report import html, most_changed
from git_theta.diffs.statistics import Histogram
from tests.diffs.browser import NARROW, WIDE, Page, started
from tests.diffs.pages import gpt2, measured, tuned
from tests.diffs.samples import checkpoint, entry, model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium import webdriver

NONE = "\u2013"
AXE = Path(__file__).parents[1] / "data" / "axe" / "axe.min.js"
ROW = 4
"""Where `h.*.attn.c_attn.weight` stands in the heatmap, of which a row has 26 pixels."""

HOSTILE = (
    "</script><script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 1">',
    "<!--<script>",
    "h.0.<b>bold</b>.weight",
    "{a|b}{{data}}${window.hit = 1}",
    "__proto__",
    "constructor",
    "up\u202eside\u0000\x1b[31m\ufeff",
    "line\u2028line\ud800",
    "",
    "x" * 5000,
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with started() as driver:
        yield driver


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[Page]:
    """A page that has nothing to complain about when the test is over, and has asked for nothing but itself."""
    page = Page(browser)
    page.messages()
    page.requests()
    yield page
    assert page.messages() == []
    assert {url.split(":")[0] for url in page.requests()} <= {"file"}


@pytest.fixture(scope="module")
def trained() -> tuple[CheckpointDiff, dict[str, Histogram]]:
    old = gpt2()
    return measured(old, tuned(old))


@pytest.fixture(scope="module")
def report(trained: tuple[CheckpointDiff, dict[str, Histogram]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a model of 148 groups."""
    diff, histograms = trained
    return written(tmp_path_factory.mktemp("report"), [diff], [histograms])


def written(folder: Path, diffs: list[CheckpointDiff], histograms: list[dict[str, Histogram]] | None = None) -> Path:
    file = folder / "report.html"
    file.write_text(html(diffs, histograms or [{} for _ in diffs], "test"), encoding="utf-8")
    return file


def moved(diff: CheckpointDiff, **relative: float | None) -> CheckpointDiff:
    """The diff with these relative changes."""
    told = {name: Statistics(value, 0.1, 0.5, 0.9, is_exact=False) for name, value in relative.items()}
    return replace(diff, changes=tuple(replace(item, statistics=told.get(item.name)) for item in diff.changes))


def column(page: Page, number: int) -> list[str]:
    return [text.split("\n")[0] for text in page.texts(f"#rows > tr > :nth-child({number})")]


def names(page: Page) -> list[str]:
    return page.texts("#rows .pick")


# --- opening --------------------------------------------------------------------------------------------------------


def test_page_opens_with_what_changed_most_and_loads_nothing_else(page: Page, report: Path) -> None:
    page.open(report)
    assert page.requests() == [report.as_uri()]
    assert page.messages() == []
    assert page.driver.title == page.text("#title") == "model.safetensors"
    assert page.text("#group-title") == "h.11.attn.c_proj.weight"
    assert page.texts("#rows tr[aria-current] .pick") == ["h.11.attn.c_proj.weight"]
    assert page.text("#count") == "124 of 124 changes shown"


def test_summary_counts_groups_and_bytes_and_names_the_largest_change(page: Page, report: Path) -> None:
    page.open(report)
    groups, size, kept, largest = page.texts("#tiles dd")
    assert groups.startswith("124 of 149\n119 modified, 1 added, 1 removed, 1 renamed, 1 retyped, 1 reshaped")
    assert " kB of " in size
    assert kept.startswith("12.2 kB")
    assert largest.endswith("h.11.attn.c_proj.weight")


def test_values_that_are_no_groups_are_listed(page: Page, report: Path) -> None:
    page.open(report)
    rows = [row.split("\t") for row in page.texts("#value-rows tr")]
    assert rows == [["__metadata__/epoch", "3", "4"], ["__metadata__/note", NONE, "after a night"]]


def test_nothing_runs_that_the_page_did_not_bring(browser: webdriver.Chrome, report: Path) -> None:
    page = Page(browser)
    page.open(report)
    page.run("const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s)")
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">')")
    page.run("const s = document.createElement('script'); s.src = 'other.js'; document.body.append(s)")
    page.settle()
    assert page.run("return window.hit") is None
    assert all("Content Security Policy" in message for message in page.messages())


# --- the table ------------------------------------------------------------------------------------------------------


def test_table_is_sorted_by_its_heads_and_says_so(page: Page, report: Path, trained: Any) -> None:
    page.open(report)
    largest = {item.name: item.statistics.largest for item in trained[0].changes if item.statistics}
    unknown = [item.name for item in trained[0].changes if item.name not in largest]
    for way, ordered in (("descending", sorted(largest, key=largest.__getitem__, reverse=True)), ("ascending", None)):
        page.click("[data-key=largest]")
        assert page.run("return [...heads.children].map((head) => head.ariaSort)").count("none") == 7
        assert page.run("return document.querySelector('[data-key=largest]').parentElement.ariaSort") == way
        shown = names(page)
        assert [largest[name] for name in shown] == sorted((largest[name] for name in shown), reverse=bool(ordered))
        assert "sorted by Largest" in page.text("#caption")
        page.click("#page-last")
        assert set(names(page)) >= set(unknown)  # What is unknown comes last, whichever way.


def test_groups_sort_in_file_order(page: Page, report: Path, trained: Any) -> None:
    page.open(report)
    page.click("[data-key=name]")
    assert names(page) == [item.name for item in trained[0].changes][:50]


def test_search_finds_words_in_any_order_and_says_how_many(page: Page, report: Path) -> None:
    page.open(report)
    assert page.find("#count").get_attribute("role") == "status"
    for words, expected in {
        "h.11.mlp": ["h.11.mlp.c_fc.bias", "h.11.mlp.c_fc.weight", "h.11.mlp.c_proj.bias", "h.11.mlp.c_proj.weight"],
        "H.*.ATTN*bias h.11": ["h.11.attn.c_attn.bias", "h.11.attn.c_proj.bias"],
        "float16": ["ln_f.weight"],
        "renamed": ["norm_f.bias"],
        "ln_f.bias": ["norm_f.bias"],
    }.items():
        page.type(words)
        assert sorted(names(page)) == expected
        assert page.text("#count") == f"{len(expected)} of 124 changes shown"


def test_search_without_a_result_offers_the_way_back(page: Page, report: Path) -> None:
    page.open(report)
    page.type("no such group")
    assert page.is_shown("#no-rows")
    assert not page.is_shown("#table")
    page.click("#reset")
    assert page.text("#count") == "124 of 124 changes shown"
    assert page.focused() == "search"


def test_kinds_of_change_can_be_hidden_and_what_did_not_change_shown(page: Page, report: Path) -> None:
    page.open(report)
    page.click("[data-kind=modified]")
    assert page.find("[data-kind=modified]").get_attribute("aria-pressed") == "false"
    assert sorted(names(page))[1:] == ["lm_head.weight", "ln_f.weight", "norm_f.bias", "wte.weight"]
    page.click("[data-kind=unchanged]")
    assert page.text("#count") == "5 of 124 changes shown, 25 unchanged"
    assert "wpe.weight" in names(page)


def test_pages_of_the_table_turn(page: Page, report: Path) -> None:
    page.open(report)
    first = names(page)
    assert len(first) == 50
    page.click("#page-next")
    page.click("#page-next")
    assert page.text("#page-position") == "101\u2013124 of 124"
    assert page.focused() == "page-previous"  # The button that was pressed can be pressed no more.
    page.click("#page-first")
    assert names(page) == first


# --- a group --------------------------------------------------------------------------------------------------------


def test_row_that_is_clicked_shows_its_group(page: Page, report: Path, trained: Any) -> None:
    page.open(report)
    before = page.picture("#histogram-chart")
    page.type("h.3.mlp.c_fc.weight")
    page.click("#rows tr td:nth-child(3)")
    assert page.text("#group-title") == "h.3.mlp.c_fc.weight"
    facts = dict(zip(page.texts("#facts dt"), page.texts("#facts dd"), strict=True))
    assert facts["Shape"] == "32\xa0\xd7\xa0128"
    assert facts["Relative change"].startswith("0.03")
    assert page.picture("#histogram-chart") != before
    page.click("#histogram-details summary")
    rows = [row.split("\t") for row in page.texts("#histogram-table tbody tr")]
    counted = trained[1]["h.3.mlp.c_fc.weight"]
    assert [int(row[2].replace(",", "")) for row in rows] == list(counted.old)
    assert [int(row[3].replace(",", "")) for row in rows] == list(counted.new)


def test_histogram_changes_its_scale(page: Page, report: Path) -> None:
    page.open(report)
    before = page.picture("#histogram-chart")
    page.click("#histogram-log")
    assert page.picture("#histogram-chart") != before


def test_group_that_came_or_went_has_one_side(page: Page, report: Path) -> None:
    page.open(report)
    page.click("#histogram-details summary")
    for kind, side in (("added", "After"), ("removed", "Before")):
        page.type(kind)
        page.click("#rows .pick")
        assert page.texts("#histogram-table th") == ["From", "To", side]
        assert page.text("#group-kind") == f"Group · {kind}"
        assert "NaN" not in page.text("#group")


def test_group_without_a_histogram_says_why(page: Page, report: Path) -> None:
    page.open(report)
    page.type("norm_f.bias")
    page.click("#rows .pick")
    assert not page.is_shown("#histogram")
    assert "another name" in page.text("#no-histogram")
    assert "ln_f.bias" in page.texts("#facts dd")


# --- the heatmap ----------------------------------------------------------------------------------------------------


def test_cell_that_is_clicked_shows_its_group(page: Page, report: Path) -> None:
    page.open(report)
    width = page.run("return document.getElementById('map-chart').clientWidth")
    page.click_at("#map-chart", width - 30, 26 + 26 * ROW + 13)
    assert page.text("#group-title") == "h.11.attn.c_attn.weight"
    assert page.text("#map-readout").startswith("h.11.attn.c_attn.weight, layer 11: relative change 3.")


def test_mouse_over_a_cell_shows_what_it_is(page: Page, report: Path) -> None:
    page.open(report)
    width = page.run("return document.getElementById('map-chart').clientWidth")
    page.move_to("#map-chart", width - 30, 26 + 26 * ROW + 13)
    page.wait("#map-chart .tip strong", "h.11.attn.c_attn.weight")


def test_heatmap_is_there_as_a_table_and_follows_the_choice_of_colour(page: Page, report: Path) -> None:
    page.open(report)
    page.click("#map-details summary")
    assert page.texts("#map-table thead th") == ["Kind of group", "no layer", *map(str, range(12))]
    rows = {row.split("\t")[0]: row.split("\t")[1:] for row in page.texts("#map-table tbody tr")}
    assert rows["h.*.ln_1.bias"] == ["", *["unchanged"] * 12]
    assert rows["h.*.mlp.c_proj.bias"][-1] == "removed"
    assert rows["wte.weight"][0] == "reshaped"
    assert rows["h.*.attn.c_proj.weight"][-1].startswith("3.")
    before = page.picture("#map-chart")
    page.choose("#map-metric", "changed")
    assert page.texts("#map-table tbody tr")[4].split("\t")[-1] == "100 %"
    assert page.picture("#map-chart") != before


def test_cell_of_several_groups_lists_them(page: Page, tmp_path: Path) -> None:
    made = [{f"h.{x}.experts.{y}.w": f"{side}" for x in range(2) for y in range(6)} for side in "ab"]
    diff = compare(model(**made[0]), model(**made[1]), "m", "m")
    diff = moved(diff, **{"h.1.experts.4.w": 0.5, "h.0.experts.1.w": 0.1})
    page.open(written(tmp_path, [diff]))
    page.find("#map-chart").send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ENTER)
    page.settle()
    assert page.text("#group-title") == "h.1.experts.4.w"
    assert "6 groups, the largest is shown" in page.text("#map-readout")
    assert sorted(names(page)) == [f"h.1.experts.{y}.w" for y in range(6)]


# --- keys, sizes, colours -------------------------------------------------------------------------------------------


def test_everything_is_reached_with_the_keyboard(page: Page, report: Path) -> None:
    page.open(report)
    seen = []
    for _ in range(30):
        page.press(Keys.TAB)
        seen.append(page.focused())
        if seen[-1] == "h.11.attn.c_proj.weight" and "search" in seen:
            break
    for stop in ("map-metric", "map-chart", "histogram-log", "search", "± modified 119", "Group", "Relative"):
        assert any(stop.removeprefix("± ") in found for found in seen), stop
    assert seen[0] == "Skip to the table of changes"
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(Keys.TAB, Keys.ENTER)
    assert page.text("#group-title") == names(page)[1]


def test_heatmap_is_walked_with_arrow_keys_and_read_out(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.getElementById('map-chart').focus()")
    before = page.picture("#map-chart")
    page.press(*[Keys.ARROW_DOWN] * 5)
    assert page.text("#map-readout").startswith("h.0.attn.c_attn.weight, layer 0: relative change")
    assert page.picture("#map-chart") != before
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.text("#map-readout").startswith("h.1.attn.c_attn.weight, layer 1: ")
    page.press(Keys.END)
    assert page.text("#map-readout").startswith("h.11.attn.c_attn.weight")
    assert page.text("#group-title") == "h.11.attn.c_proj.weight"
    page.press(Keys.ENTER)
    assert page.text("#group-title") == "h.11.attn.c_attn.weight"
    assert page.find("#map-readout").get_attribute("role") == "status"


def test_layers_that_do_not_fit_come_into_view_when_the_cursor_gets_there(page: Page, tmp_path: Path) -> None:
    sides = [model(**{f"h.{layer}.w": f"{side}{layer}" for layer in range(90)}) for side in "ab"]
    diff = moved(compare(*sides, "m", "m"), **{f"h.{layer}.w": layer / 1000 for layer in range(90)})
    page.open(written(tmp_path, [diff]), NARROW)
    page.run("document.getElementById('map-chart').focus()")
    page.press(Keys.ARROW_DOWN)
    before = page.picture("#map-chart")
    page.press(Keys.END)
    assert page.text("#map-readout") == "h.89.w, layer 89: relative change ≈ 8.90 %"
    with_cursor = page.picture("#map-chart")
    page.run("document.activeElement.blur()")
    page.settle()
    assert page.picture("#map-chart") != with_cursor  # So the cursor was to be seen.
    page.run("document.getElementById('map-chart').focus()")
    page.press(Keys.ARROW_DOWN, Keys.HOME)
    assert page.text("#map-readout") == "h.0.w, layer 0: relative change ≈ 0 %"
    assert page.picture("#map-chart") == before


def test_parts_of_a_model_that_have_many_layers_of_their_own_are_shown_one_by_one(page: Page, tmp_path: Path) -> None:
    found = [f"encoder.{layer}.w" for layer in range(4)] + [f"state/{number}/step" for number in range(80)]
    diff = compare(model(**dict.fromkeys(found, "1")), model(**dict.fromkeys(found, "2")), "m", "m")
    page.open(written(tmp_path, [diff]))
    page.click("#map-details summary")
    assert page.texts("#map-part option") == ["the whole checkpoint", "encoder.*", "state/*"]
    assert page.texts("#map-table tbody th") == ["encoder.*.w"]
    page.choose("#map-part", "state/*")
    assert page.texts("#map-table tbody th") == ["state/*/step"]
    page.choose("#map-part", "")
    assert page.texts("#map-table tbody th") == ["encoder.*.w", "state/*/step"]


def test_sort_follows_the_keyboard(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('[data-key=relative]').focus()")
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.parentElement.ariaSort") == "ascending"
    page.press(Keys.SPACE)
    assert page.run("return document.activeElement.parentElement.ariaSort") == "descending"


def test_narrow_page_does_not_scroll_sideways_and_leads_to_the_group_and_back(page: Page, report: Path) -> None:
    page.open(report, NARROW)
    page.run("for (const found of document.querySelectorAll('details')) found.open = true")
    page.settle()
    assert page.run("return document.documentElement.scrollWidth") == NARROW[0]
    page.run("document.querySelectorAll('#rows .pick')[7].click()")
    page.settle()
    assert page.focused() == "group-title"
    assert 0 <= page.run("return document.getElementById('group-title').getBoundingClientRect().top") < NARROW[1]
    chosen = page.text("#group-title")
    page.click("#back")
    assert page.focused() == chosen


def test_page_fits_into_windows_of_every_width(page: Page, report: Path) -> None:
    page.open(report)
    for width in (320, 480, 641, 800, 1021, 1100, 1261, 1421, 1900):
        page.resize((width, 800))
        assert page.run("return document.documentElement.scrollWidth") <= width
        inner = "getComputedStyle(changes).paddingRight.replace('px', '')"
        over = "table.getBoundingClientRect().right - changes.getBoundingClientRect().right"
        assert page.run(f"return {over} + Number({inner})") <= 2, width


def comes(condition: Callable[[], bool]) -> bool:
    """Whether it is so within some seconds: the browser draws when it finds the time."""
    for _ in range(50):
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_dark_follows_the_system_and_the_choice(page: Page, report: Path) -> None:
    def background() -> int:
        return int(page.run("return Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"))

    page.open(report, theme="dark")
    assert background() < 50
    assert comes(lambda: page.picture("#map-chart") == page.picture("#map-chart"))
    dark = page.picture("#map-chart")
    page.click("#theme label:nth-of-type(2)")
    assert background() > 200
    assert comes(lambda: page.picture("#map-chart") != dark)
    page.click("#theme label:nth-of-type(3)")
    assert background() < 50
    assert comes(lambda: page.picture("#map-chart") == dark)


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "dark"), (NARROW, "light")])
def test_page_obeys_the_rules_of_accessibility_that_a_program_can_check(
    page: Page, report: Path, size: tuple[int, int], theme: str
) -> None:
    page.open(report, size, theme)
    page.run("for (const found of document.querySelectorAll('details')) found.open = true")
    page.type("h.1")
    page.run(AXE.read_text())
    script = "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(done)"
    found = page.driver.execute_async_script(script)
    assert [(item["id"], item["nodes"][0]["html"]) for item in found["violations"]] == []
    assert len(found["passes"]) > 30


# --- odd checkpoints ------------------------------------------------------------------------------------------------


def test_names_that_are_markup_stay_text(page: Page, tmp_path: Path) -> None:
    metadata = [checkpoint(*(entry(name, side) for name in HOSTILE)) for side in "ab"]
    values = (ValueChange(HOSTILE[0], HOSTILE[1], HOSTILE[6]), ValueChange("__proto__", None, HOSTILE[2]))
    diffs = [compare(*metadata, path, path) for path in (HOSTILE[1], HOSTILE[0])]
    diffs = [moved(replace(diff, values=values), **dict.fromkeys(HOSTILE, 0.25)) for diff in diffs]
    histograms = [dict.fromkeys(HOSTILE, Histogram((0.0, 0.5, 1.0), (1, 2), (2, 1)))] * 2
    page.open(written(tmp_path, diffs, histograms))
    page.run("for (const found of document.querySelectorAll('details')) found.open = true")
    for i in range(len(HOSTILE)):
        page.run("document.querySelectorAll('#rows .pick')[arguments[0]].click()", i)
    page.run("document.getElementById('map-chart').focus()")
    page.press(*[Keys.ARROW_DOWN] * len(HOSTILE), Keys.ENTER)
    for x in range(260, 500, 20):
        page.move_to("#map-chart", x, 26 + 13)
    assert page.text(".tip strong") == HOSTILE[0]
    assert page.run("return window.hit") is None
    assert page.run("const found = []; for (const name in {}) found.push(name); return found") == []
    assert page.run("return document.querySelectorAll('img, b:not([aria-hidden])').length") == 0
    assert page.run("return document.scripts.length") == 4
    assert page.text("#title") == HOSTILE[1]
    shown = page.run("return [...document.querySelectorAll('#rows .pick')].map((found) => found.textContent)")
    assert shown[:7] == list(HOSTILE[:7])
    assert shown[7:10] == ["up\\u{202e}side\\u{0}\\u{1b}[31m\\u{feff}", "line\\u{2028}line\\u{d800}", "(no name)"]
    assert page.run("return document.documentElement.scrollWidth") <= WIDE[0]


def test_several_checkpoints_are_told_apart(page: Page, tmp_path: Path, trained: Any) -> None:
    other = compare(None, model(a="1", b="2"), "adapter.npz", "adapter.npz")
    gone = compare(model(a="1"), None, "old.pt", "old.pt")
    page.open(written(tmp_path, [trained[0], other, gone], [trained[1], {}, {}]))
    assert page.texts("#checkpoint-rows .pick") == ["model.safetensors", "adapter.npz", "old.pt"]
    assert page.texts("#checkpoint-rows tr:nth-child(2) td")[0] == "2 of 2"
    page.click("#checkpoint-rows tr:nth-child(2) .pick")
    assert page.text("#title") == "adapter.npz"
    assert page.text("#subtitle").startswith("added · ")
    assert names(page) == ["a", "b"]
    assert page.texts("#checkpoint-rows tr[aria-current] .pick") == ["adapter.npz"]
    page.click("#checkpoint-rows tr:nth-child(3) .pick")
    assert page.text("#subtitle").startswith("removed · ")
    page.click("#checkpoint-rows tr:nth-child(1) .pick")
    assert page.text("#group-title") == "h.11.attn.c_proj.weight"


def test_estimates_are_marked_and_what_could_not_be_measured_is_counted(page: Page, tmp_path: Path) -> None:
    diff = compare(model(a="1", b="1", c="1"), model(a="2", b="2", c="2"), "m", "m")
    diff = moved(diff, a=0.25, b=float("inf"))
    page.open(written(tmp_path, [diff]))
    assert column(page, 3) == ["≈ ∞", "≈ 25 %", NONE]
    assert "2 groups estimated" in page.text("#accuracy")
    assert "1 modified group could not be measured" in page.text("#accuracy")


@pytest.mark.parametrize(
    ("diffs", "title"),
    [([], "Nothing changed"), ([compare(model(), model(), "m", "m")], "m")],
    ids=["no checkpoint", "no group"],
)
def test_page_without_a_change_says_so(page: Page, tmp_path: Path, diffs: list[CheckpointDiff], title: str) -> None:
    page.open(written(tmp_path, diffs))
    assert page.text("#title") == title
    assert not diffs or page.text("#no-rows-text") == "No group changed."
    assert "undefined" not in page.text("main")


def test_values_alone_can_have_changed(page: Page, tmp_path: Path) -> None:
    diff = replace(compare(model(a="1"), model(a="1"), "m", "m"), values=(ValueChange("epoch", "3", "4"),))
    page.open(written(tmp_path, [diff]))
    assert page.texts("#value-rows tr") == ["epoch\t3\t4"]
    assert page.text("#group-title") == "No group chosen"


def test_model_without_layers_and_with_very_many_kinds_shows_those_that_changed_most(
    page: Page, tmp_path: Path
) -> None:
    sides = [model(**{f"group{'x' * i}": side for i in range(100)}) for side in "ab"]
    diff = moved(compare(*sides, "m", "m"), **{f"group{'x' * i}": i / 100 for i in range(100)})
    page.open(written(tmp_path, [diff]))
    assert page.text("#map-note").startswith("60 rows of 100")
    page.click("#map-details summary")
    assert page.texts("#map-table tbody th")[0] == f"group{'x' * 40}"


def test_twenty_thousand_groups_open_and_stay_quick(page: Page, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    parts = [f"experts.{expert}.{name}.weight" for expert in range(111) for name in ("up", "gate", "down")]
    found = [f"model.layers.{layer}.{part}" for layer in range(60) for part in parts]
    diff = compare(model(**dict.fromkeys(found, "1")), model(**dict.fromkeys(found, "2")), "m", "m")
    diff = moved(diff, **dict(zip(found, generator.uniform(1e-6, 1e-2, len(found)).tolist(), strict=True)))
    counts = tuple(generator.integers(0, 100_000, 64).tolist())
    histogram = Histogram(tuple(np.linspace(-0.12345678, 0.1, 65).tolist()), counts, counts)
    file = written(tmp_path, [diff], [{item.name: histogram for item in most_changed([diff])[0]}])
    assert file.stat().st_size < 6_000_000
    begun = time.monotonic()
    page.open(file)
    assert time.monotonic() - begun < 60
    assert page.text("#count") == "19,980 of 19,980 changes shown"
    begun = time.monotonic()
    page.click("[data-key=kept]")
    page.type("layers.59 down")
    assert page.text("#count") == "111 of 19,980 changes shown"
    assert time.monotonic() - begun < 60
