"""A made run of any size with a review queue and its pack, through the real reducer: for page times and browser tests.

``python tests/benchmarks/review_pack.py FOLDER [N_CELLS N_ITEMS N_REVIEW]`` writes one and says what it took.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from celljury.calls import make_calls
from celljury.config import Config
from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology
from celljury.ontology.relations import load_relations
from celljury.profiles import Profiles
from celljury.provenance import as_dict, now, versions, write_json, write_text
from celljury.reasons import Background, find_reasons
from celljury.reduce import Status
from celljury.review.packing import write_pack
from celljury.review.queue import build_queue
from celljury.run import Run, append_columns, join_calls, part_name, write_part
from celljury.signs import Signs
from celljury.votes import Votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.ontology.graph import CellOntology
    from celljury.review.pack import Pack

MEMBERS = ("logistic", "celltypist", "symphony", "singler", "scvi_knn", "scanvi", "popv", "azimuth")
N_CLUSTERS, N_COMPONENTS, CHUNK = 40, 20, 250_000


def made_run(
    folder: Path,
    *,
    n_cells: int = 1_000_000,
    n_items: int = 5_000,
    n_review: int = 120_000,
    n_members: int = 6,
    n_genes: int = 300,
    n_terms: int = 60,
    n_samples: int = 20,
    seed: int = 0,
    ontology: CellOntology | None = None,
    genes: Sequence[str] | None = None,
) -> Pack:
    """Write a run whose queue has ``n_items`` items of ``n_review`` cells (one item in twenty unseen), and return its pack.

    Parameters
    ----------
    folder
        To be made.
    ontology
        The installed release if None; every term that it has below "cell" may be drawn.
    genes
        Names of the marker genes, ``n_genes`` of them; ``GENE0`` and so on if None.
    """
    rng = np.random.default_rng(seed)
    ontology = ontology or load_ontology()
    members, config = MEMBERS[:n_members], Config()
    general = too_general(ontology, **config.too_general.model_dump())
    below = ontology.descendants(ontology.index("CL:0000000"))
    types = np.sort(rng.choice(below[~general[below] & (ontology.n_descendants[below] < 5)], n_terms, replace=False))
    types = types.astype(np.int32)
    patterns, cluster = _split_votes(types, n_items, n_members, ontology, rng)
    # A few large items and many small ones, as in real queues.
    size = 1 + rng.multinomial(n_review - n_items, (share := rng.pareto(1.1, n_items) + 0.05) / share.sum())
    item = np.full(n_cells, -1)
    item[rng.choice(n_cells, n_review, replace=False)] = np.repeat(np.arange(n_items), size)
    kind = rng.integers(n_terms, size=n_cells)
    background = Background(
        members, {}, relations=load_relations(ontology), eps=0.05, calibrated_run=True, tier="cell", alpha=0.05
    )
    unseen = np.arange(n_items) % 20 == 7
    samples = tuple(f"sample{i:02d}" for i in range(n_samples))
    centres = rng.normal(size=(n_terms + N_CLUSTERS, N_COMPONENTS)).astype(np.float32) * 4
    for i, start in enumerate(range(0, n_cells, CHUNK)):
        rows = slice(start, min(start + CHUNK, n_cells))
        here, n = item[rows], rows.stop - start
        reviewed = here >= 0
        terms = np.where(reviewed[:, None], patterns[here], types[kind[rows]][:, None]).astype(np.int32)
        names = np.array([f"AAACCTG{j:07d}-1" for j in range(start, rows.stop)])
        votes = Votes(names, members, terms, None, np.full(terms.shape, np.nan, np.float32))
        no = np.zeros(n, bool)
        calls = make_calls(
            votes, ontology, settings=config.reduce.model_copy(update={"rule": "lca"}), too_general=general,
            background=background, max_conflict=0.25, broad=no, obsolete=no,
        )  # fmt: skip
        strange = reviewed & unseen[here]
        p_seen = np.where(strange, rng.uniform(0, 0.05, n), rng.uniform(0.06, 1, n)).astype(np.float32)
        signs = replace(Signs.unknown(n), p_seen=p_seen)
        status = np.where(strange, Status.UNSEEN, calls.reduced.status).astype(np.int8)
        support = rng.beta(8, 2, n).astype(np.float32)
        reduced = replace(calls.reduced, status=status, support=np.where(calls.reduced.term >= 0, support, 0))
        own = np.where(terms >= 0, rng.beta(6, 2, terms.shape), np.nan).astype(np.float32)
        calls = replace(
            calls, reduced=reduced, signs=signs, needs_review=reviewed, member_support=own,
            reasons=find_reasons(reduced, background, broad=no, obsolete=no, signs=signs),
        )  # fmt: skip
        where = np.where(reviewed, cluster[here], kind[rows] % N_CLUSTERS)
        at = np.where(reviewed, n_terms + where, kind[rows])
        points = centres[at] + rng.normal(size=(n, N_COMPONENTS)).astype(np.float32)
        batch = pa.array(rng.integers(n_samples, size=n).astype(np.int32))
        place = pa.table({"_batch": batch, "_cluster": pa.array(where.astype(np.int32))})
        coordinates = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), N_COMPONENTS)
        named = append_columns(pa.table({"cell_id": pa.array(names)}), place)
        write_part(named.append_column("_space", coordinates), folder / "votes" / part_name(i))
        table = append_columns(append_columns(calls.to_table(), calls.evidence()), place)
        write_part(table, folder / "calls" / part_name(i))
    join_calls(folder)
    ids = [ontology.ids[t] for t in types.tolist()]
    write_json(
        folder / "run.json",
        {
            "command": "annotate", "began": now(), "ended": now(), "versions": versions(),
            "config": config.model_dump(mode="json"), "ontology": as_dict(ontology.source),
            "query": {"file": "made", "sha256": None, "n_cells": n_cells, "batch": "sample", "batches": samples},
            "members": [{"name": name, "absent": None} for name in members], "rule": "lca", "tier": "cell",
            "alpha": 0.05, "promise": "Made cells: nothing is promised.", "reference_terms": ids,
        },
    )  # fmt: skip
    run = Run(folder)
    names = tuple(genes or (f"GENE{i}" for i in range(n_genes)))
    markers = {term: [names[j] for j in rng.choice(len(names), min(10, len(names)), replace=False)] for term in ids}
    queue = build_queue(run, ontology, background, batches=samples, markers=markers)
    write_text(folder / "queue.tsv", queue.table.to_csv(sep="\t", index=False, lineterminator="\n"))
    shares = [rng.beta(0.4, 1.2, (n, len(names))).astype(np.float32) for n in (n_terms, len(queue.table))]
    profiles = Profiles(tuple(ids), names, shares[0], shares[0] * 3, rng.integers(20, 5000, n_terms))
    pack = write_pack(
        run, ontology, queue, batches=samples, markers=markers, profiles=profiles, query="made cells have no counts"
    )
    replace(
        pack, about=pack.about | {"no_genes": ""}, item_share=shares[1], item_mean=shares[1] * 3,
        **{name: np.array(getattr(pack, name)) for name in ("row", "xy", "batch", "support", "half")},
    ).save(ontology)  # fmt: skip
    return type(pack).open(folder)


def _split_votes(
    types: np.ndarray, n_items: int, n_members: int, ontology: CellOntology, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct votes for one of two types, int32 (n_items, n_members), one in thirty missing; and clusters."""
    n = 3 * n_items + 100
    first = rng.integers(len(types), size=n)
    # Near in the index is near in the ontology more often than not.
    second = (first + rng.geometric(0.15, n)) % len(types)
    n_second = rng.integers(1, n_members, n)
    side = rng.permuted(np.arange(n_members) < n_second[:, None], axis=1)
    votes = np.where(side, types[second][:, None], types[first][:, None])
    votes[rng.random(votes.shape) < 1 / 30] = -1
    rows = np.column_stack([votes, rng.integers(N_CLUSTERS, size=n)])
    # Still split, on two lines: anything else may be resolved, and then needs no review.
    low, high = np.where(votes < 0, len(ontology), votes).min(axis=1), votes.max(axis=1)
    apart = (low != high) & ~ontology.is_ancestor(high, low) & ~ontology.is_ancestor(low, high)
    distinct = np.unique(rows[apart], axis=0)
    if len(distinct) < n_items:
        message = f"only {len(distinct)} distinct items of {len(types)} terms and {n_members} members; {n_items} wanted"
        raise ValueError(message)
    chosen = distinct[rng.permutation(len(distinct))[:n_items]]
    return chosen[:, :-1].astype(np.int32), chosen[:, -1].astype(np.int32)


if __name__ == "__main__":
    started = time.perf_counter()
    given = dict(zip(("n_cells", "n_items", "n_review"), map(int, sys.argv[2:]), strict=False))
    made = made_run(Path(sys.argv[1]), **given)
    files = sum(file.stat().st_size for file in (made.folder / "review" / "pack").iterdir())
    print(f"{made.about['n_cells']:,} cells, {made.about['n_review']:,} in {len(made.items):,} items")
    print(f"{time.perf_counter() - started:.1f} s; pack {files / 1e6:.1f} MB")
