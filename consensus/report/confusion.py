"""Known types against what was called, both counted at one level of the ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from celljury.report.levels import level_file_stem
from celljury.report.table import Table, TableColumn
from celljury.report.tally import UNRESOLVED, UNSEEN, place_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.report.counted import Counted
    from celljury.report.levels import Level
    from celljury.truth import Truth

NOT_KNOWN: Final = -9
"""Place of cells whose type is not known; it is none of `celljury.report.tally`'s at the levels counted here."""


def confusion_tables(counted: Counted, levels: Sequence[Level], truth: Truth) -> list[Table]:
    """Return ``confusion_LEVEL`` for every level: cells by true and by called place.

    Raises
    ------
    ValueError
        If the truth is of other cells.
    RuntimeError
        If the counts do not add up to the cells: a defect of ours.
    """
    if len(truth.i_term) != counted.n_cells:
        message = f"the known types are of {len(truth.i_term):,} cells, the run has {counted.n_cells:,}"
        raise ValueError(message)
    return [_confusion(counted, level, truth) for level in levels]


def confusion_rows(counted: Counted, level: Level, truth: Truth) -> pd.DataFrame:
    """Return ``truth``, ``called`` (places: ontology indices, or negative numbers) and ``n_cells``."""
    import pyarrow as pa

    ontology = counted.ontology
    rollup = level.rollup(ontology)
    true_place = np.append(rollup, np.int32(NOT_KNOWN))[truth.i_term]  # -1 finds the last
    places = pa.table({"id": pa.array(ontology.ids, pa.string()), "place": pa.array(rollup, pa.int32())})
    known = pa.table({"row": np.arange(counted.n_cells, dtype=np.int64), "place": pa.array(true_place, pa.int32())})
    rows = counted.query(
        f"SELECT known.place AS truth, CASE WHEN counted_status = 'unseen' THEN {UNSEEN}"
        f" WHEN coalesce(counted_term, '') = '' THEN {UNRESOLVED} ELSE places.place END AS called, count(*) AS n_cells"
        " FROM cells JOIN known ON known.row = cells.row LEFT JOIN places ON places.id = counted_term GROUP BY ALL",
        known=known, places=places,
    )  # fmt: skip
    _check(rows, true_place, counted.n_cells)
    return rows.astype({"truth": np.int64, "called": np.int64, "n_cells": np.int64})


def _check(rows: pd.DataFrame, true_place: NDArray[np.int32], n_cells: int) -> None:
    """Raise RuntimeError unless every cell is counted once, overall and of each true type."""
    if rows[["truth", "called"]].isna().to_numpy().any() or int(rows["n_cells"].sum()) != n_cells:
        message = (
            f"the confusion table counts {int(rows['n_cells'].sum()):,} cells of {n_cells:,}, or some without a place"
        )
        raise RuntimeError(message)
    place, n = np.unique(true_place, return_counts=True)
    found = rows.groupby("truth", sort=True)["n_cells"].sum()
    if not np.array_equal(found.index, place) or not np.array_equal(found.to_numpy(), n):
        message = "the confusion table counts a cell of one known type as of another"
        raise RuntimeError(message)


def _confusion(counted: Counted, level: Level, truth: Truth) -> Table:
    rows, ontology = confusion_rows(counted, level, truth), counted.ontology
    total = rows.groupby("truth")["n_cells"].transform("sum")
    # True types by their cells, what is none last; in each, what was called most first, and what is no term last.
    order = np.lexsort(
        (-rows["called"], -rows["n_cells"], rows["called"] < 0, rows["truth"], -total, -np.minimum(rows["truth"], 0))
    )
    rows, total = rows.iloc[order].reset_index(drop=True), total.iloc[order].reset_index(drop=True)
    frame = pd.DataFrame(
        {
            **dict(zip(("true_term", "true_label"), _named(rows["truth"], ontology), strict=True)),
            **dict(zip(("called_term", "called_label"), _named(rows["called"], ontology), strict=True)),
            "n_cells": rows["n_cells"],
            "share": rows["n_cells"] / total,
            "same": np.where((rows["truth"] == rows["called"]) & (rows["truth"] >= 0), "yes", ""),
        }
    )
    frame = _with_totals(frame)
    n_same = int(rows["n_cells"][(rows["truth"] == rows["called"]) & (rows["truth"] >= 0)].sum())
    n_known = int((truth.i_term >= 0).sum())
    return Table(
        name=f"confusion_{level_file_stem(level)}",
        title=f"Known types against calls: {level.title}",
        about=(
            "A row is a known type and what some of its cells were called; both are counted at this level. Of"
            f" {n_known:,} cells with a known type {n_same:,} are of one term of the level in both; {counted.n_cells:,}"
            " cells in all."
        ),
        columns=(
            TableColumn(
                "true_term", "true", "Cell Ontology id of the known type's term at this level; empty = none", "id"
            ),
            TableColumn("true_label", "true, in words"),
            TableColumn(
                "called_term", "called", "Cell Ontology id of the call's term at this level; empty = none", "id"
            ),
            TableColumn("called_label", "called, in words"),
            TableColumn("n_cells", "cells", "", "count"),
            TableColumn("share", "of the type's", "share of the cells of this known type", "share"),
            TableColumn("same", "same", "yes = true and called are the same term of the level"),
        ),
        rows=frame,
        block="true_label",
        n_last=1,
        notes=(f"Known types are those of the column {truth.column}.",),
    )


def _with_totals(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a total at the end of each true type."""
    parts = []
    for _, own in frame.groupby("true_label", sort=False):
        first, n = own.iloc[0], int(own["n_cells"].sum())
        total = {"true_term": first["true_term"], "true_label": first["true_label"], "called_term": "",
                 "called_label": "all", "n_cells": n, "share": 1.0, "same": ""}  # fmt: skip
        parts += [own, pd.DataFrame([total])]
    return pd.concat(parts, ignore_index=True)


def _named(place: pd.Series, ontology: CellOntology) -> tuple[list[str], list[str]]:
    """Return ids and labels of places."""
    said = [("", "(not known)") if p == NOT_KNOWN else place_label(int(p), ontology) for p in place]
    return [term for term, _ in said], [label for _, label in said]
