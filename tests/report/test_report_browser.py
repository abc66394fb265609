"""The report in a real browser: nothing is asked for, tables sort by mouse and by keys, and all is there without a script."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from browser import browser, screen_of  # noqa: F401  (a fixture)
from review_pack import made_run

from celljury.report.make import make_report
from celljury.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from browser import Screen
    from playwright.sync_api import Browser, Locator

HOSTILE = "<script>document.title='taken'</script>\"'&" + "x" * 300
LEAST_CONTRAST = 4.5


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 1,500 cells by sample, donor and a column with other people's text."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    made_run(folder, n_cells=1500, n_items=30, n_review=200, n_genes=10, n_terms=12, n_samples=3)
    names = pd.read_parquet(folder / "calls.parquet", columns=["cell_id", "term"])
    i = np.arange(len(names))
    cells = pd.DataFrame(
        {"cell_id": names["cell_id"], "donor": [f"d{k}" for k in i % 4], "text": np.where(i % 2 == 0, HOSTILE, "plain"),
         "truth": names["term"].astype(object).fillna("unknown")}
    )  # fmt: skip
    cells.to_csv(folder.parent / "cells.tsv", sep="\t", index=False)
    query = folder.parent / "cells.tsv"
    return make_report(Run.open(folder), donor="donor", by=("text",), query=query, truth="truth").page


@pytest.fixture
def screen(browser: Browser, report: Path) -> Iterator[Screen]:  # noqa: F811
    """The report in the browser; afterwards the browser must have had nothing to complain of."""
    with screen_of(browser) as found:
        yield found.open(report.as_uri())


def test_page_asks_for_nothing_but_itself(browser: Browser, report: Path, tmp_path: Path) -> None:  # noqa: F811
    # Alone in a folder: what lies beside a report must not be needed.
    alone = tmp_path / "sent.html"
    shutil.copy(report, alone)
    with screen_of(browser) as screen:
        asked: list[str] = []
        screen.page.on("request", lambda request: asked.append(request.url))
        screen.open(alone.as_uri())
        for details in screen.page.locator("details").all():
            details.evaluate("e => e.open = true")
        screen.page.wait_for_load_state("networkidle")
        assert [url for url in asked if not url.startswith("data:image/")] == [alone.as_uri()]
        broken = screen.page.evaluate("[...document.images].filter((i) => i.complete && !i.naturalWidth).length")
        assert screen.page.locator("img").count() > 4
        assert broken == 0


def test_script_that_got_into_the_page_does_not_run(browser: Browser, report: Path, tmp_path: Path) -> None:  # noqa: F811
    hurt = tmp_path / "hurt.html"
    page = report.read_text(encoding="utf-8")
    hurt.write_text(
        page.replace("<main>", "<main><script>document.title = 'taken'</script><img src='x' onerror='alert(1)'>")
    )
    with screen_of(browser, "Content Security Policy", "ERR_FILE_NOT_FOUND") as screen:
        screen.open(hurt.as_uri())
        assert screen.page.title() != "taken"
        assert any("Content Security Policy" in said for said in screen.wrong)
        # Ours still runs: it is known by its hash.
        assert screen.page.evaluate("document.documentElement.dataset.sortable") == "yes"


def test_labels_of_others_are_shown_as_they_are_written(screen: Screen) -> None:
    assert screen.page.title() != "taken"
    assert screen.page.locator("main script").count() == 0
    assert "<script>document.title='taken'</script>" in screen.page.inner_text("main")


# Sorting ----------------------------------------------------------------------------------------------------------------


def column(table: Locator, at: int) -> list[float | str | None]:
    """Values of a column, row by row, without totals and heads of blocks."""
    return table.evaluate(
        """(table, at) => [...table.tBodies].flatMap((body) => [...body.rows])
        .filter((row) => !row.matches('.total, .block')).map((row) => {
          const data = row.cells[at].querySelector('data');
          return data ? Number(data.value) : row.cells[at].textContent.trim(); })""",
        at,
    )


def table_of(screen: Screen, caption: str) -> Locator:
    for details in screen.page.locator("details").all():
        details.evaluate("e => e.open = true")
    return screen.page.locator("table.sortable", has=screen.page.locator("caption", has_text=caption)).first


def test_mouse_sorts_numbers_from_the_largest_then_from_the_smallest_then_as_written(screen: Screen) -> None:
    table = table_of(screen, "Agreement between members")
    head = table.locator("thead th", has_text="compatible")
    written = column(table, 4)
    for way, expected in (
        ("descending", sorted(written, reverse=True)), ("ascending", sorted(written)), (None, written),
    ):  # fmt: skip
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == way
        assert column(table, 4) == expected


def test_keys_sort_and_the_focus_stays(screen: Screen) -> None:
    table = table_of(screen, "Members and how their votes")
    button = table.locator("thead th button").first
    names = column(table, 0)
    button.focus()
    screen.keys("Enter")
    assert column(table, 0) == sorted(names)
    screen.keys(" ")
    assert column(table, 0) == sorted(names, reverse=True)
    assert button.evaluate("b => b === document.activeElement")
    assert button.evaluate("b => getComputedStyle(b).outlineStyle") == "solid"


def test_every_head_can_be_reached_by_the_tab_key(screen: Screen) -> None:
    n = screen.page.locator("table.sortable thead th").count()
    assert n > 20
    assert screen.page.locator("table.sortable thead th > button").count() == n
    assert screen.page.evaluate("[...document.querySelectorAll('th button')].every((b) => b.tabIndex === 0)")


def test_equal_rows_stay_in_order_and_blocks_and_totals_in_place(screen: Screen) -> None:
    shape = """(table) => [...table.tBodies].map((body) => [...body.rows].map((row) => row.className || 'row'))"""
    sorted_ = 0
    for table in screen.page.locator("table.sortable").all():
        before = table.evaluate(shape)
        if not any("total" in body for body in before):
            continue
        table.evaluate("(table) => [...table.querySelectorAll('th button')].at(-1).click()")
        assert table.evaluate(shape) == before
        sorted_ += 1
    assert sorted_ > 2


def test_sorting_a_column_of_equals_changes_nothing(screen: Screen) -> None:
    table = table_of(screen, "Members and how their votes")
    table.evaluate(
        """(table) => { for (const row of table.tBodies[0].rows) row.cells[2].innerHTML = '<data value="1">1</data>'; }"""
    )
    names = column(table, 0)
    table.locator("thead th button").nth(2).click()
    assert column(table, 0) == names


def test_rows_without_a_number_stand_last_either_way(screen: Screen) -> None:
    table = table_of(screen, "Members and how their votes")
    table.evaluate("(table) => { table.tBodies[0].rows[1].cells[1].textContent = '-'; }")
    button = table.locator("thead th button").nth(1)
    for _ in range(2):
        button.click()
        assert column(table, 1)[-1] == "-"


# Readers ----------------------------------------------------------------------------------------------------------------


def test_first_screen_answers_what_a_reader_asks_first(screen: Screen) -> None:
    seen = screen.page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((e) => !e.children.length || e.matches('p, li, th, dt, dd'))
        .filter((e) => { const box = e.getBoundingClientRect(); return box.bottom <= innerHeight && box.height > 0; })
        .map((e) => e.textContent).join(' ')"""
    )
    said = " ".join(seen.split())
    for words in ("need review", "resolved:", "Tier cell, alpha 5 %", "Made cells: nothing is promised.", "agreement",
                  "CELLxGENE class", "all cells, at each level", "celljury review run"):  # fmt: skip
        assert words in said, words


def words(screen: Screen) -> list[str]:
    return [" ".join(text.split()) for text in screen.page.locator("main > section").all_text_contents()]


def test_without_javascript_everything_is_there(browser: Browser, report: Path, screen: Screen) -> None:  # noqa: F811
    with screen_of(browser, java_script_enabled=False) as plain:
        plain.page.goto(report.as_uri())
        assert words(plain) == words(screen)
        assert plain.page.locator("th button").count() == 0
        assert plain.page.locator("img").count() == screen.page.locator("img").count()


@pytest.mark.parametrize("width", [1440, 640, 390])
def test_nothing_is_cut_off_at_the_side(browser: Browser, report: Path, width: int) -> None:  # noqa: F811
    # 640: a window of 1280 at 200 %. Wide tables and figures scroll by themselves.
    with screen_of(browser, width=width, height=800) as screen:
        screen.open(report.as_uri())
        for details in screen.page.locator("details").all():
            details.evaluate("e => e.open = true")
        assert screen.page.evaluate("document.scrollingElement.scrollWidth") <= width
        too_wide = screen.page.evaluate(
            """() => [...document.querySelectorAll('main p, main li, main dd, main dt, h1, h2, h3, summary, nav')]
            .filter((e) => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.textContent.slice(0, 40))"""
        )
        assert too_wide == []


# Text, its colour and the ground under it: the nearest that is painted.
_TEXTS = """() => [...document.querySelectorAll("body *")].flatMap((e) => {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility({visibilityProperty: true})) return [];
  const colour = (of, name) => getComputedStyle(of)[name], clear = /^rgba\\(.*, 0\\)$|^transparent$/;
  let ground = e;
  while (ground && clear.test(colour(ground, "backgroundColor"))) ground = ground.parentElement;
  return [[e.textContent.trim().slice(0, 40), colour(e, "color"), colour(ground ?? document.body, "backgroundColor")]];
})"""


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)`` (WCAG 2.2)."""
    parts = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_text_stands_out_from_its_ground(screen: Screen) -> None:
    for details in screen.page.locator("details").all():
        details.evaluate("e => e.open = true")
    screen.page.locator("thead th button").first.click()
    seen: dict[tuple[str, str], str] = {(ink, ground): text for text, ink, ground in screen.page.evaluate(_TEXTS)}
    assert len(seen) > 4
    low: dict[str, Any] = {}
    for (ink, ground), text in seen.items():
        high, least = sorted((luminance(ink), luminance(ground)), reverse=True)
        if (high + 0.05) / (least + 0.05) < LEAST_CONTRAST:
            low[text] = (ink, ground)
    assert low == {}


def test_every_image_says_what_it_shows_and_every_region_has_a_name(screen: Screen) -> None:
    assert screen.page.evaluate("[...document.images].every((i) => i.alt.length > 20)")
    assert screen.page.evaluate(
        """[...document.querySelectorAll('[role=region], nav, section')].every((e) =>
        e.getAttribute('aria-label') || document.getElementById(e.getAttribute('aria-labelledby')))"""
    )
    assert screen.page.locator("h1").count() == 1
    assert screen.page.evaluate("[...document.querySelectorAll('nav a, main a')].every((a) => "
                                "document.getElementById(a.hash.slice(1)))")  # fmt: skip


def test_print_shows_what_is_folded(browser: Browser, report: Path) -> None:  # noqa: F811
    with screen_of(browser) as screen:
        screen.open(report.as_uri())
        screen.page.emulate_media(media="print")
        heights = screen.page.evaluate("[...document.querySelectorAll('details')].map((d) => d.scrollHeight)")
        assert len(heights) > 3
        assert min(heights) > 60
        assert screen.page.pdf()[:5] == b"%PDF-"
