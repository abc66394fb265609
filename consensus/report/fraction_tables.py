"""Wide tables of fractions: terms against groups, turned so that the fewer of the two stand side by side; and statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from celljury.report.levels import level_file_stem
from celljury.report.table import Table, TableColumn
from celljury.report.tally import OTHER, STATUSES, UNRESOLVED, UNSEEN

if TYPE_CHECKING:
    from celljury.report.counted import Counted, Groups
    from celljury.report.tally import Tally

BOTH: Final = 6
"""So many groups side by side have room for their counts, too."""

ACROSS: Final = 12
"""So many groups stand side by side whatever the number of terms: terms as rows is how such tables are read."""

WIDEST: Final = 60
"""More columns cannot be read on any page; the long table has the numbers."""

MANY_CELLS: Final = 10_000
"""From so many cells on, shares have two digits."""

_SHORT: Final = {OTHER: "other", UNRESOLVED: "unresolved", UNSEEN: "unseen"}


def fraction_table(found: Tally, stem: str) -> Table | None:
    """Return ``fractions_LEVEL_by_NAME``; None where it would have more than `WIDEST` columns either way.

    Parameters
    ----------
    found
        A tally with one grouping.
    stem
        Of the grouping, as of `celljury.report.groups.group_stems`.
    """
    groups, level = found.groups, found.level
    assert groups is not None
    counts, places = _counts(found, groups)
    if min(counts.shape) > WIDEST:
        return None
    upright = len(groups.values) <= ACROSS or len(groups.values) <= len(places)
    columns, rows = _terms_as_rows(counts, places, groups) if upright else _groups_as_rows(counts, places, groups)
    what = (
        f"A row is a term, a column a group ({groups.name}){'' if len(groups.values) <= BOTH else ' of n cells'}."
        if upright
        else f"A row is a group ({groups.name}), a column a term."
    )
    return Table(
        name=f"fractions_{level_file_stem(level)}_by_{stem}",
        title=f"Fractions of cell types by {groups.name}: {level.title}",
        about=f"{what} Values are shares of the cells of a group, which add up to 100 %: every cell is counted once.",
        columns=columns,
        rows=rows,
        n_last=1,
        notes=(f"All numbers, a row a term and group: cells_{level_file_stem(level)}_by_{stem}.",),
    )


def status_table(counted: Counted, groups: Groups, stem: str) -> Table:
    """Return ``fractions_status_by_NAME``: of each group its cells, and what became of them."""
    i = next(i for i, one in enumerate(counted.groups) if one is groups)
    found = counted.query(
        f"SELECT group_{i} AS code, count(*) AS n_cells,"
        + "".join(f" count(*) FILTER (counted_status = '{status}') AS {status}," for status in STATUSES)
        + " count(*) FILTER (needs_review) AS review, count(*) FILTER (reviewed) AS reviewed FROM cells GROUP BY ALL"
    ).sort_values("code")
    size = np.bincount(groups.code, minlength=len(groups.values))
    if not np.array_equal(found["n_cells"], size) or not np.array_equal(found[list(STATUSES)].sum(axis=1), size):
        message = f"statuses by {groups.name}: cells are lost or counted twice"
        raise RuntimeError(message)
    rows = pd.concat([found, pd.DataFrame([found.sum()])], ignore_index=True)
    rows["group"] = [*groups.values, "all cells"]
    decided = counted.source == "final"
    shares = [*STATUSES, "review", *(["reviewed"] if decided else [])]
    rows[shares] = rows[shares].div(rows["n_cells"], axis=0)
    meanings = {
        "resolved": (
            "resolved",
            f"called the term that most members voted for{', or decided by a curator' if decided else ''}",
        ),
        "backed_off": ("backed off", "called a wider term, to be sure enough"),
        "unresolved": ("unresolved", "got no term"),
        "unseen": ("unseen", "fit no type of the reference"),
        "review": ("for review", "a curator should see them"),
        "reviewed": ("reviewed", "a curator decided them"),
    }
    return Table(
        name=f"fractions_status_by_{stem}",
        title=f"Cells by {groups.name}, and how they were called",
        about=f"A row is a group ({groups.name}); shares are of its cells. Resolved, backed off, unresolved and unseen add up"
        " to 100 %.",
        columns=(
            TableColumn("group", groups.name),
            TableColumn("n_cells", "cells", "", "count"),
            *(TableColumn(name, meanings[name][0], meanings[name][1], "share") for name in shares),
        ),
        rows=rows[["group", "n_cells", *shares]],
        n_last=1,
    )


def share_digits(counted: Counted) -> int:
    """Return the digits of shares of all cells or of donors: rare types are seen where there are cells enough."""
    return 1 if counted.n_cells < MANY_CELLS else 2


def _counts(found: Tally, groups: Groups) -> tuple[np.ndarray[Any, Any], pd.DataFrame]:
    """Return cells, int64 (n_places, n_groups), and the places: by cells, what is no term last, unseen as one."""
    rows = found.rows.assign(place=np.maximum(found.rows["place"], UNSEEN))
    table = rows.pivot_table(
        index="place", columns="group", values="n_cells", aggfunc="sum", fill_value=0, observed=True
    )
    counts = table.reindex(columns=list(groups.values), fill_value=0).to_numpy(np.int64)
    named = rows[rows["place"] >= 0].drop_duplicates("place").set_index("place")
    place = table.index.to_numpy()
    labels = [named["label"].get(p) or f"({_SHORT[p]})" for p in place.tolist()]
    terms = [named["term"].get(p) or "" for p in place.tolist()]
    order = np.lexsort((labels, -counts.sum(axis=1), np.minimum(place, 0) * -1))
    places = pd.DataFrame({"place": place, "term": terms, "label": labels}).iloc[order].reset_index(drop=True)
    return counts[order], places


def _terms_as_rows(
    counts: np.ndarray[Any, Any], places: pd.DataFrame, groups: Groups
) -> tuple[tuple[TableColumn, ...], pd.DataFrame]:
    size, n_cells = counts.sum(axis=0), int(counts.sum())
    total = counts.sum(axis=1)
    frame = pd.DataFrame({"label": [*places["label"], "all cells"], "term": [*places["term"], ""]})
    frame["n_cells"], frame["fraction"] = [*total, n_cells], [*(total / n_cells), 1.0]
    columns = [
        TableColumn("label", "cell type"),
        TableColumn("term", "CL id", "Cell Ontology id", "id"),
        TableColumn("n_cells", "cells", "of all groups", "count"),
        TableColumn("fraction", "all", "share of all cells", "share"),
    ]
    with_counts = len(groups.values) <= BOTH
    made: dict[str, Any] = {}
    for j, name in enumerate(groups.values):
        if with_counts:
            made[f"n_cells_{name}"] = np.append(counts[:, j], size[j])
            columns.append(TableColumn(f"n_cells_{name}", f"{name}: cells", "", "count"))
        made[f"fraction_{name}"] = np.append(counts[:, j] / size[j], 1.0)
        head = name if with_counts else f"{name}, n = {size[j]:,}"
        columns.append(TableColumn(f"fraction_{name}", head, "", "share"))
    return tuple(columns), pd.concat([frame, pd.DataFrame(made)], axis=1)


def _groups_as_rows(
    counts: np.ndarray[Any, Any], places: pd.DataFrame, groups: Groups
) -> tuple[tuple[TableColumn, ...], pd.DataFrame]:
    size, n_cells = counts.sum(axis=0), int(counts.sum())
    frame = pd.DataFrame({"group": [*groups.values, "all cells"], "n_cells": [*size, n_cells]})
    columns = [TableColumn("group", groups.name), TableColumn("n_cells", "cells", "", "count")]
    made: dict[str, Any] = {}
    for i, (place, term, label) in enumerate(places.itertuples(index=False)):
        name = f"fraction_{term or _SHORT[place]}"
        made[name] = np.append(counts[i] / size, counts[i].sum() / n_cells)
        columns.append(TableColumn(name, label, term, "share"))
    return tuple(columns), pd.concat([frame, pd.DataFrame(made)], axis=1)
