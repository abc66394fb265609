"""The items that a curator would see first, and the cells that fit no type of the reference, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from celljury.questions import parquet_sql
from celljury.report.review_counts import final_rows
from celljury.report.table import Table, TableColumn

if TYPE_CHECKING:
    from celljury.report.counted import Counted

MOST_ITEMS: Final = 10


def queue_tables(counted: Counted) -> list[Table]:
    """Return ``first_items`` and ``unseen``; those without a row are left out."""
    return [table for table in (_items(counted), _unseen(counted)) if table is not None]


def _items(counted: Counted) -> Table | None:
    path = counted.run.folder / "queue.tsv"
    if not path.is_file():
        return None
    wanted = ["item_id", "n_cells", "gain", "term", "label", "status", "sentence"]
    queue = pd.read_csv(path, sep="\t", usecols=wanted, keep_default_na=False, dtype={"item_id": str})
    if not len(queue):
        return None
    rows = queue.head(MOST_ITEMS).reset_index(drop=True)
    columns: tuple[TableColumn, ...] = (
        TableColumn("label", "called"),
        TableColumn("term", "term", "", "id"),
        TableColumn("n_cells", "cells", "", "count"),
        TableColumn("status", "status"),
        TableColumn("gain", "gain", "bits that a look is expected to win over its cells; it orders the queue", "number"),
        TableColumn("sentence", "why"),
        TableColumn("item_id", "item", "its id in the review", "id"),
    )  # fmt: skip
    rows["label"] = rows["label"].where(rows["label"] != "", "no call")
    unseen = rows["status"] == "unseen"
    rows.loc[unseen, "label"] = "unseen, under " + rows.loc[unseen, "label"]
    rows["status"] = rows["status"].str.replace("_", " ")
    if final_rows(counted) is not None:
        columns = (*columns[:4], TableColumn("decided", "decision"), *columns[4:])
        rows["decided"] = _decisions(counted, rows["item_id"])
    n_cells = int(queue["n_cells"].sum())
    return Table(
        name="first_items",
        title=f"The first {len(rows)} items of the review",
        about=f"A row is an item: cells with the same votes, call, status and cluster. The queue has {len(queue):,} items of"
        f" {n_cells:,} cells, most useful first.",
        columns=columns,
        rows=rows,
        notes=("The whole queue is in queue.tsv, and on the screen of celljury review.",) if len(queue) > len(rows) else (),
    )  # fmt: skip


def _decisions(counted: Counted, items: pd.Series) -> list[str]:
    """Return what came of items; parts of a split item have the item's id and more behind it, so that it has none."""
    found = counted.query(
        f"SELECT item_id::VARCHAR AS item, any_value(review_status::VARCHAR) AS said FROM {parquet_sql(counted.final_path)}"
        " WHERE item_id::VARCHAR IN (SELECT item FROM wanted) GROUP BY ALL",
        wanted=pd.DataFrame({"item": items.to_list()}),
    )
    said = dict(zip(found["item"], found["said"], strict=True))
    return [said.get(item, "split") for item in items]


def _unseen(counted: Counted) -> Table | None:
    rows = counted.query(
        "SELECT coalesce(counted_term::VARCHAR, '') AS term, coalesce(counted_label::VARCHAR, 'no such term') AS label,"
        " count(*) AS n_cells, count(*) / (SELECT count(*) FROM cells) AS fraction, median(p_seen) AS p_seen,"
        " count(*) FILTER (reviewed) AS n_reviewed FROM cells WHERE counted_status::VARCHAR = 'unseen'"
        " GROUP BY ALL ORDER BY n_cells DESC, term"
    )
    if not len(rows):
        return None
    total = {
        "term": "", "label": "all unseen cells", "n_cells": rows["n_cells"].sum(), "fraction": rows["fraction"].sum(),
        "p_seen": float("nan"), "n_reviewed": rows["n_reviewed"].sum(),
    }  # fmt: skip
    return Table(
        name="unseen",
        title="Cells that fit no type of the reference, by where they are new",
        about="A row is the most specific term to which unseen cells still belong; of it or its kinds the reference knows some,"
        " and these cells are none of those.",
        columns=(
            TableColumn("label", "new under"),
            TableColumn("term", "term", "", "id"),
            TableColumn("n_cells", "cells", "", "count"),
            TableColumn("fraction", "of all", "of the run's cells", "share"),
            TableColumn("p_seen", "p seen", "median p-value of belonging to the reference, 0 to 1", "number", 3),
            TableColumn("n_reviewed", "reviewed", "of them decided by a curator", "count"),
        ),
        rows=pd.DataFrame([*rows.to_dict("records"), total]),
        n_last=1,
    )
