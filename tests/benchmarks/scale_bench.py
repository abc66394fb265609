"""The reducer and the walk on a million cells."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from celljury.ontology.load import load_ontology
from celljury.reduce import reduce_mass, reduce_votes
from celljury.walk import climb

if TYPE_CHECKING:
    from pathlib import Path

N_LABELS = 164  # types in a full-body reference at CELLxGENE's granularity
N_MEMBERS = 5
CHUNK = 50_000


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


def vote_at_scale(folder: Path, n_cells: int, n_tools: int) -> dict[str, Any]:
    """``celljury vote`` on a table, in a process of its own, and the reducer's part alone."""
    ontology = load_ontology()
    votes = many_votes(n_cells, n_tools)
    started, cpu = time.perf_counter(), time.process_time()
    reduce_votes(votes, ontology, threshold=1.0, too_general=np.zeros(len(ontology), bool))
    reducer, cpu = time.perf_counter() - started, time.process_time() - cpu
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
        "reducer_cpu_seconds": round(cpu, 2),
        "command_wall_seconds": round(time.perf_counter() - started, 1),
        "command_cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_memory_mb": record["total"]["peak_memory_mb"]["main"],
        "n_items": sum(1 for _ in (folder / "vote" / "queue.tsv").open()) - 1,
    }  # fmt: skip


def walk_at_scale(n_cells: int) -> list[dict[str, Any]]:
    """Walks over pooled mass, each setting in a process of its own: the number of threads is set when it starts."""
    rows = []
    for mass in ("dense", "sparse"):
        for threads in (1, 2):
            command = [sys.executable, __file__, mass, str(threads), str(n_cells)]
            limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | limits)
            rows.append(json.loads(done.stdout))
    return rows


def made_mass(n_cells: int, types: np.ndarray, n_terms: int, *, dense: bool, seed: int = 0) -> csr_matrix:
    """Pooled mass on all labels, or on 10 to 30 of them; CSR float32 (n_cells, n_terms), rows sum to 1."""
    rng = np.random.default_rng(seed)
    width = np.full(n_cells, len(types)) if dense else rng.integers(10, 31, n_cells)
    indptr = np.concatenate([[0], np.cumsum(width)]).astype(np.int32)
    values = np.empty(indptr[-1], np.float32)
    columns = np.empty(indptr[-1], np.int32)
    for start in range(0, n_cells, CHUNK):
        n = min(CHUNK, n_cells - start)
        # Peaked, as probabilities are: cubes of exponentials.
        mass = rng.standard_exponential((n, len(types)), np.float32) ** 3
        if not dense:
            rank = rng.random((n, len(types)), np.float32).argsort(axis=1).argsort(axis=1)
            mass *= rank < width[start : start + n, None]
        mass /= mass.sum(axis=1, keepdims=True)
        kept = np.ones_like(mass, bool) if dense else rank < width[start : start + n, None]
        here = slice(indptr[start], indptr[start + n])
        values[here] = mass[kept]
        columns[here] = np.broadcast_to(types, mass.shape)[kept]
    return csr_matrix((values, columns, indptr), shape=(n_cells, n_terms))


def _walk(mass: str, threads: int, n_cells: int) -> dict[str, Any]:
    ontology = load_ontology()
    rng = np.random.default_rng(0)
    types = np.sort(rng.choice(ontology.descendants(ontology.index("CL:0000000")), N_LABELS, replace=False))
    pooled = made_mass(n_cells, types.astype(np.int32), len(ontology), dense=mass == "dense")
    votes = types[rng.integers(N_LABELS, size=(n_cells, N_MEMBERS))].astype(np.int32)
    started, cpu = time.perf_counter(), time.process_time()
    climb(pooled, ontology, threshold=0.8)
    walked, walked_cpu = time.perf_counter(), time.process_time()
    reduce_mass(pooled, votes, ontology, threshold=0.8, too_general=np.zeros(len(ontology), bool), climb=True)
    return {
        "mass": mass, "threads": threads, "n_cells": n_cells, "n_labels": N_LABELS, "n_values": int(pooled.nnz),
        "walk_wall_seconds": round(walked - started, 2),
        "walk_cpu_seconds": round(walked_cpu - cpu, 2),
        "reduce_wall_seconds": round(time.perf_counter() - walked, 2),
        "reduce_cpu_seconds": round(time.process_time() - walked_cpu, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(_walk(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
