"""The review at a million cells and 5,000 items: page times over HTTP and in the browser, start, memory, decisions a second."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import HTTPCookieProcessor, build_opener

import numpy as np
import psutil
from review_pack import made_run
from review_site import chromium, chromium_path, serving

from celljury.review.decisions import Decisions, Draft, new_key
from celljury.review.events import Action, Outcome
from celljury.review.pack import Pack

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from playwright.sync_api import Page
    from review_site import Server

N_ITEMS, N_REVIEW = 5_000, 120_000
N_PAGES, N_PRESSES = 60, 60
N_WRITERS, N_DECISIONS = 2, 1_000


def review_report(work: Path, *, n_cells: int = 1_000_000, n_items: int = N_ITEMS) -> dict[str, Any]:
    """Serve a made run (kept in ``work``) and measure it, with an empty log and again with 2,000 decisions in it."""
    run = work / f"review-{n_cells}-{n_items}"
    if not (run / "review" / "pack" / "pack.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        made_run(run, n_cells=n_cells, n_items=n_items, n_review=max(N_REVIEW * n_cells // 1_000_000, 2 * n_items))
    for file in (run / "review").glob("decisions.sqlite*"):
        file.unlink()
    items = Pack.open(run).items["item_id"].to_numpy()
    found: dict[str, Any] = {"n_cells": n_cells, "n_items": n_items}
    started = time.perf_counter()
    with serving(run) as server:
        found["address_seconds"] = round(time.perf_counter() - started, 2)
        web = build_opener(HTTPCookieProcessor(CookieJar()))
        with web.open(server.url) as answer:
            answer.read(1)
            found["first_byte_seconds"] = round(time.perf_counter() - started, 2)
            found["page_kb"] = round((1 + len(answer.read())) / 1000, 1)
        found["first_page_seconds"] = round(time.perf_counter() - started, 2)
        found["pages"] = _pages(web, server, items, seed=0)
        found["browser"] = _in_browser(server)
        found["points"] = _points(web, server, items)
        found["memory_mb"] = _peak_mb(server)
        server.stop()
    found["writing"] = _writing(run)
    with serving(run) as server:
        web = build_opener(HTTPCookieProcessor(CookieJar()))
        web.open(server.url).close()
        found["pages_with_log"] = _pages(web, server, items, seed=1)
        found["memory_with_log_mb"] = _peak_mb(server)
        server.stop()
    return found


def _pages(web: OpenerDirector, server: Server, items: np.ndarray, *, seed: int) -> dict[str, float]:
    """Whole pages of items drawn from all over the queue."""
    chosen = np.random.default_rng(seed).choice(items, N_PAGES, replace=False)
    return _summary([_get(web, f"http://127.0.0.1:{server.port}/item/{item}") for item in chosen])


def _points(web: OpenerDirector, server: Server, items: np.ndarray) -> dict[str, float]:
    """The packed cells of the largest items, and the background."""
    at = f"http://127.0.0.1:{server.port}"
    largest = [_get(web, f"{at}/item/{item}/points") for item in items[:20]]
    return _summary(largest) | {"background": round(1000 * _get(web, f"{at}/points"), 1)}


def _get(web: OpenerDirector, url: str) -> float:
    started = time.perf_counter()
    with web.open(url) as answer:
        answer.read()
    return time.perf_counter() - started


def _in_browser(server: Server) -> dict[str, Any] | None:
    """First load in Chromium, and from the press of a key to the next item on the screen, and to its cells drawn."""
    path = chromium_path()
    if path is None:
        return None
    with chromium(path) as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 960})
        started = time.perf_counter()
        page.goto(server.url)
        shown = time.perf_counter() - started
        page.wait_for_selector("#embedding[data-drawn]")
        drawn = time.perf_counter() - started
        page.evaluate(_WATCH)
        steps = [_press(page, key) for key in ("a", "ArrowRight", "1") * (N_PRESSES // 3)]
    return {
        "load_seconds": round(shown, 2), "drawn_seconds": round(drawn, 2),
        "shown": _summary([step[0] for step in steps]), "drawn": _summary([step[1] for step in steps]),
    }  # fmt: skip


# Times are taken in the page: asking it from outside takes some of its own. Two frames after the exchange it is painted.
_WATCH = """() => {
  document.addEventListener("keydown", () => { window.pressed = performance.now(); window.shown = window.cells = 0; }, true);
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "term-options") return;
    requestAnimationFrame(() => requestAnimationFrame(() => { window.shown = performance.now() - window.pressed; }));
    const canvas = document.getElementById("embedding");
    new MutationObserver(() => { if (canvas.dataset.drawn) window.cells = performance.now() - window.pressed; })
      .observe(canvas, {attributes: true});
  });
}"""


def _press(page: Page, key: str) -> tuple[float, float]:
    page.evaluate("document.getElementById('screen').dataset.old = 'yes'")
    page.keyboard.press(key)
    page.wait_for_selector("#screen:not([data-old]) #embedding[data-drawn]", state="attached")
    shown, drawn = page.evaluate(
        "new Promise((f) => { const look = () => shown && cells ? f([shown, cells]) : setTimeout(look, 5); look(); })"
    )
    return shown / 1000, drawn / 1000


def _peak_mb(server: Server) -> dict[str, float]:
    """Highest memory since the start, and now without what the file system can take back (mapped files)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    return {"peak": round(peak), "own": round(psutil.Process(server.process.pid).memory_full_info().uss / 2**20)}


def _writing(run: Path) -> dict[str, float]:
    """Two processes that write decisions at once, each on its own items, as reviewers do: one press, one transaction."""
    command = [sys.executable, __file__, str(run)]
    writers = [
        subprocess.Popen([*command, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(N_WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    started = time.perf_counter()
    said = [writer.communicate("\n")[0] for writer in writers]
    wall = time.perf_counter() - started
    n = N_WRITERS * N_DECISIONS
    return {
        "n": n, "seconds": round(wall, 2), "per_second": round(n / wall, 1),
        "worst_ms": round(max(json.loads(line)["worst"] for line in said), 1),
    }  # fmt: skip


def _write(run: Path, who: int) -> None:
    items = Pack.open(run).items.iloc[who::N_WRITERS].iloc[:N_DECISIONS]
    worst = 0.0
    with Decisions.open(run / "review" / "decisions.sqlite") as log:
        print("ready", flush=True)
        sys.stdin.readline()
        for item, evidence in zip(items["item_id"], items["evidence"], strict=True):
            began = time.perf_counter()
            draft = Draft(new_key(), f"w{who}", item, Action.UNSEEN, evidence, after=Outcome("", "unseen"))
            log.append([draft])
            worst = max(worst, time.perf_counter() - began)
    print(json.dumps({"worst": 1000 * worst}))


def _summary(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ms = 1000 * np.asarray(seconds)
    return {
        "n": len(ms), "median": round(float(np.median(ms)), 1), "q95": round(float(np.quantile(ms, 0.95)), 1),
        "worst": round(float(ms.max()), 1),
    }  # fmt: skip


if __name__ == "__main__":
    _write(Path(sys.argv[1]), int(sys.argv[2]))
