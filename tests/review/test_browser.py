"""The review screen in Chromium: every action by keyboard alone, and what is in the log and the final table afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from browser import OFFLINE, REFUSED, Screen, log_of, screen_of
from replayed import final_by_replay, final_in_file
from review_site import serving, start

from celljury.review.apply import apply_decisions
from celljury.review.events import Action, Outcome
from celljury.review.pack import Pack

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser
    from review_site import Server

T_CELL, LYMPHOCYTE = "CL:0000084", "CL:0000542"


@pytest.fixture
def pack(run: Path) -> Pack:
    return Pack.open(run)


def parents(pack: Pack, i: int) -> list[str]:
    """Return the ids directly above the call of item ``i``."""
    ontology = pack.ontology
    return [ontology.ids[p] for p in ontology.parents(ontology.index(pack.items["term"][i])).tolist()]


def check_final(run: Path) -> pd.DataFrame:
    """Apply the log and compare with the replay; returns the final table."""
    apply_decisions(run, h5ad=False)
    found = final_in_file(run)
    pd.testing.assert_frame_equal(found, final_by_replay(run), check_dtype=False)
    return found


# Actions --------------------------------------------------------------------------------------------------------------


def test_every_decision_by_its_key(screen: Screen, pack: Pack, run: Path) -> None:
    ids, items = pack.items["item_id"].tolist(), pack.items
    assert screen.item == ids[0]
    screen.wait_for_focus("item-title")
    # The queue is ordered by gain, and every decision leads to the next item to do.
    assert screen.go("a") == f"Accepted unseen under T cell for {items['n_cells'][0]} cells. Z undoes."
    assert screen.item == ids[1]
    assert len(parents(pack, 1)) == 1
    assert screen.go("u") == f"Went one step up to lymphocyte for {items['n_cells'][1]} cells. Z undoes."
    assert len(parents(pack, 2)) == 2
    screen.keys("u")
    assert screen.page.locator("#dialog-up[open] .pick").count() == 2
    screen.go("2")
    screen.go("1")
    screen.go("2")
    screen.go("x")
    assert screen.item == ids[6]
    first, second, *_ = screen.type_term("naive T")
    screen.go("ArrowDown", "Enter")
    screen.go("k")
    assert screen.item == ids[8]
    events = log_of(run)
    wanted = [
        (Action.ACCEPT, Outcome(T_CELL, "unseen")),
        (Action.UP, Outcome(LYMPHOCYTE, "resolved")),
        (Action.UP, Outcome(parents(pack, 2)[1], "resolved")),
        (Action.CHOOSE, Outcome(items["candidates"][3].split(";")[0], "resolved")),
        (Action.CHOOSE, Outcome(items["candidates"][4].split(";")[1], "resolved")),
        (Action.UNSEEN, Outcome(items["term"][5], "unseen")),
        (Action.CHOOSE, Outcome(second, "resolved")),
        (Action.SKIP, None),
    ]
    assert [(event.action, event.after) for event in events] == wanted
    assert [event.item_id for event in events] == ids[:8]
    assert {event.reviewer for event in events} == {"ann"}
    assert first != second
    assert (screen.progress("decided"), screen.progress("open")) == (7, 52)
    final = check_final(run)
    assert final["reviewed"].sum() == items["n_cells"][:7].sum()


def test_note_is_kept_and_the_item_stays(screen: Screen, run: Path) -> None:
    item = screen.item
    screen.keys("n")
    screen.page.wait_for_selector("#dialog-note[open]")
    screen.wait_for_focus("note-text")
    # What is typed is text, also where its letters are keys.
    screen.page.keyboard.type("a look at CD8A\nfirst; then x")
    assert screen.go("Control+Enter") == "Wrote a note. Z undoes."
    assert (screen.item, screen.status) == (item, "open")
    assert "a look at CD8A\nfirst; then x" in screen.page.inner_text("#history")
    screen.go("a")
    assert [(event.action, event.note) for event in log_of(run)] == [
        (Action.NOTE, "a look at CD8A\nfirst; then x"), (Action.ACCEPT, ""),
    ]  # fmt: skip
    check_final(run)


def test_split_by_cluster_and_by_member_and_its_parts_decided(screen: Screen, pack: Pack, run: Path) -> None:
    item = screen.item
    ways = pack.splits(item)
    assert ways[:2] == ("cluster", "logistic")
    screen.go("s", "1")
    first, second = f"{item}~cluster~0", f"{item}~cluster~1"
    assert screen.item == first
    assert "part A by cluster" in screen.page.inner_text("#head")
    assert screen.page.get_attribute("#embedding", "data-drawn") == str(len(pack.rows_of(first)))
    screen.go("1")
    assert screen.item == second
    # The second part again, by what a member says of it.
    screen.go("s", str(1 + pack.splits(second).index("symphony")))
    parts = [f"{second}~symphony~{side}" for side in (0, 1)]
    assert screen.item == parts[0]
    screen.go("a")
    assert screen.item == parts[1]
    screen.go("x")
    assert screen.item == pack.items["item_id"][1]
    events = log_of(run)
    assert [(event.item_id, event.action, event.by) for event in events] == [
        (item, Action.SPLIT, "cluster"), (first, Action.CHOOSE, ""), (second, Action.SPLIT, "symphony"),
        (parts[0], Action.ACCEPT, ""), (parts[1], Action.UNSEEN, ""),
    ]  # fmt: skip
    final = check_final(run)
    assert set(final.loc[final["reviewed"], "item_id"]) == {first, *parts}
    # Undone step by step, the parts are one item again, and nothing is decided.
    for left in (parts[1], parts[0], second, first, item):
        screen.go("z")
        assert screen.item == left
    assert screen.status == "open"
    assert not check_final(run)["reviewed"].any()


def test_all_alike_at_once_and_taken_back_at_once(screen: Screen, server: Server, pack: Pack, run: Path) -> None:
    family = pack.items.groupby("family", sort=False)["item_id"].agg(list).loc[lambda ids: ids.str.len() == 3].iloc[0]
    screen.open_item(server, family[0])
    n_cells = int(pack.items.set_index("item_id").loc[family, "n_cells"].sum())
    screen.keys("l")
    assert screen.page.is_checked("#alike")
    screen.page.wait_for_selector(f"#status:text('The next decision holds for 3 items, {n_cells} cells.')")
    assert f"for 3 items, {n_cells} cells. Z undoes." in screen.go("1")
    assert screen.progress("decided") == 3
    assert not screen.page.locator("#alike:checked").count()
    events = log_of(run)
    assert {event.item_id for event in events} == set(family)
    assert len({event.group for event in events}) == 1
    check_final(run)
    assert f"for 3 items, {n_cells} cells. Y does it again." in screen.go("z")
    assert (screen.progress("decided"), screen.item) == (0, family[0])
    screen.go("y")
    assert screen.progress("decided") == 3
    check_final(run)


def test_undo_takes_back_the_last_first_and_redo_brings_it_back(screen: Screen, pack: Pack, run: Path) -> None:
    ids = pack.items["item_id"].tolist()
    assert screen.page.is_disabled("#do-undo")
    screen.keys("z")
    screen.go("a")
    screen.go("u")
    assert screen.go("z").startswith("Undone: went one step up to lymphocyte")
    assert (screen.item, screen.status) == (ids[1], "open")
    assert screen.go("z").startswith("Undone: accepted unseen under T cell")
    assert (screen.item, screen.status) == (ids[0], "open")
    assert screen.go("y").startswith("Done again: accepted unseen under T cell")
    assert (screen.item, screen.status) == (ids[0], "decided")
    # A decision replaces one's own earlier one, and undoing it brings the earlier one back.
    screen.go("1")
    screen.open_again(ids[0])
    assert "chose" in screen.page.inner_text("#history li:first-child")
    screen.go("z")
    assert (screen.item, screen.status) == (ids[0], "decided")
    assert "unseen under T cell" in screen.page.inner_text("#decision")
    assert len(log_of(run)) == 7
    check_final(run)


# Going about ----------------------------------------------------------------------------------------------------------


def test_next_previous_and_next_open(screen: Screen, pack: Pack) -> None:
    ids = pack.items["item_id"].tolist()
    for keys, at in ((("ArrowRight",), 1), (("j",), 2), (("ArrowLeft",), 1), (("p",), 0), (("g",), 1)):
        screen.go(*keys)
        assert screen.item == ids[at], keys
        screen.wait_for_focus("item-title")
    screen.go("a")
    screen.go("ArrowLeft")
    assert (screen.item, screen.status) == (ids[1], "decided")
    screen.go("p")
    screen.go("g")
    assert screen.item == ids[2]
    # As a browser goes back: the page of then, as the item stands now.
    screen.page.go_back()
    screen.page.wait_for_selector(f"#screen[data-item='{ids[0]}']", state="attached")
    assert screen.page.title().startswith("unseen under T cell")


def test_filters_by_keyboard(screen: Screen, pack: Pack) -> None:
    screen.go("a")
    screen.keys("f")
    screen.wait_for_focus("filter-text")
    screen.page.keyboard.type("type I NK")
    screen.go("Enter")
    labels = screen.page.locator("#rows .item").all_inner_texts()
    assert 0 < len(labels) < 59
    assert "item 1 of" in screen.page.inner_text("#place")
    assert "in this list" in screen.page.inner_text("#head")
    # Decisions stay in the list that is worked through.
    before = screen.item
    screen.go("k")
    assert "text=type+I+NK" in screen.page.url
    assert screen.item != before
    screen.page.focus("#filter-clear")
    screen.go("Enter")
    assert "text=" not in screen.page.url
    screen.page.focus(".chips a[data-status=decided]")
    screen.go("Enter")
    assert screen.page.locator("#rows .item").count() == 1
    assert screen.item == pack.items["item_id"][0]


def test_help_by_its_key_and_the_focus_comes_back(screen: Screen) -> None:
    before = screen.item
    screen.keys("?")
    screen.page.wait_for_selector("#help[open]")
    assert screen.page.locator("#help dt").count() > 12
    # No key of the screen behind it works meanwhile.
    screen.keys("a", "x", "Escape")
    assert not screen.page.locator("#help[open]").count()
    screen.wait_for_focus("item-title")
    assert screen.item == before
    assert screen.progress("decided") == 0


def test_keys_are_left_alone_in_fields_with_modifiers_and_when_held(screen: Screen) -> None:
    before = screen.item
    screen.keys("f")
    screen.page.keyboard.type("axk1z")
    assert screen.page.input_value("#filter-text") == "axk1z"
    screen.page.focus("#item-title")
    screen.keys("Control+a", "Alt+a", "Shift+a", "Shift+X")
    # Held down, a key counts once: Chromium marks what repeats.
    screen.page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', repeat: true, bubbles: true}))"
    )
    screen.page.wait_for_load_state("networkidle")
    assert (screen.item, screen.progress("decided")) == (before, 0)


def test_tab_goes_through_the_page_in_its_order_and_the_focus_is_seen(screen: Screen) -> None:
    stops, seen = [], set()
    screen.page.evaluate("document.activeElement.blur(); document.querySelector('.skip').focus()")
    while (stop := screen.page.evaluate(_STOP))["at"] not in seen:
        seen.add(stop["at"])
        stops.append(stop)
        screen.keys("Tab")
    ids = [stop["id"] for stop in stops if stop["id"]]
    wanted = ["filter-text", "do-accept", "do-up", "do-term", "do-unseen", "do-split", "do-note", "do-skip", "go-next"]
    assert [name for name in ids if name in wanted] == wanted
    places = [stop["at"] for stop in stops if stop["at"] >= 0]
    assert places == sorted(places)
    assert len(places) > 60
    assert [stop for stop in stops if stop["at"] >= 0 and not stop["ring"]] == []
    # Past the list at once: the link that comes first leads to the item, and from there Tab to the actions.
    screen.page.focus(".skip")
    screen.keys("Enter")
    screen.wait_for_focus("item-title")


_STOP = """() => {
  const e = document.activeElement, all = [...document.querySelectorAll("*")], style = getComputedStyle(e);
  return {id: e.id, at: e === document.body ? -1 : all.indexOf(e),
          ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 || e.matches("#embedding")};
}"""


# Lost answers ---------------------------------------------------------------------------------------------------------


def test_lost_connection_keeps_the_press_and_sends_it_once(browser: Browser, server: Server, run: Path) -> None:
    with screen_of(browser, OFFLINE) as screen:
        screen.open(server.url)
        item = screen.item
        screen.page.context.set_offline(True)
        screen.keys("a")
        screen.page.wait_for_selector("#lost:not([hidden])")
        assert "Nothing is lost: press R to send again." in screen.page.inner_text("#lost[role=alert]")
        # No other press may pass it, and pressing R without a connection changes nothing.
        screen.keys("x")
        screen.wait_for_focus("send-again")
        screen.keys("r")
        screen.page.wait_for_selector("#lost-text:text('No answer from the server.')")
        assert screen.item == item
        assert log_of(run) == ()
        screen.page.context.set_offline(False)
        assert screen.go("r").startswith("Accepted")
        assert not screen.page.is_visible("#lost")
        screen.go("x")
    assert [event.action for event in log_of(run)] == [Action.ACCEPT, Action.UNSEEN]
    assert log_of(run)[0].item_id == item


def test_lost_answer_to_what_was_written_is_sent_again_and_counts_once(
    browser: Browser, server: Server, run: Path
) -> None:
    with screen_of(browser, OFFLINE) as screen:
        screen.open(server.url)
        item = screen.item

        def written_but_not_heard(route: object) -> None:
            route.fetch(max_redirects=0)  # type: ignore[attr-defined]
            route.abort()  # type: ignore[attr-defined]

        screen.page.route("**/act*", written_but_not_heard, times=1)
        screen.keys("a")
        screen.page.wait_for_selector("#lost:not([hidden])")
        assert len(log_of(run)) == 1
        assert screen.item == item
        assert screen.go("r").startswith("Accepted")
        assert screen.item != item
    assert [(event.item_id, event.action) for event in log_of(run)] == [(item, Action.ACCEPT)]


def test_server_that_was_started_again_takes_what_it_missed(browser: Browser, run: Path) -> None:
    with screen_of(browser, OFFLINE, REFUSED) as screen, serving(run) as before:
        screen.open(before.url)
        item = screen.item
        before.stop()
        screen.keys("n")
        screen.page.keyboard.type("typed while the server was away")
        screen.keys("Control+Enter")
        screen.page.wait_for_selector("#lost:not([hidden])")
        with serving(run, port=before.port) as after:
            assert after.port == before.port
            # Sessions end with the server: until its new address is opened it takes nothing, and says so.
            screen.keys("r")
            screen.page.wait_for_selector("#lost-text:text('Open the address')")
            assert log_of(run) == ()
            screen.page.context.new_page().goto(after.url)
            screen.page.bring_to_front()
            assert screen.go("r") == "Wrote a note. Z undoes."
            assert screen.item == item
            after.stop()
    assert [event.note for event in log_of(run)] == ["typed while the server was away"]


def test_page_with_a_session_that_is_over_keeps_the_press(browser: Browser, server: Server, run: Path) -> None:
    with screen_of(browser, REFUSED) as screen:
        screen.open(server.url)
        screen.page.context.clear_cookies()
        screen.keys("a")
        screen.page.wait_for_selector("#lost-text:text('Your session is over.')")
        screen.page.context.new_page().goto(server.url)
        screen.page.bring_to_front()
        assert screen.go("r").startswith("Accepted")
    assert len(log_of(run)) == 1


def test_server_that_is_gone_at_once_is_said(browser: Browser, run: Path) -> None:
    with screen_of(browser, OFFLINE) as screen:
        server = start(run)
        screen.open(server.url)
        server.kill()
        screen.keys("ArrowRight")
        screen.page.wait_for_selector("#status.refused:text('No answer from the server. Try again.')")
