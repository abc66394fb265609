"""Tables of cells per term: at every level, overall and by group, with totals; and which terms have several places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from celljury.report.fraction_tables import fraction_table, share_digits, status_table
from celljury.report.groups import group_stems
from celljury.report.levels import TERM, Level, level_file_stem
from celljury.report.table import Table, TableColumn
from celljury.report.tally import OTHER, UNRESOLVED, UNSEEN, tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.report.counted import Counted, Groups
    from celljury.report.tally import Tally


def cell_tables(counted: Counted, levels: Sequence[Level]) -> list[Table]:
    """Return the tables of cells: per level, then for each grouping its groups, and per level fractions and all numbers.

    ``cells_LEVEL`` and ``shared_terms_LEVEL`` (where a called term belongs under several terms of the level); for every
    grouping ``fractions_status_by_NAME``, and per level ``fractions_LEVEL_by_NAME`` (wide, to read; where it has few
    enough columns) and ``cells_LEVEL_by_NAME`` (long, with all numbers).

    Raises
    ------
    RuntimeError
        If cells are lost or counted twice: see `celljury.report.tally.tally`.
    """
    return list(_tables(counted, levels))


def _tables(counted: Counted, levels: Sequence[Level]) -> Iterator[Table]:
    for level in levels:
        yield _cells(counted, level)
        if (shared := _shared_terms(counted, level)) is not None:
            yield shared
    for groups, stem in zip(counted.groups, group_stems(counted.groups), strict=True):
        yield status_table(counted, groups, stem)
        for level in levels:
            found = tally(counted, level, groups)
            if (wide := fraction_table(found, stem)) is not None:
                yield wide
            yield _cells_by(counted, found, groups, stem)


def _cells(counted: Counted, level: Level) -> Table:
    found = tally(counted, level)
    return Table(
        name=f"cells_{level_file_stem(level)}",
        title=f"Cells by cell type: {level.title}",
        about=f"{row_of(level)} Each of the {counted.n_cells:,} cells is counted once.",
        columns=_columns(counted, share_of="all cells"),
        rows=_with_total(found.rows, "all cells"),
        n_last=1,
        notes=_notes(counted, found),
    )


def _cells_by(counted: Counted, found: Tally, groups: Groups, stem: str) -> Table:
    level, kind = found.level, groups.name
    own = [_with_total(rows, "all cells of the group") for _, rows in found.rows.groupby("group", sort=False)]
    return Table(
        name=f"cells_{level_file_stem(level)}_by_{stem}",
        title=f"Cells by {kind} and cell type: {level.title}",
        about=f"{row_of(level)} Each of the {counted.n_cells:,} cells is counted once, in the group that it is of ({kind});"
        " a term without a row in a group has no cell there.",
        columns=(TableColumn("group", kind), *_columns(counted, share_of="the cells of its group")),
        rows=pd.concat(own, ignore_index=True),
        block="group",
        n_last=1,
        notes=_notes(counted, found),
    )


def row_of(level: Level) -> str:
    """Return what a row of a table at this level is, in a sentence."""
    if level.slim is None:
        return "A row is a term that cells were called."
    return "A row is a term of the level; a cell counts under the most specific one at or above its term."


def _columns(counted: Counted, *, share_of: str) -> tuple[TableColumn, ...]:
    record = counted.run.record
    support = (
        "mean calibrated probability, 0 to 1, that a cell is of its called term or a kind of it"
        if record.get("calibration") and record.get("tier", "none") != "none"
        else "mean share of votes, or of the members' probabilities, at or below the called term, 0 to 1; not calibrated"
    )
    reviewed = (
        TableColumn("n_reviewed", "reviewed", "cells that a curator decided", "count"),
        TableColumn("reviewed_share", "reviewed", "their share of the row's cells", "share"),
    )
    return (
        TableColumn("label", "cell type"),
        TableColumn("term", "CL id", "Cell Ontology id; unseen@ = new, under that term", "id"),
        TableColumn("n_cells", "cells", "", "count"),
        TableColumn("fraction", "fraction", f"share of {share_of}", "share", share_digits(counted)),
        TableColumn("mean_depth", "depth", "mean number of steps from the ontology's root to the cell's own term, by the"
                    " longest path", "number"),
        TableColumn("mean_agreement", "agreement", "mean share of members' votes, 0 to 1, that are the called term or a kind"
                    " of it", "number", 2),
        TableColumn("mean_support", "support", support, "number", 2),
        TableColumn("n_backed_off", "backed off", "cells called a wider term than most members voted for, to be sure enough"
                    + ("; what a curator decided is not" if counted.source == "final" else ""), "count"),
        TableColumn("n_review", "for review", "cells that a curator should see", "count"),
        TableColumn("review_share", "for review", "their share of the row's cells", "share"),
        *(reviewed if counted.source == "final" else ()),
    )  # fmt: skip


def _with_total(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of a group with their total; what says nothing of cells without a called type is missing there."""
    called = rows["place"].to_numpy() >= OTHER
    rows = rows.assign(**{mean: rows[mean].where(called) for mean in ("mean_depth", "mean_agreement", "mean_support")})
    counts = [str(column) for column in rows if str(column).startswith("n_")]
    total = rows[counts].sum().to_dict()
    standing = rows["n_standing"].where(called, 0)
    total |= {
        "group": rows["group"].iloc[0], "label": name, "term": "", "fraction": rows["fraction"].sum(),
        "mean_depth": _mean(rows["mean_depth"], rows["n_cells"].where(called, 0)),
        "mean_agreement": _mean(rows["mean_agreement"], standing), "mean_support": _mean(rows["mean_support"], standing),
        "review_share": total["n_review"] / total["n_cells"], "reviewed_share": total["n_reviewed"] / total["n_cells"],
        "place": 0,
    }  # fmt: skip
    both = pd.concat([rows, pd.DataFrame([total])], ignore_index=True)
    return both[rows.columns].astype(dict.fromkeys(counts, np.int64))


def _mean(values: pd.Series, weights: pd.Series) -> float:
    kept = (weights > 0) & values.notna()
    return float(np.average(values[kept], weights=weights[kept])) if kept.any() else float("nan")


def _notes(counted: Counted, found: Tally) -> tuple[str, ...]:
    level, rows = found.level, found.rows
    n = rows.groupby("place")["n_cells"].sum()
    notes = [*_nested(n.index[n.index >= 0].to_numpy(), counted.ontology)]
    if OTHER in n.index:
        notes.append(f"Other: {_cells_of(int(n[OTHER]))} of a term that no term of this level is above.")
    if UNRESOLVED in n.index:
        notes.append(f"Unresolved: {_cells_of(int(n[UNRESOLVED]))} that got no term.")
    n_unseen = int(n[n.index <= UNSEEN].sum())
    if n_unseen:
        under = "" if level.slim is not None else ", a row for each term under which they are new"
        notes.append(
            f"Unseen: {_cells_of(n_unseen)} that fit no type of the reference{under}; they are not counted as cells of"
            " any term."
        )
    if n_unseen or UNRESOLVED in n.index:
        notes.append("Depth, agreement and support are means over cells with a called type, also in totals.")
    if counted.source == "final" and int(rows["n_standing"].sum()) < counted.n_cells:
        notes.append(
            "Agreement and support are of the run's calls: cells that a curator decided otherwise are left out of these means."
        )
    n_shared = len(_shared_rows(counted, level))
    if n_shared:
        which = (
            "one called term belongs under several terms of this level; its cells are"
            if n_shared == 1
            else (f"{n_shared} called terms belong under several terms of this level; their cells are")
        )
        notes.append(f"Counted once: {which} counted under one of them, see shared_terms_{level_file_stem(level)}.")
    return tuple(notes)


def _nested(terms: NDArray[np.int64], ontology: CellOntology) -> list[str]:
    """Return that rows do not overlap, where a reader could think so: the row of one term and that of a kind of it."""
    above = ontology.is_ancestor(terms[:, None], terms[None, :]) & ~np.eye(len(terms), dtype=bool)
    if not above.any():
        return []
    wide, narrow = (ontology.labels[terms[at]] for at in np.argwhere(above)[0].tolist())
    return [f"Rows do not overlap: {wide!r} holds only cells that are in no narrower row, such as {narrow!r}."]


def _cells_of(n: int) -> str:
    return "one cell" if n == 1 else f"{n:,} cells"


# Terms with several places ----------------------------------------------------------------------------------------------


def _shared_rows(counted: Counted, level: Level) -> pd.DataFrame:
    """Return the called terms of a run that a level has several places for; unseen cells are of no term."""
    terms = tally(counted, Level(TERM, "", None, ())).rows
    n_cells = dict(zip(terms["place"].tolist(), terms["n_cells"].tolist(), strict=True))
    ids, labels = counted.ontology.ids, counted.ontology.labels
    rows = [
        {
            "label": labels[one.term], "term": ids[one.term], "n_cells": n_cells[one.term],
            "place_label": labels[one.place], "place_term": ids[one.place],
            "others": "; ".join(f"{labels[i]} ({ids[i]})" for i in one.others),
        }
        for one in level.shared if one.term in n_cells
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["label", "term", "n_cells", "place_label", "place_term", "others"])
    return frame.sort_values(["n_cells", "label"], ascending=[False, True], kind="stable", ignore_index=True)


def _shared_terms(counted: Counted, level: Level) -> Table | None:
    rows = _shared_rows(counted, level)
    if not len(rows):
        return None
    return Table(
        name=f"shared_terms_{level_file_stem(level)}",
        title=f"Terms that belong under several terms of a level: {level.title}",
        about=(
            "A row is a called term with several most specific terms of the level above it. Its cells are counted once, under"
            " the term with more information (fewer terms below it); if these tie, under the one farther from the root, then"
            " under the smaller id. Terms that are too general to be a label are chosen only where there is no other."
        ),
        columns=(
            TableColumn("label", "called term"),
            TableColumn("term", "CL id", "Cell Ontology id", "id"),
            TableColumn("n_cells", "cells", "", "count"),
            TableColumn("place_label", "counted under"),
            TableColumn("place_term", "id of that", "Cell Ontology id", "id"),
            TableColumn("others", "and not under"),
        ),
        rows=rows,
    )
