"""The review in Chromium from end to end on the demo's real cells, and on a queue of 5,000 items."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from browser import Screen, log_of, screen_of
from replayed import final_by_replay, final_in_file, rows_of_log
from review_pack import made_run
from review_site import celljury, serving

from celljury.config import Config
from celljury.demo import run_demo
from celljury.progress import silent
from celljury.review.lists import PAGE
from celljury.review.pack import Pack

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

N_ITEMS = 5_000


# From the demo to the final table ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's run with its two quickest members."""
    config = Config(members=("logistic", "singler"), engine="local", calibration={"folds": 2}, embedding="pca")
    _, run = run_demo(tmp_path_factory.mktemp("demo") / "demo", config=config, overwrite=False, progress=silent)
    return run.folder


def test_demo_reviewed_by_keyboard_and_applied_is_the_log_replayed(browser: Browser, demo: Path) -> None:
    pack = Pack.open(demo)
    with serving(demo, reviewer="curator") as server, screen_of(browser) as screen:
        screen.open(server.url)
        screen.wait_for_focus("item-title")
        first = screen.item
        for keys in (("a",), ("1",), ("x",), ("a",), ("n",), ("k",), ("1",), ("a",), ("z",), ("a",), ("x",), ("1",)):
            if keys == ("n",):
                screen.keys("n")
                screen.page.keyboard.type("CD34 looks high")
                keys = ("Control+Enter",)
            screen.go(*keys)
        split = screen.item
        assert pack.splits(split)[0] == "cluster"
        screen.go("s", "1")
        screen.go("a")
        screen.go("x")
        # A term that nobody voted for, by its synonym.
        assert screen.type_term("NK cell")[0] == "CL:0000623"
        screen.go("Enter")
        decided = screen.progress("decided")
        assert "Ended. Decisions are in" in server.stop()
    assert decided >= 10
    assert log_of(demo)[0].item_id == first
    assert len(rows_of_log(demo)) == len(log_of(demo)) == 16
    said = celljury("apply", demo)
    assert f"16 events; {pack.about['n_review']} of {pack.about['n_cells']} cells are for review." in said
    assert f"{decided} items" in said
    final = final_in_file(demo)
    pd.testing.assert_frame_equal(final, final_by_replay(demo), check_dtype=False)
    assert set(final["source"]) == {"call", "curator"}
    assert final["reviewed"].sum() > 10
    # The same log gives the same bytes.
    before = (demo / "final.parquet").read_bytes()
    celljury("apply", demo, "--no-h5ad")
    assert (demo / "final.parquet").read_bytes() == before


# A long queue -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("large") / "run"
    made_run(run, n_cells=30_000, n_items=N_ITEMS, n_review=20_000)
    return run


def listed(screen: Screen) -> list[str]:
    return [row.get_attribute("data-item") or "" for row in screen.page.locator("#rows .item").all()]


def test_queue_of_5000_items_is_paged_filtered_and_worked_through(browser: Browser, large: Path) -> None:
    pack = Pack.open(large)
    items = pack.items.set_index("item_id", drop=False)
    ids = pack.items["item_id"].tolist()
    assert len(ids) == N_ITEMS
    with serving(large) as server, screen_of(browser) as screen:
        page = screen.page
        screen.open(server.url)
        assert listed(screen) == ids[:PAGE]
        assert page.inner_text("#place") == f"item 1 of {N_ITEMS:,}"
        # The list goes on while the item stays, to its end and back.
        for wanted in (ids[PAGE : 2 * PAGE], ids[2 * PAGE : 3 * PAGE]):
            page.focus("#page-after")
            screen.go("Enter")
            assert listed(screen) == wanted
        assert screen.item == ids[0]
        page.focus("#page-before")
        screen.go("Enter")
        assert listed(screen) == ids[PAGE : 2 * PAGE]
        screen.open_again(ids[-1])
        assert listed(screen) == ids[-PAGE:]
        assert not page.locator("#page-after, #go-next").count()
        screen.go("a")
        assert screen.item == ids[0]
        # An item that is chosen in the list by Tab and Enter.
        page.focus(f"#rows [data-item='{ids[3]}']")
        screen.go("Enter")
        assert screen.item == ids[3]
        # Filters, each against the pack.
        page.focus("summary")
        screen.keys("Enter")
        page.focus("#filter-reason")
        with screen.new_screen():
            page.select_option("#filter-reason", "unseen")
        unseen = [i for i in ids if "unseen" in items.loc[i, "reasons"].split(";")]
        assert 0 < len(unseen) < N_ITEMS
        assert f"of {len(unseen):,} in this list" in page.inner_text("#head")
        assert screen.item == listed(screen)[0] == unseen[0]
        screen.go("x")
        assert screen.item == unseen[1]
        assert parse_qs(urlsplit(page.url).query)["reason"] == ["unseen"]
        page.focus("#filter-clear")
        screen.go("Enter")
        cell = items.loc[ids[2_500], "example_cells"].split(";")[0]
        screen.keys("f")
        page.keyboard.type(cell)
        screen.go("Enter")
        assert listed(screen) == [ids[2_500]]
        page.focus("#filter-clear")
        screen.go("Enter")
        page.focus("summary")
        screen.keys("Enter")
        with screen.new_screen():
            page.select_option("#filter-sample", "sample07")
        here = pack.about["samples"].index("sample07")
        rows = zip(ids, pack.items["start"], pack.items["stop"], strict=True)
        with_sample = [i for i, start, stop in rows if (pack.batch[start:stop] == here).any()]
        assert listed(screen) == with_sample[:PAGE]
        page.focus("#filter-clear")
        screen.go("Enter")
        page.focus(".chips a[data-status=decided]")
        screen.go("Enter")
        assert sorted(listed(screen)) == sorted([ids[-1], unseen[0]])
        assert screen.progress("items") == N_ITEMS
        assert screen.progress("decided") == 2
        # No page carries the whole queue.
        assert len(page.content()) < 250_000
        server.stop()
