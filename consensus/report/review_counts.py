"""What review has come to: cells and items from the calls to curators' decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from celljury.errors import UnreadableFileError
from celljury.questions import parquet_sql

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.report.counted import Counted

OUTCOMES: Final = {
    "confirmed": "decided as called",
    "changed": "decided otherwise",
    "conflict": "reviewers disagree",
    "reopened": "re-opened: what they were decided on has changed",
    "skipped": "skipped",
    "open": "not decided yet",
}
"""What can have come of a cell or item for review."""


@dataclass(frozen=True, slots=True)
class ReviewCounts:
    """Cells and items of a run by what came of them.

    Attributes
    ----------
    n_cells, n_review
        All cells, and those that a curator should see.
    n_items
        Items of the queue; None where the run has no ``queue.tsv``.
    applied
        Whether there is a ``final.parquet``: without it nothing is known of decisions, and all is open.
    cells, items
        By outcome (`OUTCOMES`); parts of a split item count on their own, so that items may be more than ``n_items``.
    """

    n_cells: int
    n_review: int
    n_items: int | None
    applied: bool
    cells: dict[str, int]
    items: dict[str, int]

    @property
    def n_decided(self) -> int:
        """Cells that a curator decided."""
        return self.cells["confirmed"] + self.cells["changed"]


def review_counts(counted: Counted) -> ReviewCounts:
    """Return what review has come to, as of the last `celljury apply`.

    Raises
    ------
    UnreadableFileError
        If ``final.parquet`` does not count the cells that the run has for review.
    """
    n_review = int(counted.query("SELECT count(*) FILTER (needs_review) AS n FROM cells")["n"].iloc[0])
    n_items = _queue_items(counted.run.folder / "queue.tsv")
    cells, items = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0)
    applied = final_rows(counted) is not None
    if not applied:
        cells["open"], items["open"] = n_review, n_items or 0
        return ReviewCounts(counted.n_cells, n_review, n_items, applied=False, cells=cells, items=items)
    found = decided_items(counted)
    decided = np.where(found["changed"], "changed", "confirmed")
    found["outcome"] = np.where(found["review_status"] == "decided", decided, found["review_status"])
    for outcome, n_cells, n in zip(*(found[name].to_list() for name in ("outcome", "n_cells", "n_items")), strict=True):
        cells[outcome] += n_cells
        items[outcome] += n
    if sum(cells.values()) != n_review:
        message = (
            f"{counted.final_path} says of {sum(cells.values()):,} cells what came of their review, the run has {n_review:,}"
            " for review. Fold the decisions in again with: celljury apply"
        )
        raise UnreadableFileError(message)
    return ReviewCounts(counted.n_cells, n_review, n_items, applied=True, cells=cells, items=items)


def final_rows(counted: Counted) -> Path | None:
    """Return the file of `celljury apply`; None where there is none, or it is of other cells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = counted.final_path
    try:
        return path if path.is_file() and pq.read_metadata(path).num_rows == counted.n_cells else None
    except pa.ArrowInvalid as error:
        message = f"{path} cannot be read: {error}. Make it again with: celljury apply {counted.run.folder}"
        raise UnreadableFileError(message) from error


def decided_items(counted: Counted) -> pd.DataFrame:
    """Return cells and items for review by status, call and final term, of a run with `final_rows`.

    Columns: ``review_status``, ``call_term``, ``call_status``, ``term``, ``status`` (texts, empty = none), ``changed`` (its
    term, or its being unseen, is not as called), ``n_cells``, ``n_items``.
    """
    named = ", ".join(
        f"coalesce({name}::VARCHAR, '') AS {name}"
        for name in ("review_status", "call_term", "call_status", "term", "status")
    )
    return counted.query(
        f"WITH f AS (SELECT {named}, item_id::VARCHAR AS item FROM {parquet_sql(counted.final_path)} WHERE review_status <> '')"
        " SELECT review_status, call_term, call_status, term, status, (review_status = 'decided' AND (call_term <> term OR"
        " (call_status = 'unseen') <> (status = 'unseen'))) AS changed, count(*) AS n_cells, count(DISTINCT item) AS n_items"
        " FROM f GROUP BY ALL ORDER BY n_cells DESC, review_status, call_term, call_status, term, status"
    )


def _queue_items(path: Path) -> int | None:
    if not path.is_file():
        return None
    return len(pd.read_csv(path, sep="\t", usecols=["item_id"], keep_default_na=False))
