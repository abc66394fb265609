"""Tables of a run: cells per term, rolled up to an ontology level; every cell is counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.ontology.patterns import distinct_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.slims import Slim
    from celljury.run import Run

OTHER, UNRESOLVED = "(other: no term of this level above it)", "(unresolved)"
UNSEEN = "(unseen: does not belong to the reference)"
_MEASURES = ["n_cells", "fraction", "mean_depth", "mean_agreement", "mean_top_share", "n_resolved", "n_backed_off",
             "n_unresolved", "n_unseen", "n_review", "review_share"]  # fmt: skip


def summarize(run: Run, ontology: CellOntology, slim: Slim | None) -> pd.DataFrame:
    """Return cells per term: at the level of a slim, or per called term if ``slim`` is None.

    Columns: ``level``, ``term``, ``label``, then counts and means. Cells without a call are the row ``(unresolved)``;
    calls with no slim term above them are the row ``(other)``; neither is dropped. Unseen cells are never counted as
    cells of the node that they are new under: at a slim's level they are one row, else one a node, ``unseen@CL:...``.

    Raises
    ------
    AssertionError
        If the rows do not add up to the run's cells.
    """
    wanted = ["term", "depth", "agreement", "status", "needs_review"]
    calls = pd.read_parquet(run.calls_path, columns=wanted).assign(top_share=top_share(run))
    coded = calls["term"].astype("category")
    index = ontology.indices([str(term) for term in coded.cat.categories])
    place = np.append(index if slim is None else slim.rollup[index], -2)[coded.cat.codes]
    # -1 = other, -2 = unresolved, -3 = unseen without a node, -4 and below = unseen under node -4 - place.
    unseen = (calls["status"].astype(str) == "unseen").to_numpy()
    node = np.append(index, -1)[coded.cat.codes]
    place = np.where(unseen, np.where((node >= 0) & (slim is None), -4 - node, -3), place)
    grouped = calls.assign(place=place).groupby("place", sort=False)
    status = pd.crosstab(place, calls["status"].astype(str))
    rows = pd.DataFrame(
        {
            "n_cells": grouped.size(),
            "mean_depth": grouped["depth"].mean().round(3),
            "mean_agreement": grouped["agreement"].mean().round(4),
            "mean_top_share": grouped["top_share"].mean().round(4),
            "n_review": grouped["needs_review"].sum(),
        }
    )
    for name in ("resolved", "backed_off", "unresolved", "unseen"):
        rows[f"n_{name}"] = status[name] if name in status else 0
    rows["fraction"] = (rows["n_cells"] / max(len(calls), 1)).round(6)
    rows["review_share"] = (rows["n_review"] / rows["n_cells"]).round(4)
    rows["level"] = "term" if slim is None else slim.name
    named = [_named(int(i), ontology) for i in rows.index]
    rows["term"], rows["label"] = [term for term, _ in named], [label for _, label in named]
    assert rows["n_cells"].sum() == len(calls), "rows do not add up to the cells"
    rows = rows.sort_values(["n_cells", "label"], ascending=[False, True])
    rows = pd.concat([rows[rows.index >= 0], rows[rows.index < 0]])
    return rows[["level", "term", "label", *_MEASURES]].reset_index(drop=True)


def _named(place: int, ontology: CellOntology) -> tuple[str, str]:
    """Return id and label of a row."""
    if place >= 0:
        return ontology.ids[place], ontology.labels[place]
    if place <= -4:
        return f"unseen@{ontology.ids[-4 - place]}", f"unseen, under {ontology.labels[-4 - place]}"
    return "", {-1: OTHER, -2: UNRESOLVED, -3: UNSEEN}[place]


def top_share(run: Run) -> NDArray[np.float32]:
    """Return the largest share of a cell's cast votes that fell on one and the same term, float32 (n_cells,), 0-1.

    Unlike ``agreement`` it does not grow when the call is more general: the rule ``lca`` calls what all votes lie below.
    """
    names = [f"_vote_{member['name']}" for member in run.record["members"]]
    shares = [np.zeros(0, np.float32)]
    for part in run.parts("calls", columns=names):
        votes = np.stack([part[name].to_numpy() for name in names], axis=1)
        first, which = distinct_rows(np.sort(votes, axis=1))
        patterns = np.sort(votes, axis=1)[first]
        same = (patterns[:, :, None] == patterns[:, None, :]) & (patterns >= 0)[:, None, :]
        most = (same.sum(axis=2) * (patterns >= 0)).max(axis=1)
        shares.append((most / np.maximum((patterns >= 0).sum(axis=1), 1)).astype(np.float32)[which])
    return np.concatenate(shares)
