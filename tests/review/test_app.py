"""The screen over HTTP: every page, press and refusal, with hostile text in every place that takes text."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from review_pack import made_run

from celljury.errors import UnreadableFileError
from celljury.ontology.load import load_ontology
from celljury.review.account_sessions import AccountSessions
from celljury.review.accounts import Accounts
from celljury.review.app import review_app
from celljury.review.decisions import Decisions
from celljury.review.desk import Desk
from celljury.review.guard import HEADERS
from celljury.review.lists import PAGE
from celljury.review.locks import Locks
from celljury.review.pack import Pack
from celljury.review.pages import STATIC
from celljury.review.sessions import SessionsInMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "t" * 43
HOST = "127.0.0.1:8765"
XSS = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}"


class Page(HTMLParser):
    """A page taken apart: elements with their attributes, and the text of those with an id."""

    VOID = frozenset({"meta", "link", "input", "img", "br", "rect", "circle", "line", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in self.VOID:
            self._open.append((tag, found.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        wanted = {name.replace("_", "-"): value for name, value in wanted.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    def said(self, name: str) -> str:
        return " ".join(self.texts.get(name, "").split())


class Browser:
    """A reviewer's browser, without scripts: links, forms, cookies and redirects."""

    def __init__(self, app: Any) -> None:
        self.app, self.cookies, self.url = app, httpx.Cookies(), "/"
        self.page = Page("")

    def send(self, method: str, url: str, *, follow: bool = True, **more: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://{HOST}", cookies=self.cookies, follow_redirects=follow
            ) as client:
                answer = await client.request(method, url, **more)
                self.cookies = client.cookies
                return answer

        answer = asyncio.run(go())
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page, self.url = Page(answer.text), str(answer.url)
        return answer

    def get(self, url: str, **more: Any) -> httpx.Response:
        return self.send("GET", url, **more)

    def open(self) -> Browser:
        assert self.get(f"/?token={TOKEN}").status_code == 200
        return self

    @property
    def item(self) -> str:
        (screen,) = self.page.all("div", id="screen")
        return screen["data-item"]

    @property
    def fields(self) -> dict[str, str]:
        hidden = [found for found in self.page.all("input") if found.get("name") in ("csrf", "key")]
        return {found["name"]: found["value"] for found in reversed(hidden)}

    def do(self, what: str, **more: str) -> httpx.Response:
        (form,) = self.page.all("form", id="act")
        return self.send("POST", form["action"], data=self.fields | {"do": what} | more)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    made_run(folder / "plain", n_cells=1000, n_items=60, n_review=300, n_samples=3, n_genes=30, n_terms=20)
    made_run(folder / "hostile", n_cells=600, n_items=20, n_review=100, n_samples=2, n_genes=30, n_terms=12)
    return folder


@pytest.fixture
def pack(runs: Path) -> Pack:
    return Pack.open(runs / "plain")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Decisions]:
    with Decisions.open(tmp_path / "decisions.sqlite") as decisions:
        yield decisions


def app_of(pack: Pack, log: Decisions, *, reviewer: str = "mk", blind: bool = False) -> Any:
    desk = Desk(pack, log, locks=Locks(log.database), blind=blind)
    return review_app(desk, SessionsInMemory(), reviewer=reviewer, token=TOKEN)


@pytest.fixture
def browser(pack: Pack, log: Decisions) -> Browser:
    return Browser(app_of(pack, log)).open()


def with_term(pack: Pack) -> str:
    """Return the first item whose call is a term below others."""
    return str(pack.items.loc[pack.items["status"] == "backed_off", "item_id"].iloc[0])


# Pages ----------------------------------------------------------------------------------------------------------------


def test_first_page_is_the_item_with_most_to_gain(browser: Browser, pack: Pack) -> None:
    assert browser.url == f"http://{HOST}/item/{pack.items['item_id'].iloc[0]}"
    assert browser.item == pack.items["item_id"].iloc[0]
    said = browser.page.said("progress")
    assert "60 items · 300 of 1,000 cells need review · 0 decided · 60 open · you: mk" in said
    for name in ("path", "reasons", "markers", "members", "samples", "history", "embedding", "act"):
        assert any(found.get("id") == name for _, found in browser.page.elements), name


def test_every_item_has_a_page(browser: Browser, pack: Pack) -> None:
    for item in pack.items["item_id"]:
        assert browser.get(f"/item/{item}").status_code == 200
        assert browser.item == item
        assert len(browser.page.all("form", id="act")) == 1


def test_only_a_window_of_the_list_is_drawn(browser: Browser, pack: Pack) -> None:
    def listed() -> list[str]:
        return [found["data-item"] for found in browser.page.all("a") if "data-item" in found]

    ids = pack.items["item_id"].tolist()
    assert listed() == ids[:PAGE]
    (after,) = browser.page.all("a", id="page-after")
    item = browser.item
    browser.get(after["href"])
    assert listed() == ids[PAGE:]
    assert browser.item == item, "another page of the list is no other item"
    browser.get(f"/item/{ids[-1]}")
    assert listed() == ids[PAGE:], "the list is opened where the item is"
    for page in ("999", "-1", "x", "0", "9" * 30):
        assert browser.get(f"/item/{ids[0]}?page={page}").status_code == 200


def test_no_page_has_scripts_styles_or_handlers_of_its_own(browser: Browser, pack: Pack) -> None:
    browser.get(f"/item/{with_term(pack)}")
    for tag, found in browser.page.elements:
        assert "style" not in found, (tag, found)
        assert not any(name.startswith("on") for name in found), (tag, found)
        assert tag != "style"
        if tag == "script":
            assert found["src"].startswith("/static/")
    assert re.search(r"<script[^>]*>[^<]", browser.page.text) is None


def test_every_id_is_there_once_and_every_field_has_a_name_for_people(browser: Browser, pack: Pack) -> None:
    browser.get(f"/item/{with_term(pack)}")
    ids = [found["id"] for _, found in browser.page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    labelled = {found.get("for") for found in browser.page.all("label")}
    for tag, found in browser.page.elements:
        if tag in ("select", "textarea", "input") and found.get("type") not in ("hidden", "checkbox"):
            assert found.get("id") in labelled or "aria-label" in found, found
    for name in ("main", "nav", "aside", "header"):
        assert len(browser.page.all(name)) == 1
    assert browser.page.all("p", id="status", role="status", aria_live="polite")


def test_enter_on_a_box_decides_nothing(browser: Browser, pack: Pack) -> None:
    """Enter on a box presses its form's first button that is not disabled: there it must be one that sends nothing."""
    checked = 0
    for item in pack.items["item_id"]:
        browser.get(f"/item/{item}")
        forms: list[list[dict[str, str]]] = []
        for tag, found in browser.page.elements:
            if tag == "form":
                forms.append([])
            elif forms and (tag == "button" or found.get("type") == "checkbox"):
                forms[-1].append({"type": "submit"} | found)
        for controls in forms:
            buttons = [found for found in controls if found["type"] == "submit"]
            if len(buttons) < len(controls) and len(buttons) > 1:
                assert buttons[0] == {"type": "submit", "formmethod": "dialog", "hidden": ""}
                checked += 1
    assert checked > 1


def test_markers_are_a_table_for_those_who_do_not_see_them(browser: Browser, pack: Pack) -> None:
    browser.get(f"/item/{with_term(pack)}")
    (hidden,) = browser.page.all("div", id="markers-table")
    assert hidden["class"] == "visually-hidden"
    assert sum(found.get("class") == "marker-table" for found in browser.page.all("table")) == 1
    assert "Marker genes: share of cells that express each" in browser.page.said("markers-table")
    assert "% of cells, mean" in browser.page.said("markers-table")


def test_points_are_sent_once(browser: Browser, pack: Pack) -> None:
    answer = browser.get("/points")
    assert pack.drawn_xy is not None
    assert len(answer.content) == 10 * len(pack.drawn_xy)
    assert answer.headers["cache-control"] == "private, no-cache"
    again = browser.get("/points", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert len(browser.get(f"/item/{browser.item}/points").content) == 8 * int(pack.items["n_cells"].iloc[0])
    assert browser.get("/item/nothing/points").status_code == 404


def test_terms_are_suggested(browser: Browser) -> None:
    answer = browser.get("/terms?term=T cell&item=" + browser.item)
    assert 'data-term="CL:0000084"' in answer.text
    assert browser.get("/terms?term=").text.strip() == ""
    assert "Nothing is called like this" in browser.get("/terms?term=qqqqqq").text


def test_filters_narrow_the_list_and_stay_on(browser: Browser) -> None:
    browser.get("/?reason=unseen")
    assert "reason=unseen" in browser.url
    assert browser.page.said("place").endswith("of 3")
    browser.do("accept")
    assert "reason=unseen" in browser.url
    browser.get("/?text=no such thing")
    assert browser.page.said("item-title") == "No item is like this"
    assert browser.page.all("a", id="filter-clear")


# Presses --------------------------------------------------------------------------------------------------------------


def test_accept_goes_on_and_says_so(browser: Browser, log: Decisions, pack: Pack) -> None:
    item = with_term(pack)
    browser.get(f"/item/{item}")
    label = pack.items.set_index("item_id").loc[item, "label"]
    assert browser.do("accept").status_code == 200
    assert browser.item != item
    assert browser.page.said("status").startswith(f"Accepted {label} for ")
    assert browser.page.said("status").endswith("Z undoes.")
    (event,) = log.events()
    assert (event.reviewer, event.item_id, event.action) == ("mk", item, "accept")
    browser.do("undo")
    assert browser.item == item
    assert "Undone" in browser.page.said("status")
    browser.do("redo")
    assert browser.page.said("decision").startswith("✓ Decided:")


def test_every_button_of_an_item_does_what_it_says(browser: Browser, log: Decisions, pack: Pack) -> None:
    item = with_term(pack)
    browser.get(f"/item/{item}")
    offered = [found["value"] for found in browser.page.all("button", name="do") if "disabled" not in found]
    assert {what.partition(":")[0] for what in offered} >= {"accept", "choose", "unseen", "skip", "split"}
    for what in offered:
        browser.get(f"/item/{item}")
        assert browser.do(what).status_code == 200, what
        assert log.events()[-1].action == what.partition(":")[0]
        assert browser.do("undo").status_code == 200


def test_repeated_post_is_done_once(browser: Browser, log: Decisions) -> None:
    form, fields = browser.page.all("form", id="act")[0]["action"], browser.fields | {"do": "accept"}
    first = browser.send("POST", form, data=fields, follow=False)
    again = browser.send("POST", form, data=fields, follow=False)
    assert first.status_code == again.status_code == 303
    assert first.headers["location"] == again.headers["location"]
    assert len(log.events()) == 1


def test_family_at_once(browser: Browser, log: Decisions, pack: Pack) -> None:
    counts = pack.items["family"].value_counts()
    family = pack.items[pack.items["family"] == counts.index[0]]
    assert len(family) > 1
    browser.get(f"/item/{family['item_id'].iloc[0]}")
    (box,) = browser.page.all("input", id="alike")
    assert (box["data-items"], box["data-cells"]) == (str(len(family)), str(family["n_cells"].sum()))
    browser.do("skip", alike="1")
    assert len(log.events()) == len(family)
    browser.do("undo")
    assert len(log.events()) == len(family) + 1
    assert "60 open" in browser.page.said("progress")


def test_split_and_its_parts(browser: Browser, pack: Pack) -> None:
    item = browser.item
    browser.do("split:cluster")
    assert browser.item == f"{item}~cluster~0"
    assert "part A by cluster" in browser.page.text
    assert browser.get(f"/item/{item}").status_code == 200
    assert browser.item == f"{item}~cluster~0"
    assert browser.get(f"/item/{browser.item}/points").status_code == 200
    browser.do("undo")
    assert browser.item == item


def test_note_with_sql_and_script_is_kept_as_it_is_and_shown_escaped(browser: Browser, log: Decisions) -> None:
    note = f"'; DROP TABLE events; -- {XSS}\r\nsecond line"
    browser.do("note", note=note)
    assert log.events()[0].note == note.replace("\r\n", "\n")
    assert "<script>alert" not in browser.page.text
    assert "&lt;script&gt;alert(1)" in browser.page.text
    assert browser.page.said("history").count("DROP TABLE") == 1
    for bad in ("x" * 5000, "nul \0 byte"):
        browser.get("/")
        assert browser.do("note", note=bad).status_code == 400
    assert len(log.events()) == 1


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        pytest.param({"do": "explode"}, 409, "nothing that can be done", id="unknown_action"),
        pytest.param({"do": ""}, 409, "nothing that can be done", id="no_action"),
        pytest.param({"do": "choose", "term": XSS}, 409, "names no term", id="hostile_term"),
        pytest.param({"do": "settle:resolved:CL:0000084"}, 409, "no conflict", id="no_conflict"),
        pytest.param({"do": "accept", "key": "x"}, 409, "no key", id="short_key"),
        pytest.param({"do": "accept", "csrf": "0" * 64}, 403, "another session", id="wrong_csrf"),
        pytest.param({"do": "undo"}, 409, "nothing of yours", id="nothing_to_undo"),
    ],
)
def test_what_is_refused_leaves_the_log_as_it_is(
    browser: Browser, log: Decisions, form: dict[str, str], status: int, says: str
) -> None:
    action = browser.page.all("form", id="act")[0]["action"]
    answer = browser.send("POST", action, data=browser.fields | form)
    assert answer.status_code == status
    assert says in browser.page.said("problem")
    assert "<script>alert" not in answer.text
    assert log.events() == ()


# Several reviewers ----------------------------------------------------------------------------------------------------


def test_lock_is_shown_kept_and_taken_over(pack: Pack, log: Decisions) -> None:
    one, other = (Browser(app_of(pack, log, reviewer=name)).open() for name in ("mk", "jo"))
    assert other.item != one.item, "what others are on is passed over"
    other.get(f"/item/{one.item}")
    assert "mk is on this item until" in other.page.said("lock")
    assert "disabled" in other.page.all("button", id="do-accept")[0]
    assert other.do("accept").status_code == 409
    assert "Take it over" in other.page.said("problem")
    other.get(f"/item/{one.item}")
    (take,) = [found for found in other.page.all("form") if "/take" in found["action"]]
    assert other.send("POST", take["action"], data=other.fields).status_code == 200
    assert not other.page.said("lock")
    assert one.do("accept").status_code == 409
    assert other.do("accept").status_code == 200


def test_conflict_is_shown_and_settled(pack: Pack, log: Decisions) -> None:
    item = with_term(pack)
    one = Browser(app_of(pack, log, reviewer="mk")).open()
    one.get(f"/item/{item}")
    one.do("accept")
    other = Browser(app_of(pack, log, reviewer="jo")).open()
    other.get(f"/item/{item}")
    other.do("unseen")
    other.get("/?status=conflict")
    assert other.item == item
    assert "Conflict." in other.page.said("decision")
    assert "1 conflict" in other.page.said("progress")
    settle = [found["value"] for found in other.page.all("button", name="do") if found["value"].startswith("settle:")]
    assert len(settle) >= 2
    other.do(settle[0])
    assert log.events()[-1].action == "settle"
    other.get(f"/item/{item}")
    assert other.page.said("decision").startswith("✓ Decided:")


def test_blind_mode_tells_nothing_of_others(pack: Pack, log: Decisions) -> None:
    one = Browser(app_of(pack, log, reviewer="somebody-else", blind=True)).open()
    item = one.item
    one.do("note", note="their note")
    one.do("accept")
    mine = Browser(app_of(pack, log, blind=True)).open()
    assert mine.item == item
    assert "0 decided" in mine.page.said("progress")
    for url in (f"/item/{item}", "/?reviewer=somebody-else", "/?status=decided"):
        mine.get(url)
        text = re.sub(r'value="[^"]*"|href="[^"]*"', "", mine.page.text)
        assert "somebody-else" not in text
        assert "their note" not in text
    mine.get(f"/item/{item}")
    mine.do("accept")
    mine.get(f"/item/{item}")
    assert "somebody-else" in mine.page.said("history")


# Hostile text ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(runs: Path, tmp_path: Path) -> Pack:
    """A run in which labels, genes, samples, members and cells are attacks."""
    folder = tmp_path / "hostile"
    shutil.copytree(runs / "hostile", folder)
    pack = Pack.open(folder)
    ontology = load_ontology()
    ontology = replace(ontology, labels=tuple(f"{XSS} {label}" for label in ontology.labels))
    items = pack.items.copy()
    items["label"] = XSS + items["label"]
    items["sentence"] = f"{XSS}: lead. " + items["sentence"]
    items["example_cells"] = XSS
    members = [*pack.about["members"][:-1], f"{XSS}/../x?y#z"]
    items["votes"] = items["votes"].str.replace(pack.about["members"][-1], members[-1], regex=False)
    genes = tuple(f"{XSS}{gene}" for gene in pack.genes)
    renamed = dict(zip(pack.genes, genes, strict=True))
    about = pack.about | {
        "samples": [f"{XSS}{i}" for i in range(2)], "members": members, "promise": XSS, "release": XSS,
        "embedding": pack.about["embedding"] | {"name": XSS},
    }  # fmt: skip
    term_genes = {term: tuple(renamed[gene] for gene in own) for term, own in pack.term_genes.items()}
    replace(pack, items=items, about=about, genes=genes, term_genes=term_genes).save(ontology)
    return Pack.open(folder)


def test_hostile_text_is_only_text(hostile: Pack, log: Decisions) -> None:
    browser = Browser(app_of(hostile, log, reviewer="<b>mk</b>")).open()
    pages = 0
    for item in hostile.items["item_id"]:
        answer = browser.get(f"/item/{item}")
        assert answer.status_code == 200
        pages += "&lt;script&gt;" in answer.text
        assert {found["src"] for found in browser.page.all("script")} == {
            f"/static/{name}?v={STATIC[name].tag}" for name in ("htmx.min.js", "embedding.js", "review.js")
        }
        assert not browser.page.all("img")
        assert browser.page.said("reviewer") == "<b>mk</b>"
        assert "{{7*7}}" in answer.text, "text is no template"
    assert pages == len(hostile.items)
    assert "<script>" not in browser.get("/terms?term=T cell").text


def test_part_by_a_member_of_a_hostile_name_has_a_page(hostile: Pack, log: Decisions) -> None:
    browser = Browser(app_of(hostile, log)).open()
    for item in hostile.items["item_id"]:
        browser.get(f"/item/{item}")
        ways = [found["data-by"] for found in browser.page.all("button") if "data-by" in found]
        if hostile.about["members"][-1] in ways:
            break
    else:
        pytest.fail("no item can be split by this member")
    assert browser.do(f"split:{hostile.about['members'][-1]}").status_code == 200
    assert browser.item == f"{item}~{hostile.about['members'][-1]}~0"
    assert browser.do("skip").status_code == 200


# What is asked wrongly ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "/item/nothing", "/item/", "/item/..%2f..%2fetc%2fpasswd", "/item/%00", "/item/a~b~c", "/nowhere", "/static/",
        "/static/nothing.css", "/static/..%2fpages.py", "/static/%2e%2e/%2e%2e/pages.py", "/static/....//pages.py",
        "/static/%252e%252e%252fpages.py", "/static//etc/passwd", "/static/review.css%00.png", "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd", "/static/..\\..\\pages.py", "/login", "/decisions.sqlite", "/item/x/act",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(browser: Browser, url: str) -> None:
    answer = browser.get(url)
    assert answer.status_code in (404, 405)
    assert "Traceback" not in answer.text
    assert "root:" not in answer.text
    assert "def " not in answer.text
    for name in HEADERS:
        assert name in answer.headers


def test_known_static_files_are_sent_to_keep(browser: Browser) -> None:
    for name, file in STATIC.items():
        answer = browser.get(f"/static/{name}")
        assert answer.content == file.body
        assert "immutable" in answer.headers["cache-control"]
    assert "Permission to use" in browser.get("/static/htmx.LICENSE.txt").text


def test_failure_shows_no_traceback(pack: Pack, log: Decisions, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(app_of(pack, log)).open()

    def fails(*_: Any, **__: Any) -> None:
        message = "secret detail"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(Desk, "item", fails)
    answer = browser.get(f"/item/{pack.items['item_id'].iloc[0]}")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "fault of this program" in browser.page.said("problem")


def test_item_whose_term_the_ontology_lacks_is_no_passing_trouble(pack: Pack, log: Decisions) -> None:
    items = pack.items.assign(votes="logistic=T:no such term")
    browser = Browser(app_of(replace(pack, items=items), log))
    assert browser.get(f"/?token={TOKEN}").status_code == 500
    said = browser.page.said("problem")
    assert "'T:no such term' is no id, label or synonym of a live term" in said
    assert "review/pack" in said


def test_log_that_cannot_be_read_is_said_to_be_unavailable(
    pack: Pack, log: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(app_of(pack, log)).open()

    def gone(*_: Any, **__: Any) -> Any:
        message = "the database went away"
        raise UnreadableFileError(message)

    monkeypatch.setattr(Decisions, "events", gone)
    assert browser.get("/").status_code == 503
    assert browser.page.said("problem") == "the database went away"


def test_run_without_anything_to_review_says_so(tmp_path: Path, pack: Pack, log: Decisions) -> None:
    empty = replace(pack, items=pack.items.iloc[:0], about=pack.about | {"n_review": 0, "n_items": 0})
    browser = Browser(app_of(empty, log)).open()
    assert browser.page.said("item-title") == "Nothing needs review in this run"


# Named users ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def team(pack: Pack, log: Decisions) -> Browser:
    accounts = Accounts(log.database)
    accounts.add_user("mk", "correct horse")
    desk = Desk(pack, log, locks=Locks(log.database))
    return Browser(review_app(desk, AccountSessions(log.database), accounts=accounts))


def log_in(browser: Browser, name: str, password: str) -> httpx.Response:
    assert browser.get("/").status_code == 200
    assert browser.url.endswith("/login")
    fields = {"csrf": browser.page.all("input", name="csrf")[0]["value"], "name": name, "password": password}
    return browser.send("POST", "/login", data=fields)


def test_user_logs_in_and_out(team: Browser) -> None:
    before = dict(team.cookies)
    assert log_in(team, "mk", "correct horse").status_code == 200
    assert team.page.said("reviewer") == "mk"
    assert dict(team.cookies) != before
    csrf = team.fields["csrf"]
    assert team.send("POST", "/logout", data={"csrf": csrf}).status_code == 200
    assert team.url.endswith("/login")
    assert team.get("/points", follow=False).status_code == 303


@pytest.mark.parametrize(
    ("name", "password"), [("mk", "wrong horse"), ("nobody", "correct horse"), (XSS, XSS), ("", "")]
)
def test_wrong_password_is_refused(team: Browser, name: str, password: str) -> None:
    assert log_in(team, name, password).status_code == 403
    assert team.page.said("problem") == "Name or password is wrong."
    assert not team.page.all("script")
    assert team.get("/points", follow=False).status_code == 303


def test_guesses_are_limited(team: Browser) -> None:
    answers = [log_in(team, "mk", f"guess {i}").status_code for i in range(6)]
    assert answers == [403] * 5 + [429]
    assert "Wait" in team.page.said("problem")
    assert log_in(team, "mk", "correct horse").status_code == 429


def test_way_in_is_a_token_or_accounts(pack: Pack, log: Decisions) -> None:
    with pytest.raises(ValueError, match="one of the two"):
        review_app(Desk(pack, log), SessionsInMemory())
