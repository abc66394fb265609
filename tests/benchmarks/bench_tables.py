"""The Markdown of a bench: tables with the numbers of ``benchmarks.json`` and the few words needed to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas_tables import atlas_parts
from bench_markdown import number, section, table
from bench_targets import target_rows
from pair_tables import pair_parts
from unseen_tables import unseen_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS = """\
From the project's design."""
FIGURES = (
    ("risk_coverage", "error as calls with less support are left out, P1 to P4 together"),
    ("reliability", "support against the share that is right, the same cells"),
    ("error_by_depth", "error by depth of the call, the same cells"),
    ("unseen_roc", "1 - p_seen on the five pairs with a type left out"),
)


def markdown(found: Mapping[str, Any]) -> str:
    """Return the whole report; parts that were not run are left out."""
    targets = table(("what", "wanted", "found", "met"), target_rows(found))
    parts = [_head(found), f"## Targets\n\n{TARGETS}\n\n{targets}"]
    if pairs := found.get("pairs"):
        parts += pair_parts(pairs)
    if unseen := found.get("unseen"):
        parts += unseen_parts(unseen, found.get("pairs", {}))
    if atlas := found.get("atlas"):
        parts += atlas_parts(atlas)
    parts += _costs(found)
    pictures = [f"![{text}](pictures/bench_{name}.png)\n\n*{text[0].upper()}{text[1:]}.*" for name, text in FIGURES]
    parts += ["## Pictures", *pictures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(found: Mapping[str, Any]) -> str:
    versions = found["versions"]
    return (
        "# Benchmarks\n\n"
        "Made by `make bench`, which prints this page and writes `benchmarks.json`; juries and runs are kept in"
        " `build/bench`, so that an interrupted bench goes on. Needs the real sets of `../shared/data`.\n\n"
        f"celljury {versions['celljury']}, Python {versions['python']}, {found['machine']}; seed 0, one thread a member,"
        " default settings and members unless said."
    )


def _costs(found: Mapping[str, Any]) -> list[str]:
    parts = []
    rows = []
    named = {name: p["cost"] for name, p in found.get("pairs", {}).items() if "cost" in p}
    atlas = {f"S, {name}": cost for name, cost in found.get("atlas", {}).get("cost", {}).items() if "seed 0" in name}
    for name, cost in (named | atlas).items():
        for step in ("fit", "annotate"):
            c = cost[step]
            own = number(c["cpu_main"] + c["cpu_members"], 1) if step == "annotate" else ""
            rows.append((
                name, step, number(c["cpu_seconds"], 1), own,
                f"{c['main_mb']:,.0f}", f"{c['largest_worker_mb']:,.0f}",
                f"{c['together_mb']:,.0f}" if c["together_mb"] else "",
                ", ".join(f"{member} {seconds:.1f}" for member, seconds in c["members"].items()),
            ))  # fmt: skip
    if rows:
        parts.append(section(
            "Cost",
            "Processor seconds of all processes, imports and held-out folds included; for a query also without the workers'"
            " imports. MB: highest of the main process, of the largest worker, and the largest sum over all processes at"
            " one moment (two workers run side by side; pages that processes share count in each). The last column is the"
            " members' own fit on the whole reference, or their vote. popV 0.6.1 on P1: 518 s and 4.0 GB (plus 4 GB in"
            " CellTypist's workers), a further query 8.7 s without imports.",
            table(("run", "step", "processor s", "without imports", "main MB", "largest worker MB",
                   "together MB", "members' processor s"), rows),
        ))  # fmt: skip
    if vote := found.get("vote"):
        parts.append(section(
            "A million cells: votes to calls", "`celljury vote` on a table, and its reducer alone.",
            table(("cells", "tools", "reducer, wall s", "processor s", "command, wall s", "processor s", "peak MB",
                   "queue items"),
                  [(f"{vote['n_cells']:,}", str(vote["n_tools"]), number(vote["reducer_wall_seconds"], 2),
                    number(vote["reducer_cpu_seconds"], 2),
                    number(vote["command_wall_seconds"], 1), number(vote["command_cpu_seconds"], 1),
                    f"{vote['peak_memory_mb']:,.0f}", f"{vote['n_items']:,}")]),
        ))  # fmt: skip
    if walk := found.get("walk"):
        parts.append(section(
            "A million cells: the calibrated walk",
            "Pooled mass over all labels (dense) or on 10 to 30 of them (sparse); the walk alone, and the whole reduction"
            " with five members' votes. Peak includes the mass itself.",
            table(("cells", "labels", "mass", "threads", "walk, wall s", "processor s", "whole reduction, wall s",
                   "processor s", "peak MB"),
                  [(f"{row['n_cells']:,}", str(row["n_labels"]), row["mass"], str(row["threads"]),
                    number(row["walk_wall_seconds"], 2), number(row["walk_cpu_seconds"], 2),
                    number(row["reduce_wall_seconds"], 2), number(row["reduce_cpu_seconds"], 2),
                    f"{row['peak_memory_mb']:,.0f}") for row in walk]),
        ))  # fmt: skip
    if review := found.get("review"):
        parts.append(_review(review))
    return ["## Cost and scale", *parts] if parts else []


def _review(review: Mapping[str, Any]) -> str:
    browser, writing = review["browser"] or {}, review["writing"]
    timed = [
        ("page of an item over HTTP", review["pages"]),
        (f"the same with {writing['n']:,} decisions in the log", review["pages_with_log"]),
        ("points of one of the largest items", review["points"]),
    ]
    if browser:
        timed += [("Chromium: from a key to the next item", browser["shown"]),
                  ("Chromium: from a key to its cells drawn", browser["drawn"])]  # fmt: skip
    memory = review["memory_with_log_mb"]
    loaded = (
        f" Chromium shows the first page {number(browser['load_seconds'], 2)} s after it is given the address, its cells"
        f" {number(browser['drawn_seconds'], 2)} s after."
        if browser else ""
    )  # fmt: skip
    return section(
        f"The review of {review['n_cells']:,} cells, {review['n_items']:,} items",
        f"`celljury review` on a made run whose pack is there. From the command to its first byte"
        f" {number(review['first_byte_seconds'], 2)} s, to the whole first page {number(review['first_page_seconds'], 2)} s"
        f" ({number(review['page_kb'], 0)} kB).{loaded} Memory of the server at most {memory['peak']:,.0f} MB,"
        f" {memory['own']:,.0f} MB without mapped files. Two processes write {writing['n']:,} decisions, each a transaction"
        f" that is on the disk, in {number(writing['seconds'], 1)} s: {writing['per_second']:,.0f} a second; the slowest took"
        f" {number(writing['worst_ms'], 0)} ms.",
        table(("what", "n", "median ms", "95 % ms", "worst ms"),
              [(said, str(t["n"]), number(t["median"], 0), number(t["q95"], 0), number(t["worst"], 0))
               for said, t in timed]),
    )  # fmt: skip
