"""Tables and the whole report of a million cells: 20 samples of 20 donors in 2 conditions, each in a process of its own.

``python tests/benchmarks/tables_bench.py FOLDER [N_CELLS]`` makes the run in FOLDER (or takes the one there) and says what
its tables and its report took.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from review_pack import made_run

from celljury.beside import run_cells
from celljury.origin import ontology_of
from celljury.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

N_DONORS = 20
LEVELS = ("cell_class", "cell_subclass", "term")


def tables_report(work: Path, *, n_cells: int = 1_000_000) -> dict[str, Any]:
    """Measure the tables and the report of a made run (kept in ``work``); seconds, CPU seconds, MB."""
    run = work / f"tables-{n_cells}"
    if not (run / "donors.parquet").exists():
        shutil.rmtree(run, ignore_errors=True)
        made_run(run, n_cells=n_cells, n_items=min(5_000, n_cells // 50), n_review=n_cells // 8, n_samples=N_DONORS)
        _write_donors(Run.open(run))
    return {"n_cells": n_cells} | {name: _apart(name, run) for name in PARTS}


def _write_donors(run: Run) -> None:
    """Write donors and conditions beside the cells: a donor is a sample, every second one is treated."""
    batch = np.concatenate([part["_batch"].to_numpy() for part in run.parts("votes", columns=["_batch"])])
    donors = pa.array([f"donor {i + 1}" for i in range(N_DONORS)])
    conditions = pa.array(["control", "treated"])
    columns = {
        "donor": pa.DictionaryArray.from_arrays(pa.array(batch.astype(np.int32)), donors),
        "condition": pa.DictionaryArray.from_arrays(pa.array((batch % 2).astype(np.int32)), conditions),
    }
    partial = run.folder / "donors.parquet.partial"
    pq.write_table(pa.table({"cell_id": run_cells(run), **columns}), partial)
    partial.replace(run.folder / "donors.parquet")


def _apart(part: str, run: Path) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, part, str(run)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) | {"process_seconds": round(time.perf_counter() - started, 1)}


def _tables(folder: Path) -> dict[str, Any]:
    """Count and make every table of three levels by sample, donor and condition; nothing is written."""
    from celljury.report.cell_tables import cell_tables
    from celljury.report.counted import counted_cells
    from celljury.report.donor_tables import donor_tables
    from celljury.report.groups import read_groups
    from celljury.report.levels import load_levels

    run = Run.open(folder)
    ontology = ontology_of(run)
    groups = read_groups(run, donor="donor", condition="condition", query=folder / "donors.parquet")
    counted, levels = counted_cells(run, ontology, groups=groups), load_levels(ontology, LEVELS)
    made = [*cell_tables(counted, levels), *donor_tables(counted, levels)]
    total = int(made[0].rows["n_cells"].iloc[-1])
    assert total == counted.n_cells
    return {"n_tables": len(made), "n_rows": sum(len(table.rows) for table in made)}


def _report(folder: Path) -> dict[str, Any]:
    """Make the report as the command does: tables in all formats, figures, page."""
    from celljury.report.make import make_report

    out = folder / "report"
    made = make_report(
        Run.open(folder), levels=LEVELS, donor="donor", condition="condition", query=folder / "donors.parquet", out=out
    )
    return {
        "n_tables": len(made.tables), "n_figures": len(made.figures), "n_files": len(made.written),
        "page_mb": round(made.page.stat().st_size / 1e6, 2),
    }  # fmt: skip


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {"tables": _tables, "report": _report}


def _measured(part: str, folder: Path) -> dict[str, Any]:
    started, cpu = time.perf_counter(), time.process_time()
    found = PARTS[part](folder)
    return found | {
        "wall_seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] in PARTS:
        print(json.dumps(_measured(sys.argv[1], Path(sys.argv[2]))))
    else:
        work = Path(sys.argv[1])
        work.mkdir(parents=True, exist_ok=True)
        n = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
        print(json.dumps(tables_report(work, n_cells=n), indent=1))
