"""Tables of the review: why cells deserve a look, what came of it, and what curators changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.report.reason_counts import reason_counts
from celljury.report.review_counts import OUTCOMES, decided_items, review_counts
from celljury.report.table import Table, TableColumn

if TYPE_CHECKING:
    from celljury.report.counted import Counted
    from celljury.report.reason_counts import ReasonCounts
    from celljury.report.review_counts import ReviewCounts

_OVERLAP = "A cell can have several reasons, so that rows add up to more than all cells."


def review_tables(counted: Counted) -> list[Table]:
    """Return ``reasons``, ``reasons_by_term``, ``review_funnel`` and, where decisions are applied, ``review_changes``.

    Tables without a row are left out.

    Raises
    ------
    UnreadableFileError
        See `celljury.report.review_counts.review_counts`.
    """
    reasons, funnel = reason_counts(counted), review_counts(counted)
    tables = [_reasons(reasons), _by_term(reasons), _funnel(funnel)]
    if funnel.applied:
        tables.append(_changes(counted))
    return [table for table in tables if len(table.rows)]


def _reasons(found: ReasonCounts) -> Table:
    rows = pd.DataFrame(
        {
            "reason": found.codes,
            "n_cells": found.n_cells_by_reason,
            "fraction": found.n_cells_by_reason / max(found.n_cells, 1),
            "n_review": found.review.sum(axis=0),
            "meaning": found.meanings,
        }
    )
    rows = rows.sort_values("n_cells", ascending=False, kind="stable").reset_index(drop=True)
    return Table(
        name="reasons",
        title="Why cells deserve a look",
        about=f"A row is a reason; of {found.n_cells:,} cells {int(found.n_any.sum()):,} have one or more.",
        columns=(
            TableColumn("reason", "reason", "its code", "id"),
            TableColumn("n_cells", "cells", "with this reason", "count"),
            TableColumn("fraction", "of all cells", "", "share"),
            TableColumn("n_review", "to review", "of them need review", "count"),
            TableColumn("meaning", "what it means"),
        ),
        rows=rows,
        notes=(_OVERLAP,),
    )


def _by_term(found: ReasonCounts) -> Table:
    i, j = np.nonzero(found.counts)
    order = np.lexsort((j, -found.counts[i, j], i))
    i, j = i[order], j[order]
    rows = pd.DataFrame(
        {
            "term": [found.terms[k] for k in i],
            "label": [found.labels[k] for k in i],
            "n_term": found.n_cells_by_row[i],
            "reason": [found.codes[k] for k in j],
            "n_cells": found.counts[i, j],
            "share": found.counts[i, j] / np.maximum(found.n_cells_by_row[i], 1),
            "n_review": found.review[i, j],
        }
    )
    return Table(
        name="reasons_by_term",
        title="Why cells deserve a look, by what they were called",
        about="A row is a reason among the cells of a called term; unresolved and unseen cells stand on their own.",
        columns=(
            TableColumn("term", "term", "Cell Ontology id; empty = no called term", "id"),
            TableColumn("label", "label"),
            TableColumn("n_term", "cells of the term", "", "count"),
            TableColumn("reason", "reason", "its code", "id"),
            TableColumn("n_cells", "cells", "of the term with this reason", "count"),
            TableColumn("share", "of the term's", "share of the term's cells", "share"),
            TableColumn("n_review", "to review", "of them need review", "count"),
        ),
        rows=rows,
        block="label",
        notes=(_OVERLAP, "Terms are those of the run's calls, also where curators decided otherwise."),
    )


def _funnel(found: ReviewCounts) -> Table:
    stages: list[tuple[str, int, int | None]] = [
        ("all cells", found.n_cells, None),
        ("called, no review needed", found.n_cells - found.n_review, None),
        ("need review", found.n_review, found.n_items),
    ]
    if found.applied:
        n_decided = found.items["confirmed"] + found.items["changed"]
        stages.append(("decided", found.n_decided, n_decided))
        stages += [(said, found.cells[name], found.items[name]) for name, said in OUTCOMES.items()]
    n_cells = np.array([n for _, n, _ in stages], np.int64)
    of_review = n_cells / max(found.n_review, 1)
    of_review[:2] = np.nan
    rows = pd.DataFrame(
        {
            "stage": [said for said, _, _ in stages],
            "n_cells": n_cells,
            "fraction": n_cells / max(found.n_cells, 1),
            "review_share": of_review,
            "n_items": pd.Series([n for _, _, n in stages], dtype=object),  # whole numbers, None = not counted
        }
    )
    if found.applied:
        note = "As of the last celljury apply. Parts of split items count on their own."
    else:
        note = "No decision is folded in: celljury review takes decisions, celljury apply folds them in."
    return Table(
        name="review_funnel",
        title="From the calls to what curators decided",
        about="A row is a stage. Decided cells are divided into those decided as called and those decided otherwise.",
        columns=(
            TableColumn("stage", "stage"),
            TableColumn("n_cells", "cells", "", "count"),
            TableColumn("fraction", "of all cells", "", "share"),
            TableColumn("review_share", "of those for review", "", "share"),
            TableColumn("n_items", "items", "groups of cells with the same votes, call, status and cluster", "count"),
        ),
        rows=rows,
        notes=(note,),
    )


def _changes(counted: Counted) -> Table:
    found = decided_items(counted)
    found = found[found["changed"].astype(bool)]
    rows = pd.DataFrame(
        {
            "call_term": found["call_term"],
            "call_label": _labels(found["call_term"], found["call_status"], counted),
            "final_term": found["term"],
            "final_label": _labels(found["term"], found["status"], counted),
            "n_cells": found["n_cells"],
            "n_items": found["n_items"],
        }
    )
    keys = ["call_term", "call_label", "final_term", "final_label"]
    rows = rows.groupby(keys, sort=True, as_index=False).sum()
    rows = rows.sort_values("n_cells", ascending=False, kind="stable").reset_index(drop=True)
    return Table(
        name="review_changes",
        title="What curators decided otherwise than called",
        about="A row is a change from a call to a decision, with its cells and items.",
        columns=(
            TableColumn(
                "call_term", "called", "Cell Ontology id; of unseen cells the node that they are new under", "id"
            ),
            TableColumn("call_label", "called, in words"),
            TableColumn("final_term", "decided", "likewise", "id"),
            TableColumn("final_label", "decided, in words"),
            TableColumn("n_cells", "cells", "", "count"),
            TableColumn("n_items", "items", "", "count"),
        ),
        rows=rows,
    )


def _labels(terms: pd.Series, status: pd.Series, counted: Counted) -> list[str]:
    """Return terms in words: an unseen cell is not of the term that it is new under."""
    ontology, said = counted.ontology, []
    for term, kind in zip(terms, status, strict=True):
        label = ontology.labels[ontology.index(term)] if term else ""
        if kind == "unseen":
            said.append(f"unseen, under {label}" if label else "unseen")
        else:
            said.append(label or "unresolved")
    return said
