"""The review screen in Chromium: hostile texts, no scripts, and what people need who do not see or point well."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browser import Screen, copied, log_of, screen_of, t_cells, write_run
from replayed import final_by_replay, final_in_file
from review_site import serving

from celljury.review.apply import apply_decisions
from celljury.review.events import Action
from celljury.review.pack import Pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from review_site import Server

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '"><img src=x onerror="window.hacked=1">'
LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3, level AA: text on its ground."""


# Hostile texts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A run whose labels, genes, samples, sentences and cells hold markup."""
    plain = t_cells()
    labels = {
        term: f"{label} {(SCRIPT, IMAGE)[i % 2]}"
        for i, (term, label) in enumerate(zip(plain.ids, plain.labels, strict=True))
    }
    genes = [f"{(SCRIPT, IMAGE)[i % 2]}{i}" for i in range(40)]
    run = write_run(tmp_path / "run <i>", ontology=t_cells(labels=labels), genes=genes)
    pack = Pack.open(run)
    items = pack.items.copy()
    items["sentence"] = [f"{said} {IMAGE}: {SCRIPT}." for said in items["sentence"]]
    items["example_cells"] = f"{IMAGE};{SCRIPT}"
    about = pack.about | {"samples": [f"{i}{SCRIPT}{IMAGE}" for i in range(4)], "promise": f"{SCRIPT} {IMAGE}"}
    arrays = {name: np.array(getattr(pack, name)) for name in ("row", "xy", "batch", "support", "half", "drawn_xy")}
    replace(pack, items=items, about=about, **arrays).save(pack.ontology)
    return run


def test_markup_in_labels_genes_samples_notes_and_names_is_text(browser: Browser, hostile: Path) -> None:
    name = IMAGE.replace(";", "")
    with serving(hostile, reviewer=name) as server, screen_of(browser) as screen:
        screen.open(server.url)
        shown = screen.page.inner_text("body")
        assert shown.count(SCRIPT) > 20
        assert shown.count("onerror=") > 20
        for part in ("#item-title", "#queue", "#samples", "#members", "#reasons", "#history", "#act"):
            text = screen.page.inner_text(part)
            assert SCRIPT in text or IMAGE in text, part
        for drawing in ("#path", "#markers"):
            assert SCRIPT[:8] in (screen.page.text_content(drawing) or ""), drawing
        screen.keys("n")
        screen.page.keyboard.type(f"{SCRIPT}{IMAGE}\n</textarea>{SCRIPT}")
        screen.go("Control+Enter")
        assert f"</textarea>{SCRIPT}" in screen.page.inner_text("#history")
        assert screen.page.inner_text("#reviewer") == name
        assert name in screen.page.inner_text("#history")
        screen.type_term("naive T")
        assert "<" in screen.page.inner_text("#term-options")
        screen.go("ArrowDown", "Enter")
        screen.keys("f")
        screen.page.keyboard.type(IMAGE)
        screen.go("Enter")
        assert screen.page.input_value("#filter-text") == IMAGE
        screen.page.goto(screen.page.url.replace("text=", "sample="))
        for dialog in ("u", "s"):
            screen.keys(dialog, "Escape")
        screen.go("1")
        assert SCRIPT in screen.said or "onerror" in screen.said
        assert screen.page.inner_text("#status") == screen.said
        assert screen.page.evaluate("typeof window.hacked") == "undefined"
        assert screen.page.locator("img, script:not([src]), iframe, object").count() == 0
        assert screen.page.locator("[onerror], [onload], [onclick], [style]:not(svg *)").count() == 0
    apply_decisions(hostile, h5ad=False)
    assert final_in_file(hostile).equals(final_by_replay(hostile))


def test_script_that_got_into_the_page_would_not_run(screen: Screen) -> None:
    """The policy is the second wall: also markup that is not escaped does nothing."""
    # The image is asked for before its handler is refused, and there is none.
    with screen.page.expect_event("console", lambda message: "404" in message.text):
        screen.page.evaluate(
            """(markup) => {
              document.getElementById("item-title").innerHTML = markup;
              const script = document.createElement("script");
              script.textContent = "window.hacked = 1";
              document.body.append(script);
              const other = document.createElement("script");
              other.src = "http://localhost:9/x.js";
              document.body.append(other);
            }""",
            f"{SCRIPT}{IMAGE}",
        )
    screen.page.wait_for_load_state("networkidle")
    assert screen.page.evaluate("typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in said for said in screen.wrong)
    screen.check("Content Security Policy", "ERR_", "404")


# Without scripts --------------------------------------------------------------------------------------------------------


def test_everything_works_without_scripts(browser: Browser, server: Server, run: Path) -> None:
    pack = Pack.open(run)
    ids = pack.items["item_id"].tolist()
    with screen_of(browser, java_script_enabled=False) as screen:
        page = screen.page
        page.goto(server.url)

        def press(where: str, key: str = "Enter") -> None:
            page.focus(where)
            with page.expect_navigation():
                page.keyboard.press(key)

        def dialog(opener: str) -> None:
            page.focus(opener)
            page.keyboard.press("Enter")
            page.wait_for_selector(f"{page.get_attribute(opener, 'href')}")
            assert page.is_visible(page.get_attribute(opener, "href") or "")

        assert page.get_attribute("#screen", "data-item") == ids[0]
        press("#do-accept", "Space")
        assert page.get_attribute("#screen", "data-item") == ids[1]
        assert page.inner_text("#status").startswith("Accepted unseen under T cell")
        dialog("#do-term")
        page.focus("#term-text")
        page.keyboard.type("thymocyte")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.get_attribute("#screen", "data-item") == ids[2]
        dialog("#do-note")
        page.focus("#note-text")
        page.keyboard.type("without scripts")
        press("#dialog-note button")
        assert "without scripts" in page.inner_text("#history")
        dialog("#do-up")
        press("#dialog-up .pick >> nth=1")
        dialog("#do-split")
        press("#dialog-split .pick >> nth=0")
        assert page.get_attribute("#screen", "data-item") == f"{ids[3]}~cluster~0"
        press("#do-undo", "Space")
        assert page.get_attribute("#screen", "data-item") == ids[3]
        # What names no term is refused on a page of its own, with the way back.
        dialog("#do-term")
        page.focus("#term-text")
        page.keyboard.type("no such cell at all")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert "names no term" in page.inner_text("#problem")
        with page.expect_navigation():
            page.click("a.button")
        assert page.get_attribute("#screen", "data-item") == ids[3]
        page.focus("#filter-text")
        page.keyboard.type("type I NK")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert 0 < page.locator("#rows .item").count() < 59
        assert page.is_hidden("#lost")
        screen.check("status of 409")
    actions = [Action.ACCEPT, Action.CHOOSE, Action.NOTE, Action.UP, Action.SPLIT, Action.UNDO]
    assert [event.action for event in log_of(run)] == actions


# For everybody ----------------------------------------------------------------------------------------------------------

CONTROLS = ("button", "link", "textbox", "searchbox", "combobox", "checkbox", "dialog", "navigation", "img", "table",
            "listbox", "option", "region", "complementary", "search", "form", "heading", "columnheader")  # fmt: skip


def nameless(screen: Screen) -> list[str]:
    """Return the lines of the accessibility tree that name no control, though one must have a name."""
    tree = screen.page.locator("body").aria_snapshot()
    lines = [line.strip() for line in tree.splitlines()]
    return [line for line in lines if (m := re.match(r"- (\w+)(.*)", line)) and m[1] in CONTROLS and '"' not in m[2]]


def test_every_control_has_a_name_in_every_dialog(screen: Screen) -> None:
    assert nameless(screen) == []
    tree = screen.page.locator("body").aria_snapshot()
    assert 'button "A Accept' in tree
    for key, name in (("/", "Another term"), ("s", "Split"), ("n", "Note"), ("?", "Keys")):
        screen.keys(key)
        screen.page.wait_for_selector("dialog[open]")
        assert nameless(screen) == []
        # Behind an open dialog nothing can be reached.
        tree = screen.page.locator("body").aria_snapshot()
        assert f'dialog "{name}' in tree
        screen.keys("Escape")
    screen.go("ArrowRight")
    assert nameless(screen) == []


def test_page_has_one_heading_landmarks_and_a_language(screen: Screen) -> None:
    page = screen.page
    assert page.get_attribute("html", "lang") == "en"
    assert page.locator("h1").count() == 1
    for role in ("banner", "main", "complementary", "search"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("navigation", name="Queue").count() == 1
    assert page.get_by_role("region", name="Actions").count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))")
    assert set(levels) == {1, 2}
    # The title says what is on the screen, also after an exchange.
    assert page.title().startswith("unseen under T cell · 87 cells")
    screen.go("ArrowRight")
    assert page.title().startswith("T cell · 38 cells")
    assert page.locator("[tabindex]:not([tabindex='-1']):not([tabindex='0'])").count() == 0


def test_what_a_press_did_is_announced_from_the_same_place(screen: Screen) -> None:
    page = screen.page
    status = page.locator("#status")
    assert (status.get_attribute("role"), status.get_attribute("aria-live")) == ("status", "polite")
    page.evaluate("document.getElementById('status').same = true")
    said = screen.go("a")
    assert status.inner_text() == said
    # A screen reader follows an element, not a place: it must be the one of before.
    assert page.evaluate("document.getElementById('status').same === true")
    assert page.evaluate("document.getElementById('screen').contains(document.getElementById('status'))") is False


def test_term_search_is_a_combobox(screen: Screen) -> None:
    found = screen.type_term("naive T")
    field = screen.page.locator("#term-text")
    assert field.get_attribute("role") == "combobox"
    assert field.get_attribute("aria-expanded") == "true"
    for at in (1, 2, 1):
        screen.keys(
            "ArrowDown" if at > 1 or field.get_attribute("aria-activedescendant") == "term-option-0" else "ArrowUp"
        )
        active = field.get_attribute("aria-activedescendant")
        option = screen.page.locator(f"#{active}")
        assert option.get_attribute("aria-selected") == "true"
        assert option.get_attribute("data-term") == found[int((active or "").rpartition("-")[2])]
    assert screen.page.locator("#term-options [aria-selected=true]").count() == 1


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(...)`` (WCAG 2.2)."""
    channels = np.array([float(x) for x in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_worked_out_as_the_standard_says() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.005)


# Text, its colour and the ground under it: the nearest that is painted.
_TEXTS = """() => [...document.querySelectorAll("body *")].flatMap((e) => {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility({visibilityProperty: true}) || e.closest("svg") || e.matches(":disabled, option")) return [];
  const colour = (of, name) => getComputedStyle(of)[name], clear = /^rgba\\(.*, 0\\)$|^transparent$/;
  let ground = e;
  while (ground && clear.test(colour(ground, "backgroundColor"))) ground = ground.parentElement;
  return [[e.textContent.trim().slice(0, 40), colour(e, "color"), colour(ground ?? document.body, "backgroundColor")]];
})"""


def test_text_stands_out_from_its_ground_wherever_it_is_shown(screen: Screen) -> None:
    seen: dict[tuple[str, str], str] = {}

    def look() -> None:
        seen.update({(ink, ground): text for text, ink, ground in screen.page.evaluate(_TEXTS)})

    look()
    screen.page.evaluate("document.getElementById('filter-more').open = true")
    screen.go("a")
    look()
    screen.go("k")
    screen.go("p")
    look()
    screen.keys("z")
    for key in ("/", "s", "n", "?"):
        screen.keys(key)
        look()
        screen.keys("Escape")
    screen.type_term("naive T")
    look()
    assert len(seen) > 8
    low = {text: round(contrast(*pair), 2) for pair, text in seen.items() if contrast(*pair) < LEAST_CONTRAST}
    assert low == {}


def test_colours_of_the_stylesheet_stand_out(root: Path) -> None:
    sheet = (root / "consensus" / "review" / "static" / "review.css").read_text()
    colours = {}
    for name, digits in re.findall(r"--(\w+):#([0-9a-f]{3,6})\b", sheet):
        full = digits if len(digits) == 6 else "".join(2 * d for d in digits)
        colours[name] = f"rgb{tuple(int(full[i : i + 2], 16) for i in (0, 2, 4))}"
    grounds = ("ground", "paper", "tint")
    for ink in ("ink", "muted", "call", "strange", "conflict", "coarse", "quality", "other"):
        for ground in grounds:
            assert contrast(colours[ink], colours[ground]) >= LEAST_CONTRAST, (ink, ground)
    # Edges of fields and buttons (WCAG 2.2, 1.4.11).
    assert contrast(colours["edge"], colours["paper"]) >= 3


def test_twice_as_large_nothing_is_cut_off_at_the_side(browser: Browser, server: Server) -> None:
    # A window of 1280 x 800 at 200 %.
    with screen_of(browser, width=640, height=400) as screen:
        screen.open(server.url)

        def fits() -> None:
            assert screen.page.evaluate("document.scrollingElement.scrollWidth") <= 640

        fits()
        screen.go("a")
        fits()
        # The item is what is seen after a press, not the list above it.
        top = screen.page.evaluate("document.getElementById('item-title').getBoundingClientRect().top")
        assert 0 <= top < 400
        for key in ("/", "s", "n", "?"):
            screen.keys(key)
            box = screen.page.locator("dialog[open]").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 640
            fits()
            screen.keys("Escape")
        screen.page.goto(f"http://127.0.0.1:{server.port}/item/nothing")
        fits()
        screen.check("status of 404")


@pytest.mark.parametrize("width", [1920, 1440, 1280, 1024, 800, 500, 360])
def test_page_fits_every_width(browser: Browser, made: Path, width: int, shared_server: Server) -> None:
    with screen_of(browser, width=width, height=900) as screen:
        screen.open(shared_server.url)
        assert screen.page.evaluate("document.scrollingElement.scrollWidth") <= width
        # What is decided with is in sight without scrolling.
        box = screen.page.locator("#do-accept").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900


@pytest.fixture(scope="module")
def shared_server(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(copied(made, tmp_path_factory.mktemp("shared") / "run")) as found:
        yield found
        found.stop()
