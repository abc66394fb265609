"""What the order of the review queue wins on real pairs: bits of information that come back with the items reviewed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from celljury.reduce import Reduced
from celljury.review.gain import expected_gain

if TYPE_CHECKING:
    from bench_runs import Case
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

    Doubles = NDArray[np.float64]
    Ints = NDArray[np.int32]

SHARES = (0.10, 0.25)


def queue_rows(case: Case) -> dict[str, Any]:
    """Return what each order of a run's items wins if every reviewed item gets the true type of most of its cells.

    Bits lost on a cell: the distance of Jiang and Conrath (1997, arXiv:cmp-lg/9709008) of call and truth, none where the
    call is a kind of the truth. ``orders``: by name, the share of all bits to win after the first `SHARES` of the items,
    and the area under that curve.
    """
    ontology = case.ontology
    cells = pa.concat_tables(case.run.parts("calls")).to_pandas()
    known = cells["needs_review"].to_numpy() & (case.truth >= 0)
    cells, truth = cells[known], case.truth[known]
    members = [m["name"] for m in case.run.record["members"] if not m["absent"]]
    key = [*(f"_vote_{name}" for name in members), "_term", "_status", "_cluster"]
    item = cells.groupby(key, sort=False).ngroup().to_numpy()
    reduced = Reduced(*(cells[f"_{name}"].to_numpy() for name in Reduced.__slots__))
    n_cells = np.bincount(item)
    pairs, n = np.unique(np.stack([item, truth]), axis=1, return_counts=True)
    order = np.lexsort((-n, pairs[0]))
    first = order[np.flatnonzero(np.diff(pairs[0][order], prepend=-1))]
    most = pairs[1][first].astype(np.int32)
    won = _bits_lost(ontology, reduced.term, truth) - _bits_lost(ontology, most[item], truth)
    won = np.bincount(item, won)
    lost = np.maximum(
        ontology.depth[reduced.top_term] - np.where(reduced.term >= 0, ontology.depth[reduced.term], 0), 0
    )
    apart = np.maximum(1 - reduced.size_a, 0.01)
    orders = {
        "best possible": won,
        "expected gain": np.bincount(item, expected_gain(reduced, ontology)),
        "number of cells": n_cells.astype(np.float64),
        "cells x disagreement x levels lost": np.bincount(item, apart * (1 + lost)),
    }
    return {
        "n_items": len(n_cells), "n_cells": len(item), "bits": float(won.sum()),
        "orders": {name: _won(won, score) for name, score in orders.items()},
    }  # fmt: skip


def _bits_lost(ontology: CellOntology, call: Ints, truth: Ints) -> Doubles:
    ic = np.concatenate([ontology.ic, [0.0]])  # no call: no bits
    met = np.full(len(call), -1, np.int32)
    met[call >= 0] = ontology.lca_rows(np.stack([call, truth], axis=1)[call >= 0])
    apart = ic[call] + ic[truth] - 2 * ic[met]
    return np.where(ontology.is_ancestor(truth, call) & (call >= 0), 0.0, apart)


def _won(won: Doubles, score: Doubles) -> dict[str, float]:
    order = np.lexsort((np.arange(len(won)), -np.round(score, 6)))
    curve = np.cumsum(won[order]) / won.sum()
    at = {f"{share:.2f}": float(curve[max(1, int(np.ceil(share * len(won)))) - 1]) for share in SHARES}
    x = np.arange(len(won) + 1) / len(won)
    return at | {"area": float(np.trapezoid(np.concatenate([[0.0], curve]), x))}
