"""A page of the review in a real browser as somebody with a keyboard uses it, and a small run of T cells to work on."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import review_site
from review_pack import made_run
from review_site import BROWSERS, chromium_path

from celljury.ontology.load import load_ontology, ontology_from_edges
from celljury.review.decisions import Decisions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page
    from review_site import Server

    from celljury.ontology.graph import CellOntology
    from celljury.review.events import Event

# What the browser and htmx say of a connection that was lost, and of an answer that refuses.
OFFLINE = r"^Failed to load resource: net::ERR_|^htmx:(afterRequest|sendError), "
REFUSED = r"^Failed to load resource: the server responded with a status of 4|^Response Status Error Code 4"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for no longer than a module of tests; skips where there is none."""
    path = chromium_path()
    if path is None:
        pytest.skip(f"needs Chromium: none of {', '.join(BROWSERS)} is installed")
    with review_site.chromium(path) as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to review; tests get copies."""
    return write_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run of a test's own."""
    return copied(made, tmp_path / "run")


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    """Its review, as the real command serves it."""
    with review_site.serving(run) as found:
        yield found
        found.stop()


@pytest.fixture
def screen(browser: Browser, server: Server) -> Iterator[Screen]:
    """The review in the browser, on the first item."""
    with screen_of(browser) as found:
        yield found.open(server.url)


# The screen -------------------------------------------------------------------------------------------------------------


@dataclass
class Screen:
    """A page of the review as somebody with a keyboard uses it.

    Attributes
    ----------
    wrong
        What the browser complained of: errors of scripts, refusals of the security policy, resources that failed, dialogs.
    """

    page: Page
    wrong: list[str] = field(default_factory=list)
    _before: int = 0

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.set_default_timeout(15_000)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog {dialog.type}: {dialog.message}")
        dialog.dismiss()

    def check(self, *expected: str) -> None:
        """Fail on complaints that match none of the patterns, and forget the others."""
        left = [said for said in self.wrong if not any(re.search(pattern, said) for pattern in expected)]
        assert not left, left
        self.wrong.clear()

    def open(self, url: str) -> Screen:
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")
        return self

    # What is on it ------------------------------------------------------------------------------------------------------

    @property
    def item(self) -> str:
        return self.page.get_attribute("#screen", "data-item") or ""

    @property
    def said(self) -> str:
        """The status line once the screen has settled."""
        return self.page.get_attribute("#screen", "data-said") or ""

    @property
    def status(self) -> str:
        """Where the item stands."""
        found = self.page.locator("#decision")
        return (found.get_attribute("data-status") or "") if found.count() else "open"

    def progress(self, what: str) -> int:
        return int(self.page.get_attribute("#progress", f"data-{what}") or -1)

    def wait_for_focus(self, element: str) -> None:
        """Fail unless the focus comes to the element with this id: a page moves it once it is there."""
        self.page.locator(f"#{element}:focus").wait_for(state="attached")

    def focused(self) -> str:
        """Id of what has the focus, else its element's name."""
        return str(self.page.evaluate("(document.activeElement.id || document.activeElement.tagName)"))

    # What is done with it -----------------------------------------------------------------------------------------------

    def keys(self, *keys: str) -> Screen:
        for key in keys:
            self.page.keyboard.press(key)
        return self

    @contextmanager
    def new_screen(self) -> Iterator[None]:
        """Wait until the screen was exchanged, and what it then asks for has come."""
        self.page.evaluate("document.getElementById('screen').dataset.old = 'yes'")
        yield
        self.page.wait_for_selector("#screen:not([data-old])", state="attached")
        self.page.wait_for_selector("#embedding[data-drawn], #no-embedding", state="attached")
        # The status line is filled a moment after the exchange.
        self.page.wait_for_selector(f"#status:text-is({json.dumps(self.said)})", state="attached")

    def go(self, *keys: str) -> str:
        """Press keys, the last of which brings another screen; returns the status line."""
        self.keys(*keys[:-1])
        with self.new_screen():
            self.keys(keys[-1])
        return self.said

    def open_item(self, server: Server, item: str, query: str = "") -> Screen:
        return self.open(f"http://127.0.0.1:{server.port}/item/{item}{query}")

    def open_again(self, item: str) -> Screen:
        """Load another item's page on the same server."""
        return self.open("/".join([*self.page.url.split("/")[:3], "item", item]))

    def type_term(self, text: str) -> list[str]:
        """Open the search of terms, type, and return the ids that are suggested."""
        self.keys("/")
        self.page.wait_for_selector("#dialog-term[open]")
        assert self.focused() == "term-text"
        self.page.keyboard.type(text)
        self.page.wait_for_selector(f"#term-options[data-of={json.dumps(text)}]")
        return [row.get_attribute("data-term") or "" for row in self.page.locator("#term-options [data-term]").all()]


@contextmanager
def screen_of(
    browser: Browser, *expected: str, width: int = 1440, height: int = 960, **options: Any
) -> Iterator[Screen]:
    """A page in a context of its own; afterwards the browser must have had nothing to complain of but ``expected``."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(15_000)
    try:
        screen = Screen(context.new_page())
        yield screen
        screen.check(*expected)
    finally:
        context.close()


# A run ------------------------------------------------------------------------------------------------------------------


def t_cells(*, labels: Mapping[str, str] | None = None) -> CellOntology:
    """Return the installed ontology's T cells and all above them; some labels may be changed."""
    full = load_ontology()
    rows = sorted({a for i in full.descendants(full.index("CL:0000084")).tolist() for a in full.ancestors(i).tolist()})
    ids = {i: full.ids[i] for i in rows}
    return ontology_from_edges(
        {ids[i]: full.labels[i] for i in rows} | dict(labels or {}),
        {ids[i]: [ids[p] for p in full.parents(i).tolist()] for i in rows},
        synonyms={ids[i]: full.synonyms[i] for i in rows},
        release=full.source.release,
    )


def write_run(folder: Path, *, ontology: CellOntology | None = None, genes: Sequence[str] | None = None) -> Path:
    """Write a run of 1,500 cells with 60 items, of 400 cells, to review."""
    made_run(
        folder, n_cells=1500, n_items=60, n_review=400, n_members=5, n_genes=40, n_terms=25, n_samples=4,
        ontology=ontology or t_cells(), genes=genes,
    )  # fmt: skip
    return folder


def log_of(run: Path) -> tuple[Event, ...]:
    """Return the log of a run as another process finds it."""
    with Decisions.open(run / "review" / "decisions.sqlite", read_only=True) as decisions:
        return decisions.events()


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to
