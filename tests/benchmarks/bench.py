"""Measure everything that is reported: real pairs, types left out, the semi-synthetic atlas, a million cells, the review.

Run with ``make bench``: it prints Markdown tables and writes ``benchmarks.json``. Juries and runs are kept in ``--work``, and
a bench that was interrupted goes on there; remove the folder to measure anew. Times are those of one run on whatever
machine this is: compare them side by side, do not compare them between machines.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_figures
import bench_tables
from atlas_bench import SEEDS, atlas_report
from bench_runs import ready
from bench_targets import AVERAGED
from pair_bench import figure_tables, joined, pair_report
from pairs import PAIRS, SHARED
from review_bench import review_report
from scale_bench import vote_at_scale, walk_at_scale
from unseen_bench import unseen_report

from celljury.evaluate import _plain
from celljury.provenance import versions, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN = ("P1", "P2", "P3", "P3-200", "P4")
LEFT_OUT = ("U1", "U2", "U3", "U4", "U5")
NOTES = "## What was missed, and why"
PARTS = ("pairs", "unseen", "atlas", "vote", "walk", "review")
MADE = ("vote", "walk", "review")


def main() -> None:
    options = _options()
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # what is measured runs in processes that are started later
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    options.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"versions": versions(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    real = SHARED.is_dir()
    if not real:
        print("pairs, unseen and atlas skipped: they need ../shared/data (real sets, not part of the repository)")
    members = tuple(options.members.split(",")) if options.members else None

    def case(name: str) -> Any:
        print(f"[{name}]", flush=True)
        return ready(name, PAIRS[name], options.work, members=members, seed=options.seed)

    def part(name: str, make: Callable[[], Any]) -> None:
        if name in options.only and (real or name in MADE):
            found[name] = _plain(make())
            write_json(options.out, found)

    wanted = options.pairs.split(",") if options.pairs else [*KNOWN, *LEFT_OUT]
    # First what is timed, while this process is small and nothing of it is counted with the workers.
    part("pairs", lambda: {name: pair_report(case(name)) for name in KNOWN if name in wanted})
    part("unseen", lambda: {name: unseen_report(case(name)) for name in LEFT_OUT if name in wanted})
    part("atlas", partial(atlas_report, options.work, seeds=options.seeds, members=members, heavy=not members))
    with tempfile.TemporaryDirectory() as folder:
        part("vote", lambda: vote_at_scale(Path(folder), options.cells, 10))
    part("walk", lambda: walk_at_scale(options.cells))
    part("review", lambda: review_report(options.work, n_cells=options.cells))
    text = bench_tables.markdown(found)
    print(text)
    write_text(options.out.with_suffix(".md"), text)
    print(f"written: {options.out}, {options.out.with_suffix('.md')}")
    if options.docs:
        (options.docs / "pictures").mkdir(parents=True, exist_ok=True)
        write_text(options.docs / "benchmarks.md", _with_notes(text, options.docs / "benchmarks.md"))
        if cases := [case(name) for name in AVERAGED if name in found.get("pairs", {})]:
            bench_figures.draw_calls(options.docs / "pictures", figure_tables(joined(cases)))
        if left_out := {name: case(name) for name in LEFT_OUT if name in found.get("unseen", {})}:
            bench_figures.draw_rocs(options.docs / "pictures", left_out)
        print(f"written: {options.docs / 'benchmarks.md'}, {options.docs / 'pictures'}/bench_*.png")


def _with_notes(text: str, page: Path) -> str:
    """Return the page with the section that people wrote on an earlier one, before the pairs: why targets were missed."""
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    if NOTES not in before or "\n## Real pairs" not in text:
        return text
    written = NOTES + before.split(NOTES)[1].split("\n## ")[0].rstrip() + "\n"
    start, end = text.split("\n## Real pairs", 1)
    return f"{start}\n{written}\n## Real pairs{end}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"), help="JSON to write; .md beside it")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where juries and runs are kept")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--pairs", help=f"pairs, of {', '.join((*KNOWN, *LEFT_OUT))}")
    parser.add_argument("--members", help="members instead of the default six, for a quick look")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="seeds of the atlas")
    parser.add_argument("--seed", type=int, default=0, help="seed of the juries")
    parser.add_argument("--cells", type=int, default=1_000_000, help="cells of vote, walk and review")
    parser.add_argument("--docs", type=Path, help="folder for benchmarks.md and pictures, such as docs")
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.seeds = tuple(int(seed) for seed in options.seeds.split(","))
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only: expected {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if unknown := set((options.pairs or "P1").split(",")) - {*KNOWN, *LEFT_OUT}:
        parser.error(f"--pairs: expected {', '.join((*KNOWN, *LEFT_OUT))}, got {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    main()
