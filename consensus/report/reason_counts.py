"""Cells by reason and by what they were called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celljury.reasons import MEANING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.report.counted import Counted

UNRESOLVED, UNSEEN = "unresolved", "unseen"


@dataclass(frozen=True, slots=True)
class ReasonCounts:
    """Cells by reason and by what they were called; the run's own calls, whatever curators decided.

    Attributes
    ----------
    terms, labels
        Of the rows, most cells first; ids are empty and labels `UNRESOLVED` or `UNSEEN` where there is no called term.
    codes, meanings
        Reasons that occur, in the order of `celljury.reasons.MEANING`.
    counts, review
        Cells with a reason, and those of them that need review, int64 (n_rows, n_codes).
    n_cells_by_row, n_any
        Cells of a row, and those with any reason, int64 (n_rows,).
    n_cells_by_reason
        Cells with each reason, int64 (n_codes,).
    n_cells
        All cells.
    """

    terms: tuple[str, ...]
    labels: tuple[str, ...]
    codes: tuple[str, ...]
    meanings: tuple[str, ...]
    counts: NDArray[np.int64]
    review: NDArray[np.int64]
    n_cells_by_row: NDArray[np.int64]
    n_any: NDArray[np.int64]
    n_cells_by_reason: NDArray[np.int64]
    n_cells: int


def reason_counts(counted: Counted) -> ReasonCounts:
    """Return cells by reason; worked out once a distinct combination of call and reasons."""
    found = counted.query(
        "SELECT CASE WHEN status = 'unseen' THEN '' ELSE coalesce(term, '') END AS term,"
        f" CASE WHEN status = 'unseen' THEN '{UNSEEN}' WHEN coalesce(term, '') = '' THEN '{UNRESOLVED}' ELSE label END AS label,"
        " coalesce(reasons::VARCHAR, '') AS reasons, count(*) AS n_cells, count(*) FILTER (needs_review) AS n_review"
        " FROM cells GROUP BY ALL"
    )
    found = found.astype({"term": str, "label": str})
    sizes = found.groupby(["term", "label"])["n_cells"].sum().reset_index()
    # Terms by their cells, then what is no term.
    order = np.lexsort((sizes["label"], -sizes["n_cells"].to_numpy(), sizes["term"] == ""))
    sizes = sizes.iloc[order].reset_index(drop=True)
    row = {key: i for i, key in enumerate(zip(sizes["term"], sizes["label"], strict=True))}
    meaning = {reason.code: said for reason, said in MEANING.items()}
    present = {code for text in found["reasons"].unique() for code in text.split(";") if code}
    codes = [code for code in meaning if code in present] + sorted(present - meaning.keys())
    column = {code: j for j, code in enumerate(codes)}
    counts, review = (np.zeros((len(row), len(codes)), np.int64) for _ in range(2))
    n_any = np.zeros(len(row), np.int64)
    columns = ("term", "label", "reasons", "n_cells", "n_review")
    for term, label, text, n, n_review in zip(*(found[name].to_list() for name in columns), strict=True):
        i, own = row[term, label], [column[code] for code in text.split(";") if code]
        counts[i, own] += n
        review[i, own] += n_review
        n_any[i] += n if own else 0
    return ReasonCounts(
        tuple(sizes["term"]), tuple(sizes["label"]), tuple(codes), tuple(meaning.get(code, "") for code in codes), counts,
        review, sizes["n_cells"].to_numpy(np.int64), n_any, counts.sum(axis=0), counted.n_cells,
    )  # fmt: skip
