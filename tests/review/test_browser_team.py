"""Several reviewers in Chromium: conflicts, blind mode, locks, named users; and a server that is killed while it answers."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from browser import OFFLINE, REFUSED, Screen, log_of, screen_of, write_run
from replayed import final_by_replay, final_in_file
from review_site import celljury, serving

from celljury.review.events import Action, Outcome
from celljury.review.pack import Pack

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from review_site import Server

WORDS = {"ann": "correct horse", "bob": "battery staple"}
ROUNDS = 50


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose review two users may enter."""
    run = write_run(tmp_path_factory.mktemp("made") / "run")
    for name, word in WORDS.items():
        assert f"{name} can log in now." in celljury("review", run, "--add-user", name, said=f"{word}\n")
    return run


def address(server: Server) -> str:
    """Return the server's address on this machine: what it prints has the machine's name."""
    return f"http://127.0.0.1:{server.port}/"


def enter(screen: Screen, server: Server, name: str) -> Screen:
    """Log in by keyboard."""
    screen.page.goto(address(server))
    screen.wait_for_focus("name")
    screen.page.keyboard.type(name)
    screen.keys("Tab")
    screen.page.keyboard.type(WORDS[name])
    with screen.page.expect_navigation():
        screen.keys("Enter")
    screen.page.wait_for_load_state("networkidle")
    assert screen.page.inner_text("#reviewer") == name
    return screen


def check_applied(run: Path) -> pd.DataFrame:
    celljury("apply", run, "--no-h5ad")
    found = final_in_file(run)
    pd.testing.assert_frame_equal(found, final_by_replay(run), check_dtype=False)
    return found


# Two at once ----------------------------------------------------------------------------------------------------------


def test_two_reviewers_in_conflict_and_settled(browser: Browser, run: Path) -> None:
    items = Pack.open(run).items
    with (
        serving(run, "--host", "0.0.0.0") as server, screen_of(browser) as ann, screen_of(browser) as bob,
    ):  # fmt: skip
        enter(ann, server, "ann")
        item = ann.item
        ann.go("a")
        enter(bob, server, "bob")
        bob.open_again(item)
        assert bob.status == "decided"
        assert "by ann" in bob.page.inner_text("#decision")
        bob.go("2")
        bob.open_again(item)
        assert bob.status == "conflict"
        assert bob.progress("conflicts") == 1
        assert bob.page.locator("#rows .item[data-status=conflict]").count() == 1
        final = check_applied(run)
        assert final["conflict"].sum() == items["n_cells"][0]
        assert not final["reviewed"].any()
        # Ann finds it by the filter, without a mouse, and settles for what neither has said.
        ann.open(address(server))
        ann.page.focus(".chips a[data-status=conflict]")
        ann.go("Enter")
        assert ann.item == item
        bob.go("g")
        ann.open_again(item)
        ann.keys("c")
        picks = ann.page.locator("#dialog-settle[open] .pick").all_inner_texts()
        assert ["says ann" in picks[0], "says bob" in picks[1]] == [True, True]
        ann.go("3")
        ann.open_again(item)
        assert ann.status == "decided"
        assert ann.progress("conflicts") == 0
        server.stop()
    events = log_of(run)
    settled, chosen = (Outcome(term, "resolved") for term in items["candidates"][0].split(";"))
    assert [(event.reviewer, event.action) for event in events] == [
        ("ann", Action.ACCEPT), ("bob", Action.CHOOSE), ("ann", Action.SETTLE),
    ]  # fmt: skip
    assert [event.after for event in events[1:]] == [chosen, settled]
    final = check_applied(run)
    assert final["reviewed"].sum() == items["n_cells"][0]
    assert set(final.loc[final["reviewed"], "term"]) == {settled.term}
    assert not final["conflict"].any()


def test_item_is_locked_for_others_until_it_is_left_or_taken_over(browser: Browser, run: Path) -> None:
    # One server each, as two people on one machine have it, on the same log.
    with (
        serving(run, reviewer="ann") as hers, serving(run, reviewer="bob") as his, screen_of(browser) as ann,
        screen_of(browser, REFUSED) as bob,
    ):  # fmt: skip
        ann.open(hers.url)
        first = ann.item
        # Whoever begins gets another item than the one that somebody is on.
        bob.open(his.url)
        second = bob.item
        assert second != first
        assert "ann is on it" in bob.page.inner_text(f"#rows [data-item='{first}']")
        bob.open_again(first)
        assert "ann is on this item" in bob.page.inner_text("#lock")
        assert bob.page.is_disabled("#do-accept")
        bob.keys("a")
        bob.page.wait_for_selector("#status.refused:text('ann is on this item')")
        bob.page.focus("#take-over")
        bob.go("Enter")
        assert not bob.page.locator("#lock").count()
        # Now ann is refused; nothing of hers is written, and she is told.
        ann.keys("a")
        ann.page.wait_for_selector("#status.refused:text('bob is on this item')")
        ann.check(REFUSED)
        assert log_of(run) == ()
        bob.go("a")
        assert [event.reviewer for event in log_of(run)] == ["bob"]
        # He has gone on, so it is free again.
        ann.open_again(first)
        assert not ann.page.locator("#lock").count()
        ann.go("a")
        hers.stop()
        his.stop()
    assert [event.reviewer for event in log_of(run)] == ["bob", "ann"]


def test_blind_reviewers_see_each_other_only_after_their_own_decision(browser: Browser, run: Path) -> None:
    with (
        serving(run, "--blind", reviewer="ann") as hers, serving(run, "--blind", reviewer="bob") as his,
        screen_of(browser) as ann, screen_of(browser) as bob,
    ):  # fmt: skip
        ann.open(hers.url)
        item = ann.item
        ann.keys("n")
        ann.page.keyboard.type("secret thought")
        ann.go("Control+Enter")
        ann.go("1")
        bob.open(his.url)
        # No locks either: they would tell.
        assert bob.item == item
        assert (bob.status, bob.progress("decided")) == ("open", 0)
        shown = bob.page.inner_text("body")
        assert "ann" not in re.findall(r"\w+", shown)
        assert "secret thought" not in bob.page.content()
        bob.go("2")
        bob.open_again(item)
        assert bob.status == "conflict"
        assert "secret thought" in bob.page.inner_text("#history")
        hers.stop()
        his.stop()
    assert check_applied(run)["conflict"].any()


# Named users ------------------------------------------------------------------------------------------------------------


def test_named_users_log_in_and_out_by_keyboard(browser: Browser, run: Path) -> None:
    with serving(run, "--host", "0.0.0.0") as server, screen_of(browser, REFUSED) as screen:
        assert "token" not in server.url
        page = screen.page
        page.goto(f"{address(server)}item/{Pack.open(run).items['item_id'][3]}")
        assert page.url.endswith("/login")
        assert page.locator("h1").inner_text() == "Log in"
        for name, word in (("ann", "wrong password"), ("nobody", WORDS["ann"])):
            page.fill("#name", "")
            page.focus("#name")
            page.keyboard.type(name)
            screen.keys("Tab")
            page.keyboard.type(word)
            with page.expect_navigation():
                screen.keys("Enter")
            assert page.inner_text("#problem[role=alert]") == "Name or password is wrong."
            assert page.input_value("#name") == name
            assert page.input_value("#password") == ""
        enter(screen, server, "ann")
        screen.go("a")
        page.get_by_role("button", name="Log out").focus()
        with page.expect_navigation():
            screen.keys("Enter")
        assert page.url.endswith("/login")
        page.goto(address(server))
        assert page.url.endswith("/login")
        # What the browser kept is not shown again either.
        page.go_back()
        assert "Accepted" not in page.inner_text("body")
        server.stop()
    assert [event.reviewer for event in log_of(run)] == ["ann"]


def test_sessions_of_named_users_outlive_the_server_and_another_name_sends_nothing(browser: Browser, run: Path) -> None:
    with screen_of(browser, OFFLINE, REFUSED) as screen, serving(run, "--host", "0.0.0.0") as before:
        enter(screen, before, "ann")
        before.stop()
        screen.keys("a")
        screen.page.wait_for_selector("#lost:not([hidden])")
        with serving(run, "--host", "0.0.0.0", port=before.port) as after:
            # Somebody else logs in in this browser: ann's press is not sent under that name.
            screen.page.context.clear_cookies()
            enter(other := Screen(screen.page.context.new_page()), after, "bob")
            screen.page.bring_to_front()
            screen.keys("r")
            screen.page.wait_for_selector("#lost-text:text('you are bob now')")
            assert log_of(run) == ()
            other.page.get_by_role("button", name="Log out").focus()
            with other.page.expect_navigation():
                other.keys("Enter")
            enter(other, after, "ann")
            other.check()
            screen.page.bring_to_front()
            assert screen.go("r").startswith("Accepted")
            after.stop()
    assert [(event.reviewer, event.action) for event in log_of(run)] == [("ann", Action.ACCEPT)]


# Killed ---------------------------------------------------------------------------------------------------------------


def test_killed_server_loses_no_accepted_decision_and_doubles_none(browser: Browser, run: Path) -> None:
    """Fifty times: accept, SIGKILL at a random moment before or after the answer, start again, send again if need be."""
    rng = random.Random(20)
    command = [sys.executable, str(Path(__file__).with_name("nursery.py")), str(run), "ann"]
    nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def born(port: int) -> tuple[int, str]:
        print(port, file=nursery.stdin)
        pid, url = nursery.stdout.readline().split()  # type: ignore[union-attr]
        return int(pid), url

    def times(item: str) -> int:
        return sum(event.item_id == item for event in log_of(run))

    said, items = {"accepted": 0, "lost, not written": 0, "lost, but written": 0}, []
    try:
        pid, url = born(0)
        port = int(re.search(r":(\d+)/", url)[1])  # type: ignore[index]
        with screen_of(browser, OFFLINE, REFUSED) as screen:
            screen.open(url)
            for _ in range(ROUNDS):
                item = screen.item
                items.append(item)
                screen.page.evaluate("document.getElementById('screen').dataset.old = 'yes'")
                killer = threading.Timer(rng.uniform(0, 0.06), os.kill, (pid, signal.SIGKILL))
                killer.start()
                screen.keys("a")
                killer.join()
                screen.page.wait_for_selector("#lost:not([hidden]), #screen:not([data-old])", state="attached")
                lost = screen.page.is_visible("#lost")
                written = times(item)
                assert written in ((0, 1) if lost else (1,))
                said["accepted" if not lost else "lost, but written" if written else "lost, not written"] += 1
                pid, url = born(port)
                assert url.startswith(f"http://127.0.0.1:{port}/")
                # Whoever opens the new address has a session again, in every tab.
                screen.page.context.request.get(url)
                if lost:
                    screen.go("r")
                    assert times(item) == 1
                else:
                    screen.open(screen.page.url)
                assert screen.item not in items
            assert screen.progress("decided") == ROUNDS
    finally:
        nursery.stdin.close()  # type: ignore[union-attr]
        nursery.stdout.read()  # type: ignore[union-attr]
        nursery.stdout.close()  # type: ignore[union-attr]
        assert nursery.wait(timeout=30) == 0
    events = log_of(run)
    assert [(event.item_id, event.action) for event in events] == [(item, Action.ACCEPT) for item in items]
    assert said["lost, not written"] > 0, said
