"""Measure the main job on real data and the reducer at scale; print tables and write ``benchmarks.json``.

Run with ``make bench``. Times are processor seconds of one run on whatever machine this is: compare them side by side,
do not compare them between machines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from celljury.config import Config
from celljury.jury import Jury
from celljury.ontology.load import load_ontology
from celljury.reduce import reduce_votes

if TYPE_CHECKING:
    from celljury.run import Run

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TRUTH = "cell_type_ontology_term_id"


def scores(truth: pd.Series, called: pd.Series) -> dict[str, float]:
    """Accuracy, macro F1 over the types in the query, and the share of cells whose true term is at or below the call."""
    ontology = load_ontology()
    said = called.astype(object).where(called.notna(), "none")
    known = said != "none"
    above = np.zeros(len(said), bool)
    above[known] = ontology.is_ancestor(ontology.indices(said[known]), ontology.indices(truth[known]))
    return {
        "accuracy": round(accuracy_score(truth, said), 4),
        "macro_f1": round(f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0), 4),
        "true_at_or_below": round(float(above.mean()), 4),
    }


def majority(calls: pd.DataFrame, members: list[str]) -> pd.Series:
    """Most voted term; of equals the first in alphabetical order."""
    votes = calls[[f"vote_{name}" for name in members]].astype(object)
    return votes.apply(lambda row: row.value_counts().sort_index(kind="stable").idxmax(), axis=1)


def pair_p1(folder: Path, seed: int) -> dict[str, object]:
    """P1: 10x 3' v1 and v2 as reference, 5' as query."""
    cells = ad.read_h5ad(SHARED / "pbmc_symphony_3tech.h5ad")
    query = (cells.obs["batch"] == "5p").to_numpy()
    cells[~query].copy().write_h5ad(folder / "reference.h5ad")
    cells[query].copy().write_h5ad(folder / "query.h5ad")
    started = time.perf_counter()
    jury = Jury.fit(
        folder / "reference.h5ad", labels=TRUTH, batch="batch", out=folder / "jury", config=Config(seed=seed)
    )
    fit_wall = time.perf_counter() - started
    truth = cells.obs.loc[query, TRUTH].astype(str)
    rows: dict[str, dict[str, float]] = {}
    rules = {
        "lca": {},
        "quorum 0.5": {"reduce__rule": "quorum", "reduce__quorum": 0.5},
        "quorum 0.7": {"reduce__rule": "quorum", "reduce__quorum": 0.7},
        "quorum 0.5 on pooled mass": {"reduce__rule": "quorum", "reduce__quorum": 0.5, "reduce__on": "mass"},
        "quorum 0.9 on pooled mass": {"reduce__rule": "quorum", "reduce__quorum": 0.9, "reduce__on": "mass"},
    }
    runs: dict[str, Run] = {}
    for rule, changes in rules.items():
        config = Config.read(base=jury.config, **changes)
        runs[rule] = jury.annotate(folder / "query.h5ad", out=folder / rule.replace(" ", "_"), config=config)
    calls = runs["lca"].calls
    members = [member["name"] for member in runs["lca"].record["members"]]
    for name in members:
        rows[name] = scores(truth, calls[f"vote_{name}"])
    rows["majority"] = scores(truth, majority(calls, members))
    for rule, run in runs.items():
        found = run.calls
        rows[rule] = scores(truth, found["term"]) | {
            "mean_depth": round(float(found["depth"].mean()), 2),
            "review_share": round(float(found["needs_review"].mean()), 4),
        }
    record = runs["lca"].record
    return {
        "n_reference": int((~query).sum()), "n_query": int(query.sum()), "seed": seed, "scores": rows,
        "fit": {"cpu_seconds": jury.about["cpu_seconds"], "wall_seconds": round(fit_wall, 1),
                "peak_memory_mb": jury.about["peak_memory_mb"],
                "members_cpu_seconds": {m["name"]: m["cpu_seconds"] for m in jury.about["members"]}},
        "annotate": {"cpu_seconds": record["cpu_seconds"], "peak_memory_mb": record["peak_memory_mb"],
                     "members_cpu_seconds": {m["name"]: m["cpu_seconds"] for m in record["members"]}},
    }  # fmt: skip


def many_votes(n_cells: int, n_tools: int, *, seed: int = 0) -> np.ndarray:
    """Ontology indices of made votes: 60 types, one vote in ten on another type, one in fifty empty."""
    ontology = load_ontology()
    rng = np.random.default_rng(seed)
    types = rng.choice(ontology.descendants(ontology.index("CL:0000000")), 60, replace=False)
    votes = np.repeat(types[rng.integers(60, size=n_cells)][:, None], n_tools, axis=1)
    wrong = rng.random(votes.shape) < 0.1
    votes[wrong] = types[rng.integers(60, size=wrong.sum())]
    votes[rng.random(votes.shape) < 0.02] = -1
    return votes.astype(np.int32)


def vote_at_scale(folder: Path, n_cells: int, n_tools: int) -> dict[str, object]:
    """``celljury vote`` on a table, in a process of its own, and the reducer's part alone."""
    ontology = load_ontology()
    votes = many_votes(n_cells, n_tools)
    started = time.perf_counter()
    reduce_votes(votes, ontology, threshold=1.0, too_general=np.zeros(len(ontology), bool))
    reducer = time.perf_counter() - started
    ids = np.array([*ontology.ids, ""])
    table = pd.DataFrame({f"tool{j}": pd.Categorical.from_codes(votes[:, j] % len(ids), ids) for j in range(n_tools)})
    table.insert(0, "cell_id", [f"cell{i}" for i in range(n_cells)])
    table.to_csv(folder / "votes.tsv", sep="\t", index=False)
    del table
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    columns = ",".join(f"tool{j}" for j in range(n_tools))
    code = "from celljury.cli import main; main()"
    command = [sys.executable, "-c", code, "vote", str(folder / "votes.tsv"), "--columns", columns, "--out"]
    subprocess.run([*command, str(folder / "vote"), "--json"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    record = json.loads((folder / "vote" / "run.json").read_text())
    return {
        "n_cells": n_cells, "n_tools": n_tools, "reducer_wall_seconds": round(reducer, 2),
        "command_wall_seconds": round(time.perf_counter() - started, 1),
        "command_cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_memory_mb": record["total"]["peak_memory_mb"]["main"],
        "n_items": sum(1 for _ in (folder / "vote" / "queue.tsv").open()) - 1,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vote-cells", type=int, default=1_000_000)
    options = parser.parse_args()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        found["vote"] = vote_at_scale(Path(name), options.vote_cells, 10)
        print(json.dumps(found["vote"], indent=1))
        if SHARED.is_dir():
            p1 = pair_p1(Path(name), options.seed)
            found["P1"] = p1
            print(pd.DataFrame(p1["scores"]).T.to_string())
            print(json.dumps({key: p1[key] for key in ("fit", "annotate")}, indent=1))
        else:
            print("P1 skipped: needs ../shared/data (real data sets that are not part of the repository)")
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
