"""Tables of a run: cells per term, rolled up to an ontology level; every cell is counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.ontology.patterns import distinct_rows
from celljury.report.counted import counted_cells
from celljury.report.levels import Level
from celljury.report.tally import LABELS, places, tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.slims import Slim
    from celljury.run import Run

OTHER, UNRESOLVED, UNSEEN = (LABELS[place] for place in (-1, -2, -3))
_MEASURES = ["n_cells", "fraction", "mean_depth", "mean_agreement", "mean_top_share", "n_resolved", "n_backed_off",
             "n_unresolved", "n_unseen", "n_review", "review_share"]  # fmt: skip
_DIGITS = {"mean_depth": 3, "mean_agreement": 4, "mean_top_share": 4, "fraction": 6, "review_share": 4}


def summarize(run: Run, ontology: CellOntology, slim: Slim | None) -> pd.DataFrame:
    """Return cells per term: at the level of a slim, or per called term if ``slim`` is None.

    Columns: ``level``, ``term``, ``label``, then counts and means. Cells without a call are the row ``(unresolved)``;
    calls with no slim term above them are the row ``(other)``; neither is dropped. Unseen cells are never counted as
    cells of the node that they are new under: at a slim's level they are one row, else one a node, ``unseen@CL:...``.

    Raises
    ------
    RuntimeError
        If the rows do not add up to the run's cells: a defect of ours.
    """
    import pyarrow as pa

    level = Level("term" if slim is None else slim.name, "", slim, ())
    counted = counted_cells(run, ontology, calls="calls")
    rows = tally(counted, level).rows.set_index("place", drop=False)
    shares = pa.table({"row": np.arange(counted.n_cells), "share": top_share(run)})
    found = counted.query(
        "SELECT coalesce(term, '')::VARCHAR AS term, status::VARCHAR AS status, fsum(share::DOUBLE) AS share"
        " FROM cells JOIN shares ON shares.row = cells.row GROUP BY ALL",
        shares=shares,
    )
    total = found.groupby(places(found["term"], found["status"], level, ontology))["share"].sum()
    rows = rows.assign(level=level.name, mean_top_share=total / rows["n_cells"]).round(_DIGITS)
    rows = rows.sort_values(["n_cells", "label"], ascending=[False, True])
    rows = pd.concat([rows[rows["place"] >= 0], rows[rows["place"] < 0]])
    return rows[["level", "term", "label", *_MEASURES]].reset_index(drop=True)


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
