"""A table as a page: it loads nothing, runs nothing, and says what its columns mean."""

from __future__ import annotations

import builtins
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import made_tables as made
import pytest
from browser import browser  # noqa: F401  (a fixture)

from celljury.errors import MissingLibraryError
from celljury.report.table_html import html_page, html_table

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


class Reader(HTMLParser):
    """Collects elements with their attributes, cells of the body, and whether every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text


def test_a_page_says_what_the_table_holds() -> None:
    page = html_page(made.flat(), caption=made.CAPTION)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>Cells per type</title>" in page
    assert "<h1>Cells per type</h1><p>A row a term. Every cell is counted once.</p>" in page
    assert re.search(r"<caption[^>]*>Cells per type</caption>", page)
    assert "<dt>Mean depth</dt><dd>longest path from the root</dd>" in page
    assert "<p>Unseen cells are not cells of the node that they are new under.</p>" in page
    assert "100 % &amp; nothing more." in page


def test_rows_as_they_are_read() -> None:
    rows = Reader(html_page(made.flat(), caption=())).rows
    assert rows == [
        ["CL id", "Cell type", "Cells", "Of all cells (%)", "Mean depth", "Need review (%)"],
        ["CL:0000236", "B cell", "1,200", "80.0", "6.00", "10.0"],
        ["CL:0000084", "T cell", "300", "20.0", "5.25", "35.0"],
        ["", "(unseen)", "0", "0.0", "-", "-"],
        ["", "all cells", "1,500", "100.0", "5.85", "15.0"],
    ]


def test_blocks_are_headed_and_stand_in_their_order() -> None:
    rows = Reader(html_page(made.blocked(11), caption=())).rows
    assert [row[0] for row in rows if len(row) == 1] == [f"Donor: donor {i + 1}" for i in range(11)]
    assert [row[2] for row in rows if row[1:2] == ["all cells"]] == [f"{1500 * (i + 1):,}" for i in range(11)]


@pytest.mark.parametrize("table", made.everything(), ids=lambda table: table.name)
def test_nothing_is_loaded_or_run(table: made.Table) -> None:
    page = html_page(table, caption=made.HOSTILE)
    found = Reader(page)
    assert found.open == []
    names = {name for name, _ in found.elements}
    assert not names & {"script", "img", "iframe", "object", "embed", "form", "input", "base", "b", "i", "svg"}
    assert [attrs["href"] for _, attrs in found.elements if "href" in attrs] == ["data:,"]
    assert not any(key.startswith("on") or key == "src" for _, attrs in found.elements for key in attrs)
    assert "@import" not in page
    assert "url(" not in page
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_hostile_texts_are_read_as_they_are() -> None:
    table = made.hostile()
    rows = Reader(html_page(table, caption=())).rows
    assert rows[0] == ["Text & <head>_1", "=id()", "n", "x"]
    assert [row[0] for row in rows[1:4]] == list(made.HOSTILE[:3])
    assert rows[8][0] == "two lines and tab"
    assert rows[-1] == ["-", "-", "-", "-"]


def test_without_rows_the_head_stands() -> None:
    assert Reader(html_page(made.empty(), caption=())).rows[0][:2] == ["CL id", "Cell type"]
    assert Reader(html_page(made.blocked(0), caption=())).rows[0][:2] == ["CL id", "Cell type"]


def test_numbers_stand_to_the_right() -> None:
    cells = [attrs["class"] or "" for name, attrs in Reader(html_table(made.flat())).elements if name == "td"]
    assert [("gt_right" in one) for one in cells[:6]] == [False, False, True, True, True, True]


def test_without_great_tables_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "great_tables":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingLibraryError, match=r"needs great-tables. Install: pip install 'celljury\[report\]'"):
        html_page(made.flat(), caption=())


@pytest.mark.parametrize("table", [made.hostile(), made.blocked(12), made.wide(24)], ids=["hostile", "blocked", "wide"])
def test_a_browser_asks_for_nothing_and_complains_of_nothing(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
    table: made.Table,
) -> None:
    (tmp_path / "table.html").write_text(html_page(table, caption=made.CAPTION), encoding="utf-8")
    page = browser.new_page(viewport={"width": 900, "height": 700})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (tmp_path / "table.html").as_uri()
    try:
        page.goto(address)
        assert page.title() == table.title
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [address]
        # The table scrolls in its own region, the page does not.
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    finally:
        page.close()
